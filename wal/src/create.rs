//! How a log comes into being: in a directory beside, renamed when it is whole.

use crate::error::{Error, Result};
use crate::fs::{Disk, io_error, lock};
use crate::record::Encoder;
use crate::segment::SegmentName;
use std::fs::{DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

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
        let broken = with_suffix(dir, &format!(".broken.{}", stamp(SystemTime::now())));
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

/// `YYYYMMDD.HHMMSS.ffffff` in UTC.
fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, seconds) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}{month:02}{day:02}.{:02}{:02}{:02}.{:06}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        since.subsec_micros()
    )
}

/// Year, month and day of a day counted from 1970-01-01, by eras of 400 years from 0000-03-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_stamp_of_a_broken_log_is_utc_with_microseconds() {
        let at = |seconds, micros| {
            stamp(UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_micros(micros))
        };
        assert_eq!(at(0, 7), "19700101.000000.000007");
        assert_eq!(at(951_827_696, 123_456), "20000229.123456.123456");
        assert_eq!(at(4_107_542_399, 0), "21000228.235959.000000");
        assert_eq!(at(4_107_542_400, 0), "21000301.000000.000000");
    }
}
