//! The two hashes members compare: of all buckets, and of the key history up to a revision.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use backend::{CacheUse, ReadView, Rows};
use base::schema::{self, Bucket};
use base::{KeyRange, RowKey};
use parking_lot::Mutex;

use crate::error::Error;
use crate::kv::KeyValue;
use crate::read::row_bound;
use crate::store::{Shared, Store};

/// Hashes of finished compactions that are remembered (etcd 3.7: 10).
const COMPACTION_HASHES_MAX: usize = 10;

/// A hash of the key history, with what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvHash {
    /// CRC-32C over the rows.
    pub hash: u32,
    /// The main revision up to which rows count.
    pub revision: i64,
    /// The compacted revision the hash was made at; -1 if there was none.
    pub compact_revision: i64,
}

/// Hashes made by compactions of the rows they looked at, newest last.
#[derive(Debug, Default)]
pub(crate) struct CompactionHashes {
    newest: Mutex<VecDeque<KvHash>>,
}

impl CompactionHashes {
    pub(crate) fn push(&self, hash: KvHash) {
        let mut newest = self.newest.lock();
        if newest.len() == COMPACTION_HASHES_MAX {
            newest.pop_front();
        }
        newest.push_back(hash);
    }

    fn at(&self, revision: i64) -> Option<KvHash> {
        self.newest.lock().iter().rev().find(|hash| hash.revision == revision).copied()
    }
}

/// CRC-32C over rows of bucket `key`, with the rules for what has been compacted.
pub(crate) struct KvHasher {
    crc: u32,
    /// Rows above are left out.
    revision: i64,
    compacted: i64,
    /// Whether any row at or below `compacted` is still seen at `revision`. If none is, rows that
    /// are not seen are hashed all the same, as long as they are stored.
    any_kept: bool,
}

impl KvHasher {
    pub(crate) fn new(revision: i64, compacted: i64, any_kept: bool) -> KvHasher {
        KvHasher { crc: crc32c::crc32c(b"key"), revision, compacted, any_kept }
    }

    /// Adds a row; `kept` is asked only if it matters.
    pub(crate) fn add(
        &mut self,
        row: RowKey,
        key: &[u8],
        value: &[u8],
        kept: impl FnOnce() -> bool,
    ) {
        let main = row.rev.main;
        if main > self.revision
            || (row.tombstone && main == self.compacted)
            || (main <= self.compacted && self.any_kept && !kept())
        {
            return;
        }
        self.crc = crc32c::crc32c_append(self.crc, key);
        self.crc = crc32c::crc32c_append(self.crc, value);
    }

    pub(crate) fn finish(self) -> KvHash {
        KvHash { hash: self.crc, revision: self.revision, compact_revision: self.compacted }
    }
}

impl Store {
    /// What finished compactions hashed, newest first: the last few only.
    pub fn compaction_hashes(&self) -> Vec<KvHash> {
        self.shared.hashes.newest.lock().iter().rev().copied().collect()
    }

    /// CRC-32C over all buckets: for each in name order its name, then keys and values. The rows
    /// `consistent_index`, `term` and `storageVersion` of `meta` are left out, because members
    /// that agree may differ in them. Walks everything; writers go on meanwhile.
    ///
    /// # Errors
    /// Fatal ones only.
    pub fn hash(&self) -> Result<u32, Error> {
        let view = self.shared.backend.view();
        hash_buckets(&view, |bucket, key| {
            bucket == Bucket::Meta && schema::HASH_IGNORED.contains(&key)
        })
    }

    /// The hash of the key history up to main revision `asked`; 0 is the newest. A revision that
    /// was compacted at lately is answered with the hash its compaction made. Otherwise all rows
    /// are walked; writers go on meanwhile.
    ///
    /// # Errors
    /// [`Error::Compacted`] if `asked` is positive and below the compacted revision,
    /// [`Error::FutureRev`], or a fatal one.
    pub fn hash_kv(&self, asked: i64) -> Result<KvHash, Error> {
        let shared = &*self.shared;
        let (view, current, compacted) = {
            // Rows up to `current` are in the view, because they were written before it was set.
            let _index = shared.index.read();
            (shared.backend.view(), shared.current(), shared.compacted())
        };
        if asked > 0 && asked < compacted {
            return Err(Error::Compacted);
        }
        if asked > current {
            return Err(Error::FutureRev);
        }
        if asked > 0
            && let Some(hash) = shared.hashes.at(asked)
        {
            return Ok(hash);
        }
        let revision = if asked == 0 { current } else { asked };
        let mut hasher = KvHasher::new(revision, compacted, shared.any_key_at(revision));
        walk_rows(&view, 0, revision, |row, key, value| {
            hasher.add(row, key, value, || {
                let key = KeyValue::key_of(value).unwrap_or_default();
                shared.index.read().is_kept(key, row.rev, revision)
            });
            ControlFlow::Continue(())
        })?;
        if revision >= 0 && revision < shared.compacted() {
            // The index has forgotten what was seen at this revision.
            return if asked == 0 { self.hash_kv(0) } else { Err(Error::Compacted) };
        }
        Ok(hasher.finish())
    }
}

impl Shared {
    /// Whether any key lives at main revision `at`.
    pub(crate) fn any_key_at(&self, at: i64) -> bool {
        let mut rest = KeyRange::new(&b"\0"[..], &b"\0"[..]);
        loop {
            let scan = self.index.read().range(&rest, at, 1, |_| {});
            match scan.next {
                _ if scan.delivered > 0 => return true,
                Some(next) => rest.key = next,
                None => return false,
            }
        }
    }
}

/// The hash over all buckets of a view, without the rows `ignored` names. With nothing ignored
/// it is the hash a snapshot's status shows.
///
/// # Errors
/// Fatal ones only.
pub fn hash_buckets(
    view: &ReadView<'_>,
    ignored: impl Fn(Bucket, &[u8]) -> bool,
) -> Result<u32, Error> {
    let mut crc = 0;
    for bucket in Bucket::ALL {
        crc = crc32c::crc32c_append(crc, bucket.name().as_bytes());
        view.scan(bucket, &[], None, CacheUse::Bypass, |key, value| {
            if !ignored(bucket, key) {
                crc = crc32c::crc32c_append(crc, key);
                crc = crc32c::crc32c_append(crc, value);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(crc)
}

/// Visits the rows of bucket `key` with `from <= main <= to` in order, past the block cache.
pub(crate) fn walk_rows(
    rows: &impl Rows,
    from: i64,
    to: i64,
    visit: impl FnMut(RowKey, &[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    visit_rows(rows, from, to, CacheUse::Bypass, visit)
}

/// Visits the rows of bucket `key` with `from <= main <= to` in order.
pub(crate) fn visit_rows(
    rows: &impl Rows,
    from: i64,
    to: i64,
    cache: CacheUse,
    mut visit: impl FnMut(RowKey, &[u8], &[u8]) -> ControlFlow<()>,
) -> Result<(), Error> {
    if to < from {
        return Ok(());
    }
    let end = to.checked_add(1).map(row_bound);
    let mut bad = None;
    rows.scan(Bucket::Key, &row_bound(from), end.as_deref(), cache, |key, value| {
        match RowKey::decode(key) {
            Ok(row) => visit(row, key, value),
            Err(error) => {
                bad = Some(error);
                ControlFlow::Break(())
            }
        }
    })?;
    bad.map_or(Ok(()), |error| Err(error.into()))
}
