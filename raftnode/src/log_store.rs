//! The raft log in memory: every entry since the last compaction.
//!
//! ```text
//!            boundary            last
//!   index  4    5    6    7    8    9
//!         gone  t    e    e    e    e        t: only the term is kept, to match appends
//!               └ first_index = 6
//! ```
//!
//! raft-rs sees *shells*: entries with kind, term and index but without data. The data stays
//! here as the very [`Bytes`](bytes::Bytes) that were proposed or received, so the WAL, the
//! state machine and the peers share one allocation and consensus copies none of it.

use std::collections::VecDeque;

use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};
use wal::{Entry, HardState};

use crate::convert;
use crate::error::Error;
use crate::limits::ENTRY_OVERHEAD_BYTES;

/// Index and term of one place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The place.
    pub index: u64,
    /// The term of the entry there.
    pub term: u64,
}

/// What a follower that lags too far is offered instead of entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct SnapshotOffer {
    pub(crate) position: LogPosition,
    pub(crate) conf_state: base::ConfState,
}

/// The log of one member since its last compaction; raft's `Storage`.
#[derive(Debug)]
pub struct LogStore {
    boundary: LogPosition,
    entries: VecDeque<Entry>,
    bytes: usize,
    initial_hard_state: HardState,
    conf_state: base::ConfState,
    offer: SnapshotOffer,
}

/// Bytes that `entry` counts against size bounds.
fn weight(entry: &Entry) -> usize {
    entry.data.len() + ENTRY_OVERHEAD_BYTES
}

impl LogStore {
    /// Builds the log from what was read from disk.
    ///
    /// `boundary` is the snapshot the entries follow, `hard_state` and `conf_state` are what
    /// raft starts with.
    ///
    /// # Errors
    /// [`Error::LogGap`] when the entries do not follow the boundary one by one, or a term
    /// falls.
    pub fn new(
        boundary: LogPosition,
        entries: Vec<Entry>,
        hard_state: HardState,
        conf_state: base::ConfState,
    ) -> Result<Self, Error> {
        let mut before = boundary;
        let mut bytes = 0;
        for entry in &entries {
            if entry.index != before.index + 1 || entry.term < before.term {
                return Err(Error::LogGap {
                    before_index: before.index,
                    before_term: before.term,
                    index: entry.index,
                    term: entry.term,
                });
            }
            before = LogPosition { index: entry.index, term: entry.term };
            bytes += weight(entry);
        }
        let offer =
            SnapshotOffer { position: LogPosition::default(), conf_state: conf_state.clone() };
        Ok(Self {
            boundary,
            entries: entries.into(),
            bytes,
            initial_hard_state: hard_state,
            conf_state,
            offer,
        })
    }

    /// Index and term of the last entry (of the boundary when there is none).
    #[must_use]
    pub fn last(&self) -> LogPosition {
        match self.entries.back() {
            Some(entry) => LogPosition { index: entry.index, term: entry.term },
            None => self.boundary,
        }
    }

    /// First index that is still held.
    #[must_use]
    pub fn first_index(&self) -> u64 {
        self.boundary.index + 1
    }

    /// Bytes held, data and overhead.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entry at `index`, if it is held.
    #[must_use]
    pub fn get(&self, index: u64) -> Option<&Entry> {
        let at = index.checked_sub(self.first_index())?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    /// The term at `index`, the boundary included.
    #[must_use]
    pub fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.boundary.index {
            return Some(self.boundary.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Appends `entries`, replacing what conflicts.
    ///
    /// # Panics
    /// When they would leave a gap or reach below the boundary: raft never asks for it.
    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.boundary.index && first.index <= self.last().index + 1,
            "append at {} to a log of [{}, {}]",
            first.index,
            self.first_index(),
            self.last().index
        );
        while self.last().index >= first.index {
            let Some(old) = self.entries.pop_back() else { break };
            self.bytes -= weight(&old);
        }
        for entry in entries {
            assert_eq!(entry.index, self.last().index + 1, "gap inside an append");
            self.bytes += weight(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// Forgets the entries up to and including `index`, keeping the term there.
    pub(crate) fn compact(&mut self, index: u64) {
        while self.boundary.index < index {
            let Some(old) = self.entries.pop_front() else { break };
            self.bytes -= weight(&old);
            self.boundary = LogPosition { index: old.index, term: old.term };
        }
    }

    /// The last index to forget so that at most `entries` entries and `bytes` bytes stay
    /// below `applied`.
    pub(crate) fn compact_point(&self, applied: u64, entries: u64, bytes: usize) -> u64 {
        let mut point = applied.saturating_sub(entries).max(self.boundary.index);
        let mut held = self.bytes;
        let mut index = self.boundary.index;
        for entry in &self.entries {
            if index >= point && (held <= bytes || index >= applied) {
                break;
            }
            index = entry.index;
            held -= weight(entry);
        }
        point = point.max(index);
        point.min(applied)
    }

    /// Starts over behind a received snapshot.
    pub(crate) fn restore(&mut self, position: LogPosition, conf_state: base::ConfState) {
        self.entries.clear();
        self.bytes = 0;
        self.boundary = position;
        self.offer = SnapshotOffer { position, conf_state };
    }

    /// Notes the newest applied state: what a follower would be sent as a snapshot.
    pub(crate) fn offer_snapshot(&mut self, index: u64) {
        if let Some(term) = self.term_at(index) {
            self.offer.position = LogPosition { index, term };
        }
    }

    /// Notes the membership that goes with it.
    pub(crate) fn offer_membership(&mut self, conf_state: &base::ConfState) {
        self.offer.conf_state = conf_state.clone();
    }

    /// Entries `[low, high)`, at most `bytes_max` bytes of them but at least one.
    fn shells(&self, low: u64, high: u64, bytes_max: Option<u64>) -> Vec<eraftpb::Entry> {
        let start = usize::try_from(low - self.first_index()).expect("an index held in memory");
        let count = usize::try_from(high - low).expect("a count held in memory");
        let mut shells = Vec::with_capacity(count);
        let mut left = bytes_max.unwrap_or(u64::MAX);
        for entry in self.entries.range(start..start + count) {
            let size = weight(entry) as u64;
            if size > left && !shells.is_empty() {
                break;
            }
            left = left.saturating_sub(size);
            shells.push(convert::shell(entry));
        }
        shells
    }
}

impl Storage for LogStore {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            convert::hard_state_to_raft(&self.initial_hard_state),
            convert::conf_state_to_raft(&self.conf_state),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low < self.first_index() {
            return Err(StorageError::Compacted.into());
        }
        assert!(high <= self.last().index + 1, "entries up to {high} of {}", self.last().index);
        Ok(self.shells(low, high, max_size.into()))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.boundary.index {
            return Err(StorageError::Compacted.into());
        }
        self.term_at(index).ok_or_else(|| StorageError::Unavailable.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first_index())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<eraftpb::Snapshot> {
        let position = self.offer.position;
        if position.index == 0 || position.index < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        let mut snapshot = eraftpb::Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = position.index;
        metadata.term = position.term;
        metadata.set_conf_state(convert::conf_state_to_raft(&self.offer.conf_state));
        Ok(snapshot)
    }
}

#[cfg(test)]
mod tests;
