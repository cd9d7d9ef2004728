//! Raft as a plain value: events in, commands out; no thread, clock or disk.
//!
//! ```text
//!  tick propose step ─▶ ┌────────┐ ─▶ Send       at once (leader), or after Persist (others)
//!  persisted(number) ─▶ │ Driver │ ─▶ Persist    append, sync if asked, answer `persisted`
//!  applied(outcome)  ─▶ │        │ ─▶ Apply      durable and committed; answer `applied`
//!  read_index(id)    ─▶ └────────┘ ─▶ Reads, Role, Install
//! ```
//!
//! It always uses raft-rs' asynchronous persistence: a caller that syncs at once and answers
//! `persisted` before the next event has the synchronous order, since what a sync committed
//! comes with the next [`Driver::poll`] just as it would in a `LightReady`.
//!
//! Invariants:
//! - messages that promise something on disk leave only after it is durable (R2), and those of
//!   a non-leader only after the conf changes committed with them have their verdict;
//! - `Apply` holds only entries that are committed *and* durable here (R4), in order, once;
//! - after a conf-change entry nothing is handed to `Apply` until its verdict;
//! - a commit index alone is not worth a write: it rides with the next entries.

mod guard;
mod membership;
mod ready;

use std::collections::VecDeque;

use bytes::Bytes;
use proto::raftpb;
use raft::eraftpb::{self, MessageType};
use raft::{RawNode, SnapshotStatus, StateRole};
use wal::{Entry, EntryKind, HardState, SnapshotRecord};

use crate::convert;
use crate::error::{Error, StepError};
use crate::limits::{
    CATCH_UP_BYTES_MAX, COMPACT_STEP_ENTRIES, INFLIGHT_MESSAGES_MAX, MESSAGE_BYTES_MAX,
};
use crate::log_bridge;
use crate::log_store::LogStore;
use crate::machine::{
    ApplyOutcome, CommittedBatch, ConfVerdict, InstallSnapshot, Leadership, Progress,
    ProgressState, Role,
};
use crate::start::Config;

/// Something to be ordered by raft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// What the bytes are.
    pub kind: EntryKind,
    /// The bytes; never looked into.
    pub data: Bytes,
}

/// What has to become durable, as one write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Persist {
    /// To be answered with [`Driver::persisted`]; rises.
    pub number: u64,
    /// A received snapshot, to be recorded before everything else.
    pub snapshot: Option<SnapshotRecord>,
    /// Entries, replacing what the log has from the first one's index on.
    pub entries: Vec<Entry>,
    /// Present when it changed.
    pub hard_state: Option<HardState>,
}

/// A confirmed read index: state applied up to `index` answers the request `id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadState {
    /// The id the request was made with.
    pub id: u64,
    /// Index to wait for.
    pub index: u64,
}

/// What the caller has to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Role, term or leader changed.
    Role(Leadership),
    /// Messages to send now.
    Send(Vec<raftpb::Message>),
    /// Read indexes that were confirmed.
    Reads(Vec<ReadState>),
    /// Write and sync, then call [`Driver::persisted`].
    Persist(Persist),
    /// Replace the state, then call [`Driver::installed`].
    Install(InstallSnapshot),
    /// Apply, then call [`Driver::applied`].
    Apply(CommittedBatch),
}

/// Numbers for those who watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Highest index known to be committed.
    pub commit: u64,
    /// Highest index applied.
    pub applied: u64,
    /// Whether this member is the whole membership: one voter, no learner.
    pub alone: bool,
    /// Whether state applied here is linearizable as it stands; see [`Driver::facts`].
    pub local_reads: bool,
}

/// A write under way and what waits for it.
#[derive(Debug)]
struct Pending {
    number: u64,
    /// Nothing to write: durable as soon as everything before it is.
    free: bool,
    messages: Vec<raftpb::Message>,
    install: Option<InstallSnapshot>,
    /// Messages wait, besides, for the verdict on this entry (0: for none).
    after_conf: u64,
    /// A new term or vote is part of the write.
    election: bool,
}

/// Raft without its surroundings.
pub struct Driver {
    node: RawNode<LogStore>,
    catch_up_entries: u64,
    /// Entries given to raft as shells since the last `Ready`, with their data.
    fresh: Vec<Entry>,
    /// A commit index that was not handed out for writing yet.
    unsaved_commit: Option<HardState>,
    pending: VecDeque<Pending>,
    /// Durable, but behind a conf change without verdict: (its index, the messages).
    held: VecDeque<(u64, Vec<raftpb::Message>)>,
    /// Messages that became free.
    released: Vec<raftpb::Message>,
    /// Snapshots that became durable.
    installs: VecDeque<InstallSnapshot>,
    /// Last index handed out as `Apply`.
    handed: u64,
    /// Last index raft released for applying.
    releasable: u64,
    /// The conf change whose verdict is awaited (0: none).
    awaiting: u64,
    /// Commit index when the membership last changed: what a member that left may know of.
    told_others: u64,
    /// This member was removed while it led: it leads on until it is stopped.
    ghost: bool,
    /// Term and vote last handed out for writing.
    election: (u64, u64),
    /// Index of the last entry that founds the cluster; 0 for a log that begins later.
    founding: u64,
    /// Index of the last snapshot taken over: raft's membership is at least that new.
    restored: u64,
    /// Term in which the operator was told that entries are missing here.
    told_loss: u64,
    leadership: Leadership,
    conf_state: base::ConfState,
}

