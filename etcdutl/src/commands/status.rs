//! `snapshot status`: what a snapshot holds, after a check of every page.

use std::path::PathBuf;
use std::time::Duration;

use snapshot::Reader;

use crate::failure::Failure;
use crate::files;
use crate::print::{self, Format};
use crate::progress::Watched;

/// Runs the command.
///
/// # Errors
/// When the file is damaged, or not a snapshot.
pub(super) fn run(
    paths: &[PathBuf],
    timeout: Duration,
    write_out: &str,
) -> Result<String, Failure> {
    let [path] = paths else {
        let text = "snapshot status requires exactly one argument";
        return Err(Failure::Arguments(text.to_owned()));
    };
    let format = Format::parse(write_out)?;
    std::fs::metadata(path).map_err(Failure::io("stat", path))?;
    let file = files::open_shared(path, timeout)?;
    let status = Reader::open(Watched::new("reading", &file))?.status()?;
    Ok(print::status(format, &status))
}
