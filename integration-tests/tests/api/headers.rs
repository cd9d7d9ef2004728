//! Which header each answer carries, and which revision it tells.

use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::response_op::Response;
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, DefragmentRequest, DeleteRangeRequest, HashKvRequest,
    HashRequest, LeaseGrantRequest, LeaseKeepAliveRequest, LeaseLeasesRequest, LeaseRevokeRequest,
    LeaseTimeToLiveRequest, MemberListRequest, PutRequest, RangeRequest, ResponseHeader,
    StatusRequest, TxnRequest,
};
use proto::etcdserverpb::{compare, compare::TargetUnion};

use crate::node::{Node, delete_op, only_ours, op, put_op, txn_op};

fn range(key: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), ..RangeRequest::default() }
}

/// Checks that a header names the same member as `known` does, and gives its revision.
fn revision(known: &ResponseHeader, header: Option<ResponseHeader>) -> i64 {
    let header = header.expect("a header");
    let same = (known.cluster_id, known.member_id, known.raft_term);
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), same);
    header.revision
}

#[tokio::test]
async fn answers_about_pairs_tell_the_revision_of_the_store() {
    let node = Node::start().await;
    let mut kv = node.kv();
    let first = kv.range(range("a")).await.expect("a range").into_inner().header;
    let first = first.expect("a header");
    assert_eq!(first.revision, 1, "before any write");
    assert!(first.cluster_id != 0 && first.member_id != 0 && first.raft_term != 0);
    let of = |header| revision(&first, header);

    let put = PutRequest { key: "a".into(), ..PutRequest::default() };
    assert_eq!(of(kv.put(put.clone()).await.expect("a put").into_inner().header), 2);
    assert_eq!(of(kv.put(put).await.expect("a put").into_inner().header), 3);
    let old = RangeRequest { revision: 2, ..range("a") };
    let old = kv.range(old).await.expect("a range").into_inner();
    assert_eq!(of(old.header), 3, "never the revision that was asked for");
    let none = DeleteRangeRequest { key: "none".into(), ..DeleteRangeRequest::default() };
    assert_eq!(of(kv.delete_range(none).await.expect("a delete").into_inner().header), 3);
    let some = DeleteRangeRequest { key: "a".into(), ..DeleteRangeRequest::default() };
    assert_eq!(of(kv.delete_range(some).await.expect("a delete").into_inner().header), 4);
    let reads =
        TxnRequest { success: vec![op(Op::RequestRange(range("a")))], ..Default::default() };
    assert_eq!(of(kv.txn(reads).await.expect("a transaction").into_inner().header), 4);
    let nothing = TxnRequest { success: vec![delete_op("none", "")], ..TxnRequest::default() };
    assert_eq!(of(kv.txn(nothing).await.expect("a transaction").into_inner().header), 4);
    let writes = TxnRequest { success: vec![put_op("b", "")], ..TxnRequest::default() };
    assert_eq!(of(kv.txn(writes).await.expect("a transaction").into_inner().header), 5);
    let compaction = CompactionRequest { revision: 3, physical: false };
    assert_eq!(of(kv.compact(compaction).await.expect("a compaction").into_inner().header), 5);
}

