//! The most used Rust client of etcd, unchanged, against the member.

use etcd_client::{
    AlarmAction, AlarmType, Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error,
    EventType, GetOptions, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType, WatchOptions, WatchResponse,
    WatchStream,
};

use crate::node::{Node, until, within};

async fn client(node: &Node) -> Client {
    Client::connect([node.server().client_url()], None).await.expect("a connection")
}

fn keys(response: &etcd_client::GetResponse) -> Vec<&str> {
    response.kvs().iter().map(|kv| kv.key_str().expect("text")).collect()
}

#[tokio::test]
async fn pairs_are_put_read_and_deleted() {
    let node = Node::start().await;
    let mut client = client(&node).await;
    let put = client.put("a", "1", None).await.expect("a put");
    assert_eq!(put.header().expect("a header").revision(), 2);
    assert!(put.prev_key().is_none());
    let again = client.put("a", "2", Some(PutOptions::new().with_prev_key())).await;
    assert_eq!(again.expect("a put").prev_key().expect("a pair").value(), b"1");
    for key in ["b", "c", "d"] {
        client.put(key, key, None).await.expect("a put");
    }

    let got = client.get("a", None).await.expect("a get");
    let pair = &got.kvs()[0];
    assert_eq!((pair.value(), pair.version(), pair.lease()), (&b"2"[..], 2, 0));
    assert_eq!((pair.create_revision(), pair.mod_revision()), (2, 3));
    let old = client.get("a", Some(GetOptions::new().with_revision(2))).await.expect("a get");
    assert_eq!(old.kvs()[0].value(), b"1");

    let page = GetOptions::new().with_from_key().with_limit(2);
    let page = client.get("b", Some(page)).await.expect("a get");
    assert_eq!((keys(&page), page.more(), page.count()), (vec!["b", "c"], true, 3));
    let sorted = GetOptions::new().with_all_keys().with_sort(SortTarget::Mod, SortOrder::Descend);
    let sorted = client.get("", Some(sorted.with_keys_only())).await.expect("a get");
    assert_eq!(keys(&sorted), ["d", "c", "b", "a"]);
    assert!(sorted.kvs().iter().all(|kv| kv.value().is_empty()));
    let counted = GetOptions::new().with_prefix().with_count_only().with_serializable();
    assert_eq!(client.get("a", Some(counted)).await.expect("a get").count(), 1);
    let recent = GetOptions::new().with_all_keys().with_min_mod_revision(5);
    let recent = client.get("", Some(recent)).await.expect("a get");
    assert_eq!(keys(&recent), ["c", "d"]);

    let deletion = DeleteOptions::new().with_range("c").with_prev_key();
    let deleted = client.delete("a", Some(deletion)).await.expect("a delete");
    assert_eq!((deleted.deleted(), deleted.prev_kvs().len()), (2, 2));
    assert_eq!(client.get("a", None).await.expect("a get").count(), 0);
    assert_eq!(client.delete("a", None).await.expect("a delete").deleted(), 0);
}

#[tokio::test]
async fn transactions_compare_and_branch() {
    let node = Node::start().await;
    let mut client = client(&node).await;
    client.put("a", "1", None).await.expect("a put");
    let nested = Txn::new()
        .when([Compare::version("none", CompareOp::Equal, 0)])
        .and_then([TxnOp::put("nested", "yes", None)]);
    let txn = Txn::new()
        .when([
            Compare::value("a", CompareOp::Equal, "1"),
            Compare::mod_revision("a", CompareOp::Less, 3),
            Compare::create_revision("none", CompareOp::Equal, 0),
            Compare::lease("a", CompareOp::Equal, 0),
        ])
        .and_then([
            TxnOp::put("b", "2", None),
            TxnOp::get("", Some(GetOptions::new().with_all_keys())),
            TxnOp::delete("a", Some(DeleteOptions::new().with_prev_key())),
            TxnOp::txn(nested),
        ])
        .or_else([TxnOp::put("c", "3", None)]);
    let done = client.txn(txn.clone()).await.expect("a transaction");
    assert!(done.succeeded());
    let answers = done.op_responses();
    assert_eq!(answers.len(), 4);
    assert!(matches!(&answers[0], TxnOpResponse::Put(_)));
    assert!(matches!(&answers[1], TxnOpResponse::Get(got) if keys(got) == ["a", "b"]));
    assert!(matches!(&answers[2], TxnOpResponse::Delete(gone) if gone.deleted() == 1));
    assert!(matches!(&answers[3], TxnOpResponse::Txn(nested) if nested.succeeded()));
    let all = client.get("", Some(GetOptions::new().with_all_keys())).await.expect("a get");
    assert_eq!(keys(&all), ["b", "nested"]);
    assert!(all.kvs().iter().all(|kv| kv.mod_revision() == 3), "one revision");
    let done = client.txn(txn).await.expect("a transaction");
    assert!(!done.succeeded() && done.op_responses().len() == 1);
    assert_eq!(client.get("c", None).await.expect("a get").count(), 1);
}

