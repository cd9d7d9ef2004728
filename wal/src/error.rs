//! What can go wrong with the files of the log, told with file and offset.

use std::io;
use std::path::PathBuf;

/// An error of this crate. The texts that etcd has for the same situation are kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("{action}: file '{}': {source}", path.display())]
    Io {
        /// What was tried, in the present tense.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// An earlier write or sync failed: what is on disk is unknown, so nothing more is written.
    #[error("wal: an earlier write or sync failed, the log '{}' takes no more", dir.display())]
    Poisoned {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// A log is to be created where one exists.
    #[error("file exists: '{}'", dir.display())]
    AlreadyExists {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// Another process writes this log.
    #[error("fileutil: file already locked: '{}'", path.display())]
    Locked {
        /// The segment that is held.
        path: PathBuf,
    },
    /// The directory has no segment.
    #[error("wal: file not found: '{}'", dir.display())]
    NoSegment {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// All segments begin after the index asked for.
    #[error("wal: file not found which matches the snapshot index '{index}': '{}'", dir.display())]
    NoSegmentFor {
        /// Directory of the log.
        dir: PathBuf,
        /// The index asked for.
        index: u64,
    },
    /// A segment between two others is missing or there twice.
    #[error(
        "wal: file sequence numbers (starting from {start}) do not increase continuously: '{}'",
        path.display()
    )]
    SequenceGap {
        /// The first segment that does not follow the one before it.
        path: PathBuf,
        /// Sequence number of the first segment that was to be read.
        start: u64,
    },
    /// A segment ends inside a record.
    #[error("unexpected EOF")]
    ShortRecord {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// The length word promises more than the segment has.
    #[error(
        "unexpected EOF: [wal] max entry size limit exceeded when reading \"{}\", recBytes: \
         {record_bytes}, fileSize({file_bytes}) - offset({offset}) - padBytes({padding_bytes}) = \
         entryLimit({})",
        path.display(),
        i128::from(*file_bytes) - i128::from(*offset) - i128::from(*padding_bytes)
    )]
    LongRecord {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Length of the record by its length word.
        record_bytes: u64,
        /// Padding by its length word.
        padding_bytes: u64,
        /// Length of the segment.
        file_bytes: u64,
    },
    /// The last record does not fit its CRC and has a sector of zeros: it was being written.
    #[error("unexpected EOF: in file '{}' at position: {offset}", path.display())]
    TornRecord {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// A record does not fit its CRC.
    #[error(
        "walpb: crc mismatch: expected: {expected:x} computed: {computed:x}: \
         in file '{}' at position: {offset}",
        path.display()
    )]
    CrcMismatch {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The CRC stored in the record.
        expected: u32,
        /// The CRC of what was read.
        computed: u32,
    },
    /// A record is not the message it should be.
    #[error("{reason}: in file '{}' at position: {offset}", path.display())]
    Malformed {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What the decoder says.
        reason: String,
    },
    /// A record cannot stand where it stands.
    #[error("wal: {reason}: in file '{}' at position: {offset}", path.display())]
    Misplaced {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A record of a kind that does not exist.
    #[error("unexpected block type {kind}: in file '{}' at position: {offset}", path.display())]
    UnknownKind {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// The number found.
        kind: i64,
    },
    /// Two segments say that they belong to different members or clusters.
    #[error("wal: conflicting metadata found: in file '{}' at position: {offset}", path.display())]
    MetadataConflict {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
    },
    /// No segment says whose log this is.
    #[error("wal: no metadata record found: '{}'", dir.display())]
    MetadataMissing {
        /// Directory of the log.
        dir: PathBuf,
    },
    /// Entries are missing between the snapshot or the entry before and this one.
    #[error(
        "wal: slice bounds out of range, snapshot[Index: {snapshot_index}, Term: \
         {snapshot_term}], current entry[Index: {entry_index}, Term: {entry_term}], \
         len(ents): {entries}: in file '{}' at position: {offset}",
        path.display()
    )]
    EntryGap {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// Index the log is opened at.
        snapshot_index: u64,
        /// Term the log is opened at.
        snapshot_term: u64,
        /// Index of the entry.
        entry_index: u64,
        /// Term of the entry.
        entry_term: u64,
        /// Entries read so far.
        entries: usize,
    },
    /// The mark with the index asked for has another term.
    #[error("wal: snapshot mismatch: '{}', index {index}, term {term}", dir.display())]
    SnapshotMismatch {
        /// Directory of the log.
        dir: PathBuf,
        /// The index asked for.
        index: u64,
        /// The term found at it.
        term: u64,
    },
    /// No mark has the index asked for.
    #[error("wal: snapshot not found: '{}', index {index}, term {term}", dir.display())]
    SnapshotNotFound {
        /// Directory of the log.
        dir: PathBuf,
        /// The index asked for.
        index: u64,
        /// The term asked for.
        term: u64,
    },
    /// The log ends before entries that are known to have been committed or applied.
    #[error(
        "wal: the log ends at index {last_index}, in file '{}' at position: {offset}, but index \
         {durable_index} was committed or applied: entries are lost",
        path.display()
    )]
    EntriesLost {
        /// The last segment.
        path: PathBuf,
        /// Where that ends which can be read.
        offset: u64,
        /// Index of the last entry that can be read.
        last_index: u64,
        /// Index that the log must reach.
        durable_index: u64,
    },
    /// The log has an older entry where a newer one is known to have been applied.
    #[error(
        "wal: entry {index} of the log '{}' has term {term}, but it was applied with term \
         {applied_term}: entries are lost",
        dir.display()
    )]
    EntryReplaced {
        /// Directory of the log.
        dir: PathBuf,
        /// Index of the entry.
        index: u64,
        /// Its term in the log.
        term: u64,
        /// The term it was applied with.
        applied_term: u64,
    },
    /// A mark other than the first lacks the membership.
    #[error("Saved (not-initial) snapshot is missing ConfState: index {index}, term {term}")]
    MissingConfState {
        /// Index of the mark.
        index: u64,
        /// Term of the mark.
        term: u64,
    },
    /// A `.snap` file cannot be used; it was set aside as `.broken`.
    #[error("snap: {reason}: '{}'", path.display())]
    BadSnap {
        /// The file.
        path: PathBuf,
        /// What is wrong: `empty snapshot`, `crc mismatch` or a decoder's text.
        reason: String,
    },
    /// No usable `.snap` file.
    #[error("snap: no available snapshot: '{}'", dir.display())]
    NoSnap {
        /// Directory of the snapshots.
        dir: PathBuf,
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// True when a segment ends inside a record: the last segment may be cut there.
    pub(crate) fn is_unexpected_eof(&self) -> bool {
        matches!(self, Self::ShortRecord { .. } | Self::LongRecord { .. } | Self::TornRecord { .. })
    }
}
