//! A disk in memory, a machine that remembers, and a runtime to ask from.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raftnode::{
    ApplyOutcome, Boot, CommittedBatch, Config, Disk, Founder, InstallSnapshot, NoTransport,
    RaftNode, StateMachine, Surroundings, Transport,
};
use wal::{Entry, EntryKind, HardState, Recovered, SnapshotRecord};

pub const MEMBER: u64 = 0x11;

/// Runs a future on a small runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("runtime")
        .block_on(future)
}

/// What a disk was told, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    Append { entries: Vec<u64>, commit: Option<u64> },
    Sync,
    Snapshot(u64),
    Release(u64),
}

/// A disk that keeps nothing but the story.
#[derive(Clone, Default)]
pub struct StoryDisk {
    pub story: Arc<Mutex<Vec<Told>>>,
    pub sync_takes: Arc<Mutex<Duration>>,
}

impl StoryDisk {
    pub fn slow(sync_takes: Duration) -> Self {
        Self { sync_takes: Arc::new(Mutex::new(sync_takes)), ..Self::default() }
    }

    pub fn story(&self) -> Vec<Told> {
        self.story.lock().expect("story").clone()
    }

    fn tell(&self, told: Told) {
        self.story.lock().expect("story").push(told);
    }
}

impl Disk for StoryDisk {
    fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<bool, wal::Error> {
        self.tell(Told::Append {
            entries: entries.iter().map(|entry| entry.index).collect(),
            commit: hard_state.map(|hard_state| hard_state.commit),
        });
        Ok(true)
    }

    fn sync(&mut self) -> Result<Duration, wal::Error> {
        let takes = *self.sync_takes.lock().expect("duration");
        std::thread::sleep(takes);
        self.tell(Told::Sync);
        Ok(takes)
    }

    fn save_snapshot(&mut self, record: &SnapshotRecord) -> Result<Duration, wal::Error> {
        self.tell(Told::Snapshot(record.index));
        Ok(Duration::ZERO)
    }

    fn release_to(&mut self, index: u64) {
        self.tell(Told::Release(index));
    }
}

/// What was applied, and a way to wait for it.
#[derive(Clone, Default)]
pub struct Journal {
    entries: Arc<(Mutex<Vec<Entry>>, Condvar)>,
}

impl Journal {
    pub fn entries(&self) -> Vec<Entry> {
        self.entries.0.lock().expect("journal").clone()
    }

    /// The data of normal entries that have some.
    pub fn data(&self) -> Vec<Bytes> {
        let with_data = |e: &Entry| e.kind == EntryKind::Normal && !e.data.is_empty();
        self.entries().into_iter().filter(with_data).map(|entry| entry.data).collect()
    }

    pub fn applied(&self) -> u64 {
        self.entries.0.lock().expect("journal").last().map_or(0, |entry| entry.index)
    }

    /// Waits until the journal satisfies `done`.
    pub fn wait(&self, done: impl Fn(&[Entry]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut entries = self.entries.0.lock().expect("journal");
        while !done(&entries) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not reached; applied {:?}", entries.last());
            entries = self.entries.1.wait_timeout(entries, left).expect("journal").0;
        }
    }
}

/// A machine that writes a journal. Conf changes are answered by `verdict`.
pub struct JournalMachine {
    pub journal: Journal,
    pub verdict: Box<dyn FnMut(&Entry) -> raftnode::ConfVerdict + Send>,
}

impl JournalMachine {
    pub fn new(journal: &Journal) -> Self {
        Self { journal: journal.clone(), verdict: Box::new(|_| raftnode::ConfVerdict::Reject) }
    }
}

impl StateMachine for JournalMachine {
    fn apply(&mut self, batch: CommittedBatch) -> ApplyOutcome {
        let applied = batch.last_index();
        let last = batch.entries.last().expect("an entry");
        let verdict = (last.kind != EntryKind::Normal).then(|| (self.verdict)(last));
        self.journal.entries.0.lock().expect("journal").extend(batch.entries);
        self.journal.entries.1.notify_all();
        ApplyOutcome { applied, verdict }
    }

    fn install(&mut self, _snapshot: InstallSnapshot) {}
}

pub fn config() -> Config {
    Config { tick: Duration::from_millis(10), ..Config::new(MEMBER) }
}

pub fn founding() -> Boot {
    let founder = Founder { id: MEMBER, conf_change: Bytes::from_static(b"add me") };
    Boot { founders: vec![founder], ..Boot::default() }
}

pub fn start_with(
    recovered: Recovered,
    boot: &Boot,
    disk: impl Disk,
    machine: impl StateMachine,
    transport: impl Transport,
) -> RaftNode {
    let surroundings = Surroundings {
        disk: Box::new(disk),
        machine: Box::new(machine),
        transport: Box::new(transport),
        observer: Box::new(()),
    };
    RaftNode::start(&config(), recovered, boot, surroundings).expect("start")
}

/// A new member, alone.
pub fn start(disk: impl Disk, journal: &Journal) -> RaftNode {
    let machine = JournalMachine::new(journal);
    start_with(Recovered::default(), &founding(), disk, machine, NoTransport)
}
