//! Compaction of histories, in steps short enough to be done between writes.

use base::RowKey;
use bytes::Bytes;

use super::TreeIndex;
use super::history::{self, Item, Packed, Short};
use super::node::Leaf;
use super::page::{PAGE_BYTES_MAX, PAGE_ENTRIES_MAX};
use super::path::Path;

/// Leaves a step looks at, and revisions it removes, before it ends: about 100 us of work.
const LEAVES_PER_STEP: usize = 16;
const REMOVED_PER_STEP: usize = 1024;
/// Leaves a step passes over that have nothing to remove.
const CLEAN_LEAVES_PER_STEP: usize = 2048;

/// Leaves are joined up to these sizes: some room is left, or the next insert would split again.
const JOINED_ENTRIES_MAX: usize = 40;
const JOINED_BYTES_MAX: usize = 4 << 10;
const _: () = assert!(JOINED_ENTRIES_MAX < PAGE_ENTRIES_MAX && JOINED_BYTES_MAX < PAGE_BYTES_MAX);

/// How far a compaction has come through the keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactCursor {
    at: i64,
    from: Bytes,
}

impl CompactCursor {
    /// The beginning of a compaction at main revision `at`.
    pub fn new(at: i64) -> CompactCursor {
        CompactCursor { at, from: Bytes::new() }
    }

    /// The revision compacted at.
    pub fn at(&self) -> i64 {
        self.at
    }
}

impl TreeIndex {
    /// Does one bounded piece of a compaction and returns the cursor for the next, or `None` when
    /// all keys are done. `removed` is told the row of every revision that the index forgets:
    /// exactly the rows that are to be deleted. Keys may be changed between steps.
    pub fn compact_step(
        &mut self,
        cursor: CompactCursor,
        mut removed: impl FnMut(RowKey),
    ) -> Option<CompactCursor> {
        let CompactCursor { at, from } = cursor;
        let mut path = self.path_to(&from);
        let (mut worked, mut clean, mut gone) = (0, 0, 0);
        loop {
            if self.leaves.get(path.leaf).stale == 0 {
                clean += 1;
                if clean == CLEAN_LEAVES_PER_STEP {
                    return Some(CompactCursor { at, from: self.upper_key(&path)? });
                }
                if !self.advance(&mut path) {
                    return None;
                }
                continue;
            }
            worked += 1;
            // Asked before the tree changes its shape; the separator stays valid.
            let next = self.upper_key(&path);
            self.compact_leaf(path.leaf, at, &mut |row| {
                gone += 1;
                removed(row);
            });
            self.tidy(path);
            let next = next?;
            if worked == LEAVES_PER_STEP || gone >= REMOVED_PER_STEP {
                return Some(CompactCursor { at, from: next });
            }
            path = self.path_to(&next);
        }
    }

    /// Joins the path's leaf with the one before it if they fit together, or removes it if it
    /// is empty.
    fn tidy(&mut self, mut path: Path) {
        let Some(&(node, slot)) = path.steps[..path.depth].last() else { return };
        let slot = usize::from(slot);
        let leaf = self.leaves.get(path.leaf);
        if leaf.page.len() > 0 {
            let Some(left_slot) = slot.checked_sub(1) else { return };
            let left_id = self.inners.get(node).children[left_slot];
            let left = self.leaves.get(left_id);
            if left.page.len() + leaf.page.len() > JOINED_ENTRIES_MAX
                || left.page.data_bytes() + leaf.page.data_bytes() > JOINED_BYTES_MAX
            {
                return;
            }
            let leaf = self.leaves.remove(path.leaf);
            self.leaves.get_mut(left_id).append(&leaf);
            let inner = self.inners.get_mut(node);
            let gone = inner.child(slot);
            inner.live[left_slot] += gone.live;
            inner.newest[left_slot] = inner.newest[left_slot].max(gone.newest);
        } else {
            self.leaves.remove(path.leaf);
        }
        while let Some((node, slot)) = path.pop() {
            let inner = self.inners.get_mut(node);
            inner.remove(slot);
            if inner.len > 0 {
                return self.lower_root();
            }
            self.inners.remove(node);
        }
        self.root = self.leaves.insert(Leaf::default());
        self.height = 0;
    }

    /// Drops roots with a single child.
    fn lower_root(&mut self) {
        while self.height > 0 && self.inners.get(self.root).len == 1 {
            let old = self.inners.remove(self.root);
            self.root = old.children[0];
            self.height -= 1;
        }
    }

    /// The separator behind the path's leaf: the least key the next leaf can hold.
    fn upper_key(&self, path: &Path) -> Option<Bytes> {
        let mut path = path.clone();
        while let Some((node, slot)) = path.pop() {
            let inner = self.inners.get(node);
            if slot + 1 < inner.len {
                return Some(Bytes::from(inner.seps.key(slot)));
            }
        }
        None
    }

    fn compact_leaf(&mut self, leaf: u32, at: i64, removed: &mut impl FnMut(RowKey)) {
        let leaf = self.leaves.get_mut(leaf);
        let mut gone = |item: Item| removed(RowKey { rev: item.rev, tombstone: item.tombstone });
        for slot in (0..leaf.page.len()).rev() {
            if leaf.stale & (1 << slot) == 0 {
                continue;
            }
            match history::packed(leaf.page.payload(slot)) {
                Packed::Inline(bytes) => {
                    let short = Short::unpack(bytes);
                    let items = short.items();
                    let cut = history::cut(items, at);
                    items[..cut].iter().copied().for_each(&mut gone);
                    if cut == items.len() {
                        leaf.remove(slot);
                        self.keys -= 1;
                    } else if cut > 0 {
                        let origin = history::origin_after(items, cut, short.origin);
                        let mut payload = Vec::with_capacity(history::INLINE_BYTES_MAX);
                        history::pack(&items[cut..], origin, &mut payload);
                        leaf.page.set_payload(slot, &payload);
                        let live = leaf.live & (1 << slot) != 0;
                        leaf.set_flags(slot, live, !live || items.len() - cut > 1);
                    }
                }
                Packed::Deep(id) => {
                    let deep = self.deep.get_mut(id);
                    if !deep.compact(at, &mut gone) {
                        self.deep.remove(id);
                        leaf.remove(slot);
                        self.keys -= 1;
                    } else if deep.len() <= history::INLINE_ITEMS_MAX {
                        let (items, origin) = (deep.items(), deep.origin());
                        self.deep.remove(id);
                        let mut payload = Vec::with_capacity(history::INLINE_BYTES_MAX);
                        history::pack(&items, origin, &mut payload);
                        leaf.page.set_payload(slot, &payload);
                        let live = leaf.live & (1 << slot) != 0;
                        leaf.set_flags(slot, live, !live || items.len() > 1);
                    }
                }
            }
        }
    }
}
