//! Opening a store: the index and the revisions are made from the rows.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use backend::Backend;
use base::RowKey;
use bytes::Bytes;
use parking_lot::RwLock;

use crate::compact::{Compactor, Progress, stored_marks};
use crate::error::Error;
use crate::hash::{CompactionHashes, walk_rows};
use crate::index::TreeIndex;
use crate::kv::KeyValue;
use crate::options::Options;
use crate::store::{EMPTY_REVISION, Shared, Store};
use crate::write::Writer;

/// A store just opened.
pub struct Opened {
    /// For readers.
    pub store: Store,
    /// For whoever applies the log.
    pub writer: Writer,
    /// The keys that live with a lease, with that lease, in key order.
    pub leased: Vec<(Bytes, i64)>,
}

impl Store {
    /// Opens the store in a backend: restores the current revision (the greatest of the stored
    /// and the compacted ones, at least 1) and goes on with a compaction that was interrupted.
    ///
    /// # Errors
    /// [`Error::RowKey`] or [`Error::Row`] if a stored row is damaged; [`Error::Backend`].
    pub fn open(backend: Backend, options: Options) -> Result<Opened, Error> {
        let (finished, scheduled) = stored_marks(&backend)?;
        let Restored { index, newest, leased } = scan(&backend)?;
        let current = newest.max(finished).max(scheduled).max(EMPTY_REVISION);
        let compacted = finished.max(scheduled);
        let shared = Arc::new(Shared {
            backend,
            options,
            index: RwLock::new(index),
            current: AtomicI64::new(current),
            compacted: AtomicI64::new(compacted),
            progress: Progress::new(finished),
            hashes: CompactionHashes::default(),
        });
        if scheduled > finished {
            tracing::info!(revision = scheduled, "resume interrupted compaction");
            shared.progress.resume(scheduled);
        }
        let compactor = Compactor::start(&shared)?;
        let store = Store { shared };
        let writer = Writer::new(store.clone(), compactor);
        Ok(Opened { store, writer, leased })
    }
}

/// What the rows tell.
struct Restored {
    index: TreeIndex,
    newest: i64,
    leased: Vec<(Bytes, i64)>,
}

/// Reads all rows of bucket `key` in revision order.
fn scan(backend: &Backend) -> Result<Restored, Error> {
    let mut index = TreeIndex::new();
    let mut newest = 0;
    let mut leases: HashMap<Bytes, i64> = HashMap::new();
    let mut bad = None;
    walk_rows(backend, 0, i64::MAX, |row, _, value| {
        newest = row.rev.main;
        match restore_row(&mut index, row, value) {
            Ok(kv) if kv.key.is_empty() => {}
            Ok(kv) if kv.lease != 0 => {
                leases.insert(Bytes::copy_from_slice(kv.key), kv.lease);
            }
            Ok(kv) => {
                if !leases.is_empty() {
                    leases.remove(kv.key);
                }
            }
            Err(error) => {
                bad = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    if let Some(error) = bad {
        return Err(error);
    }
    let mut leased: Vec<_> = leases.into_iter().collect();
    leased.sort_unstable();
    Ok(Restored { index, newest, leased })
}

/// Adds one row to the index. A row without a key only moves the revision: a restored snapshot
/// with a bumped revision has one.
fn restore_row<'a>(
    index: &mut TreeIndex,
    row: RowKey,
    value: &'a [u8],
) -> Result<KeyValue<'a>, Error> {
    let bad = |detail| Error::Row { rev: row.rev, detail };
    let kv = KeyValue::decode(value).ok_or_else(|| bad("its value is no key-value pair"))?;
    if kv.key.is_empty() {
        return Ok(kv);
    }
    if row.tombstone {
        index.restore_tombstone(kv.key, row.rev);
    } else if kv.mod_revision != row.rev.main {
        return Err(bad("its value names another revision"));
    } else if !index.restore_put(kv.key, row.rev, kv.create_revision, kv.version) {
        return Err(bad("it contradicts the earlier rows of its key"));
    }
    Ok(kv)
}
