//! Changes: puts, tombstones and what restores them from rows.

use base::Revision;

use super::deep::Deep;
use super::history::{self, Item, Origin, Packed, Short};
use super::node::{Child, Inner};
use super::page::separator;
use super::path::Path;
use super::{KeyState, Put, TreeIndex};

impl TreeIndex {
    /// Records a put of `key` at `rev`.
    ///
    /// # Panics
    /// If `rev` is not above the key's newest revision.
    pub fn put(&mut self, key: &[u8], rev: Revision) -> Put {
        let item = Item { rev, tombstone: false };
        let path = self.path_for_change(key, rev.main);
        let leaf = self.leaves.get(path.leaf);
        match leaf.page.search(key) {
            Ok(slot) => {
                let before = self.newest_state(path.leaf, slot);
                self.append(&path, slot, item);
                let state = match before {
                    Some(state) => KeyState { modified: rev, version: state.version + 1, ..state },
                    None => first_state(rev),
                };
                Put { state, before }
            }
            Err(slot) => {
                let origin = Origin { created: rev, missing: 0 };
                self.insert(path, slot, key, &Short::new(item, origin));
                Put { state: first_state(rev), before: None }
            }
        }
    }

    /// Records the deletion of `key` at `rev` and returns the state it ends; `None`, and nothing
    /// is recorded, if the key does not live.
    ///
    /// # Panics
    /// If `rev` is not above the key's newest revision.
    pub fn tombstone(&mut self, key: &[u8], rev: Revision) -> Option<KeyState> {
        let leaf = self.leaf_of(key);
        let slot = self.leaves.get(leaf).page.search(key).ok()?;
        let before = self.newest_state(leaf, slot)?;
        let path = self.path_for_change(key, rev.main);
        self.append(&path, slot, Item { rev, tombstone: true });
        Some(before)
    }

    /// Records the put that a stored row tells of: `create_revision` and `version` are the row's.
    /// Rows must come in ascending revision. Where the index already holds older revisions of
    /// this generation they decide, and `false` says that the row contradicts them.
    pub fn restore_put(
        &mut self,
        key: &[u8],
        rev: Revision,
        create_revision: i64,
        version: i64,
    ) -> bool {
        let missing = u64::try_from(version.saturating_sub(1)).unwrap_or(0);
        if missing == 0 || self.holds(key) {
            let state = self.put(key, rev).state;
            return state.version == version && state.created.main == create_revision;
        }
        let created = Revision { main: create_revision.min(rev.main), sub: 0 };
        let path = self.path_for_change(key, rev.main);
        let slot = self.leaves.get(path.leaf).page.lower_bound(key);
        let history = Short::new(Item { rev, tombstone: false }, Origin { created, missing });
        self.insert(path, slot, key, &history);
        created.main == create_revision
    }

    /// Records the tombstone that a stored row tells of, also if nothing older is known of the
    /// key: compaction keeps a tombstone at its revision and a later one must find it.
    pub fn restore_tombstone(&mut self, key: &[u8], rev: Revision) {
        if self.holds(key) {
            self.tombstone(key, rev);
            return;
        }
        let item = Item { rev, tombstone: true };
        let path = self.path_for_change(key, rev.main);
        let slot = self.leaves.get(path.leaf).page.lower_bound(key);
        self.insert(path, slot, key, &Short::new(item, Origin { created: rev, missing: 0 }));
    }

    fn holds(&self, key: &[u8]) -> bool {
        self.leaves.get(self.leaf_of(key)).page.search(key).is_ok()
    }

    fn newest_state(&self, leaf: u32, slot: usize) -> Option<KeyState> {
        let leaf = self.leaves.get(leaf);
        if leaf.live & (1 << slot) == 0 {
            return None;
        }
        self.state_at(leaf.page.payload(slot), i64::MAX)
    }

    /// The way to `key`'s leaf, with `main` noted in every node passed.
    pub(super) fn path_for_change(&mut self, key: &[u8], main: i64) -> Path {
        self.newest = self.newest.max(main);
        let mut path = self.empty_path();
        let mut node = self.root;
        for _ in 0..self.height {
            let inner = self.inners.get_mut(node);
            let slot = inner.child_of(key);
            inner.newest[slot] = inner.newest[slot].max(main);
            path.push(node, slot);
            node = inner.children[slot];
        }
        path.leaf = node;
        path
    }

