//! What is done to the end of the last segment before it is appended to again.

use crate::error::Result;
use crate::fs::{Disk, io_error};
use crate::replay::{Repaired, Tail};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 20;

/// Cuts a torn last record off, after a copy of the segment was made, or zeroes what lies behind
/// the data. Either way no byte behind `tail.offset` can be read as a record later.
///
/// ```text
/// [records][torn….]        ->  [records]            and .broken with all of it
/// [records][0 word][….]    ->  [records][zeros…..]  length kept, room reserved
/// ```
pub(crate) fn clean_tail(
    disk: &Disk,
    dir: &Path,
    path: &Path,
    file: &File,
    tail: &mut Tail,
) -> Result<Option<Repaired>> {
    let repaired = match tail.damage.take() {
        None => None,
        Some(cause) => {
            let backup = copy_aside(disk, path, file)?;
            disk.sync_dir(dir)?;
            Some(Repaired {
                segment: path.to_owned(),
                offset: tail.offset,
                backup,
                cause: cause.to_string(),
            })
        }
    };
    disk.set_len(file, path, tail.offset)?;
    if repaired.is_none() && tail.offset < tail.file_bytes {
        disk.allocate(file, path, tail.file_bytes)?;
    }
    disk.sync_data(file, path)?;
    Ok(repaired)
}

/// Copies the whole segment to `<segment>.broken`, durably.
fn copy_aside(disk: &Disk, path: &Path, file: &File) -> Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(".broken");
    let backup = PathBuf::from(name);
    let failed = |e| io_error("copy damaged segment to", &backup, e);
    let mut options = File::options();
    let mut out = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&backup)
        .map_err(failed)?;
    let mut buffer = vec![0; COPY_BYTES];
    let mut offset = 0;
    loop {
        let n = file.read_at(&mut buffer, offset).map_err(failed)?;
        if n == 0 {
            break;
        }
        out.write_all(buffer.get(..n).unwrap_or_default()).map_err(failed)?;
        offset += n as u64;
    }
    disk.sync_data(&out, &backup)?;
    Ok(backup)
}
