//! The store against one that is too simple to be wrong.

use std::collections::BTreeMap;

use base::schema::Bucket;
use base::{Revision, RowKey};
use proptest::prelude::*;

use super::*;
use crate::Error;

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// Operations of one entry.
    Entry(Vec<Op>),
    Commit,
    /// Drops what is not committed and opens the store again.
    Restart,
    /// Compacts this many revisions below the newest.
    Compact(i64),
    Read(Vec<u8>, Vec<u8>, i64, usize),
    /// Hashes this many revisions below the newest.
    Hash(i64),
    /// Writes an index file.
    Persist,
}

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>, Vec<u8>, i64),
    Delete(Vec<u8>, Vec<u8>),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), Just(0xff)], 1..4)
}

fn end() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![0]), 3 => key()]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (key(), proptest::collection::vec(any::<u8>(), 0..4), 0..3i64)
            .prop_map(|(key, value, lease)| Op::Put(key, value, lease)),
        1 => (key(), end()).prop_map(|(key, end)| Op::Delete(key, end)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => proptest::collection::vec(op(), 1..4).prop_map(Step::Entry),
        4 => Just(Step::Commit),
        1 => Just(Step::Restart),
        1 => (0..6i64).prop_map(Step::Compact),
        6 => (key(), end(), -1..12i64, 0..5usize)
            .prop_map(|(key, end, back, limit)| Step::Read(key, end, back, limit)),
        2 => (0..6i64).prop_map(Step::Hash),
        1 => Just(Step::Persist),
    ]
}

#[derive(Clone, Debug, PartialEq)]
struct Pair {
    key: Vec<u8>,
    value: Vec<u8>,
    lease: i64,
    create: i64,
    modified: i64,
    version: i64,
}

impl Pair {
    fn row(&self) -> Bytes {
        let kv = KeyValue {
            key: &self.key,
            create_revision: self.create,
            mod_revision: self.modified,
            version: self.version,
            value: &self.value,
            lease: self.lease,
        };
        kv.encode()
    }
}

/// Every change ever made; compaction only moves a number.
#[derive(Clone, Default)]
struct Model {
    history: Vec<(Revision, Vec<u8>, Option<Pair>)>,
    current: i64,
    compacted: i64,
    compactions: Vec<(i64, i64)>,
}

impl Model {
    fn new() -> Model {
        Model { current: 1, compacted: -1, ..Model::default() }
    }

    /// What lives at a revision, by key.
    fn at(&self, revision: i64) -> BTreeMap<Vec<u8>, (Revision, Pair)> {
        let mut live = BTreeMap::new();
        for (rev, key, pair) in self.history.iter().filter(|(rev, _, _)| rev.main <= revision) {
            match pair {
                Some(pair) => live.insert(key.clone(), (*rev, pair.clone())),
                None => live.remove(key),
            };
        }
        live
    }

    fn apply(&mut self, ops: &[Op]) {
        let main = self.current + 1;
        let mut sub = 0;
        for op in ops {
            let live = self.at(main);
            match op {
                Op::Put(key, value, lease) => {
                    let before = live.get(key).map(|(_, pair)| pair);
                    let pair = Pair {
                        key: key.clone(),
                        value: value.clone(),
                        lease: *lease,
                        create: before.map_or(main, |pair| pair.create),
                        modified: main,
                        version: before.map_or(1, |pair| pair.version + 1),
                    };
                    self.history.push((rev(main, sub), key.clone(), Some(pair)));
                    sub += 1;
                }
                Op::Delete(key, end) => {
                    let range = KeyRange::new(key.clone(), end.clone());
                    for key in live.into_keys().filter(|key| range.contains(key)) {
                        self.history.push((rev(main, sub), key, None));
                        sub += 1;
                    }
                }
            }
        }
        self.current += i64::from(sub > 0);
    }

