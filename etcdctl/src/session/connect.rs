//! Dialing: all endpoints are tried at once, the earlier ones a little ahead.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Uri};

use super::endpoint::{self, Target};
use crate::settings::Settings;

/// How far an endpoint is ahead of the next one.
const STAGGER: Duration = Duration::from_millis(50);
/// Pause between two attempts at the same endpoint.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
/// gRPC servers end connections that ping more often than this.
const KEEPALIVE_TIME_MIN: Duration = Duration::from_secs(10);

/// A connection that was made.
#[derive(Clone)]
pub(crate) struct Connection {
    /// Where calls go.
    pub(super) channel: Channel,
    addresses: Arc<Mutex<Option<(String, String)>>>,
}

impl Connection {
    /// The two ends as etcd's client logs them.
    pub(super) fn peer(&self) -> String {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let (remote, local) = addresses.clone().unwrap_or_default();
        format!("Peer{{Addr: '{remote}', LocalAddr: '{local}', AuthInfo: 'insecure'}}")
    }
}

/// The first connection that can be made; waits for ever.
pub(super) async fn dial_any(settings: &Settings) -> Connection {
    let mut dials = JoinSet::new();
    let targets = settings.endpoints.iter().filter_map(|text| endpoint::parse(text).ok());
    for (position, target) in targets.enumerate() {
        let (settings, ahead) = (settings.clone(), u32::try_from(position).unwrap_or(u32::MAX));
        dials.spawn(async move {
            tokio::time::sleep(STAGGER.saturating_mul(ahead)).await;
            loop {
                if let Ok(connection) = dial(&target, &settings).await {
                    return connection;
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        });
    }
    loop {
        match dials.join_next().await {
            Some(Ok(connection)) => return connection,
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }
}

/// Why the first endpoint cannot be reached, in the words of Go's dialer.
pub(super) async fn last_error(settings: &Settings) -> Option<String> {
    let target = endpoint::parse(settings.endpoints.first()?).ok()?;
    let (network, attempt) = match &target {
        Target::Tcp(authority) => ("tcp", open_tcp(authority).await.err()),
        Target::Unix(path) => ("unix", UnixStream::connect(path).await.err()),
    };
    let reason = match attempt?.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        kind => kind.to_string(),
    };
    Some(format!("dial {network} {target}: connect: {reason}"))
}

async fn dial(target: &Target, settings: &Settings) -> Result<Connection, tonic::transport::Error> {
    let addresses = Arc::new(Mutex::new(None));
    let connector = Connector { target: target.clone(), addresses: addresses.clone() };
    // The URI only names the authority of the requests; the connector knows the way.
    let authority = match target {
        Target::Tcp(authority) => authority.clone(),
        Target::Unix(_) => "localhost".to_owned(),
    };
    let channel = Endpoint::from_shared(format!("http://{authority}"))?
        .connect_timeout(settings.dial_timeout.max(Duration::from_millis(1)))
        .http2_keep_alive_interval(settings.keepalive_time.max(KEEPALIVE_TIME_MIN))
        .keep_alive_timeout(settings.keepalive_timeout)
        .connect_with_connector(connector)
        .await?;
    Ok(Connection { channel, addresses })
}

async fn open_tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens the socket and remembers its two addresses.
struct Connector {
    target: Target,
    addresses: Arc<Mutex<Option<(String, String)>>>,
}

/// A TCP or Unix stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

impl Connector {
    async fn open(
        target: Target,
        addresses: Arc<Mutex<Option<(String, String)>>>,
    ) -> io::Result<TokioIo<Box<dyn Stream>>> {
        let stream: Box<dyn Stream> = match &target {
            Target::Tcp(authority) => {
                let stream = open_tcp(authority).await?;
                let ends = (stream.peer_addr()?.to_string(), stream.local_addr()?.to_string());
                *addresses.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
                Box::new(stream)
            }
            Target::Unix(path) => {
                let ends = (path.display().to_string(), "@".to_owned());
                *addresses.lock().unwrap_or_else(PoisonError::into_inner) = Some(ends);
                Box::new(UnixStream::connect(path).await?)
            }
        };
        Ok(TokioIo::new(stream))
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(Connector::open(self.target.clone(), self.addresses.clone()))
    }
}
