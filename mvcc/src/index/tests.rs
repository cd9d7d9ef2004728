//! The index against a model that stores every change in a plain ordered map.

use std::collections::BTreeMap;

use base::{KeyRange, Revision, RowKey};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// What the model remembers of one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    row: RowKey,
    created: Revision,
    version: i64,
}

#[derive(Default)]
struct Model {
    keys: BTreeMap<Vec<u8>, Vec<Change>>,
}

impl Model {
    fn get(&self, key: &[u8], at: i64) -> Option<KeyState> {
        let change = self.keys.get(key)?.iter().rev().find(|c| c.row.rev.main <= at)?;
        let Change { row, created, version } = *change;
        (!row.tombstone).then_some(KeyState { modified: row.rev, created, version })
    }

    fn put(&mut self, key: &[u8], rev: Revision) -> Put {
        let before = self.get(key, i64::MAX);
        let state = match before {
            Some(old) => KeyState { modified: rev, created: old.created, version: old.version + 1 },
            None => KeyState { modified: rev, created: rev, version: 1 },
        };
        let row = RowKey { rev, tombstone: false };
        let change = Change { row, created: state.created, version: state.version };
        self.keys.entry(key.to_vec()).or_default().push(change);
        Put { state, before }
    }

    fn tombstone(&mut self, key: &[u8], rev: Revision) -> Option<KeyState> {
        let before = self.get(key, i64::MAX)?;
        let row = RowKey { rev, tombstone: true };
        let change = Change { row, created: rev, version: 0 };
        self.keys.get_mut(key)?.push(change);
        Some(before)
    }

    fn range(&self, range: &KeyRange, at: i64) -> Vec<(Vec<u8>, KeyState)> {
        let keys = self.keys.keys().filter(|key| holds(range, key));
        keys.filter_map(|key| Some((key.clone(), self.get(key, at)?))).collect()
    }

    /// The rule as the contract states it: keep what is visible, a tombstone exactly at `at`,
    /// and all that is newer.
    fn retains(&self, key: &[u8], rev: Revision, at: i64) -> bool {
        let Some(changes) = self.keys.get(key) else { return rev.main > at };
        let Some(i) = changes.iter().position(|change| change.row.rev == rev) else {
            return rev.main > at;
        };
        let next_is_newer = |j: usize| changes.get(j).is_none_or(|c| c.row.rev.main > at);
        let row = changes[i].row;
        if rev.main > at {
            return true;
        }
        if row.tombstone {
            return rev.main == at && (next_is_newer(i + 1) || next_is_newer(i + 2));
        }
        next_is_newer(i + 1)
    }

    fn compact(&mut self, at: i64) -> Vec<RowKey> {
        let mut removed = Vec::new();
        let keys: Vec<Vec<u8>> = self.keys.keys().cloned().collect();
        for key in keys {
            let changes = self.keys[&key].clone();
            let (kept, gone): (Vec<_>, Vec<_>) =
                changes.into_iter().partition(|c| self.retains(&key, c.row.rev, at));
            removed.extend(gone.iter().map(|c| c.row));
            if kept.is_empty() {
                self.keys.remove(&key);
            } else {
                self.keys.insert(key, kept);
            }
        }
        removed
    }
}

fn holds(range: &KeyRange, key: &[u8]) -> bool {
    match &range.end[..] {
        [] => key == &range.key[..],
        [0] => key >= &range.key[..],
        end => key >= &range.key[..] && key < end,
    }
}

fn key_range(key: &[u8], end: &[u8]) -> KeyRange {
    KeyRange { key: Bytes::copy_from_slice(key), end: Bytes::copy_from_slice(end) }
}

fn all() -> KeyRange {
    key_range(&[0], &[0])
}

fn collect(index: &TreeIndex, range: &KeyRange, at: i64, chunk: usize) -> Vec<(Vec<u8>, KeyState)> {
    let mut out = Vec::new();
    let mut rest = range.clone();
    loop {
        let scan = index.range(&rest, at, chunk, |entry| {
            assert_eq!(entry.key.len(), entry.key.to_bytes().len());
            assert_eq!(entry.modified, entry.state().modified);
            out.push((entry.key.to_bytes().to_vec(), entry.state()));
        });
        match scan.next {
            Some(next) => rest.key = next,
            None => return out,
        }
    }
}

