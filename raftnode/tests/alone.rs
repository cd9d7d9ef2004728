//! One member, by itself.

mod support;

use bytes::Bytes;
use raftnode::{Boot, LogPosition, NoTransport, Role};
use support::{Journal, JournalMachine, MEMBER, StoryDisk, Told, block_on, founding, start};

#[test]
fn a_new_member_leads_at_once_and_applies_its_founding() {
    let (disk, journal) = (StoryDisk::default(), Journal::default());
    let node = start(disk.clone(), &journal);
    journal.wait(|entries| entries.len() == 2);
    let entries = journal.entries();
    assert_eq!((entries[0].index, entries[0].term), (1, 1));
    assert_eq!(entries[0].data, Bytes::from_static(b"add me"));
    assert_eq!((entries[1].index, entries[1].term, entries[1].data.len()), (2, 2, 0));
    let handle = node.handle();
    node.stop();
    assert_eq!(handle.status().term(), 2);
    assert_eq!(handle.status().leader(), MEMBER);
    assert_eq!(handle.status().role(), Role::Leader);
    assert_eq!(
        disk.story(),
        [
            Told::Append { entries: vec![1], commit: Some(1) },
            Told::Sync,
            Told::Append { entries: vec![2], commit: Some(1) },
            Told::Sync,
            Told::Append { entries: vec![], commit: Some(2) },
        ]
    );
}

#[test]
fn proposals_are_applied_in_order_and_once() {
    let (disk, journal) = (StoryDisk::default(), Journal::default());
    let node = start(disk, &journal);
    let handle = node.handle();
    block_on(async {
        for n in 0..1000_u64 {
            handle.propose(Bytes::copy_from_slice(&n.to_be_bytes())).await.expect("taken");
        }
    });
    journal.wait(|entries| entries.len() == 1002);
    let expected: Vec<Bytes> =
        (0..1000_u64).map(|n| Bytes::copy_from_slice(&n.to_be_bytes())).collect();
    assert_eq!(journal.data(), expected);
    node.stop();
}

#[test]
fn the_bytes_applied_are_the_very_bytes_proposed() {
    let journal = Journal::default();
    let node = start(StoryDisk::default(), &journal);
    let data = Bytes::from(vec![7; 100]);
    block_on(node.handle().propose(data.clone())).expect("taken");
    journal.wait(|entries| entries.len() == 3);
    assert_eq!(journal.data()[0].as_ptr(), data.as_ptr());
    node.stop();
}

#[test]
fn what_gathers_during_a_sync_is_one_write() {
    let disk = StoryDisk::slow(std::time::Duration::from_millis(20));
    let journal = Journal::default();
    let node = start(disk.clone(), &journal);
    let handle = node.handle();
    block_on(async {
        for _ in 0..200 {
            handle.propose(Bytes::from_static(b"x")).await.expect("taken");
        }
    });
    journal.wait(|entries| entries.len() == 202);
    node.stop();
    let syncs = disk.story().iter().filter(|told| **told == Told::Sync).count();
    assert!(syncs <= 10, "{syncs} syncs for 200 proposals made at once");
}

#[test]
fn a_barrier_without_a_hop_stands_once_an_entry_of_the_term_is_applied() {
    let journal = Journal::default();
    let node = start(StoryDisk::default(), &journal);
    let handle = node.handle();
    block_on(handle.read_barrier()).expect("a reader that came early is answered, too");
    assert!(handle.status().local_reads());
    assert_eq!(journal.applied(), 2);
    node.stop();
    assert!(!handle.status().local_reads());
    assert_eq!(block_on(handle.read_barrier()), Err(raftnode::ReadError::Stopped));
}

#[test]
fn a_stopped_node_takes_no_proposal() {
    let node = start(StoryDisk::default(), &Journal::default());
    let handle = node.handle();
    node.stop();
    let refused = block_on(handle.propose(Bytes::from_static(b"x")));
    assert_eq!(refused, Err(raftnode::ProposeError::Stopped));
}

#[test]
fn a_restart_goes_on_behind_what_was_applied() {
    let entry =
        |index| wal::Entry { term: 2, index, data: Bytes::from_static(b"e"), ..Default::default() };
    let recovered = wal::Recovered {
        hard_state: wal::HardState { term: 2, vote: MEMBER, commit: 4 },
        entries: (1..=6).map(entry).collect(),
        ..Default::default()
    };
    let conf_state = founding().first_conf_state();
    let boot = Boot { applied: 5, conf_state, snapshot: LogPosition::default(), founders: vec![] };
    let journal = Journal::default();
    let machine = JournalMachine::new(&journal);
    let node = support::start_with(recovered, &boot, StoryDisk::default(), machine, NoTransport);
    journal.wait(|entries| entries.len() == 2);
    let applied: Vec<_> = journal.entries().iter().map(|e| (e.index, e.term)).collect();
    assert_eq!(applied, [(6, 2), (7, 3)], "5 is not applied again, 6 is, then the new term");
    node.stop();
}