impl Driver {
    /// Builds the core over `store`; `applied` is what the state machine has applied.
    ///
    /// # Errors
    /// [`Error::Settings`] when raft refuses them.
    pub(crate) fn new(config: &Config, applied: u64, mut store: LogStore) -> Result<Self, Error> {
        store.offer_snapshot(applied); // the store's membership is the one at `applied`
        let settings = raft::Config {
            id: config.id,
            election_tick: config.election_ticks as usize,
            max_election_tick: (config.election_ticks + config.election_spread_ticks) as usize,
            heartbeat_tick: 1,
            applied,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: INFLIGHT_MESSAGES_MAX,
            check_quorum: true,
            pre_vote: config.pre_vote,
            max_committed_size_per_ready: MESSAGE_BYTES_MAX,
            ..Default::default()
        };
        settings.validate().map_err(Error::Settings)?;
        let node =
            RawNode::new(&settings, store, &log_bridge::logger()).map_err(Error::Settings)?;
        let conf_state = convert::conf_state_from_raft(&node.raft.prs().conf().to_conf_state());
        let mut driver = Self {
            node,
            catch_up_entries: config.catch_up_entries,
            fresh: Vec::new(),
            unsaved_commit: None,
            pending: VecDeque::new(),
            held: VecDeque::new(),
            released: Vec::new(),
            installs: VecDeque::new(),
            handed: applied,
            releasable: applied,
            awaiting: 0,
            told_others: 0,
            ghost: false,
            election: (0, 0),
            founding: 0,
            restored: 0,
            told_loss: 0,
            leadership: Leadership::default(),
            conf_state,
        };
        driver.handed = driver.handed.max(driver.node.raft.raft_log.applied);
        driver.releasable = driver.handed;
        driver.election = (driver.node.raft.term, driver.node.raft.vote);
        Ok(driver)
    }

    /// Lets one heartbeat interval pass.
    pub fn tick(&mut self) {
        if self.may_campaign() {
            self.node.tick();
            self.note_noop();
        }
    }

    /// Stands for election now.
    pub fn campaign(&mut self) {
        if self.may_campaign() {
            if let Err(error) = self.node.campaign() {
                tracing::warn!(%error, "campaign");
            }
            self.note_noop();
        }
    }

    /// Two moments at which raft-rs must not stand for election: time stands still until they
    /// are over. A single voter becomes leader without asking anybody, so nobody's vote proves
    /// that its log is durable, and raft-rs asserts it instead. And while a received snapshot
    /// is being installed, the entries it looks through before it stands are gone.
    fn may_campaign(&self) -> bool {
        let raft = &self.node.raft;
        let log = &raft.raft_log;
        let alone = raft.prs().is_singleton() && raft.promotable();
        raft.state == StateRole::Leader
            || ((!alone || log.persisted == log.last_index())
                && log.applied + 1 >= raft.store().first_index())
    }

    /// A new leader appends an empty entry of its own: keep it with the others.
    fn note_noop(&mut self) {
        let raft = &self.node.raft;
        let term = raft.term;
        if raft.state != StateRole::Leader
            || (self.leadership.role == Role::Leader && self.leadership.term == term)
        {
            return;
        }
        let index = raft.raft_log.last_index();
        let noted = self.fresh.iter().any(|entry| entry.index == index && entry.term == term);
        if !noted && raft.raft_log.unstable_entries().last().is_some_and(|e| e.index == index) {
            self.fresh.push(Entry { kind: EntryKind::Normal, term, index, data: Bytes::new() });
        }
    }

