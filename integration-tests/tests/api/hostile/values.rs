//! Requests that are well-formed, with values at and past their bounds.

use bytes::Bytes;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, CompactionRequest, DeleteRangeRequest, HashKvRequest, PutRequest,
    RangeRequest,
};
use tonic::Code;

use crate::node::{Node, only_ours, op, put_op};

fn range(key: &'static [u8], range_end: &'static [u8]) -> RangeRequest {
    let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(range_end));
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

#[tokio::test]
async fn ranges_that_end_before_they_begin_are_empty() {
    let node = Node::start().await;
    node.put_all([("a", "1"), ("b", "2"), ("c", "3")]).await;
    for (key, end) in [(&b"c"[..], &b"a"[..]), (b"b", b"b"), (b"b\0", b"b"), (b"\xff", b"\xfe")] {
        for count_only in [false, true] {
            let answer = node.range(RangeRequest { count_only, ..range(key, end) }).await;
            assert_eq!((answer.count, answer.more, answer.kvs.len()), (0, false, 0));
        }
        let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(end));
        let delete = DeleteRangeRequest { key, range_end, prev_kv: true };
        let answer = node.kv().delete_range(delete).await.expect("no error").into_inner();
        assert_eq!((answer.deleted, answer.prev_kvs.len()), (0, 0));
        assert_eq!(answer.header.expect("a header").revision, 4, "no revision is made");
    }
}

#[tokio::test]
async fn revisions_and_limits_below_one_are_no_bounds() {
    let node = Node::start().await;
    node.put_all([("a", "1"), ("b", "2"), ("c", "3")]).await;
    node.compact(3).await;
    for bound in [i64::MIN, -5, -1, 0] {
        let all = range(b"\0", b"\0");
        let newest = node.range(RangeRequest { revision: bound, ..all.clone() }).await;
        assert_eq!(newest.count, 3, "revision {bound}");
        let unlimited = node.range(RangeRequest { limit: bound, ..all.clone() }).await;
        assert_eq!((unlimited.kvs.len(), unlimited.more), (3, false), "limit {bound}");
    }
    let most = node.range(RangeRequest { limit: i64::MAX, ..range(b"\0", b"\0") }).await;
    assert_eq!((most.kvs.len(), most.more), (3, false));
    let filtered = RangeRequest { min_mod_revision: i64::MIN, ..range(b"\0", b"\0") };
    assert_eq!(node.range(filtered).await.kvs.len(), 3);
}

async fn compact(node: &Node, revision: i64) -> Option<String> {
    let request = CompactionRequest { revision, physical: false };
    let outcome = node.kv().compact(request).await;
    outcome.err().map(|status| {
        assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
        status.message().to_owned()
    })
}

#[tokio::test]
async fn compactions_go_forward_up_to_the_present() {
    let compacted = Some("etcdserver: mvcc: required revision has been compacted".to_owned());
    let future = Some("etcdserver: mvcc: required revision is a future revision".to_owned());
    let node = Node::start().await;
    assert_eq!(compact(&node, 2).await, future, "of an empty store");
    for (revision, outcome) in [(-5, &compacted), (i64::MIN, &compacted), (-1, &compacted)] {
        assert_eq!(compact(&node, revision).await, *outcome, "{revision}");
    }
    assert_eq!(compact(&node, 0).await, None, "accepted once, on a store never compacted");
    assert_eq!(compact(&node, 0).await, compacted);
    node.put_all([("a", "1"), ("a", "2"), ("a", "3")]).await;
    assert_eq!(compact(&node, 5).await, future);
    assert_eq!(compact(&node, i64::MAX).await, future);
    assert_eq!(compact(&node, 4).await, None, "the present");
    assert_eq!(compact(&node, 4).await, compacted);
    let node = node.restart_after_kill().await;
    assert_eq!(compact(&node, 4).await, compacted, "after a crash, too");
    assert_eq!(node.revision().await, 4);
    assert_eq!(node.get("a").await.expect("a pair").version, 3);
}

#[tokio::test]
async fn a_put_with_an_unknown_lease_writes_nothing() {
    let node = Node::start().await;
    for lease in [404, -1, i64::MIN, i64::MAX] {
        let put = PutRequest { key: "a".into(), lease, ..PutRequest::default() };
        let refused = node.kv().put(put).await.expect_err("no such lease");
        assert_eq!(refused.code(), Code::NotFound);
    }
    assert!(node.get("a").await.is_none());
    assert_eq!(node.revision().await, 1);
}

