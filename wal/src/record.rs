//! The records of the log as bytes: framing, the CRC chain and the protobuf payloads.
//!
//! ```text
//! +0  length word, u64 little endian: n | (0x80 | p) << 56 when p != 0
//! +8  walpb.Record, n bytes: type (1), crc (2), data (3)
//!     p zero bytes, so that the next record starts on a multiple of 8
//! ```
//! Written in the form of etcd 3.4 to 3.6 (zero scalars are present), which 3.7 reads too; read in
//! both forms and with unknown fields skipped. Everything here is pure.

use crate::wire::{Fields, Value, WireError, put_bytes, put_bytes_head, put_number};
use base::ConfState;
use bytes::Bytes;

/// Bytes of a length word.
pub(crate) const WORD_BYTES: u64 = 8;

/// Bits of the length word that hold the record's length.
const LENGTH_MASK: u64 = 0x00ff_ffff_ffff_ffff;

/// `type` of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    Metadata = 1,
    Entry = 2,
    State = 3,
    Crc = 4,
    Snapshot = 5,
}

impl RecordKind {
    pub(crate) fn from_number(n: i64) -> Option<Self> {
        match n {
            1 => Some(Self::Metadata),
            2 => Some(Self::Entry),
            3 => Some(Self::State),
            4 => Some(Self::Crc),
            5 => Some(Self::Snapshot),
            _ => None,
        }
    }
}

/// What kind of entry: raft's `EntryType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A request; empty data is the first entry of a leader.
    #[default]
    Normal = 0,
    /// A membership change, one step.
    ConfChange = 1,
    /// A membership change in raft's newer form; etcd never writes it.
    ConfChangeV2 = 2,
}

/// One entry of the raft log. `data` is never looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What `data` is.
    pub kind: EntryKind,
    /// Term of the leader that made the entry.
    pub term: u64,
    /// Position in the log, from 1.
    pub index: u64,
    /// The bytes that were proposed.
    pub data: Bytes,
}

/// What a member must remember besides its entries: raft's `HardState`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// Newest term seen.
    pub term: u64,
    /// Member voted for in that term, 0 for none.
    pub vote: u64,
    /// Index up to which entries are known to be committed; may lag after a crash.
    pub commit: u64,
}

impl HardState {
    /// True when nothing was ever remembered: such a state is never written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A mark in the log: the state up to `index` is kept elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Index of the last entry in the snapshot, 0 for the mark at the very start.
    pub index: u64,
    /// Term of that entry.
    pub term: u64,
    /// The membership at `index`; absent in the first mark and in logs of etcd 3.4.
    pub conf_state: Option<ConfState>,
}

/// Whose log this is; the same in all its segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Id of the member.
    pub node_id: u64,
    /// Id of the cluster.
    pub cluster_id: u64,
}

impl Metadata {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(22);
        put_number(&mut out, 1, self.node_id);
        put_number(&mut out, 2, self.cluster_id);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut metadata = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => metadata.node_id = value.varint()?,
                2 => metadata.cluster_id = value.varint()?,
                _ => {}
            }
        }
        Ok(metadata)
    }
}

impl HardState {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.term);
        put_number(out, 2, self.vote);
        put_number(out, 3, self.commit);
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut state = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => state.term = value.varint()?,
                2 => state.vote = value.varint()?,
                3 => state.commit = value.varint()?,
                _ => {}
            }
        }
        Ok(state)
    }
}

impl Entry {
    /// Everything before the data bytes, which follow it unchanged.
    fn encode_head_into(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.kind as u64);
        put_number(out, 2, self.term);
        put_number(out, 3, self.index);
        if !self.data.is_empty() {
            put_bytes_head(out, 4, self.data.len());
        }
    }

    /// Decodes an entry whose data stays a slice of `bytes`.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let mut entry = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => {
                    entry.kind = match value.varint()? {
                        0 => EntryKind::Normal,
                        1 => EntryKind::ConfChange,
                        2 => EntryKind::ConfChangeV2,
                        _ => return Err(WireError::UnknownEntryType),
                    }
                }
                2 => entry.term = value.varint()?,
                3 => entry.index = value.varint()?,
                4 => entry.data = bytes.slice_ref(value.bytes()?),
                _ => {}
            }
        }
        Ok(entry)
    }
}

impl SnapshotRecord {
    fn encode_into(&self, out: &mut Vec<u8>) {
        put_number(out, 1, self.index);
        put_number(out, 2, self.term);
        if let Some(conf_state) = &self.conf_state {
            put_bytes(out, 3, &encode_conf_state(conf_state));
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut snapshot = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => snapshot.index = value.varint()?,
                2 => snapshot.term = value.varint()?,
                3 => snapshot.conf_state = Some(decode_conf_state(value.bytes()?)?),
                _ => {}
            }
        }
        Ok(snapshot)
    }
}

/// raftpb.ConfState: id lists with one tag per element, `auto_leave` always present.
pub(crate) fn encode_conf_state(conf_state: &ConfState) -> Vec<u8> {
    let mut out = Vec::new();
    let lists = [
        &conf_state.voters,
        &conf_state.learners,
        &conf_state.voters_outgoing,
        &conf_state.learners_next,
    ];
    for (number, ids) in (1u8..).zip(lists) {
        for id in ids {
            put_number(&mut out, number, *id);
        }
    }
    put_number(&mut out, 5, u64::from(conf_state.auto_leave));
    out
}

