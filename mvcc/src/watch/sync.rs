//! Catching up: rows are read for many watchers at once, without a lock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use base::{KeyRange, RowKey};
use bytes::{Bytes, BytesMut};
use proto::raw::encode_event;

use super::encode::Encoded;
use super::groups::{Matcher, Target, Wants};
use super::history::{History, ReadFailed, deleted_pair, is_creation, key_of_row};
use super::hub::{Holder, Inner, Phase, State, offer};
use super::queue::{Body, Response};
use super::shard::Wakes;
use crate::change::{Changes, Event, EventKind};

/// Watchers served by one reading of rows (etcd 3.7: 512).
const WATCHERS_PER_SCAN: usize = 512;
/// Distinct revisions in one catch-up response (etcd 3.7: 1000).
const REVISIONS_PER_RESPONSE: usize = 1000;
/// Watchers whose next revisions lie within this distance share a scan; others get their turn
/// after it, so that one far behind does not hold up those that nearly made it.
const SCAN_WINDOW: i64 = 10_000;
/// Rows, and bytes for watchers, after which a scan ends at the next revision.
const SCAN_ROWS_MAX: usize = 20_000;
const SCAN_BYTES_MAX: usize = 8 << 20;

/// The sync thread: serves unsynced watchers until the hub closes.
pub(super) fn run(hub: &Inner) {
    loop {
        {
            let mut state = hub.state.lock();
            while state.unsynced.is_empty() && !state.closed {
                hub.work.wait(&mut state);
            }
            if state.closed {
                return;
            }
        }
        if hub.sync_round().is_err() {
            tracing::error!("cannot read past events for watchers; the store reports why");
            return;
        }
    }
}

/// A watcher being served.
struct Job {
    target: Target,
    range: KeyRange,
}

/// Jobs that get the same bytes.
struct Share {
    next: i64,
    wants: Wants,
    jobs: Vec<Job>,
    events: BytesMut,
    count: u32,
    revisions: usize,
    last: i64,
}

/// One reading of rows.
struct Round {
    history: Arc<dyn History>,
    epoch: u64,
    /// The hub's revision when it began.
    target: i64,
    shares: Vec<Share>,
}

impl Inner {
    /// Serves some unsynced watchers; false if there were none.
    pub(super) fn sync_round(&self) -> Result<bool, ReadFailed> {
        let Some(mut round) = self.state.lock().begin_round() else { return Ok(false) };
        let end = round.read()?;
        // After the rows: what compaction may have taken from under them shows here.
        let compacted = round.history.compacted_revision();
        let mut wakes = Wakes::default();
        let mut events = 0u64;
        {
            let mut state = self.state.lock();
            let recent = state.recent.take().unwrap_or_default();
            let same_store = round.epoch == state.epoch;
            let caught_up = same_store && end == round.target;
            let mut recent: Vec<(Changes, Encoded)> =
                recent.changes.into_iter().map(|change| (change, Encoded::default())).collect();
            let mut streams = BTreeSet::new();
            for share in round.shares {
                let bytes = share.events.freeze();
                for job in share.jobs {
                    streams.insert(job.target.stream.id);
                    let Some(next) = state.next_of(job.target.uid) else { continue };
                    if !same_store {
                        state.await_turn(job.target.uid);
                    } else if next < compacted {
                        state.end_compacted(&job.target, compacted, &mut wakes);
                    } else {
                        let past = (bytes.clone(), share.count, round.target);
                        let done = offer_past(&job.target, past, &mut wakes);
                        events += if done { share.count.into() } else { 0 };
                        let next = if done { next.max(end + 1) } else { next };
                        let next = if done && caught_up {
                            state.offer_recent(&job, &mut recent, next, &mut wakes, &mut events)
                        } else {
                            next
                        };
                        state.settle(job.target.uid, next);
                    }
                }
            }
            streams.into_iter().for_each(|stream| state.retry_victims(stream));
        }
        self.counters.queued(events);
        wakes.deliver();
        Ok(true)
    }
}

/// Queues what was read for a watcher, if anything; false if there was no room.
fn offer_past(target: &Target, past: (Bytes, u32, i64), wakes: &mut Wakes) -> bool {
    let (bytes, count, revision) = past;
    count == 0 || offer(target, revision, Body::Events(bytes, count), wakes)
}

impl State {
    fn next_of(&self, uid: u64) -> Option<i64> {
        match self.watchers.get(&uid)?.phase {
            Phase::Unsynced { next } => Some(next),
            Phase::Synced { .. } => None,
        }
    }

    /// Takes the watchers next in line that can share a scan.
    fn begin_round(&mut self) -> Option<Round> {
        let mut shares: BTreeMap<(Bytes, Bytes, Wants, i64), Vec<Job>> = BTreeMap::new();
        let mut others = Vec::new();
        let mut first = None;
        for _ in 0..WATCHERS_PER_SCAN {
            let Some(uid) = self.unsynced.pop_front() else { break };
            let Some(next) = self.next_of(uid) else { continue };
            let watcher = &self.watchers[&uid];
            let first = *first.get_or_insert(next);
            if next < first || next - first >= SCAN_WINDOW {
                others.push(uid);
                continue;
            }
            let (range, target) = (watcher.range.clone(), watcher.target.clone());
            let wants = Wants { fragment: false, ..target.wants };
            let key = (range.key.clone(), range.end.clone(), wants, next);
            shares.entry(key).or_default().push(Job { target, range });
        }
        for uid in others.into_iter().rev() {
            self.unsynced.push_front(uid);
        }
        first?;
        self.recent = Some(super::hub::Recent::default());
        let share = |((_, _, wants, next), jobs)| Share {
            next,
            wants,
            jobs,
            events: BytesMut::new(),
            count: 0,
            revisions: 0,
            last: 0,
        };
        Some(Round {
            history: self.history.clone(),
            epoch: self.epoch,
            target: self.revision,
            shares: shares.into_iter().map(share).collect(),
        })
    }

