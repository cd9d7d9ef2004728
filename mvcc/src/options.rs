//! What a store may be told.

use std::time::Duration;

/// Settings of a [`Store`](crate::Store). None of them changes what is stored or answered.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows a compaction looks at per batch (etcd's `--compaction-batch-limit`).
    pub compaction_batch_rows: usize,
    /// Pause between two such batches (etcd's `--compaction-sleep-interval`).
    pub compaction_pause: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options { compaction_batch_rows: 1000, compaction_pause: Duration::from_millis(10) }
    }
}