    /// Hands all of `proposals` to raft: appended by a leader, forwarded by others.
    ///
    /// Returns `false` and leaves them when raft takes none now: no leader is known, or the
    /// leadership is being moved.
    pub fn propose(&mut self, proposals: &mut Vec<Proposal>) -> bool {
        if proposals.is_empty() {
            return true;
        }
        if self.node.raft.state != StateRole::Leader {
            return self.forward(proposals);
        }
        if self.ghost {
            return false;
        }
        let mut message = eraftpb::Message {
            msg_type: MessageType::MsgPropose as i32,
            from: self.node.raft.id,
            ..Default::default()
        };
        message.entries = proposals.iter().map(|p| convert::shell_of(p.kind, 0, 0)).collect();
        let first = self.node.raft.raft_log.last_index() + 1;
        let unstable_before = self.node.raft.raft_log.unstable_entries().len();
        if self.node.raft.step(message).is_err() {
            return false;
        }
        let term = self.node.raft.term;
        let appended = &self.node.raft.raft_log.unstable_entries()[unstable_before..];
        assert_eq!(appended.len(), proposals.len(), "raft appends each proposal once");
        for ((proposal, entry), index) in proposals.drain(..).zip(appended).zip(first..) {
            assert_eq!((entry.index, entry.term), (index, term), "a proposal's place");
            // A refused conf change becomes an empty normal entry.
            let kind = convert::kind_from_raft(entry);
            let data = if kind == proposal.kind { proposal.data } else { Bytes::new() };
            self.fresh.push(Entry { kind, term, index, data });
        }
        true
    }

    fn forward(&mut self, proposals: &mut Vec<Proposal>) -> bool {
        if self.node.raft.leader_id == raft::INVALID_ID {
            return false;
        }
        let message = eraftpb::Message {
            msg_type: MessageType::MsgPropose as i32,
            from: self.node.raft.id,
            entries: proposals
                .iter()
                .map(|p| eraftpb::Entry {
                    data: p.data.to_vec(),
                    ..convert::shell_of(p.kind, 0, 0)
                })
                .collect(),
            ..Default::default()
        };
        let taken = self.node.raft.step(message).is_ok();
        if taken {
            proposals.clear();
        }
        taken
    }

    /// Takes a message of a peer.
    ///
    /// # Errors
    /// When raft must not see it or has no use for it; it is then dropped.
    pub fn step(&mut self, message: raftpb::Message) -> Result<(), StepError> {
        let incoming = convert::incoming(message)?;
        let (message, entries) = (incoming.message, incoming.entries);
        if message.to != self.node.raft.id {
            return Err(StepError::Misdirected { to: message.to });
        }
        self.check(&message, &entries)?;
        let from = message.from;
        match message.get_msg_type() {
            // Whoever was removed is told nothing more: local reads rest on it.
            MessageType::MsgPropose | MessageType::MsgReadIndex if self.is_stranger(from) => {
                return Err(StepError::UnknownPeer { from });
            }
            MessageType::MsgPropose => return self.step_proposals(message, entries),
            MessageType::MsgAppend => self.fresh.extend(entries),
            MessageType::MsgTimeoutNow if !self.may_campaign() => return Err(StepError::Dropped),
            _ => {}
        }
        let stepped = self.node.step(message);
        self.note_noop();
        stepped.map_err(|error| match error {
            raft::Error::StepPeerNotFound => StepError::UnknownPeer { from },
            _ => StepError::Dropped,
        })
    }

    /// Proposals that another member forwarded.
    fn step_proposals(
        &mut self,
        mut message: eraftpb::Message,
        entries: Vec<Entry>,
    ) -> Result<(), StepError> {
        if self.node.raft.state != StateRole::Leader {
            message.entries = entries.into_iter().map(convert::whole).collect();
            return self.node.step(message).map_err(|_| StepError::Dropped);
        }
        let mut proposals =
            entries.into_iter().map(|e| Proposal { kind: e.kind, data: e.data }).collect();
        if self.propose(&mut proposals) { Ok(()) } else { Err(StepError::Dropped) }
    }

    /// Asks for a read index under a fresh `id`. `false`: raft dropped the request, ask again
    /// under another id (R11) later.
    pub fn read_index(&mut self, id: u64) -> bool {
        if self.ghost {
            return false;
        }
        let raft = &self.node.raft;
        let forwarded = raft.state != StateRole::Leader && raft.leader_id != raft::INVALID_ID;
        let before = raft.pending_read_count() + raft.ready_read_count();
        self.node.read_index(id.to_be_bytes().to_vec());
        let raft = &self.node.raft;
        forwarded || raft.pending_read_count() + raft.ready_read_count() > before
    }

    /// Asks the leader to hand over to `to`.
    pub fn transfer_leader(&mut self, to: u64) {
        self.node.transfer_leader(to);
    }

    /// A message to `to` was not sent.
    pub fn report_unreachable(&mut self, to: u64) {
        self.node.report_unreachable(to);
    }

    /// A snapshot to `to` arrived there, or not.
    pub fn report_snapshot(&mut self, to: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.node.report_snapshot(to, status);
    }

