//! From raft's `Ready` to commands.

use std::collections::HashMap;

use proto::raftpb;
use raft::eraftpb::{self, MessageType};
use raft::{Ready, StateRole};
use wal::{Entry, EntryKind, SnapshotRecord};

use super::{Command, Driver, Pending, Persist, ReadState};
use crate::convert;
use crate::limits::MESSAGE_BYTES_MAX;
use crate::log_store::LogPosition;
use crate::machine::{CommittedBatch, InstallSnapshot, Leadership, Role};

impl Driver {
    /// Appends what there is to do. Call again until nothing is appended.
    pub fn poll(&mut self, out: &mut Vec<Command>) {
        while self.node.has_ready() {
            let ready = self.node.ready();
            self.handle_ready(ready, out);
        }
        self.fresh.clear();
        if !self.released.is_empty() {
            out.push(Command::Send(std::mem::take(&mut self.released)));
        }
        out.extend(self.installs.drain(..).map(Command::Install));
        while let Some(batch) = self.next_batch() {
            out.push(Command::Apply(batch));
        }
    }

    fn handle_ready(&mut self, mut ready: Ready, out: &mut Vec<Command>) {
        self.note_leadership(out);
        let election = self.take_hard_state(&ready);
        let snapshot = self.take_snapshot(&ready);
        let entries = self.take_entries(&ready);
        self.node.mut_store().append(&entries);
        let reads = ready.take_read_states();
        if !reads.is_empty() {
            out.push(Command::Reads(reads.into_iter().filter_map(read_state).collect()));
        }
        let mut after_conf = 0;
        if let Some(last) = ready.committed_entries().last() {
            self.releasable = last.index;
            if self.leadership.role != Role::Leader {
                after_conf = last_conf_change(ready.committed_entries());
            }
        }
        let at_once = self.complete(ready.take_messages());
        let mut messages = self.complete(ready.take_persisted_messages());
        if election || self.pending.iter().any(|p| p.election) {
            // A single voter leads before its term is durable. Told of entries in a term that
            // is then lost, others would take later ones of that term for the same.
            messages.extend(at_once);
        } else {
            if !at_once.is_empty() {
                out.push(Command::Send(at_once));
            }
            if after_conf == 0 {
                self.send_heartbeat_answers(&mut messages, out);
            }
        }
        let free = !ready.must_sync();
        let number = ready.number();
        if free {
            assert!(entries.is_empty() && snapshot.is_none(), "entries want a sync");
        } else {
            let hard_state = self.unsaved_commit.take();
            let snapshot = snapshot.as_ref().map(|s| s.record.clone());
            out.push(Command::Persist(Persist { number, snapshot, entries, hard_state }));
        }
        self.node.advance_append_async(ready);
        let install = snapshot;
        self.pending.push_back(Pending { number, free, messages, install, after_conf, election });
        self.persisted(0); // a free one at the front is through
    }

    /// Keeps a changed hard state for the next write; tells whether term or vote changed.
    fn take_hard_state(&mut self, ready: &Ready) -> bool {
        let Some(hard_state) = ready.hs() else { return false };
        let hard_state = convert::hard_state_from_raft(hard_state);
        let election = (hard_state.term, hard_state.vote) != self.election;
        self.election = (hard_state.term, hard_state.vote);
        self.unsaved_commit = Some(hard_state);
        election
    }

    fn note_leadership(&mut self, out: &mut Vec<Command>) {
        let raft = &self.node.raft;
        let now = Leadership {
            role: match raft.state {
                StateRole::Follower => Role::Follower,
                StateRole::PreCandidate => Role::PreCandidate,
                StateRole::Candidate => Role::Candidate,
                StateRole::Leader => Role::Leader,
            },
            term: raft.term,
            leader: raft.leader_id,
        };
        if now != self.leadership {
            self.leadership = now;
            out.push(Command::Role(now));
        }
    }

    fn take_snapshot(&mut self, ready: &Ready) -> Option<InstallSnapshot> {
        let snapshot = ready.snapshot();
        if snapshot.is_empty() {
            return None;
        }
        let metadata = snapshot.get_metadata();
        let conf_state = convert::conf_state_from_raft(metadata.get_conf_state());
        let position = LogPosition { index: metadata.index, term: metadata.term };
        self.node.mut_store().restore(position, conf_state.clone());
        self.conf_state = conf_state.clone();
        self.handed = position.index;
        self.releasable = position.index;
        self.restored = position.index;
        self.ghost = false;
        let record = SnapshotRecord {
            index: position.index,
            term: position.term,
            conf_state: Some(conf_state),
        };
        Some(InstallSnapshot { record, data: snapshot.data.clone().into() })
    }