    /// Appends `item` to the history at `slot` of the path's leaf.
    fn append(&mut self, path: &Path, slot: usize, item: Item) {
        let leaf = self.leaves.get_mut(path.leaf);
        match history::packed(leaf.page.payload(slot)) {
            Packed::Inline(bytes) => match history::append(bytes, item) {
                Some(new) => leaf.page.set_payload_front(slot, new.old_len, new.front()),
                None => {
                    let short = Short::unpack(bytes);
                    let newest = short.items()[short.items().len() - 1];
                    history::assert_rising(newest.rev, item.rev);
                    let mut deep = Deep::new(short.items(), short.origin);
                    deep.push(item);
                    let id = self.deep.insert(Box::new(deep));
                    leaf.page.set_payload(slot, &history::deep_payload(id));
                }
            },
            Packed::Deep(id) => {
                let deep = self.deep.get_mut(id);
                let newest = deep.newest().expect("deep histories are not empty");
                history::assert_rising(newest.rev, item.rev);
                deep.push(item);
            }
        }
        let leaf = self.leaves.get_mut(path.leaf);
        let was_live = leaf.live & (1 << slot) != 0;
        leaf.set_flags(slot, !item.tombstone, true);
        self.add_live(path, i64::from(!item.tombstone) - i64::from(was_live));
        if self.leaves.get(path.leaf).page.is_full() {
            self.split_leaf(path.clone(), false);
        }
    }

    fn insert(&mut self, path: Path, slot: usize, key: &[u8], history: &Short) {
        let live = !history.items()[0].tombstone;
        let mut payload = Vec::with_capacity(history::INLINE_BYTES_MAX);
        history::pack(history.items(), history.origin, &mut payload);
        let leaf = self.leaves.get_mut(path.leaf);
        leaf.insert(slot, key, &payload);
        leaf.set_flags(slot, live, !live);
        let at_end = slot + 1 == leaf.page.len();
        self.keys += 1;
        self.add_live(&path, i64::from(live));
        if self.leaves.get(path.leaf).page.is_full() {
            self.split_leaf(path, at_end);
        }
    }

    pub(super) fn add_live(&mut self, path: &Path, delta: i64) {
        if delta == 0 {
            return;
        }
        for (node, slot) in path.steps() {
            let live = &mut self.inners.get_mut(node).live[slot];
            let sum = i64::from(*live) + delta;
            *live = u32::try_from(sum).expect("a subtree has between 0 and 2^32 live keys");
        }
    }

    /// Splits the path's leaf; `at_end`: its last entry just came, and if the leaf is the last
    /// of its parent more are likely to follow, so the left half stays full.
    fn split_leaf(&mut self, mut path: Path, at_end: bool) {
        let leaf = self.leaves.get_mut(path.leaf);
        let ascending = at_end
            && path.steps().last().is_none_or(|(node, slot)| slot + 1 == self.inners.get(node).len);
        let at = if ascending { leaf.page.len() - 1 } else { leaf.page.middle() };
        let right = leaf.split_off(at);
        if ascending {
            leaf.page.seal();
        }
        let last = leaf.page.key(at - 1);
        let first = right.page.key(0);
        let sep = separator(&last, &first).to_vec();
        let (left_live, right_live) = (leaf.live_count(), right.live_count());
        let left_id = path.leaf;
        let right_id = self.leaves.insert(right);
        self.grow(&mut path, sep, (left_id, left_live), (right_id, right_live));
    }

    /// Puts a new right sibling into the parents, splitting them as needed.
    fn grow(&mut self, path: &mut Path, sep: Vec<u8>, left: (u32, u32), right: (u32, u32)) {
        let (mut sep, mut left, mut right) = (sep, left, right);
        let mut bounds = None;
        loop {
            let Some((node, slot)) = path.pop() else {
                let newest = self.newest;
                let (left_newest, right_newest) = bounds.unwrap_or((newest, newest));
                let mut root = Inner::default();
                root.push(&[], Child { id: left.0, live: left.1, newest: left_newest });
                root.push(&sep, Child { id: right.0, live: right.1, newest: right_newest });
                self.root = self.inners.insert(root);
                self.height += 1;
                return;
            };
            let inner = self.inners.get_mut(node);
            let newest = inner.newest[slot];
            let (left_newest, right_newest) = bounds.unwrap_or((newest, newest));
            inner.set(slot, Child { id: left.0, live: left.1, newest: left_newest });
            let child = Child { id: right.0, live: right.1, newest: right_newest };
            inner.insert_after(slot, &sep, child);
            if !inner.is_full() {
                return;
            }
            // Ascending inserts fill the last child: leave the left node nearly full.
            let at = if slot + 2 == inner.len { inner.len - 2 } else { inner.len / 2 };
            let (new_sep, new_right) = inner.split_off(at);
            bounds = Some((inner.newest_bound(), new_right.newest_bound()));
            left = (node, inner.live_count());
            right = (0, new_right.live_count());
            right.0 = self.inners.insert(new_right);
            sep = new_sep;
        }
    }
}

fn first_state(rev: Revision) -> KeyState {
    KeyState { modified: rev, created: rev, version: 1 }
}
