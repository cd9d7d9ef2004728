//! A thin client of the store: typed stubs over one connection at a time, which moves to another
//! endpoint when the present one cannot be reached.
//!
//! ```text
//!   KvClient … ──▶ Connection ──▶ endpoint 1        dialled in turn until one answers;
//!                      ╰── on a broken link ──▶ 2    stays with it until it breaks
//! ```
//!
//! Invariants:
//! - TLS is spoken as the scheme of an endpoint says, and as `tls` sees it;
//! - a request is sent at most once: what fails after it left is reported, never repeated;
//! - dialling goes on until an endpoint answers, so calls need a deadline of their own;
//! - no rule of the store is known here.
//!
//! Entry points: [`Client::new`], then [`Client::kv`] and its siblings.

#![forbid(unsafe_code)]

mod connection;
mod connector;
mod endpoint;

use std::sync::Arc;
use std::time::Duration;

use proto::etcdserverpb::auth_client::AuthClient;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::healthpb::health_client::HealthClient;
use proto::v3electionpb::election_client::ElectionClient;
use proto::v3lockpb::lock_client::LockClient;

pub use connection::Connection;
pub use connector::Peer;
pub use tls::{
    ClientOptions as TlsOptions, Connector as TlsConnector, Error as TlsError, PairFiles, Trust,
};

/// Longest request, in bytes, a client sends unless told otherwise (the server takes 2 MiB).
pub const SEND_BYTES_MAX: usize = 2 << 20;
/// Longest answer, in bytes, a client takes unless told otherwise.
pub const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;

/// Why no client could be made, or no endpoint answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No endpoint was given.
    #[error("no endpoints available")]
    NoEndpoints,
    /// An endpoint is none of `host:port`, `http(s)://host:port`, `unix(s)://path`.
    #[error("endpoint {endpoint:?} is not of the form host:port")]
    Endpoint {
        /// As given.
        endpoint: String,
    },
    /// TLS cannot be set up.
    #[error("{0}")]
    Tls(#[from] tls::Error),
    /// The token is not printable text.
    #[error("the auth token cannot be sent as metadata")]
    Token,
    /// The link broke, or could not be made.
    #[error("{0}")]
    Transport(#[from] tonic::transport::Error),
}

/// How a client connects.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one endpoint is dialled before the next is tried.
    pub connect_timeout: Duration,
    /// How often an idle link is probed; `None` is never.
    pub keepalive_interval: Option<Duration>,
    /// How long a probe may stay unanswered before the link counts as broken.
    pub keepalive_timeout: Duration,
    /// Longest request, in bytes.
    pub send_bytes_max: usize,
    /// Longest answer, in bytes.
    pub receive_bytes_max: usize,
    /// Sent with every call when authentication is on.
    pub token: Option<String>,
    /// Spoken with endpoints that name no scheme, and with those that demand TLS; made by
    /// [`secure`].
    pub tls: Option<Arc<TlsConnector>>,
}

/// Sets TLS up for [`Options::tls`].
///
/// # Errors
/// Files that are missing or do not hold what they should.
pub fn secure(options: TlsOptions) -> Result<Arc<TlsConnector>, tls::Error> {
    endpoint::secure(options)
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(2),
            keepalive_interval: None,
            keepalive_timeout: Duration::from_secs(6),
            send_bytes_max: SEND_BYTES_MAX,
            receive_bytes_max: RECEIVE_BYTES_MAX,
            token: None,
            tls: None,
        }
    }
}

/// Makes stubs that share one connection; cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    connection: Connection,
    options: Arc<Options>,
}

/// Adds a constructor of one service's stub.
macro_rules! stub {
    ($(#[$doc:meta])* $name:ident, $stub:ident) => {
        $(#[$doc])*
        pub fn $name(&self) -> $stub<Connection> {
            $stub::new(self.connection.clone())
                .max_encoding_message_size(self.options.send_bytes_max)
                .max_decoding_message_size(self.options.receive_bytes_max)
        }
    };
}

impl Client {
    /// Prepares a client of these endpoints; nothing is dialled before the first call. Empty
    /// ones are left out, as in a list that ends with a comma; so are those that cannot be read,
    /// which nobody could reach, as long as there are others.
    ///
    /// # Errors
    /// [`Error::NoEndpoints`], [`Error::Endpoint`], [`Error::Tls`] and [`Error::Token`].
    pub fn new<S: AsRef<str>>(endpoints: &[S], options: Options) -> Result<Self, Error> {
        let (mut readable, mut unreadable) = (Vec::new(), None);
        let texts = endpoints.iter().map(|text| text.as_ref().trim());
        for text in texts.filter(|text| !text.is_empty()) {
            match endpoint::parse(text, &options) {
                Ok(endpoint) => readable.push(endpoint),
                Err(error @ Error::Endpoint { .. }) => unreadable = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let (Some(error), true) = (unreadable, readable.is_empty()) {
            return Err(error);
        }
        let connection = Connection::new(readable, options.token.as_deref())?;
        Ok(Self { connection, options: Arc::new(options) })
    }

    /// The connection all stubs share, for calls no stub has.
    pub fn connection(&self) -> Connection {
        self.connection.clone()
    }

    /// Dials until an endpoint answers.
    ///
    /// Cancel safe: dropping the future stops the dialling.
    pub async fn connected(&self) {
        self.connection.connected().await;
    }

    stub!(
        /// Pairs.
        kv,
        KvClient
    );
    stub!(
        /// Watchers.
        watch,
        WatchClient
    );
    stub!(
        /// Leases.
        lease,
        LeaseClient
    );
    stub!(
        /// Members.
        cluster,
        ClusterClient
    );
    stub!(
        /// Upkeep of one member.
        maintenance,
        MaintenanceClient
    );
    stub!(
        /// Users and roles.
        auth,
        AuthClient
    );
    stub!(
        /// Locks.
        lock,
        LockClient
    );
    stub!(
        /// Elections.
        election,
        ElectionClient
    );
    stub!(
        /// Health of one member.
        health,
        HealthClient
    );
}
