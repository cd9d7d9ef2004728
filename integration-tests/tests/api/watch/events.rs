//! What watchers are told, in which order and in how many responses.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::WatchCreateRequest;
use proto::mvccpb::KeyValue;

use super::{Session, everything, from, one, revision, told};
use crate::node::{Node, PATIENCE, delete_op, put_op, txn_op, within};

/// Largest message the member takes; at this size, responses are split if the client can join.
const SPLIT_BYTES: usize = 1_572_864 + 524_288;

#[tokio::test]
async fn all_events_of_one_revision_come_in_one_response_in_order() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    session.watch(everything()).await;
    node.put_all([("d1", "x"), ("d2", "x"), ("d3", "x")]).await;
    session.events_to(4).await;
    node.txn(vec![put_op("z", "1"), put_op("a", "2"), delete_op("d", "e"), put_op("m", "3")]).await;
    let response = session.next().await;
    assert_eq!(revision(&response), 5);
    let want = ["+z=1", "+a=2", "-d1", "-d2", "-d3", "+m=3"];
    assert_eq!(told(&response), want.map(|what| (what.to_owned(), 5)));
    node.delete_range("\0", "\0").await;
    let want = ["-a", "-m", "-z"];
    assert_eq!(told(&session.next().await), want.map(|what| (what.to_owned(), 6)));
    session.nothing_else().await;
}

#[tokio::test]
async fn events_tell_creation_change_and_deletion() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    session.watch(one("a")).await;
    node.put_all([("a", "1"), ("a", "2")]).await;
    node.delete("a").await;
    node.delete("a").await;
    node.put("a", "3").await;
    let mut pairs = vec![];
    for _ in 0..4 {
        let response = session.next().await;
        assert!(response.events[0].prev_kv.is_none(), "not asked for");
        pairs.push((response.events[0].r#type, response.events[0].kv.clone().expect("a pair")));
    }
    let pair = |value: &'static str, create_revision, mod_revision, version| KeyValue {
        key: "a".into(),
        value: value.into(),
        create_revision,
        mod_revision,
        version,
        lease: 0,
    };
    let deleted = KeyValue { key: "a".into(), mod_revision: 4, ..KeyValue::default() };
    assert_eq!(
        pairs,
        [(0, pair("1", 2, 2, 1)), (0, pair("2", 2, 3, 2)), (1, deleted), (0, pair("3", 5, 5, 1))]
    );
    session.nothing_else().await;
}

/// The previous pairs of the next response, by key.
async fn previous(session: &mut Session) -> Vec<(String, Option<String>)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let response = session.next().await;
    let events = response.events.iter().map(|event| {
        let key = text(&event.kv.as_ref().expect("a pair").key);
        (key, event.prev_kv.as_ref().map(|kv| text(&kv.value)))
    });
    events.collect()
}

#[tokio::test]
async fn previous_pairs_are_those_of_the_revision_before() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    let with_previous = WatchCreateRequest { prev_kv: true, ..everything() };
    session.watch(with_previous.clone()).await;
    let some = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    let none = |key: &str| (key.to_owned(), None);
    node.put("a", "1").await;
    assert_eq!(previous(&mut session).await, [none("a")]);
    node.put("a", "2").await;
    assert_eq!(previous(&mut session).await, [some("a", "1")]);
    node.delete("a").await;
    assert_eq!(previous(&mut session).await, [some("a", "2")]);
    node.put("a", "3").await;
    assert_eq!(previous(&mut session).await, [none("a")]);
    // A put and a later delete of the same key in one transaction, which nesting lets pass.
    let nested = |op| txn_op(vec![op], vec![]);
    node.txn(vec![nested(put_op("a", "4")), nested(delete_op("a", ""))]).await;
    assert_eq!(previous(&mut session).await, [some("a", "3"), some("a", "3")]);
    node.put_all([("b", "1"), ("b", "2"), ("b", "3")]).await;

    node.compact(8).await;
    let mut late = Session::open(&node).await;
    late.watch(WatchCreateRequest { start_revision: 8, ..with_previous }).await;
    let late = previous(&mut late).await;
    assert_eq!(late, [none("b"), some("b", "2")], "the pair before is compacted, then is not");
}

#[tokio::test]
async fn filters_drop_events_and_whole_responses() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    let no_put = WatchCreateRequest { filters: vec![0], ..everything() };
    let no_delete = WatchCreateRequest { filters: vec![1], ..everything() };
    let neither = WatchCreateRequest { filters: vec![0, 1], ..everything() };
    let (deletes, puts) = (session.watch(no_put).await, session.watch(no_delete).await);
    session.watch(neither).await;
    node.put("a", "1").await;
    node.txn(vec![put_op("b", "2"), delete_op("a", "")]).await;
    node.delete("b").await;
    let mut seen: BTreeMap<i64, Vec<(String, i64)>> = BTreeMap::new();
    for _ in 0..4 {
        let response = session.next().await;
        assert!(!response.events.is_empty());
        seen.entry(response.watch_id).or_default().extend(told(&response));
    }
    assert_eq!(seen[&puts], [("+a=1".into(), 2), ("+b=2".into(), 3)]);
    assert_eq!(seen[&deletes], [("-a".into(), 3), ("-b".into(), 4)]);
    session.nothing_else().await;
    // History is filtered, too.
    let history = WatchCreateRequest { filters: vec![0], ..from(2) };
    session.watch(history).await;
    assert_eq!(session.events_to(4).await, [("-a".into(), 3), ("-b".into(), 4)]);
}

