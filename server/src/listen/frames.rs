//! Looks at the frames of HTTP/2 connections: counts their data, and ends those whose client pings
//! too often.
//!
//! The HTTP library answers pings by itself and tells nothing of sizes, so this stream looks at
//! the heads of the frames that pass through it: nine bytes each, payloads are skipped.
//!
//! A ping counts as a strike when it follows another sooner than allowed; sending data or headers
//! wipes the strikes out. One strike too many and the client gets GOAWAY with
//! `ENHANCE_YOUR_CALM` and `too_many_pings`, which gRPC clients understand.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::authority::cut_scheme;
use super::gather::{Drain, Gathered};
use super::sniff::PREFACE;
use crate::metrics::Counter;

/// Strikes that are forgiven (grpc-go: 2).
const STRIKES_MAX: u32 = 2;
/// Length of a frame's head.
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
/// Flags of a HEADERS frame.
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Requests of a connection that are looked into: later ones refer to the first.
const UNUSUAL_MAX: u32 = 16;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const ACK: u8 = 0x1;
const ENHANCE_YOUR_CALM: u32 = 0xb;
const REASON: &[u8] = b"too_many_pings";

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    kind: u8,
    flags: u8,
    stream: u32,
    length: usize,
}

/// Finds the heads of frames in a stream of bytes.
#[derive(Debug, Default)]
struct Walker {
    /// Bytes of a payload, or of what precedes the first frame, still to come.
    skip: usize,
    head: [u8; HEAD_BYTES],
    have: usize,
}

impl Walker {
    fn walk(&mut self, mut bytes: &[u8], mut found: impl FnMut(Head)) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let step = self.skip.min(bytes.len());
                self.skip -= step;
                bytes = &bytes[step..];
                continue;
            }
            let step = (HEAD_BYTES - self.have).min(bytes.len());
            self.head[self.have..self.have + step].copy_from_slice(&bytes[..step]);
            self.have += step;
            bytes = &bytes[step..];
            if self.have == HEAD_BYTES {
                self.have = 0;
                let [a, b, c, kind, flags, stream @ ..] = self.head;
                self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                found(Head { kind, flags, stream, length: self.skip });
            }
        }
    }

    /// Whether the last frame is complete.
    fn is_between_frames(&self) -> bool {
        self.skip == 0 && self.have == 0
    }
}

/// Counts strikes.
#[derive(Debug)]
struct Strikes {
    spacing: Duration,
    last: Option<Instant>,
    count: u32,
    last_stream: u32,
}

impl Strikes {
    /// A frame of the client; true when it was one ping too many.
    fn received(&mut self, head: Head, now: Instant) -> bool {
        if head.kind == HEADERS {
            self.last_stream = self.last_stream.max(head.stream);
        }
        if head.kind != PING || head.flags & ACK != 0 {
            return false;
        }
        if self.last.is_some_and(|last| now.duration_since(last) < self.spacing) {
            self.count += 1;
        }
        self.last = Some(now);
        self.count > STRIKES_MAX
    }

    /// A frame of ours.
    fn sent(&mut self, head: Head) {
        if matches!(head.kind, DATA | HEADERS) {
            self.count = 0;
            self.last = None;
        }
    }

    /// What the client is told at the end.
    fn farewell(&self) -> Vec<u8> {
        let length = u8::try_from(8 + REASON.len()).expect("a short text");
        let mut frame = vec![0, 0, length, GOAWAY, 0, 0, 0, 0, 0];
        frame.extend_from_slice(&self.last_stream.to_be_bytes());
        frame.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
        frame.extend_from_slice(REASON);
        frame
    }
}

/// Bytes of gRPC messages and their five-byte heads that passed.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    /// From clients.
    pub received: Counter,
    /// To clients.
    pub sent: Counter,
}

/// An HTTP/2 connection whose frames are looked at.
#[derive(Debug)]
pub(super) struct Policed<S> {
    stream: Gathered<S>,
    traffic: Arc<Traffic>,
    inbound: Walker,
    outbound: Walker,
    /// None: any number of pings is fine.
    strikes: Option<Strikes>,
    /// Requests that may still hold what [`Policed::tolerate`] mends.
    unusual: u32,
}

impl<S: AsyncWrite + Unpin> Policed<S> {
    /// Allows one ping per `spacing`, if there is one.
    pub(super) fn new(stream: S, spacing: Option<Duration>, traffic: Arc<Traffic>) -> Policed<S> {
        let strikes =
            spacing.map(|spacing| Strikes { spacing, last: None, count: 0, last_stream: 0 });
        let inbound = Walker { skip: PREFACE.len(), ..Walker::default() };
        let stream = Gathered::new(stream);
        Policed {
            stream,
            traffic,
            inbound,
            outbound: Walker::default(),
            strikes,
            unusual: UNUSUAL_MAX,
        }
    }

    /// What writes out what was gathered.
    pub(super) fn drain(&self) -> Drain<S> {
        self.stream.drain()
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let mut data = 0;
        self.outbound.walk(bytes, |head| {
            if head.kind == DATA {
                data += head.length as u64;
            }
            if let Some(strikes) = &mut self.strikes {
                strikes.sent(head);
            }
        });
        if data > 0 {
            self.traffic.sent.add(data);
        }
    }

