//! What can go wrong with an image, told with page and byte.

use std::io;

/// An error of this crate. The texts that etcd's tools have for the same situation are kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused a read or write.
    #[error("{action} at byte {offset} of the snapshot: {source}")]
    Io {
        /// What was tried, in the present tense.
        action: &'static str,
        /// Where in the file.
        offset: u64,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The file is not a bbolt database, or neither of its two meta pages can be used: bbolt's
    /// `invalid database`, `version mismatch` or `checksum error`.
    #[error("{reason}")]
    NotADatabase {
        /// What is wrong with the meta pages.
        reason: &'static str,
    },
    /// The file is a bbolt database, but damaged or not one of etcd's.
    #[error("{problem} (byte {offset})")]
    Corrupt {
        /// The page.
        page: u64,
        /// Where in the file the damage was noticed.
        offset: u64,
        /// What is wrong; bbolt's words where it has some. Names the page.
        problem: String,
    },
    /// A check of the whole file found damage.
    #[error(
        "snapshot file integrity check failed. {count} errors found.\n{}", lines.join("\n")
    )]
    Integrity {
        /// How many problems there are.
        count: u64,
        /// The first of them: at most 1,000, and about 1 MiB of text.
        lines: Vec<String>,
    },
    /// The pages are whole, but a row is not what etcd stores there.
    #[error("bucket {bucket}: row {key}: {reason}")]
    Row {
        /// Name of the bucket.
        bucket: &'static str,
        /// Key of the row, in hex.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A row or bucket that cannot be written: out of order, too long, empty key.
    #[error("cannot be written to a snapshot: {reason}")]
    Unwritable {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The second pass saw other rows than the first. What was written is of no use.
    #[error("the rows changed while the snapshot was made: {reason}")]
    NotAsPlanned {
        /// How the passes differ.
        reason: &'static str,
    },
    /// The file ends without a SHA-256, judging by its length.
    #[error("sha256 checksum not found [bytes: {bytes}]")]
    NoTrailer {
        /// Length of the file.
        bytes: u64,
    },
    /// The SHA-256 at the end of the file is not that of the bytes before it.
    #[error("expected sha256 {expected:?}, got {computed:?}", expected = Decimal(expected),
        computed = Decimal(computed))]
    TrailerMismatch {
        /// The last 32 bytes of the file.
        expected: [u8; 32],
        /// The hash of what precedes them.
        computed: [u8; 32],
    },
}

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Bytes as decimal numbers between brackets, which is how etcd's tools print a hash.
struct Decimal<'a>(&'a [u8]);

impl std::fmt::Debug for Decimal<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[")?;
        for (i, byte) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            write!(f, "{byte}")?;
        }
        f.write_str("]")
    }
}
