//! Opening a store: the index and the revisions are made from what is on disk.
//!
//! ```text
//!   index file with stamp S?  yes ─▶ load it ─▶ replay rows and noted tombstones above S
//!                             no ──▶ read all rows
//! ```
//!
//! Nothing outside this file knows which way was taken.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use backend::{Backend, Rows as _};
use base::schema::Bucket;
use base::{Revision, RowKey};
use bytes::Bytes;
use parking_lot::RwLock;

use crate::compact::{Compactor, Progress, stored_marks};
use crate::error::Error;
use crate::hash::{CompactionHashes, walk_rows};
use crate::index::{CompactCursor, Replayed, TreeIndex};
use crate::index_file::{self, Loaded};
use crate::kv::KeyValue;
use crate::options::Options;
use crate::persist::{IndexFileState, IndexFileWriter};
use crate::private;
use crate::store::{EMPTY_REVISION, Shared, Store};
use crate::write::{Background, Writer};

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
        let marks = Marks::read(&backend)?;
        let Restored { index, leased, stamp } = match load_file(&backend, &marks)? {
            Some(loaded) => replay(&backend, &marks, loaded)?,
            None => scan(&backend)?,
        };
        let shared = Arc::new(Shared {
            backend,
            options,
            index: RwLock::new(index),
            current: AtomicI64::new(marks.current()),
            compacted: AtomicI64::new(marks.compacted()),
            progress: Progress::new(marks.finished),
            hashes: CompactionHashes::default(),
            files: IndexFileState::new(stamp),
        });
        if marks.scheduled > marks.finished {
            tracing::info!(revision = marks.scheduled, "resume interrupted compaction");
            shared.progress.resume(marks.scheduled);
        }
        let background = Background {
            _compactor: Compactor::start(&shared)?,
            _index_file: IndexFileWriter::start(&shared)?,
        };
        let store = Store { shared };
        let writer = Writer::new(store.clone(), background, stamp.unwrap_or(0));
        Ok(Opened { store, writer, leased })
    }
}

/// Revisions that are stored as such.
struct Marks {
    /// Main revision of the newest row.
    newest: i64,
    finished: i64,
    scheduled: i64,
}

impl Marks {
    fn read(backend: &Backend) -> Result<Marks, Error> {
        let (finished, scheduled) = stored_marks(backend)?;
        let newest = match backend.last_key(Bucket::Key)? {
            Some(key) => RowKey::decode(&key)?.rev.main,
            None => 0,
        };
        Ok(Marks { newest, finished, scheduled })
    }

    fn current(&self) -> i64 {
        self.newest.max(self.compacted()).max(EMPTY_REVISION)
    }

    fn compacted(&self) -> i64 {
        self.finished.max(self.scheduled)
    }
}

struct Restored {
    index: TreeIndex,
    leased: Vec<(Bytes, i64)>,
    /// Of the index file used.
    stamp: Option<i64>,
}

/// The index file, if there is one that can be used. One that cannot is removed, and with it what
/// was noted for it.
fn load_file(backend: &Backend, marks: &Marks) -> Result<Option<Loaded>, Error> {
    let folder = backend.path();
    match index_file::load(folder, marks.current()) {
        Ok(Some(loaded)) => return Ok(Some(loaded)),
        Ok(None) => {}
        Err(reason) => {
            let path = index_file::path(folder);
            tracing::warn!(path = %path.display(), %reason, "read all rows: no usable index file");
        }
    }
    index_file::remove(folder).map_err(|source| {
        let path = index_file::path(folder);
        Error::IndexFile { action: "remove", path, source }
    })?;
    let mut batch = backend.batch();
    private::delete_tombstones(&mut batch, i64::MAX - 1);
    backend.write(batch)?;
    Ok(None)
}

