//! The SHA-256 after the pages of a backup.
//!
//! Pages come in multiples of 512 bytes, so a file of `512 n + 32` bytes has a hash at its end.

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::source::Source;

/// Length of the hash after the pages.
pub const TRAILER_BYTES: u64 = 32;
/// What the length of a database is a multiple of.
const UNIT_BYTES: u64 = 512;
/// Bytes hashed at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Whether a file of this length ends in a SHA-256, which is how etcd's tools tell.
pub const fn has_trailer_size(file_bytes: u64) -> bool {
    file_bytes % UNIT_BYTES == TRAILER_BYTES
}

/// Compares the SHA-256 at the end of a backup with the bytes before it, and gives their number.
///
/// # Errors
/// [`Error::NoTrailer`] if the length leaves no place for it, [`Error::TrailerMismatch`],
/// [`Error::Io`].
pub fn verify_trailer<S: Source + ?Sized>(source: &S) -> Result<u64> {
    let io = |offset, source| Error::Io { action: "read", offset, source };
    let length = source.length().map_err(|error| io(0, error))?;
    if !has_trailer_size(length) {
        return Err(Error::NoTrailer { bytes: length });
    }
    let end = length - TRAILER_BYTES;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < end {
        let len = usize::try_from(end - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let bytes = chunk.get_mut(..len).unwrap_or_default();
        source.read_range(at, bytes).map_err(|error| io(at, error))?;
        hash.update(&*bytes);
        at += len as u64;
    }
    let mut expected = [0; 32];
    source.read_range(end, &mut expected).map_err(|error| io(end, error))?;
    let computed = hash.finalize().into();
    if computed != expected {
        return Err(Error::TrailerMismatch { expected, computed });
    }
    Ok(end)
}

/// Hashes what is written through it.
#[derive(Debug)]
pub struct HashingWriter<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> HashingWriter<W> {
    /// Nothing was written yet.
    pub fn new(out: W) -> Self {
        Self { out, hash: Sha256::new() }
    }

    /// The writer, and the SHA-256 of all that went to it.
    pub fn finish(self) -> (W, [u8; 32]) {
        (self.out, self.hash.finalize().into())
    }

    /// Appends the SHA-256, which completes a backup.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn finish_with_trailer(self) -> io::Result<W> {
        let (mut out, hash) = self.finish();
        out.write_all(&hash)?;
        Ok(out)
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
