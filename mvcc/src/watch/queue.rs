//! The queue of one stream: bounded for events, and where its reader sleeps.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

use super::shard::{Shard, Wakes};

/// Responses with events or progress a stream may hold (etcd 3.7: 128). When full, watchers
/// become victims.
pub(super) const STREAM_RESPONSES_MAX: usize = 128;
/// Bytes of events a stream may hold; one response is always taken by an empty queue.
pub(super) const STREAM_BYTES_MAX: usize = 8 << 20;
/// Answers to create and cancel requests a stream may hold before no further requests should be
/// taken from the client, see [`super::WatchStream::poll_room`].
pub(super) const STREAM_ANSWERS_MAX: usize = 128;

/// One message for a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The header's revision; 0 for [`Body::Compacted`].
    pub revision: i64,
    /// The watcher spoken of; -1 for none.
    pub watch_id: i64,
    /// The watcher asked for large responses to be split.
    pub fragment: bool,
    /// What is said.
    pub body: Body,
}

/// What a [`Response`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The watcher exists from now on.
    Created,
    /// No watcher was created, for this reason; `watch_id` is -1.
    Refused(String),
    /// Encoded repeated field 11 of `WatchResponse`, tags included, and the number of events.
    Events(Bytes, u32),
    /// All events up to `revision` have been put on the stream.
    Progress,
    /// The watcher is gone, as its owner wished.
    Canceled,
    /// The watcher is gone: it needs revisions below this compacted one.
    Compacted(i64),
}

impl Body {
    fn bytes(&self) -> usize {
        match self {
            Body::Events(bytes, _) => bytes.len(),
            Body::Refused(reason) => reason.len(),
            Body::Created | Body::Progress | Body::Canceled | Body::Compacted(_) => 0,
        }
    }

    pub(super) fn events(&self) -> u64 {
        if let Body::Events(_, count) = self { u64::from(*count) } else { 0 }
    }

    fn is_answer(&self) -> bool {
        matches!(self, Body::Created | Body::Refused(_) | Body::Canceled)
    }
}

#[derive(Debug, Default)]
struct Inside {
    queue: VecDeque<Response>,
    bytes: usize,
    answers: usize,
    reader: Option<Waker>,
    /// Who waits for fewer answers.
    taker: Option<Waker>,
    /// A watcher waits for room, for this many bytes.
    victims: bool,
    wanted: usize,
    closed: bool,
}

impl Inside {
    fn push(&mut self, response: Response) {
        self.bytes += response.body.bytes();
        self.answers += usize::from(response.body.is_answer());
        self.queue.push_back(response);
    }

    fn has_room(&self, bytes: usize) -> bool {
        let events = self.queue.len() - self.answers;
        events == 0 || (events < STREAM_RESPONSES_MAX && self.bytes + bytes <= STREAM_BYTES_MAX)
    }

    /// Whether victims are worth another try: some room is left and what was refused would fit.
    fn has_room_again(&self) -> bool {
        let events = self.queue.len() - self.answers;
        events == 0
            || (events <= STREAM_RESPONSES_MAX / 2
                && self.bytes <= STREAM_BYTES_MAX / 2
                && self.bytes + self.wanted <= STREAM_BYTES_MAX)
    }
}

/// The queue of a stream, shared by the hub and the stream's reader.
#[derive(Debug)]
pub(super) struct StreamQueue {
    pub(super) id: u64,
    shard: Option<Shard>,
    inside: Mutex<Inside>,
}

/// What [`StreamQueue::poll_next`] found, apart from the response.
pub(super) struct Popped {
    pub(super) response: Response,
    /// Victims may be tried again.
    pub(super) room: bool,
}

impl StreamQueue {
    pub(super) fn new(id: u64, shard: Option<Shard>) -> StreamQueue {
        StreamQueue { id, shard, inside: Mutex::default() }
    }

    /// Queues events or progress unless the queue is full; then marks that a victim waits.
    #[inline]
    pub(super) fn offer(&self, response: Response, wakes: &mut Wakes) -> bool {
        let mut inside = self.inside.lock();
        let bytes = response.body.bytes();
        if !inside.has_room(bytes) {
            inside.victims = true;
            inside.wanted = inside.wanted.max(bytes);
            return false;
        }
        inside.push(response);
        self.wake_reader(&mut inside, wakes);
        true
    }

    /// Queues progress unless the queue is full.
    pub(super) fn offer_progress(&self, response: Response, wakes: &mut Wakes) {
        let mut inside = self.inside.lock();
        if inside.has_room(0) {
            inside.push(response);
            self.wake_reader(&mut inside, wakes);
        }
    }

    /// Queues what must not be lost, however full the queue is.
    pub(super) fn push(&self, response: Response, wakes: &mut Wakes) {
        let mut inside = self.inside.lock();
        inside.push(response);
        self.wake_reader(&mut inside, wakes);
    }

    fn wake_reader(&self, inside: &mut Inside, wakes: &mut Wakes) {
        if let Some(waker) = inside.reader.take() {
            wakes.add(self.shard.as_ref(), waker);
        }
    }

    /// Takes the oldest response; `None` once closed and empty.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Popped>> {
        let mut inside = self.inside.lock();
        let Some(response) = inside.queue.pop_front() else {
            if inside.closed {
                return Poll::Ready(None);
            }
            inside.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        inside.bytes -= response.body.bytes();
        inside.answers -= usize::from(response.body.is_answer());
        let room = inside.victims && inside.has_room_again();
        if room {
            inside.victims = false;
            inside.wanted = 0;
        }
        let taker =
            if inside.answers <= STREAM_ANSWERS_MAX / 2 { inside.taker.take() } else { None };
        drop(inside);
        if let Some(taker) = taker {
            taker.wake();
        }
        Poll::Ready(Some(Popped { response, room }))
    }

    /// Whether there is room for a victim; if not, the next pop that makes room reports it.
    pub(super) fn await_room(&self) -> bool {
        let mut inside = self.inside.lock();
        let room = inside.has_room_again();
        inside.victims |= !room;
        room
    }

    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inside = self.inside.lock();
        if inside.answers < STREAM_ANSWERS_MAX {
            return Poll::Ready(());
        }
        inside.taker = Some(cx.waker().clone());
        Poll::Pending
    }

    pub(super) fn close(&self, wakes: &mut Wakes) {
        let mut inside = self.inside.lock();
        inside.closed = true;
        self.wake_reader(&mut inside, wakes);
    }

    /// Drops what is queued; returns how many events that were.
    pub(super) fn clear(&self) -> u64 {
        let mut inside = self.inside.lock();
        inside.bytes = 0;
        inside.answers = 0;
        inside.queue.drain(..).map(|response| response.body.events()).sum()
    }
}

/// Counts that tell what the hub does; read without its lock.
#[derive(Debug, Default)]
pub(super) struct Counters {
    events: AtomicU64,
    /// May dip below zero for a moment: events can be taken before they are counted.
    pending: AtomicI64,
}

impl Counters {
    pub(super) fn queued(&self, events: u64) {
        if events > 0 {
            self.events.fetch_add(events, Ordering::Relaxed);
            self.pending.fetch_add(events as i64, Ordering::Relaxed);
        }
    }

    pub(super) fn taken(&self, events: u64) {
        if events > 0 {
            self.pending.fetch_sub(events as i64, Ordering::Relaxed);
        }
    }

    /// Events queued so far, and those not taken yet.
    pub(super) fn read(&self) -> (u64, u64) {
        let pending = self.pending.load(Ordering::Relaxed).max(0);
        (self.events.load(Ordering::Relaxed), pending as u64)
    }
}
