//! From what is on disk to a running node.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::ids::RequestIdGen;
use bytes::Bytes;
use tokio::sync::watch;
use wal::{Entry, EntryKind, HardState, Recovered};

use crate::driver::Driver;
use crate::error::Error;
use crate::handle::{Handle, RaftNode};
use crate::inbox::Inbox;
use crate::limits::CATCH_UP_ENTRIES;
use crate::log_store::{LogPosition, LogStore};
use crate::machine::{Disk, Leadership, Observer, StateMachine, Transport, spawn};
use crate::node::{Node, Parts};
use crate::status::Status;
use crate::work::{ApplyWork, LogWork};
use crate::worker::Worker;

/// Settings of a node.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// This member's id.
    pub id: u64,
    /// Heartbeat interval. etcd: 100 ms.
    pub tick: Duration,
    /// Election timeout in ticks. etcd: 10.
    pub election_ticks: u32,
    /// Ticks over which members spread their election timeouts at random. etcd: as many as
    /// the timeout has; 1 makes a node deterministic, for simulations.
    pub election_spread_ticks: u32,
    /// Whether elections are rehearsed first. etcd: yes.
    pub pre_vote: bool,
    /// Entries kept in memory for lagging followers. etcd: 5,000.
    pub catch_up_entries: u64,
}

impl Config {
    /// etcd's defaults for member `id`.
    #[must_use]
    pub fn new(id: u64) -> Self {
        Self {
            id,
            tick: Duration::from_millis(100),
            election_ticks: 10,
            election_spread_ticks: 10,
            pre_vote: true,
            catch_up_entries: CATCH_UP_ENTRIES,
        }
    }
}

/// One member of a new cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founder {
    /// Its id.
    pub id: u64,
    /// The bytes of the conf-change entry that adds it.
    pub conf_change: Bytes,
}

/// What a node starts from, beside the log.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The snapshot mark at which the log was opened.
    pub snapshot: LogPosition,
    /// Index the state machine has applied (the consistent index).
    pub applied: u64,
    /// Membership at `applied`, or at the last entry that founds the cluster if that is later;
    /// ignored when there are founders.
    pub conf_state: base::ConfState,
    /// All members of a new cluster, for a member whose log is still empty. Empty on restart
    /// and for a member that joins.
    pub founders: Vec<Founder>,
}

impl Boot {
    /// The membership raft starts with.
    #[must_use]
    pub fn first_conf_state(&self) -> base::ConfState {
        if self.founders.is_empty() {
            return self.conf_state.clone();
        }
        let mut voters: Vec<u64> = self.founders.iter().map(|founder| founder.id).collect();
        voters.sort_unstable();
        base::ConfState { voters, ..Default::default() }
    }

    /// Checks that log, hard state and state machine belong together, and builds the core.
    ///
    /// Commit indexes are written without a sync, so after a crash the state machine may be
    /// ahead of the hard state: what it has applied was committed, and the commit index is
    /// raised (R3). It may never be ahead of the log (R4).
    ///
    /// # Errors
    /// Those of [`Error`] about the log and the settings.
    pub fn driver(&self, config: &Config, recovered: Recovered) -> Result<Driver, Error> {
        let unwritten = is_unwritten(&recovered, self);
        let Recovered { mut hard_state, mut entries, .. } = recovered;
        if unwritten {
            entries.clear();
        }
        let conf_state = self.first_conf_state();
        let last = entries.last().map_or(self.snapshot.index, |entry| entry.index);
        if self.applied > last {
            return Err(Error::AppliedBeyondLog { applied: self.applied, last });
        }
        if self.applied < self.snapshot.index {
            let boundary = self.snapshot.index;
            return Err(Error::AppliedBelowLog { applied: self.applied, boundary });
        }
        if hard_state.commit > last {
            return Err(Error::CommitBeyondLog { commit: hard_state.commit, last });
        }
        let read = hard_state;
        hard_state.commit = hard_state.commit.max(self.applied).max(self.snapshot.index);
        let last_term = entries.last().map_or(self.snapshot.term, |entry| entry.term);
        if hard_state.term < last_term {
            // A torn batch: entries of a new term without the hard state that ends it. No vote of
            // that term was promised.
            hard_state.term = last_term;
            hard_state.vote = 0;
        }
        let founding = match self.snapshot.index {
            0 => founding_end(&entries),
            _ => 0,
        };
        let store = LogStore::new(self.snapshot, entries, hard_state, conf_state)?;
        let mut driver = Driver::new(config, self.applied, store)?;
        driver.note_founding(founding);
        if hard_state != read {
            // raft takes it for written; a snapshot mark above the commit index is not valid.
            driver.note_unsaved_commit(hard_state);
        }
        Ok(driver)
    }
}

