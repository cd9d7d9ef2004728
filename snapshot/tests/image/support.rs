//! Making and reading images in memory.

use std::cell::Cell;
use std::io;

use snapshot::{Planner, Reader, Result, Source, Writer};

/// Rows of a bucket.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;
/// Buckets with their rows.
pub(crate) type Buckets = Vec<(Vec<u8>, Rows)>;

pub(crate) const PAGE: usize = 4096;

/// Writes an image in two passes.
pub(crate) fn write(buckets: &Buckets) -> Vec<u8> {
    let mut planner = Planner::new();
    for (name, rows) in buckets {
        planner.bucket(name).unwrap();
        for (key, value) in rows {
            planner.row(key.len(), value.len()).unwrap();
        }
    }
    let plan = planner.finish().unwrap();
    let mut writer = Writer::new(Vec::new(), plan).unwrap();
    for (name, rows) in buckets {
        writer.bucket(name).unwrap();
        for (key, value) in rows {
            writer.row(key, value).unwrap();
        }
    }
    let image = writer.finish().unwrap();
    assert_eq!(image.len() as u64, plan.total_bytes());
    image
}

/// All buckets and rows.
pub(crate) fn read<S: Source>(reader: &Reader<S>) -> Result<Buckets> {
    let mut buckets = Vec::new();
    let mut walk = reader.walk();
    while let Some(name) = walk.next_bucket()? {
        let name = name.to_vec();
        let mut rows = Vec::new();
        while let Some((key, value)) = walk.next_row()? {
            rows.push((key.to_vec(), value.to_vec()));
        }
        buckets.push((name, rows));
    }
    Ok(buckets)
}

/// A bucket as a literal.
type Literal<'a> = (&'a str, &'a [(&'a [u8], &'a [u8])]);

/// Buckets from literals.
pub(crate) fn buckets(of: &[Literal<'_>]) -> Buckets {
    let rows = |rows: &[(&[u8], &[u8])]| {
        rows.iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    };
    of.iter().map(|(name, of)| (name.as_bytes().to_vec(), rows(of))).collect()
}

/// The bytes of a row of bucket `key`.
pub(crate) fn revision(main: i64) -> Vec<u8> {
    base::RowKey::put(base::Revision::new(main, 0)).encode().to_vec()
}

/// A deterministic run of bytes.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(&mut next).take(len).collect()
}

/// Counts what is read, so that a test can tell an endless walk from a finished one, and refuses
/// buffers larger than the file, so that no length in it is believed before it was checked.
pub(crate) struct Counted<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) read: Cell<usize>,
    pub(crate) limit: usize,
}

impl Source for Counted<'_> {
    fn length(&self) -> io::Result<u64> {
        self.bytes.length()
    }

    fn read_range(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        assert!(buf.len() <= self.bytes.len().max(PAGE), "a buffer of {} bytes", buf.len());
        self.read.set(self.read.get() + buf.len());
        assert!(self.read.get() <= self.limit, "reads more than {} bytes", self.limit);
        self.bytes.read_range(offset, buf)
    }
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Writes both metas anew, checksums included, after `change` was made to their 56 bytes.
pub(crate) fn change_metas(image: &mut [u8], change: impl Fn(&mut [u8])) {
    for page in 0..2 {
        let meta = &mut image[page * PAGE + 16..][..64];
        change(meta);
        let sum = meta[..56].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
            (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
        meta[56..].copy_from_slice(&sum.to_le_bytes());
    }
}
