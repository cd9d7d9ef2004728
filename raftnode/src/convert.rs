//! The one edge between etcd's raftpb (prost 0.14, proto2) and raft-rs' eraftpb (prost 0.11).
//!
//! Entries cross it as *shells*: kind, term and index without data. The data of an append
//! travels beside them (see [`crate::LogStore`]). Message and entry types are range-checked
//! here, because raft-rs reads an unknown number as its default.

use bytes::Bytes;
use proto::raftpb;
use raft::eraftpb::{self, MessageType};
use wal::{Entry, EntryKind, HardState};

use crate::error::StepError;

/// A raft-rs entry that carries everything but the data.
pub(crate) fn shell(entry: &Entry) -> eraftpb::Entry {
    shell_of(entry.kind, entry.term, entry.index)
}

/// A raft-rs entry without data.
pub(crate) fn shell_of(kind: EntryKind, term: u64, index: u64) -> eraftpb::Entry {
    eraftpb::Entry { entry_type: kind_to_raft(kind), term, index, ..Default::default() }
}

fn kind_to_raft(kind: EntryKind) -> i32 {
    match kind {
        EntryKind::Normal => eraftpb::EntryType::EntryNormal as i32,
        EntryKind::ConfChange => eraftpb::EntryType::EntryConfChange as i32,
        EntryKind::ConfChangeV2 => eraftpb::EntryType::EntryConfChangeV2 as i32,
    }
}

/// The kind of a raft-rs entry. Its numbers equal etcd's.
pub(crate) fn kind_from_raft(entry: &eraftpb::Entry) -> EntryKind {
    kind_from_wire(entry.entry_type).expect("raft keeps the checked kinds")
}

fn kind_from_wire(kind: i32) -> Option<EntryKind> {
    match kind {
        0 => Some(EntryKind::Normal),
        1 => Some(EntryKind::ConfChange),
        2 => Some(EntryKind::ConfChangeV2),
        _ => None,
    }
}

pub(crate) fn hard_state_to_raft(hard_state: &HardState) -> eraftpb::HardState {
    eraftpb::HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
}

pub(crate) fn hard_state_from_raft(hard_state: &eraftpb::HardState) -> HardState {
    HardState { term: hard_state.term, vote: hard_state.vote, commit: hard_state.commit }
}

pub(crate) fn conf_state_to_raft(conf_state: &base::ConfState) -> eraftpb::ConfState {
    eraftpb::ConfState {
        voters: conf_state.voters.clone(),
        learners: conf_state.learners.clone(),
        voters_outgoing: conf_state.voters_outgoing.clone(),
        learners_next: conf_state.learners_next.clone(),
        auto_leave: conf_state.auto_leave,
    }
}

/// raft-rs keeps sets; the ids come out sorted, as etcd writes them.
pub(crate) fn conf_state_from_raft(conf_state: &eraftpb::ConfState) -> base::ConfState {
    fn sorted(ids: &[u64]) -> Vec<u64> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids
    }
    base::ConfState {
        voters: sorted(&conf_state.voters),
        learners: sorted(&conf_state.learners),
        voters_outgoing: sorted(&conf_state.voters_outgoing),
        learners_next: sorted(&conf_state.learners_next),
        auto_leave: conf_state.auto_leave,
    }
}

/// A message from a peer, split for raft.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// What raft sees. The entries of appends are shells, those of proposals are absent.
    pub(crate) message: eraftpb::Message,
    /// The entries of an append or a proposal with their data.
    pub(crate) entries: Vec<Entry>,
}

/// Checks a peer's message and splits it.
///
/// # Errors
/// [`StepError::Kind`] and [`StepError::EntryKind`] for numbers that raft must not see.
pub(crate) fn incoming(message: raftpb::Message) -> Result<Incoming, StepError> {
    let number = message.r#type.unwrap_or_default();
    let kind = peer_kind(number).ok_or(StepError::Kind { kind: number })?;
    let mut entries = Vec::with_capacity(message.entries.len());
    for entry in message.entries {
        let number = entry.r#type.unwrap_or_default();
        entries.push(Entry {
            kind: kind_from_wire(number).ok_or(StepError::EntryKind { kind: number })?,
            term: entry.term.unwrap_or_default(),
            index: entry.index.unwrap_or_default(),
            data: entry.data.unwrap_or_default(),
        });
    }
    let mut out = eraftpb::Message {
        msg_type: kind as i32,
        to: message.to.unwrap_or_default(),
        from: message.from.unwrap_or_default(),
        term: message.term.unwrap_or_default(),
        log_term: message.log_term.unwrap_or_default(),
        index: message.index.unwrap_or_default(),
        commit: message.commit.unwrap_or_default(),
        reject: message.reject.unwrap_or_default(),
        reject_hint: message.reject_hint.unwrap_or_default(),
        context: message.context.unwrap_or_default().into(),
        snapshot: message.snapshot.and_then(snapshot_to_raft),
        ..Default::default()
    };
    match kind {
        MessageType::MsgAppend => out.entries = entries.iter().map(shell).collect(),
        MessageType::MsgReadIndex | MessageType::MsgReadIndexResp => {
            out.entries = entries.drain(..).map(whole).collect();
        }
        _ => {}
    }
    Ok(Incoming { message: out, entries })
}

