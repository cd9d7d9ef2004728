//! One line of JSON as Go's `encoding/json` writes the client's structures: 64-bit integers are
//! numbers, zero members are left out except where listed here.

use proto::etcdserverpb as pb;
use proto::mvccpb;

use super::json_text::{Object, push_array, push_bytes, push_string};
use super::reply::{EndpointHashKv, EndpointHealth, EndpointStatus, Reply, WatchReply};

/// Renders `reply`. Only members change with `hex`: their ids become hex strings.
pub(super) fn render(reply: &Reply<'_>, hex: bool) -> Vec<u8> {
    let mut text = String::new();
    let out = &mut text;
    match reply {
        Reply::Put(response) => put(out, response),
        Reply::Get { response, .. } => get(out, response),
        Reply::Delete(response) => delete(out, response),
        Reply::Txn(response) => txn(out, response),
        Reply::Watch(response) => watch(out, response),
        Reply::Grant(response) => grant(out, response),
        Reply::Revoke { response, .. } => {
            let mut object = Object::begin(out);
            member_header(&mut object, response.header.as_ref());
            object.end();
        }
        Reply::TimeToLive { response, .. } => time_to_live(out, response),
        Reply::Leases(response) => leases(out, response),
        Reply::KeepAlive(response) => keep_alive(out, response),
        Reply::Members(response) => members(out, response, hex),
        Reply::MemberAdd { response, .. } => member_add(out, response, hex),
        Reply::MemberChanged { response, .. } => members(out, response, hex),
        // The answer is empty: it has no header.
        Reply::MoveLeader { .. } => Object::begin(out).end(),
        Reply::Alarms(response) => alarms(out, response),
        Reply::Health(rows) => list(out, rows, health),
        Reply::Status(rows) => list(out, rows, status),
        Reply::HashKv(rows) => list(out, rows, hash_kv),
        Reply::SnapshotStatus(status) => snapshot_status(out, status),
    }
    text.push('\n');
    text.into_bytes()
}

/// An array that is `null` when nothing answered, as Go prints a list never appended to.
fn list<T>(out: &mut String, rows: &[T], write: fn(&mut String, &T)) {
    if rows.is_empty() { out.push_str("null") } else { push_array(out, rows, write) }
}

fn header_members(object: &mut Object<'_>, header: &pb::ResponseHeader) {
    object.uint("cluster_id", header.cluster_id);
    object.uint("member_id", header.member_id);
    object.int("revision", header.revision);
    object.uint("raft_term", header.raft_term);
}

/// The header's members at the top of the object, as lease answers have them.
fn flat_header(object: &mut Object<'_>, header: Option<&pb::ResponseHeader>) {
    if let Some(header) = header {
        header_members(object, header);
    }
}

fn header_object(out: &mut String, header: &pb::ResponseHeader) {
    let mut object = Object::begin(out);
    header_members(&mut object, header);
    object.end();
}

fn member_header(object: &mut Object<'_>, header: Option<&pb::ResponseHeader>) {
    if let Some(header) = header {
        header_object(object.key("header"), header);
    }
}

fn key_value(out: &mut String, kv: &mvccpb::KeyValue) {
    let mut object = Object::begin(out);
    object.bytes("key", &kv.key);
    object.int("create_revision", kv.create_revision);
    object.int("mod_revision", kv.mod_revision);
    object.int("version", kv.version);
    object.bytes("value", &kv.value);
    object.int("lease", kv.lease);
    object.end();
}

fn optional_key_value(object: &mut Object<'_>, name: &str, kv: Option<&mvccpb::KeyValue>) {
    if let Some(kv) = kv {
        key_value(object.key(name), kv);
    }
}

fn key_values(object: &mut Object<'_>, name: &str, kvs: &[mvccpb::KeyValue]) {
    if !kvs.is_empty() {
        push_array(object.key(name), kvs, key_value);
    }
}

fn put(out: &mut String, response: &pb::PutResponse) {
    let mut object = Object::begin(out);
    member_header(&mut object, response.header.as_ref());
    optional_key_value(&mut object, "prev_kv", response.prev_kv.as_ref());
    object.end();
}

