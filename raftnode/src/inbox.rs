//! The raft thread's inbox: everything anybody wants of it, bounded.
//!
//! | What | Bound | When full |
//! |---|---|---|
//! | proposals | 64 MiB, each counted as 16 KiB at least | the proposer waits |
//! | peer messages | 4,096 and 64 MiB | refused: dropped as by a network |
//! | readers | 65,536 | refused |
//! | controls | a few per snapshot, peer or operator | |

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Instant;

use parking_lot::Mutex;
use proto::raftpb;
use tokio::sync::{Semaphore, TryAcquireError, oneshot};
use wal::SnapshotRecord;

use crate::driver::Proposal;
use crate::error::{ProposeError, ReadError, StepError};
use crate::limits::{
    ENTRY_OVERHEAD_BYTES, INBOX_BYTES_MAX, INBOX_MESSAGE_BYTES_MAX, INBOX_MESSAGES_MAX,
    PROPOSAL_WEIGHT_MIN, READ_WAITERS_MAX,
};
use crate::machine::Progress;

/// Who waits for a read barrier.
pub(crate) type Reader = oneshot::Sender<Result<(), ReadError>>;

/// Requests that are neither proposals, messages nor reads.
#[derive(Debug)]
pub(crate) enum Control {
    /// Record a snapshot and let go of what it covers.
    Trim(Trim),
    /// Hand leadership to a member.
    TransferLeader(u64),
    /// A message to this member was lost.
    Unreachable(u64),
    /// A snapshot to member `to` arrived, or not.
    SnapshotSent { to: u64, arrived: bool },
    /// Let this many heartbeat intervals pass at once.
    Ticks(u32),
    /// Tell how far the others are.
    Progress(oneshot::Sender<Vec<Progress>>),
}

/// What [`crate::Handle::trim`] asks for.
#[derive(Debug)]
pub(crate) struct Trim {
    pub(crate) record: SnapshotRecord,
    pub(crate) release_to: u64,
    pub(crate) done: oneshot::Sender<()>,
}

impl Trim {
    /// Tells who asked that there is nothing left to do.
    pub(crate) fn finished(self) {
        if self.done.send(()).is_err() {
            tracing::debug!(index = self.record.index, "nobody waits for the snapshot record");
        }
    }
}

/// What came in since the last look.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    pub(crate) proposals: Vec<Proposal>,
    pub(crate) readers: Vec<Reader>,
    pub(crate) messages: Vec<raftpb::Message>,
    pub(crate) controls: Vec<Control>,
    pub(crate) stop: bool,
}

#[derive(Debug, Default)]
struct Queue {
    drained: Drained,
    message_bytes: usize,
    /// Readers here or taken and not answered yet.
    readers: usize,
    closed: bool,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    queue: Mutex<Queue>,
    room: Semaphore,
    owner: OnceLock<Thread>,
    /// Something happened outside the queue: a worker is done.
    nudged: AtomicBool,
}

