//! The order of snapshot records in the log.

mod support;

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::raftpb::{self, MessageType};
use raftnode::{Boot, Founder, NoTransport};
use support::{Journal, JournalMachine, MEMBER, StoryDisk, Told, block_on, start_with};
use wal::{Recovered, SnapshotRecord};

const LEADER: u64 = 2;

fn record(index: u64) -> SnapshotRecord {
    let conf_state = base::ConfState { voters: vec![LEADER, MEMBER], ..Default::default() };
    SnapshotRecord { index, term: 2, conf_state: Some(conf_state) }
}

/// A snapshot of the leader at this index.
fn snapshot(index: u64) -> raftpb::Message {
    let voters = vec![LEADER, MEMBER];
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(raftpb::ConfState { voters, ..Default::default() }),
        index: Some(index),
        term: Some(2),
    };
    raftpb::Message {
        r#type: Some(MessageType::MsgSnap as i32),
        from: Some(LEADER),
        to: Some(MEMBER),
        term: Some(2),
        snapshot: Some(raftpb::Snapshot { data: None, metadata: Some(metadata) }),
        ..Default::default()
    }
}

/// A start takes the last record and what follows it, and what comes between an older record and
/// a received snapshot is not there.
#[test]
fn a_record_of_its_own_never_follows_that_of_a_later_received_snapshot() {
    let founder = |id| Founder { id, conf_change: Bytes::from_static(b"add") };
    let boot = Boot { founders: vec![founder(MEMBER), founder(LEADER)], ..Boot::default() };
    let (disk, journal) = (StoryDisk::default(), Journal::default());
    let machine = JournalMachine::new(&journal);
    let node = start_with(Recovered::default(), &boot, disk.clone(), machine, NoTransport);
    journal.wait(|entries| entries.len() == 2);
    let handle = node.handle();
    handle.step(snapshot(100)).expect("room");
    let deadline = Instant::now() + Duration::from_secs(20);
    while handle.status().commit() < 100 {
        assert!(Instant::now() < deadline, "the snapshot is not taken");
        std::thread::yield_now();
    }
    for index in [2, 99, 100] {
        block_on(handle.trim(record(index), index)).expect("it runs");
    }
    node.stop();
    let marks = disk.story().into_iter().filter(|told| matches!(told, Told::Snapshot(_)));
    assert_eq!(marks.collect::<Vec<_>>(), [Told::Snapshot(100), Told::Snapshot(100)]);
}
