//! Opens the socket of an endpoint, shakes hands if it speaks TLS, and remembers its ends or why
//! there is none.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tonic::transport::Uri;

/// Where an endpoint lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// `host:port`.
    Tcp(String),
    /// A socket file.
    Unix(PathBuf),
}

/// Where an endpoint lies and how it is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) place: Place,
    /// With TLS: how, and whom the certificate must be for.
    pub(crate) tls: Option<(Arc<tls::Connector>, String)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Tcp(address) => write!(f, "tcp {address}"),
            Place::Unix(path) => write!(f, "unix {}", path.display()),
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
    /// Whether TLS is spoken.
    pub secure: bool,
}

/// How the latest attempt to make a link went.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) peer: Option<Peer>,
    pub(crate) error: Option<String>,
}

/// Notes that the ends of a link share.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedNotes(Arc<Mutex<Notes>>);

impl SharedNotes {
    pub(crate) fn peer(&self) -> Option<Peer> {
        let notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        notes.peer.clone().filter(|_| notes.error.is_none())
    }

    pub(crate) fn error(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).error.clone()
    }

    /// There is no link, because of this.
    pub(crate) fn fail(&self, error: String) {
        let notes = Notes { peer: None, error: Some(error) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = notes;
    }

    /// There is somebody. Why the link before failed stays true until this one is good.
    fn meet(&self, peer: Peer) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).peer = Some(peer);
    }

    /// The link is good.
    pub(crate) fn succeed(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).error = None;
    }
}

/// Told what a server said first: something, or why nothing.
type FirstWord = oneshot::Sender<Result<(), String>>;

/// Makes links to one target, whatever the URI says.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    target: Target,
    notes: SharedNotes,
    first_word: Arc<Mutex<Option<FirstWord>>>,
}

/// A TCP, Unix or TLS stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Opened = io::Result<TokioIo<Heard>>;

impl Connector {
    /// The receiver is told when the server has spoken on the first link.
    pub(crate) fn new(
        target: Target,
        notes: SharedNotes,
    ) -> (Connector, oneshot::Receiver<Result<(), String>>) {
        let (first_word, heard) = oneshot::channel();
        let first_word = Arc::new(Mutex::new(Some(first_word)));
        (Connector { target, notes, first_word }, heard)
    }

    async fn open(self) -> Opened {
        let place = &self.target.place;
        let (stream, peer) = match self.socket().await {
            Ok(opened) => opened,
            Err(error) => {
                let reason = reason(&error);
                self.notes.fail(format!(
                    "transport: Error while dialing: dial {place}: connect: {reason}"
                ));
                return Err(error);
            }
        };
        let (stream, secure): (Box<dyn Stream>, bool) = match &self.target.tls {
            None => (stream, false),
            Some((connector, host)) => match connector.connect(stream, host).await {
                Ok(stream) => (Box::new(stream), true),
                Err(error) => {
                    let mut reason = tls::describe(&error);
                    // How a server of plain text answers: not at all.
                    let gone = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
                    if gone.contains(&error.kind()) {
                        reason += "; does the server speak TLS?";
                    }
                    self.notes
                        .fail(format!("transport: authentication handshake failed: {reason}"));
                    return Err(error);
                }
            },
        };
        self.notes.meet(Peer { secure, ..peer });
        let first_word = self.first_word.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(TokioIo::new(Heard { stream, first_word }))
    }

    async fn socket(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match &self.target.place {
            Place::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let remote = stream.peer_addr()?.to_string();
                let local = stream.local_addr()?.to_string();
                Ok((Box::new(stream), Peer { remote, local, secure: false }))
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await?;
                let (remote, local) = (path.display().to_string(), "@".to_owned());
                Ok((Box::new(stream), Peer { remote, local, secure: false }))
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
    type Response = TokioIo<Heard>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Opened> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        Box::pin(self.clone().open())
    }
}

/// A stream that tells when the other side has spoken.
///
/// A server that does not take our certificate says so only after the handshake, and one that
/// speaks another protocol may just close: neither is a link to send requests on.
pub(crate) struct Heard {
    stream: Box<dyn Stream>,
    first_word: Option<FirstWord>,
}

/// Whether this is how a server of HTTP/2 begins: with a SETTINGS frame.
fn judge(first: &[u8]) -> Result<(), &'static str> {
    const KIND_AT: usize = 3;
    const SETTINGS: u8 = 4;
    // An alert about our plain text; of a frame these would be the head of a length beyond all
    // that servers may send unasked.
    const TLS_ALERT: [u8; 2] = [21, 3];
    match first.get(KIND_AT) {
        None if first.is_empty() => Err("EOF"),
        Some(_) if first.starts_with(&TLS_ALERT) => Err("the server speaks TLS: use https"),
        Some(kind) if *kind != SETTINGS => Err("the server does not speak HTTP/2"),
        None | Some(_) => Ok(()),
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = ready!(Pin::new(&mut this.stream).poll_read(cx, buf));
        this.tell(&read, &buf.filled()[before..]);
        Poll::Ready(read)
    }
}

impl Heard {
    /// Passes on what was read first.
    fn tell(&mut self, read: &io::Result<()>, bytes: &[u8]) {
        if let Some(first_word) = self.first_word.take() {
            let told = match read {
                Ok(()) => judge(bytes).map_err(str::to_owned),
                Err(error) => Err(tls::describe(error)),
            };
            // Nobody listens once dialling was given up.
            first_word.send(told).ok();
        }
    }

    /// A server that turns us away closes while we still write: why is among what it has sent,
    /// and a broken socket can be read at once, so this waits for it.
    fn after_write<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if matches!(written, Poll::Ready(Err(_))) && self.first_word.is_some() {
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf));
            self.tell(&read, buf.filled());
        }
        written
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.after_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
