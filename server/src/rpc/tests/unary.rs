use std::sync::atomic::Ordering::SeqCst;

use apply::Reply;
use prost::Message;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::request_op::Request as Op;
use proto::healthpb::HealthCheckRequest;
use proto::mvccpb::KeyValue;
use proto::raw;
use proto::request::Kind;
use tonic::Code;

use super::*;
use crate::rpc::RpcError;
use crate::rpc::node::TimeToLive;

fn key(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    pb::PutRequest { key, value, ..Default::default() }
}

fn txn(success: Vec<Op>) -> pb::TxnRequest {
    let success = success.into_iter().map(|op| pb::RequestOp { request: Some(op) }).collect();
    pb::TxnRequest { success, ..Default::default() }
}

fn text(error: RpcError) -> (Code, String) {
    words(error.code(), error.text())
}

#[tokio::test]
async fn ranges_pass_the_barrier_unless_serializable() {
    let Served { fake, client, .. } = serve().await;
    let revision = fake.write("a", "1");
    let answer = client.kv().range(key("a")).await.expect("answered").into_inner();
    assert_eq!(answer.header, full_header(revision));
    assert_eq!((answer.count, answer.more), (1, false));
    assert_eq!((&answer.kvs[0].key[..], &answer.kvs[0].value[..]), (&b"a"[..], &b"1"[..]));
    assert_eq!(fake.barriers.load(SeqCst), 1);

    let serializable = pb::RangeRequest { serializable: true, ..key("a") };
    client.kv().range(serializable).await.expect("answered");
    assert_eq!(fake.barriers.load(SeqCst), 1);
    assert_eq!(refusal(client.kv().range(key("")).await), text(RpcError::EmptyKey));
}

#[tokio::test]
async fn others_are_served_while_a_long_range_is_read() {
    let Served { fake, client, .. } = serve().await;
    for n in 0..300 {
        fake.write(format!("k{n:03}"), "v".repeat(100));
    }
    let (open, gate) = std::sync::mpsc::channel();
    *fake.gate.lock() = Some(gate);
    let request = pb::RangeRequest { range_end: "l".into(), ..key("k") };
    let mut kv = client.kv();
    let long = tokio::spawn(async move { kv.range(request).await });
    let answer = client.kv().range(key("k007")).await.expect("answered").into_inner();
    assert_eq!(answer.count, 1);
    assert!(!long.is_finished());
    open.send(()).expect("the read waits");
    let answer = long.await.expect("no panic").expect("answered").into_inner();
    assert_eq!((answer.kvs.len(), answer.count), (300, 300));
    let keys: Vec<_> = answer.kvs.iter().map(|pair| &pair.key[..]).collect();
    assert!(keys.is_sorted() && keys[299] == b"k299");
}

#[tokio::test]
async fn puts_are_proposed_as_they_came() {
    let Served { fake, client, .. } = serve().await;
    let former = KeyValue { key: "k".into(), value: "old".into(), ..Default::default() };
    let prev_kv = Some(former.encode_to_vec().into());
    fake.answer_with(Ok(Reply::Put(raw::PutResponse { header: None, prev_kv })));
    let request = put("k", "new");
    let answer = client.kv().put(request.clone()).await.expect("answered").into_inner();
    assert_eq!(answer.header, full_header(1));
    assert_eq!(answer.prev_kv, Some(former));
    assert_eq!(*fake.proposed.lock(), [(Kind::Put, request.encode_to_vec().into())]);

    fake.answer_with(Err(RpcError::LeaseNotFound));
    let refused = client.kv().put(pb::PutRequest { lease: 9, ..put("k", "") }).await;
    assert_eq!(refusal(refused), text(RpcError::LeaseNotFound));
}

