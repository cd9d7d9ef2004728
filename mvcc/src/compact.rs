//! Compaction: what nobody can ask for any more is deleted in the background.
//!
//! ```text
//!   batch of the entry:  scheduledCompactRev = C        (durable order: before any deletion)
//!   this thread:         index forgets ─▶ rows ≤ C, batch by batch ─▶ last batch: finished = C
//!                                         kept: what a reader at C sees, and a tombstone at C
//! ```
//!
//! Rows are deleted in revision order, so that an interrupted compaction never leaves a put whose
//! tombstone is gone. A restart does the whole walk again.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use base::schema::{self, Bucket};
use base::{Revision, RowKey};
use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::hash::{KvHasher, walk_rows};
use crate::index::CompactCursor;
use crate::kv::KeyValue;
use crate::read::row_bound;
use crate::store::{NEVER_COMPACTED, Shared};

/// Compactions that wait for their turn. When more come, those in between are left out: the
/// last one does their work too.
const WAITING_MAX: usize = 8;

const THREAD: &str = "compact";

type Done = Box<dyn FnOnce() + Send>;

/// What the compaction thread is told and what it tells.
pub(crate) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Job>,
    finished: i64,
    stop: bool,
    failed: Option<Error>,
    waiters: Vec<(i64, Done)>,
}

/// A compaction to be done.
#[derive(Clone, Copy)]
struct Job {
    revision: i64,
    /// The compaction before it, if all its rows are known to be there and to be deleted by it:
    /// then the rows walked have a hash that other members find too.
    previous: Option<i64>,
}

impl Progress {
    pub(crate) fn new(finished: i64) -> Progress {
        let state = State { finished, ..State::default() };
        Progress { state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn finished(&self) -> i64 {
        self.state.lock().finished
    }

    /// Asks for a compaction that has just been committed.
    pub(crate) fn schedule(&self, revision: i64) {
        let mut state = self.state.lock();
        let mut previous = Some(state.waiting.back().map_or(state.finished, |job| job.revision));
        if state.waiting.len() >= WAITING_MAX {
            // The front one may be in work.
            state.waiting.truncate(1);
            previous = None;
        }
        state.waiting.push_back(Job { revision, previous });
        self.changed.notify_all();
    }

    /// Asks for a compaction that was interrupted: some of its rows are gone.
    pub(crate) fn resume(&self, revision: i64) {
        self.state.lock().waiting.push_back(Job { revision, previous: None });
        self.changed.notify_all();
    }

    pub(crate) fn when_finished(&self, revision: i64, done: Done) {
        let mut state = self.state.lock();
        if state.finished >= revision {
            drop(state);
            done();
        } else {
            state.waiters.push((revision, done));
        }
    }

    /// What ended a background job, if something did.
    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.state.lock().failed.take()
    }

    fn stop(&self) {
        self.state.lock().stop = true;
        self.changed.notify_all();
    }

    /// Waits for a job; `None` is the end. The job stays in front until it is finished.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if state.stop {
                return None;
            }
            if let Some(job) = state.waiting.front() {
                return Some(*job);
            }
            self.changed.wait(&mut state);
        }
    }

    fn finish(&self, revision: i64) {
        let mut state = self.state.lock();
        state.waiting.pop_front();
        state.finished = state.finished.max(revision);
        let (ready, waiters) =
            std::mem::take(&mut state.waiters).into_iter().partition(|(at, _)| *at <= revision);
        state.waiters = waiters;
        let ready: Vec<(i64, Done)> = ready;
        drop(state);
        for (_, done) in ready {
            done();
        }
    }

    /// Sleeps between batches; whether to go on.
    fn pause(&self, pause: std::time::Duration) -> bool {
        let mut state = self.state.lock();
        if !state.stop && !pause.is_zero() {
            // Woken early by a new job or by the end; a shorter pause does no harm.
            self.changed.wait_for(&mut state, pause);
        }
        !state.stop
    }

    /// Notes a failure of a background job, to be found by [`take_failure`](Self::take_failure).
    pub(crate) fn fail(&self, action: &'static str, error: Error) {
        tracing::error!(%error, action, "background job of the store failed");
        self.state.lock().failed.get_or_insert(error);
    }
}

