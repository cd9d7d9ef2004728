//! The raft thread: drains its inbox, drives the [`Driver`], and does or hands over the work.
//!
//! ```text
//!           inbox                      alone: on this thread       with others: own threads
//!  propose ─┐                        ┌─ append + sync ──────────── wal   ─┐
//!  step    ─┼─▶ drain ─▶ Driver ─▶ ──┤                                    ├─▶ echo
//!  read    ─┘      one Ready         └─ apply ──────────────────── apply ─┘
//! ```
//!
//! Everything that waits when the thread looks becomes one proposal, one write and one sync.
//! A member that is alone has nobody to send heartbeats to: it syncs and applies right here,
//! which saves two hops per write. With others the disk and the state machine get threads of
//! their own, so no stall of theirs can delay a heartbeat.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base::ids::RequestIdGen;
use tokio::sync::watch;

use crate::driver::{Command, Driver, Persist, Proposal};
use crate::error::ReadError;
use crate::inbox::{Control, Drained, Inbox, Reader, Trim, weight};
use crate::limits::READ_INDEX_RETRY_MS;
use crate::machine::{CommittedBatch, InstallSnapshot, Leadership, Observer, Role, Transport};
use crate::read_index::ReadIndex;
use crate::status::Status;
use crate::work::{ApplyEcho, ApplyJob, ApplyWork, LogJob, LogWork};
use crate::worker::Worker;

/// What the thread is built from.
pub(crate) struct Parts {
    pub(crate) driver: Driver,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) status: Arc<Status>,
    pub(crate) leadership: watch::Sender<Leadership>,
    /// Index of the last conf change that raft's own membership contains.
    pub(crate) configured: watch::Sender<u64>,
    pub(crate) log: Worker<LogWork>,
    pub(crate) apply: Worker<ApplyWork>,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) observer: Box<dyn Observer>,
    pub(crate) ids: RequestIdGen,
    pub(crate) tick: Duration,
}

impl Parts {
    /// Tells the driver what was applied, and everybody when raft's membership has followed.
    fn take(&mut self, echo: ApplyEcho) {
        match echo {
            ApplyEcho::Applied(outcome) => {
                let configured = outcome.verdict.is_some().then_some(outcome.applied);
                self.driver.applied(outcome);
                if let Some(index) = configured {
                    self.configured.send_replace(index);
                }
            }
            ApplyEcho::Installed(index) => {
                self.driver.installed(index);
                self.configured.send_replace(index);
            }
        }
    }
}

/// The thread's own state.
pub(crate) struct Node {
    parts: Parts,
    reads: ReadIndex<Reader>,
    next_tick: Instant,
    last_tick: Instant,
    drained: Drained,
    /// Proposals that raft has not taken: there is no leader. They keep their room.
    proposals: Vec<Proposal>,
    commands: Vec<Command>,
    durable: Vec<u64>,
    applied: Vec<ApplyEcho>,
    /// Index to be applied before the leader of this term has committed in it; retry then.
    was_local: bool,
}

/// Fails whoever waits, however the thread ends.
struct Farewell {
    inbox: Arc<Inbox>,
    status: Arc<Status>,
}

impl Drop for Farewell {
    fn drop(&mut self) {
        self.status.withdraw_local_reads();
        self.inbox.close();
        let mut left = Drained::default();
        self.inbox.drain(&mut left, Instant::now());
    }
}

impl Node {
    pub(crate) fn new(parts: Parts) -> Self {
        let tick_ms = u64::try_from(parts.tick.as_millis()).unwrap_or(u64::MAX).max(1);
        let retry_ticks = READ_INDEX_RETRY_MS.div_ceil(tick_ms);
        let now = Instant::now();
        Self {
            reads: ReadIndex::new(u32::try_from(retry_ticks).unwrap_or(u32::MAX)),
            next_tick: now + parts.tick,
            last_tick: now,
            parts,
            drained: Drained::default(),
            proposals: Vec::new(),
            commands: Vec::new(),
            durable: Vec::new(),
            applied: Vec::new(),
            was_local: false,
        }
    }

