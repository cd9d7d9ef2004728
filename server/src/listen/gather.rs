//! Gathers what a connection writes during one poll, so that it leaves with few system calls.
//!
//! ```text
//!   h2: one write and one flush per frame ─▶ Gathered ─▶ Polled: one write per poll of the
//!                                                        connection, or per full buffer
//! ```
//!
//! The HTTP library writes each frame of some size by itself: a thousand watch events would be a
//! thousand small writes, and a page of half a megabyte one per 16 KiB. A flush here only means
//! that the bytes are on their way; [`Polled`] writes them before its task rests. What a slow
//! reader leaves behind stays bounded by [`GATHER_BYTES`], and a full buffer makes writers wait.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes gathered before they are written in the midst of a poll. Large enough that the cost of
/// a system call and of waking the reader vanishes beside that of the bytes, small enough to stay
/// in the cache between the two copies.
pub(super) const GATHER_BYTES: usize = 128 * 1024;

thread_local! {
    /// The buffer of the connections of this thread that have nothing gathered: usually all.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

#[derive(Debug)]
struct Inside<S> {
    stream: S,
    /// What was gathered; without capacity when there is nothing.
    gathered: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// A writer found no room and waits.
    blocked: bool,
    /// The stream below (TLS) may still hold some of what was written.
    unflushed: bool,
}

impl<S: AsyncWrite + Unpin> Inside<S> {
    /// Writes all that was gathered, and what the stream below holds of it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.gathered.len() {
            let rest = &self.gathered[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.written += count,
            }
            self.unflushed = true;
        }
        if self.written > 0 {
            let mut empty = std::mem::take(&mut self.gathered);
            empty.clear();
            SPARE.set(empty);
            self.written = 0;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.gathered.len() + buf.len() > GATHER_BYTES {
            self.blocked = true;
            ready!(self.poll_drain(cx))?;
            self.blocked = false;
            if buf.len() > GATHER_BYTES {
                self.unflushed = true;
                return Pin::new(&mut self.stream).poll_write(cx, buf);
            }
        }
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        self.gathered.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }
}

/// A stream that gathers what is written to it; see [`Polled`].
#[derive(Debug)]
pub(super) struct Gathered<S>(Arc<Mutex<Inside<S>>>);

impl<S: AsyncWrite + Unpin> Gathered<S> {
    pub(super) fn new(stream: S) -> Gathered<S> {
        let inside =
            Inside { stream, gathered: Vec::new(), written: 0, blocked: false, unflushed: false };
        Gathered(Arc::new(Mutex::new(inside)))
    }

    /// What writes out what was gathered.
    pub(super) fn drain(&self) -> Drain<S> {
        Drain(self.0.clone())
    }

    /// Writes what is there and `bytes`, as far as the reader takes them at once.
    pub(super) fn write_last(&self, cx: &mut Context<'_>, bytes: &[u8]) {
        let mut inside = self.0.lock();
        inside.gathered.extend_from_slice(bytes);
        // There is no later time, and nobody to tell of a failure.
        let _unheard = inside.poll_drain(cx);
    }
}

/// The other end of a [`Gathered`] stream.
#[derive(Debug)]
pub(super) struct Drain<S>(Arc<Mutex<Inside<S>>>);

