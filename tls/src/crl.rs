//! The list of revoked serial numbers: DER, read again at every use.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::cert;

/// A CRL file and the serial numbers it held when it was last looked at.
#[derive(Debug)]
pub(crate) struct Crl {
    path: PathBuf,
    last: Mutex<Option<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    bytes: Vec<u8>,
    revoked: Serials,
}

/// Serial numbers, sorted.
type Serials = Arc<Vec<Vec<u8>>>;

impl Crl {
    pub(crate) fn new(path: &Path) -> Crl {
        Crl { path: path.to_path_buf(), last: Mutex::default() }
    }

    /// Refuses a chain of which any certificate is listed. As in etcd, only serial numbers are
    /// compared: neither the list's issuer nor its signature nor its age.
    pub(crate) fn check<'a>(
        &self,
        chain: impl Iterator<Item = &'a CertificateDer<'a>>,
    ) -> Result<(), String> {
        let revoked = self.revoked()?;
        for der in chain {
            let parsed = cert::parse(der)?;
            let serial = cert::serial_digits(parsed.raw_serial());
            if revoked.binary_search_by(|other| other.as_slice().cmp(serial)).is_ok() {
                let text = cert::serial_text(serial);
                return Err(format!("transport: certificate serial {text} revoked"));
            }
        }
        Ok(())
    }

    /// The listed serial numbers; parsed anew only when the file has changed.
    fn revoked(&self) -> Result<Serials, String> {
        let bytes =
            std::fs::read(&self.path).map_err(|e| crate::Error::file(&self.path)(e).to_string())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*last
            && loaded.bytes == bytes
        {
            return Ok(loaded.revoked.clone());
        }
        let revoked = Arc::new(parse(&bytes).map_err(|why| {
            let path = self.path.display();
            format!("{path}: {why}")
        })?);
        *last = Some(Loaded { bytes, revoked: revoked.clone() });
        Ok(revoked)
    }
}

fn parse(bytes: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let Ok(([], list)) = CertificateRevocationList::from_der(bytes) else {
        return Err(if bytes.starts_with(b"-----BEGIN") {
            "the certificate revocation list must be DER, not PEM"
        } else {
            "not a certificate revocation list"
        });
    };
    let mut serials: Vec<Vec<u8>> = list
        .iter_revoked_certificates()
        .map(|entry| cert::serial_digits(entry.raw_serial()).to_vec())
        .collect();
    serials.sort_unstable();
    Ok(serials)
}
