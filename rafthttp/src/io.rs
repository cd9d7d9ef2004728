//! Connections: how they are opened, and the time their writes may take.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep};

use crate::BoxFuture;
use crate::limits::{IO_TIMEOUT, TCP_KEEPALIVE_S};

/// How long the parts of an exchange with a peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoTimeouts {
    /// A read on a stream, on which something comes three times in 5 s.
    pub read: Duration,
    /// A write that makes no progress.
    pub write: Duration,
}

impl IoTimeouts {
    /// The default of both, and the least that makes sense.
    pub const LEAST: Duration = IO_TIMEOUT;
}

impl Default for IoTimeouts {
    fn default() -> Self {
        Self { read: Self::LEAST, write: Self::LEAST }
    }
}

/// A connection's bytes.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Opens connections to peer URLs.
pub trait Dial: Send + Sync + 'static {
    /// Connects to `url`, as members publish it: scheme, host and port. The caller bounds the
    /// time by dropping the future.
    fn dial(&self, url: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>>;
}

/// Opens connections without TLS: `http://host:port` and `unix://path`.
#[derive(Clone, Copy, Debug, Default)]
pub struct PlainDial;

impl Dial for PlainDial {
    fn dial(&self, url: &str) -> BoxFuture<'static, io::Result<Box<dyn Io>>> {
        let url = url.to_owned();
        Box::pin(async move {
            let io: Box<dyn Io> = match url.split_once("://") {
                Some(("http", address)) => {
                    let stream = TcpStream::connect(address).await?;
                    tune(&stream)?;
                    Box::new(stream)
                }
                Some(("unix", path)) => Box::new(UnixStream::connect(path).await?),
                Some(_) | None => {
                    let why = format!("cannot dial {url} without TLS");
                    return Err(io::Error::new(io::ErrorKind::Unsupported, why));
                }
            };
            Ok(io)
        })
    }
}

/// Sets what connections between members have: no delay of small writes, keepalive probes.
///
/// # Errors
/// Those of the system, for a socket that is already broken.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, KeepAlive, &true)?;
    setsockopt(stream, TcpKeepIdle, &TCP_KEEPALIVE_S)?;
    setsockopt(stream, TcpKeepInterval, &TCP_KEEPALIVE_S)?;
    Ok(())
}

/// Bytes whose writes fail when none is taken for a time: a reader that has stopped must not
/// keep what waits for it.
#[derive(Debug)]
pub(crate) struct WriteTimeout<I> {
    io: I,
    timeout: Duration,
    /// When the write that waits now gives up.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<I> WriteTimeout<I> {
    pub(crate) fn new(io: I, timeout: Duration) -> Self {
        Self { io, timeout, waiting: None }
    }

    /// Turns a write that waits for too long into an error.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        let timeout = self.timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(timeout)));
        if waiting.as_mut().poll(cx).is_ready() {
            waiting.as_mut().reset(Instant::now() + timeout);
            let why = "the other side has stopped reading";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        Poll::Pending
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for WriteTimeout<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.watch(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, polled)
    }
}
