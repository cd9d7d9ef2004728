//! Txns: what their operations see, what refuses them, what they answer.

use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::{
    CompactionRequest, Compare, PutRequest, RangeRequest, RequestOp, ResponseHeader, TxnRequest,
};
use proto::raw;
use proto::request::Kind;

use super::{Rig, delete, op_delete, op_put, op_range, op_txn, pairs, put, range, txn};
use crate::txn::read;
use crate::{ApplyError, ReadError, is_read_only, is_serializable};

fn created(key: &'static str, revision: i64) -> Compare {
    Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.into(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
        ..Compare::default()
    }
}

fn range_of(response: &raw::TxnResponse, at: usize) -> &raw::RangeResponse {
    match &response.responses[at].response {
        Some(raw::Response::ResponseRange(range)) => range,
        other => panic!("response {at} is {other:?}"),
    }
}

fn nested(response: &raw::TxnResponse, at: usize) -> &raw::TxnResponse {
    match &response.responses[at].response {
        Some(raw::Response::ResponseTxn(txn)) => txn,
        other => panic!("response {at} is {other:?}"),
    }
}

fn op_revision(response: &raw::TxnResponse, at: usize) -> i64 {
    let header = match &response.responses[at].response {
        Some(raw::Response::ResponseRange(range)) => &range.header,
        Some(raw::Response::ResponsePut(put)) => &put.header,
        Some(raw::Response::ResponseDeleteRange(delete)) => &delete.header,
        other => panic!("response {at} is {other:?}"),
    };
    header.as_ref().expect("operations carry a header").revision
}

#[test]
fn the_worked_example_answers_as_etcd_does() {
    let mut rig = Rig::new();
    rig.put("foo", "bar");
    rig.put("foo", "bar2");
    let request = TxnRequest {
        compare: vec![created("foo", 2)],
        success: vec![op_put(put("foo", "qux")), op_range(range("foo", "")), op_put(put("a", "1"))],
        failure: vec![],
    };
    let response = rig.txn(&request);
    assert!(response.succeeded);
    assert_eq!([0, 1, 2].map(|at| op_revision(&response, at)), [4, 4, 4]);
    let range = range_of(&response, 1);
    let pair = &pairs(range.kvs.iter())[0];
    assert_eq!((pair.create_revision, pair.mod_revision, pair.version), (2, 4, 3));
    assert_eq!((&pair.value[..], range.count), (&b"qux"[..], 1));
}

#[test]
fn all_changes_share_one_revision() {
    let mut rig = Rig::new();
    rig.put("x", "1");
    rig.put("y", "1");
    let response = rig.txn(&txn(vec![
        op_put(put("a", "1")),
        op_delete(delete("x", "z")),
        op_put(put("b", "1")),
    ]));
    assert_eq!([0, 1, 2].map(|at| op_revision(&response, at)), [4, 4, 4]);
    assert_eq!(rig.get("b").expect("it was put").mod_revision, 4);
    rig.put("c", "1");
    assert_eq!(rig.get("c").expect("it was put").mod_revision, 5);
}

#[test]
fn headers_name_the_new_revision_from_the_first_change_on() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let response = rig.txn(&txn(vec![
        op_range(range("a", "")),
        op_delete(delete("none", "")),
        op_delete(delete("a", "")),
        op_range(range("a", "")),
        op_delete(delete("none", "")),
    ]));
    let revisions: Vec<_> = (0..5).map(|at| op_revision(&response, at)).collect();
    assert_eq!(revisions, [2, 2, 3, 3, 3]);
}

#[test]
fn a_txn_that_changes_nothing_makes_no_revision() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let request = TxnRequest {
        compare: vec![created("a", 99)],
        success: vec![op_put(put("a", "2"))],
        failure: vec![op_range(range("a", "")), op_delete(delete("b", ""))],
    };
    let applied = rig.apply(Kind::Txn, &request);
    assert_eq!(applied.revision, 2);
    assert_eq!(rig.get("a").expect("it was put").value, "1");
}

