//! The side that dials.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::cert::Facts;
use crate::pair::{Pair, PairFiles};
use crate::protocols::Protocols;
use crate::roots::Roots;
use crate::server_check::ServerCheck;
use crate::stream::Stream;
use crate::verify::Checker;
use crate::{Error, HANDSHAKE_TIMEOUT, text};

/// Which servers are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Those the system trusts.
    #[default]
    System,
    /// Those the certificates of a PEM file vouch for.
    Ca(PathBuf),
    /// All, whatever they show.
    Blind,
}

/// How to dial.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Which servers are trusted.
    pub trust: Trust,
    /// What is shown to a server that asks.
    pub pair: Option<PairFiles>,
    /// The name servers must be certified for, if it is not the host that is dialled.
    pub server_name: Option<String>,
    /// Versions and suites.
    pub protocols: Protocols,
    /// Application protocols asked for, best first; empty asks for none.
    pub alpn: Vec<Vec<u8>>,
}

/// Dials encrypted connections.
#[derive(Debug)]
pub struct Connector {
    pair: Option<Pair>,
    server_name: Option<String>,
    blind: bool,
    protocols: Protocols,
    template: Arc<ClientConfig>,
    last: Mutex<Option<(Arc<CertifiedKey>, Arc<ClientConfig>)>>,
}

impl Connector {
    /// Reads the files; the CA is never read again, the pair at every dial.
    ///
    /// # Errors
    /// Files that are missing or do not hold what they should.
    pub fn new(options: ClientOptions) -> Result<Connector, Error> {
        let ClientOptions { trust, pair, server_name, protocols, alpn } = options;
        let provider = protocols.provider().clone();
        let roots = match &trust {
            Trust::Ca(path) => Roots::from_file(path)?,
            Trust::System => Roots::system(),
            Trust::Blind => Roots::none(),
        };
        let algorithms = provider.signature_verification_algorithms;
        let blind = trust == Trust::Blind;
        let check = ServerCheck { checker: Checker { roots, algorithms }, blind };
        let mut template = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(protocols.versions())
            .map_err(|e| Error::Make(e.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(check))
            .with_no_client_auth();
        template.alpn_protocols = alpn;
        // A resumed session would skip the checks.
        template.resumption = Resumption::disabled();
        let pair = pair.map(Pair::new);
        if let Some(pair) = &pair {
            pair.load(&provider)?;
        }
        let template = Arc::new(template);
        Ok(Connector { pair, server_name, blind, protocols, template, last: Mutex::default() })
    }

    /// Shakes hands with the server at `host`, a name or an address without port.
    ///
    /// Not cancel safe: the connection is lost.
    ///
    /// # Errors
    /// What [`crate::describe`] tells; a server that refuses our certificate may say so only
    /// when the stream is read.
    pub async fn connect<S>(&self, io: S, host: &str) -> io::Result<Stream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.name(self.server_name.as_deref().unwrap_or(host))?;
        let config = self.config().map_err(|e| io::Error::other(e.to_string()))?;
        let handshake = TlsConnector::from(config).connect(name, io);
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => Ok(Stream::new(stream)),
            Ok(Err(error)) => Err(io::Error::new(error.kind(), text::describe(&error))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "tls: handshake timeout")),
        }
    }

    fn name(&self, host: &str) -> io::Result<ServerName<'static>> {
        let bare = host.strip_suffix('.').unwrap_or(host);
        let bare = bare.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(bare);
        // The zone of an address is ours alone.
        let bare = bare.split('%').next().unwrap_or_default();
        match ServerName::try_from(bare) {
            Ok(name) => Ok(name.to_owned()),
            // No name is looked at, and an address is not sent.
            Err(_) if self.blind => Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()),
            Err(_) => {
                let host = base::text::quote(host.as_bytes());
                let text = format!("tls: {host} is not a name a certificate can be for");
                Err(io::Error::new(io::ErrorKind::InvalidInput, text))
            }
        }
    }

    /// The configuration with the pair as it is on disk now.
    fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let Some(pair) = &self.pair else { return Ok(self.template.clone()) };
        let pair = pair.load(self.protocols.provider())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, config)) = &*last
            && Arc::ptr_eq(of, &pair)
        {
            return Ok(config.clone());
        }
        let mut config = ClientConfig::clone(&self.template);
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(pair.clone()));
        let config = Arc::new(config);
        *last = Some((pair, config.clone()));
        Ok(config)
    }

    /// The common name of the certificate that is shown, if there is one.
    ///
    /// # Errors
    /// Files that are missing or do not hold what they should.
    pub fn common_name(&self) -> Result<Option<String>, Error> {
        let Some(pair) = &self.pair else { return Ok(None) };
        let pair = pair.load(self.protocols.provider())?;
        let leaf = pair.cert.first().and_then(|leaf| Facts::read(leaf).ok());
        Ok(leaf.map(|facts| facts.common_name))
    }
}