    /// The entries of `ready` with their data, which came in since the `Ready` before.
    fn take_entries(&mut self, ready: &Ready) -> Vec<Entry> {
        let shells = ready.entries();
        let place = |entry: &Entry| (entry.index, entry.term);
        let same = self.fresh.len() == shells.len()
            && self.fresh.iter().zip(shells).all(|(f, s)| place(f) == (s.index, s.term));
        if same {
            return std::mem::take(&mut self.fresh);
        }
        // Appends that overlap or were refused: an index and a term name one entry only.
        let known: HashMap<(u64, u64), &Entry> =
            self.fresh.iter().map(|entry| (place(entry), entry)).collect();
        let find = |shell: &eraftpb::Entry| {
            let entry = known.get(&(shell.index, shell.term)).copied();
            entry.expect("an entry's data came with it").clone()
        };
        shells.iter().map(find).collect()
    }

    /// Gives appends their entries' data. One whose entries are gone by now is dropped.
    fn complete(&self, messages: Vec<eraftpb::Message>) -> Vec<raftpb::Message> {
        let mut complete = Vec::with_capacity(messages.len());
        for mut message in messages {
            let shells = message.take_entries();
            if message.get_msg_type() == MessageType::MsgAppend {
                self.complete_append(message, &shells, &mut complete);
            } else {
                complete.push(convert::outgoing(message, convert::whole_out(shells)));
            }
        }
        complete
    }

    /// Fills one append, as several messages where raft, which sees no data, made it too big.
    fn complete_append(
        &self,
        mut message: eraftpb::Message,
        shells: &[eraftpb::Entry],
        out: &mut Vec<raftpb::Message>,
    ) {
        let mut entries = Vec::with_capacity(shells.len());
        let mut bytes = 0;
        for shell in shells {
            let held = self.node.store().get(shell.index).filter(|e| e.term == shell.term);
            let Some(entry) = held else { return };
            if bytes > 0 && bytes + entry.data.len() as u64 > MESSAGE_BYTES_MAX {
                let part = std::mem::take(&mut entries);
                out.push(convert::outgoing(message.clone(), part));
                (message.index, bytes) = (entry.index - 1, 0);
                message.log_term = self.node.store().term_at(entry.index - 1).unwrap_or_default();
            }
            bytes += entry.data.len() as u64;
            let data = entry.data.clone();
            entries.push(convert::entry_out(entry.kind, entry.term, entry.index, data));
        }
        out.push(convert::outgoing(message, entries));
    }

    /// Heartbeat answers promise nothing on disk but the term: while no term or vote is being
    /// written they need not wait for a slow sync.
    fn send_heartbeat_answers(&self, messages: &mut Vec<raftpb::Message>, out: &mut Vec<Command>) {
        if !self.held.is_empty() || self.pending.iter().any(|p| p.after_conf != 0) {
            return;
        }
        let answer = raftpb::MessageType::MsgHeartbeatResp as i32;
        let now: Vec<_> = messages.extract_if(.., |m| m.r#type == Some(answer)).collect();
        if !now.is_empty() {
            out.push(Command::Send(now));
        }
    }

    /// The next entries to apply, up to the first conf change.
    fn next_batch(&mut self) -> Option<CommittedBatch> {
        if self.awaiting != 0 || self.handed >= self.releasable || self.installing() {
            return None;
        }
        let store = self.node.store();
        let mut entries = Vec::new();
        for index in self.handed + 1..=self.releasable {
            let entry = store.get(index).expect("a committed entry is held until applied").clone();
            let conf_change = entry.kind != EntryKind::Normal;
            entries.push(entry);
            if conf_change {
                self.awaiting = index;
                break;
            }
        }
        let batch = CommittedBatch { entries };
        self.handed = batch.last_index();
        Some(batch)
    }

    /// Whether a snapshot is on its way to disk: entries behind it wait.
    fn installing(&self) -> bool {
        self.pending.iter().any(|p| p.install.is_some())
    }
}

fn last_conf_change(entries: &[eraftpb::Entry]) -> u64 {
    let conf = |entry: &&eraftpb::Entry| convert::kind_from_raft(entry) != EntryKind::Normal;
    entries.iter().rev().find(conf).map_or(0, |entry| entry.index)
}

/// An answer to a read request of this member; one of another shape was not asked for here.
fn read_state(state: raft::ReadState) -> Option<ReadState> {
    let id = u64::from_be_bytes(state.request_ctx.try_into().ok()?);
    Some(ReadState { id, index: state.index })
}