#[test]
fn compares_are_a_conjunction_and_none_hold() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let both = |first, second| TxnRequest {
        compare: vec![created("a", first), created("none", second)],
        ..TxnRequest::default()
    };
    assert!(rig.txn(&both(2, 0)).succeeded);
    assert!(!rig.txn(&both(2, 1)).succeeded);
    assert!(!rig.txn(&both(1, 0)).succeeded);
    assert!(rig.txn(&TxnRequest::default()).succeeded);
}

#[test]
fn nested_compares_see_the_state_before_the_whole_txn() {
    let mut rig = Rig::new();
    let inner = TxnRequest {
        compare: vec![created("a", 0)],
        success: vec![op_put(put("b", "absent"))],
        failure: vec![op_put(put("b", "present"))],
    };
    let response = rig.txn(&txn(vec![op_put(put("a", "1")), op_txn(inner)]));
    assert!(nested(&response, 1).succeeded);
    assert_eq!(rig.get("b").expect("it was put").value, "absent");
}

#[test]
fn a_nested_answer_has_an_empty_header() {
    let mut rig = Rig::new();
    let response = rig.txn(&txn(vec![op_txn(txn(vec![op_put(put("a", "1"))]))]));
    assert_eq!(response.header, None, "the server fills the outer one");
    assert_eq!(nested(&response, 0).header, Some(ResponseHeader::default()));
    assert_eq!(op_revision(nested(&response, 0), 0), 2);
}

#[test]
fn answers_of_nested_txns_stand_in_their_places() {
    let mut rig = Rig::new();
    let inner = txn(vec![op_put(put("b", "1")), op_txn(TxnRequest::default())]);
    let response =
        rig.txn(&txn(vec![op_txn(inner), op_range(range("b", "")), op_put(put("c", "1"))]));
    assert_eq!(response.responses.len(), 3);
    assert_eq!(nested(&response, 0).responses.len(), 2);
    assert_eq!(range_of(&response, 1).count, 1);
}

#[test]
fn a_deep_chain_runs() {
    let mut rig = Rig::new();
    let mut chain = txn(vec![op_put(put("a", "deep"))]);
    for _ in 0..128 {
        chain = txn(vec![op_txn(chain)]);
    }
    rig.txn(&chain);
    assert_eq!(rig.get("a").expect("it was put").value, "deep");
}

#[test]
fn a_missing_lease_in_the_branch_taken_refuses_the_whole_txn() {
    let mut rig = Rig::new();
    let leased = PutRequest { lease: 5, ..put("b", "1") };
    for bad in [op_put(leased.clone()), op_txn(txn(vec![op_put(leased.clone())]))] {
        let request = txn(vec![op_put(put("a", "1")), bad.clone()]);
        assert_eq!(rig.refusal(Kind::Txn, &request), ApplyError::LeaseNotFound);
        let not_taken = TxnRequest { failure: vec![bad], ..txn(vec![op_put(put("a", "1"))]) };
        rig.txn(&not_taken);
    }
}

#[test]
fn ignoring_parts_of_a_key_that_was_not_there_before_refuses_the_whole_txn() {
    let mut rig = Rig::new();
    let keep = PutRequest { ignore_value: true, ..put("b", "") };
    let request = txn(vec![op_put(put("a", "1")), op_txn(txn(vec![op_put(keep)]))]);
    assert_eq!(rig.refusal(Kind::Txn, &request), ApplyError::KeyNotFound);
}

#[test]
fn ignoring_parts_of_a_key_the_txn_itself_deleted_is_survived() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let keep = PutRequest { ignore_value: true, ..put("a", "") };
    rig.txn(&txn(vec![op_delete(delete("a", "\0")), op_put(keep)]));
    let pair = rig.get("a").expect("it was put");
    assert_eq!((pair.value.len(), pair.version), (0, 1));
}

#[test]
fn an_operation_without_content_refuses_the_whole_txn() {
    let mut rig = Rig::new();
    let request = txn(vec![op_put(put("a", "1")), RequestOp { request: None }]);
    assert_eq!(rig.refusal(Kind::Txn, &request), ApplyError::KeyNotFound);
}