    /// How far every member is, by id; empty unless this member leads.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        let raft = &self.node.raft;
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        let mut all: Vec<Progress> = raft
            .prs()
            .iter()
            .map(|(&id, progress)| Progress {
                id,
                matched: progress.matched,
                next: progress.next_idx,
                state: match progress.state {
                    raft::ProgressState::Probe => ProgressState::Probe,
                    raft::ProgressState::Replicate => ProgressState::Replicate,
                    raft::ProgressState::Snapshot => ProgressState::Snapshot,
                },
            })
            .collect();
        all.sort_unstable_by_key(|progress| progress.id);
        all
    }

    /// Everything up to write `number` is durable.
    pub fn persisted(&mut self, number: u64) {
        let mut done = 0;
        while self.pending.front().is_some_and(|p| p.number <= number || p.free) {
            let Some(pending) = self.pending.pop_front() else { break };
            done = pending.number;
            self.installs.extend(pending.install);
            self.release(pending.after_conf, pending.messages);
        }
        if done != 0 {
            self.node.on_persist_ready(done);
        }
    }

    /// Lets durable messages go, in order, unless a verdict is awaited for them.
    fn release(&mut self, after_conf: u64, messages: Vec<raftpb::Message>) {
        if messages.is_empty() {
            return;
        }
        if self.held.is_empty() && after_conf <= self.node.raft.raft_log.applied {
            self.released.extend(messages);
        } else {
            self.held.push_back((after_conf, messages));
        }
    }

    fn release_held(&mut self) {
        let applied = self.node.raft.raft_log.applied;
        while self.held.front().is_some_and(|(after_conf, _)| *after_conf <= applied) {
            if let Some((_, messages)) = self.held.pop_front() {
                self.released.extend(messages);
            }
        }
    }

    /// The state machine is done with a batch.
    ///
    /// # Panics
    /// When it left entries out, owes a verdict, or stored another membership than raft's.
    pub fn applied(&mut self, outcome: ApplyOutcome) {
        let ApplyOutcome { applied, verdict } = outcome;
        assert!(applied <= self.handed, "applied {applied}, but only {} is out", self.handed);
        let at_conf_change = self.awaiting != 0 && applied == self.awaiting;
        assert_eq!(verdict.is_some(), at_conf_change, "verdict at {applied}");
        if let Some(ConfVerdict::Apply { change, conf_state }) = verdict
            && applied > self.restored
        {
            self.change_membership(applied, change, conf_state);
        }
        if at_conf_change {
            self.awaiting = 0;
        }
        self.node.advance_apply_to(applied);
        self.node.mut_store().offer_snapshot(applied);
        self.release_held();
        self.shorten_log(applied);
    }

    fn shorten_log(&mut self, applied: u64) {
        let store = self.node.store();
        let by_count = applied.saturating_sub(store.first_index() + self.catch_up_entries)
            >= COMPACT_STEP_ENTRIES;
        let by_bytes = store.bytes() > 2 * CATCH_UP_BYTES_MAX;
        if !by_count && !by_bytes {
            return;
        }
        let in_flight = |(_, progress): (&u64, &raft::Progress)| {
            progress.state == raft::ProgressState::Snapshot
        };
        if self.node.raft.prs().iter().any(in_flight) {
            return; // its entries are needed the moment the snapshot arrived
        }
        let point = store.compact_point(applied, self.catch_up_entries, CATCH_UP_BYTES_MAX);
        self.node.mut_store().compact(point);
    }

    /// The state machine has taken over a snapshot.
    pub fn installed(&mut self, index: u64) {
        self.node.advance_apply_to(index);
        self.handed = self.handed.max(index);
        self.releasable = self.releasable.max(index);
        self.release_held();
    }

    /// The first entries of the log, up to this index, found the cluster.
    pub(crate) fn note_founding(&mut self, index: u64) {
        self.founding = index;
    }

    /// Lets the next write take `hard_state` along.
    pub(crate) fn note_unsaved_commit(&mut self, hard_state: HardState) {
        self.unsaved_commit = Some(hard_state);
    }

    /// The hard state whose commit index was not written yet, for a caller about to record a
    /// snapshot, to stop, or with nothing else to do. It needs no sync (R3).
    pub fn take_unsaved_commit(&mut self) -> Option<HardState> {
        self.unsaved_commit.take()
    }

    /// Whether this member leads and has committed an entry of its term, so that it can answer
    /// for a read index.
    #[must_use]
    pub fn committed_in_term(&self) -> bool {
        let raft = &self.node.raft;
        raft.state == StateRole::Leader && raft.commit_to_current_term()
    }

    /// Role, term and leader as of now.
    #[must_use]
    pub fn leadership(&self) -> Leadership {
        self.leadership
    }

    /// Index of the last snapshot that replaced the log; 0 if none did since the start.
    pub(crate) fn restored(&self) -> u64 {
        self.restored
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &LogStore {
        self.node.store()
    }

    /// The membership raft works with.
    #[must_use]
    pub fn conf_state(&self) -> &base::ConfState {
        &self.conf_state
    }
}

#[cfg(test)]
mod tests;
