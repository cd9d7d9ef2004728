//! Segments as bytes in memory and the walk over their records.

use crate::error::{Error, Result};
use crate::fs::io_error;
use crate::record::{Record, RecordKind, WORD_BYTES, split_word};
use crate::segment::SEGMENT_BYTES;
use crate::wire::WireError;
use bytes::Bytes;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};

/// What the disk writes whole or not at all; a torn record misses at least one such piece.
const SECTOR_BYTES: usize = 512;

/// Bytes read at a time: few enough that following the length words finds them in the cache, and
/// that the zeros behind the data of a fresh segment are hardly read.
const READ_BYTES: u64 = 256 << 10;

/// Memory asked for at once; only what is read into is really taken.
const RESERVE_BYTES_MAX: u64 = 2 * SEGMENT_BYTES;

/// A segment in memory up to the end of its data.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// The bytes from the start of the file to at least the end of the data.
    data: Bytes,
    /// Length of the file, which bounds what length words may promise.
    pub(crate) file_bytes: u64,
}

impl Segment {
    /// Reads `file` until a zero length word, a record that does not fit, or its end; into
    /// `buffer`, whose memory is used again.
    pub(crate) fn load(mut file: &File, path: &Path, mut buffer: Vec<u8>) -> Result<Self> {
        let failed = |e| io_error("read file", path, e);
        let file_bytes = file.metadata().map_err(failed)?.len();
        file.rewind().map_err(failed)?;
        buffer.clear();
        buffer.reserve(usize::try_from(file_bytes.min(RESERVE_BYTES_MAX)).unwrap_or(0));
        let (mut end, mut wanted, mut have) = (0, READ_BYTES, 0);
        while wanted > have && have < file_bytes {
            let chunk = READ_BYTES.max(wanted - have);
            let read = file.take(chunk).read_to_end(&mut buffer).map_err(failed)?;
            if read == 0 {
                break;
            }
            have += read as u64;
            (end, wanted) = scan(&buffer, end, file_bytes);
        }
        Ok(Self { path: path.to_owned(), data: Bytes::from(buffer), file_bytes })
    }

    /// The memory of the segment, if nothing of it is in use any more.
    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.data.try_into_mut().map(Vec::from).unwrap_or_default()
    }

    fn slice(&self, from: u64, len: u64) -> Option<Bytes> {
        let from = usize::try_from(from).ok()?;
        let to = from.checked_add(usize::try_from(len).ok()?)?;
        (to <= self.data.len()).then(|| self.data.slice(from..to))
    }
}

/// Follows length words from the record boundary `end` as far as they are in `data`; returns how
/// far, and how many bytes are needed to go on, 0 for none.
fn scan(data: &[u8], mut end: u64, file_bytes: u64) -> (u64, u64) {
    let have = data.len() as u64;
    loop {
        let Some(word) = word_at(data, end) else { return (end, end + WORD_BYTES) };
        let (len, padding) = split_word(word);
        if word == 0 || exceeds(len, padding, end, file_bytes) {
            return (end, 0);
        }
        let next = end + WORD_BYTES + len + padding;
        if next > have {
            return (end, next);
        }
        end = next;
    }
}