/// Reads raftpb.ConfState with id lists in either form, one tag per element or packed.
pub(crate) fn decode_conf_state(bytes: &[u8]) -> Result<ConfState, WireError> {
    let mut conf_state = ConfState::default();
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => push_ids(&mut conf_state.voters, value)?,
            2 => push_ids(&mut conf_state.learners, value)?,
            3 => push_ids(&mut conf_state.voters_outgoing, value)?,
            4 => push_ids(&mut conf_state.learners_next, value)?,
            5 => conf_state.auto_leave = value.varint()? != 0,
            _ => {}
        }
    }
    Ok(conf_state)
}

fn push_ids(ids: &mut Vec<u64>, value: Value<'_>) -> Result<(), WireError> {
    match value {
        Value::Varint(id) => ids.push(id),
        Value::Bytes(packed) => {
            let mut packed = Fields::new(packed);
            while let Some(id) = packed.next_varint()? {
                ids.push(id);
            }
        }
        Value::Fixed => return Err(WireError::Malformed),
    }
    Ok(())
}

/// A record as it was found in a segment; `data` is a slice of the segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) kind: i64,
    pub(crate) crc: u32,
    pub(crate) data: Bytes,
}

impl Record {
    /// Decodes walpb.Record without its framing.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let mut record = Self::default();
        let mut fields = Fields::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => record.kind = value.varint()?.cast_signed(),
                // Go keeps the low half of a longer number, and so the CRC test decides.
                2 => record.crc = low_half(value.varint()?),
                3 => record.data = bytes.slice_ref(value.bytes()?),
                _ => {}
            }
        }
        Ok(record)
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the low 32 bits are what is asked for")]
fn low_half(n: u64) -> u32 {
    n as u32
}

/// Length of a record and of the padding behind it, from its length word.
pub(crate) fn split_word(word: u64) -> (u64, u64) {
    let padding = if word >> 63 == 1 { (word >> 56) & 7 } else { 0 };
    (word & LENGTH_MASK, padding)
}

fn join_word(len: usize) -> (u64, usize) {
    let padding = (8 - len % 8) % 8;
    let flags = if padding == 0 { 0 } else { 0x80 | padding as u64 };
    (len as u64 | flags << 56, padding)
}

/// Turns records into bytes behind one another and carries the running CRC.
#[derive(Debug)]
pub(crate) struct Encoder {
    crc: u32,
    head: Vec<u8>,
    out: Vec<u8>,
}

impl Encoder {
    /// An encoder that goes on from the running CRC `crc`.
    pub(crate) fn new(crc: u32) -> Self {
        Self { crc, head: Vec::with_capacity(64), out: Vec::new() }
    }

    /// The bytes that wait to be written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.out
    }

    /// Forgets the bytes, which were written, and gives memory above `keep_bytes_max` back.
    pub(crate) fn clear(&mut self, keep_bytes_max: usize) {
        self.out.clear();
        self.out.shrink_to(keep_bytes_max);
    }

    /// Makes room for a batch of entries.
    pub(crate) fn reserve_for(&mut self, entries: &[Entry]) {
        /// Length word, record head, entry head and padding at their longest.
        const OVERHEAD_BYTES_MAX: usize = 8 + 19 + 43 + 7;
        let data: usize = entries.iter().map(|e| e.data.len()).sum();
        self.out.reserve(data + entries.len() * OVERHEAD_BYTES_MAX);
    }

    pub(crate) fn crc_record(&mut self) {
        let crc = self.crc;
        let (word, padding) = join_word(record_head_len(crc));
        self.out.extend_from_slice(&word.to_le_bytes());
        put_number(&mut self.out, 1, RecordKind::Crc as u64);
        put_number(&mut self.out, 2, u64::from(crc));
        self.out.resize(self.out.len() + padding, 0);
    }

    pub(crate) fn metadata(&mut self, encoded: &[u8]) {
        self.head.clear();
        self.push(RecordKind::Metadata, encoded);
    }

    pub(crate) fn entry(&mut self, entry: &Entry) {
        self.head.clear();
        entry.encode_head_into(&mut self.head);
        self.push(RecordKind::Entry, &entry.data);
    }

    pub(crate) fn state(&mut self, state: &HardState) {
        self.head.clear();
        state.encode_into(&mut self.head);
        self.push(RecordKind::State, &[]);
    }

    pub(crate) fn snapshot(&mut self, snapshot: &SnapshotRecord) {
        self.head.clear();
        snapshot.encode_into(&mut self.head);
        self.push(RecordKind::Snapshot, &[]);
    }

    /// Adds a record whose data is `self.head` followed by `tail`.
    fn push(&mut self, kind: RecordKind, tail: &[u8]) {
        self.crc = crc32c::crc32c_append(self.crc, &self.head);
        self.crc = crc32c::crc32c_append(self.crc, tail);
        let data_len = self.head.len() + tail.len();
        let len = record_head_len(self.crc) + 1 + varint_len(data_len as u64) + data_len;
        let (word, padding) = join_word(len);
        self.out.reserve(8 + len + padding);
        self.out.extend_from_slice(&word.to_le_bytes());
        put_number(&mut self.out, 1, kind as u64);
        put_number(&mut self.out, 2, u64::from(self.crc));
        put_bytes_head(&mut self.out, 3, data_len);
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(tail);
        self.out.resize(self.out.len() + padding, 0);
    }
}

/// Bytes of the fields type and crc.
fn record_head_len(crc: u32) -> usize {
    2 + 1 + varint_len(u64::from(crc))
}

fn varint_len(n: u64) -> usize {
    let bits = 64 - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[cfg(test)]
mod tests;
