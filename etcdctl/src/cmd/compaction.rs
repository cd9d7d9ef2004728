//! `compaction`.

use proto::etcdserverpb as pb;

use crate::cli::{Parsed, go_int};
use crate::failure::{Failure, code};
use crate::output;

/// Runs the command.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    let [revision] = parsed.arguments.as_slice() else {
        return Err(Failure::arguments("compaction command needs 1 argument"));
    };
    let revision = go_int(&String::from_utf8_lossy(revision), 10)
        .map_err(|reason| Failure::new(code::ERROR, reason))?;
    let request = pb::CompactionRequest { revision, physical: parsed.switch("physical") };
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.KV/Compact";
    session.unary::<_, pb::CompactionResponse>(method, session.deadline(), request).await?;
    output::write(format!("compacted revision {revision}\n").as_bytes())
}
