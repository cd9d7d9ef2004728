//! Creating and cancelling watchers.

use integration_tests::Kind;
use nix::sys::signal::Signal;
use proto::etcdserverpb::WatchCreateRequest;
use proto::etcdserverpb::watch_request::RequestUnion;

use super::{NO_WATCHER, Session, everything, from, one, revision, told};
use crate::node::{Node, PATIENCE, only_ours, target};

#[tokio::test]
async fn the_server_chooses_the_lowest_id_never_used() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    assert_eq!(session.watch(one("a")).await, 0);
    let chosen = |watch_id| WatchCreateRequest { watch_id, ..one("a") };
    assert_eq!(session.watch(chosen(2)).await, 2);
    assert_eq!(session.watch(chosen(i64::MAX)).await, i64::MAX);
    assert_eq!(session.watch(chosen(-7)).await, -7);
    assert_eq!(session.watch(one("a")).await, 1);
    assert_eq!(session.watch(one("a")).await, 3, "2 is in use");
    session.end(0).await;
    session.end(3).await;
    assert_eq!(session.watch(one("a")).await, 4, "ids do not come back by themselves");
    let other = Session::open(&node).await.watch(one("a")).await;
    assert_eq!(other, 0, "each stream counts for itself");
}

#[tokio::test]
async fn an_id_in_use_is_refused_and_free_again_once_cancelled() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    let chosen = WatchCreateRequest { watch_id: 9, ..one("a") };
    assert_eq!(session.watch(chosen.clone()).await, 9);
    let refused = session.create(chosen.clone()).await;
    assert_eq!((refused.watch_id, refused.canceled), (NO_WATCHER, true));
    assert_eq!(refused.cancel_reason, "mvcc: duplicate watch ID provided on the WatchStream");
    assert_eq!(refused.compact_revision, 0);
    session.end(9).await;
    assert_eq!(session.watch(chosen).await, 9);
    node.put("a", "1").await;
    assert_eq!(session.next().await.watch_id, 9, "one watcher remains");
    session.nothing_else().await;
}

#[tokio::test]
async fn an_empty_range_is_refused_and_the_stream_goes_on() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    for (key, end) in [("b", "a"), ("b", "b"), ("b\0", "b")] {
        let range_end = end.into();
        let refused = session.create(WatchCreateRequest { range_end, ..one(key) }).await;
        assert_eq!((refused.watch_id, refused.canceled), (NO_WATCHER, true), "{key}..{end}");
        assert_eq!(refused.cancel_reason, "mvcc: watcher range is empty", "{key}..{end}");
    }
    let from_key = WatchCreateRequest { range_end: "\0".into(), ..one("b") };
    assert_eq!(session.watch(from_key).await, 0, "refusals take no id");
    node.put_all([("a", "1"), ("b", "2"), ("c", "3")]).await;
    assert_eq!(session.events_to(4).await, [("+b=2".into(), 3), ("+c=3".into(), 4)]);
}

#[tokio::test]
async fn a_negative_start_is_refused_as_compacted() {
    if only_ours("W-7") {
        return;
    }
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    for start in [-1, i64::MIN] {
        let refused = session.create(from(start)).await;
        assert_eq!((refused.watch_id, refused.canceled), (NO_WATCHER, true));
        let reason = "etcdserver: mvcc: required revision has been compacted";
        assert_eq!((refused.cancel_reason.as_str(), refused.compact_revision), (reason, 0));
        assert_eq!(revision(&refused), 1);
    }
    assert_eq!(session.watch(everything()).await, 0);
}

#[tokio::test]
async fn an_empty_key_is_the_key_of_one_zero_byte() {
    let node = Node::start().await;
    let mut single = Session::open(&node).await;
    single.watch(one("")).await;
    let mut all = Session::open(&node).await;
    all.watch(WatchCreateRequest { range_end: "\0".into(), ..one("") }).await;
    node.put_all([("a", "1"), ("\0", "2"), ("\u{10ffff}", "3")]).await;
    assert_eq!(single.events_to(3).await, [("+\0=2".into(), 3)]);
    single.nothing_else().await;
    assert_eq!(all.events_to(4).await.len(), 3);
}

