//! The TLS flags of both sides.

use tls::Version;

use super::parse::{Notice, Settings, Source};

/// How one side, clients or peers, speaks TLS; texts are as the flags give them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsFlags {
    /// `--cert-file`, `--peer-cert-file`.
    pub cert: String,
    /// `--key-file`, `--peer-key-file`.
    pub key: String,
    /// `--client-cert-file`, `--peer-client-cert-file`: shown instead when this side dials.
    pub client_cert: String,
    /// `--client-key-file`, `--peer-client-key-file`.
    pub client_key: String,
    /// `--trusted-ca-file`, `--peer-trusted-ca-file`.
    pub trusted_ca: String,
    /// `--client-crl-file`, `--peer-crl-file`.
    pub crl: String,
    /// `--client-cert-auth`, `--peer-client-cert-auth`.
    pub client_cert_auth: bool,
    /// `--peer-cert-allowed-cn`.
    pub allowed_cns: Vec<String>,
    /// `--client-cert-allowed-hostname`, `--peer-cert-allowed-hostname`.
    pub allowed_hostnames: Vec<String>,
    /// `--auto-tls`, `--peer-auto-tls`.
    pub auto: bool,
    /// `--peer-skip-client-san-verification`.
    pub skip_address_check: bool,
}

impl TlsFlags {
    /// Whether neither a certificate nor a key is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.cert.is_empty() && self.key.is_empty()
    }

    pub(super) fn of_clients(settings: &Settings, notices: &mut Vec<Notice>) -> TlsFlags {
        let text = |name| settings.text(name).to_owned();
        TlsFlags {
            cert: text("cert-file"),
            key: text("key-file"),
            client_cert: text("client-cert-file"),
            client_key: text("client-key-file"),
            trusted_ca: text("trusted-ca-file"),
            crl: text("client-crl-file"),
            client_cert_auth: settings.bool("client-cert-auth"),
            allowed_cns: Vec::new(),
            allowed_hostnames: names(settings, "client-cert-allowed-hostname", notices),
            auto: settings.bool("auto-tls"),
            skip_address_check: false,
        }
    }

    pub(super) fn of_peers(settings: &Settings, notices: &mut Vec<Notice>) -> TlsFlags {
        let text = |name| settings.text(name).to_owned();
        TlsFlags {
            cert: text("peer-cert-file"),
            key: text("peer-key-file"),
            client_cert: text("peer-client-cert-file"),
            client_key: text("peer-client-key-file"),
            trusted_ca: text("peer-trusted-ca-file"),
            crl: text("peer-crl-file"),
            client_cert_auth: settings.bool("peer-client-cert-auth"),
            allowed_cns: names(settings, "peer-cert-allowed-cn", notices),
            allowed_hostnames: names(settings, "peer-cert-allowed-hostname", notices),
            auto: settings.bool("peer-auto-tls"),
            skip_address_check: settings.bool("peer-skip-client-san-verification"),
        }
    }
}

/// A list of names; an explicitly empty one, which would let nobody in, is no restriction.
fn names(settings: &Settings, flag: &'static str, notices: &mut Vec<Notice>) -> Vec<String> {
    let set = settings.source(flag) != Source::Default;
    if set && settings.text(flag).is_empty() {
        let text = format!("--{flag} is empty and restricts nothing");
        notices.push(Notice::warn(text));
        return Vec::new();
    }
    settings.list(flag)
}

/// The version a flag names; empty, as its default, is the library's own bound.
pub(super) fn version(text: &str) -> Option<Version> {
    match text {
        "TLS1.2" => Some(Version::Tls12),
        "TLS1.3" => Some(Version::Tls13),
        _ => None,
    }
}
