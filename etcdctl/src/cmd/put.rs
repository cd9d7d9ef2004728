//! `put`.

use std::io::Read as _;

use bytes::Bytes;
use proto::etcdserverpb as pb;

use crate::cli::{Parsed, go_int};
use crate::failure::Failure;
use crate::output;
use crate::print::Reply;

/// Where the value comes from when it is not an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stdin {
    /// It may hold the value.
    Free,
    /// It is read by someone else.
    Taken,
}

/// Runs the command.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    let request = request(&parsed, Stdin::Free)?;
    let session = super::open(parsed).await?;
    let response = session.unary("/etcdserverpb.KV/Put", session.deadline(), request).await?;
    output::print(session.settings().style, &Reply::Put(&response))
}

/// The request of a `put` command line, inside a transaction too.
///
/// # Errors
/// Arguments or flags that contradict each other, or no value anywhere.
pub(super) fn request(parsed: &Parsed, stdin: Stdin) -> Result<pb::PutRequest, Failure> {
    let incomplete =
        || Failure::arguments("put command needs 1 argument and input from stdin or 2 arguments");
    let key = parsed.arguments.first().ok_or_else(incomplete)?;
    let ignore_value = parsed.switch("ignore-value");
    let argument = parsed.arguments.get(1);
    if ignore_value && argument.is_some() {
        return Err(Failure::arguments(
            "put command needs only 1 argument when 'ignore-value' is set",
        ));
    }
    let value = match argument {
        _ if ignore_value => Bytes::new(),
        Some(value) => Bytes::copy_from_slice(value),
        None => from_stdin(stdin).ok_or_else(incomplete)?,
    };
    let lease = go_int(parsed.text("lease"), 16).map_err(|reason| {
        Failure::arguments(format!("bad lease ID ({reason}), expecting ID in Hex"))
    })?;
    Ok(pb::PutRequest {
        key: Bytes::copy_from_slice(key),
        value,
        lease,
        prev_kv: parsed.switch("prev-kv"),
        ignore_value,
        ignore_lease: parsed.switch("ignore-lease"),
    })
}

/// All of standard input, unless it is empty or cannot be read.
fn from_stdin(stdin: Stdin) -> Option<Bytes> {
    if stdin == Stdin::Taken {
        return None;
    }
    let mut value = Vec::new();
    std::io::stdin().lock().read_to_end(&mut value).ok()?;
    (!value.is_empty()).then(|| value.into())
}