#[tokio::test]
async fn odd_keys_and_values_are_as_good_as_any() {
    let node = Node::start().await;
    let long = Bytes::from(vec![b'x'; 1_000_000]);
    let mut keys: Vec<Bytes> = vec![
        b"\0"[..].into(),
        b"\0\0"[..].into(),
        b"\0\xff"[..].into(),
        b"a\0"[..].into(),
        long.clone(),
        b"\xff"[..].into(),
        b"\xff\0"[..].into(),
        b"\xff\xff"[..].into(),
    ];
    for key in keys.iter().rev() {
        node.put(key.clone(), Bytes::new()).await;
    }
    // Keys are ordered by their bytes.
    let all = node.range(range(b"\0", b"\0")).await;
    assert!(all.kvs.iter().map(|kv| &kv.key).eq(&keys));
    assert!(all.kvs.iter().all(|kv| kv.value.is_empty() && kv.version == 1));
    for (key, end, count) in [
        (&b"\0"[..], &b"\x01"[..], 3),
        (b"\0\0", b"\0\xff", 1),
        (b"\xff", b"\0", 3),
        (b"\xff", b"\xff\xff", 2),
        (b"x", b"y", 1),
        (b"\xff\xff", b"", 1),
    ] {
        assert_eq!(node.range(range(key, end)).await.count, count, "{key:x?} to {end:x?}");
    }
    let largest = RangeRequest { range_end: "y".into(), ..range(b"x", b"") };
    node.txn(vec![put_op(long.clone(), "new"), op(Op::RequestRange(largest))]).await;
    assert_eq!(node.get(long.clone()).await.expect("a pair").value, "new");
    node.delete_range(Bytes::from_static(b"\xff"), Bytes::from_static(b"\0")).await;
    keys.truncate(5);

    let hash = async |node: &Node| {
        let answer = node.maintenance().hash_kv(HashKvRequest { revision: 0 }).await;
        answer.expect("a hash").into_inner()
    };
    let before = hash(&node).await;
    let node = node.restart_after_kill().await;
    let after = hash(&node).await;
    assert_eq!((after.hash, after.compact_revision), (before.hash, -1));
    let all = node.range(range(b"\0", b"\0")).await;
    assert!(all.kvs.iter().map(|kv| &kv.key).eq(&keys));
}

/// Every alarm there is.
async fn alarms(node: &Node) -> Vec<(u64, i32)> {
    let mut alarms: Vec<_> =
        node.alarm(0, 0, 0).await.alarms.iter().map(|it| (it.member_id, it.alarm)).collect();
    alarms.sort_unstable();
    alarms
}

#[tokio::test]
async fn odd_alarm_requests_neither_crash_nor_poison_the_log() {
    if only_ours("X-21") {
        return;
    }
    let node = Node::start().await;
    for (action, member_id, alarm) in [
        (1, 0, 0),
        (1, 7, 0),
        (2, 0, 0),
        (2, 7, 1),
        (3, 7, 1),
        (-1, 7, 1),
        (i32::MAX, 0, 0),
        (i32::MIN, u64::MAX, i32::MIN),
    ] {
        let answer = node.alarm(action, member_id, alarm).await;
        assert!(answer.header.is_some(), "{action} {member_id} {alarm}");
        assert!(answer.alarms.is_empty(), "{action} {member_id} {alarm}: {answer:?}");
    }
    assert_eq!(alarms(&node).await, []);
    // Numbers without a name are kept like any other, and block nothing.
    for (member_id, alarm) in [(0, 99), (7, -1), (u64::MAX, i32::MAX), (7, -1)] {
        let answer = node.alarm(1, member_id, alarm).await;
        assert_eq!(answer.alarms, [AlarmMember { member_id, alarm }]);
    }
    let all = vec![(0, 99), (7, -1), (u64::MAX, i32::MAX)];
    assert_eq!(alarms(&node).await, all);
    let request = AlarmRequest { action: 0, member_id: 5, alarm: 99 };
    let listed = node.maintenance().alarm(request).await.expect("a list").into_inner().alarms;
    assert_eq!(listed, [AlarmMember { member_id: 0, alarm: 99 }], "of one type, of any member");
    node.assert_serves().await;

    let node = node.restart_after_kill().await;
    assert_eq!(alarms(&node).await, all, "after the log was read again");
    assert!(node.alarm(2, 0, -1).await.alarms.is_empty(), "the member must be told exactly");
    for (member_id, alarm) in all {
        let answer = node.alarm(2, member_id, alarm).await;
        assert_eq!(answer.alarms, [AlarmMember { member_id, alarm }]);
    }
    assert_eq!(alarms(&node).await, []);
    node.restart_after_kill().await.assert_serves().await;
}