    /// Queues for a watcher that has all up to `next` what was published since; returns what it
    /// needs next.
    fn offer_recent(
        &mut self,
        job: &Job,
        recent: &mut [(Changes, Encoded)],
        mut next: i64,
        wakes: &mut Wakes,
        events: &mut u64,
    ) -> i64 {
        for (change, encoded) in recent {
            let target = &job.target;
            let wanted =
                |event: &Event| target.wants.takes(event.kind) && job.range.contains(&event.key);
            let numbers: Vec<u32> = (0..)
                .zip(&change.events)
                .filter(|(_, event)| wanted(event))
                .map(|(number, _)| number)
                .collect();
            if change.revision >= next && !numbers.is_empty() {
                let prev = target.wants.prev_kv;
                let bytes = encoded.events(change, &*self.history, &numbers, prev);
                let count = numbers.len() as u32;
                if !offer(target, change.revision, Body::Events(bytes, count), wakes) {
                    return change.revision;
                }
                *events += u64::from(count);
            }
            next = next.max(change.revision + 1);
        }
        next
    }

    /// Makes a watcher synced if it has everything, or puts it back in line.
    fn settle(&mut self, uid: u64, next: i64) {
        let Some(watcher) = self.watchers.get_mut(&uid) else { return };
        let stream = watcher.target.stream.id;
        watcher.phase = Phase::Unsynced { next };
        if next <= self.revision {
            return self.await_turn(uid);
        }
        self.slow -= 1;
        if let Some(stream) = self.streams.get_mut(&stream) {
            stream.unsynced -= 1;
        }
        self.join_group(uid);
    }

    fn end_compacted(&mut self, target: &Target, compacted: i64, wakes: &mut Wakes) {
        self.remove_watcher(target.uid);
        let watch_id = target.watch_id;
        if let Some(stream) = self.streams.get_mut(&target.stream.id) {
            stream.ids.insert(watch_id, Holder::Compacted);
            stream.compacted += 1;
            self.compacted += 1;
        }
        let body = Body::Compacted(compacted);
        target.stream.push(Response { revision: 0, watch_id, fragment: false, body }, wakes);
    }
}

impl Round {
    /// Reads rows for all shares; returns the revision up to which all were read.
    fn read(&mut self) -> Result<i64, ReadFailed> {
        let history = self.history.clone();
        // Those behind the compaction get no events, so nothing is read for them.
        let compacted = history.compacted_revision();
        let mut matcher: Matcher<usize> = Matcher::default();
        let mut from = i64::MAX;
        for (i, share) in self.shares.iter().enumerate().filter(|(_, s)| s.next >= compacted) {
            matcher.add(&share.jobs[0].range, i);
            from = from.min(share.next);
        }
        if from > self.target {
            return Ok(self.target);
        }
        let (mut rows, mut bytes, mut full, mut last) = (0, 0, false, from - 1);
        let mut end = self.target;
        history.scan(from, self.target, &mut |row: RowKey, value: &[u8]| {
            let main = row.rev.main;
            if main > last && (full || rows >= SCAN_ROWS_MAX || bytes >= SCAN_BYTES_MAX) {
                end = last;
                return ControlFlow::Break(());
            }
            last = main;
            rows += 1;
            let Some(key) = key_of_row(value) else { return ControlFlow::Continue(()) };
            let mut past = PastEvent::new(row, key, value);
            matcher.for_each(key, |&i| {
                let share = &mut self.shares[i];
                if main >= share.next && share.wants.takes(past.kind) {
                    bytes += past.append_to(share, &*history);
                    full |= share.revisions == REVISIONS_PER_RESPONSE;
                }
            });
            ControlFlow::Continue(())
        })?;
        Ok(end)
    }
}

/// A row as an event.
struct PastEvent<'a> {
    main: i64,
    kind: EventKind,
    key: &'a [u8],
    value: &'a [u8],
    /// The pair of a DELETE event.
    deleted: Option<Bytes>,
    /// The pair before, once looked up.
    prev: Option<Option<Bytes>>,
}

impl<'a> PastEvent<'a> {
    fn new(row: RowKey, key: &'a [u8], value: &'a [u8]) -> PastEvent<'a> {
        let main = row.rev.main;
        let kind = if row.tombstone { EventKind::Delete } else { EventKind::Put };
        PastEvent { main, kind, key, value, deleted: None, prev: None }
    }

    /// Appends the event to what `share` gets; returns its size.
    fn append_to(&mut self, share: &mut Share, history: &dyn History) -> usize {
        let prev = if share.wants.prev_kv { self.previous(history) } else { None };
        let kv = match self.kind {
            EventKind::Put => self.value,
            EventKind::Delete => {
                self.deleted.get_or_insert_with(|| deleted_pair(self.key, self.main))
            }
        };
        let before = share.events.len();
        encode_event(self.kind as i32, kv, prev.as_deref(), &mut share.events);
        share.count += 1;
        share.revisions += usize::from(share.last != self.main);
        share.last = self.main;
        share.events.len() - before
    }

    fn previous(&mut self, history: &dyn History) -> Option<Bytes> {
        let (kind, key, value, main) = (self.kind, self.key, self.value, self.main);
        let look_up = || {
            let creation = kind == EventKind::Put && is_creation(value);
            if creation { None } else { history.pair_at(key, main - 1) }
        };
        self.prev.get_or_insert_with(look_up).clone()
    }
}
