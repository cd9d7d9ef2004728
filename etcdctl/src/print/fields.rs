//! One `"Name" : value` per line; strings quoted as Go's `%q` does.

use base::text::quote;
use proto::etcdserverpb as pb;
use proto::mvccpb;

use super::reply::{
    EndpointHashKv, EndpointHealth, EndpointStatus, Reply, WatchReply, alarm_name, lease_name,
};

/// Renders `reply`, or `None` for what never had this form.
pub(super) fn render(reply: &Reply<'_>, hex: bool) -> Option<Vec<u8>> {
    let mut out = Fields { out: String::new(), hex };
    match reply {
        Reply::Put(response) => out.put(response),
        Reply::Get { response, .. } => out.get(response),
        Reply::Delete(response) => out.delete(response),
        Reply::Txn(response) => out.txn(response),
        Reply::Watch(response) => out.watch(response),
        Reply::Grant(r) => {
            out.header(r.header.as_ref());
            out.lease("ID", r.id);
            out.field("TTL", r.ttl);
        }
        Reply::Revoke { response, .. } => out.header(response.header.as_ref()),
        Reply::TimeToLive { response, .. } => out.time_to_live(response),
        Reply::Leases(response) => {
            out.header(response.header.as_ref());
            for lease in &response.leases {
                out.lease("ID", lease.id);
            }
        }
        Reply::KeepAlive(r) => {
            out.header(r.header.as_ref());
            out.lease("ID", r.id);
            out.field("TTL", r.ttl);
        }
        Reply::Members(response) => out.members(response),
        Reply::MemberAdd { .. } | Reply::MemberChanged { .. } | Reply::MoveLeader { .. } => {
            return None;
        }
        Reply::Alarms(response) => out.alarms(response),
        Reply::Health(rows) => rows.iter().for_each(|row| out.health(row)),
        Reply::Status(rows) => rows.iter().for_each(|row| out.status(row)),
        Reply::HashKv(rows) => rows.iter().for_each(|row| out.hash_kv(row)),
        Reply::SnapshotStatus(status) => {
            out.field("Hash", status.hash);
            out.field("Revision", status.revision);
            out.field("Keys", status.rows);
            out.field("Size", status.size_bytes);
        }
    }
    Some(out.out.into_bytes())
}

struct Fields {
    out: String,
    hex: bool,
}

