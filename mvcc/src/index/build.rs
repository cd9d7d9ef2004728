//! The index as a sequence of keys in order: handing it out, and building it in one pass.

use bytes::Bytes;

use super::TreeIndex;
use super::deep::Deep;
use super::history::{self, Item, Packed, Reader};
use super::node::{Child, Inner, Leaf};
use super::page::{PAGE_ENTRIES_MAX, separator};
use super::read::Key;

/// Entries a built leaf gets: full enough to be compact, with room for the first inserts.
const BUILT_LEAF_ENTRIES: usize = 56;
const BUILT_LEAF_BYTES: usize = 6 << 10;
const BUILT_INNER_CHILDREN: usize = 56;
const BUILT_INNER_BYTES: usize = 6 << 10;
const _: () = assert!(BUILT_LEAF_ENTRIES < PAGE_ENTRIES_MAX);

/// Far above any version, and far below where versions would overflow.
const MISSING_MAX: u64 = 1 << 62;

/// Why a sequence of keys and histories is not an index.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BuildError {
    /// A key is not above the one before it.
    #[error("key {position} of the index is not above the one before it")]
    Unsorted {
        /// How many keys came before.
        position: u64,
    },
    /// A history cannot be read.
    #[error("history {position} of the index is malformed")]
    Malformed {
        /// How many keys came before.
        position: u64,
    },
}

impl TreeIndex {
    /// Hands over at most `limit` keys from `from` on, dead ones included, each with its packed
    /// history as [`Builder::push`] takes it. Returns where to go on.
    pub fn states(
        &self,
        from: &[u8],
        limit: usize,
        mut f: impl FnMut(Key<'_>, &[u8]),
    ) -> Option<Bytes> {
        let mut path = self.path_to(from);
        let mut slot = self.leaves.get(path.leaf).page.lower_bound(from);
        let mut left = limit;
        let mut long = Vec::new();
        loop {
            let page = &self.leaves.get(path.leaf).page;
            while slot < page.len() {
                if left == 0 {
                    return Some(Bytes::from(page.key(slot)));
                }
                left -= 1;
                let (suffix, payload) = page.entry(slot);
                let key = Key::new(page.prefix(), suffix);
                match history::packed(payload) {
                    Packed::Inline(bytes) => f(key, bytes),
                    Packed::Deep(deep) => {
                        let deep = self.deep.get(deep);
                        long.clear();
                        history::pack(&deep.items(), deep.origin(), &mut long);
                        f(key, &long);
                    }
                }
                slot += 1;
            }
            if !self.advance(&mut path) {
                return None;
            }
            slot = 0;
        }
    }
}

/// Builds an index from keys in ascending order, in one pass and with full leaves.
#[derive(Debug, Default)]
pub struct Builder {
    index: TreeIndex,
    leaf: Leaf,
    /// Newest main revision in `leaf`.
    newest: i64,
    last_key: Vec<u8>,
    /// Sealed leaves, each behind the separator from the one before.
    children: Vec<(Vec<u8>, Child)>,
    separator: Vec<u8>,
}

impl Builder {
    /// A builder that has seen no keys.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds `key` with its packed history, which [`TreeIndex::states`] once handed out.
    ///
    /// # Errors
    /// [`BuildError::Unsorted`], [`BuildError::Malformed`]; the builder is of no use then.
    pub fn push(&mut self, key: &[u8], packed: &[u8]) -> Result<(), BuildError> {
        let position = self.index.keys;
        let (items, newest_main) = check(packed).ok_or(BuildError::Malformed { position })?;
        if position > 0 && key <= &self.last_key[..] {
            return Err(BuildError::Unsorted { position });
        }
        let entries = self.leaf.page.len();
        if entries == BUILT_LEAF_ENTRIES
            || (entries > 0 && self.leaf.page.data_bytes() + key.len() > BUILT_LEAF_BYTES)
        {
            self.seal_leaf();
            self.separator = separator(&self.last_key, key).to_vec();
        }
        let slot = self.leaf.page.len();
        if items > history::INLINE_ITEMS_MAX {
            let short = unpack_long(packed).ok_or(BuildError::Malformed { position })?;
            let id = self.index.deep.insert(Box::new(Deep::new(&short.0, short.1)));
            self.leaf.insert(slot, key, &history::deep_payload(id));
        } else {
            self.leaf.insert(slot, key, packed);
        }
        let live = newest_main.1;
        self.leaf.set_flags(slot, live, !live || items > 1);
        self.newest = self.newest.max(newest_main.0);
        self.index.keys += 1;
        self.last_key.clear();
        self.last_key.extend_from_slice(key);
        Ok(())
    }

