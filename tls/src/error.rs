//! Why TLS cannot be set up.

use std::io;
use std::path::{Path, PathBuf};

/// Files or settings that TLS cannot work with. The texts are etcd's where it has one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate without its key, or the other way round.
    #[error("KeyFile and CertFile must both be present[key: {key}, cert: {cert}]")]
    HalfPair {
        /// The key's path, perhaps empty.
        key: String,
        /// The certificate's path, perhaps empty.
        cert: String,
    },
    /// The same for the pair used towards other servers.
    #[error(
        "ClientKeyFile and ClientCertFile must both be present or both absent: key: {key}, \
         cert: {cert}]"
    )]
    HalfClientPair {
        /// The key's path, perhaps empty.
        key: String,
        /// The certificate's path, perhaps empty.
        cert: String,
    },
    /// Both ways to restrict client certificates at once.
    #[error(
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[{cns}], hostnames=[{hostnames}])"
    )]
    TwoRestrictions {
        /// The common names, in quotes.
        cns: String,
        /// The host names, in quotes.
        hostnames: String,
    },
    /// A cipher suite nobody knows.
    #[error("unexpected TLS cipher suite {name}")]
    UnknownSuite {
        /// The name, in quotes.
        name: String,
    },
    /// None of the named cipher suites can be spoken in the allowed versions.
    #[error("none of the TLS cipher suites [{names}] is supported up to TLS1.2")]
    NoSuite {
        /// The names.
        names: String,
    },
    /// A file that cannot be read: `open a.pem: no such file or directory`.
    #[error("open {}: {}", path.display(), base::text::io_error(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that holds something else than it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that belongs to another certificate.
    #[error("tls: private key does not match public key")]
    Mismatch,
    /// A self-signed certificate that would never be valid.
    #[error("selfSignedCertValidity is invalid,it should be greater than 0")]
    Validity,
    /// A folder or file of a self-signed certificate that cannot be written.
    #[error("cannot write {}: {}", path.display(), base::text::io_error(source))]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// The library refuses to make what it was asked for.
    #[error("cannot make a certificate: {0}")]
    Make(String),
}

impl Error {
    /// For [`std::fs`] calls that read `path`.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::File { path: path.to_path_buf(), source }
    }

    /// For [`std::fs`] calls that write `path`.
    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Error + '_ {
        move |source| Error::Write { path: path.to_path_buf(), source }
    }

    /// For what `path` holds.
    pub(crate) fn content(path: &Path, reason: impl Into<String>) -> Error {
        Error::Content { path: path.to_path_buf(), reason: reason.into() }
    }
}