/// What a node talks to.
pub struct Surroundings {
    /// The log on disk.
    pub disk: Box<dyn Disk>,
    /// What entries are applied to.
    pub machine: Box<dyn StateMachine>,
    /// The way to other members.
    pub transport: Box<dyn Transport>,
    /// Who is told of a new role.
    pub observer: Box<dyn Observer>,
}

/// The entries that found a cluster: every member writes the same ones, in order of ids.
fn founding_entries(founders: &[Founder]) -> Vec<Entry> {
    let mut founders: Vec<&Founder> = founders.iter().collect();
    founders.sort_unstable_by_key(|founder| founder.id);
    (1..)
        .zip(founders)
        .map(|(index, founder)| Entry {
            kind: EntryKind::ConfChange,
            term: 1,
            index,
            data: founder.conf_change.clone(),
        })
        .collect()
}

/// Index of the last entry that founds the cluster: they alone have term 1, and stand first.
#[must_use]
pub fn founding_end(entries: &[Entry]) -> u64 {
    let founds = |entry: &&Entry| entry.term == 1 && entry.kind == EntryKind::ConfChange;
    entries.iter().take_while(founds).last().map_or(0, |entry| entry.index)
}

/// Whether the log holds nothing that was ever promised to anybody: the first write ends with
/// a hard state, so without one that write was torn, and its entries count for nothing.
fn is_unwritten(recovered: &Recovered, boot: &Boot) -> bool {
    recovered.hard_state.is_empty() && boot.snapshot.index == 0 && boot.applied == 0
}

/// Writes the founding entries, which are committed from the start. Of a founding that was torn
/// by a crash nothing is kept.
fn found(disk: &mut dyn Disk, recovered: &mut Recovered, boot: &Boot) -> Result<(), Error> {
    if !is_unwritten(recovered, boot) {
        let last = recovered.entries.last().map_or(boot.snapshot.index, |entry| entry.index);
        return Err(Error::AlreadyFounded { last });
    }
    let entries = founding_entries(&boot.founders);
    let hard_state = HardState { term: 1, vote: 0, commit: entries.len() as u64 };
    disk.append(&entries, Some(&hard_state)).map_err(Error::Wal)?;
    disk.sync().map_err(Error::Wal)?;
    recovered.entries = entries;
    recovered.hard_state = hard_state;
    Ok(())
}

impl RaftNode {
    /// Starts the threads `raft`, `wal` and `apply`. `recovered` is what opening the log gave;
    /// for a log just created it is empty.
    ///
    /// # Errors
    /// When log, state machine and settings do not fit together, or the founding entries
    /// cannot be written.
    pub fn start(
        config: &Config,
        mut recovered: Recovered,
        boot: &Boot,
        surroundings: Surroundings,
    ) -> Result<Self, Error> {
        let Surroundings { mut disk, machine, transport, observer } = surroundings;
        if !boot.founders.is_empty() {
            found(disk.as_mut(), &mut recovered, boot)?;
        }
        let driver = boot.driver(config, recovered)?;
        let inbox = Arc::new(Inbox::new());
        let status = Arc::new(Status::default());
        status.set_facts(&driver.facts());
        let (leadership, leadership_changes) = watch::channel(Leadership::default());
        let (configured, conf_changes) = watch::channel(boot.applied);
        let thread = |name| move |source| Error::Thread { name, source };
        let log = LogWork::new(disk, Arc::clone(&status));
        let parts = Parts {
            driver,
            inbox: Arc::clone(&inbox),
            status: Arc::clone(&status),
            leadership,
            configured,
            log: Worker::start("wal", log, Arc::clone(&inbox)).map_err(thread("wal"))?,
            apply: Worker::start("apply", ApplyWork::new(machine), Arc::clone(&inbox))
                .map_err(thread("apply"))?,
            transport,
            observer,
            ids: RequestIdGen::new(config.id, unix_ms()),
            tick: config.tick,
        };
        let raft = spawn("raft", move || Node::new(parts).run()).map_err(thread("raft"))?;
        let handle =
            Handle { inbox, status, leadership: leadership_changes, configured: conf_changes };
        Ok(Self { handle, thread: Some(raft) })
    }
}

/// Makes the ids of read requests differ from those of earlier runs.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
