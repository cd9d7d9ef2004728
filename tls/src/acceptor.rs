//! The side that accepts connections.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;

use crate::allowed::Allowed;
use crate::cert::Facts;
use crate::client_check::ClientCheck;
use crate::crl::Crl;
use crate::pair::{Pair, PairFiles};
use crate::protocols::Protocols;
use crate::roots::Roots;
use crate::san::{self, Names, SystemNames};
use crate::stream::Stream;
use crate::verify::Checker;
use crate::{Error, HANDSHAKE_TIMEOUT, text};

/// How a listener speaks TLS.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What the server shows.
    pub pair: PairFiles,
    /// Whose client certificates are taken. Clients must show one as soon as this is set.
    pub trusted_ca: Option<PathBuf>,
    /// Clients must show a certificate, by default one the system trusts.
    pub client_cert_auth: bool,
    /// Which of those are let in.
    pub allowed: Allowed,
    /// DER list of revoked certificates.
    pub crl: Option<PathBuf>,
    /// Whether a client certificate must be for the address the client comes from.
    pub check_address: bool,
    /// Versions and suites.
    pub protocols: Protocols,
    /// Application protocols offered, best first; empty offers none.
    pub alpn: Vec<Vec<u8>>,
}

/// Accepts encrypted connections.
#[derive(Debug)]
pub struct Acceptor {
    pair: Pair,
    protocols: Protocols,
    check_address: bool,
    names: Arc<dyn Names>,
    template: ServerConfig,
    last: Mutex<Option<Made>>,
}

/// Who a client proved to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The common name of the certificate's subject; may be empty.
    pub common_name: String,
}

/// An accepted connection.
#[derive(Debug)]
pub struct Accepted<S> {
    /// To read from and write to.
    pub stream: Stream<S>,
    /// Who the client is, if it had to show a certificate.
    pub identity: Option<Identity>,
}

/// A connection that was not accepted, as the log tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Why.
    pub error: String,
    /// The server name the client asked for, or nothing.
    pub server_name: String,
    /// Addresses and host names of the certificate the client showed, once the handshake was done.
    pub shown: Option<(Vec<IpAddr>, Vec<String>)>,
    /// The client just went away, which is no news.
    pub is_end: bool,
}

impl Acceptor {
    /// Reads the files; the CA is never read again, the others at every connection.
    ///
    /// # Errors
    /// Files that are missing or do not hold what they should.
    pub fn new(options: ServerOptions) -> Result<Acceptor, Error> {
        let ServerOptions { pair, trusted_ca, client_cert_auth, allowed, crl, .. } = options;
        let protocols = options.protocols;
        let provider = protocols.provider().clone();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(protocols.versions())
            .map_err(|e| Error::Make(e.to_string()))?;
        let builder = if trusted_ca.is_some() || client_cert_auth {
            let roots = match &trusted_ca {
                Some(path) => Roots::from_file(path)?,
                None => Roots::system(),
            };
            // Clients are told of chosen CAs, not of the hundred of the system.
            let subjects = if trusted_ca.is_some() { roots.subjects() } else { Vec::new() };
            let checker = Checker { roots, algorithms: provider.signature_verification_algorithms };
            let crl = crl.as_deref().map(Crl::new);
            builder.with_client_cert_verifier(Arc::new(ClientCheck::new(
                checker, subjects, allowed, crl,
            )))
        } else {
            builder.with_no_client_auth()
        };
        let pair = Pair::new(pair);
        let first = pair.load(&provider)?;
        let mut template = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(first)));
        template.alpn_protocols = options.alpn;
        // A resumed session would skip the checks.
        template.session_storage = Arc::new(NoServerSessionStorage {});
        template.send_tls13_tickets = 0;
        Ok(Acceptor {
            pair,
            protocols,
            check_address: options.check_address,
            names: Arc::new(SystemNames),
            template,
            last: Mutex::default(),
        })
    }

    /// The same, asking others for names than the system.
    #[must_use]
    pub fn with_names(self, names: Arc<dyn Names>) -> Acceptor {
        Acceptor { names, ..self }
    }

    /// Shakes hands; `remote` is the client's address, if it has one.
    ///
    /// Not cancel safe: the connection is lost.
    ///
    /// # Errors
    /// What the log is to be told.
    pub async fn accept<S>(&self, io: S, remote: Option<IpAddr>) -> Result<Accepted<S>, Rejected>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, self.shake_hands(io, remote)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(Rejected { error: "tls: handshake timeout".to_owned(), ..Rejected::default() })
            }
        }
    }

    async fn shake_hands<S>(&self, io: S, remote: Option<IpAddr>) -> Result<Accepted<S>, Rejected>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io)
            .await
            .map_err(|e| rejected(&e, String::new()))?;
        let server_name = start.client_hello().server_name().unwrap_or_default().to_owned();
        let config = self.config(&start.client_hello()).map_err(|error| Rejected {
            error: error.to_string(),
            server_name: server_name.clone(),
            ..Rejected::default()
        })?;
        let finished = start.into_stream(config).await;
        let stream = Stream::new(finished.map_err(|e| rejected(&e, server_name.clone()))?);
        let Some(leaf) = stream.leaf() else { return Ok(Accepted { stream, identity: None }) };
        let refuse = |error, shown| Rejected {
            error,
            server_name: server_name.clone(),
            shown,
            is_end: false,
        };
        let facts = Facts::read(leaf).map_err(|why| refuse(why, None))?;
        if self.check_address
            && let Some(remote) = remote
            && let Err(error) = san::check(&facts, remote, &self.names).await
        {
            return Err(refuse(error, Some((facts.ip_addresses, facts.dns_names))));
        }
        Ok(Accepted { stream, identity: Some(Identity { common_name: facts.common_name }) })
    }

    /// The configuration with the pair as it is on disk now.
    fn config(&self, hello: &ClientHello<'_>) -> Result<Arc<ServerConfig>, Error> {
        let pair = self.pair.load(self.protocols.provider())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let current = match last.take() {
            Some(made) if Arc::ptr_eq(&made.pair, &pair) => made,
            _ => Made::new(&self.template, pair),
        };
        let current = last.insert(current);
        Ok(match self.takes_for_older(hello) {
            true => current.without_alpn.clone(),
            false => current.config.clone(),
        })
    }

    /// As Go does: a client that offers HTTP/1.1 and none of our protocols is taken for one that
    /// offers nothing, instead of being sent away.
    fn takes_for_older(&self, hello: &ClientHello<'_>) -> bool {
        let Some(offered) = hello.alpn() else { return false };
        let ours = |protocol: &[u8]| self.template.alpn_protocols.iter().any(|p| p == protocol);
        let (mut http1, mut common) = (false, false);
        offered.for_each(|protocol| {
            http1 |= protocol == b"http/1.1";
            common |= ours(protocol);
        });
        http1 && !common
    }
}

/// What was made of a pair.
#[derive(Debug)]
struct Made {
    pair: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
    without_alpn: Arc<ServerConfig>,
}

impl Made {
    fn new(template: &ServerConfig, pair: Arc<CertifiedKey>) -> Made {
        let mut config = template.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(pair.clone()));
        let mut without_alpn = config.clone();
        without_alpn.alpn_protocols.clear();
        Made { pair, config: Arc::new(config), without_alpn: Arc::new(without_alpn) }
    }
}

fn rejected(error: &io::Error, server_name: String) -> Rejected {
    Rejected { error: text::describe(error), server_name, shown: None, is_end: text::is_end(error) }
}
