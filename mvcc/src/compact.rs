//! Compaction: what nobody can ask for any more is deleted in the background.
//!
//! ```text
//!   batch of the entry:  scheduledCompactRev = C        (durable order: before any deletion)
//!   this thread:         index forgets ─▶ rows ≤ C, batch by batch ─▶ last batch: finished = C
//!                                         kept: what a reader at C sees, and a tombstone at C
//! ```
//!
//! Which rows go is found in one of two ways. A *walk* reads all rows up to C: it also gives the
//! hash that members compare, and it finds rows that an interrupted compaction left. Where that
//! is too much to read, the rows of what the *index forgets* are deleted, and there is no hash.
//!
//! Rows of a key are deleted in revision order, so that an interrupted compaction never leaves a
//! put whose tombstone is gone. A restart walks again.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use backend::Rows as _;
use base::schema::{self, Bucket};
use base::{Revision, RowKey};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::hash::{KvHasher, walk_rows};
use crate::index::CompactCursor;
use crate::kv::KeyValue;
use crate::options::CompactionStep;
use crate::private;
use crate::read::row_bound;
use crate::store::{NEVER_COMPACTED, Shared};

/// Compactions that wait for their turn. When more come, those in between are left out: the
/// last one does their work too.
const WAITING_MAX: usize = 8;

/// Rows of what the index forgets that are gathered before they are deleted: bounds the memory.
const FORGOTTEN_ROWS_MAX: usize = 1 << 20;

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
    after: After,
}

/// What went before a compaction.
#[derive(Clone, Copy)]
enum After {
    /// This compaction (-1: none), and it was finished: the rows walked have a hash that other
    /// members find too.
    Finished(i64),
    /// One whose work this one does too.
    Skipped,
    /// A restart: rows are left that the index does not know.
    Interrupted,
}

