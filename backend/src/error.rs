//! The one error type of this crate.

use std::io;
use std::path::PathBuf;

/// What can go wrong between a row and the disk.
///
/// Every variant met after a successful open is fatal for the member: a failed write or sync
/// must not be retried, because the kernel may report success the second time.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation of the folder layout failed.
    #[error("{action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried, a present-tense verb.
        action: &'static str,
        /// The file or folder at fault.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Another process has the folder open.
    #[error("{path} is locked by another process", path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The path is a regular file: the single-file database etcd writes.
    #[error(
        "{path} is a regular file, not a folder: a bbolt database written by etcd cannot be \
         opened in place; `etcdutl import` makes a data directory of ours from it",
        path = path.display()
    )]
    BoltFile {
        /// The file.
        path: PathBuf,
    },
    /// The folder was written by a program with another layout of rows.
    #[error(
        "{path} has storage layout {found}, this program reads layout {supported}",
        path = path.display()
    )]
    UnknownLayout {
        /// The numbered folder.
        path: PathBuf,
        /// The number found in the folder.
        found: String,
        /// The number this program writes.
        supported: u32,
    },
    /// A file of the layout does not have the content it must have.
    #[error("{path} is damaged: {detail}", path = path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// RocksDB refused an operation.
    #[error("{action} in {path}: {source}", path = path.display())]
    Engine {
        /// What was tried, a present-tense verb.
        action: &'static str,
        /// The numbered folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: rocksdb::Error,
    },
    /// RocksDB reported an error of one of its background jobs (flush, compaction).
    #[error("background job of {path} failed ({count} errors)", path = path.display())]
    Background {
        /// The numbered folder.
        path: PathBuf,
        /// How many errors it counts since the open.
        count: u64,
    },
}
