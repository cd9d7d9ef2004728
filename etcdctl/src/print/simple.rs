//! The default format: plain lines, keys and values as raw bytes.

use base::text::quote;
use proto::etcdserverpb as pb;
use proto::mvccpb;

use super::reply::{
    self, EndpointHashKv, EndpointHealth, EndpointStatus, MemberChange, Reply, WatchReply,
    alarm_name, lease_name,
};

/// Renders `reply`.
pub(super) fn render(reply: &Reply<'_>, hex: bool) -> Vec<u8> {
    let mut out = Lines { out: Vec::new(), hex };
    match reply {
        Reply::Put(response) => out.put(response),
        Reply::Get { response, value_only } => out.get(response, *value_only),
        Reply::Delete(response) => out.delete(response),
        Reply::Txn(response) => out.txn(response),
        Reply::Watch(response) => out.watch(response),
        Reply::Grant(r) => {
            out.line(&format!("lease {} granted with TTL({}s)", lease_name(r.id), r.ttl))
        }
        Reply::Revoke { id, .. } => out.line(&format!("lease {} revoked", lease_name(*id))),
        Reply::TimeToLive { response, keys } => out.time_to_live(response, *keys),
        Reply::Leases(response) => out.leases(response),
        Reply::KeepAlive(r) => {
            out.line(&format!("lease {} keepalived with TTL({})", lease_name(r.id), r.ttl));
        }
        Reply::Members(r) => out.rows(r.members.iter().map(reply::member_cells)),
        Reply::MemberAdd { name, peer_urls, response } => {
            out.member_add(name, peer_urls, response);
        }
        Reply::MemberChanged { change, id, response } => {
            let cluster = cluster_of(response.header.as_ref());
            out.line(&match change {
                MemberChange::Promoted => format!("Member {id:16x} promoted in cluster {cluster}"),
                MemberChange::Removed => {
                    format!("Member {id:16x} removed from cluster {cluster}")
                }
                MemberChange::Updated => format!("Member {id:16x} updated in cluster {cluster}"),
            });
        }
        Reply::MoveLeader { leader, target, .. } => {
            out.line(&format!("Leadership transferred from {leader:x} to {target:x}"));
        }
        Reply::Alarms(response) => out.alarms(response),
        Reply::Health(rows) => out.health(rows),
        Reply::Status(rows) => {
            out.rows(rows.iter().map(|r: &EndpointStatus| reply::status_cells(r)))
        }
        Reply::HashKv(rows) => {
            out.rows(rows.iter().map(|r: &EndpointHashKv| reply::hash_kv_cells(r)));
        }
        Reply::SnapshotStatus(status) => out.rows([reply::snapshot_cells(status)].into_iter()),
    }
    out.out
}

/// The line of one probed endpoint.
pub(crate) fn health_line(row: &EndpointHealth) -> String {
    let EndpointHealth { endpoint, health, took, error } = row;
    if *health {
        format!("{endpoint} is healthy: successfully committed proposal: took = {took}")
    } else {
        format!("{endpoint} is unhealthy: failed to commit proposal: {error}")
    }
}

/// The cluster's id as the lines on members have it: in 16 columns.
fn cluster_of(header: Option<&pb::ResponseHeader>) -> String {
    format!("{:16x}", header.map_or(0, |header| header.cluster_id))
}

struct Lines {
    out: Vec<u8>,
    hex: bool,
}

impl Lines {
    fn line(&mut self, text: &str) {
        self.raw_line(text.as_bytes());
    }

    fn raw_line(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        self.out.push(b'\n');
    }

    /// A key or a value: raw, or `\x66\x6f\x6f` with --hex.
    fn bytes_line(&mut self, bytes: &[u8]) {
        if self.hex {
            let text: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            self.line(&text);
        } else {
            self.raw_line(bytes);
        }
    }

    fn key_value(&mut self, kv: &mvccpb::KeyValue) {
        self.bytes_line(&kv.key);
        self.bytes_line(&kv.value);
    }

    fn rows(&mut self, rows: impl Iterator<Item = Vec<String>>) {
        for cells in rows {
            self.line(&cells.join(", "));
        }
    }

