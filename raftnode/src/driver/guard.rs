//! What raft-rs takes for granted about messages: it ends the process when a peer breaks it.
//!
//! A member that works never does. Whoever reaches the peer port, or a peer with a broken disk or
//! memory, may; such a message is dropped and changes nothing.

use std::collections::BTreeSet;

use raft::StateRole;
use raft::eraftpb::{ConfState, Message, MessageType};
use wal::Entry;

use super::Driver;
use crate::error::StepError;
use crate::limits::TERMS_AHEAD_MAX;

fn refuse(what: &'static str) -> Result<(), StepError> {
    Err(StepError::Impossible { what })
}

impl Driver {
    /// Refuses what no member can have sent to this one; `entries` are those of an append or a
    /// proposal.
    pub(super) fn check(&mut self, message: &Message, entries: &[Entry]) -> Result<(), StepError> {
        let raft = &self.node.raft;
        let (term, last) = (raft.term, raft.raft_log.last_index());
        let leads = raft.state == StateRole::Leader;
        let kind = message.get_msg_type();
        // raft-rs takes a message without a term for one of its own, and adds the term to what it
        // forwards.
        let has_term = !matches!(kind, MessageType::MsgPropose | MessageType::MsgReadIndex);
        if has_term != (message.term != 0) {
            return refuse("its term");
        }
        if message.term > term.saturating_add(TERMS_AHEAD_MAX) {
            return refuse("a term no election has led to");
        }
        if message.from == raft.id {
            return refuse("it comes from this very member");
        }
        match kind {
            MessageType::MsgPropose if entries.is_empty() => refuse("no proposal in it"),
            MessageType::MsgReadIndex if !asks(message) => refuse("no request in it"),
            MessageType::MsgTransferLeader if !leads => refuse("this member does not lead"),
            MessageType::MsgAppend if !follows(message, entries) => refuse("entries out of place"),
            MessageType::MsgAppendResponse
                if leads && !message.reject && message.term == term && message.index > last =>
            {
                refuse("it has entries that were never sent")
            }
            MessageType::MsgHeartbeat if message.term >= term && message.commit > last => {
                self.tell_loss(message.term, message.commit, last);
                refuse("it commits entries that this member never had")
            }
            MessageType::MsgSnapshot if !is_membership(snapshot_members(message)) => {
                refuse("a snapshot without a membership")
            }
            _ => Ok(()),
        }
    }

    /// A leader commits here what this member said it has. Either that is no leader, or synced
    /// entries are gone.
    fn tell_loss(&mut self, term: u64, commit: u64, last: u64) {
        if self.told_loss != term {
            self.told_loss = term;
            tracing::error!(
                term,
                commit,
                last,
                "a leader counts on entries that the log does not have: if the disk lost them, \
                 replace this member"
            );
        }
    }
}

/// Whether a read request has the one entry that carries its id.
fn asks(message: &Message) -> bool {
    message.entries.len() == 1 && !message.entries[0].data.is_empty()
}

/// Whether the entries of an append continue the place it names, one by one.
fn follows(message: &Message, entries: &[Entry]) -> bool {
    // Only the place before all entries has no term.
    if (message.index == 0) != (message.log_term == 0) {
        return false;
    }
    let (mut index, mut term) = (message.index, message.log_term.max(1));
    entries.iter().all(|entry| {
        let next = index.checked_add(1) == Some(entry.index) && entry.term >= term;
        (index, term) = (entry.index, entry.term);
        next && term <= message.term
    })
}

fn snapshot_members(message: &Message) -> &ConfState {
    message.get_snapshot().get_metadata().get_conf_state()
}

/// Whether everybody has one part: etcd never stands between two memberships.
fn is_membership(members: &ConfState) -> bool {
    let mut known = BTreeSet::new();
    !members.voters.is_empty()
        && members.voters_outgoing.is_empty()
        && members.learners_next.is_empty()
        && members.voters.iter().chain(&members.learners).all(|id| *id != 0 && known.insert(*id))
}

#[cfg(test)]
mod tests;
