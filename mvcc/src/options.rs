//! What a store may be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a [`Store`](crate::Store). None of them changes what is stored or answered.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows a compaction looks at per batch (etcd's `--compaction-batch-limit`).
    pub compaction_batch_rows: usize,
    /// Pause between two such batches (etcd's `--compaction-sleep-interval`).
    pub compaction_pause: Duration,
    /// Size of the backend up to which a compaction reads all rows, which gives the hash that
    /// members compare. Above it only what is deleted is touched, and there is no hash.
    pub compaction_walk_bytes_max: u64,
    /// Revisions after which a new index file is written, if they are also at least a quarter of
    /// the keys: bounds what a restart replays.
    pub index_file_revisions_min: i64,
    /// Told what compactions do.
    pub compaction_observer: Observer,
}

/// A part of a compaction that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionStep {
    /// The index forgot what lies below the revision; readers waited for no more than this time.
    Index(Duration),
    /// These many rows were deleted in one batch.
    Batch {
        /// Rows deleted.
        rows: usize,
        /// How long finding and deleting them took.
        took: Duration,
    },
}

/// Hears what compactions do, on their thread.
#[derive(Clone, Default)]
pub struct Observer(Option<Arc<dyn Fn(CompactionStep) + Send + Sync>>);

impl Observer {
    /// Calls `hear` after every step; it must not wait.
    pub fn new(hear: impl Fn(CompactionStep) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    pub(crate) fn tell(&self, step: CompactionStep) {
        if let Some(hear) = &self.0 {
            hear(step);
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            compaction_batch_rows: 1000,
            compaction_walk_bytes_max: 1 << 30,
            compaction_pause: Duration::from_millis(10),
            index_file_revisions_min: 200_000,
            compaction_observer: Observer::default(),
        }
    }
}
