//! Streams and their requests: create, cancel, progress.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use base::KeyRange;
use bytes::Bytes;

use super::groups::{Target, Wants};
use super::hub::{Holder, Inner, Phase, State, Stream, Watcher, activity};
use super::queue::{Body, Response, StreamQueue};
use super::shard::Wakes;

/// Most watchers of a member, those that compaction has ended and nobody has cancelled included,
/// so that no stream can take all its memory.
pub(super) const WATCHERS_MAX: usize = 2 << 20;
/// Most bytes of watched keys and range ends of a member.
const RANGE_BYTES_MAX: usize = 512 << 20;
/// Watchers ended per hold of the hub's lock when a stream closes.
const CLOSED_PER_HOLD: usize = 512;

/// What a client asks for with a create request.
#[derive(Clone, Debug, Default)]
pub struct WatchRequest {
    /// The id wished for; 0 lets the hub choose.
    pub watch_id: i64,
    /// What to watch, as the request names it: an empty key stands for the key `00`.
    pub range: KeyRange,
    /// First revision wanted; 0 for what comes after now.
    pub start_revision: i64,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletions.
    pub no_delete: bool,
    /// Add the pair before each change.
    pub prev_kv: bool,
    /// Take part in [`WatchStream::progress_tick`].
    pub progress_notify: bool,
    /// Large responses may be split.
    pub fragment: bool,
}

/// Why no watcher was created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The range ends at or before its key.
    #[error("the range to watch is empty")]
    EmptyRange,
    /// The start revision is negative, and answered like a compacted one.
    #[error("the start revision is negative")]
    NegativeStart,
    /// The id is in use on the stream.
    #[error("the watch id is in use")]
    DuplicateId,
    /// The member has as many watchers as it can hold.
    #[error("the member has too many watchers")]
    TooMany,
}

/// One client stream; dropping it ends its watchers.
///
/// All methods take `&self`: one task may read responses while another hands in requests.
#[derive(Debug)]
pub struct WatchStream {
    hub: Arc<Inner>,
    queue: Arc<StreamQueue>,
}

impl WatchStream {
    pub(super) fn new(hub: Arc<Inner>, queue: Arc<StreamQueue>) -> WatchStream {
        WatchStream { hub, queue }
    }

    /// Takes the next response; `None` once the hub is closed and all is taken. Only the waker
    /// of the last call is kept. Cancel safe.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Response>> {
        let popped = match self.queue.poll_next(cx) {
            Poll::Ready(Some(popped)) => popped,
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        self.hub.counters.taken(popped.response.body.events());
        if popped.room {
            self.hub.state.lock().retry_victims(self.queue.id);
            self.hub.work.notify_one();
        }
        Poll::Ready(Some(popped.response))
    }

    /// Ready while the stream holds few answers that its client has not read. Requests are to be
    /// taken from the client only then, or a client that never reads could fill memory.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.queue.poll_room(cx)
    }

    /// Creates a watcher, queues its [`Body::Created`] and returns its id.
    ///
    /// # Errors
    /// [`CreateError`]; nothing is queued then, see [`WatchStream::refuse`].
    pub fn create(&self, request: WatchRequest) -> Result<i64, CreateError> {
        let mut wakes = Wakes::default();
        let created = self.hub.state.lock().create(&self.queue, request, &mut wakes);
        let (watch_id, unsynced) = created?;
        if unsynced {
            self.hub.work.notify_one();
        }
        wakes.deliver();
        Ok(watch_id)
    }

    /// Queues the answer that no watcher was created, and why.
    pub fn refuse(&self, reason: String) {
        let mut wakes = Wakes::default();
        let revision = self.hub.state.lock().revision;
        let body = Body::Refused(reason);
        let response = Response { revision, watch_id: -1, fragment: false, body };
        self.queue.push(response, &mut wakes);
        wakes.deliver();
    }

    /// Ends a watcher and queues [`Body::Canceled`], after which nothing of it follows; false,
    /// and nothing is queued, if the stream has no such id.
    pub fn cancel(&self, watch_id: i64) -> bool {
        let mut wakes = Wakes::default();
        let known = self.hub.state.lock().cancel(&self.queue, watch_id, &mut wakes);
        // A victim may have got the turn of the one that left.
        self.hub.work.notify_one();
        wakes.deliver();
        known
    }

    /// Answers a progress request: queues one [`Body::Progress`] with watch id -1 if the stream
    /// has watchers, all of them are synced and none waits for a later start revision.
    pub fn request_progress(&self) {
        let mut wakes = Wakes::default();
        self.hub.state.lock().progress(&self.queue, &mut wakes);
        wakes.deliver();
    }

    /// Queues [`Body::Progress`] for every watcher that wants it, is synced, does not wait for
    /// a later start revision, and got no event since the last tick.
    pub fn progress_tick(&self) {
        let mut wakes = Wakes::default();
        self.hub.state.lock().progress_tick(&self.queue, &mut wakes);
        wakes.deliver();
    }

    /// Number of watchers on the stream.
    pub fn watchers(&self) -> usize {
        let state = self.hub.state.lock();
        state.streams.get(&self.queue.id).map_or(0, |s| s.ids.len() - s.compacted)
    }
}

impl Drop for WatchStream {
    fn drop(&mut self) {
        let stream = self.hub.state.lock().streams.remove(&self.queue.id);
        let holders: Vec<Holder> =
            stream.map(|stream| stream.ids.into_values().collect()).unwrap_or_default();
        for some in holders.chunks(CLOSED_PER_HOLD) {
            let mut state = self.hub.state.lock();
            for holder in some {
                match *holder {
                    Holder::Watcher(uid) => state.remove_watcher(uid),
                    Holder::Compacted => state.compacted -= 1,
                }
            }
        }
        self.hub.counters.taken(self.queue.clear());
    }
}

