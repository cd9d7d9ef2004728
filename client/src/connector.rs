//! Opens the socket of an endpoint, and remembers its ends or why there is none.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::Uri;

/// Where an endpoint lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `host:port`.
    Tcp(String),
    /// A socket file.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => write!(f, "tcp {address}"),
            Target::Unix(path) => write!(f, "unix {}", path.display()),
        }
    }
}

/// The two ends of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The server's address.
    pub remote: String,
    /// Our address.
    pub local: String,
}

/// How the latest attempt to open a socket went.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) peer: Option<Peer>,
    pub(crate) error: Option<String>,
}

/// Opens one target's socket, whatever the URI says.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    pub(crate) target: Target,
    pub(crate) notes: Arc<Mutex<Notes>>,
}

/// A TCP or Unix stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl Stream for TcpStream {}
impl Stream for UnixStream {}

type Opened = io::Result<TokioIo<Box<dyn Stream>>>;

impl Connector {
    async fn open(self) -> Opened {
        let opened = self.socket().await;
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        match opened {
            Ok((stream, peer)) => {
                *notes = Notes { peer: Some(peer), error: None };
                Ok(TokioIo::new(stream))
            }
            Err(error) => {
                let reason = reason(&error);
                let error_text = format!("dial {}: connect: {reason}", self.target);
                *notes = Notes { peer: None, error: Some(error_text) };
                Err(error)
            }
        }
    }

    async fn socket(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match &self.target {
            Target::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let remote = stream.peer_addr()?.to_string();
                let local = stream.local_addr()?.to_string();
                Ok((Box::new(stream), Peer { remote, local }))
            }
            Target::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let peer = Peer { remote: path.display().to_string(), local: "@".to_owned() };
                Ok((Box::new(stream), peer))
            }
        }
    }
}

/// An error of the system in the words other tools use.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => error.to_string(),
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Opened> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().open())
    }
}
