//! The single writer: changes gather in a batch, are seen by later changes of the same batch
//! through the overlay, and become visible to readers when the batch is committed.
//!
//! ```text
//!   entry 7: put a ─┐            end_entry ─▶ Changes { revision 12 }
//!   entry 8: del b ─┼─▶ overlay  end_entry ─▶ Changes { revision 13 }
//!   entry 9: range ◀┘   + batch  commit ─▶ RocksDB ─▶ index ─▶ current revision 13
//! ```

use std::mem;

use backend::WriteBatch;
use base::schema::{self, Bucket};
use base::{KeyRange, Revision, RowKey};
use bytes::Bytes;

use crate::change::{Changes, Event, EventKind};
use crate::compact::Compactor;
use crate::error::Error;
use crate::index::KeyState;
use crate::kv::KeyValue;
use crate::overlay::{Change, Overlay};
use crate::persist::IndexFileWriter;
use crate::private;
use crate::read::{At, Found, KeyMeta};
use crate::store::Store;

/// The only one that changes a store. Owned by whoever applies the log.
///
/// Calls belong to the entry being applied until [`end_entry`](Writer::end_entry), and to the
/// batch until [`commit`](Writer::commit). Reads through the writer see everything before them.
/// Nothing is lost by dropping a writer but the changes since the last commit.
pub struct Writer {
    store: Store,
    batch: WriteBatch,
    overlay: Overlay,
    /// Changes to be recorded in the index at the commit, in revision order.
    pending: Vec<(Bytes, RowKey)>,
    /// Newest revision of the entries ended so far.
    current: i64,
    compacted: i64,
    /// Compactions of this batch.
    compactions: Vec<i64>,
    /// Changes of the entry being applied.
    events: Vec<Event>,
    /// Entry index and term to be stored with the batch.
    applied: Option<(u64, u64)>,
    /// Revision at which an index file was last asked for.
    filed: i64,
    _background: Background,
}

/// Threads that work as long as there is a writer.
pub(crate) struct Background {
    pub(crate) _compactor: Compactor,
    pub(crate) _index_file: IndexFileWriter,
}

impl Writer {
    pub(crate) fn new(store: Store, background: Background, filed: i64) -> Writer {
        let (current, compacted) = (store.current_revision(), store.compacted_revision());
        Writer {
            batch: store.backend().batch(),
            store,
            overlay: Overlay::default(),
            pending: Vec::new(),
            current,
            compacted,
            compactions: Vec::new(),
            events: Vec::new(),
            applied: None,
            filed,
            _background: background,
        }
    }

    /// The store being written, as readers see it.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The newest revision of the entries ended so far, committed or not. The entry being applied
    /// does not count.
    pub fn revision(&self) -> i64 {
        self.current
    }

    /// The revision the entry being applied makes, if it changed something already; else
    /// [`revision`](Writer::revision). What headers of a txn's operations name.
    pub fn revision_of_change(&self) -> i64 {
        self.current + i64::from(!self.events.is_empty())
    }

    /// The compacted revision, compactions of this batch included; -1 if there was none.
    pub fn compacted_revision(&self) -> i64 {
        self.compacted
    }

    /// Puts a pair and returns the state it replaces, if the key lived: the row of
    /// `state.modified` holds the former pair.
    ///
    /// # Panics
    /// If the key is empty; requests with one are refused long before.
    pub fn put(&mut self, key: &Bytes, value: &[u8], lease: i64) -> Option<KeyState> {
        assert!(!key.is_empty(), "keys are not empty");
        let rev = self.next_revision();
        let before = self.stat(key);
        let state = match before {
            Some(state) => KeyState { modified: rev, version: state.version + 1, ..state },
            None => KeyState { modified: rev, created: rev, version: 1 },
        };
        let kv = KeyValue {
            key,
            create_revision: state.created.main,
            mod_revision: rev.main,
            version: state.version,
            value,
            lease,
        };
        let kv = kv.encode();
        let row = RowKey::put(rev);
        self.batch.put(Bucket::Key, &row.encode(), &kv);
        if lease != 0 {
            private::put_leased(&mut self.batch, rev, key, lease);
        }
        let prev = self.prev(key, before);
        let live = Some((state, kv.clone()));
        self.record(
            key,
            row,
            live,
            Event { kind: EventKind::Put, key: key.clone(), kv, rev, prev },
        );
        before
    }

