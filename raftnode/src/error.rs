//! Why a member's raft node refuses to start, or ends.

/// Errors of starting a node. Later failures of the log are fatal to the process instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Entries read from the log do not follow one another.
    #[error(
        "log entry {index} (term {term}) does not follow entry {before_index} \
         (term {before_term})"
    )]
    LogGap {
        /// Index of the entry before, or of the snapshot the log starts at.
        before_index: u64,
        /// Its term.
        before_term: u64,
        /// Index of the offending entry.
        index: u64,
        /// Its term.
        term: u64,
    },
    /// The hard state commits entries that the log does not have: synced data was lost.
    #[error("hard state commits entry {commit}, but the log ends at {last}")]
    CommitBeyondLog {
        /// Commit index of the hard state.
        commit: u64,
        /// Last index of the log.
        last: u64,
    },
    /// The state machine is ahead of the log: its data outlived the log it came from.
    #[error("the backend has applied entry {applied}, but the log ends at {last}")]
    AppliedBeyondLog {
        /// Index the state machine has applied.
        applied: u64,
        /// Last index of the log.
        last: u64,
    },
    /// The state machine lacks entries that the log no longer has.
    #[error("the backend has applied entry {applied}, but the log starts after {boundary}")]
    AppliedBelowLog {
        /// Index the state machine has applied.
        applied: u64,
        /// Snapshot index the log starts at.
        boundary: u64,
    },
    /// Founders were given for a member that already has a log.
    #[error("cannot found a cluster: the log already ends at {last}")]
    AlreadyFounded {
        /// Last index of the log.
        last: u64,
    },
    /// raft refuses the settings.
    #[error("raft settings: {0}")]
    Settings(#[source] raft::Error),
    /// The log could not be written while founding the cluster.
    #[error("write the founding entries")]
    Wal(#[source] wal::Error),
    /// A thread could not be started.
    #[error("start thread {name}")]
    Thread {
        /// Name of the thread.
        name: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Why a proposal was not handed to raft. It was surely not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The node is stopping.
    #[error("raft node stopped")]
    Stopped,
}

/// Why a read barrier failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The leader changed while the read index was outstanding: `etcdserver: leader changed`.
    #[error("leader changed")]
    LeaderChanged,
    /// More readers wait than the node admits.
    #[error("too many waiting readers")]
    TooMany,
    /// The node is stopping.
    #[error("raft node stopped")]
    Stopped,
}

/// Why a peer message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The message type is unknown here or only allowed inside one member.
    #[error("message type {kind} is not allowed from a peer")]
    Kind {
        /// The number on the wire.
        kind: i32,
    },
    /// An entry kind outside etcd's enum.
    #[error("entry type {kind} is unknown")]
    EntryKind {
        /// The number on the wire.
        kind: i32,
    },
    /// An answer from a member that is not in the configuration.
    #[error("answer from {from}, which is not a member")]
    UnknownPeer {
        /// The sender.
        from: u64,
    },
    /// The message is for another member.
    #[error("message for member {to}")]
    Misdirected {
        /// The receiver it names.
        to: u64,
    },
    /// No member sends such a message, and raft would end the process over it.
    #[error("a message that cannot be: {what}")]
    Impossible {
        /// What is wrong with it.
        what: &'static str,
    },
    /// raft dropped it; the sender tries again.
    #[error("dropped")]
    Dropped,
    /// The inbox is full; the message may be dropped as by a network.
    #[error("inbox is full")]
    Full,
    /// The node is stopping.
    #[error("raft node stopped")]
    Stopped,
}
