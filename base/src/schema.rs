//! Names of buckets and of the rows with fixed keys.

/// The buckets, in name order, which is their order in hashes and snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Bucket {
    /// Raised alarms: encoded `AlarmMember`, empty values.
    Alarm,
    /// Whether authentication is on, and its revision.
    Auth,
    /// Role name to encoded `authpb.Role`.
    AuthRoles,
    /// User name to encoded `authpb.User`.
    AuthUsers,
    /// Cluster version and downgrade job.
    Cluster,
    /// Revision to encoded `mvccpb.KeyValue`.
    Key,
    /// Lease id, big endian, to encoded `leasepb.Lease`.
    Lease,
    /// Member id in hex to the member's JSON.
    Members,
    /// Ids that can never return.
    MembersRemoved,
    /// What the store knows of itself.
    Meta,
}

impl Bucket {
    /// Every bucket, in name order.
    pub const ALL: [Self; 10] = [
        Self::Alarm,
        Self::Auth,
        Self::AuthRoles,
        Self::AuthUsers,
        Self::Cluster,
        Self::Key,
        Self::Lease,
        Self::Members,
        Self::MembersRemoved,
        Self::Meta,
    ];

    /// The bucket's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Auth => "auth",
            Self::AuthRoles => "authRoles",
            Self::AuthUsers => "authUsers",
            Self::Cluster => "cluster",
            Self::Key => "key",
            Self::Lease => "lease",
            Self::Members => "members",
            Self::MembersRemoved => "members_removed",
            Self::Meta => "meta",
        }
    }

    /// The bucket of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|bucket| bucket.name() == name)
    }
}

/// `meta`: raft index of the last applied entry, big endian; 0 is never written.
pub const CONSISTENT_INDEX: &[u8] = b"consistent_index";
/// `meta`: raft term of that entry, big endian; 0 is never written.
pub const TERM: &[u8] = b"term";
/// `meta`: JSON of the raft configuration, see [`crate::ConfState`].
pub const CONF_STATE: &[u8] = b"confState";
/// `meta`: revision of the compaction asked for last, as a row key.
pub const SCHEDULED_COMPACT: &[u8] = b"scheduledCompactRev";
/// `meta`: revision of the compaction finished last, as a row key.
pub const FINISHED_COMPACT: &[u8] = b"finishedCompactRev";
/// `meta`: version of the schema, `major.minor.0`; absent before 3.6.
pub const STORAGE_VERSION: &[u8] = b"storageVersion";

/// Rows of `meta` that the hash of the whole store leaves out.
pub const HASH_IGNORED: [&[u8]; 3] = [CONSISTENT_INDEX, TERM, STORAGE_VERSION];

/// `cluster`: the version all members have, `major.minor.0`.
pub const CLUSTER_VERSION: &[u8] = b"clusterVersion";
/// `cluster`: JSON of the downgrade job.
pub const DOWNGRADE: &[u8] = b"downgrade";

/// `members_removed`: the value of every row.
pub const REMOVED: &[u8] = b"removed";

/// `auth`: one byte, 1 when on; absent while it was never switched on.
pub const AUTH_ENABLED: &[u8] = b"authEnabled";
/// `auth`: the revision of users and roles, big endian.
pub const AUTH_REVISION: &[u8] = b"authRevision";

/// The key of a lease's row.
pub const fn lease_key(id: i64) -> [u8; 8] {
    id.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_stand_in_name_order() {
        let names: Vec<_> = Bucket::ALL.iter().map(|bucket| bucket.name()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        assert!(Bucket::ALL.is_sorted());
    }

    #[test]
    fn names_lead_back_to_their_bucket() {
        for bucket in Bucket::ALL {
            assert_eq!(Bucket::from_name(bucket.name()), Some(bucket));
        }
        assert_eq!(Bucket::from_name("test"), None);
    }
}
