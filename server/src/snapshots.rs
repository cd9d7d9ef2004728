//! `.snap` files, and letting go of the log they make superfluous.
//!
//! The file holds the membership only; the keys are in the backend, which is made durable up to
//! the snapshot's index before the log may forget anything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ConfState, Member};
use tokio::sync::mpsc;
use wal::{SnapDir, Snapshot, SnapshotRecord};

use crate::metrics::Metrics;
use crate::state::StoreSlot;

/// Time between two purges of old files (etcd: 30 s).
pub(crate) const PURGE_INTERVAL: Duration = Duration::from_secs(30);

/// A snapshot to be taken: the membership as of an applied entry.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotJob {
    /// Index of the entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// Raft's membership.
    pub conf_state: ConfState,
    /// The members.
    pub members: Vec<Member>,
    /// Ids of removed members.
    pub removed: Vec<u64>,
    /// The cluster version.
    pub version: Option<String>,
}

/// Takes snapshots, one after the other, on a thread of its own.
pub(crate) struct Snapshotter {
    /// Where `.snap` files are.
    pub dir: SnapDir,
    /// What is made durable first.
    pub stores: Arc<StoreSlot>,
    /// Records the snapshot in the log.
    pub raft: raftnode::Handle,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Snapshotter {
    /// Takes what is asked for until nobody can ask any more.
    pub(crate) async fn run(self, mut jobs: mpsc::Receiver<SnapshotJob>) {
        while let Some(job) = jobs.recv().await {
            self.take(job).await;
        }
    }

    async fn take(&self, job: SnapshotJob) {
        tracing::info!("snapshot-index" = job.index, "triggering snapshot");
        let began = Instant::now();
        if let Err(error) = self.stores.get().backend().flush() {
            crate::fatal::die("failed to make the backend durable", &error);
        }
        let encode = Instant::now();
        let document = wal::store_document(&job.members, &job.removed, job.version.as_deref());
        let snapshot = Snapshot {
            index: job.index,
            term: job.term,
            conf_state: job.conf_state.clone(),
            data: document.into(),
        };
        self.metrics.snap_encode_seconds.observe(encode.elapsed());
        let write = Instant::now();
        if let Err(error) = self.dir.save(&snapshot) {
            crate::fatal::die("failed to save snapshot", &error);
        }
        self.metrics.snap_fsync_seconds.observe(write.elapsed());
        let record =
            SnapshotRecord { index: job.index, term: job.term, conf_state: Some(job.conf_state) };
        if self.raft.trim(record, job.index).await.is_err() {
            // The server is stopping; an orphaned .snap file is legal.
            return;
        }
        if let Err(error) = self.dir.release_dbs(job.index) {
            tracing::warn!(error = %error, "failed to remove images of older snapshots");
        }
        self.metrics.snap_save_seconds.observe(began.elapsed());
        tracing::info!("snapshot-index" = job.index, "saved snapshot to disk");
    }
}

/// Removes files beyond the configured numbers, again and again.
#[derive(Debug)]
pub(crate) struct Purger {
    /// Where `.snap` files are.
    pub snap_dir: SnapDir,
    /// Where the log is.
    pub wal_dir: PathBuf,
    /// `--max-snapshots`; 0 keeps all.
    pub snapshots_max: usize,
    /// `--max-wals`; 0 keeps all.
    pub wals_max: usize,
}

impl Purger {
    /// One pass.
    pub(crate) fn purge(&self) {
        let wals = match self.wals_max {
            0 => Ok(Vec::new()),
            max => wal::purge(&self.wal_dir, max),
        };
        for removed in [self.snap_dir.purge(self.snapshots_max), wals] {
            match removed {
                Ok(paths) => {
                    for path in paths {
                        tracing::info!(path = %path.display(), "purged");
                    }
                }
                Err(error) => tracing::warn!(error = %error, "failed to purge files"),
            }
        }
    }

    /// A pass now and one every interval.
    pub(crate) async fn run(self) {
        let mut ticks = tokio::time::interval(PURGE_INTERVAL);
        loop {
            ticks.tick().await;
            self.purge();
        }
    }
}
