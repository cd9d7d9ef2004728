//! Readers that are slow, streams that are replaced, and many messages.

use std::time::Duration;

use super::support::{A, B, C, CLUSTER, Member, Raw, eventually, pair};
use proto::raftpb::MessageType;

async fn open_stream(member: &Member, kind: &str, from: u64) -> Raw {
    let mut raw = Raw::connect(member.address).await;
    raw.send(format!(
        "GET /raft/stream/{kind}/{from:x} HTTP/1.1\r\nHost: x\r\nX-Etcd-Cluster-Id: {CLUSTER:x}\r\n\
         X-Raft-To: {:x}\r\nX-Server-Version: 3.7.1\r\n\r\n",
        member.id
    ))
    .await;
    assert!(raw.head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    raw
}

/// A member with one peer that listens nowhere.
async fn alone() -> Member {
    let member = Member::start(A).await;
    member.transport.add_peer(B, &["http://127.0.0.1:1".to_owned()]);
    member
}

#[tokio::test]
async fn a_new_stream_replaces_the_old_one() {
    let a = alone().await;
    let mut old = open_stream(&a, "message", B).await;
    let mut other = open_stream(&a, "msgapp", B).await;
    let mut new = open_stream(&a, "message", B).await;
    assert_eq!(old.chunk().await, b"", "its end");
    a.transport.send(vec![a.message(MessageType::MsgVote, B, 1), a.append(B, 1, 10)]);
    assert_eq!(new.chunk().await[8..10], [8, 5], "the vote");
    assert_eq!(other.chunk().await[0], 2, "the append");
    // What waited for the old one is gone and reported.
    let mut unread = open_stream(&a, "message", B).await;
    a.host.unreachable.lock().clear();
    for n in 0..64 {
        let context = Some(vec![0; 1 << 20].into());
        let message = a.message(MessageType::MsgVote, B, n);
        a.transport.send(vec![proto::raftpb::Message { context, ..message }]);
    }
    let counted = || a.transport.stats().peers[&B].sent_bytes;
    eventually("something is written", || (counted() > 1 << 20).then_some(())).await;
    let _newest = open_stream(&a, "message", B).await;
    eventually("reported", || a.host.was_unreachable(B).then_some(())).await;
    assert!(unread.rest().await.len() < 64 << 20);
}

#[tokio::test]
async fn a_stream_starts_afresh_after_a_reconnect() {
    let a = alone().await;
    for _ in 0..3 {
        let mut stream = open_stream(&a, "msgapp", B).await;
        a.transport.send(vec![a.append(B, 1, 10)]);
        assert_eq!(stream.chunk().await[0], 2, "the first append is whole");
        a.transport.send(vec![a.append(B, 2, 10), a.append(B, 3, 10)]);
        let both = stream.chunk().await;
        assert_eq!(both[0], 1, "the next continue");
        assert!(both.len() > 50, "both in one chunk");
        a.host.unreachable.lock().clear();
        drop(stream);
        eventually("reported", || a.host.was_unreachable(B).then_some(())).await;
    }
}

pub(crate) async fn a_reader_that_stops_is_dropped_and_delays_nobody() {
    let a = alone().await;
    let healthy = Member::start(C).await;
    a.knows(&healthy);
    healthy.knows(&a);
    super::support::streams_open(&a, &healthy).await;
    let slow = open_stream(&a, "msgapp", B).await;
    let mut n = 0;
    let mut refused = 0;
    while refused == 0 {
        a.transport.send(vec![a.append(B, n, 1 << 20), a.append(C, n, 10)]);
        assert_eq!(healthy.host.message("an append").await.index, Some(n));
        refused = a.transport.stats().peers[&B].sent_failures;
        n += 1;
        assert!(n < 100, "64 MiB and what the sockets hold");
    }
    assert!(n > 60, "{n}");
    assert!(a.host.was_unreachable(B));
    // Only a stream that broke is reported when nothing is sent.
    a.host.unreachable.lock().clear();
    eventually("the stream is given up", || a.host.was_unreachable(B).then_some(())).await;
    assert!(a.transport.stats().peers[&B].sent_bytes < 40 << 20, "what the sockets hold");
    a.transport.send(vec![a.append(C, n, 10)]);
    assert_eq!(healthy.host.message("an append").await.index, Some(n));
    drop(slow);
}

#[tokio::test]
async fn many_messages_from_another_thread_arrive_in_order() {
    let (a, b) = pair().await;
    let count = 40_000;
    let (transport, host) = (a.transport.clone(), b.host.clone());
    let messages: Vec<_> = (0..count).map(|n| a.append(B, n, 100)).collect();
    let sender = std::thread::spawn(move || {
        for batch in messages.chunks(50) {
            // The window that raft keeps open.
            let sent = batch[0].index.unwrap_or_default();
            while sent > host.messages.lock().len() as u64 + 1000 {
                std::thread::sleep(Duration::from_micros(50));
            }
            transport.send(batch.to_vec());
        }
    });
    let all = || (b.host.messages.lock().len() as u64 == count).then_some(());
    eventually("all arrive", all).await;
    sender.join().expect("no panic");
    assert!(b.host.messages.lock().iter().enumerate().all(|(n, m)| m.index == Some(n as u64)));
    assert!(a.host.unreachable.lock().is_empty());
}
