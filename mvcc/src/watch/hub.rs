//! The hub: its state, and publication.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::KeyRange;
use parking_lot::{Condvar, Mutex};

use super::encode::Encoded;
use super::groups::{Matcher, Target};
use super::history::History;
use super::queue::{Body, Counters, Response, STREAM_RESPONSES_MAX, StreamQueue};
use super::registry::WatchStream;
use super::shard::{Shard, Wakes};
use super::sync;
use crate::change::Changes;

/// Changes kept while rows are read for catching up, so that the last step needs no rows.
const RECENT_CHANGES_MAX: usize = 256;
/// Events in them.
const RECENT_EVENTS_MAX: usize = 4096;

/// Everyone who watches; a cheap handle. The last one dropped ends the sync thread.
#[derive(Clone, Debug)]
pub struct WatchHub {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    inner: Arc<Inner>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.inner.close();
    }
}

/// What the hub holds now; see [`WatchHub::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Open streams.
    pub streams: usize,
    /// Watchers on them.
    pub watchers: usize,
    /// Watchers that are not synced.
    pub slow_watchers: usize,
    /// Events put on streams so far.
    pub events: u64,
    /// Events on streams that were not taken yet.
    pub pending_events: u64,
}

pub(super) struct Inner {
    pub(super) state: Mutex<State>,
    /// Signals the sync thread, with `state`.
    pub(super) work: Condvar,
    pub(super) counters: Counters,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("counters", &self.counters).finish_non_exhaustive()
    }
}

/// Where a watcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// In its group at this place.
    Synced { place: usize },
    /// Needs this revision next. Is in `unsynced`, with the sync thread, or a victim.
    Unsynced { next: i64 },
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) range: KeyRange,
    pub(super) target: Target,
    pub(super) phase: Phase,
}

/// What a watch id of a stream stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Watcher(u64),
    /// Ended by compaction, not yet cancelled by the client.
    Compacted,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) queue: Arc<StreamQueue>,
    pub(super) ids: HashMap<i64, Holder>,
    pub(super) next_id: i64,
    pub(super) unsynced: usize,
    pub(super) compacted: usize,
    /// Watchers that wait for a start revision, by it.
    pub(super) future: BTreeMap<i64, usize>,
    /// Watchers that want periodic progress.
    pub(super) progress: BTreeSet<u64>,
    /// Unsynced watchers without a turn. While there are any, the queue has no room and reports
    /// when it has again, or another watcher of the stream has its turn.
    pub(super) victims: VecDeque<u64>,
}

/// Changes published while rows are being read.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// All of them in order, or none if they were too many.
    pub(super) changes: Vec<Changes>,
    events: usize,
    overrun: bool,
}

pub(super) struct State {
    pub(super) history: Arc<dyn History>,
    /// All events up to here are with the synced watchers.
    pub(super) revision: i64,
    /// Counts stores: one more after each install.
    pub(super) epoch: u64,
    pub(super) synced: Matcher<Target>,
    pub(super) watchers: HashMap<u64, Watcher>,
    /// Ids on all streams whose watchers compaction has ended.
    pub(super) compacted: usize,
    pub(super) range_bytes: usize,
    pub(super) streams: HashMap<u64, Stream>,
    /// Watchers whose turn comes, in order; may hold some that are gone.
    pub(super) unsynced: VecDeque<u64>,
    pub(super) slow: usize,
    pub(super) recent: Option<Recent>,
    pub(super) last_uid: u64,
    last_stream: u64,
    pub(super) closed: bool,
}

impl WatchHub {
    /// A hub over `history`, whose events up to `revision` are past, with its sync thread.
    ///
    /// # Errors
    /// The operating system's, if it has no thread to give.
    pub fn start(history: Arc<dyn History>, revision: i64) -> std::io::Result<WatchHub> {
        let hub = WatchHub::idle(history, revision);
        let inner = hub.owner.inner.clone();
        std::thread::Builder::new().name("watch-sync".into()).spawn(move || sync::run(&inner))?;
        Ok(hub)
    }

    /// A hub whose caller does what the sync thread does.
    pub(super) fn idle(history: Arc<dyn History>, revision: i64) -> WatchHub {
        let state = State {
            history,
            revision,
            epoch: 0,
            synced: Matcher::default(),
            watchers: HashMap::new(),
            compacted: 0,
            range_bytes: 0,
            streams: HashMap::new(),
            unsynced: VecDeque::new(),
            slow: 0,
            recent: None,
            last_uid: 0,
            last_stream: 0,
            closed: false,
        };
        let state = Mutex::new(state);
        let inner = Inner { state, work: Condvar::new(), counters: Counters::default() };
        WatchHub { owner: Arc::new(Owner { inner: Arc::new(inner) }) }
    }

