//! A connection of either kind of socket.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepIdle, TcpKeepInterval};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Idle time and interval of TCP keepalive probes (Go's servers under etcd: 30 s).
const TCP_KEEPALIVE_S: u32 = 30;

/// A connection over TCP or a unix socket.
#[derive(Debug)]
pub(crate) enum Stream {
    /// Over TCP.
    Tcp(TcpStream),
    /// Over a unix socket.
    Unix(UnixStream),
}

/// A connection on its way to another runtime.
#[derive(Debug)]
pub(super) enum Parked {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Stream {
    /// Takes the connection out of the reactor of this runtime.
    pub(super) fn park(self) -> io::Result<Parked> {
        Ok(match self {
            Stream::Tcp(stream) => Parked::Tcp(stream.into_std()?),
            Stream::Unix(stream) => Parked::Unix(stream.into_std()?),
        })
    }

    /// Sends small writes at once, and notices when the other side is gone.
    ///
    /// # Errors
    /// The connection is gone already.
    pub(crate) fn tune(&self) -> io::Result<()> {
        let Stream::Tcp(stream) = self else { return Ok(()) };
        stream.set_nodelay(true)?;
        setsockopt(stream, KeepAlive, &true)?;
        setsockopt(stream, TcpKeepIdle, &TCP_KEEPALIVE_S)?;
        setsockopt(stream, TcpKeepInterval, &TCP_KEEPALIVE_S)?;
        Ok(())
    }
}

impl Parked {
    /// Puts the connection into the reactor of this runtime.
    pub(super) fn unpark(self) -> io::Result<Stream> {
        Ok(match self {
            Parked::Tcp(stream) => Stream::Tcp(TcpStream::from_std(stream)?),
            Parked::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

/// The other end as logs name it; Go names an end without an address `@`.
pub(super) fn remote_text(remote: Option<SocketAddr>) -> String {
    remote.map_or_else(|| "@".to_owned(), |remote| remote.to_string())
}

/// Calls the same method of whichever stream it is.
macro_rules! either {
    ($this:ident, $method:ident ( $($argument:expr),* )) => {
        match $this.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            Stream::Unix(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown(cx))
    }
}