impl<S: AsyncWrite + Unpin> Drain<S> {
    /// Polls `connection`, which writes to the stream, and then writes out what it wrote.
    ///
    /// # Errors
    /// The connection's, or that of a write.
    pub(super) fn poll_after<F, E>(
        &self,
        connection: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), super::shard::Fault>>
    where
        F: Future<Output = Result<(), E>>,
        E: Into<super::shard::Fault>,
    {
        let ended = connection.poll(cx);
        let mut inside = self.0.lock();
        // Waits for the socket if it must: then its readiness wakes this task.
        let drained = inside.poll_drain(cx);
        if drained.is_ready() && std::mem::take(&mut inside.blocked) {
            // The room the connection waits for came behind its back.
            cx.waker().wake_by_ref();
        }
        match (ended, drained) {
            (Poll::Ready(ended), _) => Poll::Ready(ended.map_err(Into::into)),
            (Poll::Pending, Poll::Ready(Err(error))) => Poll::Ready(Err(error.into())),
            (Poll::Pending, _) => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gathered<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.lock().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathered<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.lock().poll_write(cx, buf)
    }

    /// Done at once: [`Drain`] does it.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inside = self.0.lock();
        ready!(inside.poll_drain(cx))?;
        Pin::new(&mut inside.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use super::*;

    /// Takes `room` bytes, notes the length of every write.
    #[derive(Debug, Default)]
    struct Socket {
        room: usize,
        writes: Vec<usize>,
        bytes: Vec<u8>,
        broken: bool,
        shut: bool,
        /// As TLS does: something is left until a flush finds room.
        holds: bool,
    }

    #[derive(Clone, Debug, Default)]
    struct Reader(Arc<Mutex<Socket>>);

    impl AsyncWrite for Reader {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut socket = self.0.lock();
            if socket.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            let count = buf.len().min(socket.room);
            if count == 0 {
                return Poll::Pending;
            }
            socket.room -= count;
            socket.writes.push(count);
            socket.bytes.extend_from_slice(&buf[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut socket = self.0.lock();
            if socket.holds && socket.room == 0 {
                return Poll::Pending;
            }
            socket.holds = false;
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.0.lock().shut = true;
            Poll::Ready(Ok(()))
        }
    }

    fn start(room: usize) -> (Reader, Gathered<Reader>, Context<'static>) {
        let reader = Reader::default();
        reader.0.lock().room = room;
        (reader.clone(), Gathered::new(reader), Context::from_waker(Waker::noop()))
    }

    fn write(stream: &mut Gathered<Reader>, cx: &mut Context<'_>, frame: &[u8]) -> bool {
        let written = Pin::new(&mut *stream).poll_write(cx, frame);
        assert_eq!(Pin::new(stream).poll_flush(cx).map(|it| it.is_ok()), Poll::Ready(true));
        matches!(written, Poll::Ready(Ok(count)) if count == frame.len())
    }

    /// A connection that writes nothing more.
    fn rest(drain: &Drain<Reader>, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut waiting = std::pin::pin!(poll_fn(|_| Poll::<io::Result<()>>::Pending));
        drain.poll_after(waiting.as_mut(), cx).map_err(|error| error.to_string())
    }

    #[test]
    fn all_frames_of_a_poll_leave_in_one_write() {
        let (reader, mut stream, mut cx) = start(usize::MAX);
        let drain = stream.drain();
        let mut sent = Vec::new();
        for turn in 0..3u8 {
            for number in 0..50u8 {
                let frame = [turn, number].repeat(100);
                assert!(write(&mut stream, &mut cx, &frame));
                sent.extend_from_slice(&frame);
            }
            assert_eq!(reader.0.lock().writes.len(), usize::from(turn));
            assert!(rest(&drain, &mut cx).is_pending());
        }
        let socket = reader.0.lock();
        assert_eq!(socket.writes, [10_000; 3]);
        assert_eq!(socket.bytes, sent);
    }

    #[test]
    fn a_reader_that_stops_leaves_no_more_than_one_buffer_behind() {
        let (reader, mut stream, mut cx) = start(10);
        let drain = stream.drain();
        let frame = [7; 16 * 1024];
        let mut frames = 0;
        while write(&mut stream, &mut cx, &frame) {
            frames += 1;
            assert!(rest(&drain, &mut cx).is_pending());
            assert!(frames <= GATHER_BYTES / frame.len(), "the buffer grows without end");
        }
        assert_eq!(frames, GATHER_BYTES / frame.len());
        // It goes on where it stopped.
        reader.0.lock().room = usize::MAX;
        assert!(rest(&drain, &mut cx).is_pending());
        assert_eq!(reader.0.lock().bytes.len(), frames * frame.len());
        assert!(write(&mut stream, &mut cx, &frame));
    }

    #[test]
    fn a_writer_that_was_refused_is_woken_by_the_room_it_did_not_see() {
        struct Count(std::sync::atomic::AtomicUsize);
        impl std::task::Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let (reader, mut stream, _) = start(0);
        let (drain, count) = (stream.drain(), Arc::new(Count(0.into())));
        let waker = Waker::from(count.clone());
        let mut cx = Context::from_waker(&waker);
        assert!(write(&mut stream, &mut cx, &[1; GATHER_BYTES]));
        assert!(!write(&mut stream, &mut cx, b"more"));
        reader.0.lock().room = usize::MAX;
        for _ in 0..2 {
            assert!(rest(&drain, &mut cx).is_pending());
            assert_eq!(count.0.load(std::sync::atomic::Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_write_above_the_buffer_follows_what_was_gathered() {
        let (reader, mut stream, mut cx) = start(usize::MAX);
        assert!(write(&mut stream, &mut cx, b"before"));
        assert!(write(&mut stream, &mut cx, &[1; GATHER_BYTES + 1]));
        assert!(write(&mut stream, &mut cx, b"behind"));
        assert!(rest(&stream.drain(), &mut cx).is_pending());
        assert_eq!(reader.0.lock().writes, [6, GATHER_BYTES + 1, 6]);
    }

    #[test]
    fn what_the_stream_below_holds_is_flushed_when_it_can_be() {
        let (reader, mut stream, mut cx) = start(4);
        reader.0.lock().holds = true;
        assert!(write(&mut stream, &mut cx, b"last"));
        let drain = stream.drain();
        assert!(rest(&drain, &mut cx).is_pending());
        assert!(reader.0.lock().holds, "there was no room");
        reader.0.lock().room = 1;
        assert!(rest(&drain, &mut cx).is_pending());
        assert!(!reader.0.lock().holds, "nobody flushed");
    }

    #[test]
    fn the_end_comes_after_what_was_gathered() {
        let (reader, mut stream, mut cx) = start(3);
        assert!(write(&mut stream, &mut cx, b"farewell"));
        assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_pending());
        assert!(!reader.0.lock().shut);
        reader.0.lock().room = 100;
        assert!(Pin::new(&mut stream).poll_shutdown(&mut cx).is_ready());
        let socket = reader.0.lock();
        assert_eq!((&socket.bytes[..], socket.shut), (&b"farewell"[..], true));
    }

    #[test]
    fn a_failed_write_ends_the_connection() {
        let (reader, mut stream, mut cx) = start(3);
        assert!(write(&mut stream, &mut cx, b"lost"));
        reader.0.lock().broken = true;
        let ended = rest(&stream.drain(), &mut cx);
        assert_eq!(ended, Poll::Ready(Err("broken pipe".to_owned())));
    }
}
