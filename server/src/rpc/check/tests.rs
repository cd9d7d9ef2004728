use proto::etcdserverpb::{Compare, compare};

use super::*;

const OPS_MAX: usize = 128;

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put_of(key: String) -> RequestOp {
    op(request_op::Request::RequestPut(PutRequest { key: key.into(), ..Default::default() }))
}

fn nested(txn: TxnRequest) -> RequestOp {
    op(request_op::Request::RequestTxn(txn))
}

fn puts(count: usize) -> Vec<RequestOp> {
    (0..count).map(|n| put_of(n.to_string())).collect()
}

/// `depth` transactions inside each other, the innermost with these operations.
fn chain(depth: usize, innermost: Vec<RequestOp>) -> TxnRequest {
    (1..depth).fold(TxnRequest { success: innermost, ..Default::default() }, |inner, _| {
        TxnRequest { success: vec![nested(inner)], ..Default::default() }
    })
}

fn compares(count: usize) -> Vec<Compare> {
    let target_union = Some(compare::TargetUnion::Version(0));
    vec![Compare { key: "k".into(), target_union, ..Default::default() }; count]
}

#[test]
fn ranges_need_a_key_and_a_known_order() {
    let good = RangeRequest { key: "k".into(), ..Default::default() };
    assert_eq!(range(&good), Ok(()));
    assert_eq!(range(&RangeRequest::default()), Err(RpcError::EmptyKey));
    for (sort_order, sort_target) in [(3, 0), (-1, 0), (0, 5), (0, -1)] {
        let odd = RangeRequest { sort_order, sort_target, ..good.clone() };
        assert_eq!(range(&odd), Err(RpcError::InvalidSortOption));
    }
}

#[test]
fn streamed_ranges_come_in_key_order_unfiltered() {
    let good = RangeRequest { key: "k".into(), ..Default::default() };
    let (none, ascend, descend) = (0, 1, 2);
    for (sort_order, sort_target, verdict) in [
        (none, 0, Ok(())),
        (none, 3, Ok(())),
        (ascend, 0, Ok(())),
        (descend, 0, Err(RpcError::RangeStreamSort)),
        (ascend, 4, Err(RpcError::RangeStreamSort)),
        (9, 0, Err(RpcError::InvalidSortOption)),
    ] {
        let request = RangeRequest { sort_order, sort_target, ..good.clone() };
        assert_eq!(range_stream(&request), verdict);
    }
    for filtered in [
        RangeRequest { min_mod_revision: 1, ..good.clone() },
        RangeRequest { max_mod_revision: -1, ..good.clone() },
        RangeRequest { min_create_revision: 1, ..good.clone() },
        RangeRequest { max_create_revision: 1, ..good.clone() },
    ] {
        assert_eq!(range_stream(&filtered), Err(RpcError::RangeStreamFilters));
    }
    let both = RangeRequest { sort_order: descend, min_mod_revision: 1, ..good };
    assert_eq!(range_stream(&both), Err(RpcError::RangeStreamSort));
}

#[test]
fn puts_cannot_both_give_and_keep() {
    let good = PutRequest { key: "k".into(), value: "v".into(), lease: 7, ..Default::default() };
    assert_eq!(put(&good), Ok(()));
    assert_eq!(put(&PutRequest::default()), Err(RpcError::EmptyKey));
    let ignore_both = PutRequest { ignore_value: true, ignore_lease: true, ..good.clone() };
    assert_eq!(put(&ignore_both), Err(RpcError::ValueProvided));
    let ignore_lease = PutRequest { ignore_lease: true, ..good.clone() };
    assert_eq!(put(&ignore_lease), Err(RpcError::LeaseProvided));
    let keep = PutRequest { value: "".into(), lease: 0, ..ignore_both };
    assert_eq!(put(&keep), Ok(()));
}

#[test]
fn a_level_may_hold_128_of_each() {
    let full = TxnRequest { compare: compares(128), success: puts(128), failure: puts(128) };
    assert_eq!(txn(&full, OPS_MAX), Ok(()));
    for odd in [
        TxnRequest { compare: compares(129), ..full.clone() },
        TxnRequest { success: puts(129), ..full.clone() },
        TxnRequest { failure: puts(129), ..full },
    ] {
        assert_eq!(txn(&odd, OPS_MAX), Err(RpcError::TooManyOps));
    }
}

#[test]
fn nested_levels_share_the_budget() {
    for (request, verdict) in [
        (chain(128, puts(1)), Ok(())),
        (chain(129, puts(1)), Err(RpcError::TooManyOps)),
        (chain(129, vec![]), Ok(())),
        (chain(130, vec![]), Err(RpcError::TooManyOps)),
    ] {
        assert_eq!(txn(&request, OPS_MAX), verdict);
    }
    let inner = |from: usize, count: usize| {
        let success = (from..from + count).map(|n| put_of(n.to_string())).collect();
        nested(TxnRequest { success, ..Default::default() })
    };
    let pair = |count| TxnRequest {
        success: vec![inner(0, count), inner(1000, count)],
        ..Default::default()
    };
    assert_eq!(txn(&pair(126), OPS_MAX), Ok(()));
    assert_eq!(txn(&pair(127), OPS_MAX), Err(RpcError::TooManyOps));
}

#[test]
fn every_operation_of_both_branches_is_checked() {
    let empty_put = || put_of(String::new());
    let bad_range = RangeRequest { key: "k".into(), sort_order: 7, ..Default::default() };
    let deep = nested(TxnRequest { failure: vec![empty_put()], ..Default::default() });
    let delete = DeleteRangeRequest::default();
    for (operation, verdict) in [
        (RequestOp { request: None }, RpcError::KeyNotFound),
        (empty_put(), RpcError::EmptyKey),
        (op(request_op::Request::RequestRange(bad_range)), RpcError::InvalidSortOption),
        (op(request_op::Request::RequestDeleteRange(delete)), RpcError::EmptyKey),
        (deep, RpcError::EmptyKey),
    ] {
        let success = TxnRequest { success: vec![operation.clone()], ..Default::default() };
        let failure = TxnRequest { failure: vec![operation], ..Default::default() };
        assert_eq!(txn(&success, OPS_MAX), Err(verdict));
        assert_eq!(txn(&failure, OPS_MAX), Err(verdict));
    }
    let compare = TxnRequest { compare: vec![Compare::default()], ..Default::default() };
    assert_eq!(txn(&compare, OPS_MAX), Err(RpcError::EmptyKey));
}

#[test]
fn each_branch_is_searched_for_duplicates_by_itself() {
    let twice = || vec![put_of("k".into()), put_of("k".into())];
    let once = || vec![put_of("k".into())];
    let request = |success, failure| TxnRequest { success, failure, ..Default::default() };
    assert_eq!(txn(&request(once(), once()), OPS_MAX), Ok(()));
    assert_eq!(txn(&request(twice(), vec![]), OPS_MAX), Err(RpcError::DuplicateKey));
    assert_eq!(txn(&request(vec![], twice()), OPS_MAX), Err(RpcError::DuplicateKey));
}
