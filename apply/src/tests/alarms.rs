//! Alarms, and the order of the guards that obey them.

use base::schema::Bucket;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, AlarmType, CompactionRequest, LeaseCheckpointRequest,
    LeaseGrantRequest, LeaseRevokeRequest,
};
use proto::membershippb::ClusterVersionSetRequest;
use proto::request::Kind;

use super::{Rig, alarm_request, delete, op_delete, op_put, op_range, op_txn, put, range, txn};
use crate::{ApplyError, Effect, Reply};

fn listed(rig: &mut Rig, kind: AlarmType) -> Vec<AlarmMember> {
    match rig.reply(Kind::Alarm, &alarm_request(AlarmAction::Get, 0, kind)) {
        Reply::Alarm(alarms) => alarms,
        other => panic!("an alarm request answered with {other:?}"),
    }
}

fn rows(rig: &Rig) -> Vec<Vec<u8>> {
    let alarms = rig.model.rows.iter().filter(|((bucket, _), _)| *bucket == Bucket::Alarm);
    alarms
        .map(|((_, key), value)| {
            assert!(value.is_empty());
            key.clone()
        })
        .collect()
}

#[test]
fn an_activation_is_stored_answered_and_told() {
    let mut rig = Rig::new();
    let member_id = 0xc7e1_6ec5_d9d1_f725;
    let request = alarm_request(AlarmAction::Activate, member_id, AlarmType::Nospace);
    let alarm = AlarmMember { member_id, alarm: AlarmType::Nospace as i32 };
    let applied = rig.apply(Kind::Alarm, &request);
    assert_eq!(applied.result, Ok(Reply::Alarm(vec![alarm])));
    assert_eq!(applied.effects, [Effect::AlarmRaised(alarm)]);
    let key = b"\x08\xa5\xee\xc7\xce\xdd\xd8\xdb\xf0\xc7\x01\x10\x01";
    assert_eq!(rows(&rig), [key.to_vec()]);
    let again = rig.apply(Kind::Alarm, &request);
    assert_eq!(again.result, Ok(Reply::Alarm(vec![alarm])), "answered again, raised once");
    assert!(again.effects.is_empty());
}

#[test]
fn a_deactivation_needs_the_exact_pair() {
    let mut rig = Rig::new();
    rig.raise(5, AlarmType::Nospace);
    for (member_id, kind) in
        [(0, AlarmType::Nospace), (5, AlarmType::Corrupt), (5, AlarmType::None)]
    {
        let request = alarm_request(AlarmAction::Deactivate, member_id, kind);
        assert_eq!(rig.reply(Kind::Alarm, &request), Reply::Alarm(vec![]));
    }
    let request = alarm_request(AlarmAction::Deactivate, 5, AlarmType::Nospace);
    let alarm = AlarmMember { member_id: 5, alarm: AlarmType::Nospace as i32 };
    let applied = rig.apply(Kind::Alarm, &request);
    assert_eq!(applied.result, Ok(Reply::Alarm(vec![alarm])));
    assert_eq!(applied.effects, [Effect::AlarmCleared(alarm)]);
    assert!(rows(&rig).is_empty());
}

#[test]
fn a_list_is_by_type_or_of_all() {
    let mut rig = Rig::new();
    rig.raise(5, AlarmType::Nospace);
    rig.raise(6, AlarmType::Corrupt);
    rig.raise(0, AlarmType::Nospace);
    assert_eq!(listed(&mut rig, AlarmType::None).len(), 3);
    assert_eq!(listed(&mut rig, AlarmType::Nospace).len(), 2);
    assert_eq!(listed(&mut rig, AlarmType::Corrupt), [AlarmMember { member_id: 6, alarm: 2 }]);
}

#[test]
fn odd_requests_are_answered_with_nothing_and_kill_nobody() {
    let mut rig = Rig::new();
    for member_id in [0, 5] {
        assert!(rig.raise(member_id, AlarmType::None).is_empty());
    }
    let undefined = AlarmRequest { action: 77, member_id: 0, alarm: 1 };
    assert_eq!(rig.reply(Kind::Alarm, &undefined), Reply::Alarm(vec![]));
    assert!(rows(&rig).is_empty());
}

