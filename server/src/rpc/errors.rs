//! The one table from what can go wrong to the status a client sees.
//!
//! Official clients tell errors apart by their text alone, so every byte of it is owed.

use apply::ApplyError;
use raftnode::ReadError;
use tonic::{Code, Status};

/// Declares the errors with their status code and text.
macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $code:ident, $text:literal;)*) => {
        /// Everything a service answers with, other than success.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum RpcError {
            $($(#[$doc])* $name,)*
        }

        impl RpcError {
            /// Every error and its name in etcd's vocabulary.
            pub const ALL: &[(&'static str, Self)] = &[$((stringify!($name), Self::$name),)*];

            /// The status code.
            pub const fn code(self) -> Code {
                match self { $(Self::$name => Code::$code,)* }
            }

            /// The status message.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

errors! {
    /// A key has length 0.
    EmptyKey = InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` of a missing key, or an operation without content.
    KeyNotFound = InvalidArgument, "etcdserver: key not found";
    /// `ignore_value` with a value.
    ValueProvided = InvalidArgument, "etcdserver: value is provided";
    /// `ignore_lease` with a lease.
    LeaseProvided = InvalidArgument, "etcdserver: lease is provided";
    /// A transaction exceeds its operation budget.
    TooManyOps = InvalidArgument, "etcdserver: too many operations in txn request";
    /// A branch changes a key twice.
    DuplicateKey = InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// Sort order or target is no defined number.
    InvalidSortOption = InvalidArgument, "etcdserver: invalid sort option";
    /// The revision is below the compacted one.
    Compacted = OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision is above the current one.
    FutureRev = OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The quota is exceeded, or the NOSPACE alarm is on.
    NoSpace = ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// A streamed range asks for an order.
    RangeStreamSort = Unimplemented, "RangeStream does not support custom sort orders";
    /// A streamed range asks for revision bounds.
    RangeStreamFilters = Unimplemented, "RangeStream does not support revision filters";
    /// The lease is unknown.
    LeaseNotFound = NotFound, "etcdserver: requested lease not found";
    /// The lease id is in use.
    LeaseExist = FailedPrecondition, "etcdserver: lease already exists";
    /// The TTL is above 9,000,000,000 seconds.
    LeaseTTLTooLarge = OutOfRange, "etcdserver: too large lease TTL";
    /// This member could not confirm that it leads.
    NotPrimary = Unknown, "not a primary lessor";
    /// The state lags the log for too long.
    TimeoutWaitAppliedIndex = Unavailable,
        "etcdserver: request timed out, waiting for the applied index took too long";
    /// A watch stream was cancelled.
    WatchCanceled = Cancelled, "etcdserver: watch canceled";
    /// The member id is taken.
    MemberExist = FailedPrecondition, "etcdserver: member ID already exist";
    /// A peer URL belongs to another member.
    PeerURLExist = FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// Too few started members would remain.
    MemberNotEnoughStarted = Unknown,
        "etcdserver: re-configuration failed due to not enough started members";
    /// Peer URLs are missing or malformed.
    MemberBadURLs = InvalidArgument, "etcdserver: given member URLs are invalid";
    /// The member is unknown or was removed.
    MemberNotFound = NotFound, "etcdserver: member not found";
    /// The member to promote is a voter.
    MemberNotLearner = FailedPrecondition, "etcdserver: can only promote a learner member";
    /// The learner to promote lags.
    LearnerNotReady = FailedPrecondition,
        "etcdserver: can only promote a learner member which is in sync with leader";
    /// The cluster has as many learners as allowed.
    TooManyLearners = FailedPrecondition, "etcdserver: too many learner members in cluster";
    /// This member is not connected to a quorum.
    Unhealthy = Unavailable, "etcdserver: unhealthy cluster";
    /// Only the leader can do this.
    NotLeader = FailedPrecondition, "etcdserver: not leader";
    /// Leadership cannot go to this member.
    BadLeaderTransferee = FailedPrecondition, "etcdserver: bad leader transferee";
    /// Leadership did not move in time.
    LeaderTransferTimeout = Unknown, "etcdserver: request timed out, leader transfer took too long";
    /// Declared for clients; never answered.
    ClusterIDMismatch = FailedPrecondition, "etcdserver: cluster ID mismatch";
    /// The log entry would be longer than allowed.
    RequestTooLarge = InvalidArgument, "etcdserver: request is too large";
    /// The state lags the log by too many entries.
    TooManyRequests = Unknown, "etcdserver: too many requests";
    /// The client gave up while its proposal was under way.
    Canceled = Cancelled, "etcdserver: request canceled";
    /// The client gave up elsewhere.
    ContextCanceled = Cancelled, "context canceled";
    /// A deadline passed while nothing was under way yet.
    ContextDeadline = DeadlineExceeded, "context deadline exceeded";
    /// Declared for clients; never answered.
    DeadlineDeclared = DeadlineExceeded, "etcdserver: context deadline exceeded";
    /// A downgrade request with an undefined action.
    UnknownMethodAction = Unknown, "etcdserver: unknown method";
    /// No leader is known.
    NoLeader = Unavailable, "etcdserver: no leader";
    /// The leader changed while a read waited.
    LeaderChanged = Unavailable, "etcdserver: leader changed";
    /// The cluster version lacks the service.
    NotCapable = FailedPrecondition, "etcdserver: not capable";
    /// The server is stopping.
    Stopped = Unavailable, "etcdserver: server stopped";
    /// The request timeout passed.
    Timeout = Unavailable, "etcdserver: request timed out";
    /// The same, near a change of leader.
    TimeoutDueToLeaderFail = Unavailable,
        "etcdserver: request timed out, possibly due to previous leader failure";
    /// The same, without a connection to a quorum.
    TimeoutDueToConnectionLost = Unavailable,
        "etcdserver: request timed out, possibly due to connection lost";
    /// The CORRUPT alarm is on.
    Corrupt = DataLoss, "etcdserver: corrupt cluster";
    /// Learners do not serve this.
    NotSupportedForLearner = FailedPrecondition, "etcdserver: rpc not supported for learner";
    /// The `client-api-version` metadata is not UTF-8.
    InvalidClientAPIVersion = InvalidArgument, "etcdserver: invalid client api version";
    /// raft refused the proposal.
    RaftProposalDropped = Unknown, "raft proposal dropped";
    /// raft has stopped.
    RaftStopped = Unknown, "raft: stopped";
    /// There is no user root.
    RootUserNotExist = FailedPrecondition, "etcdserver: root user does not exist";
    /// User root lacks role root.
    RootRoleNotExist = FailedPrecondition, "etcdserver: root user does not have root role";
    /// The user exists.
    UserAlreadyExist = FailedPrecondition, "etcdserver: user name already exists";
    /// No user name, or no credentials while authentication is on.
    UserEmpty = InvalidArgument, "etcdserver: user name is empty";
    /// The user is unknown.
    UserNotFound = FailedPrecondition, "etcdserver: user name not found";
    /// The role exists.
    RoleAlreadyExist = FailedPrecondition, "etcdserver: role name already exists";
    /// The role is unknown.
    RoleNotFound = FailedPrecondition, "etcdserver: role name not found";
    /// No role name.
    RoleEmpty = InvalidArgument, "etcdserver: role name is empty";
    /// Unknown user or wrong password.
    AuthFailed = InvalidArgument,
        "etcdserver: authentication failed, invalid user ID or password";
    /// A password for a user without one.
    NoPasswordUser = Unknown,
        "auth: authentication failed, password was given for no password user";
    /// A grant without a permission.
    PermissionNotGiven = InvalidArgument, "etcdserver: permission not given";
    /// The user may not do this.
    PermissionDenied = PermissionDenied, "etcdserver: permission denied";
    /// The user lacks the role.
    RoleNotGranted = FailedPrecondition, "etcdserver: role is not granted to the user";
    /// The role lacks the permission.
    PermissionNotGranted = FailedPrecondition,
        "etcdserver: permission is not granted to the role";
    /// Authentication is off.
    AuthNotEnabled = FailedPrecondition, "etcdserver: authentication is not enabled";
    /// The token is unknown, expired or malformed.
    InvalidAuthToken = Unauthenticated, "etcdserver: invalid auth token";
    /// Root cannot be taken away, or a permission names no interval.
    InvalidAuthMgmt = InvalidArgument, "etcdserver: invalid auth management";
    /// Users or roles changed since the credentials were issued.
    AuthOldRevision = InvalidArgument, "etcdserver: revision of auth store is old";
    /// Tokens can only be verified here.
    VerifyOnly = Unknown, "auth: token signing attempted with verify-only key";
    /// The password is too long.
    BcryptTooLong = Unknown, "bcrypt: password length exceeds 72 bytes";
    /// The target version is malformed.
    WrongDowngradeVersionFormat = InvalidArgument,
        "etcdserver: wrong downgrade target version format";
    /// The target is not one minor version below.
    InvalidDowngradeTargetVersion = InvalidArgument,
        "etcdserver: invalid downgrade target version";
    /// No cluster version is decided yet.
    ClusterVersionUnavailable = FailedPrecondition,
        "etcdserver: cluster version not found during downgrade";
    /// A downgrade is under way.
    DowngradeInProcess = FailedPrecondition,
        "etcdserver: cluster has a downgrade job in progress";
    /// No downgrade is under way; logged only.
    NoInflightDowngrade = FailedPrecondition, "etcdserver: no inflight downgrade job";
    /// An election call without a leader.
    MissingLeaderKey = Unknown, "\"leader\" field must be provided";
    /// Nobody is elected.
    ElectionNoLeader = Unknown, "election: no leader";
    /// Another one is elected.
    ElectionNotLeader = Unknown, "election: not leader";
    /// The lock's lease ended while waiting.
    SessionExpired = Unknown, "mutex: session is expired";
}

impl From<RpcError> for Status {
    fn from(error: RpcError) -> Self {
        Self::new(error.code(), error.text())
    }
}

impl From<ApplyError> for RpcError {
    fn from(error: ApplyError) -> Self {
        match error {
            ApplyError::EmptyKey => Self::EmptyKey,
            ApplyError::KeyNotFound => Self::KeyNotFound,
            ApplyError::Compacted => Self::Compacted,
            ApplyError::FutureRev => Self::FutureRev,
            ApplyError::NoSpace => Self::NoSpace,
            ApplyError::Corrupt => Self::Corrupt,
            ApplyError::LeaseNotFound => Self::LeaseNotFound,
            ApplyError::LeaseExist => Self::LeaseExist,
            ApplyError::LeaseTtlTooLarge => Self::LeaseTTLTooLarge,
            ApplyError::MemberExist => Self::MemberExist,
            ApplyError::MemberNotFound => Self::MemberNotFound,
            ApplyError::PeerUrlExist => Self::PeerURLExist,
            ApplyError::TooManyLearners => Self::TooManyLearners,
            ApplyError::MemberNotLearner => Self::MemberNotLearner,
            ApplyError::LastVoter => Self::MemberNotEnoughStarted,
            // Only a log of another member can hold such a request; nobody waits for it here.
            ApplyError::AuthNotSupported => Self::AuthNotEnabled,
        }
    }
}

impl From<ReadError> for RpcError {
    /// What raft says of a read barrier.
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::LeaderChanged => Self::LeaderChanged,
            ReadError::TooMany => Self::TooManyRequests,
            ReadError::Stopped => Self::Stopped,
        }
    }
}

/// The status of a read that failed: a refusal, or the store's own words with code Unknown.
pub(super) fn read_failed(error: apply::ReadError) -> Status {
    match error {
        apply::ReadError::Refused(refusal) => RpcError::from(refusal).into(),
        apply::ReadError::Store(error) => {
            tracing::error!(error = %error, "failed to read the store");
            Status::unknown(error.to_string())
        }
    }
}

impl std::fmt::Display for RpcError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for RpcError {}

/// The answer of services and methods this version does not run yet.
pub(crate) fn not_served(service: &str, method: &str) -> Status {
    Status::unimplemented(format!("{service}/{method} is not served by this version"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    /// Texts with a part that varies; made where they occur.
    const TEMPLATES: [&str; 6] = [
        "GrpcMessageTooLarge",
        "GrpcUnknownMethod",
        "GrpcUnknownService",
        "GrpcCompression",
        "GrpcBadMessage",
        "LockElectionWrapped",
    ];

    #[test]
    fn codes_and_texts_are_the_recorded_ones() {
        let golden: Vec<Value> =
            serde_json::from_str(include_str!("errors_golden.json")).expect("JSON");
        let mut ours: BTreeMap<&str, RpcError> = RpcError::ALL.iter().copied().collect();
        for fact in &golden {
            let id = fact["id"].as_str().expect("a string");
            if TEMPLATES.contains(&id) {
                continue;
            }
            let error = ours.remove(id).expect(id);
            assert_eq!(i64::from(error.code() as i32), fact["code"], "{id}");
            assert_eq!(error.text(), fact["message"], "{id}");
        }
        assert!(ours.is_empty(), "not recorded: {ours:?}");
    }

    #[test]
    fn a_status_carries_code_and_text() {
        let status = Status::from(RpcError::Compacted);
        assert_eq!(status.code(), Code::OutOfRange);
        assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
    }
}
