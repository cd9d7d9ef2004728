//! What everybody else holds of a running node.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use proto::raftpb;
use tokio::sync::{oneshot, watch};
use wal::{EntryKind, SnapshotRecord};

use crate::driver::Proposal;
use crate::error::{ProposeError, ReadError, StepError};
use crate::inbox::{Control, Inbox, Trim};
use crate::machine::{Leadership, Progress};
use crate::status::Status;

/// Access to a running node; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) status: Arc<Status>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) configured: watch::Receiver<u64>,
}

/// A running node. Dropping it stops the node without waiting.
#[derive(Debug)]
pub struct RaftNode {
    pub(crate) handle: Handle,
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl RaftNode {
    /// A handle for anybody.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops the node and waits until what was under way is written and applied. Nothing that
    /// was proposed and not yet committed is applied; whoever waits for it is not answered.
    ///
    /// # Panics
    /// When the raft thread has panicked.
    pub fn stop(mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the raft thread has panicked");
        }
    }
}

impl Drop for RaftNode {
    fn drop(&mut self) {
        self.handle.stop();
    }
}

impl Handle {
    /// Hands an entry's bytes to raft. `Ok` means that raft will order them if the leader takes
    /// them, not that they are committed: that is seen when the state machine applies them.
    ///
    /// Waits while no leader is known, and for room while the inbox is full.
    ///
    /// Cancel safe: a proposal whose future is dropped before it is ready is withdrawn.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn propose(&self, data: Bytes) -> Result<(), ProposeError> {
        self.propose_entry(EntryKind::Normal, data).await
    }

    /// As [`Handle::propose`] for the bytes of a membership change. raft silently replaces it
    /// by an empty entry while another change is under way.
    ///
    /// # Errors
    /// As [`Handle::propose`].
    pub async fn propose_conf_change(&self, data: Bytes) -> Result<(), ProposeError> {
        self.propose_entry(EntryKind::ConfChange, data).await
    }

    async fn propose_entry(&self, kind: EntryKind, data: Bytes) -> Result<(), ProposeError> {
        if self.status.leader() == 0 {
            self.some_leader().await?;
        }
        self.inbox.propose(Proposal { kind, data }).await
    }

    async fn some_leader(&self) -> Result<(), ProposeError> {
        let mut leadership = self.leadership.clone();
        let known = leadership.wait_for(|now| now.leader != 0).await;
        known.map(drop).map_err(|_| ProposeError::Stopped)
    }

    /// Returns once the state applied here contains every write that anybody was told of
    /// before the call. At once and without leaving the caller's thread when this member is
    /// alone; otherwise the leader is asked, for all who wait at the same time.
    ///
    /// Without a leader it waits for one: the caller has the deadline. Cancel safe.
    ///
    /// # Errors
    /// [`ReadError::LeaderChanged`] when a new leader appeared meanwhile.
    pub async fn read_barrier(&self) -> Result<(), ReadError> {
        if self.status.local_reads() {
            return Ok(());
        }
        let (reader, answer) = oneshot::channel();
        self.inbox.read(reader)?;
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Facts and counters.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Role, term and leader, with changes to wait for.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Hands a peer's message to raft.
    ///
    /// # Errors
    /// [`StepError::Full`] or [`StepError::Stopped`]; the message may be dropped. What raft
    /// itself refuses is logged and dropped there.
    pub fn step(&self, message: raftpb::Message) -> Result<(), StepError> {
        self.inbox.step(message)
    }

    /// Records in the log that a `.snap` file of `record` exists, durably, and lets go of
    /// segments and entries it covers. `durable_index` is what the backend has on disk: the log
    /// keeps everything behind it.
    ///
    /// The file and everything it names must be durable already, and `record` applied.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`]: it may or may not have been recorded.
    pub async fn trim(
        &self,
        record: SnapshotRecord,
        durable_index: u64,
    ) -> Result<(), ProposeError> {
        let (done, recorded) = oneshot::channel();
        let release_to = record.index.min(durable_index);
        self.inbox.control(Control::Trim(Trim { record, release_to, done }));
        recorded.await.map_err(|_| ProposeError::Stopped)
    }

    /// Asks that `to` becomes leader; whether it does is seen in [`Handle::leadership`].
    pub fn transfer_leader(&self, to: u64) {
        self.inbox.control(Control::TransferLeader(to));
    }

    /// Returns once raft's own membership contains the conf change at `index`, so that the next
    /// one is not refused because of it.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn configured(&self, index: u64) -> Result<(), ProposeError> {
        let mut configured = self.configured.clone();
        let known = configured.wait_for(|last| *last >= index).await;
        known.map(drop).map_err(|_| ProposeError::Stopped)
    }

    /// How far every member is, by id; empty unless this member leads.
    ///
    /// # Errors
    /// [`ProposeError::Stopped`].
    pub async fn progress(&self) -> Result<Vec<Progress>, ProposeError> {
        let (asker, answer) = oneshot::channel();
        self.inbox.control(Control::Progress(asker));
        answer.await.map_err(|_| ProposeError::Stopped)
    }

    /// A message to `to` could not be sent.
    pub fn report_unreachable(&self, to: u64) {
        self.inbox.control(Control::Unreachable(to));
    }

    /// A snapshot to `to` has arrived, or failed. Owed for every snapshot message.
    pub fn report_snapshot(&self, to: u64, arrived: bool) {
        self.inbox.control(Control::SnapshotSent { to, arrived });
    }

    /// Lets `ticks` heartbeat intervals pass at once, to shorten the first election.
    pub fn advance_ticks(&self, ticks: u32) {
        self.inbox.control(Control::Ticks(ticks));
    }

    /// Tells the node to stop. [`RaftNode::stop`] also waits.
    pub fn stop(&self) {
        self.inbox.close();
    }
}
