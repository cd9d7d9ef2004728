//! Reading rows: the same calls on the live database and on a pinned moment of it.

use std::ops::ControlFlow;

use base::schema::Bucket;
use bytes::Bytes;
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, Snapshot};

use crate::db::{Inner, PRIVATE};
use crate::error::Error;

/// Keys handed to RocksDB in one call: bounds the blocks pinned at a time.
const MULTI_GET_KEYS: usize = 512;

/// Rows a walk steps over before it seeks: a seek costs as much as some ten steps.
const WALK_STEPS: usize = 8;

/// Readahead of a bulk scan.
const BULK_READAHEAD_BYTES: usize = 1 << 20;

/// Whether a scan leaves the blocks it reads in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// For short scans whose rows are likely to be read again.
    Fill,
    /// For walks over everything (hashes, compaction, restore): the cache keeps what it holds.
    Bypass,
}

/// Read calls shared by [`Backend`](crate::Backend) and [`ReadView`](crate::ReadView).
pub trait Rows {
    /// The value of a row.
    ///
    /// # Errors
    /// [`Error::Engine`]; a checksum that does not match is one of the causes.
    fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Reads many rows of a bucket at once and calls `visit(i, value)` for each, in the order of
    /// `keys`. The value is borrowed from RocksDB; `None` for a row that does not exist.
    ///
    /// # Errors
    /// As [`get`](Rows::get).
    fn multi_get<K: AsRef<[u8]>>(
        &self,
        bucket: Bucket,
        keys: &[K],
        visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), Error>;

    /// As [`multi_get`](Rows::multi_get), for keys of which most closely follow the one before in
    /// the bucket: walks over the rows, about five times cheaper per row then.
    ///
    /// # Errors
    /// As [`get`](Rows::get).
    fn walk_get<K: AsRef<[u8]>>(
        &self,
        bucket: Bucket,
        keys: &[K],
        visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), Error>;

    /// Visits the rows with `from <= key`, and `key < to` unless `to` is `None`, in key order,
    /// until `visit` breaks. The scan sees one moment of the database.
    ///
    /// # Errors
    /// As [`get`](Rows::get).
    fn scan(
        &self,
        bucket: Bucket,
        from: &[u8],
        to: Option<&[u8]>,
        cache: CacheUse,
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error>;

    /// The greatest key of a bucket.
    ///
    /// # Errors
    /// As [`get`](Rows::get).
    fn last_key(&self, bucket: Bucket) -> Result<Option<Bytes>, Error>;

    /// The value of a private row.
    ///
    /// # Errors
    /// As [`get`](Rows::get).
    fn private_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// [`scan`](Rows::scan) over the private rows.
    ///
    /// # Errors
    /// As [`get`](Rows::get).
    fn private_scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error>;
}

/// Where to read: the database as it is, or as it was when `snapshot` was taken.
pub(crate) struct Source<'a> {
    pub(crate) inner: &'a Inner,
    pub(crate) snapshot: Option<&'a Snapshot<'a>>,
}