/// The compaction thread; dropped, it stops at the next batch.
pub(crate) struct Compactor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Compactor {
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<Compactor, Error> {
        let worker = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                while let Some(job) = worker.progress.next() {
                    match compact(&worker, job) {
                        Ok(true) => worker.progress.finish(job.revision),
                        Ok(false) => return,
                        Err(error) => return worker.progress.fail("compact", error),
                    }
                }
            })
            .map_err(|source| Error::Thread { name: THREAD, source })?;
        Ok(Compactor { shared: Arc::clone(shared), thread: Some(thread) })
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.shared.progress.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("compaction thread panicked");
        }
    }
}

/// Does a compaction; `false` if it was told to stop before the end.
fn compact(shared: &Shared, job: Job) -> Result<bool, Error> {
    let at = job.revision;
    let mut hasher = match job.previous {
        Some(previous) => Some(KvHasher::new(at, previous, any_retained(shared, at)?)),
        None => None,
    };
    let mut cursor = Some(CompactCursor::new(at));
    while let Some(from) = cursor {
        // The lock is free between the steps.
        cursor = shared.index.write().compact_step(from, |_| {});
    }
    let mut from = row_bound(0).to_vec();
    loop {
        let mut doomed = Vec::new();
        let last = walk_batch(shared, at, &mut from, hasher.as_mut(), &mut doomed)?;
        let mut batch = shared.backend.batch();
        for row in doomed {
            batch.delete_written_once(Bucket::Key, &row.encode());
        }
        if last {
            let row = RowKey::put(Revision::new(at, 0)).encode();
            batch.put(Bucket::Meta, schema::FINISHED_COMPACT, &row);
        }
        if !batch.is_empty() {
            shared.backend.write(batch)?;
        }
        if last {
            break;
        }
        if !shared.progress.pause(shared.options.compaction_pause) {
            return Ok(false);
        }
    }
    if let Some(hasher) = hasher {
        shared.hashes.push(hasher.finish());
    }
    Ok(true)
}

/// Walks one batch of rows and moves `from` behind it; `true` if it was the last one.
fn walk_batch(
    shared: &Shared,
    at: i64,
    from: &mut Vec<u8>,
    mut hasher: Option<&mut KvHasher>,
    doomed: &mut Vec<RowKey>,
) -> Result<bool, Error> {
    let mut left = shared.options.compaction_batch_rows.max(1);
    let first = RowKey::decode(from.get(..17).unwrap_or_default())?;
    let skip_to = std::mem::take(from);
    walk_rows(&shared.backend, first.rev.main, at, |row, key, value| {
        if *key < skip_to[..] {
            return ControlFlow::Continue(());
        }
        if left == 0 {
            from.extend_from_slice(key);
            return ControlFlow::Break(());
        }
        left -= 1;
        let retained = match KeyValue::key_of(value) {
            Some(user_key) => shared.index.read().is_retained(user_key, row.rev, at),
            None => false,
        };
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.add(row, key, value, || retained);
        }
        if !retained {
            doomed.push(row);
        }
        ControlFlow::Continue(())
    })?;
    Ok(from.is_empty())
}

/// Whether a compaction at `at` leaves any row at or below `at`.
fn any_retained(shared: &Shared, at: i64) -> Result<bool, Error> {
    let mut tombstone = false;
    if !shared.any_key_at(at) {
        walk_rows(&shared.backend, at.max(0), at, |row, _, _| {
            tombstone |= row.tombstone;
            ControlFlow::Continue(())
        })?;
        return Ok(tombstone);
    }
    Ok(true)
}

/// Finished and scheduled compaction revisions as stored.
pub(crate) fn stored_marks(rows: &impl backend::Rows) -> Result<(i64, i64), Error> {
    let read = |key: &'static [u8], name: &'static str| -> Result<i64, Error> {
        match rows.get(Bucket::Meta, key)? {
            None => Ok(NEVER_COMPACTED),
            Some(row) => match RowKey::decode(&row) {
                Ok(row) => Ok(row.rev.main),
                Err(_) => Err(Error::Meta { key: name }),
            },
        }
    };
    let finished = read(schema::FINISHED_COMPACT, "finishedCompactRev")?;
    let scheduled = read(schema::SCHEDULED_COMPACT, "scheduledCompactRev")?;
    Ok((finished, scheduled))
}