    #[cfg(test)]
    pub(super) fn inner(&self) -> &Inner {
        &self.owner.inner
    }

    /// The revision up to which events have been published.
    pub fn revision(&self) -> i64 {
        self.owner.inner.state.lock().revision
    }

    /// Hands committed changes to their watchers: called by the one who applies, in order, after
    /// the rows can be read. Costs what the matching watchers cost; waits for no one.
    ///
    /// # Panics
    /// If a change is not above the hub's revision.
    pub fn publish(&self, changes: &[Changes]) {
        if changes.is_empty() {
            return;
        }
        let mut wakes = Wakes::default();
        let mut events = 0;
        {
            let mut state = self.owner.inner.state.lock();
            for change in changes {
                events += state.publish(change, &mut wakes);
            }
            if !state.unsynced.is_empty() {
                self.owner.inner.work.notify_one();
            }
        }
        self.owner.inner.counters.queued(events);
        wakes.deliver();
    }

    /// Goes over to another store, one installed from a snapshot and at `revision`. Watchers go
    /// on from where they were: what they lack is read from the new store.
    pub fn install(&self, history: Arc<dyn History>, revision: i64) {
        let mut state = self.owner.inner.state.lock();
        let past = state.revision;
        state.history = history;
        state.revision = revision;
        state.epoch += 1;
        let behind: Vec<(u64, i64)> = state
            .watchers
            .iter()
            .filter(|(_, watcher)| matches!(watcher.phase, Phase::Synced { .. }))
            .map(|(&uid, watcher)| (uid, watcher.target.from.max(past + 1)))
            .filter(|&(_, next)| next <= revision)
            .collect();
        for (uid, next) in behind {
            state.fall_behind(uid, next);
        }
        self.owner.inner.work.notify_one();
    }

    /// Opens a stream. With a shard, its reader is woken through the shard's pump.
    pub fn open_stream(&self, shard: Option<&Shard>) -> WatchStream {
        let mut state = self.owner.inner.state.lock();
        state.last_stream += 1;
        let id = state.last_stream;
        let queue = Arc::new(StreamQueue::new(id, shard.cloned()));
        if state.closed {
            queue.close(&mut Wakes::default());
        }
        let stream = Stream {
            queue: queue.clone(),
            ids: HashMap::new(),
            next_id: 0,
            unsynced: 0,
            compacted: 0,
            future: BTreeMap::new(),
            progress: BTreeSet::new(),
            victims: VecDeque::new(),
        };
        state.streams.insert(id, stream);
        WatchStream::new(self.owner.inner.clone(), queue)
    }

    /// Counts for metrics.
    pub fn stats(&self) -> HubStats {
        let inner = &self.owner.inner;
        let state = inner.state.lock();
        let (events, pending_events) = inner.counters.read();
        HubStats {
            streams: state.streams.len(),
            watchers: state.watchers.len(),
            slow_watchers: state.slow,
            events,
            pending_events,
        }
    }

    /// Ends all streams once they are read empty, and the sync thread.
    pub fn close(&self) {
        self.owner.inner.close();
    }
}

impl Inner {
    fn close(&self) {
        let mut wakes = Wakes::default();
        {
            let mut state = self.state.lock();
            state.closed = true;
            for stream in state.streams.values() {
                stream.queue.close(&mut wakes);
            }
            self.work.notify_all();
        }
        wakes.deliver();
    }
}

/// One response of events for `target`; false if there was no room.
#[inline]
pub(super) fn offer(target: &Target, revision: i64, body: Body, wakes: &mut Wakes) -> bool {
    let response =
        Response { revision, watch_id: target.watch_id, fragment: target.wants.fragment, body };
    let taken = target.stream.offer(response, wakes);
    if taken && let Some(active) = &target.active {
        active.store(true, Ordering::Relaxed);
    }
    taken
}