/// Brings a loaded index up to date.
fn replay(backend: &Backend, marks: &Marks, loaded: Loaded) -> Result<Restored, Error> {
    let Loaded { mut index, stamp } = loaded;
    let mut noted = Vec::new();
    private::each_tombstone(backend, stamp + 1, |rev, key| {
        noted.push((rev, Bytes::copy_from_slice(key)));
    })?;
    let mut noted = noted.into_iter().peekable();
    let mut result = Ok(());
    walk_rows(backend, stamp + 1, i64::MAX, |row, _, value| {
        while let Some((rev, key)) = noted.next_if(|(rev, _)| *rev < row.rev) {
            index.replay_tombstone(&key, rev);
        }
        result = replay_row(&mut index, marks.compacted(), row, value);
        if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    result?;
    for (rev, key) in noted {
        index.replay_tombstone(&key, rev);
    }
    let mut cursor = Some(CompactCursor::new(marks.compacted()));
    while let Some(from) = cursor {
        cursor = index.compact_step(from, |_| {});
    }
    let mut leased = Vec::new();
    private::each_leased(backend, |rev, key, lease| {
        if index.find(key, i64::MAX).is_some_and(|entry| entry.modified == rev) {
            leased.push((Bytes::copy_from_slice(key), lease));
        }
    })?;
    leased.sort_unstable();
    Ok(Restored { index, leased, stamp: Some(stamp) })
}

fn replay_row(
    index: &mut TreeIndex,
    compacted: i64,
    row: RowKey,
    value: &[u8],
) -> Result<(), Error> {
    let kv = decode(row, value)?;
    if kv.key.is_empty() {
        return Ok(());
    }
    if row.tombstone {
        index.replay_tombstone(kv.key, row.rev);
        return Ok(());
    }
    let replayed = index.replay_put(kv.key, row.rev, kv.create_revision, kv.version);
    if replayed == Replayed::Replaced && row.rev.main > compacted {
        return Err(contradiction(row.rev));
    }
    Ok(())
}

/// Reads all rows of bucket `key` in revision order.
fn scan(backend: &Backend) -> Result<Restored, Error> {
    let mut index = TreeIndex::new();
    let mut leases: HashMap<Bytes, (Revision, i64)> = HashMap::new();
    let mut bad = None;
    walk_rows(backend, 0, i64::MAX, |row, _, value| {
        match scan_row(&mut index, row, value) {
            Ok(kv) if kv.lease != 0 => {
                leases.insert(Bytes::copy_from_slice(kv.key), (row.rev, kv.lease));
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
    note_leases(backend, &leases)?;
    let mut leased: Vec<_> = leases.into_iter().map(|(key, (_, lease))| (key, lease)).collect();
    leased.sort_unstable();
    Ok(Restored { index, leased, stamp: None })
}

/// Notes the leases that are not noted yet: rows that were loaded from a snapshot come without.
fn note_leases(backend: &Backend, leases: &HashMap<Bytes, (Revision, i64)>) -> Result<(), Error> {
    let mut noted = HashSet::new();
    private::each_leased(backend, |rev, _, _| {
        noted.insert(rev);
    })?;
    let mut batch = backend.batch();
    for (key, (rev, lease)) in leases {
        if !noted.contains(rev) {
            private::put_leased(&mut batch, *rev, key, *lease);
        }
    }
    if !batch.is_empty() {
        backend.write(batch)?;
    }
    Ok(())
}

fn scan_row<'a>(
    index: &mut TreeIndex,
    row: RowKey,
    value: &'a [u8],
) -> Result<KeyValue<'a>, Error> {
    let kv = decode(row, value)?;
    if kv.key.is_empty() {
        return Ok(kv);
    }
    if row.tombstone {
        index.restore_tombstone(kv.key, row.rev);
    } else if !index.restore_put(kv.key, row.rev, kv.create_revision, kv.version) {
        return Err(contradiction(row.rev));
    }
    Ok(kv)
}

/// Decodes a row. One without a key only moves the revision: a restored snapshot with a bumped
/// revision has one.
fn decode(row: RowKey, value: &[u8]) -> Result<KeyValue<'_>, Error> {
    let bad = |detail| Error::Row { rev: row.rev, detail };
    let kv = KeyValue::decode(value).ok_or_else(|| bad("its value is no key-value pair"))?;
    if !kv.key.is_empty() && !row.tombstone && kv.mod_revision != row.rev.main {
        return Err(bad("its value names another revision"));
    }
    Ok(kv)
}

fn contradiction(rev: Revision) -> Error {
    Error::Row { rev, detail: "it contradicts the earlier rows of its key" }
}