    fn check(&self, at: i64) -> Result<i64, &'static str> {
        match at {
            at if at > self.current => Err("future"),
            ..=0 => Ok(i64::MAX),
            at if at < self.compacted => Err("compacted"),
            at => Ok(at),
        }
    }

    /// Rows that a finished compaction leaves stored: of each key the newest at its revision, if
    /// that is no older tombstone, and a tombstone right before it that is exactly at it.
    fn stored(&self) -> Vec<(Revision, Vec<u8>, Option<Pair>)> {
        let retained = |(i, (rev, key, pair)): (usize, &(Revision, Vec<u8>, Option<Pair>))| {
            if rev.main > self.compacted {
                return true;
            }
            let later = self.history[i + 1..].iter().take_while(|row| row.0.main <= self.compacted);
            let later: Vec<_> =
                later.filter(|row| row.1 == *key).map(|row| row.2.is_some()).collect();
            match later[..] {
                [] => pair.is_some() || rev.main == self.compacted,
                [true] => pair.is_none() && rev.main == self.compacted,
                _ => false,
            }
        };
        let rows = self.history.iter().enumerate().filter(|row| retained(*row));
        rows.map(|(_, row)| row.clone()).collect()
    }

    /// The hash by its definition.
    fn hash(&self, revision: i64) -> u32 {
        let kept = self.at(revision);
        let mut crc = crc32c::crc32c(b"key");
        for (rev, key, pair) in self.stored() {
            let tombstone = pair.is_none();
            let seen = kept.get(&key).is_some_and(|(newest, _)| *newest == rev);
            if rev.main > revision
                || (rev.main <= self.compacted && !kept.is_empty() && !seen)
                || (tombstone && rev.main == self.compacted)
            {
                continue;
            }
            let value = match &pair {
                Some(pair) => pair.row(),
                None => KeyValue { key: &key, ..KeyValue::default() }.encode(),
            };
            crc = crc32c::crc32c_append(crc, &RowKey { rev, tombstone }.encode());
            crc = crc32c::crc32c_append(crc, &value);
        }
        crc
    }

    fn leased(&self) -> Vec<(Bytes, i64)> {
        let live = self.at(i64::MAX).into_values();
        let leased = live.filter(|(_, pair)| pair.lease != 0);
        leased.map(|(_, pair)| (Bytes::from(pair.key), pair.lease)).collect()
    }
}

/// Both stores, and what the real one would fall back to.
struct Pairing {
    real: Option<Fixture>,
    model: Model,
    committed: Model,
    /// Compactions read all rows and leave hashes.
    walks: bool,
}

impl Pairing {
    fn real(&mut self) -> &mut Fixture {
        self.real.as_mut().expect("only a restart takes it")
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Entry(ops) => self.entry(ops),
            Step::Commit => self.commit(),
            Step::Restart => self.restart(),
            Step::Compact(back) => self.compact(self.model.current - back),
            Step::Read(key, end, back, limit) => {
                let range = KeyRange::new(key.clone(), end.clone());
                self.read_both(&range, self.model.current - back, *limit);
            }
            Step::Hash(back) => self.hash(self.committed.current - back),
            Step::Persist => {
                self.real().store.write_index_file().expect("write");
            }
        }
    }

    fn entry(&mut self, ops: &[Op]) {
        let before = self.model.history.len();
        self.model.apply(ops);
        let made = self.model.history[before..].to_vec();
        let previous = self.model.at(self.model.current - 1);
        let writer = &mut self.real().writer;
        for op in ops {
            match op {
                Op::Put(key, value, lease) => {
                    writer.put(&Bytes::from(key.clone()), value, *lease);
                }
                Op::Delete(key, end) => {
                    writer.delete_range(&KeyRange::new(key.clone(), end.clone()));
                }
            }
        }
        let changes = writer.end_entry();
        let events = changes.map(|changes| changes.events).unwrap_or_default();
        assert_eq!(events.len(), made.len());
        for (event, (rev, key, pair)) in events.iter().zip(&made) {
            assert_eq!((&event.rev, &event.key[..]), (rev, &key[..]));
            assert_eq!(event.prev, previous.get(key).map(|(rev, _)| *rev));
            match pair {
                Some(pair) => assert_eq!(event.kv, pair.row()),
                None => {
                    let kv = KeyValue { key, mod_revision: rev.main, ..KeyValue::default() };
                    assert_eq!(event.kv, kv.encode());
                }
            }
        }
    }

    fn commit(&mut self) {
        self.real().writer.commit().expect("commit");
        let newest = self.model.compacted;
        self.committed = self.model.clone();
        if newest >= 0 {
            // Hashes need all compactions done, as a reader of a quiet member finds them.
            self.real().wait_compacted(newest);
        }
        let current = self.committed.current;
        assert_eq!(self.real().store.current_revision(), current);
        assert_eq!(self.real().store.compacted_revision(), newest);
    }

    fn restart(&mut self) {
        let fixture = self.real.take().expect("only a restart takes it");
        let (fixture, leased) = fixture.restart_with_leases();
        assert_eq!(leased, self.committed.leased());
        assert_eq!(fixture.store.current_revision(), self.committed.current);
        self.real = Some(fixture);
        self.committed.compactions.clear();
        self.model = self.committed.clone();
    }

    fn compact(&mut self, at: i64) {
        let expected = match at {
            at if at <= self.model.compacted => Some("compacted"),
            at if at > self.model.current => Some("future"),
            _ => None,
        };
        let result = self.real().writer.compact(at);
        assert_eq!(result.as_ref().err().map(name), expected);
        if expected.is_none() {
            if self.walks {
                self.model.compactions.push((at, self.model.compacted));
            }
            self.model.compacted = at;
        }
    }

    /// The writer sees the model, readers see what is committed.
    fn read_both(&mut self, range: &KeyRange, at: i64, limit: usize) {
        let (model, committed) = (self.model.clone(), self.committed.clone());
        let fixture = self.real();
        let writer = &fixture.writer;
        check_read(&model, range, at, limit, writer.pairs(range, at, limit));
        let count = writer.count(range, at).map(|found| found.count);
        let metas = writer.metas(range, at, limit);
        if let Ok(found) = &metas {
            assert_eq!(count.as_ref().ok(), Some(&found.count));
            let rows = writer.rows(&found.items).expect("rows");
            check_read(&model, range, at, limit, metas.map(|f| Found { items: rows, ..copy(&f) }));
        }
        let store = &fixture.store;
        check_read(&committed, range, at, limit, store.pairs(range, at, limit));
        let metas = store.metas(range, at, limit);
        if let Ok(found) = &metas {
            let count = store.count(range, at).expect("count").count;
            assert_eq!(count, found.count);
            let revs: Vec<_> = found.items.iter().map(|meta| meta.state.modified).collect();
            let rows = store.rows(&revs).expect("rows");
            check_states(&committed, at, &found.items);
            check_read(
                &committed,
                range,
                at,
                limit,
                metas.map(|f| Found { items: rows, ..copy(&f) }),
            );
        }
    }

    fn hash(&mut self, at: i64) {
        let model = self.committed.clone();
        let result = self.real().store.hash_kv(at);
        let expected = match at {
            at if at > 0 && at < model.compacted => Err("compacted"),
            0 => Ok((model.hash(model.current), model.compacted)),
            at => match model.compactions.iter().find(|(done, _)| *done == at) {
                Some((_, previous)) => Ok((0, *previous)),
                None => Ok((model.hash(at), model.compacted)),
            },
        };
        match (result, expected) {
            (Ok(hash), Ok((crc, compacted))) => {
                assert_eq!(hash.compact_revision, compacted);
                // Compaction hashes have tests of their own.
                assert!(crc == 0 || crc == hash.hash, "hash at {at}");
            }
            (result, expected) => assert_eq!(result.as_ref().err().map(name), expected.err()),
        }
    }
}