impl State {
    /// Publishes one change; returns how many events went to streams.
    fn publish(&mut self, change: &Changes, wakes: &mut Wakes) -> u64 {
        let revision = change.revision;
        assert!(revision > self.revision, "revision {revision} is not above {}", self.revision);
        self.revision = revision;
        if let Some(recent) = &mut self.recent {
            recent.keep(change);
        }
        let mut encoded = Encoded::default();
        let mut full = Vec::new();
        let mut events = 0;
        let history = &*self.history;
        if let [event] = &change.events[..] {
            self.synced.for_each(&event.key, |target| {
                if revision < target.from || !target.wants.takes(event.kind) {
                    return;
                }
                let bytes = encoded.events(change, history, &[0], target.wants.prev_kv);
                if offer(target, revision, Body::Events(bytes, 1), wakes) {
                    events += 1;
                } else {
                    full.push(target.uid);
                }
            });
        } else {
            let mut hits: Vec<(u64, u32, &Target)> = Vec::new();
            for (number, event) in (0u32..).zip(&change.events) {
                self.synced.for_each(&event.key, |target| {
                    if revision >= target.from && target.wants.takes(event.kind) {
                        hits.push((target.uid, number, target));
                    }
                });
            }
            hits.sort_unstable_by_key(|&(uid, number, _)| (uid, number));
            let mut numbers = Vec::new();
            for own in hits.chunk_by(|a, b| a.0 == b.0) {
                let (uid, _, target) = own[0];
                numbers.clear();
                numbers.extend(own.iter().map(|&(_, number, _)| number));
                let bytes = encoded.events(change, history, &numbers, target.wants.prev_kv);
                let count = numbers.len() as u32;
                if offer(target, revision, Body::Events(bytes, count), wakes) {
                    events += u64::from(count);
                } else {
                    full.push(uid);
                }
            }
        }
        for uid in full {
            self.fall_behind(uid, revision);
        }
        events
    }

    /// Takes a synced watcher out of its group: it needs `next` next.
    pub(super) fn fall_behind(&mut self, uid: u64, next: i64) {
        self.leave_group(uid);
        let watcher = self.watchers.get_mut(&uid).expect("groups hold existing watchers");
        watcher.phase = Phase::Unsynced { next };
        let stream = watcher.target.stream.id;
        self.slow += 1;
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.unsynced += 1;
        }
        self.await_turn(uid);
    }

    /// Puts an unsynced watcher in line, or among the victims of its stream if that is full.
    pub(super) fn await_turn(&mut self, uid: u64) {
        let Some(watcher) = self.watchers.get(&uid) else { return };
        if watcher.target.stream.await_room() {
            self.unsynced.push_back(uid);
        } else if let Some(stream) = self.streams.get_mut(&watcher.target.stream.id) {
            stream.victims.push_back(uid);
        }
    }

    /// Gives some victims of a stream their turn if it has room: as many as could find some.
    pub(super) fn retry_victims(&mut self, stream: u64) {
        let Some(stream) = self.streams.get_mut(&stream) else { return };
        if stream.victims.is_empty() || !stream.queue.await_room() {
            return;
        }
        let mut left = STREAM_RESPONSES_MAX;
        while left > 0
            && let Some(uid) = stream.victims.pop_front()
        {
            if self.watchers.contains_key(&uid) {
                self.unsynced.push_back(uid);
                left -= 1;
            }
        }
    }

    /// Adds a watcher, which must not be in one, to its group.
    pub(super) fn join_group(&mut self, uid: u64) {
        let watcher = self.watchers.get_mut(&uid).expect("only existing watchers are synced");
        let place = self.synced.add(&watcher.range, watcher.target.clone());
        watcher.phase = Phase::Synced { place };
    }

    /// Removes a watcher from its group if it is in one.
    pub(super) fn leave_group(&mut self, uid: u64) {
        let Some(watcher) = self.watchers.get(&uid) else { return };
        let Phase::Synced { place } = watcher.phase else { return };
        let moved = self.synced.remove(&watcher.range, place).map(|target| target.uid);
        if let Some(moved) = moved.and_then(|uid| self.watchers.get_mut(&uid)) {
            moved.phase = Phase::Synced { place };
        }
    }
}

impl Recent {
    fn keep(&mut self, change: &Changes) {
        self.events += change.events.len();
        if self.changes.len() == RECENT_CHANGES_MAX || self.events > RECENT_EVENTS_MAX {
            self.overrun = true;
        }
        if self.overrun {
            self.changes.clear();
        } else {
            self.changes.push(change.clone());
        }
    }
}

/// Marks for a watcher that wants periodic progress.
pub(super) fn activity(wanted: bool) -> Option<Arc<AtomicBool>> {
    wanted.then(Arc::default)
}