    /// Deletes the keys of a range and returns them with the states they had, in key order.
    /// All deletions of an entry share its revision; without a key there is no change.
    pub fn delete_range(&mut self, range: &KeyRange) -> Vec<KeyMeta> {
        let deleted = if range.is_single() {
            let state = self.stat(&range.key);
            state.map(|state| KeyMeta { key: range.key.clone(), state }).into_iter().collect()
        } else {
            self.select(range, i64::MAX, usize::MAX, |key, found| KeyMeta {
                key: key(),
                state: found.state(),
            })
        };
        for KeyMeta { key, state } in &deleted {
            self.delete(key, *state);
        }
        deleted
    }

    fn delete(&mut self, key: &Bytes, before: KeyState) {
        let rev = self.next_revision();
        let row = RowKey::tombstone(rev);
        let stored = KeyValue { key, ..KeyValue::default() };
        self.batch.put(Bucket::Key, &row.encode(), &stored.encode());
        let kv = KeyValue { mod_revision: rev.main, ..stored }.encode();
        let prev = self.prev(key, Some(before));
        let event = Event { kind: EventKind::Delete, key: key.clone(), kv, rev, prev };
        self.record(key, row, None, event);
    }

    fn record(&mut self, key: &Bytes, row: RowKey, live: Option<(KeyState, Bytes)>, event: Event) {
        self.overlay.push(key.clone(), Change { rev: row.rev, live });
        self.pending.push((key.clone(), row));
        self.events.push(event);
    }

    fn next_revision(&self) -> Revision {
        Revision::new(self.current + 1, self.events.len() as i64)
    }

    /// The row before this entry, given the newest state.
    fn prev(&self, key: &[u8], newest: Option<KeyState>) -> Option<Revision> {
        let newest = match newest {
            Some(state) if state.modified.main <= self.current => Some(state),
            // Changed by this entry already, or dead: deleted by this entry perhaps.
            _ if self.events.is_empty() => newest,
            _ => self.state_at(key, self.current),
        };
        newest.map(|state| state.modified)
    }

    fn state_at(&self, key: &[u8], at: i64) -> Option<KeyState> {
        match self.overlay.get(key, at) {
            Some(change) => change.live.as_ref().map(|(state, _)| *state),
            None => self.store.shared.index.read().get(key, at),
        }
    }

    /// What is known of one key, changes of this batch included.
    pub fn stat(&self, key: &[u8]) -> Option<KeyState> {
        self.state_at(key, i64::MAX)
    }

    /// The stored pair of one key, changes of this batch included.
    ///
    /// # Errors
    /// Fatal ones only.
    pub fn pair(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        match self.overlay.get(key, i64::MAX) {
            Some(change) => Ok(change.live.as_ref().map(|(_, kv)| kv.clone())),
            None => {
                let shared = &self.store.shared;
                let state = shared.index.read().get(key, i64::MAX);
                state.map(|state| shared.row(state.modified, None)).transpose()
            }
        }
    }

    /// As [`Store::pairs`], changes of this batch included. Revision 0 or below also sees those
    /// of the entry being applied.
    ///
    /// # Errors
    /// As [`Store::pairs`].
    pub fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, Error> {
        let at = self.check(at)?;
        let picked = self.select(range, at, limit, |_, found| match found {
            Picked::Stored(entry) => Pair::Stored(entry.modified),
            Picked::Changed(_, kv) => Pair::Changed(kv.clone()),
        });
        Ok(self.found(self.fetch(picked)?, range, at))
    }

