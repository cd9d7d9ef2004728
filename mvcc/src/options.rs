//! What a store may be told.

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
}

impl Default for Options {
    fn default() -> Self {
        Options {
            compaction_batch_rows: 1000,
            compaction_walk_bytes_max: 1 << 30,
            compaction_pause: Duration::from_millis(10),
            index_file_revisions_min: 200_000,
        }
    }
}