    fn seal_leaf(&mut self) {
        let mut leaf = std::mem::take(&mut self.leaf);
        leaf.page.seal();
        let live = leaf.live_count();
        let newest = std::mem::take(&mut self.newest);
        self.index.newest = self.index.newest.max(newest);
        let id = self.index.leaves.insert(leaf);
        let sep = std::mem::take(&mut self.separator);
        self.children.push((sep, Child { id, live, newest }));
    }

    /// The index of all keys pushed.
    pub fn finish(mut self) -> TreeIndex {
        if self.index.keys == 0 {
            return self.index;
        }
        self.seal_leaf();
        let mut index = self.index;
        index.leaves.remove(index.root);
        let mut level = self.children;
        while level.len() > 1 {
            level = next_level(&mut index, level);
            index.height += 1;
        }
        index.root = level[0].1.id;
        index
    }
}

/// Groups `children` under inner nodes.
fn next_level(index: &mut TreeIndex, children: Vec<(Vec<u8>, Child)>) -> Vec<(Vec<u8>, Child)> {
    let mut level = Vec::with_capacity(children.len() / BUILT_INNER_CHILDREN + 1);
    let mut inner = Inner::default();
    let mut first_sep = Vec::new();
    for (sep, child) in children {
        let full = inner.len == BUILT_INNER_CHILDREN
            || (inner.len > 2 && inner.seps.data_bytes() + sep.len() > BUILT_INNER_BYTES);
        if full {
            level.push(sealed(index, std::mem::take(&mut inner), first_sep));
            first_sep = Vec::new();
        }
        if inner.len == 0 {
            first_sep = sep;
            inner.push(&[], child);
        } else {
            inner.push(&sep, child);
        }
    }
    level.push(sealed(index, inner, first_sep));
    level
}

fn sealed(index: &mut TreeIndex, mut inner: Inner, sep: Vec<u8>) -> (Vec<u8>, Child) {
    inner.seps.seal();
    let (live, newest) = (inner.live_count(), inner.newest_bound());
    let id = index.inners.insert(inner);
    (sep, Child { id, live, newest })
}

/// Number of items, and the newest one's main revision with whether it is a put; `None` if the
/// bytes are no history.
fn check(packed: &[u8]) -> Option<(usize, (i64, bool))> {
    let mut reader = Reader::new(packed)?;
    let items = reader.items_left();
    let newest = reader.item()?;
    let mut older = newest;
    for _ in 1..items {
        let item = reader.item()?;
        if item.rev >= older.rev || item.rev.main < 0 {
            return None;
        }
        older = item;
    }
    let origin = reader.origin(older.rev)?;
    if origin.created > older.rev || origin.missing > MISSING_MAX {
        return None;
    }
    reader.is_at_end().then_some((items, (newest.rev.main, !newest.tombstone)))
}

fn unpack_long(packed: &[u8]) -> Option<(Vec<Item>, history::Origin)> {
    let mut reader = Reader::new(packed)?;
    let mut items = Vec::new();
    while reader.items_left() > 0 {
        items.push(reader.item()?);
    }
    items.reverse();
    let origin = reader.origin(items.first()?.rev)?;
    Some((items, origin))
}
