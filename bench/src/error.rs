//! What can go wrong in a run.

use std::path::PathBuf;

/// Why a run ended without figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file or directory.
    #[error("{action} {path}: {source}")]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The runtime, a socket or a thread.
    #[error("{action}: {source}")]
    System {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The HTTP/2 connection.
    #[error("connection: {0}")]
    Http(#[from] h2::Error),
    /// The server refused an operation.
    #[error("{path}: grpc status {status}: {message}")]
    Refused {
        /// The method.
        path: String,
        /// The status number.
        status: String,
        /// The status text.
        message: String,
    },
    /// An answer that is none.
    #[error("answer cannot be read: {0}")]
    Answer(&'static str),
    /// A server that does not come up or went down.
    #[error("{name} {problem}; its log is {log}")]
    Server {
        /// Which server.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
        /// Where it wrote.
        log: PathBuf,
    },
    /// A tool that did not do its work.
    #[error("{program}: {reason}")]
    Tool {
        /// Which.
        program: PathBuf,
        /// Its last words.
        reason: String,
    },
    /// The data would not be on a disk.
    #[error("{0} is not on a disk: the figures would say nothing about one")]
    NotADisk(PathBuf),
    /// The echo server's transport.
    #[error("serve: {0}")]
    Serve(#[from] tonic::transport::Error),
}
