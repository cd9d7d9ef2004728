//! Reads at a revision.

use base::{KeyRange, Revision};
use bytes::Bytes;

use super::deep::Deep;
use super::history::{self, Item, Packed, Reader, Short};
use super::{KeyState, TreeIndex};

/// Entries a scan looks at per entry asked for before it gives up its turn: it bounds how long
/// a run of dead keys can hold the owner's lock.
const SCAN_SLACK: usize = 4096;

/// A key in two parts that together are its bytes; only copied if asked for.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    prefix: &'a [u8],
    suffix: &'a [u8],
}

impl<'a> Key<'a> {
    pub(super) fn new(prefix: &'a [u8], suffix: &'a [u8]) -> Key<'a> {
        Key { prefix, suffix }
    }

    /// Length of the key in bytes.
    #[allow(clippy::len_without_is_empty, reason = "keys are never empty")]
    pub fn len(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    /// Appends the key to `out`.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix);
        out.extend_from_slice(self.suffix);
    }

    /// The key as bytes of their own.
    pub fn to_bytes(&self) -> Bytes {
        Bytes::from([self.prefix, self.suffix].concat())
    }
}

/// A key that lives at the revision of a read. Its row's revision is at hand; the rest of its
/// state is worked out on demand.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Revision of the newest put at or below the revision asked for; the row to read.
    pub modified: Revision,
    older: Older<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Older<'a> {
    Inline(Reader<'a>),
    Deep(&'a Deep, usize),
}

impl Entry<'_> {
    /// The key's whole state; as long as its history.
    pub fn state(&self) -> KeyState {
        match self.older {
            Older::Inline(reader) => reader.state_of(self.modified),
            Older::Deep(deep, i) => deep.state_of(i),
        }
    }
}

/// How a scan ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Keys handed over.
    pub delivered: usize,
    /// Where to go on, if the scan ended before its range did; a key that has not been looked at.
    pub next: Option<Bytes>,
}

/// A range with its end told apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Span<'a> {
    Empty,
    Single(&'a [u8]),
    Many { from: &'a [u8], to: Option<&'a [u8]> },
}

pub(super) fn span(range: &KeyRange) -> Span<'_> {
    let (key, end) = (&range.key[..], &range.end[..]);
    match end {
        [] => Span::Single(key),
        [0] => Span::Many { from: key, to: None },
        _ if key >= end => Span::Empty,
        _ => Span::Many { from: key, to: Some(end) },
    }
}

impl TreeIndex {
    /// The state of `key` at main revision `at`, or `None` if it does not live then.
    pub fn get(&self, key: &[u8], at: i64) -> Option<KeyState> {
        self.find(key, at).map(|entry| entry.state())
    }

    /// `key` at main revision `at`, or `None` if it does not live then.
    pub fn find<'a>(&'a self, key: &'a [u8], at: i64) -> Option<Entry<'a>> {
        let leaf = self.leaves.get(self.leaf_of(key));
        let slot = leaf.page.search(key).ok()?;
        self.entry_at(Key::new(key, &[]), leaf.page.payload(slot), at)
    }

    #[inline]
    fn entry_at<'a>(&'a self, key: Key<'a>, payload: &'a [u8], at: i64) -> Option<Entry<'a>> {
        let (modified, older) = match history::packed(payload) {
            Packed::Inline(bytes) => {
                let (modified, reader) = history::visible_at(bytes, at)?;
                (modified, Older::Inline(reader))
            }
            Packed::Deep(deep) => {
                let deep = self.deep.get(deep);
                let (modified, i) = deep.visible_at(at)?;
                (modified, Older::Deep(deep, i))
            }
        };
        Some(Entry { key, modified, older })
    }

    pub(super) fn state_at(&self, payload: &[u8], at: i64) -> Option<KeyState> {
        self.entry_at(Key::new(&[], &[]), payload, at).map(|entry| entry.state())
    }

    pub(super) fn is_live_at(&self, payload: &[u8], at: i64) -> bool {
        self.entry_at(Key::new(&[], &[]), payload, at).is_some()
    }

    /// Hands over the keys of `range` that live at main revision `at`, in key order, at most
    /// `limit` of them. A scan also ends, with `next` set, after a bounded number of keys that
    /// do not live at `at`: callers that want all go on from `next` until it is `None`, and may
    /// let go of their lock in between as long as `at` is not compacted.
    pub fn range(
        &self,
        range: &KeyRange,
        at: i64,
        limit: usize,
        mut f: impl FnMut(Entry<'_>),
    ) -> Scan {
        let mut scan = Scan::default();
        let (from, to) = match span(range) {
            Span::Empty => return scan,
            Span::Single(key) => {
                if let Some(entry) = self.find(key, at).filter(|_| limit > 0) {
                    f(entry);
                    scan.delivered = 1;
                }
                return scan;
            }
            Span::Many { from, to } => (from, to),
        };
        let mut path = self.path_to(from);
        let mut slot = self.leaves.get(path.leaf).page.lower_bound(from);
        let mut budget = limit.saturating_add(SCAN_SLACK);
        loop {
            let page = &self.leaves.get(path.leaf).page;
            let end = to.map_or(page.len(), |to| page.lower_bound(to));
            let prefix = page.prefix();
            while slot < end {
                if scan.delivered == limit || budget == 0 {
                    scan.next = Some(Bytes::from(page.key(slot)));
                    return scan;
                }
                budget -= 1;
                let (suffix, payload) = page.entry(slot);
                if let Some(entry) = self.entry_at(Key::new(prefix, suffix), payload, at) {
                    f(entry);
                    scan.delivered += 1;
                }
                slot += 1;
            }
            if end < page.len() || !self.advance(&mut path) {
                return scan;
            }
            slot = 0;
        }
    }

    /// Whether the row of `key` at `rev` is what a reader sees at main revision `at`: the newest
    /// put not above `at`. These rows are the ones `HashKV` keeps below the compacted revision.
    pub fn is_kept(&self, key: &[u8], rev: Revision, at: i64) -> bool {
        self.find(key, at).is_some_and(|entry| entry.modified == rev)
    }

    /// Whether a compaction at `at` leaves the row of `key` at `rev` in place: rows above `at`,
    /// rows that [`TreeIndex::is_kept`], and a tombstone exactly at `at`. Rows of keys the index
    /// does not know are not retained.
    pub fn is_retained(&self, key: &[u8], rev: Revision, at: i64) -> bool {
        rev.main > at
            || self.with_items(key, |items| {
                let cut = history::cut(items, at);
                items[cut..].iter().any(|item| item.rev == rev)
            })
    }

    fn with_items(&self, key: &[u8], f: impl FnOnce(&[Item]) -> bool) -> bool {
        let leaf = self.leaves.get(self.leaf_of(key));
        let Ok(slot) = leaf.page.search(key) else { return false };
        match history::packed(leaf.page.payload(slot)) {
            Packed::Inline(bytes) => f(Short::unpack(bytes).items()),
            Packed::Deep(deep) => f(&self.deep.get(deep).items()),
        }
    }
}
