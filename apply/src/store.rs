//! The key-value store as a source of reads and as the target of writes.

use base::schema::Bucket;
use base::{KeyRange, Revision};
use bytes::Bytes;
use mvcc::{Found, KeyMeta, KeyState, Page, Store, Writer};

use crate::source::{ReadError, Source};
use crate::write::Target;

/// What is committed. Each call may see a newer state than the one before.
impl Source for Store {
    fn revision(&self) -> i64 {
        self.current_revision()
    }

    fn compacted_revision(&self) -> i64 {
        Store::compacted_revision(self)
    }

    fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, ReadError> {
        Ok(Store::pairs(self, range, at, limit)?)
    }

    fn page(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Page, ReadError> {
        Ok(Store::page(self, range, at, limit)?)
    }

    fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, ReadError> {
        Ok(Store::metas(self, range, at, limit)?)
    }

    fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, ReadError> {
        Ok(Store::count(self, range, at)?)
    }

    fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, ReadError> {
        Ok(Store::rows(self, &revisions(metas))?)
    }

    fn stat(&self, key: &Bytes) -> Result<Option<KeyState>, ReadError> {
        Ok(Store::stat(self, key))
    }

    fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, ReadError> {
        Ok(Store::pair(self, key)?)
    }
}

fn revisions(metas: &[KeyMeta]) -> Vec<Revision> {
    metas.iter().map(|meta| meta.state.modified).collect()
}

/// One committed revision, for reads that must agree with each other.
pub(crate) struct Pinned<'a> {
    store: &'a Store,
    revision: i64,
}

impl<'a> Pinned<'a> {
    /// The newest revision.
    pub(crate) fn newest(store: &'a Store) -> Self {
        Self { store, revision: store.current_revision() }
    }

    /// Whether the revision can no longer be read.
    pub(crate) fn is_compacted(&self) -> bool {
        self.revision < self.store.compacted_revision()
    }

    fn at(&self, asked: i64) -> i64 {
        if asked <= 0 { self.revision } else { asked }
    }
}

impl Source for Pinned<'_> {
    fn revision(&self) -> i64 {
        self.revision
    }

    fn compacted_revision(&self) -> i64 {
        self.store.compacted_revision()
    }

    fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, ReadError> {
        Ok(self.store.pairs(range, self.at(at), limit)?)
    }

    fn page(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Page, ReadError> {
        Ok(self.store.page(range, self.at(at), limit)?)
    }

    fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, ReadError> {
        Ok(self.store.metas(range, self.at(at), limit)?)
    }

    fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, ReadError> {
        Ok(self.store.count(range, self.at(at))?)
    }

    fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, ReadError> {
        Ok(self.store.rows(&revisions(metas))?)
    }

    fn stat(&self, key: &Bytes) -> Result<Option<KeyState>, ReadError> {
        let found = self.store.metas(&KeyRange::single(key.clone()), self.revision, 1)?;
        Ok(found.items.first().map(|meta| meta.state))
    }

    fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, ReadError> {
        let found = self.store.pairs(&KeyRange::single(key.clone()), self.revision, 1)?;
        Ok(found.items.into_iter().next())
    }
}

/// What is committed, what the batch changed, and what the entry did so far.
impl Source for Writer {
    fn revision(&self) -> i64 {
        Writer::revision(self)
    }

    fn compacted_revision(&self) -> i64 {
        Writer::compacted_revision(self)
    }

    fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, ReadError> {
        Ok(Writer::pairs(self, range, at, limit)?)
    }

    fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, ReadError> {
        Ok(Writer::metas(self, range, at, limit)?)
    }

    fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, ReadError> {
        Ok(Writer::count(self, range, at)?)
    }

    fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, ReadError> {
        Ok(Writer::rows(self, metas)?)
    }

    fn stat(&self, key: &Bytes) -> Result<Option<KeyState>, ReadError> {
        Ok(Writer::stat(self, key))
    }

    fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, ReadError> {
        Ok(Writer::pair(self, key)?)
    }
}

impl Target for Writer {
    fn revision_of_change(&self) -> i64 {
        Writer::revision_of_change(self)
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
        want_prev: bool,
    ) -> Result<Option<Bytes>, ReadError> {
        let prev = if want_prev { Writer::pair(self, key)? } else { None };
        Writer::put(self, key, value, lease);
        Ok(prev)
    }

    fn delete_range(
        &mut self,
        range: &KeyRange,
        want_prev: bool,
        mut deleted: impl FnMut(&[u8]),
    ) -> Result<(i64, Vec<Bytes>), ReadError> {
        let prev_kvs =
            if want_prev { Writer::pairs(self, range, 0, usize::MAX)?.items } else { Vec::new() };
        let metas = Writer::delete_range(self, range);
        for meta in &metas {
            deleted(&meta.key);
        }
        let count = i64::try_from(metas.len()).expect("keys in memory are fewer than 2^63");
        Ok((count, prev_kvs))
    }

    fn compact(&mut self, revision: i64) -> Result<(), ReadError> {
        Ok(Writer::compact(self, revision)?)
    }

    fn row_put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        Writer::row_put(self, bucket, key, value);
    }

    fn row_delete(&mut self, bucket: Bucket, key: &[u8]) {
        Writer::row_delete(self, bucket, key);
    }

    fn allocated_bytes(&self) -> u64 {
        self.store().backend().allocated_bytes()
    }
}
