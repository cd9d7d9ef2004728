//! What may stop a request before it runs: a fixed list of pure checks.

// A new kind of request must not compile until every guard has decided about it.
#![deny(clippy::wildcard_enum_match_arm)]

use proto::etcdserverpb::AlarmType;

use crate::alarm::Alarms;
use crate::error::ApplyError;
use crate::quota;
use crate::request::Request;

/// What a guard may look at.
pub(crate) struct Facts<'a> {
    pub(crate) alarms: &'a Alarms,
}

type Guard = fn(&Request, &Facts<'_>) -> Result<(), ApplyError>;

/// Every guard, in the order they are asked: the first refusal is the answer.
const GUARDS: &[Guard] = &[corrupt_alarm, no_space_alarm];

/// Asks every guard.
pub(crate) fn check(request: &Request, facts: &Facts<'_>) -> Result<(), ApplyError> {
    // Every guard of today is about alarms.
    if facts.alarms.is_empty() {
        return Ok(());
    }
    GUARDS.iter().try_for_each(|guard| guard(request, facts))
}

/// A corrupt cluster takes no writes at all; reads and alarms go on.
fn corrupt_alarm(request: &Request, facts: &Facts<'_>) -> Result<(), ApplyError> {
    let blocked = match request {
        Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Txn(_)
        | Request::Compaction(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_) => true,
        Request::Nothing
        | Request::Range(_)
        | Request::Alarm(_)
        | Request::LeaseCheckpoint(_)
        | Request::Auth
        | Request::ClusterVersionSet(_)
        | Request::ClusterMemberAttrSet(_)
        | Request::DowngradeInfoSet(_)
        | Request::DowngradeVersionTest => false,
    };
    refuse_if(blocked && facts.alarms.is_raised(AlarmType::Corrupt), ApplyError::Corrupt)
}

/// Without space nothing that grows the store is taken; deletes, revokes and compaction help.
fn no_space_alarm(request: &Request, facts: &Facts<'_>) -> Result<(), ApplyError> {
    let blocked = match request {
        Request::Put(_) | Request::LeaseGrant(_) => true,
        Request::Txn(txn) => quota::txn_cost(txn) > 0,
        Request::Nothing
        | Request::Range(_)
        | Request::DeleteRange(_)
        | Request::Compaction(_)
        | Request::LeaseRevoke(_)
        | Request::Alarm(_)
        | Request::LeaseCheckpoint(_)
        | Request::Auth
        | Request::ClusterVersionSet(_)
        | Request::ClusterMemberAttrSet(_)
        | Request::DowngradeInfoSet(_)
        | Request::DowngradeVersionTest => false,
    };
    refuse_if(blocked && facts.alarms.is_raised(AlarmType::Nospace), ApplyError::NoSpace)
}

fn refuse_if(refused: bool, error: ApplyError) -> Result<(), ApplyError> {
    if refused { Err(error) } else { Ok(()) }
}
