//! Transactions inside transactions, and groups inside groups.

use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use prost::encoding::encode_varint;
use proto::etcdserverpb::{PutRequest, RequestOp, TxnRequest};
use tonic::{Code, Request, Status};

use crate::node::{Node, PATIENCE, delete_op, only_ours, put_op, txn_op};

const TXN: &str = "/etcdserverpb.KV/Txn";
const TOO_MANY: &str = "etcdserver: too many operations in txn request";

/// `levels` transactions, each the only operation of the one around it; the innermost holds
/// `ops`. Built from the inside, so that no recursion is needed here.
fn chain(levels: usize, ops: Vec<RequestOp>) -> Bytes {
    let innermost = TxnRequest { success: ops, ..TxnRequest::default() }.encode_to_vec();
    let mut reversed: Vec<u8> = innermost.into_iter().rev().collect();
    let mut prefix = Vec::new();
    for _ in 1..levels {
        // RequestOp.request_txn, then TxnRequest.success.
        for tag in [0x22, 0x12] {
            prefix.clear();
            prefix.push(tag);
            encode_varint(reversed.len() as u64, &mut prefix);
            reversed.extend(prefix.iter().rev());
        }
    }
    reversed.reverse();
    reversed.into()
}

async fn call(node: &Node, message: Bytes) -> Result<Bytes, Status> {
    node.call_bytes(TXN, Request::new(message)).await
}

#[tokio::test]
async fn transactions_nest_as_deep_as_their_budget() {
    let node = Node::start().await;
    call(&node, chain(128, vec![put_op("deep", "v")])).await.expect("128 levels with one put");
    assert!(node.get("deep").await.is_some());
    call(&node, chain(129, vec![])).await.expect("129 levels, the last one empty");
    for (levels, ops) in [(129, vec![put_op("deep", "v")]), (130, vec![]), (400, vec![])] {
        let status = call(&node, chain(levels, ops)).await.expect_err("too deep");
        assert_eq!(
            (status.code(), status.message()),
            (Code::InvalidArgument, TOO_MANY),
            "{levels}"
        );
    }
    let node = node.restart_after_kill().await;
    assert!(node.get("deep").await.is_some(), "replay can do what the first time could");
}

#[tokio::test]
async fn bombs_of_depth_are_refused_at_once() {
    if only_ours("X-04") {
        return;
    }
    let node = Node::start().await;
    for (levels, code) in
        [(1000, Code::InvalidArgument), (4900, Code::InvalidArgument), (5100, Code::Internal)]
    {
        let status = call(&node, chain(levels, vec![])).await.expect_err("too deep");
        assert_eq!(status.code(), code, "{levels} levels: {status:?}");
    }
    let bomb = chain(250_000, vec![]);
    assert!(bomb.len() > 1_500_000 && bomb.len() <= 2_097_152, "{} bytes", bomb.len());
    // Groups that open groups, as an unknown field.
    let groups = |levels: usize| Bytes::from(vec![0x7b; levels]);
    let closed = |levels: usize| Bytes::from([vec![0x7b; levels], vec![0x7c; levels]].concat());
    for message in [bomb, groups(2_000_000), closed(1_000_000), closed(20_000), groups(101)] {
        let begin = Instant::now();
        let status = call(&node, message).await.expect_err("too deep");
        assert_eq!(status.code(), Code::Internal, "{status:?}");
        assert!(begin.elapsed() < PATIENCE, "took {:?}", begin.elapsed());
    }
    node.assert_serves().await;
}

/// A transaction with one nested transaction for each element.
fn side_by_side(nested: Vec<Vec<RequestOp>>) -> TxnRequest {
    let success = nested.into_iter().map(|ops| txn_op(ops, vec![])).collect();
    TxnRequest { success, ..TxnRequest::default() }
}

fn puts(prefix: &str, count: usize) -> Vec<RequestOp> {
    (0..count).map(|n| put_op(format!("{prefix}{n:03}"), "")).collect()
}

