//! Messages that raft-rs would end the process over, each to a leader and to a follower.

use bytes::Bytes;
use proto::raftpb::{self, MessageType};

use super::super::tests::{append, conf, founded, leader_of_three, message, normal, settle};
use super::*;

/// A follower of member 2 in term 2, with entries up to 2.
fn follower() -> Driver {
    let mut driver = founded(1, &conf(&[1, 2, 3], &[]));
    driver.step(append(2, 1, (1, 1), 1, &[normal(2, 2, "")])).expect("an append");
    settle(&mut driver);
    driver
}

fn entry(index: u64, term: u64) -> raftpb::Entry {
    let data = Some(Bytes::from_static(b"\0\0\0\0\0\0\0\x01"));
    raftpb::Entry { index: Some(index), term: Some(term), data, ..Default::default() }
}

/// A message of term 2 from member 2 to member 1.
fn of(kind: MessageType, change: impl FnOnce(&mut raftpb::Message)) -> raftpb::Message {
    let mut message = message(kind, 2, 1, 2);
    change(&mut message);
    message
}

fn append_of(before: (u64, u64), entries: Vec<raftpb::Entry>) -> raftpb::Message {
    of(MessageType::MsgApp, |m| {
        (m.index, m.log_term, m.entries) = (Some(before.0), Some(before.1), entries);
        m.commit = Some(u64::MAX);
    })
}

fn snapshot_of(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> raftpb::Message {
    let conf_state = raftpb::ConfState {
        voters: voters.to_vec(),
        learners: learners.to_vec(),
        voters_outgoing: outgoing.to_vec(),
        ..Default::default()
    };
    let metadata =
        raftpb::SnapshotMetadata { conf_state: Some(conf_state), index: Some(100), term: Some(2) };
    let snapshot = raftpb::Snapshot { data: None, metadata: Some(metadata) };
    of(MessageType::MsgSnap, |m| m.snapshot = Some(snapshot))
}

fn impossible() -> Vec<raftpb::Message> {
    let mut all = vec![
        of(MessageType::MsgHeartbeat, |m| m.commit = Some(9)),
        of(MessageType::MsgHeartbeat, |m| (m.term, m.commit) = (Some(3), Some(u64::MAX))),
        of(MessageType::MsgReadIndexResp, |m| {
            (m.term, m.index, m.entries) = (None, Some(9), vec![entry(0, 0)]);
        }),
        of(MessageType::MsgVote, |m| {
            (m.term, m.index, m.log_term) = (None, Some(9), Some(9));
        }),
        of(MessageType::MsgReadIndex, |m| m.term = None),
        of(MessageType::MsgReadIndex, |m| {
            (m.term, m.entries) = (None, vec![raftpb::Entry::default()]);
        }),
        of(MessageType::MsgReadIndex, |m| m.entries = vec![entry(0, 0)]),
        of(MessageType::MsgProp, |m| m.term = None),
        of(MessageType::MsgProp, |m| m.entries = vec![entry(0, 0)]),
        // Behind the end, with a term that nothing there has.
        append_of((9, 0), vec![]),
        append_of((9, 0), vec![entry(10, 2)]),
        // A gap, a step back, no term, a term of the future, the end of all numbers.
        append_of((2, 2), vec![entry(4, 2)]),
        append_of((2, 2), vec![entry(3, 2), entry(3, 2)]),
        append_of((2, 2), vec![entry(1, 2)]),
        append_of((2, 2), vec![entry(3, 0)]),
        append_of((2, 2), vec![entry(3, 9)]),
        append_of((u64::MAX, 2), vec![entry(0, 2)]),
        snapshot_of(&[1, 2, 3], &[3], &[]),
        snapshot_of(&[1, 1, 2], &[], &[]),
        snapshot_of(&[1, 2], &[], &[3]),
        snapshot_of(&[], &[1], &[]),
    ];
    for kind in [MessageType::MsgHeartbeat, MessageType::MsgPreVote, MessageType::MsgVoteResp] {
        all.push(of(kind, |m| m.term = Some(u64::MAX)));
        all.push(of(kind, |m| m.term = None));
        all.push(of(kind, |m| m.from = Some(1)));
    }
    all
}

/// Steps each impossible message into a member of its own.
fn unharmed(name: &str, make: fn() -> Driver) {
    for message in impossible() {
        let mut driver = make();
        let (role, log) = (driver.leadership(), driver.log().last());
        let stepped = driver.step(message.clone());
        let refused = matches!(stepped, Err(StepError::Impossible { .. }));
        assert!(refused, "{name}: {message:?}: {stepped:?}");
        settle(&mut driver);
        assert_eq!((driver.leadership(), driver.log().last()), (role, log));
    }
}

#[test]
fn messages_that_cannot_be_change_nothing() {
    unharmed("follower", follower);
    unharmed("leader", leader_of_three);
}

#[test]
fn a_follower_passes_no_transfer_on_and_a_leader_believes_no_acknowledgement_of_nothing() {
    let refused = Err(StepError::Impossible { what: "this member does not lead" });
    assert_eq!(follower().step(of(MessageType::MsgTransferLeader, |_| {})), refused);
    let refused = Err(StepError::Impossible { what: "it has entries that were never sent" });
    let much = of(MessageType::MsgAppResp, |m| m.index = Some(u64::MAX - 1));
    assert_eq!(leader_of_three().step(much), refused);
}

#[test]
fn what_members_send_is_taken() {
    let mut driver = follower();
    for message in [
        of(MessageType::MsgHeartbeat, |m| m.commit = Some(2)),
        append_of((2, 2), vec![entry(3, 2), entry(4, 2)]),
        // Far ahead, as a leader that does not know this log begins.
        append_of((90, 2), vec![entry(91, 2)]),
        of(MessageType::MsgHeartbeat, |m| (m.term, m.commit) = (Some(1), Some(90))),
        of(MessageType::MsgReadIndex, |m| (m.term, m.entries) = (None, vec![entry(0, 0)])),
        of(MessageType::MsgPreVote, |m| m.term = Some(90)),
        snapshot_of(&[1, 2], &[3], &[]),
    ] {
        assert_eq!(driver.step(message.clone()), Ok(()), "{message:?}");
        settle(&mut driver);
    }
    assert_eq!(driver.log().last().index, 100);
}
