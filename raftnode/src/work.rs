//! The two kinds of work the raft thread has: writing the log and applying.

use std::collections::VecDeque;
use std::sync::Arc;

use wal::{HardState, SnapshotRecord};

use crate::driver::Persist;
use crate::inbox::Trim;
use crate::limits::MERGED_BATCHES_MAX;
use crate::machine::{ApplyOutcome, CommittedBatch, Disk, InstallSnapshot, StateMachine, fatal};
use crate::status::Status;
use crate::worker::Work;

/// Owns the log on disk.
pub(crate) struct LogWork {
    disk: Box<dyn Disk>,
    status: Arc<Status>,
}

/// Something to write.
pub(crate) enum LogJob {
    /// What raft wants durable.
    Persist(Persist),
    /// A commit index; no sync.
    Commit(HardState),
    /// A snapshot of this member's own state.
    Trim(Trim),
}

impl LogWork {
    pub(crate) fn new(disk: Box<dyn Disk>, status: Arc<Status>) -> Self {
        Self { disk, status }
    }

    /// Appends; tells whether a sync is owed.
    fn append(&mut self, persist: &Persist) -> bool {
        if let Some(record) = &persist.snapshot {
            self.save_snapshot(record);
        }
        let appended = self.disk.append(&persist.entries, persist.hard_state.as_ref());
        appended.unwrap_or_else(|error| fatal("append to the log", &error))
    }

    fn sync(&mut self) {
        match self.disk.sync() {
            Ok(took) => self.status.note_sync(took),
            Err(error) => fatal("sync the log", &error),
        }
    }

    fn save_snapshot(&mut self, record: &SnapshotRecord) {
        match self.disk.save_snapshot(record) {
            Ok(took) => self.status.note_sync(took),
            Err(error) => fatal("record a snapshot in the log", &error),
        }
    }

    /// Makes `persist` durable.
    pub(crate) fn persist(&mut self, persist: &Persist) {
        if self.append(persist) {
            self.sync();
        }
    }

    /// Writes a commit index without a sync.
    pub(crate) fn commit(&mut self, hard_state: &HardState) {
        if let Err(error) = self.disk.append(&[], Some(hard_state)) {
            fatal("write the commit index", &error);
        }
    }

    /// Records a snapshot and lets go of what it covers.
    pub(crate) fn trim(&mut self, trim: Trim) {
        self.save_snapshot(&trim.record);
        self.disk.release_to(trim.release_to);
        trim.finished();
    }
}

impl Work for LogWork {
    type Job = LogJob;
    /// Number of the newest write that is durable.
    type Echo = u64;

    fn work(&mut self, jobs: VecDeque<LogJob>, echo: &mut dyn FnMut(usize, u64)) {
        let count = jobs.len();
        let (mut number, mut must_sync) = (0, false);
        for job in jobs {
            match job {
                LogJob::Persist(persist) => {
                    must_sync |= self.append(&persist);
                    number = persist.number;
                }
                LogJob::Commit(hard_state) => self.commit(&hard_state),
                LogJob::Trim(trim) => self.trim(trim),
            }
        }
        if must_sync {
            self.sync();
        }
        echo(count, number);
    }
}

/// Owns the state machine.
pub(crate) struct ApplyWork {
    machine: Box<dyn StateMachine>,
}

/// Something to apply.
pub(crate) enum ApplyJob {
    Apply(CommittedBatch),
    Install(InstallSnapshot),
}

/// What was applied.
pub(crate) enum ApplyEcho {
    Applied(ApplyOutcome),
    Installed(u64),
}

impl ApplyWork {
    pub(crate) fn new(machine: Box<dyn StateMachine>) -> Self {
        Self { machine }
    }

    pub(crate) fn apply(&mut self, batch: CommittedBatch) -> ApplyOutcome {
        let last = batch.last_index();
        let outcome = self.machine.apply(batch);
        assert_eq!(outcome.applied, last, "the state machine left entries out");
        outcome
    }

    pub(crate) fn install(&mut self, snapshot: InstallSnapshot) -> u64 {
        let index = snapshot.record.index;
        self.machine.install(snapshot);
        index
    }
}

impl Work for ApplyWork {
    type Job = ApplyJob;
    type Echo = ApplyEcho;

    fn work(&mut self, mut jobs: VecDeque<ApplyJob>, echo: &mut dyn FnMut(usize, ApplyEcho)) {
        while let Some(job) = jobs.pop_front() {
            let mut batch = match job {
                ApplyJob::Apply(batch) => batch,
                ApplyJob::Install(snapshot) => {
                    echo(1, ApplyEcho::Installed(self.install(snapshot)));
                    continue;
                }
            };
            let mut merged = 1;
            while merged < MERGED_BATCHES_MAX && !batch.ends_with_conf_change() {
                let next = jobs.pop_front_if(|job| matches!(job, ApplyJob::Apply(_)));
                let Some(ApplyJob::Apply(next)) = next else { break };
                batch.entries.extend(next.entries);
                merged += 1;
            }
            echo(merged, ApplyEcho::Applied(self.apply(batch)));
        }
    }
}