#[tokio::test]
async fn the_budget_shrinks_by_the_widest_of_each_level() {
    let node = Node::start().await;
    let wide = |outer: usize, inner: usize| {
        side_by_side((0..outer).map(|n| puts(&format!("k{n:03}-"), inner)).collect())
    };
    for (outer, inner, passes) in [
        (1, 127, true),
        (1, 128, false),
        (2, 126, true),
        (2, 127, false),
        (64, 64, true),
        (127, 1, true),
        (127, 2, false),
        (128, 0, true),
        (128, 1, false),
        (129, 0, false),
    ] {
        match node.kv().txn(wide(outer, inner)).await {
            Ok(answer) => {
                assert!(passes, "{outer} by {inner} passed");
                assert_eq!(answer.into_inner().responses.len(), outer);
            }
            Err(status) => {
                assert!(!passes, "{outer} by {inner}: {status:?}");
                assert_eq!(status.message(), TOO_MANY, "{outer} by {inner}");
            }
        }
    }
}

#[tokio::test]
async fn collisions_are_told_from_what_may_stand_together() {
    let node = Node::start().await;
    let put = |key: &'static str| put_op(key, "");
    let then = |ops: Vec<RequestOp>| txn_op(ops, vec![]);
    let free = [
        (
            "the same key in both branches of a nested one",
            vec![txn_op(vec![put("a")], vec![put("a")])],
        ),
        ("deletes that overlap", vec![delete_op("a", "c"), delete_op("b", "d")]),
        ("a delete that covers nothing", vec![put("b"), delete_op("c", "a")]),
        ("a put beside a delete", vec![put("c"), delete_op("a", "c")]),
        (
            "a nested put before a sibling's delete",
            vec![then(vec![put("b")]), then(vec![delete_op("b", "")])],
        ),
        (
            "what one branch puts, the other deletes",
            vec![txn_op(vec![put("b")], vec![delete_op("a", "z")])],
        ),
    ];
    for (what, success) in free {
        let txn = TxnRequest { success, ..TxnRequest::default() };
        assert!(node.kv().txn(txn).await.is_ok(), "{what}");
    }
    let same =
        TxnRequest { success: vec![put("a")], failure: vec![put("a")], ..TxnRequest::default() };
    assert!(node.kv().txn(same).await.is_ok(), "branches of the outermost one");
    let refused = [
        ("a put inside a delete", vec![put("b"), delete_op("a", "z")]),
        ("a put of the key deleted", vec![delete_op("b", ""), put("b")]),
        ("a put over a nested delete", vec![put("b"), then(vec![delete_op("a", "z")])]),
        ("a nested put under a delete", vec![then(vec![put("b")]), delete_op("a", "z")]),
        (
            "a put after a sibling's delete",
            vec![then(vec![delete_op("b", "")]), then(vec![put("b")])],
        ),
        ("a put after a sibling's put", vec![then(vec![put("b")]), txn_op(vec![], vec![put("b")])]),
        ("a put repeated below", vec![put("b"), then(vec![then(vec![put("b")])])]),
    ];
    for (what, ops) in refused {
        for (success, failure) in [(ops.clone(), vec![]), (vec![], ops)] {
            let txn = TxnRequest { success, failure, ..TxnRequest::default() };
            let status = node.kv().txn(txn).await.expect_err(what);
            assert_eq!(
                status.message(),
                "etcdserver: duplicate key given in txn request",
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn a_transaction_with_a_bad_operation_changes_nothing() {
    let node = Node::start().await;
    let missing = PutRequest { key: "n".into(), ignore_value: true, ..PutRequest::default() };
    let bad = crate::node::op(proto::etcdserverpb::request_op::Request::RequestPut(missing));
    let leased = PutRequest { key: "n".into(), lease: 404, ..PutRequest::default() };
    let leased = crate::node::op(proto::etcdserverpb::request_op::Request::RequestPut(leased));
    for last in [bad.clone(), leased, txn_op(vec![bad], vec![])] {
        let success = vec![put_op("a", "1"), delete_op("b", ""), last];
        let refused = node.kv().txn(TxnRequest { success, ..TxnRequest::default() }).await;
        refused.expect_err("a bad operation");
    }
    assert!(node.get("a").await.is_none());
    assert_eq!(node.revision().await, 1);
}
