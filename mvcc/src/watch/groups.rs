//! Synced watchers by what they watch.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base::KeyRange;
use bytes::Bytes;

use super::interval::IntervalTree;
use super::queue::StreamQueue;
use crate::change::EventKind;

/// Values by key or range.
#[derive(Debug)]
pub(super) struct Matcher<T> {
    keys: HashMap<Bytes, Vec<T>>,
    ranges: IntervalTree<Vec<T>>,
}

impl<T> Default for Matcher<T> {
    fn default() -> Matcher<T> {
        Matcher { keys: HashMap::new(), ranges: IntervalTree::default() }
    }
}

impl<T> Matcher<T> {
    /// Calls `f` with all values whose key or range holds `key`.
    #[inline]
    pub(super) fn for_each<'a>(&'a self, key: &[u8], mut f: impl FnMut(&'a T)) {
        if let Some(values) = self.keys.get(key) {
            values.iter().for_each(&mut f);
        }
        self.ranges.for_each(key, &mut |values| values.iter().for_each(&mut f));
    }

    /// Adds a value and returns its place among those of the same range.
    pub(super) fn add(&mut self, range: &KeyRange, value: T) -> usize {
        let values = if range.is_single() {
            self.keys.entry(range.key.clone()).or_insert_with(|| Vec::with_capacity(1))
        } else {
            self.ranges.entry(range)
        };
        values.push(value);
        values.len() - 1
    }

    /// Removes the value at `place` of `range`. The one that was last takes its place and is
    /// returned with it.
    pub(super) fn remove(&mut self, range: &KeyRange, place: usize) -> Option<&T> {
        let values = if range.is_single() {
            self.keys.get_mut(&range.key)
        } else {
            self.ranges.get_mut(range)
        };
        let values = values.expect("a synced watcher is in its group");
        values.swap_remove(place);
        if !values.is_empty() {
            return self.value_at(range, place);
        }
        if range.is_single() {
            self.keys.remove(&range.key);
        } else {
            self.ranges.remove(range);
        }
        None
    }

    fn value_at(&mut self, range: &KeyRange, place: usize) -> Option<&T> {
        let values = if range.is_single() {
            self.keys.get_mut(&range.key)
        } else {
            self.ranges.get_mut(range)
        };
        values?.get(place)
    }
}

/// What a watcher wants beside its keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wants {
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
}

impl Wants {
    #[inline]
    pub(super) fn takes(self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// A watcher as delivery needs it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) uid: u64,
    pub(super) stream: Arc<StreamQueue>,
    pub(super) watch_id: i64,
    /// Nothing below this revision.
    pub(super) from: i64,
    pub(super) wants: Wants,
    /// Set by every delivery, for those who want periodic progress.
    pub(super) active: Option<Arc<AtomicBool>>,
}
