//! The serialized message itself, without a newline.

use prost::Message as _;
use proto::etcdserverpb as pb;

use super::reply::{Reply, WatchReply};
use super::{Format, Unsupported, unsupported};

/// Renders `reply`. Of a lease's answer only the header is printed, as etcdctl always did.
pub(super) fn render(reply: &Reply<'_>) -> Result<Vec<u8>, Unsupported> {
    let header = |header: &Option<pb::ResponseHeader>| {
        header.as_ref().map(pb::ResponseHeader::encode_to_vec).unwrap_or_default()
    };
    Ok(match reply {
        Reply::Put(response) => response.encode_to_vec(),
        Reply::Get { response, .. } => response.encode_to_vec(),
        Reply::Delete(response) => response.encode_to_vec(),
        Reply::Txn(response) => response.encode_to_vec(),
        Reply::Watch(response) => watch(response).encode_to_vec(),
        Reply::Grant(response) => header(&response.header),
        Reply::TimeToLive { response, .. } => header(&response.header),
        Reply::Leases(response) => header(&response.header),
        Reply::KeepAlive(response) => header(&response.header),
        Reply::Members(response) => response.encode_to_vec(),
        Reply::MemberAdd { response, .. } => response.encode_to_vec(),
        // The answers of the three commands have the fields of a member list.
        Reply::MemberChanged { response, .. } => response.encode_to_vec(),
        Reply::MoveLeader { response, .. } => response.encode_to_vec(),
        Reply::Alarms(response) => response.encode_to_vec(),
        Reply::Revoke { .. } => {
            let text = "marshal unsupported for type *clientv3.LeaseRevokeResponse ()";
            return Err(Unsupported { text: text.to_owned() });
        }
        Reply::Health(_) | Reply::Status(_) | Reply::HashKv(_) | Reply::SnapshotStatus(_) => {
            return Err(unsupported(Format::Protobuf));
        }
    })
}

fn watch(reply: &WatchReply) -> pb::WatchResponse {
    pb::WatchResponse {
        header: Some(reply.header),
        events: reply.events.clone(),
        compact_revision: reply.compact_revision,
        canceled: reply.canceled,
        created: reply.created,
        cancel_reason: reply.cancel_reason.clone(),
        ..Default::default()
    }
}