use crate::Found;

fn copy<T, U>(found: &Found<T>) -> Found<U> {
    Found { items: Vec::new(), count: found.count, revision: found.revision }
}

fn name(error: &Error) -> &'static str {
    match error {
        Error::Compacted => "compacted",
        Error::FutureRev => "future",
        other => panic!("{other}"),
    }
}

fn check_states(model: &Model, at: i64, metas: &[KeyMeta]) {
    let live = model.at(if at <= 0 { i64::MAX } else { at });
    for meta in metas {
        let (rev, pair) = &live[&meta.key[..]];
        let state = meta.state;
        assert_eq!(
            (state.modified, state.created.main, state.version),
            (*rev, pair.create, pair.version)
        );
    }
}

fn check_read(
    model: &Model,
    range: &KeyRange,
    at: i64,
    limit: usize,
    found: Result<Found<Bytes>, Error>,
) {
    match (found, model.check(at)) {
        (Ok(found), Ok(at)) => {
            let live = model.at(at);
            let all: Vec<Bytes> = live
                .iter()
                .filter(|(key, _)| range.contains(key))
                .map(|(_, (_, pair))| pair.row())
                .collect();
            assert_eq!(found.count as usize, all.len());
            assert_eq!(found.revision, model.current);
            assert_eq!(found.items, all[..limit.min(all.len())]);
        }
        (found, expected) => {
            assert_eq!(found.as_ref().err().map(name), expected.err(), "{range:?} at {at}");
        }
    }
}

fn check(steps: &[Step], walks: bool) {
    let compaction_walk_bytes_max = if walks { u64::MAX } else { 0 };
    let real = Fixture::with(Options { compaction_walk_bytes_max, ..no_pause() });
    let mut pairing =
        Pairing { real: Some(real), model: Model::new(), committed: Model::new(), walks };
    for step in steps {
        pairing.run(step);
    }
    pairing.commit();
    // At the end the rows are exactly those that a quiet member stores.
    let stored: Vec<_> = pairing.committed.stored();
    let keys = pairing.real().rows(Bucket::Key);
    let expected: Vec<_> = stored
        .iter()
        .map(|(rev, _, pair)| hex(&RowKey { rev: *rev, tombstone: pair.is_none() }.encode()))
        .collect();
    assert_eq!(keys.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_store_does_what_the_model_does(
        steps in proptest::collection::vec(step(), 1..60),
        walks in any::<bool>(),
    ) {
        check(&steps, walks);
    }
}
