//! One member: its driver while it is up, and what its disk and backend keep when it is not.

use std::collections::VecDeque;

use bytes::Bytes;
use proto::raftpb;
use raftnode::{
    ApplyOutcome, Boot, Command, CommittedBatch, ConfChange, ConfVerdict, Config, Driver, Founder,
    InstallSnapshot, LogPosition, Persist, ReadState, Role,
};
use wal::{Entry, EntryKind, HardState, Recovered, SnapshotRecord};

use crate::Random;

/// Entries, hard state and snapshot mark: a log as it would be read back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) snapshot: SnapshotRecord,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: HardState,
}

impl Disk {
    pub(crate) fn last(&self) -> u64 {
        self.entries.last().map_or(self.snapshot.index, |entry| entry.index)
    }

    /// The newest term that survives a crash: entries tell it, too.
    fn term(&self) -> u64 {
        let last = self.entries.last().map_or(self.snapshot.term, |entry| entry.term);
        self.hard_state.term.max(last)
    }

    fn write_entry(&mut self, entry: &Entry) {
        if entry.index <= self.snapshot.index {
            return;
        }
        let keep = usize::try_from(entry.index - self.snapshot.index - 1).expect("small");
        assert!(keep <= self.entries.len(), "a gap on disk before {}", entry.index);
        self.entries.truncate(keep);
        self.entries.push(entry.clone());
    }

    fn mark(&mut self, record: &SnapshotRecord) {
        let position = |e: &Entry| (e.index, e.term) == (record.index, record.term);
        if self.entries.iter().any(position) {
            self.entries.retain(|entry| entry.index > record.index);
        } else {
            self.entries.clear();
        }
        self.snapshot = record.clone();
    }

    fn write(&mut self, write: &Persist) {
        if let Some(record) = &write.snapshot {
            self.mark(record);
        }
        write.entries.iter().for_each(|entry| self.write_entry(entry));
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
    }
}

/// What has been applied: the whole history, and the membership after each entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub(crate) entries: Vec<Entry>,
    pub(crate) conf_states: Vec<base::ConfState>,
    pub(crate) first_conf_state: base::ConfState,
}

impl Machine {
    pub(crate) fn applied(&self) -> u64 {
        self.entries.len() as u64
    }

    pub(crate) fn conf_state(&self) -> &base::ConfState {
        self.conf_states.last().unwrap_or(&self.first_conf_state)
    }

    fn truncate(&mut self, applied: u64) {
        let applied = usize::try_from(applied).expect("small");
        self.entries.truncate(applied);
        self.conf_states.truncate(applied);
    }

    fn take_over(&mut self, history: &Self, index: u64) {
        *self = history.clone();
        self.truncate(index);
        assert_eq!(self.applied(), index, "a snapshot of what nobody has applied");
    }

    fn apply(&mut self, batch: CommittedBatch) -> ApplyOutcome {
        let applied = batch.last_index();
        let mut verdict = None;
        for entry in batch.entries {
            assert_eq!(entry.index, self.applied() + 1, "applied in order and once");
            let mut conf_state = self.conf_state().clone();
            if entry.kind == EntryKind::ConfChange {
                verdict = Some(decide(&entry, &mut conf_state));
            }
            self.entries.push(entry);
            self.conf_states.push(conf_state);
        }
        ApplyOutcome { applied, verdict }
    }
}

/// `[operation, id]`; what makes no sense is rejected.
fn decide(entry: &Entry, conf_state: &mut base::ConfState) -> ConfVerdict {
    let [operation, id] = entry.data[..] else { panic!("{entry:?}") };
    let id = u64::from(id);
    let voter = conf_state.voters.contains(&id);
    let learner = conf_state.learners.contains(&id);
    let change = match operation {
        b'+' => {
            if !voter {
                conf_state.voters.push(id);
            }
            conf_state.learners.retain(|other| *other != id);
            ConfChange::AddVoter(id)
        }
        b'l' if !voter && !learner => {
            conf_state.learners.push(id);
            ConfChange::AddLearner(id)
        }
        b'-' if (voter && conf_state.voters.len() > 1) || learner => {
            conf_state.voters.retain(|other| *other != id);
            conf_state.learners.retain(|other| *other != id);
            ConfChange::Remove(id)
        }
        _ => return ConfVerdict::Reject,
    };
    ConfVerdict::Apply { change, conf_state: conf_state.clone() }
}