fn get(out: &mut String, response: &pb::RangeResponse) {
    let mut object = Object::begin(out);
    member_header(&mut object, response.header.as_ref());
    key_values(&mut object, "kvs", &response.kvs);
    object.bool("more", response.more);
    object.int("count", response.count);
    object.end();
}

fn delete(out: &mut String, response: &pb::DeleteRangeResponse) {
    let mut object = Object::begin(out);
    member_header(&mut object, response.header.as_ref());
    object.int("deleted", response.deleted);
    key_values(&mut object, "prev_kvs", &response.prev_kvs);
    object.end();
}

fn txn(out: &mut String, response: &pb::TxnResponse) {
    let mut object = Object::begin(out);
    member_header(&mut object, response.header.as_ref());
    object.bool("succeeded", response.succeeded);
    if !response.responses.is_empty() {
        push_array(object.key("responses"), &response.responses, operation);
    }
    object.end();
}

fn operation(out: &mut String, operation: &pb::ResponseOp) {
    let mut object = Object::begin(out);
    let out = object.key("Response");
    match &operation.response {
        None => out.push_str("null"),
        Some(response) => {
            use pb::response_op::Response as Op;
            let mut inner = Object::begin(out);
            match response {
                Op::ResponseRange(r) => get(inner.key("response_range"), r),
                Op::ResponsePut(r) => put(inner.key("response_put"), r),
                Op::ResponseDeleteRange(r) => delete(inner.key("response_delete_range"), r),
                Op::ResponseTxn(r) => txn(inner.key("response_txn"), r),
            }
            inner.end();
        }
    }
    object.end();
}

/// All six members are always there, under the names of the Go structure.
fn watch(out: &mut String, response: &WatchReply) {
    let mut object = Object::begin(out);
    header_object(object.key("Header"), &response.header);
    let events = object.key("Events");
    if response.events.is_empty() {
        events.push_str("null");
    } else {
        push_array(events, &response.events, event);
    }
    object.number("CompactRevision", response.compact_revision);
    object.number("Canceled", response.canceled);
    object.number("Created", response.created);
    push_string(object.key("CancelReason"), &response.cancel_reason);
    object.end();
}