#[test]
fn an_undefined_type_is_kept_and_blocks_nothing() {
    let mut rig = Rig::new();
    for alarm in [77, -3] {
        let activate = AlarmRequest { action: AlarmAction::Activate as i32, member_id: 1, alarm };
        let pair = AlarmMember { member_id: 1, alarm };
        assert_eq!(rig.reply(Kind::Alarm, &activate), Reply::Alarm(vec![pair]));
        assert_eq!(rows(&rig).len(), 1);
        rig.put("a", "1");
        assert_eq!(listed(&mut rig, AlarmType::None), std::slice::from_ref(&pair));
        let clear = AlarmRequest { action: AlarmAction::Deactivate as i32, member_id: 1, alarm };
        assert_eq!(rig.reply(Kind::Alarm, &clear), Reply::Alarm(vec![pair]));
    }
}

/// What each kind of request is answered with, under the alarms raised in `rig`.
fn verdicts(rig: &mut Rig) -> Vec<(&'static str, Option<ApplyError>)> {
    let put_txn = txn(vec![op_put(put("a", "1"))]);
    let else_put = proto::etcdserverpb::TxnRequest {
        failure: vec![op_txn(put_txn.clone())],
        ..txn(vec![op_range(range("a", ""))])
    };
    let delete_txn = txn(vec![op_delete(delete("z", ""))]);
    let compaction = CompactionRequest { revision: rig.model.commit(), physical: false };
    let version = ClusterVersionSetRequest { ver: "3.7.0".into() };
    let results = [
        ("put", rig.apply(Kind::Put, &put("a", "1"))),
        ("delete", rig.apply(Kind::DeleteRange, &delete("z", ""))),
        ("txn with put", rig.apply(Kind::Txn, &put_txn)),
        ("txn with put in else", rig.apply(Kind::Txn, &else_put)),
        ("txn without put", rig.apply(Kind::Txn, &delete_txn)),
        ("compaction", rig.apply(Kind::Compaction, &compaction)),
        ("grant", rig.apply(Kind::LeaseGrant, &LeaseGrantRequest { id: 2, ttl: 60 })),
        ("revoke", rig.apply(Kind::LeaseRevoke, &LeaseRevokeRequest { id: 1 })),
        ("checkpoint", rig.apply(Kind::LeaseCheckpoint, &LeaseCheckpointRequest::default())),
        ("range", rig.apply(Kind::Range, &range("a", ""))),
        ("alarm", rig.apply(Kind::Alarm, &AlarmRequest::default())),
        ("version", rig.apply(Kind::ClusterVersionSet, &version)),
    ];
    results.map(|(name, applied)| (name, applied.result.err())).to_vec()
}

fn with_lease() -> Rig {
    let mut rig = Rig::new();
    rig.grant(1, 60);
    rig
}

#[test]
fn without_space_only_what_grows_is_blocked() {
    let mut rig = with_lease();
    rig.raise(5, AlarmType::Nospace);
    for (name, error) in verdicts(&mut rig) {
        let blocked = ["put", "txn with put", "txn with put in else", "grant"].contains(&name);
        assert_eq!(error, blocked.then_some(ApplyError::NoSpace), "{name}");
    }
}

#[test]
fn corruption_blocks_all_writes() {
    let mut rig = with_lease();
    rig.raise(5, AlarmType::Corrupt);
    for (name, error) in verdicts(&mut rig) {
        let open = ["checkpoint", "range", "alarm", "version"].contains(&name);
        assert_eq!(error, (!open).then_some(ApplyError::Corrupt), "{name}");
    }
}

#[test]
fn corruption_is_named_before_missing_space() {
    let mut rig = with_lease();
    rig.raise(5, AlarmType::Nospace);
    rig.raise(6, AlarmType::Corrupt);
    assert_eq!(rig.refusal(Kind::Put, &put("a", "1")), ApplyError::Corrupt);
}

#[test]
fn the_last_alarm_of_a_type_lifts_the_block() {
    let mut rig = Rig::new();
    rig.raise(5, AlarmType::Nospace);
    rig.raise(6, AlarmType::Nospace);
    for member_id in [5, 6] {
        assert_eq!(rig.refusal(Kind::Put, &put("a", "1")), ApplyError::NoSpace);
        let clear = alarm_request(AlarmAction::Deactivate, member_id, AlarmType::Nospace);
        rig.reply(Kind::Alarm, &clear);
    }
    rig.put("a", "1");
}
