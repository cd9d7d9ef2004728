//! The raft log as the raft thread sees it: any failure of the disk ends the member.

use std::time::Duration;

use raftnode::Disk;
use wal::{Entry, Error, HardState, SnapshotRecord, Wal};

use crate::fatal;

/// What etcd says when its log cannot be written; alert rules look for it.
const NOT_SAVED: &str = "failed to save Raft hard state and entries";

/// A log that stops the process where it cannot keep its promise: a failed write or sync is
/// never tried again, since the kernel may have dropped the bytes.
#[derive(Debug)]
pub(crate) struct FailStop(pub(crate) Wal);

fn or_die<T>(done: Result<T, Error>, what: &str) -> Result<T, Error> {
    done.or_else(|error| fatal::die(what, &error))
}

impl Disk for FailStop {
    fn append(&mut self, entries: &[Entry], state: Option<&HardState>) -> Result<bool, Error> {
        or_die(self.0.append(entries, state), NOT_SAVED)
    }

    fn sync(&mut self) -> Result<Duration, Error> {
        or_die(self.0.sync(), NOT_SAVED)
    }

    fn save_snapshot(&mut self, record: &SnapshotRecord) -> Result<Duration, Error> {
        or_die(self.0.save_snapshot(record), "failed to save Raft snapshot")
    }

    fn release_to(&mut self, index: u64) {
        self.0.release_to(index);
    }
}