    /// The thread's life.
    pub(crate) fn run(mut self) {
        let _farewell = Farewell {
            inbox: Arc::clone(&self.parts.inbox),
            status: Arc::clone(&self.parts.status),
        };
        self.parts.inbox.adopt();
        self.turn();
        if self.parts.driver.facts().alone {
            // Nobody else could win: there is no timeout to wait for.
            self.parts.driver.campaign();
            self.turn();
        }
        loop {
            self.parts.inbox.drain(&mut self.drained, self.next_tick);
            if self.drained.stop {
                break;
            }
            self.collect();
            self.feed();
            self.tick_when_due();
            self.turn();
        }
        self.finish();
    }

    /// Takes what the workers have done.
    fn collect(&mut self) {
        self.parts.log.collect(&mut self.durable);
        for number in self.durable.drain(..) {
            self.parts.driver.persisted(number);
        }
        self.parts.apply.collect(&mut self.applied);
        for echo in self.applied.drain(..) {
            self.parts.take(echo);
        }
    }

    /// Hands what was drained to the driver.
    fn feed(&mut self) {
        for message in self.drained.messages.drain(..) {
            if let Err(error) = self.parts.driver.step(message) {
                tracing::debug!(%error, "ignored a peer message");
            }
        }
        for control in std::mem::take(&mut self.drained.controls) {
            self.control(control);
        }
        self.reads.add(&mut self.drained.readers);
        if self.proposals.is_empty() {
            std::mem::swap(&mut self.proposals, &mut self.drained.proposals);
        } else {
            self.proposals.append(&mut self.drained.proposals);
        }
        self.propose();
    }

    fn propose(&mut self) {
        if self.proposals.is_empty() {
            return;
        }
        let room: usize = self.proposals.iter().map(|p| weight(p) as usize).sum();
        if self.parts.driver.propose(&mut self.proposals) {
            self.parts.inbox.release(room);
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Trim(trim) => self.trim(trim),
            Control::TransferLeader(to) => self.parts.driver.transfer_leader(to),
            Control::Unreachable(to) => self.parts.driver.report_unreachable(to),
            Control::SnapshotSent { to, arrived } => {
                self.parts.driver.report_snapshot(to, arrived);
            }
            Control::Ticks(count) => (0..count).for_each(|_| self.parts.driver.tick()),
            // Who asked may have gone.
            Control::Progress(asker) => drop(asker.send(self.parts.driver.progress())),
        }
    }

    /// A snapshot record must not be newer than the commit index on disk, or it is not valid.
    /// Nor may it follow that of a received snapshot with a higher index: a start takes the last
    /// record, and what comes between the two is not in the log.
    fn trim(&mut self, trim: Trim) {
        if trim.record.index < self.parts.driver.restored() {
            trim.finished();
            return;
        }
        let unsaved = self.parts.driver.take_unsaved_commit();
        if self.parts.log.is_idle() && self.parts.driver.facts().alone {
            self.parts.log.inline(|log| {
                if let Some(hard_state) = &unsaved {
                    log.commit(hard_state);
                }
                log.trim(trim);
            });
            return;
        }
        if let Some(hard_state) = unsaved {
            self.parts.log.send(LogJob::Commit(hard_state));
        }
        self.parts.log.send(LogJob::Trim(trim));
    }

    /// Ticks once however many intervals were missed: catching up would call elections.
    fn tick_when_due(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        let leads = self.parts.status.role() == Role::Leader;
        if leads && now - self.last_tick > 2 * self.parts.tick {
            self.parts.status.note_late_tick();
        }
        self.last_tick = now;
        self.next_tick += self.parts.tick;
        if self.next_tick <= now {
            self.next_tick = now + self.parts.tick;
        }
        let Parts { driver, ids, .. } = &mut self.parts;
        driver.tick();
        self.reads.tick(driver, || ids.next());
        self.propose();
        if let Some(hard_state) = self.parts.driver.take_unsaved_commit() {
            if self.parts.log.is_idle() && self.parts.driver.facts().alone {
                self.parts.log.inline(|log| log.commit(&hard_state));
            } else {
                self.parts.log.send(LogJob::Commit(hard_state));
            }
        }
    }