fn compact_fully(index: &mut TreeIndex, at: i64) -> Vec<RowKey> {
    let mut removed = Vec::new();
    let mut cursor = Some(CompactCursor::new(at));
    while let Some(step) = cursor {
        cursor = index.compact_step(step, |row| removed.push(row));
    }
    removed
}

fn rebuilt(index: &TreeIndex) -> TreeIndex {
    let mut builder = Builder::new();
    let mut from = Some(Bytes::new());
    while let Some(key) = from {
        from = index.states(&key, 7, |key, packed| {
            builder.push(&key.to_bytes(), packed).expect("states are in order and well formed");
        });
    }
    builder.finish()
}

/// The structural promises: order, counts, bounds, flags.
fn check_structure(index: &TreeIndex) {
    fn walk(index: &TreeIndex, node: u32, height: usize, keys: &mut Vec<Vec<u8>>) -> (u32, i64) {
        if height > 0 {
            let inner = index.inners.get(node);
            assert!(inner.len > 0 && inner.seps.len() + 1 == inner.len);
            let (mut live, mut newest) = (0, 0);
            for i in 0..inner.len {
                let child = inner.child(i);
                let before = keys.len();
                let found = walk(index, child.id, height - 1, keys);
                assert_eq!(child.live, found.0);
                assert!(child.newest >= found.1);
                for key in &keys[before..] {
                    assert_eq!(inner.child_of(key), i);
                }
                live += found.0;
                newest = newest.max(child.newest);
            }
            return (live, newest);
        }
        let leaf = index.leaves.get(node);
        let mut newest = 0;
        for slot in 0..leaf.page.len() {
            keys.push(leaf.page.key(slot));
            let state = index.state_at(leaf.page.payload(slot), i64::MAX);
            assert_eq!(leaf.live >> slot & 1 == 1, state.is_some());
            newest = newest.max(state.map_or(0, |state| state.modified.main));
        }
        assert_eq!(leaf.live & !super::node::mask(0, leaf.page.len()), 0);
        assert_eq!(leaf.stale & !super::node::mask(0, leaf.page.len()), 0);
        (leaf.live_count(), newest)
    }
    let mut keys = Vec::new();
    walk(index, index.root, index.height, &mut keys);
    assert!(keys.is_sorted_by(|a, b| a < b));
    assert_eq!(keys.len() as u64, index.keys());
}

#[derive(Clone, Debug)]
enum Op {
    Put(Vec<u8>),
    Delete(Vec<u8>),
    /// A further change in the transaction of the previous one.
    SameTxnPut(Vec<u8>),
    SameTxnDelete(Vec<u8>),
    Compact(u8),
    Rebuild,
    Check(Vec<u8>, Vec<u8>, u8),
}

fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let short = proptest::collection::vec(prop_oneof![Just(0u8), Just(b'a'), Just(255u8)], 1..4);
    let word = (0..400u32).prop_map(|i| format!("/registry/pods/ns-{}/pod-{i:05}", i % 7));
    let odd = (0..40usize).prop_map(|n| vec![b'x'; n * 37 + 1]);
    let hot = (0..3u8).prop_map(|i| vec![b'h', i]);
    prop_oneof![2 => short.boxed(), 6 => word.prop_map(String::into_bytes).boxed(),
        1 => odd.boxed(), 3 => hot.boxed()]
}

fn any_op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => any_key().prop_map(Op::Put),
        5 => any_key().prop_map(Op::Delete),
        2 => any_key().prop_map(Op::SameTxnPut),
        2 => any_key().prop_map(Op::SameTxnDelete),
        1 => any::<u8>().prop_map(Op::Compact),
        1 => Just(Op::Rebuild),
        2 => (any_key(), any_key(), any::<u8>()).prop_map(|(a, b, c)| Op::Check(a, b, c)),
    ]
}

struct Pair {
    index: TreeIndex,
    model: Model,
    rev: Revision,
    compacted: i64,
}

impl Pair {
    fn new() -> Pair {
        let rev = Revision { main: 1, sub: 0 };
        let (index, model) = (TreeIndex::new(), Model::default());
        Pair { index, model, rev, compacted: 0 }
    }

    fn put(&mut self, key: &[u8]) {
        assert_eq!(self.index.put(key, self.rev), self.model.put(key, self.rev));
    }

    fn delete(&mut self, key: &[u8]) {
        assert_eq!(self.index.tombstone(key, self.rev), self.model.tombstone(key, self.rev));
    }

    fn next_main(&mut self) {
        self.rev = Revision { main: self.rev.main + 1, sub: 0 };
    }

