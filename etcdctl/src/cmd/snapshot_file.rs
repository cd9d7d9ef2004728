//! The file of a backup while its pieces arrive.

use std::fs::File;
use std::io::{self, Write};

use snapshot::{HashingWriter, TRAILER_BYTES, has_trailer_size};

const TRAILER_LEN: usize = TRAILER_BYTES as usize;
/// Bytes written between two syncs: some milliseconds of a disk's time.
const SYNC_BYTES: usize = 8 << 20;

/// A file whose bytes reach the disk as they come. Left to the end, all of them at once would hold
/// up the log of a server on the same disk for as long as they take.
pub(super) struct SteadyFile {
    file: File,
    unsynced_bytes: usize,
}

impl SteadyFile {
    /// Nothing was written yet.
    pub(super) fn new(file: File) -> Self {
        Self { file, unsynced_bytes: 0 }
    }

    /// Makes all of it durable.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

impl Write for SteadyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced_bytes += written;
        if self.unsynced_bytes >= SYNC_BYTES {
            self.file.sync_data()?;
            self.unsynced_bytes = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a database and the SHA-256 behind it, and compares the two. Which bytes are the hash
/// is known only at the end, so the last 32 are always held back.
pub(super) struct SnapshotFile<W> {
    pages: HashingWriter<W>,
    held: Vec<u8>,
    bytes: u64,
}

impl<W: Write> SnapshotFile<W> {
    /// Nothing has arrived yet.
    pub(super) fn new(out: W) -> Self {
        SnapshotFile { pages: HashingWriter::new(out), held: Vec::new(), bytes: 0 }
    }

    /// The next piece.
    ///
    /// # Errors
    /// Those of the writer.
    pub(super) fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.bytes += piece.len() as u64;
        self.held.extend_from_slice(piece);
        let pages = self.held.len().saturating_sub(TRAILER_LEN);
        self.pages.write_all(&self.held[..pages])?;
        self.held.drain(..pages);
        Ok(())
    }

    /// Everything has arrived: writes the hash, and gives the writer and the bytes that went to
    /// it.
    ///
    /// # Errors
    /// There is no hash, it is not that of the database, or the writer's own.
    pub(super) fn finish(self) -> Result<(W, u64), snapshot::Error> {
        let SnapshotFile { pages, held, bytes } = self;
        let (mut out, computed) = pages.finish();
        let expected = match <[u8; TRAILER_LEN]>::try_from(held) {
            Ok(expected) if has_trailer_size(bytes) => expected,
            _ => return Err(snapshot::Error::NoTrailer { bytes }),
        };
        if computed != expected {
            return Err(snapshot::Error::TrailerMismatch { expected, computed });
        }
        let written = out.write_all(&expected);
        let offset = bytes - TRAILER_BYTES;
        written.map_err(|source| snapshot::Error::Io { action: "write", offset, source })?;
        Ok((out, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database of `pages` times 512 bytes and its hash.
    fn image(pages: usize) -> Vec<u8> {
        let mut out = HashingWriter::new(Vec::new());
        for page in 0..pages {
            out.write_all(&[page as u8; 512]).expect("memory");
        }
        out.finish_with_trailer().expect("memory")
    }

    fn arrive(pieces: &[&[u8]]) -> Result<(Vec<u8>, u64), String> {
        let mut file = SnapshotFile::new(Vec::new());
        for piece in pieces {
            file.push(piece).expect("memory");
        }
        file.finish().map_err(|error| error.to_string())
    }

    #[test]
    fn however_it_is_cut_the_same_bytes_are_written() {
        let image = image(3);
        for size in [1, 7, 31, 32, 33, 512, 1000, image.len()] {
            let pieces: Vec<&[u8]> = image.chunks(size).collect();
            let whole = arrive(&pieces);
            assert_eq!(whole, Ok((image.clone(), image.len() as u64)), "pieces of {size}");
        }
    }

    #[test]
    fn a_backup_without_its_hash_is_refused() {
        let image = image(2);
        for (length, bytes) in [(0, 0), (31, 31), (512, 512), (1024, 1024), (1055, 1055)] {
            let text = format!("sha256 checksum not found [bytes: {bytes}]");
            assert_eq!(arrive(&[&image[..length]]), Err(text));
        }
    }

    #[test]
    fn a_backup_that_is_not_what_was_hashed_is_refused() {
        let mut image = image(2);
        image[700] ^= 1;
        let text = arrive(&[&image]).expect_err("damaged");
        assert!(text.starts_with("expected sha256 [") && text.contains("], got ["), "{text}");
    }
}
