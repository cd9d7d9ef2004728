//! An encrypted connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use crate::text;

/// An encrypted connection of either side. Its errors speak etcd's words: a certificate that the
/// server refuses shows here, at the first read, when TLS 1.3 is spoken.
#[derive(Debug)]
pub struct Stream<S>(TlsStream<S>);

impl<S> Stream<S> {
    pub(crate) fn new(stream: impl Into<TlsStream<S>>) -> Stream<S> {
        Stream(stream.into())
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        self.0.get_ref().0
    }

    /// The application protocol that was agreed on, if any.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }

    pub(crate) fn leaf(&self) -> Option<&rustls::pki_types::CertificateDer<'static>> {
        self.0.get_ref().1.peer_certificates()?.first()
    }
}

/// An error with the library's part of it in other words: its own errors, and its advice on a
/// connection that ends without a farewell, which is how killed processes leave.
fn worded(error: io::Error) -> io::Error {
    let is_ours = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    match is_ours || error.kind() == io::ErrorKind::UnexpectedEof {
        true => io::Error::new(error.kind(), text::describe(&error)),
        false => error,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf).map_err(worded)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf).map_err(worded)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs).map_err(worded)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx).map_err(worded)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx).map_err(worded)
    }
}
