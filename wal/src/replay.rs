//! What the records of a log add up to: the rules for entries that replace others, for marks and
//! for metadata.

use crate::error::{Error, Result};
use crate::fs::io_error;
use crate::reader::{Cursor, Segment, malformed};
use crate::record::{Entry, EntryKind, HardState, Metadata, Record, RecordKind, SnapshotRecord};
use crate::segment::{SegmentName, check_chain, list, select};
use bytes::Bytes;
use std::fs::File;
use std::path::{Path, PathBuf};

/// What was found in a log.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Whose log it is.
    pub metadata: Metadata,
    /// The newest hard state; its commit may lag behind what was applied.
    pub hard_state: HardState,
    /// The entries behind the mark the log was opened at, without gaps.
    pub entries: Vec<Entry>,
    /// Set when the last record was torn and has been cut off.
    pub repaired: Option<Repaired>,
}

/// A torn last record that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The segment that is shorter now.
    pub segment: PathBuf,
    /// Its new length.
    pub offset: u64,
    /// A copy of the segment as it was.
    pub backup: PathBuf,
    /// What was wrong with the record.
    pub cause: String,
}

/// Index and term of the mark at which a log is opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Start {
    pub(crate) index: u64,
    pub(crate) term: u64,
}

/// What of a log is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// Entries behind a mark.
    EntriesFrom(Start),
    /// Only hard state and marks, of whatever segments there are.
    Marks,
}

/// What was read so far.
#[derive(Debug)]
pub(crate) struct Replay {
    keep: Keep,
    /// The encoded metadata, repeated at the head of each segment.
    pub(crate) metadata: Option<Bytes>,
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) marks: Vec<SnapshotRecord>,
    /// Term of the entry at the mark the log is opened at, if there is one.
    start_entry_term: Option<u64>,
    /// Index of the last entry or mark, whichever is larger.
    pub(crate) last_index: u64,
    /// Where the data ends.
    pub(crate) tail: Tail,
}

/// The end of the data in the last segment.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    pub(crate) path: PathBuf,
    pub(crate) offset: u64,
    pub(crate) crc: u32,
    pub(crate) file_bytes: u64,
    /// Why the data ends here, when that is inside a record.
    pub(crate) damage: Option<Error>,
    /// Whether the last segment has its metadata record.
    pub(crate) has_metadata: bool,
    /// Whether the last segment has a state record.
    pub(crate) has_state: bool,
}

impl Replay {
    fn new(keep: Keep) -> Self {
        Self {
            keep,
            metadata: None,
            hard_state: HardState::default(),
            entries: Vec::new(),
            marks: Vec::new(),
            start_entry_term: None,
            last_index: 0,
            tail: Tail::default(),
        }
    }

    /// Reads segments in order; each item opens the file it names.
    pub(crate) fn read<'a>(
        keep: Keep,
        mut segments: impl ExactSizeIterator<Item = Result<(PathBuf, FileRef<'a>)>>,
    ) -> Result<Self> {
        let mut replay = Self::new(keep);
        let mut buffer = Vec::new();
        while let Some(segment) = segments.next() {
            let (path, file) = segment?;
            let segment = Segment::load(file.as_file(), &path, buffer)?;
            replay.read_segment(&segment, segments.len() == 0)?;
            buffer = segment.into_buffer();
        }
        Ok(replay)
    }

    fn read_segment(&mut self, segment: &Segment, is_last: bool) -> Result<()> {
        let mut cursor = Cursor::new(segment, is_last);
        let mut crc = self.tail.crc;
        let (path, file_bytes) = (segment.path.clone(), segment.file_bytes);
        self.tail = Tail { path, file_bytes, ..Tail::default() };
        loop {
            let offset = cursor.offset;
            match cursor.next(&mut crc) {
                Ok(Some(record)) => self.add(&record, &segment.path, offset)?,
                Ok(None) => break,
                Err(e) if is_last && e.is_unexpected_eof() => {
                    self.tail.damage = Some(e);
                    break;
                }
                Err(e) => return Err(e),
            }
        }
        self.tail.offset = cursor.offset;
        self.tail.crc = crc;
        Ok(())
    }