/// A raft-rs entry with its data: for proposals on their way to the leader and for read
/// requests, whose data raft itself reads.
pub(crate) fn whole(entry: Entry) -> eraftpb::Entry {
    eraftpb::Entry { data: entry.data.into(), ..shell_of(entry.kind, entry.term, entry.index) }
}

/// The types that may come from a peer; all others are for use inside one member or unknown.
fn peer_kind(number: i32) -> Option<MessageType> {
    let kind = MessageType::from_i32(number)?;
    match kind {
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => None,
        MessageType::MsgPropose
        | MessageType::MsgAppend
        | MessageType::MsgAppendResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgSnapshot
        | MessageType::MsgHeartbeat
        | MessageType::MsgHeartbeatResponse
        | MessageType::MsgTransferLeader
        | MessageType::MsgTimeoutNow
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => Some(kind),
    }
}

/// Old members send an empty snapshot with every message: it counts as none.
fn snapshot_to_raft(snapshot: raftpb::Snapshot) -> Option<eraftpb::Snapshot> {
    let metadata = snapshot.metadata?;
    let index = metadata.index.unwrap_or_default();
    if index == 0 {
        return None;
    }
    let conf_state = metadata.conf_state.unwrap_or_default();
    let mut out =
        eraftpb::Snapshot { data: snapshot.data.unwrap_or_default().into(), metadata: None };
    let to = out.mut_metadata();
    to.index = index;
    to.term = metadata.term.unwrap_or_default();
    to.set_conf_state(eraftpb::ConfState {
        voters: conf_state.voters,
        learners: conf_state.learners,
        voters_outgoing: conf_state.voters_outgoing,
        learners_next: conf_state.learners_next,
        auto_leave: conf_state.auto_leave.unwrap_or_default(),
    });
    Some(out)
}

fn snapshot_from_raft(snapshot: eraftpb::Snapshot) -> raftpb::Snapshot {
    let metadata = snapshot.metadata.unwrap_or_default();
    let conf_state = conf_state_from_raft(metadata.get_conf_state());
    raftpb::Snapshot {
        data: Some(snapshot.data.into()),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(raftpb::ConfState {
                voters: conf_state.voters,
                learners: conf_state.learners,
                voters_outgoing: conf_state.voters_outgoing,
                learners_next: conf_state.learners_next,
                auto_leave: Some(conf_state.auto_leave),
            }),
            index: Some(metadata.index),
            term: Some(metadata.term),
        }),
    }
}

/// A message for a peer; `entries` are those of an append, filled in by the caller.
///
/// A value of zero is left out, which every raftpb reader takes for zero. `request_snapshot`,
/// `priority` and `commit_term` have no meaning to etcd and are never sent.
pub(crate) fn outgoing(message: eraftpb::Message, entries: Vec<raftpb::Entry>) -> raftpb::Message {
    fn some(number: u64) -> Option<u64> {
        (number != 0).then_some(number)
    }
    raftpb::Message {
        r#type: Some(message.msg_type),
        to: Some(message.to),
        from: Some(message.from),
        term: Some(message.term),
        log_term: some(message.log_term),
        index: some(message.index),
        entries,
        commit: some(message.commit),
        snapshot: message.snapshot.filter(|s| !s.is_empty()).map(snapshot_from_raft),
        reject: message.reject.then_some(true),
        reject_hint: some(message.reject_hint),
        context: (!message.context.is_empty()).then(|| message.context.into()),
        ..Default::default()
    }
}

/// An entry for a peer. Empty data is left out, as etcd leaves it out.
pub(crate) fn entry_out(kind: EntryKind, term: u64, index: u64, data: Bytes) -> raftpb::Entry {
    raftpb::Entry {
        r#type: Some(kind_to_raft(kind)),
        term: Some(term),
        index: Some(index),
        data: (!data.is_empty()).then_some(data),
    }
}

/// The entries of a message that carries its own data: proposals and read requests.
pub(crate) fn whole_out(entries: Vec<eraftpb::Entry>) -> Vec<raftpb::Entry> {
    entries
        .into_iter()
        .map(|entry| {
            let kind = kind_from_raft(&entry);
            entry_out(kind, entry.term, entry.index, entry.data.into())
        })
        .collect()
}

#[cfg(test)]
mod tests;
