//! The two kinds of failure: an answer that refuses, and a log that cannot be applied.

use std::path::PathBuf;

/// A refusal of one request.
///
/// It is a result of the state machine: every member reaches the same one at the same entry, and
/// nothing was written for it unless the variant says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ApplyError {
    /// A put without key; whoever let it into the log did not check it.
    #[error("key is not provided")]
    EmptyKey,
    /// `ignore_value` or `ignore_lease` of a key that does not exist, or an operation of a txn
    /// without content.
    #[error("key not found")]
    KeyNotFound,
    /// The asked revision is below the compacted one.
    #[error("required revision has been compacted")]
    Compacted,
    /// The asked revision is above the current one.
    #[error("required revision is a future revision")]
    FutureRev,
    /// The NOSPACE alarm is on, or the quota is exceeded.
    ///
    /// In the second case **the write happened**: the quota is a member's own setting and may
    /// change the answer only.
    #[error("database space exceeded")]
    NoSpace,
    /// The CORRUPT alarm is on.
    #[error("corrupt cluster")]
    Corrupt,
    /// The lease is unknown.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease id is in use.
    #[error("lease already exists")]
    LeaseExist,
    /// The TTL is above [`LEASE_TTL_MAX_S`](crate::LEASE_TTL_MAX_S).
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The member id is taken.
    #[error("member ID already exist")]
    MemberExist,
    /// The member id is unknown or was removed.
    #[error("member not found")]
    MemberNotFound,
    /// A peer URL belongs to another member.
    #[error("peer URLs already exists")]
    PeerUrlExist,
    /// The cluster has as many learners as allowed.
    #[error("too many learner members in cluster")]
    TooManyLearners,
    /// The member to promote is a voter.
    #[error("can only promote a learner member")]
    MemberNotLearner,
    /// The member to remove is the last voter: a cluster of none could never decide again.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// A request of the auth service, which this version does not run.
    #[error("authentication is not supported yet")]
    AuthNotSupported,
}

/// A failure after which the member must stop: going on would lose or invent state.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes of a committed entry are not a request.
    #[error("decode entry {index}: {reason}")]
    Undecodable {
        /// Raft index of the entry.
        index: u64,
        /// What is wrong with the bytes.
        reason: String,
    },
    /// Entries arrived out of order.
    #[error("apply entry {index}: expected entry {expected}")]
    IndexGap {
        /// Raft index of the entry.
        index: u64,
        /// The index that had to come.
        expected: u64,
    },
    /// The cluster agreed on a version newer than this program.
    #[error("apply entry {index}: cluster version {version} is newer than this server {server}")]
    ClusterVersionTooNew {
        /// Raft index of the entry.
        index: u64,
        /// The agreed version.
        version: String,
        /// Our own version.
        server: &'static str,
    },
    /// The data directory has authentication switched on.
    #[error(
        "open {path}: authentication is enabled there, which this version cannot enforce",
        path = path.display()
    )]
    AuthEnabled {
        /// The backend directory.
        path: PathBuf,
    },
    /// A stored row cannot be read.
    #[error("read bucket {bucket}, key {key:02x?}: {reason}")]
    BadRow {
        /// Name of the bucket.
        bucket: &'static str,
        /// Key of the row.
        key: Vec<u8>,
        /// What is wrong with it.
        reason: String,
    },
    /// The key-value store failed.
    #[error("key-value store")]
    Mvcc(#[from] mvcc::Error),
    /// The backend failed.
    #[error("backend")]
    Backend(#[from] backend::Error),
}
