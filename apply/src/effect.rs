//! What the rest of the member must do because of an applied entry.

use base::Member;
use base::version::Version;
use proto::etcdserverpb::AlarmMember;

/// One consequence of an applied entry, for the server to act upon.
///
/// Changes of keys are not here: they travel as the entry's change set, because almost every
/// entry has them and almost none has an effect.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A lease was granted: its keeper starts to count.
    LeaseGranted {
        /// The lease.
        id: i64,
        /// Its full TTL.
        ttl_s: i64,
    },
    /// A lease is gone, with its keys.
    LeaseRevoked {
        /// The lease.
        id: i64,
    },
    /// The remaining TTL of a lease was recorded; 0 means the full TTL again.
    LeaseCheckpointed {
        /// The lease.
        id: i64,
        /// What remained of it.
        remaining_ttl_s: i64,
    },
    /// A member joined, as voter or learner.
    MemberAdded(Member),
    /// A learner became a voter.
    MemberPromoted(Member),
    /// A member's peer URLs, name or client URLs changed.
    MemberUpdated(Member),
    /// A member left. If it is this one, the server stops.
    MemberRemoved {
        /// The member.
        id: u64,
    },
    /// An alarm went on.
    AlarmRaised(AlarmMember),
    /// An alarm went off.
    AlarmCleared(AlarmMember),
    /// The write exceeded this member's quota: propose its NOSPACE alarm.
    ProposeNoSpaceAlarm,
    /// A compaction took effect; its rows go away in the background.
    CompactScheduled {
        /// The revision compacted at.
        revision: i64,
    },
    /// The cluster agreed on a version.
    ClusterVersionSet {
        /// The agreed version.
        version: Version,
        /// The one before it, if there was one.
        before: Option<Version>,
    },
    /// A downgrade began, or ended.
    DowngradeSet(crate::DowngradeInfo),
}
