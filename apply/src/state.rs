//! What the log made of everything but the keys, readable from any thread.

use base::Member;
use base::version::Version;
use parking_lot::RwLock;

use crate::alarm::Alarms;
use crate::cluster::{DowngradeInfo, Members};
use crate::lease::LeaseTable;

/// Members, versions and the downgrade job.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cluster {
    /// Who is in the cluster.
    pub members: Members,
    /// The agreed version; `None` until there is one.
    pub version: Option<Version>,
    /// The downgrade job.
    pub downgrade: DowngradeInfo,
}

impl Cluster {
    /// The member of this id.
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.get(id)
    }
}

/// Leases, alarms and cluster, each behind its own lock.
///
/// The state machine alone writes, entry by entry and before the batch is stored; readers see
/// the newest applied entry. No lock is held across a call into the store's backend for long:
/// a reader that copies a large table delays the next write by as much.
#[derive(Debug, Default)]
pub struct State {
    /// Leases and their keys.
    pub leases: RwLock<LeaseTable>,
    /// Raised alarms.
    pub alarms: RwLock<Alarms>,
    /// Members and versions.
    pub cluster: RwLock<Cluster>,
}
