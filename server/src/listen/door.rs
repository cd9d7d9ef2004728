//! How a connection begins: plain, with TLS, or told by its first bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Bound;
use super::sniff::{Protocol, Rewound, Sniffed, sniff};
use super::socket::{Stream, remote_text};
use crate::logging::List;

/// How long a plain connection may take to show its protocol.
const PROTOCOL_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// The entrance of one listener; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    plain: bool,
    tls: Option<Arc<tls::Acceptor>>,
    /// What the log calls the endpoint.
    endpoint: &'static str,
    /// Plain connections speak HTTP/1, so nothing needs to be told from their bytes.
    only_http1: bool,
}

/// A connection that got in.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Without TLS.
    Plain(Protocol, Rewound<Stream>),
    /// With TLS.
    Secure(Secured),
}

/// A connection with TLS.
pub(crate) type Secured = Box<tls::Accepted<Rewound<Stream>>>;

impl Door {
    /// The entrance of a listener for any protocol; `tls` is needed for its secure URLs.
    pub(crate) fn new(
        bound: &Bound,
        tls: Option<&Arc<tls::Acceptor>>,
        endpoint: &'static str,
    ) -> Door {
        let tls = tls.filter(|_| bound.is_secure()).cloned();
        Door { plain: bound.is_plain(), tls, endpoint, only_http1: false }
    }

    /// The same for a listener that serves HTTP/1 alone.
    pub(crate) fn http1(
        bound: &Bound,
        tls: Option<&Arc<tls::Acceptor>>,
        endpoint: &'static str,
    ) -> Door {
        Door { only_http1: true, ..Door::new(bound, tls, endpoint) }
    }

    /// Lets a connection in; `None` if it left or was turned away, which the log was told.
    ///
    /// Not cancel safe: the connection is lost.
    ///
    /// # Errors
    /// The connection broke, or stayed silent.
    pub(crate) async fn open(
        &self,
        stream: Stream,
        remote: Option<SocketAddr>,
    ) -> io::Result<Option<Opened>> {
        stream.tune()?;
        let stream = match (self.plain, &self.tls) {
            (true, None) if self.only_http1 => {
                return Ok(Some(Opened::Plain(Protocol::Http1, Rewound::fresh(stream))));
            }
            (true, _) => match tokio::time::timeout(PROTOCOL_TIMEOUT, sniff(stream)).await?? {
                Sniffed::Known(protocol, stream) => {
                    return Ok(Some(Opened::Plain(protocol, stream)));
                }
                Sniffed::Foreign(stream) => stream,
                Sniffed::End => return Ok(None),
            },
            (false, _) => Rewound::fresh(stream),
        };
        let Some(tls) = &self.tls else {
            if stream.begins_as_tls() {
                let error = "tls: no https URL is listened on here".to_owned();
                self.log(remote, &tls::Rejected { error, ..tls::Rejected::default() });
            }
            return Ok(None);
        };
        match tls.accept(stream, remote.map(|remote| remote.ip())).await {
            Ok(accepted) => Ok(Some(Opened::Secure(Box::new(accepted)))),
            Err(rejected) => {
                self.log(remote, &rejected);
                Ok(None)
            }
        }
    }

    fn log(&self, remote: Option<SocketAddr>, rejected: &tls::Rejected) {
        let endpoint = self.endpoint;
        let (error, server_name) = (&rejected.error, &rejected.server_name);
        let remote = remote_text(remote);
        match &rejected.shown {
            _ if rejected.is_end => tracing::debug!(
                "remote-addr" = remote,
                "server-name" = server_name,
                error,
                "rejected connection on {endpoint} endpoint"
            ),
            None => tracing::warn!(
                "remote-addr" = remote,
                "server-name" = server_name,
                error,
                "rejected connection on {endpoint} endpoint"
            ),
            Some((addresses, names)) => tracing::warn!(
                "remote-addr" = remote,
                "server-name" = server_name,
                "ip-addresses" = %List(addresses),
                "dns-names" = %List(names),
                error,
                "rejected connection on {endpoint} endpoint"
            ),
        }
    }
}
