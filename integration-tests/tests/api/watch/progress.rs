//! Notices of how far a watcher is.

use integration_tests::Kind;
use proto::etcdserverpb::WatchCreateRequest;

use super::{NO_WATCHER, Session, everything, from, one, revision};
use crate::node::{Node, only_ours, target};

#[tokio::test]
async fn a_progress_request_is_answered_for_the_whole_stream() {
    let node = Node::start().await;
    node.put_all([("a", "1"), ("a", "2")]).await;
    let mut session = Session::open(&node).await;
    if target() == Kind::Ours {
        // Without a watcher there is no answer.
        session.ask_progress().await;
    }
    session.watch(one("b")).await;
    session.ask_progress().await;
    let answer = session.next().await;
    assert_eq!((answer.watch_id, revision(&answer)), (NO_WATCHER, 3));
    assert!(answer.events.is_empty() && !answer.created && !answer.canceled);

    let future = session.watch(from(6)).await;
    if target() == Kind::Ours {
        // A watcher that waits for a future revision cannot be spoken for.
        session.ask_progress().await;
    }
    node.put_all([("a", "3"), ("a", "4"), ("a", "5")]).await;
    assert_eq!(session.next().await.watch_id, future);
    assert_eq!(session.nothing_else().await, 6);
}

#[tokio::test]
async fn progress_never_overtakes_events() {
    let node = Node::start().await;
    let mut session = Session::open(&node).await;
    session.watch(everything()).await;
    let last = 1 + 400;
    let writes = node.put_all((0..400).map(|n| ("a", n.to_string())));
    let reads = async {
        let (mut delivered, mut promised, mut answers) = (1, 1, 0);
        while delivered < last {
            session.ask_progress().await;
            let response = session.next().await;
            if response.watch_id == NO_WATCHER {
                promised = revision(&response);
                answers += 1;
            }
            for event in &response.events {
                let at = event.kv.as_ref().expect("a pair").mod_revision;
                assert!(at > promised, "{at} comes after a promise of {promised}");
                assert_eq!(at, delivered + 1);
                delivered = at;
            }
        }
        answers
    };
    let (_, answers) = tokio::join!(writes, reads);
    assert!(answers > 0, "some progress was told");
}

/// The flag of the interval, by the version under test.
fn interval(value: &str) -> String {
    match target() {
        Kind::Ours => format!("--watch-progress-notify-interval={value}"),
        Kind::Reference => {
            format!("--experimental-watch-progress-notify-interval={value}")
        }
    }
}

#[tokio::test]
async fn idle_watchers_that_want_it_are_told_at_intervals() {
    let node = Node::start_with(&[&interval("200ms")]).await;
    node.put("a", "1").await;
    let mut session = Session::open(&node).await;
    session.watch(one("x")).await;
    let begin = std::time::Instant::now();
    let wanting = session.watch(WatchCreateRequest { progress_notify: true, ..one("y") }).await;
    for _ in 0..4 {
        let notice = session.next().await;
        assert_eq!((notice.watch_id, revision(&notice)), (wanting, 2));
        assert!(notice.events.is_empty() && !notice.created && !notice.canceled);
    }
    let took = begin.elapsed();
    // Four intervals, each up to a tenth longer; the first may have begun already.
    assert!(took.as_millis() >= 550, "four notices within {took:?}");
    node.put("b", "2").await;
    let mut notice = session.next().await;
    while revision(&notice) == 2 {
        notice = session.next().await;
    }
    assert_eq!(revision(&notice), 3, "the current revision, not the last event's");

    node.put("y", "3").await;
    let mut event = session.next().await;
    while event.events.is_empty() {
        event = session.next().await;
    }
    assert_eq!((event.watch_id, event.events.len()), (wanting, 1));
}

#[tokio::test]
async fn no_notice_comes_before_a_future_start() {
    if only_ours("W-30") {
        return;
    }
    let node = Node::start_with(&[&interval("100ms")]).await;
    let mut future = Session::open(&node).await;
    future.watch(WatchCreateRequest { progress_notify: true, ..from(50) }).await;
    let mut clock = Session::open(&node).await;
    clock.watch(WatchCreateRequest { progress_notify: true, ..one("x") }).await;
    for _ in 0..5 {
        clock.next().await;
    }
    node.put_all((2..=50).map(|n| ("a", n.to_string()))).await;
    let first = future.next().await;
    assert_eq!(first.events.len(), 1, "{first:?}");
    assert_eq!(revision(&first), 50);
    let notice = future.next().await;
    assert!(notice.events.is_empty() && revision(&notice) == 50, "{notice:?}");
}