impl State {
    /// Creates a watcher; returns its id and whether it has history to catch up with.
    fn create(
        &mut self,
        queue: &Arc<StreamQueue>,
        request: WatchRequest,
        wakes: &mut Wakes,
    ) -> Result<(i64, bool), CreateError> {
        let mut range = request.range;
        if range.key.is_empty() {
            range.key = Bytes::from_static(b"\0");
        }
        if range.is_empty() {
            return Err(CreateError::EmptyRange);
        }
        if request.start_revision < 0 {
            return Err(CreateError::NegativeStart);
        }
        let range_bytes = range.key.len() + range.end.len();
        // Ids of those that compaction has ended are kept until they are cancelled.
        let known = self.watchers.len() + self.compacted;
        if known >= WATCHERS_MAX || self.range_bytes + range_bytes > RANGE_BYTES_MAX {
            return Err(CreateError::TooMany);
        }
        let now = self.revision;
        let stream = self.streams.get_mut(&queue.id).ok_or(CreateError::TooMany)?;
        let watch_id = stream.take_id(request.watch_id)?;
        self.last_uid += 1;
        let uid = self.last_uid;
        stream.ids.insert(watch_id, Holder::Watcher(uid));
        if request.progress_notify {
            stream.progress.insert(uid);
        }
        let from = request.start_revision;
        if from > now {
            *stream.future.entry(from).or_default() += 1;
        }
        let unsynced = from != 0 && from <= now;
        stream.unsynced += usize::from(unsynced);
        let wants = Wants {
            no_put: request.no_put,
            no_delete: request.no_delete,
            prev_kv: request.prev_kv,
            fragment: request.fragment,
        };
        let active = activity(request.progress_notify);
        let target = Target { uid, stream: queue.clone(), watch_id, from, wants, active };
        let fragment = wants.fragment;
        let answer = Response { revision: now, watch_id, fragment, body: Body::Created };
        queue.push(answer, wakes);
        self.range_bytes += range_bytes;
        let phase = Phase::Unsynced { next: from };
        self.watchers.insert(uid, Watcher { range, target, phase });
        if unsynced {
            self.slow += 1;
            self.await_turn(uid);
        } else {
            self.join_group(uid);
        }
        Ok((watch_id, unsynced))
    }

    fn cancel(&mut self, queue: &StreamQueue, watch_id: i64, wakes: &mut Wakes) -> bool {
        let Some(stream) = self.streams.get_mut(&queue.id) else { return false };
        match stream.ids.remove(&watch_id) {
            None => return false,
            Some(Holder::Compacted) => {
                stream.compacted -= 1;
                self.compacted -= 1;
            }
            Some(Holder::Watcher(uid)) => self.remove_watcher(uid),
        }
        let revision = self.revision;
        let body = Body::Canceled;
        queue.push(Response { revision, watch_id, fragment: false, body }, wakes);
        true
    }

    /// Forgets a watcher; its id is the caller's business.
    pub(super) fn remove_watcher(&mut self, uid: u64) {
        self.leave_group(uid);
        let Some(watcher) = self.watchers.remove(&uid) else { return };
        self.range_bytes -= watcher.range.key.len() + watcher.range.end.len();
        let unsynced = matches!(watcher.phase, Phase::Unsynced { .. });
        self.slow -= usize::from(unsynced);
        let Some(stream) = self.streams.get_mut(&watcher.target.stream.id) else { return };
        stream.unsynced -= usize::from(unsynced);
        stream.progress.remove(&uid);
        if let Some(count) = stream.future.get_mut(&watcher.target.from) {
            *count -= 1;
            if *count == 0 {
                stream.future.remove(&watcher.target.from);
            }
        }
        if unsynced {
            self.retry_victims(watcher.target.stream.id);
        }
    }

    fn progress(&mut self, queue: &StreamQueue, wakes: &mut Wakes) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&queue.id) else { return };
        while let Some(entry) = stream.future.first_entry() {
            if *entry.key() > revision {
                return;
            }
            entry.remove();
        }
        if stream.ids.is_empty() || stream.unsynced > 0 || stream.compacted > 0 {
            return;
        }
        let body = Body::Progress;
        queue.offer_progress(Response { revision, watch_id: -1, fragment: false, body }, wakes);
    }

    fn progress_tick(&mut self, queue: &StreamQueue, wakes: &mut Wakes) {
        let revision = self.revision;
        let Some(stream) = self.streams.get(&queue.id) else { return };
        for uid in &stream.progress {
            let Some(watcher) = self.watchers.get(uid) else { continue };
            let Target { from, watch_id, active, .. } = &watcher.target;
            let synced = matches!(watcher.phase, Phase::Synced { .. }) && *from <= revision;
            let quiet =
                active.as_ref().is_some_and(|active| !active.swap(false, Ordering::Relaxed));
            if synced && quiet {
                let body = Body::Progress;
                let watch_id = *watch_id;
                queue.offer_progress(Response { revision, watch_id, fragment: false, body }, wakes);
            }
        }
    }
}

impl Stream {
    /// Settles the id for a new watcher.
    fn take_id(&mut self, wanted: i64) -> Result<i64, CreateError> {
        if wanted != 0 {
            let free = !self.ids.contains_key(&wanted);
            return if free { Ok(wanted) } else { Err(CreateError::DuplicateId) };
        }
        while self.ids.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }
}