    /// The CRC covers a record's data but not its kind: what a flipped bit there would turn one
    /// kind into must break one of these rules.
    fn add(&mut self, record: &Record, path: &Path, offset: u64) -> Result<()> {
        let bad = |e| malformed(path, offset, e);
        let misplaced = |reason| Err(Error::Misplaced { path: path.to_owned(), offset, reason });
        let kind = RecordKind::from_number(record.kind);
        if offset == 0 && kind.is_some() && kind != Some(RecordKind::Crc) {
            return misplaced("segment without crc record at its head");
        }
        if offset > 0 && !self.tail.has_metadata && kind != Some(RecordKind::Metadata) {
            return misplaced("segment without metadata record at its head");
        }
        match kind {
            Some(RecordKind::Entry) => {
                if let Keep::EntriesFrom(start) = self.keep {
                    let entry = Entry::decode(&record.data).map_err(bad)?;
                    let lacks_data = entry.kind != EntryKind::Normal && entry.data.is_empty();
                    if entry.index == 0 || entry.term == 0 || lacks_data {
                        return misplaced("entry without index, term or conf change");
                    }
                    self.add_entry(start, entry, path, offset)?;
                }
            }
            Some(RecordKind::State) => {
                let state = HardState::decode(&record.data).map_err(bad)?;
                if state.term == 0 || state.term < self.hard_state.term {
                    return misplaced("hard state goes back in term");
                }
                self.hard_state = state;
                self.tail.has_state = true;
            }
            Some(RecordKind::Metadata) => {
                // A copy, so that it does not keep the whole segment in memory.
                let copy = || Bytes::copy_from_slice(&record.data);
                let first = self.metadata.get_or_insert_with(copy);
                if *first != record.data {
                    return Err(Error::MetadataConflict { path: path.to_owned(), offset });
                }
                self.tail.has_metadata = true;
            }
            Some(RecordKind::Snapshot) => {
                let mark = SnapshotRecord::decode(&record.data).map_err(bad)?;
                self.last_index = self.last_index.max(mark.index);
                self.restart_at(&mark);
                self.marks.push(mark);
            }
            // The cursor has compared and seeded the chain.
            Some(RecordKind::Crc) => {}
            None => {
                let kind = record.kind;
                return Err(Error::UnknownKind { path: path.to_owned(), offset, kind });
            }
        }
        Ok(())
    }

    /// The mark the log is opened at. One of this member's own stands behind the entry it names;
    /// where another entry has that index, the mark is that of a received snapshot, which took
    /// the place of the log: nothing that came before it counts.
    fn restart_at(&mut self, mark: &SnapshotRecord) {
        let Keep::EntriesFrom(start) = self.keep else { return };
        if mark.index == start.index && self.start_entry_term.is_some_and(|t| t != mark.term) {
            self.entries.clear();
            self.start_entry_term = Some(mark.term);
        }
    }

    /// An entry with the index of an earlier one replaces it and all behind it.
    fn add_entry(&mut self, start: Start, entry: Entry, path: &Path, offset: u64) -> Result<()> {
        self.last_index = entry.index;
        if entry.index <= start.index {
            self.entries.clear();
            self.start_entry_term = (entry.index == start.index).then_some(entry.term);
            return Ok(());
        }
        let position = usize::try_from(entry.index - start.index - 1).unwrap_or(usize::MAX);
        if position > self.entries.len() {
            return Err(Error::EntryGap {
                path: path.to_owned(),
                offset,
                snapshot_index: start.index,
                snapshot_term: start.term,
                entry_index: entry.index,
                entry_term: entry.term,
                entries: self.entries.len(),
            });
        }
        self.entries.truncate(position);
        self.entries.push(entry);
        Ok(())
    }

    /// Refuses a log without the mark it was opened at.
    pub(crate) fn check_mark(&self, dir: &Path, start: Start) -> Result<()> {
        let Start { index, term } = start;
        let mut found = false;
        for mark in self.marks.iter().filter(|mark| mark.index == index) {
            if mark.term != term {
                let term = mark.term;
                return Err(Error::SnapshotMismatch { dir: dir.to_owned(), index, term });
            }
            found = true;
        }
        if found {
            Ok(())
        } else {
            Err(Error::SnapshotNotFound { dir: dir.to_owned(), index, term })
        }
    }

