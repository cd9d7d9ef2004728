//! What is written at once.

use base::schema::Bucket;

use crate::db::{Backend, PRIVATE};

/// Puts and deletes of rows of any bucket, written as one by [`Backend::write`].
///
/// Later operations win over earlier ones on the same row.
pub struct WriteBatch {
    pub(crate) backend: Backend,
    pub(crate) ops: rocksdb::WriteBatch,
}

impl WriteBatch {
    /// Writes a row.
    pub fn put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        self.ops.put_cf(self.backend.inner.family(bucket.name()), key, value);
    }

    /// Deletes a row; nothing happens if there is none.
    pub fn delete(&mut self, bucket: Bucket, key: &[u8]) {
        self.ops.delete_cf(self.backend.inner.family(bucket.name()), key);
    }

    /// Deletes a row that was written exactly once since it was last deleted. Both marks vanish
    /// when they meet, which leaves nothing for later scans to step over.
    pub fn delete_written_once(&mut self, bucket: Bucket, key: &[u8]) {
        self.ops.single_delete_cf(self.backend.inner.family(bucket.name()), key);
    }

    /// Deletes the rows with `from <= key < to`. Meant for few, wide intervals: every later read
    /// of the bucket has to consider them.
    pub fn delete_range(&mut self, bucket: Bucket, from: &[u8], to: &[u8]) {
        self.ops.delete_range_cf(self.backend.inner.family(bucket.name()), from, to);
    }

    /// Writes a private row.
    pub fn private_put(&mut self, key: &[u8], value: &[u8]) {
        self.ops.put_cf(self.backend.inner.family(PRIVATE), key, value);
    }

    /// Deletes a private row.
    pub fn private_delete(&mut self, key: &[u8]) {
        self.ops.delete_cf(self.backend.inner.family(PRIVATE), key);
    }

    /// Deletes the private rows with `from <= key < to`, with the warning of
    /// [`delete_range`](WriteBatch::delete_range).
    pub fn private_delete_range(&mut self, from: &[u8], to: &[u8]) {
        self.ops.delete_range_cf(self.backend.inner.family(PRIVATE), from, to);
    }

    /// Whether the batch holds nothing.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Operations in the batch.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Size of the batch as RocksDB stores it.
    pub fn size_bytes(&self) -> usize {
        self.ops.size_in_bytes()
    }
}
