//! A store in memory that forgets nothing: what watchers must see is worked out from it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use base::{Revision, RowKey};
use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use proto::{etcdserverpb, mvccpb};

use crate::change::{Changes, Event, EventKind};
use crate::watch::history::deleted_pair;
use crate::watch::{History, ReadFailed};

/// One event as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) revision: i64,
    pub(super) kind: EventKind,
    pub(super) key: Vec<u8>,
    /// Mod revision of the pair before.
    pub(super) prev: Option<i64>,
}

#[derive(Default)]
struct Inside {
    /// Rows that compaction has left.
    rows: BTreeMap<RowKey, Bytes>,
    /// All rows ever.
    log: Vec<(RowKey, Vec<u8>, Bytes)>,
    live: BTreeMap<Vec<u8>, mvccpb::KeyValue>,
    revision: i64,
    compacted: i64,
    /// Runs once at the end of the next scan.
    during_scan: Option<Box<dyn FnOnce() + Send>>,
}

/// Rows, and all that ever happened.
#[derive(Clone)]
pub(super) struct MemoryStore {
    inside: Arc<Mutex<Inside>>,
}

impl MemoryStore {
    pub(super) fn new() -> MemoryStore {
        let inside = Inside { revision: 1, compacted: -1, ..Inside::default() };
        MemoryStore { inside: Arc::new(Mutex::new(inside)) }
    }

    pub(super) fn revision(&self) -> i64 {
        self.inside.lock().revision
    }

    pub(super) fn compacted(&self) -> i64 {
        self.inside.lock().compacted
    }

    pub(super) fn during_scan(&self, f: impl FnOnce() + Send + 'static) {
        self.inside.lock().during_scan = Some(Box::new(f));
    }

    /// Commits one request: puts (true) and deletions of keys; `None` if nothing changed.
    pub(super) fn commit(&self, ops: &[(Vec<u8>, bool)]) -> Option<Changes> {
        let mut inside = self.inside.lock();
        let main = inside.revision + 1;
        let before = inside.live.clone();
        let mut events = Vec::new();
        for (key, put) in ops {
            let rev = Revision { main, sub: events.len() as i64 };
            let old = inside.live.get(key).cloned();
            if old.is_none() && !put {
                continue;
            }
            let prev = before.get(key).map(|kv| Revision { main: kv.mod_revision, sub: 0 });
            let key_bytes = Bytes::copy_from_slice(key);
            let (row, value, kv, kind) = if *put {
                let kv = mvccpb::KeyValue {
                    key: key_bytes.clone(),
                    create_revision: old.as_ref().map_or(main, |kv| kv.create_revision),
                    mod_revision: main,
                    version: old.as_ref().map_or(1, |kv| kv.version + 1),
                    value: Bytes::from(format!("v{main}")),
                    lease: 0,
                };
                inside.live.insert(key.clone(), kv.clone());
                let value = Bytes::from(kv.encode_to_vec());
                (RowKey { rev, tombstone: false }, value.clone(), value, EventKind::Put)
            } else {
                inside.live.remove(key);
                let kv = mvccpb::KeyValue { key: key_bytes.clone(), ..Default::default() };
                let value = Bytes::from(kv.encode_to_vec());
                let row = RowKey { rev, tombstone: true };
                (row, value, deleted_pair(key, main), EventKind::Delete)
            };
            let prev = prev.map(|prev| inside.rev_of(key, prev.main));
            inside.rows.insert(row, value.clone());
            inside.log.push((row, key.clone(), value));
            events.push(Event { kind, key: key_bytes, kv, rev, prev });
        }
        if events.is_empty() {
            return None;
        }
        inside.revision = main;
        Some(Changes { revision: main, events })
    }

    pub(super) fn put(&self, key: &str) -> Changes {
        self.commit(&[(key.into(), true)]).expect("a put changes something")
    }

    pub(super) fn delete(&self, key: &str) -> Changes {
        self.commit(&[(key.into(), false)]).expect("the key lives")
    }