    /// Refuses a log that ends before its own commit index or before what was applied, or that
    /// has another entry than the one applied last; term 0 is any.
    pub(crate) fn check_reach(
        &self,
        dir: &Path,
        start: Start,
        (applied_index, applied_term): (u64, u64),
    ) -> Result<()> {
        let last_index = self.entries.last().map_or(start.index, |entry| entry.index);
        let durable_index = applied_index.max(self.hard_state.commit);
        if last_index < durable_index {
            let (path, offset) = (self.tail.path.clone(), self.tail.offset);
            return Err(Error::EntriesLost { path, offset, last_index, durable_index });
        }
        let position = applied_index.checked_sub(start.index + 1);
        let applied = position.and_then(|at| self.entries.get(usize::try_from(at).ok()?));
        match applied {
            Some(entry) if applied_term != 0 && entry.term != applied_term => {
                let (dir, term) = (dir.to_owned(), entry.term);
                Err(Error::EntryReplaced { dir, index: applied_index, term, applied_term })
            }
            Some(_) | None => Ok(()),
        }
    }

    pub(crate) fn decode_metadata(&self, dir: &Path) -> Result<(Bytes, Metadata)> {
        let missing = || Error::MetadataMissing { dir: dir.to_owned() };
        let encoded = self.metadata.clone().ok_or_else(missing)?;
        let metadata = Metadata::decode(&encoded).map_err(|_| missing())?;
        Ok((encoded, metadata))
    }
}

/// A file that is held open elsewhere, or one opened only to be read.
pub(crate) enum FileRef<'a> {
    Held(&'a File),
    Own(File),
}

impl FileRef<'_> {
    fn as_file(&self) -> &File {
        match self {
            Self::Held(file) => file,
            Self::Own(file) => file,
        }
    }
}

fn read_without_locks(dir: &Path, names: &[SegmentName], keep: Keep) -> Result<Replay> {
    Replay::read(
        keep,
        names.iter().map(|name| {
            let path = dir.join(name.to_string());
            let file = File::open(&path).map_err(|e| io_error("open file", &path, e))?;
            Ok((path, FileRef::Own(file)))
        }),
    )
}

fn read_from(dir: &Path, start: Start) -> Result<Replay> {
    let names = select(dir, list(dir)?, start.index)?;
    let replay = read_without_locks(dir, &names, Keep::EntriesFrom(start))?;
    replay.check_mark(dir, start)?;
    Ok(replay)
}

/// Reads what comes after the mark `(index, term)` without locks and without changing anything; a
/// torn last record is left out.
///
/// # Errors
/// Any damage but a torn last record, by segment and offset; a missing segment or mark.
pub fn read_all(dir: &Path, at: (u64, u64)) -> Result<Recovered> {
    let replay = read_from(dir, Start { index: at.0, term: at.1 })?;
    let (_, metadata) = replay.decode_metadata(dir)?;
    let Replay { hard_state, entries, .. } = replay;
    Ok(Recovered { metadata, hard_state, entries, repaired: None })
}

/// Checks all that [`read_all`] reads and gives the newest hard state.
///
/// # Errors
/// As [`read_all`].
pub fn verify(dir: &Path, at: (u64, u64)) -> Result<HardState> {
    Ok(read_from(dir, Start { index: at.0, term: at.1 })?.hard_state)
}

/// The marks that a boot may start from: all in the log whose index is committed, oldest first.
/// Reads every segment there is; a torn last record is left out.
///
/// # Errors
/// Any damage but a torn last record, by segment and offset; no segment; a gap between segments.
pub fn valid_snapshots(dir: &Path) -> Result<Vec<SnapshotRecord>> {
    let names = list(dir)?;
    if names.is_empty() {
        return Err(Error::NoSegment { dir: dir.to_owned() });
    }
    check_chain(dir, &names)?;
    let Replay { mut marks, hard_state, .. } = read_without_locks(dir, &names, Keep::Marks)?;
    marks.retain(|mark| mark.index <= hard_state.commit);
    Ok(marks)
}

#[cfg(test)]
mod tests;