    fn next_sub(&mut self) {
        self.rev.sub += 1;
    }

    fn past(&self, pick: u8) -> i64 {
        let span = self.rev.main - self.compacted.max(1) + 1;
        self.compacted.max(1) + i64::from(pick) * span / 256
    }

    fn compact(&mut self, at: i64) {
        let mut removed = compact_fully(&mut self.index, at);
        removed.sort_by_key(|row| row.rev);
        let mut expected = self.model.compact(at);
        expected.sort_by_key(|row| row.rev);
        assert_eq!(removed, expected);
        self.compacted = at;
    }

    fn check(&self, range: &KeyRange, at: i64) {
        let expected = self.model.range(range, at);
        assert_eq!(self.index.count(range, at), expected.len() as u64, "count at {at}");
        assert_eq!(collect(&self.index, range, at, 5), expected);
        for (key, changes) in &self.model.keys {
            for change in changes {
                let rev = change.row.rev;
                let visible = self.model.get(key, at).is_some_and(|s| s.modified == rev);
                assert_eq!(self.index.is_kept(key, rev, at), visible);
                let retained = self.model.retains(key, rev, at);
                assert_eq!(self.index.is_retained(key, rev, at), retained);
            }
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Put(key) => {
                self.next_main();
                self.put(&key);
            }
            Op::Delete(key) => {
                self.next_main();
                self.delete(&key);
            }
            Op::SameTxnPut(key) => {
                self.next_sub();
                self.put(&key);
            }
            Op::SameTxnDelete(key) => {
                self.next_sub();
                self.delete(&key);
            }
            Op::Compact(pick) => self.compact(self.past(pick)),
            Op::Rebuild => self.index = rebuilt(&self.index),
            Op::Check(from, to, pick) => {
                self.check(&key_range(&from, &to), self.past(pick));
                self.check(&key_range(&from, &[]), self.past(pick));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn index_and_model_agree_on_every_history(ops in proptest::collection::vec(any_op(), 1..700)) {
        let mut pair = Pair::new();
        for op in ops {
            pair.run(op);
        }
        check_structure(&pair.index);
        for at in [pair.compacted.max(1), pair.rev.main, i64::MAX] {
            pair.check(&all(), at);
        }
        // Compacting at the end leaves one row per key, and nothing of deleted ones.
        pair.next_main();
        pair.compact(pair.rev.main);
        check_structure(&pair.index);
        let live = pair.index.count(&all(), i64::MAX);
        prop_assert_eq!(pair.index.keys(), live);
    }

    #[test]
    fn an_index_restored_from_rows_behaves_as_the_one_that_wrote_them(
        ops in proptest::collection::vec(any_op(), 1..300),
    ) {
        let mut pair = Pair::new();
        for op in ops {
            pair.run(op);
        }
        let mut rows: Vec<(RowKey, Vec<u8>, Change)> = Vec::new();
        for (key, changes) in &pair.model.keys {
            rows.extend(changes.iter().map(|c| (c.row, key.clone(), *c)));
        }
        rows.sort_by_key(|(row, ..)| row.rev);
        let mut index = TreeIndex::new();
        for (row, key, change) in rows {
            if row.tombstone {
                index.restore_tombstone(&key, row.rev);
            } else {
                let ok = index.restore_put(&key, row.rev, change.created.main, change.version);
                prop_assert!(ok);
            }
        }
        check_structure(&index);
        let strip = |index: &TreeIndex, at| -> Vec<_> {
            let found = collect(index, &all(), at, 9).into_iter();
            found.map(|(key, s)| (key, s.modified, s.created.main, s.version)).collect()
        };
        for at in pair.compacted.max(1)..=pair.rev.main {
            prop_assert_eq!(strip(&index, at), strip(&pair.index, at));
        }
        let at = pair.past(128);
        let mut removed = compact_fully(&mut index, at);
        removed.sort_by_key(|row| row.rev);
        let mut expected = compact_fully(&mut pair.index, at);
        expected.sort_by_key(|row| row.rev);
        prop_assert_eq!(removed, expected);
    }

    #[test]
    fn malformed_histories_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        let mut builder = Builder::new();
        if builder.push(b"k", &bytes).is_ok() {
            let index = builder.finish();
            index.get(b"k", i64::MAX);
            index.get(b"k", 3);
        }
    }
}

#[test]
fn a_put_after_a_tombstone_begins_a_generation_with_version_1() {
    let mut index = TreeIndex::new();
    let rev = |main| Revision { main, sub: 0 };
    index.put(b"k", rev(2));
    assert_eq!(index.put(b"k", rev(3)).state.version, 2);
    index.tombstone(b"k", rev(4));
    assert_eq!(index.tombstone(b"k", rev(5)), None);
    assert_eq!(index.get(b"k", 4), None);
    let state = index.put(b"k", rev(6)).state;
    assert_eq!(state, KeyState { modified: rev(6), created: rev(6), version: 1 });
    assert_eq!(index.get(b"k", 3).map(|s| s.version), Some(2));
}

#[test]
fn a_tombstone_exactly_at_the_compaction_stays_until_a_later_one() {
    let mut index = TreeIndex::new();
    let rev = |main| Revision { main, sub: 0 };
    index.put(b"k", rev(2));
    index.tombstone(b"k", rev(3));
    assert!(index.is_retained(b"k", rev(3), 3) && !index.is_kept(b"k", rev(3), 3));
    assert_eq!(compact_fully(&mut index, 3), [RowKey { rev: rev(2), tombstone: false }]);
    assert_eq!(index.keys(), 1);
    assert_eq!(compact_fully(&mut index, 4), [RowKey { rev: rev(3), tombstone: true }]);
    assert_eq!(index.keys(), 0);
}

#[test]
fn a_key_deleted_and_put_in_the_compacted_transaction_survives() {
    let mut index = TreeIndex::new();
    index.put(b"k", Revision { main: 2, sub: 0 });
    index.tombstone(b"k", Revision { main: 3, sub: 0 });
    index.put(b"k", Revision { main: 3, sub: 1 });
    let removed = compact_fully(&mut index, 3);
    assert_eq!(removed, [RowKey { rev: Revision { main: 2, sub: 0 }, tombstone: false }]);
    let state = index.get(b"k", 3).expect("the put is the newest change");
    assert_eq!((state.modified.sub, state.version), (1, 1));
}

#[test]
fn keys_of_a_megabyte_fit_beside_small_ones() {
    let mut index = TreeIndex::new();
    let keys: Vec<Vec<u8>> =
        (1..200u8).map(|i| vec![i; usize::from(i % 5) * 250_000 + 1]).collect();
    for (i, key) in keys.iter().enumerate() {
        index.put(key, Revision { main: i as i64 + 2, sub: 0 });
    }
    check_structure(&index);
    assert!(keys.iter().all(|key| index.get(key, i64::MAX).is_some()));
    assert_eq!(index.count(&all(), i64::MAX), keys.len() as u64);
}

#[test]
fn counts_below_the_newest_revision_are_exact_over_many_leaves() {
    let mut index = TreeIndex::new();
    for i in 0..40_000i64 {
        let key = format!("/k/{:06}", i * 7919 % 40_000);
        index.put(key.as_bytes(), Revision { main: i + 2, sub: 0 });
    }
    for at in [1, 2, 500, 20_000, 39_999, 40_001] {
        assert_eq!(index.count(&all(), at), at as u64 - 1);
    }
    let (_, next) = index.count_step(&all(), 20_000);
    assert!(next.is_some(), "a count that must look into many leaves comes in pieces");
}

/// Memory per key for keys of 40 bytes below a few hundred shared prefixes, one revision each;
/// run with `--nocapture` for the figures.
#[test]
fn a_key_of_40_bytes_costs_less_than_60_bytes() {
    const KEYS: u64 = 300_000;
    let mut index = TreeIndex::new();
    for i in 0..KEYS {
        let n = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let key = format!("/registry/pods/ns-{:04}/pod-{n:013x}", n % 300);
        assert_eq!(key.len(), 40);
        index.put(key.as_bytes(), Revision { main: i as i64 + 1_000_000, sub: 0 });
    }
    assert_eq!(index.keys(), KEYS);
    let random = index.memory_bytes() as f64 / KEYS as f64;
    let built = rebuilt(&index).memory_bytes() as f64 / KEYS as f64;
    for i in 0..KEYS {
        let n = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let key = format!("/registry/pods/ns-{:04}/pod-{n:013x}", n % 300);
        index.put(key.as_bytes(), Revision { main: (i + KEYS) as i64 + 1_000_000, sub: 0 });
    }
    let twice = index.memory_bytes() as f64 / KEYS as f64;
    eprintln!("bytes per key: {random:.1} inserted, {built:.1} built, {twice:.1} with 2 revisions");
    assert!(random < 60.0 && built < 45.0 && twice < 70.0);
}
