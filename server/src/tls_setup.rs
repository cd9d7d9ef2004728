//! TLS of the server's own ports and of its way to the peers, from the flags.
//!
//! ```text
//!   flags, --auto-tls files ─┬─▶ ClientTls ─▶ doors of client and metrics listeners
//!                            └─▶ PeerTls ─┬─▶ doors of peer listeners
//!                                         └─▶ connector towards the peers
//! ```

use std::sync::{Arc, OnceLock};

use tls::{
    Acceptor, Allowed, ClientOptions, Connector, PairFiles, Protocols, ServerOptions, Trust,
};

use crate::config::{Config, TlsFlags, Url};
use crate::fatal;
use crate::listen::{Bound, Door};
use crate::logging::List;

/// Offered to clients; who offers HTTP/1.1 instead is served that.
const H2: &[u8] = b"h2";

/// TLS towards clients.
#[derive(Debug)]
pub(crate) struct ClientTls {
    clients: Option<Arc<Acceptor>>,
    metrics: Option<Arc<Acceptor>>,
    flags: TlsFlags,
}

/// TLS among peers.
#[derive(Debug)]
pub(crate) struct PeerTls {
    acceptor: Option<Arc<Acceptor>>,
    options: ClientOptions,
    connector: OnceLock<Result<Arc<Connector>, String>>,
}

/// What differs between the two sides.
struct Side {
    /// In messages and as the folder of self-signed files.
    name: &'static str,
    flags: TlsFlags,
    /// Whether the pair was made by `--auto-tls`.
    is_self_signed: bool,
    protocols: Protocols,
}

impl ClientTls {
    /// Reads what the client flags name, after a look at every URL.
    ///
    /// # Errors
    /// etcd's start-up text.
    pub(crate) fn new(config: &Config) -> Result<ClientTls, String> {
        let listened = [&config.listen_client_urls[..], &config.listen_client_http_urls].concat();
        let side = Side::new("client", &config.client_tls, config, &listened)?;
        for url in &listened {
            if url.scheme.is_tls() && side.flags.is_empty() {
                return Err(format!(
                    "TLS key/cert (--cert-file, --key-file) must be provided for client url \
                     {url} with HTTPS scheme"
                ));
            }
            side.warn_about(url);
        }
        let metrics = &config.listen_metrics_urls;
        if metrics.iter().any(|url| url.scheme.is_tls()) && side.flags.is_empty() {
            let text = "client TLS key/cert (--cert-file, --key-file) must be provided for \
                        metrics secure url";
            return Err(text.to_owned());
        }
        let clients = side.acceptor(&listened, |_| {}, vec![H2.to_vec()])?;
        let check = !side.flags.skip_address_check;
        let metrics = side.acceptor(metrics, |o| o.check_address = check, Vec::new())?;
        Ok(ClientTls { clients, metrics, flags: side.flags })
    }

    /// The entrance of a client listener.
    pub(crate) fn door(&self, bound: &Bound) -> Door {
        Door::new(bound, self.clients.as_ref(), "client")
    }

    /// The entrance of a metrics listener.
    pub(crate) fn metrics_door(&self, bound: &Bound) -> Door {
        Door::http1(bound, self.metrics.as_ref(), "client")
    }

    /// Tells the log how clients are served.
    pub(crate) fn log_start(&self, config: &Config) {
        log_start("client", &self.flags, config);
    }
}

impl PeerTls {
    /// Reads what the peer flags name, after a look at every URL.
    ///
    /// # Errors
    /// etcd's start-up text.
    pub(crate) fn new(config: &Config) -> Result<PeerTls, String> {
        let listened = &config.listen_peer_urls;
        let side = Side::new("peer", &config.peer_tls, config, listened)?;
        log_start("peer", &side.flags, config);
        for url in listened {
            if url.scheme.is_tls() && side.flags.is_empty() {
                let address = url.socket_file().unwrap_or_else(|| url.host.clone());
                return Err(format!(
                    "cannot listen on TLS for {address}: KeyFile and CertFile are not presented"
                ));
            }
            side.warn_about(url);
        }
        let check = !side.flags.skip_address_check;
        let acceptor = side.acceptor(listened, |o| o.check_address = check, Vec::new())?;
        let options = side.client_options()?;
        let peers = PeerTls { acceptor, options, connector: OnceLock::new() };
        if !side.flags.is_empty() || !side.flags.trusted_ca.is_empty() {
            // What is named must be there now, not when a peer is first dialled.
            peers.connector().map_err(str::to_owned)?;
        }
        Ok(peers)
    }

    /// The entrance of a peer listener.
    pub(crate) fn door(&self, bound: &Bound) -> Door {
        Door::http1(bound, self.acceptor.as_ref(), "peer")
    }

    /// Dials peers whose URLs ask for TLS; the system's certificates are read at the first.
    ///
    /// # Errors
    /// Files that do not serve.
    pub(crate) fn connector(&self) -> Result<&Arc<Connector>, &str> {
        let made = self.connector.get_or_init(|| {
            Connector::new(self.options.clone()).map(Arc::new).map_err(|e| e.to_string())
        });
        made.as_ref().map_err(String::as_str)
    }
}