#[tokio::test]
async fn compacted_revisions_are_refused_in_words() {
    let node = Node::start().await;
    let mut client = client(&node).await;
    for value in ["1", "2", "3"] {
        client.put("a", value, None).await.expect("a put");
    }
    client.compact(3, Some(CompactionOptions::new().with_physical())).await.expect("a compaction");
    let refused = client.get("a", Some(GetOptions::new().with_revision(2))).await;
    let Err(Error::GRpcStatus(status)) = refused else { panic!("{refused:?}") };
    assert_eq!(status.code(), tonic::Code::OutOfRange);
    assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
    let kept = client.get("a", Some(GetOptions::new().with_revision(3))).await.expect("a get");
    assert_eq!(kept.kvs()[0].value(), b"2");
}

async fn next(stream: &mut WatchStream) -> WatchResponse {
    within("a response", stream.message()).await.expect("open").expect("a response")
}

/// `+key` or `-key` of each event.
fn told(response: &WatchResponse) -> Vec<String> {
    let events = response.events().iter().map(|event| {
        let sign = if event.event_type() == EventType::Put { '+' } else { '-' };
        format!("{sign}{}", event.kv().expect("a pair").key_str().expect("text"))
    });
    events.collect()
}

#[tokio::test]
async fn watches_tell_history_previous_pairs_and_progress() {
    let node = Node::start().await;
    let mut client = client(&node).await;
    client.put("a", "1", None).await.expect("a put");
    client.put("a", "2", None).await.expect("a put");
    client.delete("a", None).await.expect("a delete");

    let options = WatchOptions::new().with_prefix().with_start_revision(2).with_prev_key();
    let mut stream = client.watch("a", Some(options)).await.expect("a watch");
    assert!(next(&mut stream).await.created());
    let history = next(&mut stream).await;
    assert_eq!(told(&history), ["+a", "+a", "-a"]);
    let previous: Vec<_> =
        history.events().iter().map(|e| e.prev_kv().map(|kv| kv.value().to_vec())).collect();
    assert_eq!(previous, [None, Some(b"1".to_vec()), Some(b"2".to_vec())]);

    let deletes = WatchOptions::new()
        .with_all_keys()
        .with_filters([WatchFilterType::NoPut])
        .with_watch_id(77);
    stream.watch("", Some(deletes)).await.expect("another watcher");
    let created = next(&mut stream).await;
    assert_eq!((created.watch_id(), created.created()), (77, true));
    client.put("b", "1", None).await.expect("a put");
    client.delete("b", None).await.expect("a delete");
    let deleted = next(&mut stream).await;
    assert_eq!((deleted.watch_id(), told(&deleted)), (77, vec!["-b".to_owned()]));

    until_progress(&mut stream, 6).await;
    stream.cancel(77).await.expect("sent");
    let canceled = next(&mut stream).await;
    assert_eq!((canceled.watch_id(), canceled.canceled()), (77, true));
    client.compact(6, None).await.expect("a compaction");
    let late = WatchOptions::new().with_start_revision(3).with_watch_id(78);
    stream.watch("a", Some(late)).await.expect("another watcher");
    assert!(next(&mut stream).await.created());
    let gone = next(&mut stream).await;
    assert_eq!((gone.canceled(), gone.compact_revision()), (true, 6));
}

