//! What the transport needs from the member it carries messages for.

use std::future::Future;
use std::pin::Pin;

use proto::raftpb;

use crate::SnapshotBody;

/// A boxed future.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The member. No call may wait: all are made on the thread that serves every peer, and
/// [`Host::report_unreachable`] also on the thread that calls [`crate::Transport::send`].
pub trait Host: Send + Sync + 'static {
    /// Takes a message of a peer. It is addressed to this member, its sender is not removed,
    /// and its type is one that travels between members, but never `MsgSnap`.
    ///
    /// # Errors
    /// [`StepRefused`]; the message is then gone, as if the network had lost it.
    fn step(&self, message: raftpb::Message) -> Result<(), StepRefused>;

    /// Whether the member with this id was removed from the cluster.
    fn is_removed(&self, id: u64) -> bool;

    /// A message to this member was dropped, or its connection broke.
    fn report_unreachable(&self, id: u64);

    /// The snapshot for this member has arrived, or has failed.
    fn report_snapshot(&self, id: u64, arrived: bool);

    /// A peer said that this member was removed from the cluster for good. May be called more
    /// than once.
    fn removed_from_cluster(&self);

    /// Stores the database of a snapshot, then steps its message. Dropping the future means
    /// that the sender is gone.
    fn receive_snapshot(
        &self,
        message: raftpb::Message,
        body: SnapshotBody,
    ) -> BoxFuture<'static, Result<(), ReceiveError>>;
}

/// Why the member did not take a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepRefused {
    /// Too many messages wait; this one is dropped, as a network may.
    #[error("too many messages wait")]
    Full,
    /// The message breaks a rule.
    #[error("{0}")]
    Invalid(String),
}

/// Why a snapshot was not received. The texts reach its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// The database could not be read or stored.
    #[error("failed to save KV snapshot ({0})")]
    Store(String),
    /// The database is stored, the message was refused.
    #[error("failed to process raft message ({0})")]
    Process(String),
}