    pub(super) fn compact(&self, at: i64) {
        let mut inside = self.inside.lock();
        inside.compacted = inside.compacted.max(at);
        let mut kept: BTreeMap<Vec<u8>, RowKey> = BTreeMap::new();
        for (row, key, _) in inside.log.iter().filter(|(row, ..)| row.rev.main <= at) {
            kept.insert(key.clone(), *row);
        }
        kept.retain(|_, row| !row.tombstone || row.rev.main == at);
        let kept: Vec<RowKey> = kept.into_values().collect();
        inside.rows.retain(|row, _| row.rev.main > at || kept.contains(row));
    }

    /// All events with `revision >= from` whose keys `wanted` names, previous pairs included.
    pub(super) fn events(&self, from: i64, wanted: impl Fn(&[u8]) -> bool) -> Vec<Seen> {
        let inside = self.inside.lock();
        let mut newest: BTreeMap<Vec<u8>, (i64, bool)> = BTreeMap::new();
        let mut seen = Vec::new();
        for chunk in inside.log.chunk_by(|a, b| a.0.rev.main == b.0.rev.main) {
            let before = newest.clone();
            for (row, key, value) in chunk {
                let main = row.rev.main;
                let pair = before.get(key).filter(|(_, lives)| *lives).map(|(main, _)| *main);
                let creation = !row.tombstone && {
                    let kv = mvccpb::KeyValue::decode(value.clone()).expect("rows decode");
                    kv.create_revision == kv.mod_revision
                };
                let kind = if row.tombstone { EventKind::Delete } else { EventKind::Put };
                let prev = pair.filter(|_| !creation);
                if main >= from && wanted(key) {
                    seen.push(Seen { revision: main, kind, key: key.clone(), prev });
                }
                newest.insert(key.clone(), (main, !row.tombstone));
            }
        }
        seen
    }
}

impl Inside {
    /// The put row of `key` with this main revision.
    fn rev_of(&self, key: &[u8], main: i64) -> Revision {
        let same = |(row, k, _): &&(RowKey, Vec<u8>, Bytes)| {
            row.rev.main == main && k == key && !row.tombstone
        };
        self.log.iter().rev().find(same).expect("live keys have rows").0.rev
    }
}

impl History for MemoryStore {
    fn compacted_revision(&self) -> i64 {
        self.compacted()
    }

    fn scan(
        &self,
        from: i64,
        to: i64,
        f: &mut dyn FnMut(RowKey, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFailed> {
        let rows: Vec<_> = {
            let inside = self.inside.lock();
            let rows = inside.rows.iter().filter(|(row, _)| (from..=to).contains(&row.rev.main));
            rows.map(|(row, value)| (*row, value.clone())).collect()
        };
        let mut before = None;
        for (row, value) in rows {
            assert!(before.is_none_or(|before| before < row));
            before = Some(row);
            if f(row, &value).is_break() {
                break;
            }
        }
        let hook = self.inside.lock().during_scan.take();
        if let Some(hook) = hook {
            hook();
        }
        Ok(())
    }

    fn row(&self, rev: Revision) -> Option<Bytes> {
        self.inside.lock().rows.get(&RowKey { rev, tombstone: false }).cloned()
    }

    fn pair_at(&self, key: &[u8], main: i64) -> Option<Bytes> {
        let inside = self.inside.lock();
        if main < inside.compacted {
            return None;
        }
        let (row, _, value) =
            inside.log.iter().rev().find(|(row, k, _)| row.rev.main <= main && k == key)?;
        (!row.tombstone).then(|| value.clone())
    }
}

/// What encoded events say.
pub(super) fn decode(events: &Bytes) -> Vec<Seen> {
    let response = etcdserverpb::WatchResponse::decode(events.clone()).expect("field 11 only");
    let seen = response.events.into_iter().map(|event| {
        let kind = if event.r#type == 0 { EventKind::Put } else { EventKind::Delete };
        let kv = event.kv.expect("events have pairs");
        if kind == EventKind::Delete {
            assert!(kv.version == 0 && kv.value.is_empty() && kv.create_revision == 0);
        }
        let prev = event.prev_kv.map(|prev| {
            assert_eq!(prev.key, kv.key);
            prev.mod_revision
        });
        Seen { revision: kv.mod_revision, kind, key: kv.key.to_vec(), prev }
    });
    seen.collect()
}
