//! How a log comes into being: in a directory beside, renamed when it is whole.

use crate::error::{Error, Result};
use crate::fs::{Disk, io_error, lock};
use crate::record::Encoder;
use crate::segment::SegmentName;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base::time::FileStamp;

/// Makes the directory of a log with its first segment, locked, of `segment_bytes` zeros but for
/// the head that `encoder` holds.
///
/// # Errors
/// What the disk says. `dir` then has no segment.
pub(crate) fn first_segment(
    disk: &Disk,
    dir: &Path,
    name: SegmentName,
    encoder: &Encoder,
    segment_bytes: u64,
) -> Result<File> {
    let beside = with_suffix(dir, ".tmp");
    make_empty_dir(&beside)?;
    let path = beside.join(name.to_string());
    let file = disk.create(&path)?;
    lock(&file, &path)?;
    disk.allocate(&file, &path, segment_bytes)?;
    disk.write_at(&file, &path, encoder.bytes(), 0)?;
    disk.sync_data(&file, &path)?;
    disk.sync_dir(&beside)?;
    remove_leftovers(dir)?;
    disk.rename(&beside, dir)?;
    if let Err(e) = sync_parent(disk, dir) {
        let broken = with_suffix(dir, &format!(".broken.{}", FileStamp(SystemTime::now())));
        disk.rename(dir, &broken)?;
        return Err(e);
    }
    Ok(file)
}

fn make_empty_dir(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => {
            return Err(io_error("remove directory", dir, e));
        }
        Ok(()) | Err(_) => {}
    }
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|e| io_error("create directory", dir, e))
}

/// Removes `dir` with spare segments in it, if it is there; what we do not know is not removed.
fn remove_leftovers(dir: &Path) -> Result<()> {
    for spare in ["0.tmp", "1.tmp"] {
        match std::fs::remove_file(dir.join(spare)) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(io_error("remove file", &dir.join(spare), e));
            }
            Ok(()) | Err(_) => {}
        }
    }
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io_error("remove directory", dir, e)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_parent(disk: &Disk, dir: &Path) -> Result<()> {
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => disk.sync_dir(Path::new(".")),
        Some(parent) => disk.sync_dir(parent),
        None => Err(Error::NoSegment { dir: dir.to_owned() }),
    }
}

fn with_suffix(dir: &Path, suffix: &str) -> PathBuf {
    // Without a slash at the end, behind which the suffix would name a file inside.
    let mut name = dir.components().as_path().as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
