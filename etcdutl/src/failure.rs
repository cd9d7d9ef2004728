//! How a command ends when it does not succeed.

use std::io;
use std::path::{Path, PathBuf};

use base::text::io_error;

/// Why a command failed; its text follows `Error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Something in the way, in etcd's words or, where it has none, in ours.
    #[error("{0}")]
    Refused(String),
    /// Arguments that do not go together.
    #[error("{0}")]
    Arguments(String),
    /// An operation on a file or folder.
    #[error("{action} {path}: {}", io_error(source), path = .path.display())]
    Io {
        /// The operation as the system names it: `open`, `mkdir`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process has the database open.
    #[error("timeout")]
    Timeout,
    /// The history of the store.
    #[error(transparent)]
    Store(#[from] mvcc::Error),
    /// The rows that are not keys.
    #[error(transparent)]
    Apply(#[from] apply::Error),
    /// The files of the store.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// A portable image.
    #[error(transparent)]
    Snapshot(#[from] snapshot::Error),
    /// The log and its marks.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// Defragmentation failed.
    #[error("Failed to defragment etcd data[{data_dir}] ({reason})", data_dir = data_dir.display())]
    Defragment {
        /// The data directory as given.
        data_dir: PathBuf,
        /// What failed.
        reason: Box<Failure>,
    },
    /// `--write-out` names a format the command does not have.
    #[error("{0} not supported as output format")]
    Format(&'static str),
    /// `--write-out` names no format.
    #[error("unsupported output format")]
    NoFormat,
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Format(_) | Failure::NoFormat => 4,
            Failure::Arguments(_) => 128,
            _ => 1,
        }
    }

    /// Names the operation and the path of an I/O error.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        move |source| Failure::Io { action, path: path.to_owned(), source }
    }
}

impl From<backend::image::ImageError> for Failure {
    fn from(error: backend::image::ImageError) -> Self {
        use backend::image::ImageError;
        match error {
            ImageError::Backend(error) => Failure::Backend(error),
            ImageError::File(error) => Failure::Snapshot(error),
            unknown @ ImageError::UnknownBucket(_) => Failure::Refused(unknown.to_string()),
        }
    }
}
