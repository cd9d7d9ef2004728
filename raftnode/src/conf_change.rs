//! Membership changes, from the verdict to raft-rs.
//!
//! The numbers of etcd's and raft-rs' change types differ (a learner is 3 there, 2 here), so a
//! change is never passed on as bytes: the state machine decodes the entry and names the
//! change, and this file builds raft-rs' form of it.

use raft::eraftpb;

use crate::machine::ConfChange;

/// raft-rs' form of `change`.
pub(crate) fn to_raft(change: ConfChange) -> eraftpb::ConfChange {
    let (kind, node_id) = match change {
        ConfChange::AddVoter(id) => (eraftpb::ConfChangeType::AddNode, id),
        ConfChange::AddLearner(id) => (eraftpb::ConfChangeType::AddLearnerNode, id),
        ConfChange::Remove(id) => (eraftpb::ConfChangeType::RemoveNode, id),
    };
    eraftpb::ConfChange { change_type: kind as i32, node_id, ..Default::default() }
}

/// Whom `change` is about.
pub(crate) fn member(change: ConfChange) -> u64 {
    match change {
        ConfChange::AddVoter(id) | ConfChange::AddLearner(id) | ConfChange::Remove(id) => id,
    }
}

/// Whether two memberships are the same, whatever the order of their ids.
pub(crate) fn same(one: &base::ConfState, other: &base::ConfState) -> bool {
    fn set(ids: &[u64]) -> std::collections::BTreeSet<u64> {
        ids.iter().copied().collect()
    }
    set(&one.voters) == set(&other.voters)
        && set(&one.learners) == set(&other.learners)
        && set(&one.voters_outgoing) == set(&other.voters_outgoing)
        && set(&one.learners_next) == set(&other.learners_next)
        && one.auto_leave == other.auto_leave
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_has_rafts_number_and_not_etcds() {
        let change = to_raft(ConfChange::AddLearner(9));
        assert_eq!((change.change_type, change.node_id), (2, 9));
        assert_eq!(to_raft(ConfChange::AddVoter(9)).change_type, 0);
        assert_eq!(to_raft(ConfChange::Remove(9)).change_type, 1);
    }

    #[test]
    fn memberships_are_sets() {
        let of = |voters: &[u64], learners: &[u64]| base::ConfState {
            voters: voters.to_vec(),
            learners: learners.to_vec(),
            ..Default::default()
        };
        assert!(same(&of(&[1, 2], &[3]), &of(&[2, 1], &[3])));
        assert!(!same(&of(&[1, 2], &[3]), &of(&[1, 2, 3], &[])));
    }
}
