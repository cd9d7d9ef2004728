//! The one error type of this crate.

use std::path::PathBuf;

use base::Revision;

/// Why a read or a write of the store did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The revision is below the compacted one. An answer to a client.
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    /// The revision is above the current one. An answer to a client.
    #[error("mvcc: required revision is a future revision")]
    FutureRev,
    /// The backend failed. Fatal.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// A row is missing or cannot be read. Fatal: a wrong answer would be worse than none.
    #[error("row {main}/{sub} of bucket key: {detail}", main = rev.main, sub = rev.sub)]
    Row {
        /// Which row.
        rev: Revision,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// A stored pair is no `mvccpb.KeyValue`. Fatal.
    #[error("bucket key: {0}")]
    Pair(#[from] prost::DecodeError),
    /// A row of bucket `meta` cannot be read. Fatal.
    #[error("row {key} of bucket meta is malformed")]
    Meta {
        /// Which row.
        key: &'static str,
    },
    /// A row key of bucket `key` is no revision. Fatal.
    #[error("bucket key: {0}")]
    RowKey(#[from] base::Error),
    /// A thread of the store could not be started.
    #[error("start thread {name}: {source}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The index file could not be written. The store works on; the next restart is slower.
    #[error("{action} {path}: {source}", path = path.display())]
    IndexFile {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the member must stop: everything but the two answers to clients.
    pub fn is_fatal(&self) -> bool {
        !matches!(self, Error::Compacted | Error::FutureRev | Error::IndexFile { .. })
    }
}
