//! A certificate chain with its key, read again at every use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::{Error, cert};

/// Where a certificate chain and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// PEM, the leaf first.
    pub cert: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

impl PairFiles {
    /// Two paths as flags give them: both, or none.
    ///
    /// # Errors
    /// [`Error::HalfPair`].
    pub fn from_flags(cert: &str, key: &str) -> Result<Option<PairFiles>, Error> {
        match (cert.is_empty(), key.is_empty()) {
            (true, true) => Ok(None),
            (false, false) => Ok(Some(PairFiles { cert: cert.into(), key: key.into() })),
            _ => Err(Error::HalfPair { key: key.to_owned(), cert: cert.to_owned() }),
        }
    }
}

/// A pair of files and what they held when they were last looked at.
pub(crate) struct Pair {
    files: PairFiles,
    last: Mutex<Option<Loaded>>,
}

impl fmt::Debug for Pair {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("files", &self.files).finish_non_exhaustive()
    }
}

struct Loaded {
    cert: Vec<u8>,
    key: Vec<u8>,
    made: Arc<CertifiedKey>,
}

impl Pair {
    pub(crate) fn new(files: PairFiles) -> Pair {
        Pair { files, last: Mutex::default() }
    }

    /// Reads the files; they are parsed, and the result is another value, only when they changed.
    /// Reading both costs about 20 us, next to a handshake's millisecond; a file's times and size
    /// would tell less than its bytes.
    ///
    /// # Errors
    /// As [`read`].
    pub(crate) fn load(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
        let PairFiles { cert: cert_path, key: key_path } = &self.files;
        let cert = std::fs::read(cert_path).map_err(Error::file(cert_path))?;
        let key = std::fs::read(key_path).map_err(Error::file(key_path))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*last
            && loaded.cert == cert
            && loaded.key == key
        {
            return Ok(loaded.made.clone());
        }
        let made = Arc::new(certified(&self.files, &cert, &key, provider)?);
        *last = Some(Loaded { cert, key, made: made.clone() });
        Ok(made)
    }
}

fn certified(
    files: &PairFiles,
    cert: &[u8],
    key: &[u8],
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = certificates(&files.cert, cert)?;
    let key = private_key(&files.key, key)?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|e| Error::content(&files.key, e.to_string()))?;
    // The library's own comparison does not read certificates of version 1.
    let leaf = chain.first().map(cert::parse).transpose();
    let leaf = leaf.map_err(|why| Error::content(&files.cert, why))?;
    let certified = leaf.map(|leaf| leaf.public_key().raw.to_vec());
    match (key.public_key(), certified) {
        (Some(key), Some(certified)) if key.as_ref() != certified => Err(Error::Mismatch),
        _ => Ok(CertifiedKey::new(chain, key)),
    }
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// [`Error::Content`].
pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = rustls_pemfile::certs(&mut &*pem).collect();
    let found = found.map_err(|e| Error::content(path, format!("broken PEM: {e}")))?;
    if found.is_empty() {
        return Err(Error::content(path, "no PEM block of type CERTIFICATE"));
    }
    Ok(found)
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    match rustls_pemfile::private_key(&mut &*pem) {
        Ok(Some(key)) => Ok(key),
        Ok(None) => {
            let encrypted = pem.windows(9).any(|w| w == b"ENCRYPTED");
            let why = if encrypted {
                "the private key is encrypted, which is not supported"
            } else {
                "no PEM block of type PRIVATE KEY"
            };
            Err(Error::content(path, why))
        }
        Err(e) => Err(Error::content(path, format!("broken PEM: {e}"))),
    }
}