async fn until_progress(stream: &mut WatchStream, revision: i64) {
    stream.request_progress().await.expect("sent");
    let progress = next(stream).await;
    assert_eq!((progress.watch_id(), progress.events().len()), (-1, 0));
    assert_eq!(progress.header().expect("a header").revision(), revision);
}

#[tokio::test]
async fn leases_are_kept_alive_and_expire_with_their_keys() {
    let node = Node::start().await;
    let mut client = client(&node).await;
    let granted = client.lease_grant(60, Some(LeaseGrantOptions::new().with_id(9))).await;
    assert_eq!(granted.as_ref().map(|it| (it.id(), it.ttl())).expect("a lease"), (9, 60));
    client.put("kept", "", Some(PutOptions::new().with_lease(9))).await.expect("a put");
    let short = client.lease_grant(5, None).await.expect("a lease").id();
    client.put("short", "", Some(PutOptions::new().with_lease(short))).await.expect("a put");

    let (mut keeper, mut answers) = client.lease_keep_alive(9).await.expect("a keeper");
    keeper.keep_alive().await.expect("sent");
    let answer = within("a renewal", answers.message()).await.expect("open").expect("an answer");
    assert_eq!((answer.id(), answer.ttl()), (9, 60));
    let told = client.lease_time_to_live(9, Some(LeaseTimeToLiveOptions::new().with_keys())).await;
    let told = told.expect("an answer");
    assert_eq!((told.granted_ttl(), told.keys()), (60, &[b"kept".to_vec()][..]));
    assert!((40..60).contains(&told.ttl()), "{}", told.ttl());
    let mut ids: Vec<i64> =
        client.leases().await.expect("a list").leases().iter().map(|it| it.id()).collect();
    ids.sort_unstable();
    assert_eq!(ids.len(), 2);
    assert!(ids.contains(&9) && ids.contains(&short));

    until("the short lease expires", || async {
        let mut client = client.clone();
        (client.get("short", None).await.expect("a get").count() == 0).then_some(())
    })
    .await;
    assert_eq!(client.get("kept", None).await.expect("a get").count(), 1);
    client.lease_revoke(9).await.expect("revoked");
    assert_eq!(client.get("kept", None).await.expect("a get").count(), 0);
    assert!(client.lease_keep_alive(9).await.is_err(), "a revoked lease has no keeper");
}

#[tokio::test]
async fn maintenance_tells_status_alarms_and_hashes() {
    let node = Node::start().await;
    let mut client = client(&node).await;
    client.put("foo", "bar", None).await.expect("a put");
    let status = client.status().await.expect("a status");
    let member = status.header().expect("a header").member_id();
    assert_eq!(status.leader(), member);
    assert!(status.raft_applied_index() <= status.raft_index() && status.raft_term() > 0);
    assert!(status.db_size() > 0 && !status.is_learner() && status.errors().is_empty());

    let hash = client.hash_kv(0).await.expect("a hash");
    assert_eq!(hash.hash(), 3_305_255_506, "that of real members with this one pair");
    assert_eq!(hash.compact_version(), -1);
    assert_ne!(client.hash().await.expect("a hash").hash(), 0);

    let alarms = client.alarm(AlarmAction::Get, AlarmType::None, None).await.expect("alarms");
    assert!(alarms.alarms().is_empty());
    let raised = client.alarm(AlarmAction::Activate, AlarmType::Nospace, None).await;
    assert_eq!(raised.expect("an alarm").alarms().len(), 1);
    let refused = client.put("foo", "no", None).await;
    let Err(Error::GRpcStatus(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    let errors = client.status().await.expect("a status").errors().to_vec();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].trim_end(), "alarm:NOSPACE");
    let lifted = client.alarm(AlarmAction::Deactivate, AlarmType::Nospace, None).await;
    assert_eq!(lifted.expect("an alarm").alarms().len(), 1);
    client.put("foo", "again", None).await.expect("a put");
    client.defragment().await.expect("defragmented");
    assert_eq!(client.get("foo", None).await.expect("a get").kvs()[0].value(), b"again");
    let members = client.member_list().await.expect("a list");
    assert_eq!(members.members().iter().map(|it| it.id()).collect::<Vec<_>>(), [member]);
}
