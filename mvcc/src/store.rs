//! What readers and the writer share, and how it is opened.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Acquire, Ordering::Release};

use backend::Backend;
use parking_lot::RwLock;

use crate::compact::Progress;
use crate::error::Error;
use crate::hash::CompactionHashes;
use crate::index::TreeIndex;
use crate::options::Options;
use crate::persist::IndexFileState;

/// The revision of a store that was never written to.
pub(crate) const EMPTY_REVISION: i64 = 1;

/// The compacted revision of a store that was never compacted.
pub(crate) const NEVER_COMPACTED: i64 = -1;

/// Reads of committed revisions, from any thread; a clone is another handle of the same store.
///
/// Reads run beside the writer: they hold the index lock for short pieces only and read rows
/// without any lock, because a row never changes once it is written.
#[derive(Clone)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
}

/// State behind all handles of a store.
pub(crate) struct Shared {
    pub(crate) backend: Backend,
    pub(crate) options: Options,
    /// Exactly the revisions up to `current`: both change under the write lock.
    pub(crate) index: RwLock<TreeIndex>,
    pub(crate) current: AtomicI64,
    pub(crate) compacted: AtomicI64,
    pub(crate) progress: Progress,
    pub(crate) hashes: CompactionHashes,
    pub(crate) files: IndexFileState,
}

impl Shared {
    pub(crate) fn current(&self) -> i64 {
        self.current.load(Acquire)
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.load(Acquire)
    }

    pub(crate) fn set_current(&self, revision: i64) {
        self.current.store(revision, Release);
    }

    pub(crate) fn set_compacted(&self, revision: i64) {
        self.compacted.store(revision, Release);
    }
}

impl Store {
    /// The newest committed revision; 1 in an empty store.
    pub fn current_revision(&self) -> i64 {
        self.shared.current()
    }

    /// The revision of the last compaction; -1 if there was none. Takes effect for readers at
    /// once, while its rows go away later.
    pub fn compacted_revision(&self) -> i64 {
        self.shared.compacted()
    }

    /// The backend below, for sizes, flushes and views of all buckets.
    pub fn backend(&self) -> &Backend {
        &self.shared.backend
    }

    /// Keys in the index, deleted ones that compaction has not removed yet included.
    pub fn index_keys(&self) -> u64 {
        self.shared.index.read().keys()
    }

    /// Bytes of memory the index takes. Walks the index: for occasional use.
    pub fn index_bytes(&self) -> usize {
        self.shared.index.read().memory_bytes()
    }

    /// Looks whether a background job (flush, table compaction, deletion of compacted rows) has
    /// failed. To be polled; what it finds is fatal.
    ///
    /// # Errors
    /// What failed.
    pub fn background_error(&self) -> Result<(), Error> {
        if let Some(error) = self.shared.progress.take_failure() {
            return Err(error);
        }
        Ok(self.shared.backend.background_error()?)
    }

    /// Calls `done` when the rows below the compaction at `revision` are deleted: at once if they
    /// are already, else later on the compaction's thread. It must not block. A store that stops
    /// before drops it uncalled.
    pub fn when_compacted(&self, revision: i64, done: impl FnOnce() + Send + 'static) {
        self.shared.progress.when_finished(revision, Box::new(done));
    }
}
