use bytes::Bytes;
use proptest::prelude::*;
use proto::etcdserverpb::{PutRequest, RangeRequest, TxnRequest};

use super::*;

fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn put(key: &str) -> RequestOp {
    op(Request::RequestPut(PutRequest { key: key.to_owned().into(), ..Default::default() }))
}

fn delete(key: &str, end: &str) -> RequestOp {
    op(Request::RequestDeleteRange(DeleteRangeRequest {
        key: key.to_owned().into(),
        range_end: end.to_owned().into(),
        prev_kv: false,
    }))
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    op(Request::RequestTxn(TxnRequest { compare: vec![], success, failure }))
}

fn refused(ops: &[RequestOp]) -> bool {
    match check(ops) {
        Ok(()) => false,
        Err(RpcError::DuplicateKey) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn keys_changed_twice_are_refused() {
    for ops in [
        vec![put("a"), put("a")],
        vec![put("a"), delete("a", "")],
        vec![delete("a", ""), put("a")],
        vec![put("b"), delete("a", "c")],
        vec![put("a"), nested(vec![put("a")], vec![])],
        vec![put("a"), nested(vec![], vec![delete("a", "")])],
        vec![nested(vec![put("a")], vec![]), delete("a", "")],
        vec![nested(vec![delete("a", "c")], vec![]), nested(vec![put("b")], vec![])],
        vec![nested(vec![put("a")], vec![]), nested(vec![], vec![put("a")])],
        vec![nested(vec![put("x"), put("x")], vec![])],
        vec![nested(vec![], vec![nested(vec![put("x")], vec![]), put("x")])],
    ] {
        assert!(refused(&ops), "{ops:?}");
    }
}

#[test]
fn changes_that_cannot_meet_are_let_through() {
    for ops in [
        vec![],
        vec![put("a")],
        vec![put("a"), put("b")],
        vec![delete("a", ""), delete("a", "c")],
        vec![put("c"), delete("a", "c")],
        vec![put("a"), delete("a", "\0")],
        vec![put("b"), delete("c", "a")],
        vec![put("b"), delete("b", "b")],
        vec![nested(vec![put("a")], vec![put("a")])],
        vec![nested(vec![put("a")], vec![delete("a", "")])],
        vec![nested(vec![put("a")], vec![]), nested(vec![delete("a", "")], vec![])],
        vec![op(Request::RequestRange(RangeRequest::default())), RequestOp { request: None }],
    ] {
        assert!(!refused(&ops), "{ops:?}");
    }
}

#[test]
fn many_deletes_and_puts_are_checked_quickly() {
    let key = |n: usize| format!("{n:08}");
    let deletes = (0..50_000).map(|n| delete(&key(4 * n), &key(4 * n + 2)));
    let puts = (0..50_000).map(|n| put(&key(4 * n + 2)));
    let ops: Vec<_> = deletes.chain(puts).collect();
    let nested = [nested(ops.clone(), vec![]), put("x")];
    let begin = std::time::Instant::now();
    assert!(!refused(&ops) && !refused(&nested));
    assert!(begin.elapsed() < std::time::Duration::from_secs(20));
}

/// The rules word for word, by comparing everything with everything.
#[derive(Default, Clone)]
struct Naive {
    puts: Vec<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

fn covers((from, to): &(Bytes, Bytes), key: &Bytes) -> bool {
    if to.is_empty() { from == key } else { from <= key && key < to }
}

fn naive(ops: &[RequestOp]) -> Option<Naive> {
    let mut all = Naive::default();
    let hits = |all: &Naive, key: &Bytes| {
        all.puts.contains(key) || all.deletes.iter().any(|delete| covers(delete, key))
    };
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            all.deletes.push((delete.key.clone(), delete.range_end.clone()));
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(txn)) = &op.request {
            let branches = [naive(&txn.success)?, naive(&txn.failure)?];
            if branches.iter().flat_map(|branch| &branch.puts).any(|key| hits(&all, key)) {
                return None;
            }
            for branch in branches {
                all.puts.extend(branch.puts);
                all.deletes.extend(branch.deletes);
            }
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            if hits(&all, &put.key) {
                return None;
            }
            all.puts.push(put.key.clone());
        }
    }
    Some(all)
}

fn random_ops() -> impl Strategy<Value = Vec<RequestOp>> {
    let key = || proptest::collection::vec(0u8..4, 1..3).prop_map(Bytes::from);
    let end = || proptest::collection::vec(0u8..4, 0..3).prop_map(Bytes::from);
    let flat = prop_oneof![
        key().prop_map(|key| op(Request::RequestPut(PutRequest { key, ..Default::default() }))),
        (key(), end()).prop_map(|(key, range_end)| {
            let prev_kv = false;
            op(Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv }))
        }),
    ];
    let ops = flat.prop_recursive(3, 12, 3, |inner| {
        let branch = || proptest::collection::vec(inner.clone(), 0..3);
        (branch(), branch()).prop_map(|(success, failure)| nested(success, failure))
    });
    proptest::collection::vec(ops, 0..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_check_agrees_with_the_rules(ops in random_ops()) {
        prop_assert_eq!(refused(&ops), naive(&ops).is_none());
    }
}
