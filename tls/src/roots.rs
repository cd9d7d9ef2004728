//! Who is trusted: the certificates of a CA file, or the system's.

use std::borrow::Cow;
use std::path::Path;

use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::Error;
use crate::cert::{Facts, Purpose};
use crate::pair;

/// Trusted certificates.
#[derive(Debug)]
pub(crate) struct Roots {
    roots: Vec<Root>,
    /// Those that may sign others, in the form the path search wants.
    anchors: Vec<TrustAnchor<'static>>,
}

#[derive(Debug)]
struct Root {
    der: CertificateDer<'static>,
    facts: Facts,
    subject: DistinguishedName,
    /// Its place among the anchors, if it is there.
    anchor: Option<usize>,
}

impl Roots {
    /// The certificates of a PEM file.
    ///
    /// # Errors
    /// A file that cannot be read, holds none, or holds one that does not parse.
    pub(crate) fn from_file(path: &Path) -> Result<Roots, Error> {
        let pem = std::fs::read(path).map_err(Error::file(path))?;
        let mut roots = Roots::none();
        for der in pair::certificates(path, &pem)? {
            roots.add(der).map_err(|why| Error::content(path, why))?;
        }
        Ok(roots)
    }

    /// The system's certificates, perhaps none; those that do not parse are left out, as in Go.
    pub(crate) fn system() -> Roots {
        let mut roots = Roots::none();
        for der in rustls_native_certs::load_native_certs().certs {
            // One foreign certificate must not take the others away.
            roots.add(der).ok();
        }
        roots
    }

    /// Nobody.
    pub(crate) fn none() -> Roots {
        Roots { roots: Vec::new(), anchors: Vec::new() }
    }

    fn add(&mut self, der: CertificateDer<'static>) -> Result<(), String> {
        let facts = Facts::read(&der)?;
        let malformed = || "x509: malformed certificate".to_owned();
        let anchor = webpki::anchor_from_trusted_cert(&der).map_err(|_| malformed())?.to_owned();
        let subject = DistinguishedName::in_sequence(anchor.subject.as_ref());
        // A trusted certificate that is no CA vouches for itself alone.
        let at = facts.may_sign.then(|| {
            self.anchors.push(anchor);
            self.anchors.len() - 1
        });
        self.roots.push(Root { der, facts, subject, anchor: at });
        Ok(())
    }

    /// Whether this very certificate is trusted.
    pub(crate) fn contains(&self, der: &CertificateDer<'_>) -> bool {
        self.roots.iter().any(|root| root.der.as_ref() == der.as_ref())
    }

    /// What may sign certificates for this purpose now. Like Go, and unlike the path search of
    /// the library, a root's own dates and purposes count.
    pub(crate) fn anchors(&self, purpose: Purpose, now_s: i64) -> Cow<'_, [TrustAnchor<'static>]> {
        let counts = |root: &&Root| root.facts.is_valid_at(now_s) && root.facts.allows(purpose);
        if self.roots.iter().all(|root| counts(&root)) {
            return Cow::Borrowed(&self.anchors);
        }
        let counting = self.roots.iter().filter(counts).filter_map(|root| root.anchor);
        Cow::Owned(counting.map(|at| self.anchors[at].clone()).collect())
    }

    /// The names of all, as a server tells clients whose certificates it takes.
    pub(crate) fn subjects(&self) -> Vec<DistinguishedName> {
        self.roots.iter().map(|root| root.subject.clone()).collect()
    }
}
