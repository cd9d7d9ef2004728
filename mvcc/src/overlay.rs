//! Changes that are not committed yet, laid over the index for those who must see them.

use std::collections::BTreeMap;
use std::ops::Bound;

use base::{KeyRange, Revision};
use bytes::Bytes;

use crate::index::KeyState;

/// One change of a key.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) rev: Revision,
    /// The key's state after it, and its stored pair; `None` for a deletion.
    pub(crate) live: Option<(KeyState, Bytes)>,
}

/// The uncommitted changes of one key, oldest first. Most keys change once per batch.
#[derive(Debug)]
struct Changes {
    newest: Change,
    older: Vec<Change>,
}

/// Uncommitted changes by key.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    keys: BTreeMap<Bytes, Changes>,
}

impl Overlay {
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
    }

    pub(crate) fn push(&mut self, key: Bytes, change: Change) {
        match self.keys.entry(key) {
            std::collections::btree_map::Entry::Vacant(slot) => {
                slot.insert(Changes { newest: change, older: Vec::new() });
            }
            std::collections::btree_map::Entry::Occupied(mut slot) => {
                let changes = slot.get_mut();
                let older = std::mem::replace(&mut changes.newest, change);
                changes.older.push(older);
            }
        }
    }

    /// The newest change of `key` at or below main revision `at`; `None` says nothing about the
    /// key: ask the index.
    pub(crate) fn get(&self, key: &[u8], at: i64) -> Option<&Change> {
        if self.keys.is_empty() {
            return None;
        }
        self.keys.get(key)?.at(at)
    }

    /// The keys of `range` that have a change at or below main revision `at`, in key order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &KeyRange,
        at: i64,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Change)> + use<'a> {
        // An empty interval would be a panic of BTreeMap.
        let (from, to) = if range.is_empty() {
            (Bound::Excluded(Bytes::new()), Bound::Included(Bytes::new()))
        } else {
            let (from, to) = range.bounds();
            (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded))
        };
        let keys = self.keys.range::<Bytes, _>((from, to));
        keys.filter_map(move |(key, changes)| Some((key, changes.at(at)?)))
    }
}

impl Changes {
    fn at(&self, at: i64) -> Option<&Change> {
        if self.newest.rev.main <= at {
            return Some(&self.newest);
        }
        self.older.iter().rev().find(|change| change.rev.main <= at)
    }
}
