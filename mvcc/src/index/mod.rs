//! The key index: which revisions every key has, in key order, with exact counts.
//!
//! A B+tree whose leaves are packed byte pages: one shared prefix per page, then per key its
//! remaining bytes and its history as varints. A key of 40 bytes with a long shared prefix and
//! one revision costs about as much as its own bytes. Every inner entry carries the number of
//! live keys below it and the newest revision below it, so a count is two walks from the root:
//!
//! ```text
//!             [ sep | live | newest main ] ...                inner nodes
//!                /           |          \
//!   prefix "/registry/pods/" | "a/x" 7,4 | "a/y" 9t,8 | ...   leaves: suffix + history
//! ```
//!
//! Invariants:
//! - `live` of an entry is exact for the newest revision the index has seen; `newest` is an upper
//!   bound of the main revisions below. A subtree with `newest <= at` therefore counts at `at`
//!   what it counts now, and only subtrees changed after `at` are looked into.
//! - A history is one ascending list of revisions, puts and tombstones; a generation ends with
//!   its tombstone. Compaction only ever removes a leading part of that list.
//! - Revisions of one key rise strictly (asserted).
//!
//! The index knows neither rows nor values, and takes no lock: its owner does.

mod arena;
mod build;
mod compact;
mod count;
mod deep;
mod history;
mod insert;
mod node;
mod page;
mod path;
mod read;
mod replay;
#[cfg(test)]
mod tests;
mod varint;

pub use build::{BuildError, Builder};
pub use compact::CompactCursor;
pub use read::{Entry, Key, Scan};
pub use replay::Replayed;

use base::Revision;

use arena::Arena;
use deep::Deep;
use node::{Inner, Leaf};

/// What the index knows of a key at some revision at which it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Revision of the newest put at or below the revision asked for; the row to read.
    pub modified: Revision,
    /// Revision of the put that began this generation.
    pub created: Revision,
    /// Number of puts in this generation up to `modified`; 1 for the creation.
    pub version: i64,
}

/// The outcome of [`TreeIndex::put`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Put {
    /// The key's state after the put.
    pub state: KeyState,
    /// Its state before, if it lived.
    pub before: Option<KeyState>,
}

/// All keys with their revisions; see the module for its shape.
///
/// `put` and `tombstone` take O(log n); so do `get` and `count` at the newest revision. Memory
/// is that of the packed pages plus 16 bytes per revision of keys with long histories.
#[derive(Debug)]
pub struct TreeIndex {
    leaves: Arena<Leaf>,
    inners: Arena<Inner>,
    /// Histories too long for their leaf.
    deep: Arena<Box<Deep>>,
    root: u32,
    /// Levels of inner nodes above the leaves; 0 while the root is a leaf.
    height: usize,
    /// Keys held, dead ones that compaction has not yet removed included.
    keys: u64,
    /// Newest main revision put or deleted.
    newest: i64,
}

impl Default for TreeIndex {
    fn default() -> TreeIndex {
        TreeIndex::new()
    }
}

impl TreeIndex {
    /// An index without keys.
    pub fn new() -> TreeIndex {
        let mut leaves = Arena::default();
        let root = leaves.insert(Leaf::default());
        TreeIndex {
            leaves,
            inners: Arena::default(),
            deep: Arena::default(),
            root,
            height: 0,
            keys: 0,
            newest: 0,
        }
    }

    /// Keys held, including deleted ones that compaction has not removed yet.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Newest main revision the index has seen; 0 if none.
    pub fn newest(&self) -> i64 {
        self.newest
    }

    /// Bytes of memory held, spare capacity included. Walks all nodes: O(keys / 40).
    pub fn memory_bytes(&self) -> usize {
        let leaves: usize = self.leaves.iter().map(|leaf| leaf.page.heap_bytes()).sum();
        let inners: usize = self.inners.iter().map(|inner| inner.seps.heap_bytes()).sum();
        let deep: usize = self.deep.iter().map(|deep| deep.heap_bytes()).sum();
        size_of::<TreeIndex>()
            + self.leaves.own_bytes()
            + self.inners.own_bytes()
            + self.deep.own_bytes()
            + leaves
            + inners
            + deep
    }
}