    /// Mends what old clients send in their first requests; gives the new length.
    ///
    /// A frame that did not come whole is not looked at: the first ones always do.
    fn tolerate(&mut self, bytes: &mut [u8]) -> usize {
        let (mut at, mut length) = (self.inbound.skip, bytes.len());
        if self.inbound.have > 0 {
            return length;
        }
        while at + HEAD_BYTES <= length && self.unusual > 0 {
            let payload = at + HEAD_BYTES;
            let size = u32::from_be_bytes([0, bytes[at], bytes[at + 1], bytes[at + 2]]) as usize;
            let (kind, flags, end) = (bytes[at + 3], bytes[at + 4], payload + size);
            if kind == HEADERS {
                self.unusual -= 1;
                if flags & (PADDED | PRIORITY) == 0
                    && end <= length
                    && let Some(shorter) = cut_scheme(&mut bytes[payload..end])
                {
                    let head = u32::try_from(shorter).expect("shorter than a frame").to_be_bytes();
                    bytes[at..at + 3].copy_from_slice(&head[1..]);
                    bytes.copy_within(end..length, payload + shorter);
                    length -= size - shorter;
                    at = payload + shorter;
                    continue;
                }
            }
            at = end;
        }
        length
    }

    /// True when there was one ping too many.
    fn read(&mut self, bytes: &[u8]) -> bool {
        let (mut data, mut too_many, mut now) = (0, false, None);
        self.inbound.walk(bytes, |head| match (head.kind, &mut self.strikes) {
            (DATA, _) => data += head.length as u64,
            (PING | HEADERS, Some(strikes)) => {
                too_many |= strikes.received(head, *now.get_or_insert_with(Instant::now));
            }
            _ => {}
        });
        if data > 0 {
            self.traffic.received.add(data);
        }
        too_many
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Policed<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        if this.unusual > 0 {
            let length = before + this.tolerate(&mut buf.filled_mut()[before..]);
            buf.set_filled(length);
        }
        if !this.read(&buf.filled()[before..]) {
            return Poll::Ready(Ok(()));
        }
        if let (true, Some(strikes)) = (this.outbound.is_between_frames(), &this.strikes) {
            // A client that does not read cannot be told.
            this.stream.write_last(cx, &strikes.farewell());
        }
        Poll::Ready(Err(io::Error::other("client pings too often")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Policed<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = std::task::ready!(Pin::new(&mut this.stream).poll_write(cx, buf))?;
        this.wrote(&buf[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
        let mut bytes = vec![0, 0, u8::try_from(payload).expect("small"), kind, flags];
        bytes.extend_from_slice(&stream.to_be_bytes());
        bytes.resize(HEAD_BYTES + payload, 0xff);
        bytes
    }

    #[test]
    fn heads_are_found_however_the_bytes_are_cut() {
        let bytes = [frame(0x4, 0, 0, 6), frame(PING, 0, 0, 8), frame(HEADERS, 5, 3, 20)].concat();
        let mut whole = Vec::new();
        Walker::default().walk(&bytes, |head| whole.push((head.kind, head.flags, head.stream)));
        assert_eq!(whole, [(0x4, 0, 0), (PING, 0, 0), (HEADERS, 5, 3)]);
        for cut in 1..bytes.len() {
            let (mut walker, mut found) = (Walker::default(), Vec::new());
            for piece in bytes.chunks(cut) {
                walker.walk(piece, |head| found.push((head.kind, head.flags, head.stream)));
            }
            assert_eq!(found, whole);
            assert!(walker.is_between_frames());
        }
    }

    #[test]
    fn two_quick_pings_are_forgiven_and_data_wipes_them_out() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let ping = Head { kind: PING, flags: 0, stream: 0, length: 8 };
        let mut strikes =
            Strikes { spacing: Duration::from_secs(5), last: None, count: 0, last_stream: 0 };
        for seconds in 0..3 {
            assert!(!strikes.received(ping, at(seconds)));
        }
        strikes.sent(Head { kind: DATA, flags: 0, stream: 1, length: 3 });
        for seconds in 3..6 {
            assert!(!strikes.received(ping, at(seconds)));
        }
        assert!(strikes.received(ping, at(6)));
        // Answers to our pings, and pings at leisure, are no strikes.
        strikes.count = 0;
        for seconds in 0..100 {
            let ack = Head { flags: ACK, ..ping };
            assert!(!strikes.received(ack, at(100 + seconds)));
            assert!(!strikes.received(ping, at(1000 + 5 * seconds)));
        }
    }

    #[test]
    fn the_farewell_is_a_goaway_with_a_reason() {
        let strikes = Strikes { spacing: Duration::ZERO, last: None, count: 3, last_stream: 7 };
        let want = b"\0\0\x16\x07\0\0\0\0\0\0\0\0\x07\0\0\0\x0btoo_many_pings";
        assert_eq!(strikes.farewell(), want);
    }
}
