//! Which protocol a connection speaks, told by its first bytes, and a stream that gives them back.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// What an HTTP/2 client says first.
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The longest HTTP/1 request line that is recognised (etcd: 4,096).
const REQUEST_LINE_BYTES_MAX: usize = 4096;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.0 or 1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

/// What the bytes so far tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Known(Protocol),
    NeedMore,
    Foreign,
}

fn judge(bytes: &[u8]) -> Verdict {
    let common = bytes.len().min(PREFACE.len());
    if bytes[..common] == PREFACE[..common] {
        let whole = common == PREFACE.len();
        return if whole { Verdict::Known(Protocol::Http2) } else { Verdict::NeedMore };
    }
    let line_end = bytes.iter().position(|&b| b == b'\n');
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    // TLS and most junk betray themselves by their first byte, long before a line ends.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if !line.first().copied().is_some_and(token) || line.iter().any(|&b| b < b' ' && b != b'\r') {
        return Verdict::Foreign;
    }
    match line_end {
        Some(_) if is_request_line(line) => Verdict::Known(Protocol::Http1),
        Some(_) => Verdict::Foreign,
        None if bytes.len() >= REQUEST_LINE_BYTES_MAX => Verdict::Foreign,
        None => Verdict::NeedMore,
    }
}

/// `method target HTTP/1.x`.
fn is_request_line(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|&b| b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let some = |word: Option<&[u8]>| word.is_some_and(|w| !w.is_empty());
    some(method)
        && some(target)
        && version.is_some_and(|v| v.starts_with(b"HTTP/1."))
        && words.next().is_none()
}

/// What the first bytes of a stream told.
#[derive(Debug)]
pub(super) enum Sniffed<S> {
    /// One of our protocols.
    Known(Protocol, Rewound<S>),
    /// None of ours.
    Foreign(Rewound<S>),
    /// The stream ended before it told anything.
    End,
}

/// Reads until the protocol is known.
///
/// Not cancel safe: bytes read so far are lost.
pub(super) async fn sniff<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Sniffed<S>> {
    let mut head = BytesMut::with_capacity(REQUEST_LINE_BYTES_MAX);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(Sniffed::End);
        }
        match judge(&head) {
            Verdict::NeedMore => {}
            Verdict::Foreign => {
                return Ok(Sniffed::Foreign(Rewound { head: head.freeze(), stream }));
            }
            Verdict::Known(protocol) => {
                return Ok(Sniffed::Known(protocol, Rewound { head: head.freeze(), stream }));
            }
        }
    }
}

/// A stream whose first bytes were read already and are read again.
#[derive(Debug)]
pub(crate) struct Rewound<S> {
    head: Bytes,
    stream: S,
}

impl<S> Rewound<S> {
    /// A stream of which nothing was read yet.
    pub(super) fn fresh(stream: S) -> Rewound<S> {
        Rewound { head: Bytes::new(), stream }
    }

    /// Whether what was read already begins as a client of TLS does.
    pub(super) fn begins_as_tls(&self) -> bool {
        const HANDSHAKE: [u8; 2] = [22, 3];
        self.head.starts_with(&HANDSHAKE)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.head.len().min(buf.remaining());
        buf.put_slice(&self.head[..count]);
        self.head.advance(count);
        if self.head.is_empty() {
            // Lets go of the allocation.
            self.head = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        let long = [b"GET /".as_slice(), &[b'a'; REQUEST_LINE_BYTES_MAX]].concat();
        let cases: &[(&[u8], Verdict)] = &[
            (b"", Verdict::NeedMore),
            (b"P", Verdict::NeedMore),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", Verdict::NeedMore),
            (PREFACE, Verdict::Known(Protocol::Http2)),
            (b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", Verdict::Foreign),
            (b"POST /v3/kv/range HTTP/1.1\r\n", Verdict::Known(Protocol::Http1)),
            (b"GET / HTTP/1.0\n", Verdict::Known(Protocol::Http1)),
            (b"FOO /health HTTP/1.1\r\nHost: a\r\n\r\n", Verdict::Known(Protocol::Http1)),
            (b"GET /health", Verdict::NeedMore),
            (b"GET /a b HTTP/1.1\r\n", Verdict::Foreign),
            (b"GET  HTTP/1.1\r\n", Verdict::Foreign),
            (b"junk\r\njunk\r\n", Verdict::Foreign),
            (b"GET / HTTP/2.0\r\n", Verdict::Foreign),
            (b"\x16\x03\x01\x02\x00", Verdict::Foreign),
            (b"\r\n", Verdict::Foreign),
            (b"\0\0\0\0", Verdict::Foreign),
            (&long, Verdict::Foreign),
        ];
        for (bytes, want) in cases {
            let verdict = if bytes.is_empty() { Verdict::NeedMore } else { judge(bytes) };
            assert_eq!(verdict, *want, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[tokio::test]
    async fn sniffed_bytes_are_read_again() {
        let (mut client, server) = tokio::io::duplex(64);
        let request = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n";
        let written = tokio::io::AsyncWriteExt::write_all(&mut client, request);
        written.await.expect("room in the pipe");
        drop(client);
        let sniffed = sniff(server).await.expect("no fault");
        let Sniffed::Known(protocol, mut stream) = sniffed else { panic!("{sniffed:?}") };
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("no fault");
        assert_eq!((protocol, all.as_slice()), (Protocol::Http1, request.as_slice()));
    }

    #[tokio::test]
    async fn foreign_bytes_are_read_again_too() {
        let (mut client, server) = tokio::io::duplex(64);
        let hello = b"\x16\x03\x01\x00\x05";
        let written = tokio::io::AsyncWriteExt::write_all(&mut client, hello);
        written.await.expect("room in the pipe");
        drop(client);
        let sniffed = sniff(server).await.expect("no fault");
        let Sniffed::Foreign(mut stream) = sniffed else { panic!("{sniffed:?}") };
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("no fault");
        assert_eq!(all, hello);
    }

    #[tokio::test]
    async fn an_early_end_is_no_protocol() {
        let (client, server) = tokio::io::duplex(64);
        drop(client);
        assert!(matches!(sniff(server).await.expect("no fault"), Sniffed::End));
    }
}
