//! `defrag`.

use std::time::Instant;

use proto::etcdserverpb as pb;

use super::endpoint::took;
use super::{member, offline};
use crate::cli::Parsed;
use crate::failure::{Failure, code};
use crate::output;
use crate::session::Session;

/// Runs the command: one endpoint after the other, each under a deadline of its own.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    if parsed.given("data-dir") {
        return offline::defrag(&parsed);
    }
    let cluster = parsed.switch("cluster");
    let session = super::open(parsed).await?;
    let mut failed = false;
    for endpoint in member::endpoints(&session, cluster).await? {
        let start = Instant::now();
        let method = "/etcdserverpb.Maintenance/Defragment";
        let request = pb::DefragmentRequest {};
        let done: Result<pb::DefragmentResponse, Failure> =
            match Session::open(session.settings().at(&endpoint)).await {
                Ok(one) => one.unary(method, one.deadline(), request).await,
                Err(failure) => Err(failure),
            };
        let took = took(start);
        match done {
            Ok(_) => {
                let line = format!("Finished defragmenting etcd member[{endpoint}]. took {took}\n");
                output::write(line.as_bytes())?;
            }
            Err(failure) => {
                failed = true;
                let text = failure.text();
                output::complain(&format!(
                    "Failed to defragment etcd member[{endpoint}]. took {took}. ({text})"
                ));
            }
        }
    }
    if failed { Err(Failure::silent(code::ERROR)) } else { Ok(()) }
}
