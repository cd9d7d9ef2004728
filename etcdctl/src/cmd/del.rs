//! `del`.

use std::time::Duration;

use proto::etcdserverpb as pb;

use super::key_range::{Widening, interval};
use crate::cli::Parsed;
use crate::failure::Failure;
use crate::output;
use crate::print::Reply;

/// How long a user may still change their mind about a range given without `--range`.
const SECOND_THOUGHTS: Duration = Duration::from_secs(2);

/// Runs the command.
pub(super) async fn run(parsed: Parsed) -> Result<(), Failure> {
    let request = request(&parsed).await?;
    let session = super::open(parsed).await?;
    let method = "/etcdserverpb.KV/DeleteRange";
    let response = session.unary(method, session.deadline(), request).await?;
    output::print(session.settings().style, &Reply::Delete(&response))
}

/// The request of a `del` command line, inside a transaction too. A range end without `--range`
/// is announced and waited for.
///
/// # Errors
/// Arguments or flags that contradict each other.
pub(super) async fn request(parsed: &Parsed) -> Result<pb::DeleteRangeRequest, Failure> {
    let (key, range_end) = match parsed.arguments.as_slice() {
        [key] => (key, None),
        [key, range_end] => (key, Some(range_end.as_slice())),
        _ => {
            return Err(Failure::arguments(
                "del command needs one argument as key and an optional argument as range_end",
            ));
        }
    };
    let widening = Widening::of(parsed.switch("prefix"), parsed.switch("from-key"))?;
    let interval = interval(key, range_end, widening)?;
    if let Some(range_end) = range_end
        && !parsed.switch("range")
    {
        output::complain(&format!(
            "Warning: Keys between {} and {} will be deleted. Please interrupt the command within \
             next 2 seconds to cancel. You can provide `--range` flag to avoid the delay.",
            base::text::quote(key),
            base::text::quote(range_end)
        ));
        tokio::time::sleep(SECOND_THOUGHTS).await;
    }
    Ok(pb::DeleteRangeRequest {
        key: interval.key,
        range_end: interval.range_end,
        prev_kv: parsed.switch("prev-kv"),
    })
}
