//! Which versions and cipher suites are spoken.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedProtocolVersion};

use crate::Error;

/// A version of the protocol; older ones are not spoken at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// Suites of TLS 1.2 that are spoken, by the names of `--cipher-suites`.
const SPOKEN: &[(&str, CipherSuite)] = &[
    (
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    (
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
];

/// Suites of TLS 1.3: naming them changes nothing, they cannot be chosen among.
const FIXED: &[&str] =
    &["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Suites etcd knows and this library refuses to speak: CBC, RC4, 3DES, RSA key exchange.
const UNSPOKEN: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

/// The versions and suites of one side; cheap to clone.
#[derive(Clone, Debug)]
pub struct Protocols {
    provider: Arc<CryptoProvider>,
    versions: Vec<&'static SupportedProtocolVersion>,
    unspoken: Vec<String>,
}

impl Default for Protocols {
    /// Everything the library speaks: TLS 1.2 and 1.3.
    fn default() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = vec![&rustls::version::TLS13, &rustls::version::TLS12];
        Protocols { provider, versions, unspoken: Vec::new() }
    }
}

impl Protocols {
    /// The versions from `min` to `max`, and of TLS 1.2 only these suites, if any is named.
    ///
    /// # Errors
    /// [`Error::UnknownSuite`]; [`Error::NoSuite`] when nothing is left to speak.
    pub fn new(
        min: Option<Version>,
        max: Option<Version>,
        suites: &[String],
    ) -> Result<Protocols, Error> {
        let mut protocols = Protocols::default();
        let (min, max) = (min.unwrap_or(Version::Tls12), max.unwrap_or(Version::Tls13));
        let mut allowed = Vec::new();
        for name in suites {
            if let Some((_, suite)) = SPOKEN.iter().find(|(n, _)| n == name) {
                allowed.push(*suite);
            } else if UNSPOKEN.contains(&name.as_str()) {
                protocols.unspoken.push(name.clone());
            } else if !FIXED.contains(&name.as_str()) {
                let name = base::text::quote(name.as_bytes());
                return Err(Error::UnknownSuite { name });
            }
        }
        if !suites.is_empty() {
            let mut provider = aws_lc_rs::default_provider();
            provider.cipher_suites.retain(|suite| {
                let tls13 = suite.version().version == rustls::ProtocolVersion::TLSv1_3;
                tls13 || allowed.contains(&suite.suite())
            });
            protocols.provider = Arc::new(provider);
        }
        let tls12 = min == Version::Tls12 && (suites.is_empty() || !allowed.is_empty());
        protocols.versions.clear();
        if max == Version::Tls13 {
            protocols.versions.push(&rustls::version::TLS13);
        }
        if tls12 {
            protocols.versions.push(&rustls::version::TLS12);
        }
        if protocols.versions.is_empty() {
            return Err(Error::NoSuite { names: suites.join(" ") });
        }
        Ok(protocols)
    }

    /// Named suites that are known and not spoken, to be warned about.
    pub fn unspoken(&self) -> &[String] {
        &self.unspoken
    }

    pub(crate) fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    pub(crate) fn versions(&self) -> &[&'static SupportedProtocolVersion] {
        &self.versions
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(
        min: Option<Version>,
        max: Option<Version>,
        suites: &[&str],
    ) -> Result<Protocols, String> {
        let suites: Vec<String> = suites.iter().map(|&s| s.to_owned()).collect();
        Protocols::new(min, max, &suites).map_err(|e| e.to_string())
    }

    fn spoken(protocols: &Protocols) -> Vec<&'static str> {
        let names = protocols.provider.cipher_suites.iter().map(|s| s.suite().as_str());
        let mut names: Vec<_> = names.flatten().filter(|n| n.starts_with("TLS_")).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn every_name_of_tls_1_2_selects_its_suite() {
        for (name, suite) in SPOKEN {
            let protocols = new(None, None, &[name]).expect("a known suite");
            assert_eq!(spoken(&protocols), [suite.as_str().expect("a name")]);
            assert_eq!(protocols.versions.len(), 2);
        }
    }

    #[test]
    fn unknown_names_are_refused_in_the_words_of_etcd() {
        for name in ["FOO", "", "TLS_NULL_WITH_NULL_NULL"] {
            let error = new(None, None, &["TLS_RSA_WITH_AES_128_CBC_SHA", name]);
            let want = format!("unexpected TLS cipher suite \"{name}\"");
            assert_eq!(error.expect_err(name), want);
        }
    }

    #[test]
    fn suites_that_are_not_spoken_leave_what_is_left() {
        let cbc = "TLS_RSA_WITH_AES_128_CBC_SHA";
        let gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let both = new(None, Some(Version::Tls12), &[cbc, gcm]).expect("one is left");
        assert_eq!((both.unspoken(), both.versions.len()), ([cbc.to_owned()].as_slice(), 1));
        let newer = new(None, None, &[cbc]).expect("TLS 1.3 is left");
        assert_eq!(newer.versions, [&rustls::version::TLS13]);
        let error = new(None, Some(Version::Tls12), &[cbc]).expect_err("nothing is left");
        let want = "none of the TLS cipher suites [TLS_RSA_WITH_AES_128_CBC_SHA] is supported up to TLS1.2";
        assert_eq!(error, want);
        let named = new(None, None, &["TLS_AES_128_GCM_SHA256"]).expect("TLS 1.3 is left");
        assert_eq!(named.versions, [&rustls::version::TLS13]);
    }

    #[test]
    fn versions_follow_their_bounds() {
        let versions = |min, max| new(min, max, &[]).expect("some version").versions.len();
        assert_eq!(versions(None, None), 2);
        assert_eq!(versions(Some(Version::Tls12), Some(Version::Tls12)), 1);
        assert_eq!(versions(Some(Version::Tls13), None), 1);
    }
}