fn word_at(data: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    let bytes = data.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// True when a record of this length cannot be in the rest of the file.
fn exceeds(len: u64, padding: u64, offset: u64, file_bytes: u64) -> bool {
    // At most 2^56 + 7 + 2^63: no overflow.
    len + padding + offset > file_bytes
}

/// A place in a segment, moved on record by record.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    segment: &'a Segment,
    /// Only the last segment of a log may end in a torn record.
    is_last: bool,
    /// End of the last good record.
    pub(crate) offset: u64,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(segment: &'a Segment, is_last: bool) -> Self {
        Self { segment, is_last, offset: 0 }
    }

    /// The next record, `None` at the end of the data. `crc` is the running CRC over all records
    /// before it and is moved on; on an error neither it nor the offset moves.
    pub(crate) fn next(&mut self, crc: &mut u32) -> Result<Option<Record>> {
        let offset = self.offset;
        let short = || Error::ShortRecord { path: self.segment.path.clone(), offset };
        if offset >= self.segment.file_bytes {
            return Ok(None);
        }
        let word = word_at(&self.segment.data, offset).ok_or_else(short)?;
        if word == 0 {
            return self.check_end().map(|()| None);
        }
        let (len, padding) = split_word(word);
        if exceeds(len, padding, offset, self.segment.file_bytes) {
            return Err(Error::LongRecord {
                path: self.segment.path.clone(),
                offset,
                record_bytes: len,
                padding_bytes: padding,
                file_bytes: self.segment.file_bytes,
            });
        }
        let body = self.segment.slice(offset + WORD_BYTES, len + padding).ok_or_else(short)?;
        let record = self.decode(&body, len, *crc)?;
        *crc = record.crc;
        self.offset = offset + WORD_BYTES + len + padding;
        Ok(Some(record))
    }

    /// A zero word ends the data, even before sectors that were written: they belong to a batch
    /// that was never synced. But within its own sector a disk cannot have lost the word alone.
    fn check_end(&self) -> Result<()> {
        let sector_bytes = SECTOR_BYTES as u64;
        let sector_end = (self.offset / sector_bytes + 1) * sector_bytes;
        let sector_end = sector_end.min(self.segment.data.len() as u64);
        let rest = self.segment.slice(self.offset, sector_end - self.offset).unwrap_or_default();
        if rest.iter().all(|b| *b == 0) {
            return Ok(());
        }
        Err(Error::Misplaced {
            path: self.segment.path.clone(),
            offset: self.offset,
            reason: "zero length before data",
        })
    }

    fn decode(&self, body: &Bytes, len: u64, crc: u32) -> Result<Record> {
        let (path, offset) = (&self.segment.path, self.offset);
        let torn = || self.is_last && has_zero_sector(body, offset + WORD_BYTES);
        let record = match Record::decode(&body.slice(..usize::try_from(len).unwrap_or(usize::MAX)))
        {
            Ok(record) => record,
            Err(_) if torn() => return Err(Error::TornRecord { path: path.clone(), offset }),
            Err(e) => return Err(malformed(path, offset, e)),
        };
        let mismatch = |computed| Error::CrcMismatch {
            path: path.clone(),
            offset,
            expected: record.crc,
            computed,
        };
        if record.kind == RecordKind::Crc as i64 {
            // The first one read seeds the chain: that is how a log is opened in its middle.
            return if crc == 0 || crc == record.crc { Ok(record) } else { Err(mismatch(crc)) };
        }
        let computed = crc32c::crc32c_append(crc, &record.data);
        if computed == record.crc {
            Ok(record)
        } else if torn() {
            Err(Error::TornRecord { path: path.clone(), offset })
        } else {
            Err(mismatch(computed))
        }
    }
}

/// An [`Error::Malformed`].
pub(crate) fn malformed(path: &Path, offset: u64, reason: WireError) -> Error {
    Error::Malformed { path: path.to_owned(), offset, reason: reason.to_string() }
}

/// True when one of the sectors that `body` lies in has only zeros of it; `start` is the offset of
/// `body` in its file.
fn has_zero_sector(body: &[u8], start: u64) -> bool {
    let into_sector = usize::try_from(start % SECTOR_BYTES as u64).unwrap_or(0);
    let (head, rest) = body.split_at((SECTOR_BYTES - into_sector).min(body.len()));
    std::iter::once(head)
        .chain(rest.chunks(SECTOR_BYTES))
        .any(|sector| sector.iter().all(|b| *b == 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_counted_from_the_start_of_the_file() {
        let mut body = vec![1u8; 1000];
        assert!(!has_zero_sector(&body, 100));
        // The first sector boundary is at 512: bytes 412..924 of the body are one whole sector.
        body[412..924].fill(0);
        assert!(has_zero_sector(&body, 100));
        assert!(!has_zero_sector(&body, 101), "shifted by one, a byte of each sector is left");
        body.fill(1);
        body[924..].fill(0);
        assert!(has_zero_sector(&body, 100), "a partial last sector counts");
        body.fill(1);
        body[..412].fill(0);
        assert!(has_zero_sector(&body, 100), "a partial first sector counts");
    }
}
