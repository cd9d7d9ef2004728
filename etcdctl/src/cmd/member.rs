//! `member list`, and the list of members other commands need.

use proto::etcdserverpb as pb;

use crate::cli::Parsed;
use crate::failure::{Failure, code};
use crate::output;
use crate::print::Reply;
use crate::session::Session;

/// Runs `member list`.
pub(super) async fn list(parsed: Parsed) -> Result<(), Failure> {
    let linearizable = match parsed.text("consistency") {
        "l" => true,
        "s" => false,
        // The text has always shown the default of another command.
        _ => return Err(Failure::new(code::BAD_FEATURE, "unknown consistency flag \"l\"")),
    };
    let session = super::open(parsed).await?;
    let response = members(&session, linearizable).await?;
    output::print(session.settings().style, &Reply::Members(&response))
}

async fn members(session: &Session, linearizable: bool) -> Result<pb::MemberListResponse, Failure> {
    let request = pb::MemberListRequest { linearizable };
    session.unary("/etcdserverpb.Cluster/MemberList", session.deadline(), request).await
}

/// The endpoints of a command over several servers: those given, or with `--cluster` every
/// client URL of every member.
pub(super) async fn endpoints(session: &Session, cluster: bool) -> Result<Vec<String>, Failure> {
    if !cluster {
        return Ok(session.settings().endpoints.clone());
    }
    let response = members(session, true).await.map_err(|failure| {
        failure.wrapped(|text| {
            format!("failed to fetch endpoints from etcd cluster member list: {text}")
        })
    })?;
    Ok(response.members.into_iter().flat_map(|member| member.client_ur_ls).collect())
}
