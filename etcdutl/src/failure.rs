//! How a command ends when it does not succeed.

use std::path::PathBuf;

/// Why a command failed; its text follows `Error: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The file or folder to work on is not there.
    #[error("stat {path}: no such file or directory", path = .0.display())]
    Missing(PathBuf),
    /// The history of the store.
    #[error(transparent)]
    Store(#[from] mvcc::Error),
    /// The files of the store.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// Defragmentation failed.
    #[error("Failed to defragment etcd data[{data_dir}] ({reason})", data_dir = data_dir.display())]
    Defragment {
        /// The data directory as given.
        data_dir: PathBuf,
        /// What failed.
        reason: String,
    },
    /// `--write-out` names a format the command does not have.
    #[error("{0} not supported as output format")]
    Format(&'static str),
    /// `--write-out` names no format.
    #[error("unsupported output format")]
    NoFormat,
    /// A command of a later version.
    #[error("{0} is not supported by this version")]
    Command(String),
}

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::Format(_) | Failure::NoFormat => 4,
            Failure::Missing(_)
            | Failure::Store(_)
            | Failure::Backend(_)
            | Failure::Defragment { .. }
            | Failure::Command(_) => 1,
        }
    }
}
