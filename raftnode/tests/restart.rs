//! What a member makes of what its disk kept.

mod support;

use std::path::Path;

use bytes::Bytes;
use raftnode::{Boot, Error, LogPosition, NoTransport, RaftNode};
use support::{Journal, JournalMachine, MEMBER, StoryDisk, block_on, founding, start_with};
use wal::{Entry, EntryKind, HardState, Metadata, Options, Recovered, SnapshotRecord, Wal};

fn options() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

fn create(dir: &Path) -> Wal {
    Wal::create(dir, &Metadata { node_id: MEMBER, cluster_id: 7 }, &options()).expect("create")
}

fn found(dir: &Path, journal: &Journal) -> RaftNode {
    let machine = JournalMachine::new(journal);
    start_with(Recovered::default(), &founding(), create(dir), machine, NoTransport)
}

/// The log in `dir` as a restart reads it, behind its newest valid mark.
fn open(dir: &Path) -> (Wal, Recovered, LogPosition) {
    let marks = wal::valid_snapshots(dir).expect("marks");
    let mark = marks.last().map_or((0, 0), |mark| (mark.index, mark.term));
    let (wal, recovered) = Wal::open(dir, mark, &options()).expect("open");
    (wal, recovered, LogPosition { index: mark.0, term: mark.1 })
}

/// A restart of a member whose backend kept `applied`.
fn restart(dir: &Path, applied: u64, journal: &Journal) -> RaftNode {
    let (wal, recovered, snapshot) = open(dir);
    let conf_state = founding().first_conf_state();
    let boot = Boot { snapshot, applied, conf_state, founders: vec![] };
    start_with(recovered, &boot, wal, JournalMachine::new(journal), NoTransport)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("create");
    for file in std::fs::read_dir(from).expect("list") {
        let file = file.expect("file");
        std::fs::copy(file.path(), to.join(file.file_name())).expect("copy");
    }
}

fn propose(node: &RaftNode, numbers: std::ops::Range<u64>) {
    let handle = node.handle();
    block_on(async {
        for number in numbers {
            let data = Bytes::copy_from_slice(&number.to_be_bytes());
            handle.propose(data).await.expect("taken");
        }
    });
}

fn numbers(journal: &Journal) -> Vec<u64> {
    let number = |data: &Bytes| data[..].try_into().map(u64::from_be_bytes).expect("eight bytes");
    journal.data().iter().map(number).collect()
}

#[test]
fn what_was_applied_before_a_kill_is_in_the_files_at_that_moment() {
    let dir = tempfile::tempdir().expect("dir");
    let (live, copied) = (dir.path().join("live"), dir.path().join("copy"));
    let journal = Journal::default();
    let node = found(&live, &journal);
    propose(&node, 0..500);
    journal.wait(|entries| entries.len() == 502);
    let told = numbers(&journal);
    copy(&live, &copied); // what a kill now would leave
    node.stop();
    let again = Journal::default();
    let node = restart(&copied, 0, &again);
    again.wait(|entries| entries.len() >= told.len() + 2);
    node.stop();
    assert_eq!(numbers(&again)[..told.len()], told);
}

#[test]
fn a_crash_between_the_log_and_the_backend_applies_the_rest_once() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("wal");
    let journal = Journal::default();
    let node = found(&path, &journal);
    propose(&node, 0..100);
    journal.wait(|entries| entries.len() == 102);
    node.stop();
    let again = Journal::default();
    let node = restart(&path, 60, &again);
    again.wait(|entries| entries.len() == 43);
    let indexes: Vec<u64> = again.entries().iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, (61..=103).collect::<Vec<u64>>(), "and the entry of the new term");
    node.stop();
}

#[test]
fn a_backend_ahead_of_the_commit_index_is_believed() {
    let entry =
        |index| Entry { term: 2, index, data: Bytes::from_static(b"e"), ..Entry::default() };
    let recovered = Recovered {
        hard_state: HardState { term: 2, vote: MEMBER, commit: 3 },
        entries: (1..=6).map(entry).collect(),
        ..Recovered::default()
    };
    let conf_state = founding().first_conf_state();
    let boot = Boot { applied: 5, conf_state, ..Boot::default() };
    let (disk, journal) = (StoryDisk::default(), Journal::default());
    let machine = JournalMachine::new(&journal);
    let node = start_with(recovered, &boot, disk.clone(), machine, NoTransport);
    block_on(node.handle().read_barrier()).expect("a read right after the election");
    let indexes: Vec<u64> = journal.entries().iter().map(|entry| entry.index).collect();
    assert_eq!(indexes, [6, 7]);
    // A mark needs a commit index that covers it in the file.
    let record = SnapshotRecord { index: 5, term: 2, conf_state: Some(boot.conf_state.clone()) };
    block_on(node.handle().trim(record, 5)).expect("recorded");
    node.stop();
    let story = disk.story();
    let mark = story.iter().position(|told| *told == support::Told::Snapshot(5)).expect("a mark");
    let commit = story[..mark].iter().rev().find_map(|told| match told {
        support::Told::Append { commit, .. } => *commit,
        _ => None,
    });
    assert!(commit.is_some_and(|commit| commit >= 5), "{story:?}");
}

