//! The two kinds of node.

use super::page::{PAGE_ENTRIES_MAX, Page};

/// Keys and their histories.
#[derive(Debug, Default)]
pub(super) struct Leaf {
    /// Payload: the key's history, see `history`.
    pub(super) page: Page,
    /// Bit per entry: the key lives at the newest revision.
    pub(super) live: u64,
    /// Bit per entry: compaction may find something to remove (more than one revision, or dead).
    pub(super) stale: u64,
}

const _: () = assert!(PAGE_ENTRIES_MAX == u64::BITS as usize, "one bit per entry");

/// Bits `from..to`.
pub(super) fn mask(from: usize, to: usize) -> u64 {
    let below = |n: usize| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
    below(to) & !below(from)
}

fn open_bit(bits: u64, i: usize) -> u64 {
    (bits & mask(0, i)) | (bits & mask(i, 64)) << 1
}

fn close_bit(bits: u64, i: usize) -> u64 {
    (bits & mask(0, i)) | (bits & mask(i + 1, 64)) >> 1
}

/// The bits of `bits` from place `at` on, moved to place 0.
fn tail(bits: u64, at: usize) -> u64 {
    if at >= 64 { 0 } else { bits >> at }
}

impl Leaf {
    pub(super) fn live_count(&self) -> u32 {
        self.live.count_ones()
    }

    pub(super) fn set_flags(&mut self, i: usize, live: bool, stale: bool) {
        self.live = self.live & !(1 << i) | u64::from(live) << i;
        self.stale = self.stale & !(1 << i) | u64::from(stale) << i;
    }

    pub(super) fn insert(&mut self, i: usize, key: &[u8], history: &[u8]) {
        self.page.insert(i, key, history);
        self.live = open_bit(self.live, i);
        self.stale = open_bit(self.stale, i);
    }

    pub(super) fn remove(&mut self, i: usize) {
        self.page.remove(i);
        self.live = close_bit(self.live, i);
        self.stale = close_bit(self.stale, i);
    }

    pub(super) fn split_off(&mut self, at: usize) -> Leaf {
        let right = Leaf {
            page: self.page.split_off(at),
            live: tail(self.live, at),
            stale: tail(self.stale, at),
        };
        self.live &= mask(0, at);
        self.stale &= mask(0, at);
        right
    }

    pub(super) fn append(&mut self, right: &Leaf) {
        let at = self.page.len();
        if right.page.len() == 0 {
            return;
        }
        self.page.append(&right.page);
        self.live |= right.live << at;
        self.stale |= right.stale << at;
    }
}

/// Children and what is known of each.
#[derive(Debug)]
pub(super) struct Inner {
    /// Separator `i` is above all keys of child `i` and not above any of child `i + 1`.
    pub(super) seps: Page,
    pub(super) children: [u32; PAGE_ENTRIES_MAX],
    /// Live keys below each child.
    pub(super) live: [u32; PAGE_ENTRIES_MAX],
    /// Upper bound of the main revisions below each child.
    pub(super) newest: [i64; PAGE_ENTRIES_MAX],
    pub(super) len: usize,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            seps: Page::default(),
            children: [0; PAGE_ENTRIES_MAX],
            live: [0; PAGE_ENTRIES_MAX],
            newest: [0; PAGE_ENTRIES_MAX],
            len: 0,
        }
    }
}

/// A child with what its parent says of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Child {
    pub(super) id: u32,
    pub(super) live: u32,
    pub(super) newest: i64,
}

impl Inner {
    /// The child that holds `key` if any does.
    #[inline]
    pub(super) fn child_of(&self, key: &[u8]) -> usize {
        match self.seps.search(key) {
            Ok(i) => i + 1,
            Err(i) => i,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == PAGE_ENTRIES_MAX || (self.len > 2 && self.seps.is_full())
    }

    pub(super) fn child(&self, i: usize) -> Child {
        Child { id: self.children[i], live: self.live[i], newest: self.newest[i] }
    }

    pub(super) fn set(&mut self, i: usize, child: Child) {
        self.children[i] = child.id;
        self.live[i] = child.live;
        self.newest[i] = child.newest;
    }

    /// Appends the first child, or a further one behind `sep`.
    pub(super) fn push(&mut self, sep: &[u8], child: Child) {
        if self.len > 0 {
            self.seps.insert(self.seps.len(), sep, &[]);
        }
        self.set(self.len, child);
        self.len += 1;
    }

    /// Inserts `child` behind child `i`, parted from it by `sep`.
    pub(super) fn insert_after(&mut self, i: usize, sep: &[u8], child: Child) {
        self.seps.insert(i, sep, &[]);
        let len = self.len;
        self.children.copy_within(i + 1..len, i + 2);
        self.live.copy_within(i + 1..len, i + 2);
        self.newest.copy_within(i + 1..len, i + 2);
        self.set(i + 1, child);
        self.len += 1;
    }

    /// Removes child `i`; a neighbour takes over its range.
    pub(super) fn remove(&mut self, i: usize) {
        if self.seps.len() > 0 {
            self.seps.remove(i.saturating_sub(1));
        }
        let len = self.len;
        self.children.copy_within(i + 1..len, i);
        self.live.copy_within(i + 1..len, i);
        self.newest.copy_within(i + 1..len, i);
        self.len -= 1;
    }

    /// Moves the children from `at` on into a new node; also returns the key that parts the two.
    pub(super) fn split_off(&mut self, at: usize) -> (Vec<u8>, Inner) {
        let sep = self.seps.key(at - 1);
        let mut right = Inner::default();
        if at < self.seps.len() {
            right.seps = self.seps.split_off(at);
        }
        self.seps.remove(at - 1);
        for i in at..self.len {
            right.set(i - at, self.child(i));
        }
        right.len = self.len - at;
        self.len = at;
        (sep, right)
    }

    pub(super) fn live_count(&self) -> u32 {
        self.live[..self.len].iter().sum()
    }

    pub(super) fn newest_bound(&self) -> i64 {
        self.newest[..self.len].iter().copied().max().unwrap_or(0)
    }
}
