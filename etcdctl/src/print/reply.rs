//! What can be printed: the server's answers, and the lists that etcdctl itself puts together.

use proto::etcdserverpb as pb;
use proto::mvccpb;

/// One thing to print.
pub(crate) enum Reply<'a> {
    /// `put`.
    Put(&'a pb::PutResponse),
    /// `get`; `value_only` prints no keys in the simple format.
    Get { response: &'a pb::RangeResponse, value_only: bool },
    /// `del`.
    Delete(&'a pb::DeleteRangeResponse),
    /// `txn`.
    Txn(&'a pb::TxnResponse),
    /// One response of `watch`.
    Watch(&'a WatchReply),
    /// `lease grant`.
    Grant(&'a pb::LeaseGrantResponse),
    /// `lease revoke`; the response does not say which lease.
    Revoke { id: i64, response: &'a pb::LeaseRevokeResponse },
    /// `lease timetolive`; `keys` is the flag of that name.
    TimeToLive { response: &'a pb::LeaseTimeToLiveResponse, keys: bool },
    /// `lease list`.
    Leases(&'a pb::LeaseLeasesResponse),
    /// One renewal of `lease keep-alive`.
    KeepAlive(&'a pb::LeaseKeepAliveResponse),
    /// `member list`.
    Members(&'a pb::MemberListResponse),
    /// `member add`; the response knows neither the name nor the order of `peer_urls`.
    MemberAdd { name: &'a str, peer_urls: &'a str, response: &'a pb::MemberAddResponse },
    /// `member promote`, `remove` and `update`: what happened to member `id`, and who is left.
    MemberChanged { change: MemberChange, id: u64, response: &'a pb::MemberListResponse },
    /// `move-leader`: from whom to whom.
    MoveLeader { leader: u64, target: u64, response: &'a pb::MoveLeaderResponse },
    /// `alarm list` and `alarm disarm`.
    Alarms(&'a pb::AlarmResponse),
    /// `endpoint health`.
    Health(&'a [EndpointHealth]),
    /// `endpoint status`.
    Status(&'a [EndpointStatus]),
    /// `endpoint hashkv`.
    HashKv(&'a [EndpointHashKv]),
    /// `snapshot status`.
    SnapshotStatus(&'a snapshot::Status),
}

/// What happened to a member.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MemberChange {
    /// A learner became a voter.
    Promoted,
    /// It is no member any more.
    Removed,
    /// It has other peer URLs.
    Updated,
}

/// A watch response as a user sees it: progress, events or the end of the watch.
#[derive(Debug, Default)]
pub(crate) struct WatchReply {
    /// Header of the response.
    pub(crate) header: pb::ResponseHeader,
    /// The events, in revision order.
    pub(crate) events: Vec<mvccpb::Event>,
    /// The compacted revision that ended the watch, or zero.
    pub(crate) compact_revision: i64,
    /// True when this response ends the watch.
    pub(crate) canceled: bool,
    /// True when this response announces the watch.
    pub(crate) created: bool,
    /// Why the server ended the watch.
    pub(crate) cancel_reason: String,
}

/// One line of `endpoint health`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct EndpointHealth {
    /// The endpoint as it was given.
    pub(crate) endpoint: String,
    /// True when the probe succeeded and no alarm is raised.
    pub(crate) health: bool,
    /// Duration of the probe in Go's notation.
    pub(crate) took: String,
    /// Why the endpoint is not healthy, or empty.
    pub(crate) error: String,
}

/// One line of `endpoint status`.
pub(crate) struct EndpointStatus {
    /// The endpoint as it was given.
    pub(crate) endpoint: String,
    /// The answer.
    pub(crate) status: pb::StatusResponse,
}

/// One line of `endpoint hashkv`.
pub(crate) struct EndpointHashKv {
    /// The endpoint as it was given.
    pub(crate) endpoint: String,
    /// The answer.
    pub(crate) hash_kv: pb::HashKvResponse,
}

/// A lease id, 16 characters wide as Go prints it: the sign counts as one.
pub(crate) fn lease_name(id: i64) -> String {
    if id < 0 { format!("-{:015x}", id.unsigned_abs()) } else { format!("{id:016x}") }
}

/// The cells of one row of `member list`, for the simple format and the table.
pub(super) fn member_cells(member: &pb::Member) -> Vec<String> {
    let status = if member.name.is_empty() { "unstarted" } else { "started" };
    vec![
        format!("{:x}", member.id),
        status.to_owned(),
        member.name.clone(),
        member.peer_ur_ls.join(","),
        member.client_ur_ls.join(","),
        member.is_learner.to_string(),
    ]
}

/// The cells of one row of `endpoint status`.
pub(super) fn status_cells(row: &EndpointStatus) -> Vec<String> {
    let status = &row.status;
    let member_id = status.header.as_ref().map_or(0, |header| header.member_id);
    let downgrade = status.downgrade_info.clone().unwrap_or_default();
    vec![
        row.endpoint.clone(),
        format!("{member_id:x}"),
        status.version.clone(),
        status.storage_version.clone(),
        bytes_text(status.db_size),
        bytes_text(status.db_size_in_use),
        percentage_not_in_use(status),
        bytes_text(status.db_size_quota),
        (status.leader == member_id).to_string(),
        status.is_learner.to_string(),
        status.raft_term.to_string(),
        status.raft_index.to_string(),
        status.raft_applied_index.to_string(),
        status.errors.join(", "),
        downgrade.target_version,
        downgrade.enabled.to_string(),
    ]
}

/// The cells of one row of `endpoint hashkv`.
pub(super) fn hash_kv_cells(row: &EndpointHashKv) -> Vec<String> {
    vec![row.endpoint.clone(), row.hash_kv.hash.to_string(), row.hash_kv.hash_revision.to_string()]
}

/// The cells of one row of `endpoint health` in a table.
pub(super) fn health_cells(row: &EndpointHealth) -> Vec<String> {
    vec![row.endpoint.clone(), row.health.to_string(), row.took.clone(), row.error.clone()]
}

/// The cells of the one row of `snapshot status`. Its keys are the rows of all buckets.
pub(super) fn snapshot_cells(status: &snapshot::Status) -> Vec<String> {
    vec![
        format!("{:x}", status.hash),
        status.revision.to_string(),
        status.rows.to_string(),
        base::text::humanize_bytes(status.size_bytes),
    ]
}

/// The name of an alarm type as etcd writes it.
pub(crate) fn alarm_name(alarm: i32) -> String {
    match alarm {
        0 => "NONE".to_owned(),
        1 => "NOSPACE".to_owned(),
        2 => "CORRUPT".to_owned(),
        other => other.to_string(),
    }
}

fn bytes_text(size_bytes: i64) -> String {
    base::text::humanize_bytes(u64::try_from(size_bytes).unwrap_or(0))
}

/// Whole percents of the backend file that hold no data; an empty file has none.
fn percentage_not_in_use(status: &pb::StatusResponse) -> String {
    let used = (status.db_size_in_use.saturating_mul(100)).checked_div(status.db_size);
    format!("{}%", 100 - used.unwrap_or(100))
}