#[test]
fn a_bad_revision_in_the_branch_taken_refuses_the_whole_txn() {
    let mut rig = Rig::new();
    for _ in 0..4 {
        rig.put("a", "1");
    }
    let at = |revision| op_range(RangeRequest { revision, ..range("a", "") });
    let with = |op: RequestOp| txn(vec![op_put(put("b", "1")), op]);
    assert_eq!(rig.refusal(Kind::Txn, &with(at(6))), ApplyError::FutureRev);
    assert_eq!(rig.refusal(Kind::Txn, &with(at(-2))), ApplyError::Compacted);
    rig.txn(&with(at(-1)));
    rig.reply(Kind::Compaction, &CompactionRequest { revision: 4, physical: false });
    for revision in [3, -1] {
        assert_eq!(rig.refusal(Kind::Txn, &with(at(revision))), ApplyError::Compacted);
        let deep = with(op_txn(txn(vec![at(revision)])));
        assert_eq!(rig.refusal(Kind::Txn, &deep), ApplyError::Compacted);
        let not_taken = TxnRequest { failure: vec![at(revision)], ..with(at(4)) };
        rig.txn(&not_taken);
    }
}

#[test]
fn a_range_at_a_revision_does_not_see_the_txn() {
    let mut rig = Rig::new();
    rig.put("a", "before");
    let old = RangeRequest { revision: 2, ..range("a", "") };
    let request = txn(vec![op_put(put("a", "now")), op_range(old), op_range(range("a", ""))]);
    let response = rig.txn(&request);
    assert_eq!(pairs(range_of(&response, 1).kvs.iter())[0].value, "before");
    assert_eq!(pairs(range_of(&response, 2).kvs.iter())[0].value, "now");
}

#[test]
fn ranges_are_checked_but_not_read_when_nobody_waits() {
    let mut rig = Rig::new();
    rig.deaf = true;
    let future = RangeRequest { revision: 9, ..range("a", "") };
    let bad = txn(vec![op_put(put("a", "1")), op_range(future)]);
    assert_eq!(rig.refusal(Kind::Txn, &bad), ApplyError::FutureRev);
    let good = txn(vec![op_put(put("a", "1")), op_range(range("a", ""))]);
    assert!(rig.txn(&good).responses.is_empty());
    assert_eq!(rig.get("a").expect("it was put").value, "1");
}

#[test]
fn a_read_only_txn_answers_from_one_state() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let request = TxnRequest {
        compare: vec![created("a", 2)],
        success: vec![op_range(range("a", "")), op_range(range("b", ""))],
        failure: vec![],
    };
    let answer = read(&rig.model, &request).expect("it is fine");
    assert_eq!(answer.revision, 2);
    assert!(answer.response.succeeded);
    assert_eq!([0, 1].map(|at| op_revision(&answer.response, at)), [2, 2]);
    assert_eq!(range_of(&answer.response, 0).count, 1);
    let future = txn(vec![op_range(RangeRequest { revision: 3, ..range("a", "") })]);
    let error = read(&rig.model, &future).expect_err("out of reach");
    assert!(matches!(error, ReadError::Refused(ApplyError::FutureRev)));
}

#[test]
fn plain_ranges_alone_make_a_txn_read_only() {
    let barrier = || op_range(range("a", ""));
    let local = || op_range(RangeRequest { serializable: true, ..range("a", "") });
    for (success, failure, read_only, serializable) in [
        (vec![], vec![], true, true),
        (vec![local()], vec![local()], true, true),
        (vec![local()], vec![barrier()], true, false),
        (vec![barrier()], vec![op_delete(delete("a", ""))], false, false),
        (vec![op_put(put("a", "1"))], vec![], false, false),
        (vec![op_txn(txn(vec![local()]))], vec![], false, false),
    ] {
        let request = TxnRequest { compare: vec![], success, failure };
        assert_eq!(is_read_only(&request), read_only, "{request:?}");
        assert_eq!(is_serializable(&request), serializable, "{request:?}");
    }
}