    /// Does what the driver says until it has nothing more to say.
    fn turn(&mut self) {
        loop {
            self.publish();
            let Parts { driver, ids, .. } = &mut self.parts;
            self.reads.start(driver, || ids.next());
            driver.poll(&mut self.commands);
            if self.commands.is_empty() {
                break;
            }
            let mut commands = std::mem::take(&mut self.commands);
            for command in commands.drain(..) {
                self.execute(command);
            }
            self.commands = commands; // keep the allocation
            self.serve_readers();
        }
    }

    /// Publishes the facts: before anything leaves this thread, and after everything is done.
    fn publish(&mut self) {
        let facts = self.parts.driver.facts();
        self.parts.status.set_facts(&facts);
    }

    fn execute(&mut self, command: Command) {
        match command {
            Command::Role(leadership) => self.note(leadership),
            Command::Send(messages) => self.parts.transport.send(messages),
            Command::Reads(states) => states.iter().for_each(|state| self.reads.confirm(state)),
            Command::Persist(persist) => self.persist(persist),
            Command::Install(snapshot) => self.install(snapshot),
            Command::Apply(batch) => self.apply(batch),
        }
    }

    fn note(&mut self, leadership: Leadership) {
        if self.parts.status.set_leadership(leadership) {
            let readers = self.reads.leader_changed();
            self.answer(readers, Err(ReadError::LeaderChanged));
        }
        self.parts.leadership.send_replace(leadership);
        self.parts.observer.leadership_changed(leadership);
        self.propose();
    }

    /// A snapshot is written here in any case: raft goes on only when it is durable.
    fn persist(&mut self, persist: Persist) {
        let here = self.parts.driver.facts().alone || persist.snapshot.is_some();
        if !here {
            self.parts.log.send(LogJob::Persist(persist));
            return;
        }
        while !self.parts.log.is_idle() {
            self.wait_for_log();
        }
        self.parts.log.inline(|log| log.persist(&persist));
        self.parts.driver.persisted(persist.number);
    }

    fn wait_for_log(&mut self) {
        std::thread::park_timeout(self.parts.tick);
        self.parts.log.collect(&mut self.durable);
        for number in self.durable.drain(..) {
            self.parts.driver.persisted(number);
        }
    }

    fn apply(&mut self, batch: CommittedBatch) {
        if self.parts.apply.is_idle() && self.parts.driver.facts().alone {
            let outcome = self.parts.apply.inline(|work| work.apply(batch));
            self.parts.take(ApplyEcho::Applied(outcome));
        } else {
            self.parts.apply.send(ApplyJob::Apply(batch));
        }
    }

    fn install(&mut self, snapshot: InstallSnapshot) {
        self.parts.apply.send(ApplyJob::Install(snapshot));
    }

    fn serve_readers(&mut self) {
        let facts = self.parts.driver.facts();
        while let Some(readers) = self.reads.next_ready(facts.applied) {
            self.answer(readers, Ok(()));
        }
        let committed_in_term = self.parts.driver.committed_in_term();
        if committed_in_term && !self.was_local {
            let Parts { driver, ids, .. } = &mut self.parts;
            self.reads.retry_dropped(driver, || ids.next());
        }
        self.was_local = committed_in_term;
    }

    fn answer(&mut self, readers: Vec<Reader>, answer: Result<(), ReadError>) {
        let count = readers.len();
        for reader in readers {
            if reader.send(answer).is_err() {
                tracing::trace!("a reader has left");
            }
        }
        if count > 0 {
            self.parts.inbox.readers_done(count);
        }
    }

    /// Ends in order: what is under way is written and applied, nothing new begins.
    fn finish(mut self) {
        self.parts.status.withdraw_local_reads();
        self.parts.log.finish(&mut self.durable);
        self.parts.apply.finish(&mut self.applied);
        self.collect_finished();
        if let Some(hard_state) = self.parts.driver.take_unsaved_commit() {
            self.parts.log.inline(|log| log.commit(&hard_state));
        }
    }

    fn collect_finished(&mut self) {
        for number in self.durable.drain(..) {
            self.parts.driver.persisted(number);
        }
        for echo in self.applied.drain(..) {
            self.parts.take(echo);
        }
        let facts = self.parts.driver.facts();
        self.parts.status.set_facts(&facts);
        self.parts.status.withdraw_local_reads();
    }
}