#[test]
fn a_backend_ahead_of_the_log_is_refused() {
    let refused = |recovered: Recovered, boot: &Boot| {
        boot.driver(&support::config(), recovered).err().expect("refused")
    };
    let entry = |index| Entry { term: 1, index, ..Entry::default() };
    let recovered = |commit, from, to| Recovered {
        hard_state: HardState { term: 1, vote: 0, commit },
        entries: (from..=to).map(entry).collect(),
        ..Recovered::default()
    };
    let boot = |snapshot, applied| Boot {
        snapshot: LogPosition { index: snapshot, term: 1 },
        applied,
        conf_state: founding().first_conf_state(),
        founders: vec![],
    };
    let error = refused(recovered(3, 1, 3), &boot(0, 4));
    assert!(matches!(error, Error::AppliedBeyondLog { applied: 4, last: 3 }), "{error}");
    let error = refused(recovered(9, 6, 9), &boot(5, 4));
    assert!(matches!(error, Error::AppliedBelowLog { applied: 4, boundary: 5 }), "{error}");
    let error = refused(recovered(4, 1, 3), &boot(0, 1));
    assert!(matches!(error, Error::CommitBeyondLog { commit: 4, last: 3 }), "{error}");
    let error = refused(recovered(9, 7, 9), &boot(5, 5));
    assert!(matches!(error, Error::LogGap { before_index: 5, index: 7, .. }), "{error}");
}

#[test]
fn a_founding_torn_by_a_crash_is_begun_again() {
    let half = Recovered {
        entries: vec![Entry { kind: EntryKind::ConfChange, term: 1, index: 1, ..Entry::default() }],
        ..Recovered::default()
    };
    let journal = Journal::default();
    let machine = JournalMachine::new(&journal);
    let node = start_with(half, &founding(), StoryDisk::default(), machine, NoTransport);
    journal.wait(|entries| entries.len() == 2);
    assert_eq!(journal.entries()[0].data, founding().founders[0].conf_change);
    node.stop();
}

#[test]
fn a_member_with_a_log_is_not_founded_again() {
    let recovered = Recovered {
        hard_state: HardState { term: 1, vote: 0, commit: 1 },
        entries: vec![Entry { term: 1, index: 1, ..Entry::default() }],
        ..Recovered::default()
    };
    let surroundings = raftnode::Surroundings {
        disk: Box::new(StoryDisk::default()),
        machine: Box::new(JournalMachine::new(&Journal::default())),
        transport: Box::new(NoTransport),
        observer: Box::new(()),
    };
    let refused = RaftNode::start(&support::config(), recovered, &founding(), surroundings);
    assert!(matches!(refused, Err(Error::AlreadyFounded { last: 1 })), "{refused:?}");
}

#[test]
fn a_trimmed_log_starts_at_its_mark_and_forgets_files() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("wal");
    let journal = Journal::default();
    let node = found(&path, &journal);
    for batch in 0..40 {
        propose(&node, batch * 100..(batch + 1) * 100);
        journal.wait(|entries| entries.len() as u64 == (batch + 1) * 100 + 2);
    }
    let at = &journal.entries()[2_999];
    let conf_state = Some(founding().first_conf_state());
    let record = SnapshotRecord { index: at.index, term: at.term, conf_state };
    block_on(node.handle().trim(record, 2_500)).expect("recorded");
    let removed = wal::purge(&path, 1).expect("purge");
    assert!(!removed.is_empty(), "files below the mark are let go");
    node.stop();
    let again = Journal::default();
    let (_, recovered, mark) = open(&path);
    assert_eq!(mark.index, 3_000);
    assert_eq!(recovered.entries.first().map(|entry| entry.index), Some(3_001));
    let node = restart(&path, 4_002, &again);
    again.wait(|entries| entries.len() == 1);
    assert_eq!(again.entries()[0].index, 4_003);
    node.stop();
}

#[test]
fn a_member_that_founded_and_applied_nothing_finds_its_membership_in_the_log() {
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("wal");
    let mut wal = create(&path);
    let entry = Entry {
        kind: EntryKind::ConfChange,
        term: 1,
        index: 1,
        data: founding().founders[0].conf_change.clone(),
    };
    wal.save(&[entry], Some(&HardState { term: 1, vote: 0, commit: 1 })).expect("save");
    drop(wal);
    let (wal, recovered, snapshot) = open(&path);
    let boot = Boot { snapshot, ..Boot::default() };
    let journal = Journal::default();
    let mut machine = JournalMachine::new(&journal);
    let conf_state = founding().first_conf_state();
    machine.verdict = Box::new(move |_| raftnode::ConfVerdict::Apply {
        change: raftnode::ConfChange::AddVoter(MEMBER),
        conf_state: conf_state.clone(),
    });
    let node = start_with(recovered, &boot, wal, machine, NoTransport);
    journal.wait(|entries| entries.len() == 2);
    block_on(node.handle().read_barrier()).expect("it leads");
    node.stop();
}