    /// As [`Store::metas`], changes of this batch included.
    ///
    /// # Errors
    /// As [`Store::metas`].
    pub fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, Error> {
        let at = self.check(at)?;
        let items = self
            .select(range, at, limit, |key, found| KeyMeta { key: key(), state: found.state() });
        Ok(self.found(items, range, at))
    }

    /// As [`Store::count`], changes of this batch included.
    ///
    /// # Errors
    /// As [`Store::count`].
    pub fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, Error> {
        let at = self.check(at)?;
        Ok(self.found(Vec::new(), range, at))
    }

    /// The stored pairs of keys that [`metas`](Writer::metas) gave.
    ///
    /// # Errors
    /// Fatal ones only.
    pub fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, Error> {
        let pick = |meta: &KeyMeta| {
            let change = self.overlay.get(&meta.key, meta.state.modified.main);
            match change.and_then(|change| change.live.as_ref()) {
                Some((state, kv)) if state.modified == meta.state.modified => {
                    Pair::Changed(kv.clone())
                }
                _ => Pair::Stored(meta.state.modified),
            }
        };
        self.fetch(metas.iter().map(pick).collect())
    }

    /// Compacts at `revision`: takes effect for later reads of this batch at once and for others
    /// at the commit; rows are deleted in the background after it.
    ///
    /// # Errors
    /// [`Error::Compacted`] unless `revision` is above the compacted one (-1 if there was none);
    /// [`Error::FutureRev`] if it is above the current one.
    pub fn compact(&mut self, revision: i64) -> Result<(), Error> {
        if revision <= self.compacted {
            return Err(Error::Compacted);
        }
        if revision > self.current {
            return Err(Error::FutureRev);
        }
        let row = RowKey::put(Revision::new(revision, 0)).encode();
        self.batch.put(Bucket::Meta, schema::SCHEDULED_COMPACT, &row);
        self.compacted = revision;
        self.compactions.push(revision);
        Ok(())
    }