pub(crate) fn founder(id: u64) -> Founder {
    let id_byte = u8::try_from(id).expect("small");
    Founder { id, conf_change: Bytes::from(vec![b'+', id_byte]) }
}

/// A member while it is up.
pub(crate) struct Up {
    pub(crate) driver: Driver,
    writes: VecDeque<Persist>,
    jobs: VecDeque<Job>,
}

/// Work for the state machine, in order.
enum Job {
    Apply(CommittedBatch),
    Install(InstallSnapshot),
}

pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) up: Option<Up>,
    pub(crate) disk: Disk,
    pub(crate) machine: Machine,
    /// The machine survives a crash at least up to here.
    pub(crate) machine_durable: u64,
}

/// What a member wants of the world.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) sent: Vec<raftpb::Message>,
    pub(crate) applied: Vec<Entry>,
    pub(crate) reads: Vec<ReadState>,
    pub(crate) led: Vec<u64>,
}

fn config(id: u64) -> Config {
    Config { election_spread_ticks: 1, catch_up_entries: 20, ..Config::new(id) }
}

impl Member {
    /// A member that is down and has nothing.
    pub(crate) fn new(id: u64) -> Self {
        Self {
            id,
            up: None,
            disk: Disk::default(),
            machine: Machine::default(),
            machine_durable: 0,
        }
    }

    /// Brings the member up from what its disk and backend kept. A snapshot that was received
    /// and not taken over before the crash is taken over now.
    pub(crate) fn start(&mut self, founders: &[Founder], history: &Machine) {
        if self.machine.applied() < self.disk.snapshot.index {
            self.machine.take_over(history, self.disk.snapshot.index);
            self.machine_durable = self.machine.applied();
        }
        let fresh = self.disk.last() == 0 && !founders.is_empty();
        if fresh {
            let entry = |(index, founder): (u64, &Founder)| Entry {
                kind: EntryKind::ConfChange,
                term: 1,
                index,
                data: founder.conf_change.clone(),
            };
            self.disk.entries = (1..).zip(founders).map(entry).collect();
            let commit = founders.len() as u64;
            self.disk.hard_state = HardState { term: 1, vote: 0, commit };
        }
        let boot = Boot {
            snapshot: LogPosition {
                index: self.disk.snapshot.index,
                term: self.disk.snapshot.term,
            },
            applied: self.machine.applied(),
            conf_state: self.machine.conf_state().clone(),
            founders: if fresh { founders.to_vec() } else { Vec::new() },
        };
        if fresh {
            self.machine.first_conf_state = boot.first_conf_state();
        }
        let recovered = Recovered {
            hard_state: self.disk.hard_state,
            entries: self.disk.entries.clone(),
            ..Recovered::default()
        };
        let driver = boot.driver(&config(self.id), recovered).expect("what it kept fits together");
        self.up = Some(Up { driver, writes: VecDeque::new(), jobs: VecDeque::new() });
    }

