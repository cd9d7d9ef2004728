//! What the services need from the member below them. Implemented by the running member, and by
//! small fakes in tests.

use std::future::Future;

use apply::{RangeAnswer, ReadError, Reply, TxnAnswer};
use base::{KeyRange, Member};
use mvcc::{KvHash, Shard, WatchStream};
use proto::etcdserverpb::{AlarmMember, LeaseTimeToLiveRequest, RangeRequest, TxnRequest};
use proto::request::Kind;

use super::errors::RpcError;
use super::stream_end::Closing;
use crate::backup::Chunks;

/// Who this member is and what it knows at the moment; all answers are immediate.
pub(crate) trait Board: Send + Sync + 'static {
    /// The cluster's id.
    fn cluster_id(&self) -> u64;
    /// This member's id.
    fn member_id(&self) -> u64;
    /// Raft term of the last applied entry.
    fn applied_term(&self) -> u64;
    /// The leader's id, 0 when none is known.
    fn leader(&self) -> u64;
    /// Whether this member has no vote.
    fn is_learner(&self) -> bool;
    /// The newest revision.
    fn revision(&self) -> i64;
    /// All members, by id.
    fn members(&self) -> Vec<Member>;
    /// The facts of a status answer.
    fn status(&self) -> Status;
    /// Tells streams that the member ends.
    fn closing(&self) -> Closing;
}

/// Facts of a status answer that no other call gives.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Status {
    /// Bytes of the backend on disk.
    pub db_bytes: i64,
    /// Bytes of it that hold rows.
    pub db_used_bytes: i64,
    /// The quota, as configured; 2 GiB when configured 0.
    pub db_quota_bytes: i64,
    /// Committed raft index.
    pub committed_index: u64,
    /// Applied raft index.
    pub applied_index: u64,
    /// `X.Y.0`, or empty when undetectable.
    pub storage_version: String,
    /// The target of the downgrade under way.
    pub downgrade_target: Option<String>,
    /// Raised alarms.
    pub alarms: Vec<AlarmMember>,
}

/// Orders requests through the log.
pub(crate) trait Writes: Send + Sync + 'static {
    /// Orders `request` and returns once it is applied here.
    ///
    /// The request timeout of the server holds. Dropping the future forgets the answer, not the
    /// request.
    ///
    /// # Errors
    /// What the state machine, the limits of the log or the clock refuse with.
    fn propose<M: prost::Message>(
        &self,
        kind: Kind,
        request: &M,
    ) -> impl Future<Output = Result<Applied, RpcError>> + Send;

    /// Whether a write of this cost (bytes) fits the quota; if not, the NOSPACE alarm is raised.
    fn has_room(&self, cost_bytes: i64) -> bool;

    /// Returns once the rows below the compaction at `revision` are gone from disk.
    fn compacted(&self, revision: i64) -> impl Future<Output = Result<(), RpcError>> + Send;

    /// A lease id that was never used.
    fn next_lease_id(&self) -> i64;
}

/// The outcome of an applied request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// The answer, without header.
    pub reply: Reply,
    /// The revision after it.
    pub revision: i64,
}

/// Reads the store.
pub(crate) trait Reads: Send + Sync + 'static {
    /// Returns once the state here contains every write answered anywhere before the call.
    ///
    /// # Errors
    /// [`RpcError::Timeout`], [`RpcError::LeaderChanged`], [`RpcError::Stopped`].
    fn barrier(&self) -> impl Future<Output = Result<(), RpcError>> + Send;

    /// Reads a checked range; the answer has no header.
    ///
    /// # Errors
    /// A revision out of reach, or a failure of the store.
    fn range(&self, request: &RangeRequest) -> Result<RangeAnswer, ReadError>;

    /// How many keys a range has in the newest state: quick, and not counted as a read.
    fn keys_in(&self, range: &KeyRange) -> i64;

    /// Runs a checked transaction that only reads; the answer has no header.
    ///
    /// # Errors
    /// As for [`Reads::range`].
    fn read_txn(&self, request: &TxnRequest) -> Result<TxnAnswer, ReadError>;

    /// Hash of everything stored.
    fn hash(&self) -> impl Future<Output = Result<u32, tonic::Status>> + Send;

    /// Hash of the pairs visible at a revision; 0 is the newest.
    ///
    /// # Errors
    /// [`RpcError::Compacted`], [`RpcError::FutureRev`], and failures of the store.
    fn hash_kv(&self, revision: i64) -> impl Future<Output = Result<KvHash, tonic::Status>> + Send;

    /// Messages of a backup of this member, up to the hash at its end. It goes on as they are
    /// taken, and ends when they are dropped.
    ///
    /// # Errors
    /// [`RpcError::Stopped`], or that there is no thread for it.
    fn backup(&self) -> impl Future<Output = Result<Chunks, tonic::Status>> + Send;

    /// Rewrites the backend of this member to give space back.
    fn defragment(&self) -> impl Future<Output = Result<(), tonic::Status>> + Send;
}