    /// Writes a row of a bucket other than `key` in this batch.
    pub fn row_put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        debug_assert!(bucket != Bucket::Key, "rows of `key` are written by put and delete_range");
        self.batch.put(bucket, key, value);
    }

    /// Deletes a row of a bucket other than `key` in this batch.
    pub fn row_delete(&mut self, bucket: Bucket, key: &[u8]) {
        debug_assert!(bucket != Bucket::Key, "rows of `key` are deleted by compaction only");
        self.batch.delete(bucket, key);
    }

    /// Notes the entry whose effects this batch completes; the last call before a commit counts.
    /// Stored as `consistent_index` and `term`, in the same batch as the effects.
    pub fn set_applied(&mut self, index: u64, term: u64) {
        self.applied = Some((index, term));
    }

    /// Ends the entry being applied. If it changed keys, that is a new revision.
    pub fn end_entry(&mut self) -> Option<Changes> {
        if self.events.is_empty() {
            return None;
        }
        self.current += 1;
        Some(Changes { revision: self.current, events: mem::take(&mut self.events) })
    }

    /// Writes the batch, then shows its revisions to readers. An entry not ended yet is ended.
    ///
    /// # Errors
    /// [`Error::Backend`], fatal: the store must not be used any more.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.end_entry();
        if let Some((index, term)) = self.applied.take() {
            // etcd never writes a zero here.
            if index > 0 {
                self.batch.put(Bucket::Meta, schema::CONSISTENT_INDEX, &index.to_be_bytes());
            }
            if term > 0 {
                self.batch.put(Bucket::Meta, schema::TERM, &term.to_be_bytes());
            }
        }
        if self.batch.is_empty() {
            return Ok(());
        }
        let shared = &self.store.shared;
        let batch = mem::replace(&mut self.batch, shared.backend.batch());
        shared.backend.write(batch)?;
        let keys = {
            let mut index = shared.index.write();
            for (key, row) in self.pending.drain(..) {
                if row.tombstone {
                    index.tombstone(&key, row.rev);
                } else {
                    index.put(&key, row.rev);
                }
            }
            shared.set_compacted(self.compacted);
            shared.set_current(self.current);
            index.keys()
        };
        self.overlay.clear();
        for revision in self.compactions.drain(..) {
            shared.progress.schedule(revision);
        }
        let due = shared.options.index_file_revisions_min.max((keys / 4).cast_signed());
        if self.current - self.filed >= due {
            self.filed = self.current;
            shared.files.want();
        }
        Ok(())
    }

    fn check(&self, asked: i64) -> Result<i64, Error> {
        let at = At::check(asked, self.current, self.compacted)?;
        Ok(if asked <= 0 { i64::MAX } else { at.revision })
    }

    fn found<T>(&self, items: Vec<T>, range: &KeyRange, at: i64) -> Found<T> {
        let index = self.store.shared.index.read();
        let mut count = index.count(range, at).cast_signed();
        for (key, change) in self.overlay.range(range, at) {
            let was = index.find(key, at).is_some();
            count += i64::from(change.live.is_some()) - i64::from(was);
        }
        Found { items, count, revision: self.current }
    }

    /// The first `limit` keys of `range` at main revision `at`: index and overlay merged.
    fn select<T>(
        &self,
        range: &KeyRange,
        at: i64,
        limit: usize,
        mut pick: impl FnMut(&dyn Fn() -> Bytes, Picked<'_>) -> T,
    ) -> Vec<T> {
        let index = self.store.shared.index.read();
        let mut items = Vec::new();
        let mut changed = self.overlay.range(range, at).peekable();
        let mut rest = range.clone();
        let mut scratch = Vec::new();
        loop {
            // Every changed key may hide one of the index.
            let scan = index.range(&rest, at, limit.saturating_sub(items.len()), |entry| {
                scratch.clear();
                entry.key.append_to(&mut scratch);
                while let Some((key, change)) = changed.next_if(|(key, _)| key[..] < scratch[..]) {
                    take(&mut items, limit, key, change, &mut pick);
                }
                match changed.next_if(|(key, _)| key[..] == scratch[..]) {
                    Some((key, change)) => take(&mut items, limit, key, change, &mut pick),
                    None if items.len() < limit => {
                        items.push(pick(&|| entry.key.to_bytes(), Picked::Stored(entry)));
                    }
                    None => {}
                }
            });
            match scan.next {
                Some(next) if items.len() < limit => rest.key = next,
                Some(_) => break,
                None => {
                    for (key, change) in changed.by_ref() {
                        take(&mut items, limit, key, change, &mut pick);
                    }
                    break;
                }
            }
        }
        items
    }

    fn fetch(&self, picked: Vec<Pair>) -> Result<Vec<Bytes>, Error> {
        let stored: Vec<Revision> = picked.iter().filter_map(Pair::stored).collect();
        let mut stored = self.store.shared.rows(&stored, None)?.into_iter();
        let row = |pair| match pair {
            Pair::Changed(kv) => Some(kv),
            Pair::Stored(_) => stored.next(),
        };
        Ok(picked.into_iter().filter_map(row).collect())
    }
}

/// A key that lives, in the index or in the overlay.
enum Picked<'a> {
    Stored(crate::index::Entry<'a>),
    Changed(KeyState, &'a Bytes),
}

impl Picked<'_> {
    fn state(&self) -> KeyState {
        match self {
            Picked::Stored(entry) => entry.state(),
            Picked::Changed(state, _) => *state,
        }
    }
}

/// Where the pair of a key is.
enum Pair {
    Stored(Revision),
    Changed(Bytes),
}

impl Pair {
    fn stored(&self) -> Option<Revision> {
        match self {
            Pair::Stored(rev) => Some(*rev),
            Pair::Changed(_) => None,
        }
    }
}

fn take<T>(
    items: &mut Vec<T>,
    limit: usize,
    key: &Bytes,
    change: &Change,
    pick: &mut impl FnMut(&dyn Fn() -> Bytes, Picked<'_>) -> T,
) {
    if let Some((state, kv)) = &change.live
        && items.len() < limit
    {
        items.push(pick(&|| key.clone(), Picked::Changed(*state, kv)));
    }
}