/// Permits that `proposal` takes: its bytes, within bounds.
pub(crate) fn weight(proposal: &Proposal) -> u32 {
    let bytes = proposal.data.len() + ENTRY_OVERHEAD_BYTES;
    let bytes = bytes.clamp(PROPOSAL_WEIGHT_MIN, INBOX_BYTES_MAX);
    u32::try_from(bytes).expect("bounded by INBOX_BYTES_MAX")
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            queue: Mutex::default(),
            room: Semaphore::new(INBOX_BYTES_MAX),
            owner: OnceLock::new(),
            nudged: AtomicBool::new(false),
        }
    }

    /// Names the calling thread as the one to wake.
    pub(crate) fn adopt(&self) {
        self.owner.get_or_init(std::thread::current);
    }

    fn wake(&self) {
        if let Some(owner) = self.owner.get() {
            owner.unpark();
        }
    }

    /// Runs `put` on the open queue and wakes the owner if there was nothing in it before: who
    /// finds something there knows that the owner has been woken for it.
    fn put<E>(&self, closed: E, put: impl FnOnce(&mut Queue) -> Result<(), E>) -> Result<(), E> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(closed);
        }
        let was_empty = queue.drained.is_empty();
        put(&mut queue)?;
        drop(queue);
        if was_empty {
            self.wake();
        }
        Ok(())
    }

    /// Waits for room and puts the proposal in. Dropping the future before it is ready
    /// withdraws the proposal.
    pub(crate) async fn propose(&self, proposal: Proposal) -> Result<(), ProposeError> {
        let weight = weight(&proposal);
        let permit = match self.room.try_acquire_many(weight) {
            Ok(permit) => permit,
            Err(TryAcquireError::NoPermits) => {
                self.room.acquire_many(weight).await.map_err(|_| ProposeError::Stopped)?
            }
            Err(TryAcquireError::Closed) => return Err(ProposeError::Stopped),
        };
        self.put(ProposeError::Stopped, |queue| {
            queue.drained.proposals.push(proposal);
            Ok(())
        })?;
        permit.forget(); // given back when raft has taken the proposal
        Ok(())
    }

    /// Gives back the room of proposals that raft has taken.
    pub(crate) fn release(&self, weight: usize) {
        if weight > 0 {
            self.room.add_permits(weight);
        }
    }

    pub(crate) fn read(&self, reader: Reader) -> Result<(), ReadError> {
        self.put(ReadError::Stopped, |queue| {
            if queue.readers >= READ_WAITERS_MAX {
                return Err(ReadError::TooMany);
            }
            queue.readers += 1;
            queue.drained.readers.push(reader);
            Ok(())
        })
    }

    /// So many readers have been answered.
    pub(crate) fn readers_done(&self, count: usize) {
        self.queue.lock().readers -= count;
    }

    pub(crate) fn step(&self, message: raftpb::Message) -> Result<(), StepError> {
        let data = |entry: &raftpb::Entry| entry.data.as_ref().map_or(0, bytes::Bytes::len);
        let bytes: usize =
            message.entries.iter().map(|entry| data(entry) + ENTRY_OVERHEAD_BYTES).sum();
        self.put(StepError::Stopped, |queue| {
            let count = queue.drained.messages.len();
            let full = count >= INBOX_MESSAGES_MAX
                || (count > 0 && queue.message_bytes + bytes > INBOX_MESSAGE_BYTES_MAX);
            if full {
                return Err(StepError::Full);
            }
            queue.message_bytes += bytes;
            queue.drained.messages.push(message);
            Ok(())
        })
    }

    /// Puts a control in; `false` when the node has stopped.
    pub(crate) fn control(&self, control: Control) -> bool {
        self.put((), |queue| {
            queue.drained.controls.push(control);
            Ok(())
        })
        .is_ok()
    }

    /// Takes nothing more and tells the owner to end.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.drained.stop = true;
        drop(queue);
        self.room.close();
        self.wake();
    }

    /// A worker has something for the owner.
    pub(crate) fn nudge(&self) {
        if !self.nudged.swap(true, Ordering::AcqRel) {
            self.wake();
        }
    }

    /// Moves everything into `into`, which is empty; waits for it until `deadline`.
    pub(crate) fn drain(&self, into: &mut Drained, deadline: Instant) {
        loop {
            let nudged = self.nudged.swap(false, Ordering::AcqRel);
            let mut queue = self.queue.lock();
            if nudged || !queue.drained.is_empty() {
                std::mem::swap(&mut queue.drained, into);
                queue.drained.stop = into.stop; // for good
                queue.message_bytes = 0;
                return;
            }
            drop(queue);
            let now = Instant::now();
            if now >= deadline {
                return;
            }
            std::thread::park_timeout(deadline - now);
        }
    }
}

impl Drained {
    fn is_empty(&self) -> bool {
        self.proposals.is_empty()
            && self.readers.is_empty()
            && self.messages.is_empty()
            && self.controls.is_empty()
            && !self.stop
    }
}

#[cfg(test)]
mod tests;
