//! A pinned moment of the database.

use rocksdb::Snapshot;

use crate::db::Inner;
use crate::rows::{Source, rows_from_source};

/// The rows as they were at one moment, however long the reader takes.
///
/// While a view lives, RocksDB keeps every row it can see: use it for file-like jobs (hashes,
/// snapshots), on a thread of its own, and drop it soon. Plain reads of `key` rows need no view,
/// because such a row never changes: check afterwards that it was not compacted.
pub struct ReadView<'a> {
    inner: &'a Inner,
    snapshot: Snapshot<'a>,
}

impl<'a> ReadView<'a> {
    pub(crate) fn new(inner: &'a Inner) -> ReadView<'a> {
        ReadView { inner, snapshot: inner.db.snapshot() }
    }

    fn source(&self) -> Source<'_> {
        Source { inner: self.inner, snapshot: Some(&self.snapshot) }
    }
}

rows_from_source!(ReadView<'_>);
