//! `defrag`: gives back the room of deleted rows.

use std::path::Path;
use std::time::{Duration, Instant};

use backend::Backend;

use super::open;
use crate::failure::Failure;
use crate::log::{self, Field};

/// Runs the command.
///
/// # Errors
/// [`Failure::Defragment`].
pub(super) fn run(data_dir: &Path, timeout: Duration) -> Result<(), Failure> {
    let path = data_dir.join("member").join("snap").join("db");
    defrag(&path, timeout).map_err(|reason| Failure::Defragment {
        data_dir: data_dir.to_owned(),
        reason: Box::new(reason),
    })
}

fn defrag(path: &Path, timeout: Duration) -> Result<(), Failure> {
    let backend = open(path, timeout)?;
    let before = sizes(&backend)?;
    let size = |name, bytes: i64| (name, Field::Number(bytes));
    let shown = |name, bytes: i64| {
        (name, Field::Text(base::text::humanize_bytes(u64::try_from(bytes).unwrap_or(0))))
    };
    let named = || ("path", Field::Text(path.display().to_string()));
    log::info(
        "defragmenting",
        &[
            named(),
            size("current-db-size-bytes", before.0),
            shown("current-db-size", before.0),
            size("current-db-size-in-use-bytes", before.1),
            shown("current-db-size-in-use", before.1),
        ],
    );
    let start = Instant::now();
    backend.compact()?;
    let after = sizes(&backend)?;
    let took = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    log::info(
        "finished defragmenting directory",
        &[
            named(),
            size("current-db-size-bytes-diff", after.0 - before.0),
            size("current-db-size-bytes", after.0),
            shown("current-db-size", after.0),
            size("current-db-size-in-use-bytes-diff", after.1 - before.1),
            size("current-db-size-in-use-bytes", after.1),
            shown("current-db-size-in-use", after.1),
            ("took", Field::Text(base::text::format_duration(took))),
        ],
    );
    Ok(())
}

/// Allocated and used bytes.
fn sizes(backend: &Backend) -> Result<(i64, i64), Failure> {
    let sizes = backend.sizes()?;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok((signed(sizes.allocated), signed(sizes.in_use)))
}