    fn put(&mut self, response: &pb::PutResponse) {
        self.line("OK");
        if let Some(previous) = &response.prev_kv {
            self.key_value(previous);
        }
    }

    fn get(&mut self, response: &pb::RangeResponse, value_only: bool) {
        for kv in &response.kvs {
            if !value_only {
                self.bytes_line(&kv.key);
            }
            self.bytes_line(&kv.value);
        }
    }

    fn delete(&mut self, response: &pb::DeleteRangeResponse) {
        self.line(&response.deleted.to_string());
        for previous in &response.prev_kvs {
            self.key_value(previous);
        }
    }

    fn txn(&mut self, response: &pb::TxnResponse) {
        self.line(if response.succeeded { "SUCCESS" } else { "FAILURE" });
        for operation in &response.responses {
            self.line("");
            match &operation.response {
                Some(pb::response_op::Response::ResponseRange(r)) => self.get(r, false),
                Some(pb::response_op::Response::ResponsePut(r)) => self.put(r),
                Some(pb::response_op::Response::ResponseDeleteRange(r)) => self.delete(r),
                Some(pb::response_op::Response::ResponseTxn(r)) => self.txn(r),
                None => {}
            }
        }
    }

    fn watch(&mut self, response: &WatchReply) {
        for event in &response.events {
            self.line(event.r#type().as_str_name());
            if let Some(previous) = &event.prev_kv {
                self.key_value(previous);
            }
            if let Some(kv) = &event.kv {
                self.key_value(kv);
            }
        }
    }

    fn time_to_live(&mut self, response: &pb::LeaseTimeToLiveResponse, keys: bool) {
        let pb::LeaseTimeToLiveResponse { id, ttl, granted_ttl, .. } = response;
        if *granted_ttl == 0 && *ttl == -1 {
            return self.line(&format!("lease {} already expired", lease_name(*id)));
        }
        let head = format!(
            "lease {} granted with TTL({granted_ttl}s), remaining({ttl}s)",
            lease_name(*id)
        );
        self.out.extend_from_slice(head.as_bytes());
        if keys {
            self.out.extend_from_slice(b", attached keys([");
            for (position, key) in response.keys.iter().enumerate() {
                if position > 0 {
                    self.out.push(b' ');
                }
                self.out.extend_from_slice(key);
            }
            self.out.extend_from_slice(b"])");
        }
        self.line("");
    }

    fn leases(&mut self, response: &pb::LeaseLeasesResponse) {
        self.line(&format!("found {} leases", response.leases.len()));
        for lease in &response.leases {
            self.line(&lease_name(lease.id));
        }
    }

    /// What happened, and the variables the new member wants to be started with.
    fn member_add(&mut self, name: &str, peer_urls: &str, response: &pb::MemberAddResponse) {
        let added = response.member.clone().unwrap_or_default();
        let role = if added.is_learner { "as learner " } else { "" };
        let cluster = cluster_of(response.header.as_ref());
        self.line(&format!("Member {:16x} added {role}to cluster {cluster}", added.id));
        let mut peers = Vec::new();
        for member in &response.members {
            // The new one has no name in the cluster before it has started.
            let name = if member.id == added.id { name } else { &member.name };
            peers.extend(member.peer_ur_ls.iter().map(|url| format!("{name}={url}")));
        }
        self.line("");
        for (variable, value) in [
            ("ETCD_NAME", name),
            ("ETCD_INITIAL_CLUSTER", &peers.join(",")),
            ("ETCD_INITIAL_ADVERTISE_PEER_URLS", peer_urls),
            ("ETCD_INITIAL_CLUSTER_STATE", "existing"),
        ] {
            self.line(&format!("{variable}={}", quote(value.as_bytes())));
        }
    }

    fn alarms(&mut self, response: &pb::AlarmResponse) {
        for alarm in &response.alarms {
            let name = alarm_name(alarm.alarm);
            self.line(&format!("memberID:{} alarm:{name}", alarm.member_id));
        }
    }

    fn health(&mut self, rows: &[EndpointHealth]) {
        for row in rows {
            self.line(&health_line(row));
        }
    }
}