#[tokio::test]
async fn the_quota_is_looked_at_before_the_arguments() {
    let Served { fake, client, .. } = serve().await;
    fake.room.store(false, SeqCst);
    let full = text(RpcError::NoSpace);
    assert_eq!(refusal(client.kv().put(put("", "")).await), full);
    let bad = txn(vec![Op::RequestPut(put("", ""))]);
    assert_eq!(refusal(client.kv().txn(bad).await), full);
    let grant = pb::LeaseGrantRequest { ttl: i64::MAX, id: 0 };
    assert_eq!(refusal(client.lease().lease_grant(grant).await), full);
    // What only reads or deletes has no cost.
    let delete = pb::DeleteRangeRequest { key: "k".into(), ..Default::default() };
    let response = raw::DeleteRangeResponse { deleted: 1, ..Default::default() };
    fake.answer_with(Ok(Reply::DeleteRange(response)));
    let deleted = client.kv().delete_range(delete).await.expect("answered").into_inner();
    assert_eq!((deleted.deleted, deleted.header), (1, full_header(1)));
    client.kv().txn(txn(vec![Op::RequestRange(key("k"))])).await.expect("answered");
}

#[tokio::test]
async fn only_transactions_that_may_write_are_proposed() {
    let Served { fake, client, .. } = serve().await;
    let answer = client.kv().txn(txn(vec![Op::RequestRange(key("k"))])).await.expect("answered");
    assert_eq!(answer.into_inner().header, full_header(1));
    assert_eq!(fake.barriers.load(SeqCst), 1);
    // Compares alone, and serializable ranges, do not wait.
    client.kv().txn(txn(vec![])).await.expect("answered");
    let stale = pb::RangeRequest { serializable: true, ..key("k") };
    client.kv().txn(txn(vec![Op::RequestRange(stale)])).await.expect("answered");
    assert_eq!(fake.barriers.load(SeqCst), 1);
    assert!(fake.proposed.lock().is_empty());
    // Nested ranges count as a write.
    let nested = Op::RequestTxn(txn(vec![Op::RequestRange(key("k"))]));
    fake.answer_with(Ok(Reply::Txn(raw::TxnResponse { succeeded: true, ..Default::default() })));
    let answer = client.kv().txn(txn(vec![nested])).await.expect("answered").into_inner();
    assert!(answer.succeeded && answer.header == full_header(1));
    assert_eq!(fake.proposed.lock().len(), 1);
}

#[tokio::test]
async fn compactions_answer_with_the_revision() {
    let Served { fake, client, .. } = serve().await;
    fake.write("a", "1");
    let request = pb::CompactionRequest { revision: 2, physical: true };
    let answer = client.kv().compact(request).await.expect("answered").into_inner();
    assert_eq!(answer.header, full_header(2));
    fake.answer_with(Err(RpcError::Compacted));
    assert_eq!(refusal(client.kv().compact(request).await), text(RpcError::Compacted));
}

#[tokio::test]
async fn leases_without_an_id_get_one() {
    let Served { fake, client, .. } = serve().await;
    fake.answer_with(Ok(Reply::LeaseGrant { id: FIRST_LEASE, ttl_s: 2 }));
    let request = pb::LeaseGrantRequest { ttl: 1, id: 0 };
    let answer = client.lease().lease_grant(request).await.expect("answered").into_inner();
    assert_eq!((answer.id, answer.ttl, answer.error), (FIRST_LEASE, 2, String::new()));
    assert_eq!(answer.header, full_header(1));
    let proposed = pb::LeaseGrantRequest { ttl: 1, id: FIRST_LEASE };
    assert_eq!(*fake.proposed.lock(), [(Kind::LeaseGrant, proposed.encode_to_vec().into())]);

    fake.answer_with(Err(RpcError::LeaseNotFound));
    let revoke = client.lease().lease_revoke(pb::LeaseRevokeRequest { id: 0 }).await;
    assert_eq!(refusal(revoke), text(RpcError::LeaseNotFound));
}

