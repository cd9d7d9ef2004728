//! Which of the verified client certificates are let in.

use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

use crate::Error;
use crate::cert::Facts;

/// A restriction of client certificates beyond their chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Allowed {
    /// None.
    #[default]
    All,
    /// The subject's common name is one of these.
    CommonNames(Vec<String>),
    /// The certificate is valid for one of these hosts.
    Hostnames(Vec<String>),
}

impl Allowed {
    /// Two lists as flags give them; an empty one is no restriction.
    ///
    /// # Errors
    /// [`Error::TwoRestrictions`].
    pub fn from_flags(cns: Vec<String>, hostnames: Vec<String>) -> Result<Allowed, Error> {
        match (cns.is_empty(), hostnames.is_empty()) {
            (true, true) => Ok(Allowed::All),
            (false, true) => Ok(Allowed::CommonNames(cns)),
            (true, false) => Ok(Allowed::Hostnames(hostnames)),
            (false, false) => Err(Error::TwoRestrictions {
                cns: base::text::quoted_list(&cns),
                hostnames: base::text::quoted_list(&hostnames),
            }),
        }
    }

    /// Whether a verified certificate is let in.
    pub(crate) fn admits(&self, der: &CertificateDer<'_>, facts: &Facts) -> bool {
        match self {
            Allowed::All => true,
            Allowed::CommonNames(names) => names.contains(&facts.common_name),
            Allowed::Hostnames(names) => {
                names.iter().any(|name| is_valid_for(der, name).unwrap_or(false))
            }
        }
    }
}

/// Whether a certificate is valid for a host name or address; `None` if the name is no name.
pub(crate) fn is_valid_for(der: &CertificateDer<'_>, name: &str) -> Option<bool> {
    let name = ServerName::try_from(name).ok()?;
    // A certificate the library does not read (version 1) cannot carry names.
    let Ok(leaf) = EndEntityCert::try_from(der) else { return Some(false) };
    Some(leaf.verify_is_valid_for_subject_name(&name).is_ok())
}