/// What the answers inside a transaction say of themselves, nested ones in brackets.
fn inner(responses: &[proto::etcdserverpb::ResponseOp]) -> String {
    let only_revision = |header: &Option<ResponseHeader>| {
        let header = header.as_ref().expect("a header");
        let only = ResponseHeader { revision: header.revision, ..ResponseHeader::default() };
        assert_eq!(*header, only, "nothing but the revision");
        header.revision
    };
    let told = responses.iter().map(|response| match response.response.as_ref().expect("one") {
        Response::ResponseRange(it) => format!("range {}", only_revision(&it.header)),
        Response::ResponsePut(it) => format!("put {}", only_revision(&it.header)),
        Response::ResponseDeleteRange(it) => format!("delete {}", only_revision(&it.header)),
        Response::ResponseTxn(it) => {
            assert_eq!(it.header, Some(ResponseHeader::default()), "there, but empty");
            format!("[{}]", inner(&it.responses))
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn answers_inside_a_transaction_tell_the_revision_so_far() {
    let node = Node::start().await;
    node.put("foo", "bar").await;
    node.put("foo", "baz").await;
    let read = || op(Op::RequestRange(range("foo")));
    let guard = Compare {
        target: compare::CompareTarget::Create.into(),
        key: "foo".into(),
        target_union: Some(TargetUnion::CreateRevision(2)),
        ..Compare::default()
    };
    let success = vec![
        read(),
        delete_op("none", ""),
        put_op("foo", "qux"),
        read(),
        delete_op("none", ""),
        txn_op(vec![read(), put_op("a", "1")], vec![]),
        txn_op(vec![], vec![]),
    ];
    let txn = TxnRequest { compare: vec![guard], success, ..TxnRequest::default() };
    let answer = node.kv().txn(txn).await.expect("a transaction").into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.header.expect("a header").revision, 4);
    assert_eq!(
        inner(&answer.responses),
        "range 3, delete 3, put 4, range 4, delete 4, [range 4, put 4], []"
    );
    let Some(Response::ResponseRange(read)) = &answer.responses[3].response else {
        panic!("{answer:?}");
    };
    assert_eq!(read.kvs[0].value, "qux", "later operations see earlier ones");
    assert_eq!((read.kvs[0].version, read.kvs[0].mod_revision), (3, 4));
}

#[tokio::test]
async fn answers_about_leases_and_upkeep_tell_the_current_revision_or_none() {
    let node = Node::start().await;
    node.put("a", "1").await;
    let known = node.range(range("a")).await.header.expect("a header");
    let of = |header| revision(&known, header);
    let mut lease = node.lease();
    let grant = LeaseGrantRequest { id: 7, ttl: 60 };
    assert_eq!(of(lease.lease_grant(grant).await.expect("a lease").into_inner().header), 2);
    node.put_leased("b", 7).await;
    let request = tokio_stream::once(LeaseKeepAliveRequest { id: 7 });
    let mut renewals = lease.lease_keep_alive(request).await.expect("a stream").into_inner();
    let renewal = renewals.message().await.expect("open").expect("an answer");
    assert_eq!(of(renewal.header), 3);
    let request = LeaseTimeToLiveRequest { id: 7, keys: false };
    let told = lease.lease_time_to_live(request).await.expect("an answer").into_inner();
    assert_eq!((of(told.header), told.keys.len()), (3, 0));
    let list = lease.lease_leases(LeaseLeasesRequest {}).await.expect("a list").into_inner();
    assert_eq!(of(list.header), 3);
    let revoke = lease.lease_revoke(LeaseRevokeRequest { id: 7 }).await.expect("revoked");
    assert_eq!(of(revoke.into_inner().header), 4, "a key was deleted");

    let mut upkeep = node.maintenance();
    let status = upkeep.status(StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(of(status.header), 4);
    assert_eq!(status.raft_term, known.raft_term);
    let hash = upkeep.hash(HashRequest {}).await.expect("a hash").into_inner();
    assert_eq!(of(hash.header), 4);
    let hash = upkeep.hash_kv(HashKvRequest { revision: 2 }).await.expect("a hash").into_inner();
    assert_eq!(of(hash.header), 4);
    let defragment = upkeep.defragment(DefragmentRequest {}).await.expect("done").into_inner();
    assert_eq!(defragment.header, None);
    let mut cluster = ClusterClient::new(node.channel());
    for linearizable in [false, true] {
        let list = cluster.member_list(MemberListRequest { linearizable }).await.expect("a list");
        let list = list.into_inner();
        assert_eq!(list.members.len(), 1);
        assert_eq!(of(list.header), 0);
    }
    if only_ours("header of alarms") {
        return;
    }
    let alarms = upkeep.alarm(AlarmRequest::default()).await.expect("alarms").into_inner();
    assert_eq!(of(alarms.header), 4);
}