/// Leases and their time.
pub(crate) trait Leases: Send + Sync + 'static {
    /// Renews a lease, wherever the leader is. `None` if it is unknown or has expired.
    ///
    /// # Errors
    /// [`RpcError::NoLeader`], [`RpcError::Timeout`], [`RpcError::NotPrimary`].
    fn renew(&self, id: i64) -> impl Future<Output = Result<Option<i64>, RpcError>> + Send;

    /// What is left of a lease. `None` if it is unknown or has expired.
    ///
    /// # Errors
    /// As for [`Leases::renew`].
    fn time_to_live(
        &self,
        request: &LeaseTimeToLiveRequest,
    ) -> impl Future<Output = Result<Option<TimeToLive>, RpcError>> + Send;

    /// Ids of all leases known here.
    fn leases(&self) -> Vec<i64>;
}

/// What is left of a lease.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TimeToLive {
    /// Whole seconds left.
    pub remaining_s: i64,
    /// The TTL it was granted with.
    pub granted_s: i64,
    /// Attached keys, if asked for.
    pub keys: Vec<bytes::Bytes>,
}

/// Changes who the members are and who of them leads.
///
/// None of these has a deadline but the caller's, except where noted.
pub(crate) trait Changes: Send + Sync + 'static {
    /// Adds a member, which gets an id of its own.
    ///
    /// # Errors
    /// [`RpcError::MemberBadURLs`], [`RpcError::MemberNotEnoughStarted`],
    /// [`RpcError::Unhealthy`], [`RpcError::MemberExist`], [`RpcError::PeerURLExist`],
    /// [`RpcError::TooManyLearners`].
    fn add_member(
        &self,
        urls: &[String],
        is_learner: bool,
    ) -> impl Future<Output = Result<Member, RpcError>> + Send;

    /// Removes a member for good.
    ///
    /// # Errors
    /// [`RpcError::MemberNotEnoughStarted`], [`RpcError::Unhealthy`],
    /// [`RpcError::MemberNotFound`].
    fn remove_member(&self, id: u64) -> impl Future<Output = Result<(), RpcError>> + Send;

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// [`RpcError::MemberBadURLs`], [`RpcError::MemberNotFound`], [`RpcError::PeerURLExist`].
    fn update_member(
        &self,
        id: u64,
        urls: &[String],
    ) -> impl Future<Output = Result<(), RpcError>> + Send;

    /// Makes a learner a voter. Without a leader it gives up after the request timeout.
    ///
    /// # Errors
    /// [`RpcError::NoLeader`], [`RpcError::MemberNotFound`], [`RpcError::MemberNotLearner`],
    /// [`RpcError::LearnerNotReady`], [`RpcError::MemberNotEnoughStarted`].
    fn promote_member(&self, id: u64) -> impl Future<Output = Result<(), RpcError>> + Send;

    /// Hands leadership to a voter and waits, for the request timeout at most, until it leads.
    ///
    /// # Errors
    /// [`RpcError::NotLeader`], [`RpcError::BadLeaderTransferee`],
    /// [`RpcError::LeaderTransferTimeout`].
    fn move_leader(&self, to: u64) -> impl Future<Output = Result<(), RpcError>> + Send;
}

/// Opens watch streams.
pub(crate) trait Watching: Send + Sync + 'static {
    /// A new stream, whose reader lives on the thread of `shard`.
    fn watch(&self, shard: &Shard) -> WatchStream;
}

/// Everything together.
pub(crate) trait Node: Board + Writes + Reads + Leases + Changes + Watching {}

impl<T: Board + Writes + Reads + Leases + Changes + Watching> Node for T {}
