//! Who belongs to the cluster, and what follows from being alone.

use raft::StateRole;

use super::{Driver, Facts};
use crate::conf_change;
use crate::convert;
use crate::machine::ConfChange;

impl Driver {
    /// Takes over a change that the state machine has applied and stored.
    ///
    /// A leader that removes itself leads on, as in etcd, until it is stopped: only so the
    /// others learn that the removal is committed. raft-rs cannot commit as a leader without
    /// a place of its own, so there it becomes a learner: it has no vote, and takes neither
    /// proposals nor reads any more.
    ///
    /// The entries that found a cluster change nothing in raft, which starts with all founders
    /// while the state machine takes them in one by one.
    pub(super) fn change_membership(
        &mut self,
        index: u64,
        change: ConfChange,
        stored: base::ConfState,
    ) {
        let known = self.node.raft.prs().get(conf_change::member(change)).is_some();
        if index <= self.founding && known {
            return;
        }
        let raft = &self.node.raft;
        let (id, leads) = (raft.id, raft.state == StateRole::Leader);
        let concerns_self = conf_change::member(change) == id;
        if concerns_self {
            self.ghost = leads && change == ConfChange::Remove(id);
        }
        let in_raft = if self.ghost && concerns_self { ConfChange::AddLearner(id) } else { change };
        let reached = self
            .node
            .apply_conf_change(&conf_change::to_raft(in_raft))
            .unwrap_or_else(|error| panic!("raft refuses {change:?}: {error}"));
        let mut reached = convert::conf_state_from_raft(&reached);
        if self.ghost {
            reached.learners.retain(|learner| *learner != id);
        }
        assert!(
            conf_change::same(&reached, &stored),
            "membership after {change:?}: raft has {reached:?}, the state machine {stored:?}"
        );
        self.node.mut_store().offer_membership(&reached);
        self.conf_state = reached;
        self.told_others = self.node.raft.raft_log.committed;
    }

    /// Whether this member leads and has nothing to say to `id`: it is not of the membership,
    /// or this member itself is none any more.
    pub(super) fn is_stranger(&self, id: u64) -> bool {
        let raft = &self.node.raft;
        raft.state == StateRole::Leader && (self.ghost || raft.prs().get(id).is_none())
    }

    /// Numbers for those who watch, and whether reads may be served as they come.
    ///
    /// `local_reads` holds when this member is the only one, leads, has applied an entry of
    /// its own term and has no conf change under way. Then what it has applied contains every
    /// write anybody was told of:
    /// 1. Nobody else can commit: every quorum contains this member alone, no conf change is
    ///    pending in its log (raft-rs counts the whole tail of older terms as pending), and it
    ///    takes the next one in only on this thread, which withdraws the fact before the entry
    ///    leaves for the disk.
    /// 2. Writes acknowledged in earlier terms stand in the log before the entry of this term,
    ///    which is applied. Writes acknowledged by members that have left since were known to
    ///    be committed when the conf change was applied here and ended the messages to them:
    ///    everything up to that commit index is applied, too. (A member goes on behind its own
    ///    removal until it stops, and may be quicker than this one.)
    /// 3. Writes of this term are acknowledged here only, after their apply was published.
    ///
    /// A reader that finds the fact after its request arrived may thus read the published
    /// state at once: it reads a prefix of the log that holds all that was acknowledged
    /// before. Learners are excluded because a member ahead of this one would let a client
    /// see an entry there first and then miss it here.
    #[must_use]
    pub fn facts(&self) -> Facts {
        let raft = &self.node.raft;
        let alone = raft.promotable() && raft.prs().iter().count() == 1;
        let applied = raft.raft_log.applied;
        let local_reads = alone
            && raft.state == StateRole::Leader
            && self.awaiting == 0
            && applied >= self.told_others
            && !raft.has_pending_conf()
            && raft.apply_to_current_term();
        Facts { commit: raft.raft_log.committed, applied, alone, local_reads }
    }
}