impl Progress {
    pub(crate) fn new(finished: i64) -> Progress {
        let state = State { finished, ..State::default() };
        Progress { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Asks for a compaction that has just been committed.
    pub(crate) fn schedule(&self, revision: i64) {
        let mut state = self.state.lock();
        let newest = state.waiting.back().map_or(state.finished, |job| job.revision);
        let mut after = After::Finished(newest);
        if state.waiting.len() >= WAITING_MAX {
            // The front one may be in work.
            state.waiting.truncate(1);
            after = After::Skipped;
        }
        state.waiting.push_back(Job { revision, after });
        self.changed.notify_all();
    }

    /// Asks for a compaction that was interrupted: some of its rows are gone.
    pub(crate) fn resume(&self, revision: i64) {
        self.state.lock().waiting.push_back(Job { revision, after: After::Interrupted });
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
    fn pause(&self, pause: Duration) -> bool {
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
    let small = shared.backend.allocated_bytes() <= shared.options.compaction_walk_bytes_max;
    let done = match job.after {
        After::Interrupted => walk(shared, job.revision, None)?,
        After::Finished(previous) if small => {
            let any_retained = any_retained(shared, job.revision)?;
            walk(shared, job.revision, Some(KvHasher::new(job.revision, previous, any_retained)))?
        }
        After::Skipped if small => walk(shared, job.revision, None)?,
        After::Finished(_) | After::Skipped => delete_forgotten(shared, job.revision)?,
    };
    if done {
        sweep_leased(shared)?;
        // Whoever waits for the end may rely on it (etcd: a physical compaction is on disk).
        shared.backend.flush()?;
    }
    Ok(done)
}

/// A row to be deleted; of tombstones the key is needed too.
struct Doomed {
    row: RowKey,
    key: Option<Bytes>,
}

/// Finds the rows to delete by reading all.
fn walk(shared: &Shared, at: i64, mut hasher: Option<KvHasher>) -> Result<bool, Error> {
    let began = Instant::now();
    let mut cursor = Some(CompactCursor::new(at));
    while let Some(from) = cursor {
        // The lock is free between the steps.
        cursor = shared.index.write().compact_step(from, |_| {});
    }
    let observer = &shared.options.compaction_observer;
    observer.tell(CompactionStep::Index(began.elapsed()));
    let mut from = row_bound(0).to_vec();
    loop {
        let began = Instant::now();
        let mut doomed = Vec::new();
        let last = walk_batch(shared, at, &mut from, hasher.as_mut(), &mut doomed)?;
        delete(shared, &doomed, last.then_some(at))?;
        observer.tell(CompactionStep::Batch { rows: doomed.len(), took: began.elapsed() });
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
    doomed: &mut Vec<Doomed>,
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
        let user_key = KeyValue::key_of(value).unwrap_or_default();
        let retained = shared.index.read().is_retained(user_key, row.rev, at);
        if let Some(hasher) = hasher.as_deref_mut() {
            hasher.add(row, key, value, || retained);
        }
        if !retained {
            let key = row.tombstone.then(|| Bytes::copy_from_slice(user_key));
            doomed.push(Doomed { row, key });
        }
        ControlFlow::Continue(())
    })?;
    Ok(from.is_empty())
}

/// Finds the rows to delete in what the index forgets.
fn delete_forgotten(shared: &Shared, at: i64) -> Result<bool, Error> {
    let observer = &shared.options.compaction_observer;
    let mut index_took = Duration::ZERO;
    let mut cursor = Some(CompactCursor::new(at));
    while cursor.is_some() {
        // All forgotten rows of a key come in one step, hence in one round.
        let mut rows = Vec::new();
        let began = Instant::now();
        while let Some(from) = cursor.take_if(|_| rows.len() < FORGOTTEN_ROWS_MAX) {
            cursor = shared.index.write().compact_step(from, |row| rows.push(row));
        }
        index_took += began.elapsed();
        rows.sort_unstable();
        for rows in rows.chunks(shared.options.compaction_batch_rows.max(1)) {
            let began = Instant::now();
            delete(shared, &with_keys(shared, rows)?, None)?;
            observer.tell(CompactionStep::Batch { rows: rows.len(), took: began.elapsed() });
            if !shared.progress.pause(shared.options.compaction_pause) {
                return Ok(false);
            }
        }
    }
    delete(shared, &[], Some(at))?;
    observer.tell(CompactionStep::Index(index_took));
    Ok(true)
}

/// Reads the keys of the tombstones that have to be noted.
fn with_keys(shared: &Shared, rows: &[RowKey]) -> Result<Vec<Doomed>, Error> {
    let noted = shared.files.notes_above();
    let needs_key = |row: &RowKey| row.tombstone && noted.is_some_and(|at| row.rev.main > at);
    let tombstones: Vec<_> = rows.iter().filter(|row| needs_key(row)).collect();
    let keys: Vec<_> = tombstones.iter().map(|row| row.encode()).collect();
    let mut values = Vec::with_capacity(keys.len());
    shared.backend.multi_get(Bucket::Key, &keys, |_, value| {
        let key = value.and_then(KeyValue::key_of).map(Bytes::copy_from_slice);
        values.push(key.unwrap_or_default());
    })?;
    let mut values = values.into_iter();
    let doomed = |row: &RowKey| {
        let key = if needs_key(row) { values.next() } else { None };
        Doomed { row: *row, key }
    };
    Ok(rows.iter().map(doomed).collect())
}

/// Deletes rows in one batch; with `finished`, it is the last one of that compaction.
fn delete(shared: &Shared, doomed: &[Doomed], finished: Option<i64>) -> Result<(), Error> {
    // Asked for as late as possible: an index file begun before knows what is deleted here.
    let noted = shared.files.notes_above();
    let mut batch = shared.backend.batch();
    for Doomed { row, key } in doomed {
        batch.delete_written_once(Bucket::Key, &row.encode());
        if let Some(key) = key.as_ref().filter(|_| noted.is_some_and(|at| row.rev.main > at)) {
            private::put_tombstone(&mut batch, row.rev, key);
        }
    }
    if let Some(at) = finished {
        let row = RowKey::put(Revision::new(at, 0)).encode();
        batch.put(Bucket::Meta, schema::FINISHED_COMPACT, &row);
    }
    if !batch.is_empty() {
        shared.backend.write(batch)?;
    }
    Ok(())
}

/// Deletes the notes of puts with a lease that are not their key's newest change any more.
fn sweep_leased(shared: &Shared) -> Result<(), Error> {
    let current = {
        // Rows above may be stored already while the index does not know them.
        let _index = shared.index.read();
        shared.current()
    };
    let mut stale = Vec::new();
    private::each_leased(&shared.backend, |rev, key, _| {
        let newest = || shared.index.read().find(key, i64::MAX).map(|entry| entry.modified);
        if rev.main <= current && newest() != Some(rev) {
            stale.push(rev);
        }
    })?;
    for revs in stale.chunks(shared.options.compaction_batch_rows.max(1)) {
        let mut batch = shared.backend.batch();
        for rev in revs {
            private::delete_leased(&mut batch, *rev);
        }
        shared.backend.write(batch)?;
    }
    Ok(())
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
