//! The quota: what requests cost and what happens at the edge.

use proto::etcdserverpb::{AlarmType, LeaseGrantRequest, TxnRequest};
use proto::request::Kind;

use super::{Rig, delete, op_delete, op_put, op_txn, put, txn};
use crate::quota::{DEFAULT_QUOTA_BYTES, Quota, put_cost, txn_cost};
use crate::{ApplyError, Effect};

fn nearly_full(free: i64) -> Rig {
    let mut rig = Rig::new();
    rig.options.quota = Quota::from_flag(100_000);
    rig.model.allocated = 100_000 - free as u64;
    rig
}

#[test]
fn a_put_costs_its_bytes_and_an_overhead() {
    assert_eq!(put_cost(&put("key", "value")), 256 + 3 + 5);
}

#[test]
fn a_txn_costs_its_dearer_branch_with_nested_ones() {
    let small = || op_put(put("a", ""));
    let large = || op_put(put("a", "0123456789"));
    let nested = op_txn(TxnRequest { failure: vec![large()], ..txn(vec![small()]) });
    for (success, failure, cost) in [
        (vec![], vec![], 0),
        (vec![op_delete(delete("a", ""))], vec![], 0),
        (vec![small()], vec![], 257),
        (vec![small(), small()], vec![large()], 514),
        (vec![small()], vec![large()], 267),
        (vec![nested.clone()], vec![small()], 267),
        (vec![small()], vec![nested.clone(), op_txn(txn(vec![nested]))], 534),
    ] {
        let request = TxnRequest { compare: vec![], success, failure };
        assert_eq!(txn_cost(&request), cost, "{request:?}");
    }
}

#[test]
fn the_flag_has_a_default_and_an_off() {
    assert_eq!(Quota::from_flag(0), Quota::from_flag(DEFAULT_QUOTA_BYTES));
    assert!(Quota::from_flag(-1).allows(u64::MAX, 1 << 40));
    assert!(!Quota::from_flag(1000).allows(900, 100), "it must stay below");
    assert!(Quota::from_flag(1000).allows(899, 100));
    assert!(Quota::from_flag(1000).allows(5000, 0), "what costs nothing always passes");
}

#[test]
fn the_crossing_put_is_written_and_answered_with_no_space() {
    let mut rig = nearly_full(258);
    rig.put("a", "");
    let applied = rig.apply(Kind::Put, &put("a", "1"));
    assert_eq!(applied.result, Err(ApplyError::NoSpace));
    assert_eq!(applied.effects, [Effect::ProposeNoSpaceAlarm]);
    assert_eq!(applied.revision, 3);
    assert_eq!(rig.get("a").expect("it was put").value, "1");
}

#[test]
fn the_crossing_txn_and_grant_are_written_too() {
    let mut rig = nearly_full(10);
    let applied = rig.apply(Kind::Txn, &txn(vec![op_put(put("a", "1"))]));
    assert_eq!(applied.result, Err(ApplyError::NoSpace));
    assert!(rig.get("a").is_some());
    let applied = rig.apply(Kind::LeaseGrant, &LeaseGrantRequest { id: 4, ttl: 60 });
    assert_eq!(applied.result, Err(ApplyError::NoSpace));
    let granted = Effect::LeaseGranted { id: 4, ttl_s: 60 };
    assert_eq!(applied.effects, [granted, Effect::ProposeNoSpaceAlarm]);
    assert!(rig.state.leases.read().contains(4));
}

#[test]
fn what_frees_space_passes_without_any() {
    let mut rig = nearly_full(0);
    rig.reply(Kind::DeleteRange, &delete("a", ""));
    rig.txn(&txn(vec![op_delete(delete("a", ""))]));
}

#[test]
fn a_refused_request_proposes_no_alarm() {
    let mut rig = nearly_full(0);
    let leased = proto::etcdserverpb::PutRequest { lease: 9, ..put("a", "1") };
    let applied = rig.apply(Kind::Put, &leased);
    assert_eq!(applied.result, Err(ApplyError::LeaseNotFound));
    assert!(applied.effects.is_empty());
}

#[test]
fn the_alarm_is_proposed_only_until_it_is_raised() {
    let mut rig = nearly_full(0);
    assert_eq!(rig.apply(Kind::Put, &put("a", "1")).effects, [Effect::ProposeNoSpaceAlarm]);
    rig.raise(5, AlarmType::Nospace);
    let applied = rig.apply(Kind::Put, &put("a", "1"));
    assert_eq!(applied.result, Err(ApplyError::NoSpace));
    assert!(applied.effects.is_empty());
    assert_eq!(applied.revision, 2, "the guard refuses before anything is written");
}

#[test]
fn members_with_different_quotas_write_the_same() {
    let run = |quota| {
        let mut rig = Rig::new();
        rig.options.quota = Quota::from_flag(quota);
        rig.model.allocated = 5_000;
        rig.apply(Kind::Put, &put("a", "1"));
        rig.apply(Kind::Txn, &txn(vec![op_put(put("b", "1"))]));
        rig.apply(Kind::LeaseGrant, &LeaseGrantRequest { id: 4, ttl: 60 });
        rig.model.revision_and_rows()
    };
    assert_eq!(run(1_000), run(-1));
}
