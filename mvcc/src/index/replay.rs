//! Bringing an index that was stored some time ago up to date with the rows written since.

use base::Revision;

use super::TreeIndex;
use super::history::{self, Item, Origin, Packed, Short};

/// What a replayed put did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The index had it already.
    Known,
    /// It follows what the index held of its key.
    Recorded,
    /// What the index held of its key is not what came before it: changes in between were
    /// compacted, so older ones were too. The key now begins with it.
    Replaced,
}

impl TreeIndex {
    /// Records the put that a row written after the index was stored tells of. Rows must come in
    /// ascending revision.
    pub fn replay_put(
        &mut self,
        key: &[u8],
        rev: Revision,
        create_revision: i64,
        version: i64,
    ) -> Replayed {
        let Some(newest) = self.newest_of(key) else {
            self.restore_put(key, rev, create_revision, version);
            return Replayed::Recorded;
        };
        if newest >= rev {
            return Replayed::Known;
        }
        let follows = match self.get(key, i64::MAX) {
            Some(before) => (before.created.main, before.version + 1),
            None => (rev.main, 1),
        };
        if follows == (create_revision, version) {
            self.put(key, rev);
            return Replayed::Recorded;
        }
        let missing = u64::try_from(version.saturating_sub(1)).unwrap_or(0);
        let created = match missing {
            0 => rev,
            _ => Revision { main: create_revision.min(rev.main), sub: 0 },
        };
        self.replace(key, rev, Origin { created, missing });
        Replayed::Replaced
    }

    /// Records the tombstone that a row written after the index was stored tells of.
    pub fn replay_tombstone(&mut self, key: &[u8], rev: Revision) {
        if self.newest_of(key).is_none_or(|newest| newest < rev) {
            self.restore_tombstone(key, rev);
        }
    }

    /// The newest change of `key` that the index holds, put or tombstone.
    pub fn newest_of(&self, key: &[u8]) -> Option<Revision> {
        let leaf = self.leaves.get(self.leaf_of(key));
        let slot = leaf.page.search(key).ok()?;
        let newest = match history::packed(leaf.page.payload(slot)) {
            Packed::Inline(bytes) => history::Reader::new(bytes)?.item(),
            Packed::Deep(deep) => self.deep.get(deep).newest(),
        };
        newest.map(|item| item.rev)
    }

    /// Makes one put the whole history of a key that is held.
    fn replace(&mut self, key: &[u8], rev: Revision, origin: Origin) {
        let path = self.path_for_change(key, rev.main);
        let leaf = self.leaves.get_mut(path.leaf);
        let Ok(slot) = leaf.page.search(key) else { return };
        if let Packed::Deep(deep) = history::packed(leaf.page.payload(slot)) {
            self.deep.remove(deep);
        }
        let history = Short::new(Item { rev, tombstone: false }, origin);
        let mut payload = Vec::with_capacity(history::INLINE_BYTES_MAX);
        history::pack(history.items(), origin, &mut payload);
        leaf.page.set_payload(slot, &payload);
        let was_live = leaf.live & (1 << slot) != 0;
        leaf.set_flags(slot, true, false);
        self.add_live(&path, 1 - i64::from(was_live));
    }
}

#[cfg(test)]
mod tests {
    use super::super::KeyState;
    use super::*;

    fn state(main: i64, created: i64, version: i64) -> KeyState {
        KeyState { modified: rev(main), created: rev(created), version }
    }

    fn rev(main: i64) -> Revision {
        Revision::new(main, 0)
    }

    #[test]
    fn known_changes_are_skipped() {
        let mut index = TreeIndex::new();
        index.put(b"a", rev(2));
        index.put(b"a", rev(5));
        assert_eq!(index.replay_put(b"a", rev(5), 2, 2), Replayed::Known);
        index.replay_tombstone(b"a", rev(4));
        assert_eq!(index.get(b"a", 9), Some(state(5, 2, 2)));
        index.tombstone(b"a", rev(6));
        assert_eq!(index.replay_put(b"a", rev(5), 2, 2), Replayed::Known);
        assert_eq!((index.get(b"a", 9), index.newest_of(b"a")), (None, Some(rev(6))));
        assert_eq!(index.newest_of(b"b"), None);
    }

    #[test]
    fn changes_that_follow_are_recorded() {
        let mut index = TreeIndex::new();
        index.put(b"a", rev(2));
        assert_eq!(index.replay_put(b"a", rev(3), 2, 2), Replayed::Recorded);
        index.replay_tombstone(b"a", rev(4));
        assert_eq!(index.replay_put(b"a", rev(5), 5, 1), Replayed::Recorded);
        assert_eq!(index.replay_put(b"b", rev(6), 3, 4), Replayed::Recorded);
        assert_eq!(index.get(b"a", 3), Some(state(3, 2, 2)));
        assert_eq!(index.get(b"a", 9), Some(state(5, 5, 1)));
        assert_eq!(index.get(b"b", 9), Some(state(6, 3, 4)));
    }

    #[test]
    fn a_gap_begins_the_history_anew() {
        for long in [1, 40] {
            for dead in [false, true] {
                let mut index = TreeIndex::new();
                for i in 0..long {
                    index.put(b"a", rev(2 + i));
                }
                if dead {
                    index.tombstone(b"a", rev(50));
                }
                assert_eq!(index.replay_put(b"a", rev(60), 55, 3), Replayed::Replaced);
                assert_eq!(index.get(b"a", 59), None);
                assert_eq!(index.get(b"a", 60), Some(state(60, 55, 3)));
                let all = base::KeyRange::new(&b"\0"[..], &b"\0"[..]);
                assert_eq!(index.count(&all, 60), 1);
                index.put(b"a", rev(61));
                assert_eq!(index.get(b"a", 61), Some(state(61, 55, 4)));
            }
        }
    }
}
