//! Random lives of watchers, each compared with the log of all that happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use base::KeyRange;
use bytes::Bytes;
use proptest::prelude::*;

use super::store::{MemoryStore, Seen, decode};
use crate::change::{Changes, EventKind};
use crate::watch::{Body, Response, WatchHub, WatchRequest, WatchStream};

const STREAMS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    /// Requests, committed and published together.
    Write(Vec<Vec<(u8, bool)>>),
    /// So many puts of one key.
    Burst(u8, u16),
    Create {
        stream: usize,
        range: (u8, u8),
        start: Start,
        flags: u8,
    },
    Cancel {
        stream: usize,
        pick: u8,
    },
    Read {
        stream: usize,
        count: u16,
    },
    Sync,
    /// A sync round with something happening while rows are read.
    SyncDuring(Vec<Op>),
    Compact(u8),
    Progress(usize),
    Tick(usize),
    Reopen(usize),
    /// A snapshot with so many more revisions is installed.
    Install(u8),
}

#[derive(Clone, Copy, Debug)]
enum Start {
    Now,
    Past(u8),
    Future(u8),
    Compacted,
}

fn key(i: u8) -> Vec<u8> {
    vec![b'a' + i % 6]
}

fn any_write() -> impl Strategy<Value = Op> {
    let txn = proptest::collection::vec((0..6u8, proptest::bool::weighted(0.7)), 1..5);
    proptest::collection::vec(txn, 1..4).prop_map(Op::Write)
}

fn any_start() -> impl Strategy<Value = Start> {
    prop_oneof![
        3 => Just(Start::Now),
        3 => any::<u8>().prop_map(Start::Past),
        2 => (1..20u8).prop_map(Start::Future),
        1 => Just(Start::Compacted),
    ]
}

fn any_op() -> BoxedStrategy<Op> {
    let stream = || 0..STREAMS;
    let simple = prop_oneof![
        10 => any_write(),
        2 => (0..6u8, 1..300u16).prop_map(|(k, n)| Op::Burst(k, n)),
        5 => (stream(), (0..6u8, 0..9u8), any_start(), any::<u8>())
            .prop_map(|(stream, range, start, flags)| Op::Create { stream, range, start, flags }),
        1 => (stream(), any::<u8>()).prop_map(|(stream, pick)| Op::Cancel { stream, pick }),
        4 => (stream(), 1..200u16).prop_map(|(stream, count)| Op::Read { stream, count }),
        2 => any::<u8>().prop_map(Op::Compact),
        2 => stream().prop_map(Op::Progress),
        1 => stream().prop_map(Op::Tick),
        1 => stream().prop_map(Op::Reopen),
        1 => (0..5u8).prop_map(Op::Install),
    ]
    .boxed();
    let during = proptest::collection::vec(simple.clone(), 1..4).prop_map(Op::SyncDuring);
    prop_oneof![12 => simple, 4 => Just(Op::Sync), 4 => during].boxed()
}

/// What a test knows of one watcher.
struct Watched {
    range: KeyRange,
    from: i64,
    flags: u8,
    got: Vec<Seen>,
    created: bool,
    ended: bool,
}

impl Watched {
    fn expected(&self, store: &MemoryStore) -> Vec<Seen> {
        let mut all = store.events(self.from, |key| self.range.contains(key));
        all.retain(|seen| match seen.kind {
            EventKind::Put => self.flags & 1 == 0,
            EventKind::Delete => self.flags & 2 == 0,
        });
        if self.flags & 4 == 0 {
            all.iter_mut().for_each(|seen| seen.prev = None);
        }
        all
    }

    /// `got` must be the beginning of `expected`; a previous pair may be missing if it was
    /// compacted.
    fn check_prefix(&self, store: &MemoryStore) {
        let expected = self.expected(store);
        assert!(self.got.len() <= expected.len(), "more than happened: {:?}", self.got);
        for (got, expected) in self.got.iter().zip(&expected) {
            let lost = got.prev.is_none() && got.revision - 1 < store.compacted();
            let prev = if lost { None } else { expected.prev };
            assert_eq!(*got, Seen { prev, ..expected.clone() });
        }
    }