fn event(out: &mut String, event: &mvccpb::Event) {
    let mut object = Object::begin(out);
    object.int("type", i64::from(event.r#type));
    optional_key_value(&mut object, "kv", event.kv.as_ref());
    optional_key_value(&mut object, "prev_kv", event.prev_kv.as_ref());
    object.end();
}

fn grant(out: &mut String, response: &pb::LeaseGrantResponse) {
    let mut object = Object::begin(out);
    flat_header(&mut object, response.header.as_ref());
    object.number("ID", response.id);
    object.number("TTL", response.ttl);
    push_string(object.key("Error"), &response.error);
    object.end();
}

fn keep_alive(out: &mut String, response: &pb::LeaseKeepAliveResponse) {
    let mut object = Object::begin(out);
    flat_header(&mut object, response.header.as_ref());
    object.number("ID", response.id);
    object.number("TTL", response.ttl);
    object.end();
}

fn time_to_live(out: &mut String, response: &pb::LeaseTimeToLiveResponse) {
    let mut object = Object::begin(out);
    flat_header(&mut object, response.header.as_ref());
    object.number("id", response.id);
    object.number("ttl", response.ttl);
    object.number("granted-ttl", response.granted_ttl);
    let keys = object.key("keys");
    if response.keys.is_empty() {
        keys.push_str("null");
    } else {
        push_array(keys, &response.keys, |out, key| push_bytes(out, key));
    }
    object.end();
}

fn leases(out: &mut String, response: &pb::LeaseLeasesResponse) {
    let mut object = Object::begin(out);
    flat_header(&mut object, response.header.as_ref());
    list(object.key("leases"), &response.leases, |out, lease| {
        let mut object = Object::begin(out);
        object.number("id", lease.id);
        object.end();
    });
    object.end();
}

/// An id of the member commands: a number left out when zero, or with --hex a string.
fn id(object: &mut Object<'_>, name: &str, id: u64, hex: bool) {
    if hex {
        push_string(object.key(name), &format!("{id:x}"));
    } else {
        object.uint(name, id);
    }
}

fn members(out: &mut String, response: &pb::MemberListResponse, hex: bool) {
    let mut object = Object::begin(out);
    header_with_ids(&mut object, response.header.as_ref(), hex);
    member_array(&mut object, &response.members, hex);
    object.end();
}

fn member_add(out: &mut String, response: &pb::MemberAddResponse, hex: bool) {
    let mut object = Object::begin(out);
    header_with_ids(&mut object, response.header.as_ref(), hex);
    if let Some(added) = &response.member {
        member(object.key("member"), added, hex);
    }
    member_array(&mut object, &response.members, hex);
    object.end();
}

fn header_with_ids(object: &mut Object<'_>, header: Option<&pb::ResponseHeader>, hex: bool) {
    if let Some(header) = header {
        let mut inner = Object::begin(object.key("header"));
        id(&mut inner, "cluster_id", header.cluster_id, hex);
        id(&mut inner, "member_id", header.member_id, hex);
        inner.int("revision", header.revision);
        inner.uint("raft_term", header.raft_term);
        inner.end();
    }
}

fn member_array(object: &mut Object<'_>, members: &[pb::Member], hex: bool) {
    if hex || !members.is_empty() {
        push_array(object.key("members"), members, |out, m| member(out, m, hex));
    }
}

fn member(out: &mut String, member: &pb::Member, hex: bool) {
    let mut object = Object::begin(out);
    id(&mut object, "ID", member.id, hex);
    object.string("name", &member.name);
    object.strings("peerURLs", &member.peer_ur_ls);
    object.strings("clientURLs", &member.client_ur_ls);
    object.bool("isLearner", member.is_learner);
    object.end();
}

fn alarms(out: &mut String, response: &pb::AlarmResponse) {
    let mut object = Object::begin(out);
    member_header(&mut object, response.header.as_ref());
    if !response.alarms.is_empty() {
        push_array(object.key("alarms"), &response.alarms, |out, alarm| {
            let mut object = Object::begin(out);
            object.uint("memberID", alarm.member_id);
            object.int("alarm", i64::from(alarm.alarm));
            object.end();
        });
    }
    object.end();
}

fn health(out: &mut String, row: &EndpointHealth) {
    let mut object = Object::begin(out);
    push_string(object.key("endpoint"), &row.endpoint);
    object.number("health", row.health);
    push_string(object.key("took"), &row.took);
    object.string("error", &row.error);
    object.end();
}

fn status(out: &mut String, row: &EndpointStatus) {
    let mut object = Object::begin(out);
    push_string(object.key("Endpoint"), &row.endpoint);
    status_members(object.key("Status"), &row.status);
    object.end();
}

fn status_members(out: &mut String, status: &pb::StatusResponse) {
    let mut object = Object::begin(out);
    member_header(&mut object, status.header.as_ref());
    object.string("version", &status.version);
    object.int("dbSize", status.db_size);
    object.uint("leader", status.leader);
    object.uint("raftIndex", status.raft_index);
    object.uint("raftTerm", status.raft_term);
    object.uint("raftAppliedIndex", status.raft_applied_index);
    object.strings("errors", &status.errors);
    object.int("dbSizeInUse", status.db_size_in_use);
    object.bool("isLearner", status.is_learner);
    object.string("storageVersion", &status.storage_version);
    object.int("dbSizeQuota", status.db_size_quota);
    if let Some(downgrade) = &status.downgrade_info {
        let mut inner = Object::begin(object.key("downgradeInfo"));
        inner.bool("enabled", downgrade.enabled);
        inner.string("targetVersion", &downgrade.target_version);
        inner.end();
    }
    object.end();
}

fn hash_kv(out: &mut String, row: &EndpointHashKv) {
    let mut object = Object::begin(out);
    push_string(object.key("Endpoint"), &row.endpoint);
    let mut inner = Object::begin(object.key("HashKV"));
    member_header(&mut inner, row.hash_kv.header.as_ref());
    inner.uint("hash", u64::from(row.hash_kv.hash));
    inner.int("compact_revision", row.hash_kv.compact_revision);
    inner.int("hash_revision", row.hash_kv.hash_revision);
    inner.end();
    object.end();
}

fn snapshot_status(out: &mut String, status: &snapshot::Status) {
    let mut object = Object::begin(out);
    object.number("hash", status.hash);
    object.number("revision", status.revision);
    object.number("totalKey", status.rows);
    object.number("totalSize", status.size_bytes);
    object.end();
}