impl Fields {
    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.out.push_str(&format!("\"{name}\" : {value}\n"));
    }

    fn quoted(&mut self, name: &str, value: &[u8]) {
        let text = quote(value);
        self.field(name, text);
    }

    /// A cluster or member id: decimal, or unpadded hex with --hex.
    fn id(&mut self, name: &str, id: u64) {
        if self.hex { self.field(name, format_args!("{id:x}")) } else { self.field(name, id) }
    }

    /// A lease id: decimal, or 16 hex digits with --hex.
    fn lease(&mut self, name: &str, id: i64) {
        if self.hex { self.field(name, lease_name(id)) } else { self.field(name, id) }
    }

    fn blank(&mut self) {
        self.out.push('\n');
    }

    fn header(&mut self, header: Option<&pb::ResponseHeader>) {
        let header = header.cloned().unwrap_or_default();
        self.id("ClusterID", header.cluster_id);
        self.id("MemberID", header.member_id);
        if header.revision != 0 {
            self.field("Revision", header.revision);
        }
        self.field("RaftTerm", header.raft_term);
    }

    /// The six lines of a key; `prefix` is `Prev` for the value it had before.
    fn key_value(&mut self, prefix: &str, kv: &mvccpb::KeyValue) {
        self.quoted(&format!("{prefix}Key"), &kv.key);
        self.field(&format!("{prefix}CreateRevision"), kv.create_revision);
        self.field(&format!("{prefix}ModRevision"), kv.mod_revision);
        self.field(&format!("{prefix}Version"), kv.version);
        self.quoted(&format!("{prefix}Value"), &kv.value);
        self.lease(&format!("{prefix}Lease"), kv.lease);
    }

    fn put(&mut self, response: &pb::PutResponse) {
        self.header(response.header.as_ref());
        if let Some(previous) = &response.prev_kv {
            self.key_value("Prev", previous);
        }
    }

    fn get(&mut self, response: &pb::RangeResponse) {
        self.header(response.header.as_ref());
        for kv in &response.kvs {
            self.key_value("", kv);
        }
        self.field("More", response.more);
        self.field("Count", response.count);
    }

    fn delete(&mut self, response: &pb::DeleteRangeResponse) {
        self.header(response.header.as_ref());
        self.field("Deleted", response.deleted);
        for previous in &response.prev_kvs {
            self.key_value("Prev", previous);
        }
    }

    fn txn(&mut self, response: &pb::TxnResponse) {
        self.header(response.header.as_ref());
        self.field("Succeeded", response.succeeded);
        for operation in &response.responses {
            match &operation.response {
                Some(pb::response_op::Response::ResponseRange(r)) => self.get(r),
                Some(pb::response_op::Response::ResponsePut(r)) => self.put(r),
                Some(pb::response_op::Response::ResponseDeleteRange(r)) => self.delete(r),
                Some(pb::response_op::Response::ResponseTxn(r)) => self.txn(r),
                None => {}
            }
        }
    }

    fn watch(&mut self, response: &WatchReply) {
        self.header(Some(&response.header));
        for event in &response.events {
            self.field("Type", event.r#type().as_str_name());
            if let Some(previous) = &event.prev_kv {
                self.key_value("Prev", previous);
            }
            if let Some(kv) = &event.kv {
                self.key_value("", kv);
            }
        }
    }

    fn time_to_live(&mut self, response: &pb::LeaseTimeToLiveResponse) {
        self.header(response.header.as_ref());
        self.lease("ID", response.id);
        self.field("TTL", response.ttl);
        self.field("GrantedTTL", response.granted_ttl);
        for key in &response.keys {
            self.quoted("Key", key);
        }
    }

    fn members(&mut self, response: &pb::MemberListResponse) {
        self.header(response.header.as_ref());
        for member in &response.members {
            self.id("ID", member.id);
            self.quoted("Name", member.name.as_bytes());
            for url in &member.peer_ur_ls {
                self.quoted("PeerURL", url.as_bytes());
            }
            for url in &member.client_ur_ls {
                self.quoted("ClientURL", url.as_bytes());
            }
            self.field("IsLearner", member.is_learner);
            self.blank();
        }
    }

    fn alarms(&mut self, response: &pb::AlarmResponse) {
        self.header(response.header.as_ref());
        for alarm in &response.alarms {
            self.id("MemberID", alarm.member_id);
            self.field("AlarmType", alarm_name(alarm.alarm));
            self.blank();
        }
    }

    fn health(&mut self, row: &EndpointHealth) {
        self.quoted("Endpoint", row.endpoint.as_bytes());
        self.field("Health", row.health);
        self.field("Took", &row.took);
        self.field("Error", &row.error);
        self.blank();
    }

    fn status(&mut self, row: &EndpointStatus) {
        let status = &row.status;
        let downgrade = status.downgrade_info.clone().unwrap_or_default();
        self.header(status.header.as_ref());
        self.quoted("Version", status.version.as_bytes());
        self.quoted("StorageVersion", status.storage_version.as_bytes());
        self.field("DBSize", status.db_size);
        self.field("DBSizeInUse", status.db_size_in_use);
        self.field("DBSizeQuota", status.db_size_quota);
        self.field("Leader", status.leader);
        self.field("IsLearner", status.is_learner);
        self.field("RaftIndex", status.raft_index);
        self.field("RaftTerm", status.raft_term);
        self.field("RaftAppliedIndex", status.raft_applied_index);
        self.field("Errors", format_args!("[{}]", status.errors.join(" ")));
        self.quoted("Endpoint", row.endpoint.as_bytes());
        self.quoted("DowngradeTargetVersion", downgrade.target_version.as_bytes());
        self.field("DowngradeEnabled", downgrade.enabled);
        self.blank();
    }

    fn hash_kv(&mut self, row: &EndpointHashKv) {
        self.header(row.hash_kv.header.as_ref());
        self.quoted("Endpoint", row.endpoint.as_bytes());
        self.field("Hash", row.hash_kv.hash);
        self.field("HashRevision", row.hash_kv.hash_revision);
        self.blank();
    }
}
