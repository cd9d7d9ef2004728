//! `move-leader`.

use proto::etcdserverpb as pb;

use crate::cli::{Parsed, go_uint};
use crate::failure::Failure;
use crate::output;
use crate::print::Reply;
use crate::session::{Deadline, Session};

/// Runs the command: only the leader can be asked, so the endpoints are asked who they are, in
/// turn, until one is it. Search and move share one deadline.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    let [target] = parsed.arguments.as_slice() else {
        return Err(Failure::arguments("move-leader command needs 1 argument"));
    };
    let target = go_uint(&String::from_utf8_lossy(target), 16).map_err(Failure::arguments)?;
    let session = super::open(parsed).await?;
    let deadline = session.deadline();
    let Some((leader, id)) = leader(&session, deadline).await? else {
        let endpoints = session.settings().endpoints.join(" ");
        return Err(Failure::arguments(format!("no leader endpoint given at [{endpoints}]")));
    };
    let method = "/etcdserverpb.Maintenance/MoveLeader";
    let request = pb::MoveLeaderRequest { target_id: target };
    let response: pb::MoveLeaderResponse = leader.unary(method, deadline, request).await?;
    let reply = Reply::MoveLeader { leader: id, target, response: &response };
    output::print(session.settings().style, &reply)
}

/// A session with the first endpoint that leads, and its id. One that does not answer ends the
/// search: it may be the leader.
async fn leader(session: &Session, deadline: Deadline) -> Result<Option<(Session, u64)>, Failure> {
    for endpoint in &session.settings().endpoints {
        let one = Session::open(session.settings().at(endpoint)).await?;
        let method = "/etcdserverpb.Maintenance/Status";
        let status: pb::StatusResponse = one.unary(method, deadline, pb::StatusRequest {}).await?;
        let id = status.header.map_or(0, |header| header.member_id);
        if status.leader == id {
            return Ok(Some((one, id)));
        }
    }
    Ok(None)
}