#[tokio::test]
async fn time_to_live_of_no_lease_is_minus_one() {
    let Served { fake, client, .. } = serve().await;
    let left = TimeToLive { remaining_s: 59, granted_s: 60, keys: vec!["k".into()] };
    fake.leases.lock().insert(5, left);
    let ask = |id| pb::LeaseTimeToLiveRequest { id, keys: true };
    let known = client.lease().lease_time_to_live(ask(5)).await.expect("answered").into_inner();
    assert_eq!((known.id, known.ttl, known.granted_ttl, known.keys.len()), (5, 59, 60, 1));
    let unknown = client.lease().lease_time_to_live(ask(6)).await.expect("answered").into_inner();
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl), (6, -1, 0));
    let list = client.lease().lease_leases(pb::LeaseLeasesRequest {}).await.expect("answered");
    assert_eq!(list.into_inner().leases, [pb::LeaseStatus { id: 5 }]);
}

#[tokio::test]
async fn member_lists_carry_no_revision() {
    let Served { fake, client, .. } = serve().await;
    let request = pb::MemberListRequest { linearizable: true };
    let answer = client.cluster().member_list(request).await.expect("answered").into_inner();
    assert_eq!(answer.header, full_header(0));
    assert_eq!(answer.members[0].id, MEMBER_ID);
    assert_eq!(answer.members[0].client_ur_ls, ["http://127.0.0.1:2379"]);
    assert_eq!(fake.barriers.load(SeqCst), 1);
    let bad = pb::MemberAddRequest { peer_ur_ls: vec!["nope".into()], is_learner: false };
    let refused = client.cluster().member_add(bad).await;
    assert_eq!(refusal(refused), text(RpcError::MemberBadURLs));
}

#[tokio::test]
async fn maintenance_answers_carry_what_they_owe() {
    let Served { fake, client, .. } = serve().await;
    let mut maintenance = client.maintenance();
    let status = maintenance.status(pb::StatusRequest {}).await.expect("answered").into_inner();
    assert_eq!((status.version.as_str(), status.leader), ("3.7.1", MEMBER_ID));
    assert_eq!((status.raft_index, status.raft_applied_index), (6, 5));
    assert_eq!(status.downgrade_info, Some(pb::DowngradeInfo::default()));
    assert!(status.errors.is_empty());

    let hash = maintenance.hash(pb::HashRequest {}).await.expect("answered").into_inner();
    assert_eq!((hash.hash, hash.header), (0xabcd, full_header(1)));
    let request = pb::HashKvRequest { revision: 4 };
    let hash = maintenance.hash_kv(request).await.expect("answered").into_inner();
    assert_eq!((hash.hash, hash.hash_revision, hash.compact_revision), (9, 4, -1));
    let done = maintenance.defragment(pb::DefragmentRequest {}).await.expect("answered");
    assert_eq!(done.into_inner().header, None);

    let alarms = vec![pb::AlarmMember { member_id: 1, alarm: 1 }];
    fake.answer_with(Ok(Reply::Alarm(alarms.clone())));
    let answer = maintenance.alarm(pb::AlarmRequest::default()).await.expect("answered");
    assert_eq!(answer.into_inner().alarms, alarms);
}

#[tokio::test]
async fn what_is_not_served_yet_says_so() {
    let Served { client, .. } = serve().await;
    let lock = client.lock().lock(proto::v3lockpb::LockRequest::default()).await;
    let auth = client.auth().auth_status(pb::AuthStatusRequest {}).await;
    for refused in [refusal(lock), refusal(auth)] {
        assert_eq!(refused.0, Code::Unimplemented);
        assert!(refused.1.ends_with("is not served by this version"), "{}", refused.1);
    }
}

#[tokio::test]
async fn learners_serve_little() {
    let Served { fake, client, .. } = serve().await;
    fake.learner.store(true, SeqCst);
    let refused = text(RpcError::NotSupportedForLearner);
    assert_eq!(refusal(client.kv().range(key("k")).await), refused);
    assert_eq!(refusal(client.kv().put(put("k", "v")).await), refused);
    assert_eq!(refusal(client.health().check(HealthCheckRequest::default()).await), refused);
    let local = pb::RangeRequest { serializable: true, ..key("k") };
    client.kv().range(local).await.expect("served");
    client.maintenance().status(pb::StatusRequest {}).await.expect("served");
}
