//! Exact counts.

use base::KeyRange;
use bytes::Bytes;

use super::TreeIndex;
use super::node::mask;
use super::read::{Span, span};

/// Leaves a single step of a count reads entry by entry.
const COUNT_LEAVES_PER_STEP: usize = 256;

struct Counter<'a> {
    index: &'a TreeIndex,
    at: i64,
    total: u64,
    leaves_left: usize,
    next: Option<Bytes>,
}

impl TreeIndex {
    /// Number of keys of `range` that live at main revision `at`: O(log n) at the newest
    /// revision, and O(log n) more for each leaf changed after `at`.
    pub fn count(&self, range: &KeyRange, at: i64) -> u64 {
        let (mut total, mut next) = self.count_step(range, at);
        while let Some(from) = next {
            let rest = KeyRange { key: from, end: range.end.clone() };
            let (more, after) = self.count_step(&rest, at);
            total += more;
            next = after;
        }
        total
    }

    /// One bounded piece of [`TreeIndex::count`]: the keys counted, and where to go on. Callers
    /// that ask about old revisions may let go of their lock between the pieces.
    pub fn count_step(&self, range: &KeyRange, at: i64) -> (u64, Option<Bytes>) {
        let (from, to) = match span(range) {
            Span::Empty => return (0, None),
            Span::Single(key) => return (u64::from(self.find(key, at).is_some()), None),
            Span::Many { from, to } => (from, to),
        };
        let mut counter =
            Counter { index: self, at, total: 0, leaves_left: COUNT_LEAVES_PER_STEP, next: None };
        counter.node(self.root, self.height, self.newest, Some(from), to);
        (counter.total, counter.next)
    }
}

impl Counter<'_> {
    /// Counts the part of a subtree between `low` and `high`, where `None` is its whole side.
    fn node(
        &mut self,
        node: u32,
        height: usize,
        newest: i64,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) {
        if height == 0 {
            return self.leaf(node, newest, low, high);
        }
        let inner = self.index.inners.get(node);
        let first = low.map_or(0, |key| inner.child_of(key));
        let last = high.map_or(inner.len - 1, |key| inner.child_of(key));
        for i in first..=last {
            let low = low.filter(|_| i == first);
            let high = high.filter(|_| i == last);
            let child = inner.child(i);
            if low.is_none() && high.is_none() && child.newest <= self.at {
                self.total += u64::from(child.live);
                continue;
            }
            if i > first && self.leaves_left == 0 {
                self.next = Some(Bytes::from(inner.seps.key(i - 1)));
            } else {
                self.node(child.id, height - 1, child.newest, low, high);
            }
            if self.next.is_some() {
                return;
            }
        }
    }

    fn leaf(&mut self, leaf: u32, newest: i64, low: Option<&[u8]>, high: Option<&[u8]>) {
        let leaf = self.index.leaves.get(leaf);
        let from = low.map_or(0, |key| leaf.page.lower_bound(key));
        let to = high.map_or(leaf.page.len(), |key| leaf.page.lower_bound(key));
        if newest <= self.at {
            self.total += u64::from((leaf.live & mask(from, to)).count_ones());
            return;
        }
        self.leaves_left = self.leaves_left.saturating_sub(1);
        let lives = |&slot: &usize| self.index.is_live_at(leaf.page.payload(slot), self.at);
        self.total += (from..to).filter(lives).count() as u64;
    }
}
