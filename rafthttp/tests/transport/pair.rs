//! Two transports over loopback.

use super::support::{A, B, C, Member, eventually, pair, streams_open};
use proto::raftpb::{self, MessageType};

#[tokio::test]
async fn messages_flow_both_ways_in_order() {
    let (a, b) = pair().await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        for batch in 0..10 {
            let messages = (0..100).map(|n| from.append(to.id, batch * 100 + n, 10)).collect();
            from.transport.send(messages);
            eventually("a batch", || {
                (to.host.messages.lock().len() as u64 == (batch + 1) * 100).then_some(())
            })
            .await;
        }
        let got = std::mem::take(&mut *to.host.messages.lock());
        let want: Vec<raftpb::Message> = (0..1000).map(|n| from.append(to.id, n, 10)).collect();
        assert_eq!(got, want);
        let stats = from.transport.stats().peers[&to.id].clone();
        assert!(stats.active && stats.sent_bytes > 10_000 && stats.sent_failures == 0, "{stats:?}");
        assert!(from.transport.active_since(to.id).is_some());
    }
    assert!(a.host.unreachable.lock().is_empty());
}

#[tokio::test]
async fn large_messages_arrive_whole() {
    let (a, b) = pair().await;
    let large = a.append(B, 5, 9 << 20);
    let context = Some(vec![3; 5 << 20].into());
    let other = raftpb::Message { context, ..a.message(MessageType::MsgHeartbeat, B, 1) };
    a.transport.send(vec![large.clone(), other.clone()]);
    let mut got = vec![b.host.message("one").await, b.host.message("the other").await];
    got.sort_by_key(|m| m.r#type);
    assert_eq!(got, [large, other]);
}

#[tokio::test]
async fn before_there_are_streams_messages_are_posted() {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    a.knows(&b);
    for n in 0..20 {
        a.transport.send(vec![a.append(B, n, 100)]);
        assert_eq!(b.host.message("a post").await, a.append(B, n, 100));
    }
    // A refused stream makes B inactive again: posted until a look finds it active.
    let mut n = 20;
    eventually("a post succeeded", || {
        a.transport.send(vec![a.append(B, n, 100)]);
        n += 1;
        a.transport.active_since(B)
    })
    .await;
    // B does not know A, so A's requests for streams were refused.
    assert!(b.transport.active_since(A).is_none());
    b.knows(&a);
    streams_open(&b, &a).await;
}

#[tokio::test]
async fn only_the_last_acknowledgement_of_a_batch_is_sent() {
    let (a, b) = pair().await;
    let ack = |n| a.message(MessageType::MsgAppResp, B, n);
    let heartbeat = |n| a.message(MessageType::MsgHeartbeatResp, B, n);
    a.transport.send(vec![ack(1), heartbeat(2), ack(3), heartbeat(4), ack(5), heartbeat(6)]);
    let indexes = eventually("four", || {
        let got = b.host.messages.lock();
        (got.len() == 4).then(|| got.iter().map(|m| m.index).collect::<Vec<_>>())
    })
    .await;
    assert_eq!(indexes, [Some(2), Some(4), Some(5), Some(6)]);
}

#[tokio::test]
async fn what_has_no_receiver_is_dropped() {
    let (a, b) = pair().await;
    a.transport.send(vec![
        a.message(MessageType::MsgVote, C, 1),
        a.message(MessageType::MsgVote, 0, 1),
        a.message(MessageType::MsgVote, A, 1),
        a.message(MessageType::MsgHup, B, 1),
        a.message(MessageType::MsgSnap, B, 1),
        a.message(MessageType::MsgVote, B, 2),
    ]);
    assert_eq!(b.host.message("the last").await.index, Some(2));
    assert!(b.host.messages.lock().is_empty() && a.host.messages.lock().is_empty());
    assert!(a.host.unreachable.lock().is_empty());
    assert_eq!(*a.host.reports.lock(), [(B, false)], "a snapshot without its database");
}

#[tokio::test]
async fn a_peer_that_comes_back_is_found_again() {
    let (mut a, mut b) = pair().await;
    b.hang_up();
    eventually("inactive", || a.transport.active_since(B).is_none().then_some(())).await;
    assert!(a.transport.stats().peers[&B].disconnected >= 1);
    a.transport.send(vec![a.message(MessageType::MsgVote, B, 1)]);
    let got = b.host.message("a vote on the stream that B has asked for").await;
    assert_eq!(got.index, Some(1));

    assert!(!a.host.was_unreachable(B));
    a.hang_up();
    eventually("reported", || a.host.was_unreachable(B).then_some(())).await;
    a.host.unreachable.lock().clear();
    a.transport.send(vec![a.message(MessageType::MsgVote, B, 1)]);
    eventually("a post fails", || a.host.was_unreachable(B).then_some(())).await;

    a.listen_again().await;
    b.listen_again().await;
    streams_open(&a, &b).await;
    streams_open(&b, &a).await;
    let arrived = || {
        a.transport.send(vec![a.message(MessageType::MsgVote, B, 1)]);
        (!b.host.messages.lock().is_empty()).then_some(())
    };
    eventually("a vote arrives", arrived).await;
    eventually("active", || a.transport.active_since(B)).await;
}

#[tokio::test]
async fn addresses_are_tried_in_turn_and_can_change() {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    let dead = "http://127.0.0.1:1".to_owned();
    a.transport.add_peer(B, &[dead.clone(), b.url()]);
    b.transport.add_peer(A, std::slice::from_ref(&dead));
    streams_open(&b, &a).await;
    b.transport.update_peer(A, &[a.url()]);
    streams_open(&a, &b).await;
}

#[tokio::test]
async fn a_removed_peer_gets_nothing_and_learns_why() {
    let (a, b) = pair().await;
    a.host.removed.lock().insert(B);
    a.transport.remove_peer(B);
    let expelled = || b.host.expelled.load(std::sync::atomic::Ordering::SeqCst).then_some(());
    eventually("B is told", expelled).await;
    assert_eq!(a.transport.active_since(B), None);
    assert!(!a.host.expelled.load(std::sync::atomic::Ordering::SeqCst));
    b.host.messages.lock().clear();
    a.transport.send(vec![a.message(MessageType::MsgVote, B, 1)]);
    let before = a.transport.stats().peers[&B].sent_bytes;
    // What B sends is refused, and A stays as it was.
    b.transport.send(vec![b.message(MessageType::MsgVote, A, 1)]);
    eventually("refused", || b.host.was_unreachable(A).then_some(())).await;
    assert!(a.host.messages.lock().is_empty() && b.host.messages.lock().is_empty());
    assert_eq!(a.transport.stats().peers[&B].sent_bytes, before);
}

#[tokio::test]
async fn members_of_different_clusters_do_not_speak() {
    let a = Member::start(A).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let b = Member::start_on(listener, B, 0xbad);
    a.knows(&b);
    b.knows(&a);
    a.transport.send(vec![a.message(MessageType::MsgVote, B, 1)]);
    b.transport.send(vec![b.message(MessageType::MsgVote, A, 1)]);
    eventually("refused", || a.host.was_unreachable(B).then_some(())).await;
    eventually("refused", || b.host.was_unreachable(A).then_some(())).await;
    assert!(a.host.messages.lock().is_empty() && b.host.messages.lock().is_empty());
    assert!(a.transport.active_since(B).is_none());
}

#[tokio::test]
async fn a_stopped_transport_is_silent() {
    let (a, b) = pair().await;
    a.transport.stop();
    eventually("streams ended", || b.transport.active_since(A).is_none().then_some(())).await;
    a.transport.send(vec![a.message(MessageType::MsgVote, B, 1)]);
    a.transport.add_peer(B, &[b.url()]);
    assert_eq!(a.transport.active_since(B), None);
    let stats = a.transport.stats();
    assert!(!stats.peers[&B].active && stats.peers[&B].disconnected >= 1, "{stats:?}");
}

#[tokio::test]
async fn one_off_requests_are_answered_or_fail_in_words() {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    let request =
        |path: &str| http::Request::get(path).body(bytes::Bytes::new()).expect("a request");
    let second = std::time::Duration::from_secs(1);
    let answer = a.transport.request(&b.url(), request("/raft/probing"), 5 * second).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(answer.body().starts_with(b"{\"OK\":true"));
    let answer = a.transport.request(&b.url(), request("/members"), 5 * second).await;
    assert_eq!(answer.expect("an answer").status(), 404);

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    let error = a.transport.request(&url, request("/version"), second / 10).await;
    assert_eq!(error.expect_err("silence").to_string(), format!("ask {url}: no answer in time"));
    drop(silent);
    let error = a.transport.request(&url, request("/version"), second).await;
    let error = error.expect_err("nobody there").to_string();
    assert!(error.starts_with(&format!("dial {url}: Connection refused")), "{error}");
    for bad in ["", "nonsense", "https://127.0.0.1:1"] {
        assert!(a.transport.request(bad, request("/version"), second).await.is_err(), "{bad}");
    }
}

#[tokio::test]
async fn members_can_be_asked_over_unix_sockets() {
    let a = Member::start(A).await;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("peer.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let transport = a.transport.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let transport = transport.clone();
            let service = hyper::service::service_fn(move |request| {
                let answer = transport.answer(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            tokio::spawn(rafthttp::serve_connection(
                stream,
                service,
                rafthttp::IoTimeouts::default(),
            ));
        }
    });
    let request = http::Request::get("/raft/probing").body(bytes::Bytes::new()).expect("a request");
    let url = format!("unix://{}", path.display());
    let answer = a.transport.request(&url, request, std::time::Duration::from_secs(5)).await;
    assert_eq!(answer.expect("an answer").status(), 200);
}