#[tokio::test]
async fn a_watcher_starts_where_it_is_told() {
    let node = Node::start().await;
    node.put_all([("a", "1"), ("a", "2"), ("a", "3")]).await;
    let mut session = Session::open(&node).await;
    let now = session.create(everything()).await;
    assert_eq!(revision(&now), 4, "the current revision");
    let past = session.watch(from(3)).await;
    let history = session.next().await;
    assert_eq!(history.watch_id, past);
    assert_eq!(told(&history), [("+a=2".into(), 3), ("+a=3".into(), 4)]);
    assert!(revision(&history) >= 4, "not below its events");
    let current = session.watch(from(4)).await;
    let history = session.next().await;
    assert_eq!((history.watch_id, told(&history)), (current, vec![("+a=3".into(), 4)]));

    let mut later = Session::open(&node).await;
    later.watch(from(7)).await;
    node.put_all([("a", "4"), ("a", "5"), ("a", "6"), ("a", "7")]).await;
    let wanted: Vec<_> = vec![("+a=6".into(), 7), ("+a=7".into(), 8)];
    assert_eq!(later.events_to(8).await, wanted);
    for _ in 0..12 {
        let response = session.next().await;
        assert_eq!(response.events.len(), 1, "one response for each revision");
        let event = response.events[0].kv.as_ref().expect("a pair");
        assert_eq!(revision(&response), event.mod_revision);
    }
    session.nothing_else().await;
}

#[tokio::test]
async fn after_the_confirmation_of_a_cancel_there_is_silence() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    let id = session.watch(everything()).await;
    session.cancel(id + 100).await;
    session.cancel(NO_WATCHER).await;
    node.put("a", "1").await;
    assert_eq!(session.next().await.watch_id, id, "unknown ids are not answered");
    session.end(id).await;
    session.watch(one("b")).await;
    node.put("a", "2").await;
    session.cancel(id).await;
    assert_eq!(session.nothing_else().await, 3);
}

#[tokio::test]
async fn requests_without_content_are_ignored() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    session.send(None).await;
    let id = session.watch(everything()).await;
    session.send(None).await;
    node.put("a", "1").await;
    assert_eq!(session.next().await.watch_id, id);
    session.nothing_else().await;
}

#[tokio::test]
async fn events_go_on_when_the_client_has_nothing_more_to_ask() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    session.watch(everything()).await;
    drop(session.requests.take());
    node.put_all((0..50).map(|n| ("a", n.to_string()))).await;
    assert_eq!(session.events_to(51).await.len(), 50);
}

#[tokio::test]
async fn a_start_below_the_compacted_revision_is_cancelled_with_it() {
    let node = Node::start().await;
    node.put_all((0..8).map(|n| ("a", n.to_string()))).await;
    node.compact(5).await;
    let mut session = Session::open(&node).await;
    let chosen = WatchCreateRequest { watch_id: 3, ..from(4) };
    assert_eq!(session.watch(chosen.clone()).await, 3);
    let gone = session.next().await;
    assert_eq!((gone.watch_id, gone.canceled, gone.created), (3, true, false));
    assert_eq!((gone.compact_revision, gone.cancel_reason.as_str()), (5, ""));
    let header = gone.header.expect("a header");
    assert_eq!(header.revision, 0);
    assert_ne!((header.cluster_id, header.member_id, header.raft_term), (0, 0, 0));

    assert_eq!(session.watch(from(5)).await, 0);
    assert_eq!(session.events_to(9).await.len(), 5, "the compacted revision itself is there");
    let refused = session.create(chosen.clone()).await;
    assert_eq!(refused.watch_id, NO_WATCHER, "the id stays taken until it is cancelled");

    if target() == Kind::Ours {
        session.ask_progress().await;
    }
    node.put("a", "more").await;
    assert_eq!(told(&session.next().await), [("+a=more".into(), 10)], "and there is no progress");
    session.end(3).await;
    assert_eq!(session.nothing_else().await, 10);
    assert_eq!(session.watch(WatchCreateRequest { start_revision: 0, ..chosen }).await, 3);
}

#[tokio::test]
async fn a_watcher_compacted_away_before_it_could_catch_up_is_told_so() {
    let node = Node::start().await;
    node.put_all((0..100).map(|n| ("a", n.to_string()))).await;
    let mut session = Session::open(&node).await;
    // Both requests are on their way before either is answered.
    session.send(Some(RequestUnion::CreateRequest(from(2)))).await;
    node.compact(101).await;
    let mut seen = 1;
    loop {
        let response = session.next().await;
        if response.canceled {
            assert_eq!(response.compact_revision, 101);
            assert!(seen < 101, "it had everything");
            break;
        }
        for (_, revision) in told(&response) {
            assert_eq!(revision, seen + 1, "nothing is left out");
            seen = revision;
        }
        if seen == 101 {
            break;
        }
    }
}

#[tokio::test]
async fn a_member_that_stops_does_not_wait_for_its_streams() {
    let mut node = Node::start().await;
    let mut session = Session::open(&node).await;
    session.watch(everything()).await;
    let stopped = std::time::Instant::now();
    node.server().signal(Signal::SIGTERM);
    session.ended().await;
    node.wait().await;
    let took = stopped.elapsed();
    assert!(took < PATIENCE, "stopped within {took:?}");
}