    /// Loses everything that is not durable: a random end of the writes not synced, torn
    /// anywhere, and of what was applied.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let Some(up) = self.up.take() else { return };
        let whole = random.below(up.writes.len() as u64 + 1);
        for write in up.writes.iter().take(usize::try_from(whole).expect("small")) {
            self.disk.write(write);
        }
        let torn = up.writes.get(usize::try_from(whole).expect("small"));
        if let Some(torn) = torn.filter(|write| write.snapshot.is_none()) {
            let kept = random.below(torn.entries.len() as u64 + 1);
            let kept = usize::try_from(kept).expect("small");
            torn.entries.iter().take(kept).for_each(|entry| self.disk.write_entry(entry));
        }
        let applied = self.machine.applied();
        let kept = random.between(self.machine_durable, applied).max(self.disk.snapshot.index);
        self.machine.truncate(kept);
        self.machine_durable = self.machine.applied();
    }

    /// Does what the driver says at once, except writes and applies, which queue up.
    pub(crate) fn poll(&mut self, wishes: &mut Wishes) {
        let Some(up) = &mut self.up else { return };
        let mut commands = Vec::new();
        up.driver.poll(&mut commands);
        for command in commands {
            match command {
                Command::Role(leadership) => {
                    if leadership.role == Role::Leader {
                        wishes.led.push(leadership.term);
                    }
                }
                Command::Send(messages) => {
                    messages.iter().for_each(|m| check_promise(m, &self.disk));
                    wishes.sent.extend(messages);
                }
                Command::Reads(reads) => wishes.reads.extend(reads),
                Command::Persist(write) => up.writes.push_back(write),
                Command::Apply(batch) => {
                    assert!(batch.last_index() <= self.disk.last(), "applied before durable");
                    up.jobs.push_back(Job::Apply(batch));
                }
                Command::Install(snapshot) => up.jobs.push_back(Job::Install(snapshot)),
            }
        }
    }

    /// Makes a random number of the waiting writes durable with one sync.
    pub(crate) fn sync(&mut self, random: &mut Random) {
        let Some(up) = &mut self.up else { return };
        let count = random.between(1, up.writes.len() as u64);
        let mut number = 0;
        for write in up.writes.drain(..usize::try_from(count).expect("small").min(up.writes.len()))
        {
            self.disk.write(&write);
            number = write.number;
        }
        if number != 0 {
            up.driver.persisted(number);
        }
    }

    /// Writes a commit index that no entries took along.
    pub(crate) fn write_commit(&mut self) {
        let Some(up) = &mut self.up else { return };
        if up.writes.is_empty()
            && let Some(hard_state) = up.driver.take_unsaved_commit()
        {
            self.disk.hard_state = hard_state;
        }
    }

    /// Applies the next batch, or takes over a snapshot of `history`.
    pub(crate) fn apply(&mut self, history: &Machine, wishes: &mut Wishes) {
        let Some(up) = &mut self.up else { return };
        match up.jobs.pop_front() {
            Some(Job::Apply(batch)) => {
                wishes.applied.extend(batch.entries.iter().cloned());
                up.driver.applied(self.machine.apply(batch));
            }
            Some(Job::Install(snapshot)) => {
                let index = snapshot.record.index;
                self.machine.take_over(history, index);
                self.machine_durable = index;
                up.driver.installed(index);
            }
            None => {}
        }
    }

    /// Records a snapshot of its own durable state, as log trimming does.
    pub(crate) fn trim(&mut self) {
        let Some(up) = &mut self.up else { return };
        let index = self.machine.applied();
        if !up.writes.is_empty() || !up.jobs.is_empty() || index <= self.disk.snapshot.index {
            return;
        }
        if let Some(hard_state) = up.driver.take_unsaved_commit() {
            self.disk.hard_state = hard_state;
        }
        assert!(self.disk.hard_state.commit >= index, "a mark beyond the commit index");
        self.machine_durable = index;
        let term = self.machine.entries.last().map_or(0, |entry| entry.term);
        let conf_state = Some(self.machine.conf_state().clone());
        self.disk.mark(&SnapshotRecord { index, term, conf_state });
    }

    /// Whether it has applied its own removal.
    pub(crate) fn is_removed(&self) -> bool {
        let conf_state = self.machine.conf_state();
        let ids = || conf_state.voters.iter().chain(&conf_state.learners);
        ids().next().is_some() && ids().all(|id| *id != self.id)
    }

    pub(crate) fn has_work(&self) -> bool {
        let busy = |up: &Up| !up.writes.is_empty() || !up.jobs.is_empty();
        self.up.as_ref().is_some_and(busy)
    }
}

/// R2: what a message promises must be on disk when it leaves.
fn check_promise(message: &raftpb::Message, disk: &Disk) {
    let kind = message.r#type.and_then(|kind| raftpb::MessageType::try_from(kind).ok());
    let refused = message.reject.unwrap_or_default();
    let term = message.term.unwrap_or_default();
    match kind {
        Some(raftpb::MessageType::MsgAppResp) if !refused => {
            let index = message.index.unwrap_or_default();
            assert!(term <= disk.term(), "acknowledged in a term not on disk");
            // One sync may make the entry durable and, in a later term, replace it.
            let stale = term < disk.term();
            assert!(stale || index <= disk.last(), "acknowledged {index} of {}", disk.last());
        }
        Some(raftpb::MessageType::MsgVoteResp) if !refused => {
            check_vote(term, message.to, disk);
        }
        Some(raftpb::MessageType::MsgVote) => {
            check_vote(term, message.from, disk);
        }
        Some(raftpb::MessageType::MsgPreVote | raftpb::MessageType::MsgPreVoteResp) => {}
        _ => assert!(term <= disk.term(), "a term that is not on disk: {message:?}"),
    }
}

fn check_vote(term: u64, candidate: Option<u64>, disk: &Disk) {
    let HardState { term: written, vote, .. } = disk.hard_state;
    let newer = term < written; // the sync that released the vote wrote more
    assert!(newer || (term, candidate) == (written, Some(vote)), "a vote that is not on disk");
}