impl Side {
    fn new(
        name: &'static str,
        flags: &TlsFlags,
        config: &Config,
        listened: &[Url],
    ) -> Result<Side, String> {
        let protocols =
            Protocols::new(config.tls_min_version, config.tls_max_version, &config.cipher_suites)
                .map_err(|e| e.to_string())?;
        if !protocols.unspoken().is_empty() {
            tracing::warn!(
                "cipher-suites" = %List(protocols.unspoken()),
                "ignoring TLS cipher suites that are known but not supported for {name}s"
            );
        }
        let mut side = Side { name, flags: flags.clone(), is_self_signed: false, protocols };
        if flags.auto && flags.is_empty() {
            side.sign_itself(config, listened);
        } else if flags.auto {
            tracing::warn!("ignoring {name} auto TLS since certs given");
        }
        let (cert, key) = (&flags.client_cert, &flags.client_key);
        if cert.is_empty() != key.is_empty() {
            let (cert, key) = (cert.clone(), key.clone());
            return Err(tls::Error::HalfClientPair { key, cert }.to_string());
        }
        side.warn_about_restrictions();
        Ok(side)
    }

    /// Takes the self-signed pair for the hosts it listens on.
    fn sign_itself(&mut self, config: &Config, listened: &[Url]) {
        let name = self.name;
        let mut hosts: Vec<String> = listened
            .iter()
            .filter(|url| url.socket_file().is_none())
            .map(|url| url.hostname().to_owned())
            .collect();
        hosts.sort();
        hosts.dedup();
        let dir = config.data_dir.join("fixtures").join(name);
        let made = match tls::self_signed(&dir, &hosts, config.self_signed_years) {
            Ok(made) => made,
            Err(error) => fatal::die(&format!("failed to get {name} self-signed certs"), &error),
        };
        if let Some(until) = made.made_until {
            tracing::warn!(
                "certificate-validity-bound-not-after" = %base::time::Timestamp(until),
                "automatically generate certificates"
            );
        }
        self.flags.cert = made.files.cert.display().to_string();
        self.flags.key = made.files.key.display().to_string();
        self.is_self_signed = true;
    }

    /// What is set and does not count for a URL without TLS.
    fn warn_about(&self, url: &Url) {
        if url.scheme.is_tls() {
            return;
        }
        let peer = self.name == "peer";
        // In the words of etcd 3.7, which differ.
        let scheme = if peer { "scheme is HTTP" } else { "scheme is http or unix" };
        let option = if peer { "--peer-client-cert-auth" } else { "--client-cert-auth" };
        let warn = |text: &str| match peer {
            true => tracing::warn!("peer-url" = %url, "{scheme} while {text}"),
            false => tracing::warn!("client-url" = %url, "{scheme} while {text}"),
        };
        if !self.flags.is_empty() {
            warn("key and cert files are present; ignoring key and cert files");
        }
        if self.flags.client_cert_auth {
            warn(&format!("{option} is enabled; ignoring client cert auth for this URL"));
        }
    }

    /// A restriction of certificates that nobody must show restricts nobody.
    fn warn_about_restrictions(&self) {
        let TlsFlags { allowed_cns, allowed_hostnames, trusted_ca, client_cert_auth, crl, .. } =
            &self.flags;
        let restricts = !allowed_cns.is_empty() || !allowed_hostnames.is_empty() || !crl.is_empty();
        if restricts && trusted_ca.is_empty() && !client_cert_auth {
            tracing::warn!(
                "{} certificates are restricted but not demanded: set a trusted CA file or client \
                 certificate authentication",
                self.name
            );
        }
    }

    /// The acceptor of these URLs, if one of them is secure.
    fn acceptor(
        &self,
        listened: &[Url],
        adjust: impl FnOnce(&mut ServerOptions),
        alpn: Vec<Vec<u8>>,
    ) -> Result<Option<Arc<Acceptor>>, String> {
        if !listened.iter().any(|url| url.scheme.is_tls()) {
            return Ok(None);
        }
        let flags = &self.flags;
        let make = || {
            let Some(pair) = PairFiles::from_flags(&flags.cert, &flags.key)? else {
                return Ok(None);
            };
            let (cns, hostnames) = (flags.allowed_cns.clone(), flags.allowed_hostnames.clone());
            let path = |text: &str| (!text.is_empty()).then(|| text.into());
            let mut options = ServerOptions {
                pair,
                trusted_ca: path(&flags.trusted_ca),
                client_cert_auth: flags.client_cert_auth,
                allowed: Allowed::from_flags(cns, hostnames)?,
                crl: path(&flags.crl),
                check_address: false,
                protocols: self.protocols.clone(),
                alpn,
            };
            adjust(&mut options);
            Ok(Some(Arc::new(Acceptor::new(options)?)))
        };
        make().map_err(|e: tls::Error| e.to_string())
    }

    /// How this side dials others of its kind.
    fn client_options(&self) -> Result<ClientOptions, String> {
        let flags = &self.flags;
        let own = match flags.client_cert.is_empty() {
            true => PairFiles::from_flags(&flags.cert, &flags.key),
            false => PairFiles::from_flags(&flags.client_cert, &flags.client_key),
        };
        let trust = match flags.trusted_ca.as_str() {
            // Nobody vouches for self-signed certificates.
            _ if self.is_self_signed => Trust::Blind,
            "" => Trust::System,
            file => Trust::Ca(file.into()),
        };
        let pair = own.map_err(|e| e.to_string())?;
        let protocols = self.protocols.clone();
        Ok(ClientOptions { trust, pair, protocols, ..ClientOptions::default() })
    }
}

fn log_start(side: &str, flags: &TlsFlags, config: &Config) {
    if flags.is_empty() {
        return;
    }
    let info = format!(
        "cert = {}, key = {}, client-cert={}, client-key={}, trusted-ca = {}, \
         client-cert-auth = {}, crl-file = {}",
        flags.cert,
        flags.key,
        flags.client_cert,
        flags.client_key,
        flags.trusted_ca,
        flags.client_cert_auth,
        flags.crl
    );
    tracing::info!(
        "tls-info" = info,
        "cipher-suites" = %List(&config.cipher_suites),
        "starting with {side} TLS"
    );
}
