//! Small logs to try things on.

use bytes::Bytes;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wal::{Entry, HardState, Metadata, Options, Recovered, Wal};

pub(crate) const METADATA: Metadata = Metadata { node_id: 0x1111, cluster_id: 0x2222 };

/// A directory for a log, removed at the end.
pub(crate) struct Dir {
    _temp: TempDir,
    pub(crate) wal: PathBuf,
}

impl Dir {
    pub(crate) fn new() -> Self {
        let temp = TempDir::new().unwrap();
        let wal = temp.path().join("wal");
        Self { _temp: temp, wal }
    }

    pub(crate) fn create(&self, options: &Options) -> Wal {
        Wal::create(&self.wal, &METADATA, options).unwrap()
    }

    pub(crate) fn open(&self) -> (Wal, Recovered) {
        Wal::open(&self.wal, (0, 0), &small()).unwrap()
    }

    /// All names in the directory, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(&self.wal)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The segments, sorted.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let names = self.names();
        names.iter().filter(|n| n.ends_with(".wal")).map(|n| self.wal.join(n)).collect()
    }
}

/// Segments of 8 KiB, so that a few entries fill one.
pub(crate) fn small() -> Options {
    Options { segment_bytes: 8192, ..Options::default() }
}

pub(crate) fn entry(index: u64, term: u64, data: &[u8]) -> Entry {
    Entry { term, index, data: Bytes::copy_from_slice(data), ..Entry::default() }
}

pub(crate) fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

/// Where each record of a segment begins, and the end of the data.
pub(crate) fn offsets(segment: &Path) -> Vec<u64> {
    let bytes = fs::read(segment).unwrap();
    let mut at = 0u64;
    let mut offsets = vec![0];
    while let Some(word) = bytes.get(at as usize..at as usize + 8) {
        let word = u64::from_le_bytes(word.try_into().unwrap());
        if word == 0 {
            break;
        }
        let padding = if word >> 63 == 1 { word >> 56 & 7 } else { 0 };
        at += 8 + (word & 0x00ff_ffff_ffff_ffff) + padding;
        offsets.push(at);
    }
    offsets
}

/// Adds a record behind the data of a segment, with the CRC that belongs there; it may be one that
/// a `Wal` never writes.
pub(crate) fn add_record(segment: &Path, kind: u8, data: &[u8]) {
    let mut bytes = fs::read(segment).unwrap();
    let at = offsets(segment);
    let (last, end) = (at[at.len() - 2] as usize, at[at.len() - 1] as usize);
    let crc = crc32c::crc32c_append(stored_crc(&bytes[last..end]), data);
    let mut body = vec![0x08, kind, 0x10];
    put_varint(&mut body, u64::from(crc));
    body.push(0x1a);
    put_varint(&mut body, data.len() as u64);
    body.extend(data);
    let padding = (8 - body.len() % 8) % 8;
    let flags = if padding == 0 { 0 } else { (0x80 | padding as u64) << 56 };
    let word = (body.len() as u64 | flags).to_le_bytes();
    body.resize(body.len() + padding, 0);
    bytes.truncate(end);
    bytes.extend(word);
    bytes.extend(body);
    fs::write(segment, bytes).unwrap();
}

/// The crc field of a record that begins with its length word.
fn stored_crc(record: &[u8]) -> u32 {
    let mut crc = 0;
    for (i, byte) in record[11..].iter().enumerate() {
        crc |= u32::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            break;
        }
    }
    crc
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}
