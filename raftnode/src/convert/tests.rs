use proptest::prelude::*;

use super::*;

fn raftpb_message(kind: i32) -> raftpb::Message {
    raftpb::Message { r#type: Some(kind), to: Some(1), from: Some(2), ..Default::default() }
}

#[test]
fn only_types_that_may_come_from_a_peer_pass() {
    let passing: Vec<i32> =
        (-2..40).filter(|kind| incoming(raftpb_message(*kind)).is_ok()).collect();
    assert_eq!(passing, [2, 3, 4, 5, 6, 7, 8, 9, 13, 14, 15, 16, 17, 18]);
}

#[test]
fn an_entry_of_an_unknown_kind_is_refused_and_not_read_as_a_normal_one() {
    for kind in [-1, 3, 7] {
        let mut message = raftpb_message(raftpb::MessageType::MsgApp as i32);
        message.entries = vec![raftpb::Entry { r#type: Some(kind), ..Default::default() }];
        assert_eq!(incoming(message).err(), Some(StepError::EntryKind { kind }));
    }
}

#[test]
fn the_entries_of_an_append_come_apart_into_shells_and_data() {
    let mut message = raftpb_message(raftpb::MessageType::MsgApp as i32);
    let data = Bytes::from_static(b"data");
    message.entries = vec![entry_out(EntryKind::Normal, 3, 7, data.clone())];
    let incoming = incoming(message).expect("fine");
    assert!(incoming.message.entries[0].data.is_empty());
    assert_eq!((incoming.message.entries[0].term, incoming.message.entries[0].index), (3, 7));
    assert_eq!(incoming.entries[0].data.as_ptr(), data.as_ptr());
}

#[test]
fn a_read_request_keeps_its_id() {
    let mut message = raftpb_message(raftpb::MessageType::MsgReadIndex as i32);
    message.entries = vec![entry_out(EntryKind::Normal, 0, 0, Bytes::from_static(b"8 bytes!"))];
    let incoming = incoming(message).expect("fine");
    assert_eq!(incoming.message.entries[0].data, b"8 bytes!");
    assert!(incoming.entries.is_empty());
}

#[test]
fn an_empty_snapshot_counts_as_none() {
    let mut message = raftpb_message(raftpb::MessageType::MsgApp as i32);
    message.snapshot = Some(raftpb::Snapshot {
        data: None,
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(raftpb::ConfState::default()),
            index: Some(0),
            term: Some(0),
        }),
    });
    assert!(incoming(message).expect("fine").message.snapshot.is_none());
}

#[test]
fn what_only_raft_rs_knows_never_leaves() {
    let message = eraftpb::Message {
        request_snapshot: 5,
        priority: 7,
        deprecated_priority: 7,
        commit_term: 9,
        to: 1,
        from: 2,
        ..Default::default()
    };
    let sent = outgoing(message, vec![]);
    assert_eq!((sent.vote, sent.responses.len()), (None, 0));
}

#[test]
fn a_learner_survives_both_ways() {
    let conf_state =
        base::ConfState { voters: vec![3, 9], learners: vec![5], ..Default::default() };
    assert_eq!(conf_state_from_raft(&conf_state_to_raft(&conf_state)), conf_state);
}

prop_compose! {
    fn any_message()(
        kind in proptest::sample::select(vec![4, 5, 6, 7, 8, 9, 13, 14, 17, 18]),
        numbers in proptest::collection::vec(prop_oneof![Just(0), any::<u64>()], 8),
        reject in any::<bool>(),
        context in proptest::collection::vec(any::<u8>(), 0..12),
        snapshot in proptest::option::of((1..u64::MAX, any::<u64>())),
    ) -> raftpb::Message {
        let some = |number: u64| (number != 0).then_some(number);
        raftpb::Message {
            r#type: Some(kind),
            to: Some(numbers[0]),
            from: Some(numbers[1]),
            term: Some(numbers[2]),
            log_term: some(numbers[3]),
            index: some(numbers[4]),
            commit: some(numbers[5]),
            reject: reject.then_some(true),
            reject_hint: some(numbers[6]),
            context: (!context.is_empty()).then(|| context.into()),
            snapshot: snapshot.map(|(index, term)| raftpb::Snapshot {
                data: Some(Bytes::from_static(b"snapshot")),
                metadata: Some(raftpb::SnapshotMetadata {
                    conf_state: Some(raftpb::ConfState {
                        voters: vec![1, 2],
                        learners: vec![3],
                        auto_leave: Some(false),
                        ..Default::default()
                    }),
                    index: Some(index),
                    term: Some(term),
                }),
            }),
            ..Default::default()
        }
    }
}

proptest! {
    #[test]
    fn a_message_survives_both_ways(message in any_message()) {
        let there = incoming(message.clone()).expect("fine").message;
        prop_assert_eq!(outgoing(there, vec![]), message);
    }
}
