//! Names of segments, and which of them are to be read.

use crate::error::{Error, Result};
use crate::fs::io_error;
use std::fmt;
use std::path::Path;

/// Length of a new segment, and the offset past which the next one is begun: 64 * 1000 * 1000.
pub(crate) const SEGMENT_BYTES: u64 = 64_000_000;

/// `<seq>-<index>.wal`: place in the chain, and index of the first entry it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) seq: u64,
    pub(crate) index: u64,
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.seq, self.index)
    }
}

impl SegmentName {
    /// Reads exactly what [`fmt::Display`] writes.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (seq, index) = name.strip_suffix(".wal")?.split_once('-')?;
        if seq.len() != 16 || index.len() != 16 {
            return None;
        }
        let seq = u64::from_str_radix(seq, 16).ok()?;
        let index = u64::from_str_radix(index, 16).ok()?;
        let parsed = Self { seq, index };
        (parsed.to_string() == name).then_some(parsed)
    }
}

/// All segments of `dir` in order; an absent directory has none.
pub(crate) fn list(dir: &Path) -> Result<Vec<SegmentName>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io_error("list directory", dir, e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(|e| io_error("list directory", dir, e))?.file_name();
        let name = name.to_string_lossy();
        match SegmentName::parse(&name) {
            Some(segment) => names.push(segment),
            None if name.ends_with(".tmp") => {}
            None => tracing::warn!(path = %name, "ignored file in WAL directory"),
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The segments that are to be read for what comes after `index`: the last one whose name is not
/// above it, and all behind that.
pub(crate) fn select(
    dir: &Path,
    mut names: Vec<SegmentName>,
    index: u64,
) -> Result<Vec<SegmentName>> {
    if names.is_empty() {
        return Err(Error::NoSegment { dir: dir.to_owned() });
    }
    let first = names.iter().rposition(|name| name.index <= index);
    let first = first.ok_or_else(|| Error::NoSegmentFor { dir: dir.to_owned(), index })?;
    names.drain(..first);
    check_chain(dir, &names)?;
    Ok(names)
}

/// Refuses gaps and doubles in the sequence numbers.
pub(crate) fn check_chain(dir: &Path, names: &[SegmentName]) -> Result<()> {
    for (before, name) in names.iter().zip(names.iter().skip(1)) {
        if before.seq.checked_add(1) != Some(name.seq) {
            let start = names.first().map_or(0, |first| first.seq);
            return Err(Error::SequenceGap { path: dir.join(name.to_string()), start });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pairs: &[(u64, u64)]) -> Vec<SegmentName> {
        pairs.iter().map(|&(seq, index)| SegmentName { seq, index }).collect()
    }

    #[test]
    fn a_name_is_two_hex_numbers_of_16_digits_and_nothing_else() {
        let name = SegmentName { seq: 1, index: 0x33 };
        assert_eq!(name.to_string(), "0000000000000001-0000000000000033.wal");
        assert_eq!(SegmentName::parse(&name.to_string()), Some(name));
        for bad in [
            "0.tmp",
            "1-33.wal",
            "0000000000000001-0000000000000033.wal.broken",
            "000000000000000G-0000000000000033.wal",
            "0000000000000001_0000000000000033.wal",
            "+000000000000001-0000000000000033.wal",
            "000000000000000A-0000000000000033.wal",
        ] {
            assert_eq!(SegmentName::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn reading_starts_at_the_last_segment_not_above_the_index() {
        let all = names(&[(3, 0), (4, 10), (5, 10), (6, 20)]);
        let dir = Path::new("w");
        for (index, first_seq) in [(0, 3), (9, 3), (10, 5), (19, 5), (20, 6), (99, 6)] {
            let selected = select(dir, all.clone(), index).unwrap();
            assert_eq!(selected.first().unwrap().seq, first_seq, "index {index}");
            assert_eq!(selected.last().unwrap().seq, 6, "index {index}");
        }
    }

    #[test]
    fn a_gap_a_double_and_a_late_start_are_refused() {
        let dir = Path::new("w");
        let gap = select(dir, names(&[(0, 0), (2, 5)]), 3).unwrap_err().to_string();
        assert_eq!(
            gap,
            "wal: file sequence numbers (starting from 0) do not increase continuously: \
             'w/0000000000000002-0000000000000005.wal'"
        );
        assert!(select(dir, names(&[(1, 0), (1, 5)]), 3).is_err());
        assert!(select(dir, names(&[(1, 0), (3, 5)]), 5).is_ok(), "the gap is before the start");
        let late = select(dir, names(&[(4, 7)]), 6).unwrap_err().to_string();
        assert_eq!(late, "wal: file not found which matches the snapshot index '6': 'w'");
        assert_eq!(select(dir, vec![], 6).unwrap_err().to_string(), "wal: file not found: 'w'");
    }
}