    fn has_all_up_to(&self, store: &MemoryStore, revision: i64) -> bool {
        let expected = self.expected(store);
        expected.iter().filter(|seen| seen.revision <= revision).count() <= self.got.len()
    }
}

struct OneStream {
    stream: WatchStream,
    watched: BTreeMap<i64, Watched>,
}

struct World {
    store: MemoryStore,
    hub: WatchHub,
    streams: Vec<OneStream>,
}

fn open(hub: &WatchHub) -> OneStream {
    OneStream { stream: hub.open_stream(None), watched: BTreeMap::new() }
}

impl World {
    fn new() -> World {
        let store = MemoryStore::new();
        let hub = WatchHub::idle(Arc::new(store.clone()), store.revision());
        let streams = (0..STREAMS).map(|_| open(&hub)).collect();
        World { store, hub, streams }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Write(txns) => {
                let changes: Vec<Changes> =
                    txns.iter().filter_map(|txn| commit(&self.store, txn)).collect();
                self.hub.publish(&changes);
            }
            Op::Burst(k, count) => {
                for _ in 0..count {
                    self.hub.publish(&[commit(&self.store, &[(k, true)]).expect("a put")]);
                }
            }
            Op::Create { stream, range, start, flags } => self.create(stream, range, start, flags),
            Op::Cancel { stream, pick } => self.cancel(stream, pick),
            Op::Read { stream, count } => {
                for _ in 0..count {
                    self.read(stream);
                }
            }
            Op::Sync => {
                self.hub.inner().sync_round().expect("memory can be read");
            }
            Op::SyncDuring(ops) => self.sync_during(ops),
            Op::Compact(pick) => {
                let now = self.store.revision();
                self.store.compact(1 + i64::from(pick) * now / 256);
            }
            Op::Progress(stream) => self.streams[stream].stream.request_progress(),
            Op::Tick(stream) => self.streams[stream].stream.progress_tick(),
            Op::Reopen(stream) => self.streams[stream] = open(&self.hub),
            Op::Install(more) => {
                for i in 0..more {
                    commit(&self.store, &[(i, true)]);
                }
                self.hub.install(Arc::new(self.store.clone()), self.store.revision());
            }
        }
    }

    /// Only what does not need `self` can happen while rows are read: writes, compaction and
    /// installs. The rest of the ops run after the round.
    fn sync_during(&mut self, ops: Vec<Op>) {
        let (store, hub) = (self.store.clone(), self.hub.clone());
        let (inner, after): (Vec<Op>, Vec<Op>) = ops.into_iter().partition(|op| {
            matches!(op, Op::Write(_) | Op::Burst(..) | Op::Compact(_) | Op::Install(_))
        });
        store.clone().during_scan(move || {
            let mut world = World { store, hub, streams: Vec::new() };
            inner.into_iter().for_each(|op| world.run(op));
        });
        self.hub.inner().sync_round().expect("memory can be read");
        self.store.during_scan(|| {});
        after.into_iter().for_each(|op| self.run(op));
    }

    fn create(&mut self, stream: usize, (from, to): (u8, u8), start: Start, flags: u8) {
        let range = match to {
            0..6 => KeyRange::new(key(from), key(to)),
            6 => KeyRange::new(key(from), vec![0]),
            _ => KeyRange::single(key(from)),
        };
        let now = self.store.revision();
        let start_revision = match start {
            Start::Now => 0,
            Start::Past(back) => (now - i64::from(back)).max(1),
            Start::Future(ahead) => now + i64::from(ahead),
            Start::Compacted => 1,
        };
        let request = WatchRequest {
            range: range.clone(),
            start_revision,
            no_put: flags & 1 != 0,
            no_delete: flags & 2 != 0,
            prev_kv: flags & 4 != 0,
            progress_notify: flags & 8 != 0,
            ..WatchRequest::default()
        };
        let created = self.streams[stream].stream.create(request);
        assert_eq!(created.is_err(), range.is_empty());
        let Ok(id) = created else { return };
        let from = if start_revision == 0 { now + 1 } else { start_revision };
        let (got, created, ended) = (Vec::new(), false, false);
        let watched = Watched { range, from, flags, got, created, ended };
        assert!(self.streams[stream].watched.insert(id, watched).is_none());
    }

    fn cancel(&mut self, stream: usize, pick: u8) {
        let OneStream { stream, watched } = &self.streams[stream];
        let ids: Vec<i64> = watched.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        stream.cancel(ids[usize::from(pick) % ids.len()]);
    }

    fn read(&mut self, stream: usize) -> bool {
        let next = self.streams[stream].stream.poll_next(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(response)) = next else { return false };
        self.check(stream, response);
        true
    }

    fn check(&mut self, stream: usize, response: Response) {
        let OneStream { watched, .. } = &mut self.streams[stream];
        let Response { revision, watch_id, body, .. } = response;
        assert!(revision <= self.store.revision());
        if watch_id == -1 {
            assert_eq!(body, Body::Progress);
            for watched in watched.values().filter(|watched| watched.created) {
                assert!(watched.from <= revision + 1 && !watched.ended);
                assert!(watched.has_all_up_to(&self.store, revision));
            }
            return;
        }
        let one = watched.get_mut(&watch_id).expect("only watchers of the stream are spoken of");
        match body {
            Body::Created => assert!(!std::mem::replace(&mut one.created, true)),
            Body::Refused(_) => unreachable!("nothing was refused"),
            Body::Events(bytes, count) => {
                assert!(one.created && !one.ended);
                let events = decode(&bytes);
                assert_eq!(events.len(), count as usize);
                // All events of one revision come together.
                let newest = one.got.last().map_or(0, |seen| seen.revision);
                assert!(events[0].revision > newest);
                assert!(events.is_sorted_by_key(|seen| seen.revision));
                assert!(events.last().is_some_and(|seen| seen.revision <= revision));
                one.got.extend(events);
                one.check_prefix(&self.store);
            }
            Body::Progress => {
                assert!(one.created && !one.ended && one.flags & 8 != 0);
                assert!(one.from <= revision + 1);
                assert!(one.has_all_up_to(&self.store, revision));
            }
            Body::Canceled => {
                watched.remove(&watch_id);
            }
            Body::Compacted(compacted) => {
                assert!(one.created && !one.ended && revision == 0);
                assert!(compacted <= self.store.compacted());
                let newest = one.got.last().map_or(one.from - 1, |seen| seen.revision);
                assert!(newest < compacted);
                one.ended = true;
            }
        }
    }

    /// Reads and syncs until nothing moves, then every watcher has everything.
    fn drain(&mut self) {
        loop {
            let synced = self.hub.inner().sync_round().expect("memory can be read");
            let mut read = false;
            for stream in 0..self.streams.len() {
                while self.read(stream) {
                    read = true;
                }
            }
            if !synced && !read {
                break;
            }
        }
        for watched in self.streams.iter().flat_map(|stream| stream.watched.values()) {
            assert!(watched.created);
            if !watched.ended {
                assert!(watched.has_all_up_to(&self.store, i64::MAX), "events are missing");
            }
        }
        let stats = self.hub.stats();
        assert_eq!((stats.slow_watchers, stats.pending_events), (0, 0));
    }
}

fn commit(store: &MemoryStore, txn: &[(u8, bool)]) -> Option<Changes> {
    let mut ops: Vec<(Vec<u8>, bool)> = Vec::new();
    for &(k, put) in txn {
        // The same key is never put twice in one request.
        if !ops.contains(&(key(k), put)) {
            ops.push((key(k), put));
        }
    }
    store.commit(&ops)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_watcher_gets_every_event_once_and_in_order(
        ops in proptest::collection::vec(any_op(), 1..80),
    ) {
        let mut world = World::new();
        for op in ops {
            world.run(op);
        }
        world.drain();
        world.streams.clear();
        let stats = world.hub.stats();
        prop_assert_eq!((stats.streams, stats.watchers), (0, 0));
    }
}

/// Keys of events must not keep whole request buffers: they are only compared here.
#[test]
fn decoded_events_name_their_keys() {
    let store = MemoryStore::new();
    let change = store.put("a");
    let mut buf = bytes::BytesMut::new();
    proto::raw::encode_event(0, &change.events[0].kv, None, &mut buf);
    let seen = decode(&Bytes::from(buf));
    assert_eq!(seen, store.events(2, |_| true));
}
