//! What the node drives: a state machine, a disk, a network and an observer.

use std::io;
use std::time::Duration;

use proto::raftpb;
use wal::{Entry, EntryKind, HardState, SnapshotRecord, Wal};

/// Committed entries, in log order, without gaps and never delivered twice.
///
/// Every one of them is durable in this member's log. An entry of a conf-change kind is
/// always the last of its batch, and nothing further is delivered before its verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommittedBatch {
    /// At least one entry. Each carries its own index and term.
    pub entries: Vec<Entry>,
}

impl CommittedBatch {
    /// Index of the last entry.
    ///
    /// # Panics
    /// When the batch is empty, which the driver never emits.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        self.entries.last().expect("a batch holds an entry").index
    }

    /// Whether the batch ends with a conf-change entry, so that a verdict is owed.
    #[must_use]
    pub fn ends_with_conf_change(&self) -> bool {
        self.entries.last().is_some_and(|entry| entry.kind != EntryKind::Normal)
    }
}

/// A membership change as raft sees it. etcd's `UpdateNode` changes nothing here: its verdict
/// is [`ConfVerdict::Reject`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfChange {
    /// Adds a voter, or promotes a learner.
    AddVoter(u64),
    /// Adds a member without a vote.
    AddLearner(u64),
    /// Removes a member.
    Remove(u64),
}

/// What the state machine decided about a conf-change entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfVerdict {
    /// raft changes its membership, too. It must arrive at the very state that the machine
    /// stored with the entry.
    Apply {
        /// The change.
        change: ConfChange,
        /// Membership after it.
        conf_state: base::ConfState,
    },
    /// raft's membership stays: refused, or of no concern to raft.
    Reject,
}

/// What came of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyOutcome {
    /// Index of the last entry applied: that of the batch's last entry.
    pub applied: u64,
    /// Present exactly when the batch ended with a conf-change entry.
    pub verdict: Option<ConfVerdict>,
}

/// A snapshot from the leader that replaces the whole state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallSnapshot {
    /// Its place in the log and its membership.
    pub record: SnapshotRecord,
    /// The bytes that came with it.
    pub data: bytes::Bytes,
}

/// Turns committed entries into state. Owned by one thread at a time.
pub trait StateMachine: Send + 'static {
    /// Applies the entries of `batch` in order, all of them, and publishes the result to
    /// readers **before** answering anybody who waits for one of them: the read barrier of a
    /// single member rests on this.
    ///
    /// An entry that cannot be applied is a result, never an error; what cannot be stored
    /// ends the process.
    fn apply(&mut self, batch: CommittedBatch) -> ApplyOutcome;

    /// Replaces the state by a received snapshot and makes it durable.
    fn install(&mut self, snapshot: InstallSnapshot);
}

/// Sends messages to other members. A call must not wait: what cannot be sent is dropped and
/// reported with [`crate::Handle::report_unreachable`].
pub trait Transport: Send + 'static {
    /// Takes the messages, each with its receiver in `to`.
    fn send(&mut self, messages: Vec<raftpb::Message>);
}

/// The transport of a member that is alone: there is nobody to send to.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTransport;

impl Transport for NoTransport {
    fn send(&mut self, messages: Vec<raftpb::Message>) {
        tracing::warn!(count = messages.len(), "dropped messages: this member has no transport");
    }
}

/// What a member is, as far as raft goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Follows a leader, or waits for one. Learners are followers for good.
    #[default]
    Follower,
    /// Asks whether an election would have a chance.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// Role, term and leader at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// This member's role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader's member id, 0 when none is known.
    pub leader: u64,
}

/// How far a member's log is, as the leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The member.
    pub id: u64,
    /// Highest index it is known to have.
    pub matched: u64,
    /// Index of the next entry it is sent.
    pub next: u64,
    /// How it is sent entries.
    pub state: ProgressState,
}

/// How a leader sends entries to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressState {
    /// One message at a time: it is not known where its log ends.
    Probe,
    /// As they come.
    Replicate,
    /// Not at all: a snapshot is on its way.
    Snapshot,
}

/// Is told of what changes. Called on the raft thread: must return at once.
pub trait Observer: Send + 'static {
    /// Role, term or leader changed.
    fn leadership_changed(&mut self, leadership: Leadership);
}

/// An observer that ignores everything.
impl Observer for () {
    fn leadership_changed(&mut self, _leadership: Leadership) {}
}

/// The log on disk. Implemented by [`Wal`]; tests put slow or failing disks in its place.
///
/// Any error is final: the node stops the process.
pub trait Disk: Send + 'static {
    /// Appends entries (replacing conflicting ones) and the hard state; tells whether a sync
    /// is owed.
    ///
    /// # Errors
    /// When the file cannot be written.
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<bool, wal::Error>;

    /// Makes everything appended durable and tells how long the device took.
    ///
    /// # Errors
    /// When the device refuses.
    fn sync(&mut self) -> Result<Duration, wal::Error>;

    /// Records a snapshot, durably.
    ///
    /// # Errors
    /// As for `append` and `sync`.
    fn save_snapshot(&mut self, record: &SnapshotRecord) -> Result<Duration, wal::Error>;

    /// Lets files go that hold only entries before `index`.
    fn release_to(&mut self, index: u64);
}

impl Disk for Wal {
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<bool, wal::Error> {
        Wal::append(self, entries, hard_state)
    }

    fn sync(&mut self) -> Result<Duration, wal::Error> {
        Wal::sync(self)
    }

    fn save_snapshot(&mut self, record: &SnapshotRecord) -> Result<Duration, wal::Error> {
        Wal::save_snapshot(self, record)
    }

    fn release_to(&mut self, index: u64) {
        Wal::release_to(self, index);
    }
}

/// A node's own thread could not do its work, in one line for the log.
pub(crate) fn fatal(what: &str, error: &dyn std::error::Error) -> ! {
    tracing::error!(error = %error, "{what}");
    panic!("{what}: {error}");
}

/// Starts a named thread.
pub(crate) fn spawn(
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body)
}