impl<'a> Source<'a> {
    fn db(&self) -> &'a DB {
        &self.inner.db
    }

    fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = self.snapshot {
            options.set_snapshot(snapshot);
        }
        options
    }

    fn get_in(&self, family: &ColumnFamily, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let found = match self.snapshot {
            None => self.db().get_pinned_cf(family, key),
            Some(snapshot) => snapshot.get_pinned_cf(family, key),
        };
        let value = found.map_err(|e| self.inner.engine_error("read a row", e))?;
        Ok(value.map(|v| Bytes::copy_from_slice(&v)))
    }

    fn scan_in(
        &self,
        family: &ColumnFamily,
        from: &[u8],
        to: Option<&[u8]>,
        cache: CacheUse,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut options = self.options();
        if let Some(to) = to {
            if to <= from {
                return Ok(());
            }
            options.set_iterate_upper_bound(to);
        }
        if cache == CacheUse::Bypass {
            options.fill_cache(false);
            options.set_readahead_size(BULK_READAHEAD_BYTES);
        }
        let mut rows: DBRawIterator<'_> = self.db().raw_iterator_cf_opt(family, options);
        rows.seek(from);
        while let Some((key, value)) = rows.item() {
            if visit(key, value).is_break() {
                break;
            }
            rows.next();
        }
        rows.status().map_err(|e| self.inner.engine_error("scan rows", e))
    }

    pub(crate) fn get(&self, bucket: Bucket, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.get_in(self.inner.family(bucket.name()), key)
    }

    pub(crate) fn multi_get<K: AsRef<[u8]>>(
        &self,
        bucket: Bucket,
        keys: &[K],
        mut visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), Error> {
        let family = self.inner.family(bucket.name());
        let options = self.options();
        for (part, keys) in keys.chunks(MULTI_GET_KEYS).enumerate() {
            let keys = keys.iter().map(AsRef::as_ref);
            let found = self.db().batched_multi_get_cf_opt(family, keys, false, &options);
            for (i, value) in found.into_iter().enumerate() {
                let value = value.map_err(|e| self.inner.engine_error("read rows", e))?;
                visit(part * MULTI_GET_KEYS + i, value.as_deref());
            }
        }
        Ok(())
    }

    pub(crate) fn walk_get<K: AsRef<[u8]>>(
        &self,
        bucket: Bucket,
        keys: &[K],
        mut visit: impl FnMut(usize, Option<&[u8]>),
    ) -> Result<(), Error> {
        let family = self.inner.family(bucket.name());
        let mut rows: DBRawIterator<'_> = self.db().raw_iterator_cf_opt(family, self.options());
        for (i, key) in keys.iter().map(AsRef::as_ref).enumerate() {
            let mut steps = 0;
            while steps < WALK_STEPS && rows.key().is_some_and(|at| at < key) {
                rows.next();
                steps += 1;
            }
            if rows.key() != Some(key) {
                // Too far ahead, or behind.
                rows.seek(key);
            }
            visit(i, rows.item().filter(|(at, _)| *at == key).map(|(_, row)| row));
        }
        rows.status().map_err(|e| self.inner.engine_error("walk over rows", e))
    }

    pub(crate) fn scan(
        &self,
        bucket: Bucket,
        from: &[u8],
        to: Option<&[u8]>,
        cache: CacheUse,
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scan_in(self.inner.family(bucket.name()), from, to, cache, visit)
    }

    pub(crate) fn last_key(&self, bucket: Bucket) -> Result<Option<Bytes>, Error> {
        let family = self.inner.family(bucket.name());
        let mut rows: DBRawIterator<'_> = self.db().raw_iterator_cf_opt(family, self.options());
        rows.seek_to_last();
        let key = rows.key().map(Bytes::copy_from_slice);
        rows.status().map_err(|e| self.inner.engine_error("find the last row", e))?;
        Ok(key)
    }

    pub(crate) fn private_get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        self.get_in(self.inner.family(PRIVATE), key)
    }

    pub(crate) fn private_scan(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        self.scan_in(self.inner.family(PRIVATE), from, to, CacheUse::Fill, visit)
    }
}

/// Implements [`Rows`] by handing every call to `self.source()`.
macro_rules! rows_from_source {
    ($type:ty) => {
        impl $crate::rows::Rows for $type {
            fn get(
                &self,
                bucket: base::schema::Bucket,
                key: &[u8],
            ) -> Result<Option<bytes::Bytes>, $crate::Error> {
                self.source().get(bucket, key)
            }

            fn multi_get<K: AsRef<[u8]>>(
                &self,
                bucket: base::schema::Bucket,
                keys: &[K],
                visit: impl FnMut(usize, Option<&[u8]>),
            ) -> Result<(), $crate::Error> {
                self.source().multi_get(bucket, keys, visit)
            }

            fn walk_get<K: AsRef<[u8]>>(
                &self,
                bucket: base::schema::Bucket,
                keys: &[K],
                visit: impl FnMut(usize, Option<&[u8]>),
            ) -> Result<(), $crate::Error> {
                self.source().walk_get(bucket, keys, visit)
            }

            fn scan(
                &self,
                bucket: base::schema::Bucket,
                from: &[u8],
                to: Option<&[u8]>,
                cache: $crate::CacheUse,
                visit: impl FnMut(&[u8], &[u8]) -> std::ops::ControlFlow<()>,
            ) -> Result<(), $crate::Error> {
                self.source().scan(bucket, from, to, cache, visit)
            }

            fn last_key(
                &self,
                bucket: base::schema::Bucket,
            ) -> Result<Option<bytes::Bytes>, $crate::Error> {
                self.source().last_key(bucket)
            }

            fn private_get(&self, key: &[u8]) -> Result<Option<bytes::Bytes>, $crate::Error> {
                self.source().private_get(key)
            }

            fn private_scan(
                &self,
                from: &[u8],
                to: Option<&[u8]>,
                visit: impl FnMut(&[u8], &[u8]) -> std::ops::ControlFlow<()>,
            ) -> Result<(), $crate::Error> {
                self.source().private_scan(from, to, visit)
            }
        }
    };
}
pub(crate) use rows_from_source;