/// Puts `pairs` from several tasks at once: faster, and in any order.
async fn put_at_once(node: &Node, count: usize, value_bytes: usize) {
    let value = Bytes::from(vec![b'v'; value_bytes]);
    let puts = (0..16).map(|worker| {
        let (mut kv, value) = (node.kv(), value.clone());
        async move {
            for n in (worker..count).step_by(16) {
                let key = format!("k{n:05}").into();
                let value = value.clone();
                let put = proto::etcdserverpb::PutRequest { key, value, ..Default::default() };
                kv.put(put).await.expect("a put");
            }
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    puts.for_each(|put| drop(tasks.spawn(put)));
    // Each waits for the disk.
    tokio::time::timeout(PATIENCE * 6, tasks.join_all()).await.expect("all puts in time");
}

#[tokio::test]
async fn catching_up_takes_a_thousand_revisions_at_a_time() {
    let node = Node::start().await;
    put_at_once(&node, 2500, 1).await;
    let mut session = Session::open(&node).await;
    session.watch(from(2)).await;
    let mut sizes = vec![];
    let mut revisions = vec![];
    while revisions.len() < 2500 {
        let response = session.next().await;
        sizes.push(response.events.len());
        revisions.extend(told(&response).into_iter().map(|(_, revision)| revision));
    }
    assert_eq!(sizes, [1000, 1000, 500]);
    assert!(revisions.into_iter().eq(2..2502));
    node.put("k", "live").await;
    assert_eq!(told(&session.next().await), [("+k=live".into(), 2502)]);
}

#[tokio::test]
async fn a_large_response_is_split_if_the_client_can_join_the_parts() {
    let node = Node::start().await;
    let value = Bytes::from(vec![b'v'; 100_000]);
    node.put_all((0..30).map(|n| (format!("k{n:02}"), value.clone()))).await;
    for n in 0..30 {
        node.delete(format!("k{n:02}")).await;
    }
    let mut session = Session::open(&node).await;
    let whole_id = session.watch(from(2)).await;
    let whole = session.next().await;
    assert_eq!((whole.watch_id, whole.events.len(), whole.fragment), (whole_id, 60, false));
    assert!(whole.encoded_len() > SPLIT_BYTES);

    let id = session.watch(WatchCreateRequest { fragment: true, ..from(2) }).await;
    let (first, last) = (session.next().await, session.next().await);
    assert_eq!((first.watch_id, first.events.len(), first.fragment), (id, 20, true));
    assert_eq!((last.watch_id, last.events.len(), last.fragment), (id, 40, false));
    assert!(first.encoded_len() < SPLIT_BYTES && last.encoded_len() < SPLIT_BYTES);
    assert_eq!(first.header, last.header);
    let joined: Vec<_> = first.events.iter().chain(&last.events).cloned().collect();
    assert_eq!(joined, whole.events);

    // One revision of a synced watcher: fifteen values of 100 kB fit a request, with the
    // previous ones the response is twice as long.
    node.txn((0..15).map(|n| put_op(format!("k{n:02}"), value.clone())).collect()).await;
    session.next().await;
    session.next().await;
    let with_previous = WatchCreateRequest { fragment: true, prev_kv: true, ..everything() };
    let id = session.watch(with_previous).await;
    let revision = node.txn((0..15).map(|n| put_op(format!("k{n:02}"), value.clone())).collect());
    let revision = revision.await;
    let mut parts = vec![];
    while parts.last().is_none_or(|part: &proto::etcdserverpb::WatchResponse| part.fragment) {
        let part = session.next().await;
        if part.watch_id == id {
            parts.push(part);
        }
    }
    assert_eq!(parts.iter().map(|part| part.events.len()).collect::<Vec<_>>(), [10, 5]);
    assert!(parts.iter().flat_map(told).all(|(_, at)| at == revision));
}

#[tokio::test]
async fn a_slow_reader_lags_but_loses_nothing() {
    let node = Node::start().await;
    let mut session = Session::on(node.narrow_channel().await).await;
    session.watch(WatchCreateRequest { prev_kv: true, ..everything() }).await;
    let filtered = session.watch(WatchCreateRequest { filters: vec![0], ..everything() }).await;
    // Far more than the connection and the queue of the stream hold together.
    put_at_once(&node, 3000, 4000).await;
    let last = node.delete("k02999").await;
    let mut expected = 2;
    let mut deletes = vec![];
    while expected <= last || deletes.is_empty() {
        let response = session.next().await;
        if response.watch_id == filtered {
            deletes.extend(told(&response));
            continue;
        }
        for (_, revision) in told(&response) {
            assert_eq!(revision, expected, "each exactly once, in order");
            expected += 1;
        }
    }
    assert_eq!(deletes, [("-k02999".into(), last)]);
    assert_eq!(session.nothing_else().await, last);
}

#[tokio::test]
async fn watchers_created_amid_writes_miss_nothing_and_see_nothing_twice() {
    const LAST: i64 = 1 + 1500 + 1;
    let node = Node::start().await;
    let writes = async {
        put_at_once(&node, 1500, 10).await;
        node.put("end", "").await
    };
    let watches = async {
        let mut sessions = vec![];
        for n in 0..40 {
            let mut session = Session::open(&node).await;
            let start = if n % 2 == 0 { 2 } else { (node.revision().await + 1).min(LAST) };
            session.watch(from(start)).await;
            // Read at once: small responses left unread make the client give up.
            sessions.push(tokio::spawn(async move { (start, session.events_to(LAST).await) }));
        }
        sessions
    };
    let (last, sessions) = tokio::join!(writes, watches);
    assert_eq!(last, LAST);
    for session in sessions {
        let (start, events) = within("all events", session).await.expect("no panic");
        let revisions = events.into_iter().map(|(_, revision)| revision);
        assert!(revisions.eq(start..=last), "every revision from {start} once");
    }
}
