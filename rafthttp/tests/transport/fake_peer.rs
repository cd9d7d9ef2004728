//! What a transport does with peers that answer anything.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::support::{A, B, C, CLUSTER, FakePeer, Member, Raw, chunk, eventually, hex};
use proto::raftpb::MessageType;

/// A heartbeat from B to A with this commit index.
fn frame(commit: u8) -> Vec<u8> {
    let head = "000000000000001a 0808 10ddbfb8f4ffa6b4997a 18f0f59cd6c7e485d326 2002 40";
    [hex(head), vec![commit]].concat()
}

fn ok() -> String {
    format!(
        "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: {CLUSTER:x}\r\nX-Server-Version: 3.7.1\r\n\
         Date: Sun, 22 Nov 2026 14:25:46 GMT\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
}

const MESSAGES: &str = "GET /raft/stream/message/";
const APPENDS: &str = "GET /raft/stream/msgapp/";

async fn start() -> (Member, FakePeer) {
    let (a, peer) = (Member::start(A).await, FakePeer::start().await);
    a.transport.add_peer(B, &[peer.url()]);
    (a, peer)
}

#[tokio::test]
async fn streams_are_asked_for_as_go_asks() {
    let (a, mut peer) = start().await;
    for start in [MESSAGES, APPENDS] {
        let (head, _raw) = peer.expect(start).await;
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines[1..].sort_unstable();
        let want = [
            format!("{start}{A:x} HTTP/1.1"),
            format!("Host: {}", peer.address),
            format!("X-Etcd-Cluster-Id: {CLUSTER:x}"),
            "X-Min-Cluster-Version: 3.0.0".to_owned(),
            format!("X-Peerurls: {}", a.url()),
            format!("X-Raft-To: {B:x}"),
            format!("X-Server-From: {A:x}"),
            "X-Server-Version: 3.7.1".to_owned(),
        ];
        assert_eq!(lines, want);
    }
}

#[tokio::test]
async fn frames_may_be_cut_anywhere() {
    let (a, mut peer) = start().await;
    let (_, mut raw) = peer.expect(MESSAGES).await;
    raw.send(ok()).await;
    let frames: Vec<u8> = [frame(1), hex("0000000000000002 0808"), frame(2), frame(3)].concat();
    for size in [1, 2, 3, 7, 33, 34, 35, 1000] {
        for part in frames.chunks(size) {
            raw.send(chunk(part)).await;
        }
        for commit in 1..=3 {
            assert_eq!(a.host.message("a heartbeat").await.commit, Some(commit));
        }
    }
    // A chunk whose own framing is cut, and a replayed frame: both are handed over.
    for byte in chunk(&frame(4)).iter().chain(&chunk(&frame(4))) {
        raw.send([*byte]).await;
    }
    assert_eq!(a.host.message("a heartbeat").await.commit, Some(4));
    assert_eq!(a.host.message("the same").await.commit, Some(4));
    assert!(a.transport.active_since(B).is_some());
    let stats = a.transport.stats();
    assert!(stats.peers[&0].received_bytes >= 8 * 10, "heartbeats: {stats:?}");
    assert!(stats.peers[&B].received_bytes >= 26 * 34, "{stats:?}");
}

#[tokio::test]
async fn appends_take_the_ids_of_the_stream() {
    let (a, mut peer) = start().await;
    let (_, mut raw) = peer.expect(APPENDS).await;
    raw.send(ok()).await;
    let whole = "02 000000000000001e 0803 10ddbfb8f4ffa6b4997a 18f0f59cd6c7e485d326 2002 2802
                 3042 4042";
    let short = "00 01 0000000000000001 0000000000000004 1002 1843 0000000000000042";
    raw.send(chunk(&[hex(whole), hex(short)].concat())).await;
    assert_eq!(a.host.message("the whole one").await.index, Some(0x42));
    let got = a.host.message("the short one").await;
    assert_eq!((got.from, got.to, got.index), (Some(B), Some(A), Some(0x42)));
    assert_eq!((got.term, got.log_term, got.commit), (Some(2), Some(2), Some(0x42)));
    assert_eq!(got.entries[0].index, Some(0x43));
}

/// Whether the connection is given up by the transport, and the stream asked for again.
async fn given_up(mut raw: Raw, peer: &mut FakePeer, start: &str) -> Raw {
    raw.rest().await;
    peer.expect(start).await.1
}

#[tokio::test]
async fn broken_streams_are_given_up_and_asked_for_again() {
    let (a, mut peer) = start().await;
    let (_, mut raw) = peer.expect(APPENDS).await;
    for bad in ["03", "02 0000000020000001", "02 0000000000000002 ffff", "01 0000000000000001 ff"] {
        raw.send(ok()).await;
        raw.send(chunk(&hex(bad))).await;
        if bad.ends_with(" ff") {
            raw.send(chunk(&[0; 7])).await;
        }
        raw = given_up(raw, &mut peer, APPENDS).await;
    }
    let (_, mut raw) = peer.expect(MESSAGES).await;
    for bad in ["ff00000000000000", "0000000000000002 ffff"] {
        raw.send(ok()).await;
        raw.send(chunk(&hex(bad))).await;
        raw = given_up(raw, &mut peer, MESSAGES).await;
    }
    for bad in ["nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"] {
        raw.send(bad).await;
        raw = given_up(raw, &mut peer, MESSAGES).await;
    }
    // Half a frame, then the end: nothing is handed over.
    raw.send(ok()).await;
    raw.send(chunk(&frame(1)[..20])).await;
    raw.send("0\r\n\r\n").await;
    drop(raw);
    let (_, mut raw) = peer.expect(MESSAGES).await;
    raw.send(ok()).await;
    raw.send(chunk(&frame(2))).await;
    assert_eq!(a.host.message("a whole frame").await.commit, Some(2));
    assert!(a.transport.stats().peers[&B].received_failures >= 6);
}

#[tokio::test]
async fn refused_streams_are_asked_for_at_most_every_100_ms() {
    let (a, mut peer) = start().await;
    let start = Instant::now();
    for status in ["404 Not Found", "412 Precondition Failed", "500 x", "200 OK", "204 x"] {
        let (_, mut raw) = peer.expect(MESSAGES).await;
        let other = if status == "200 OK" { 1 } else { CLUSTER };
        raw.send(format!(
            "HTTP/1.1 {status}\r\nX-Etcd-Cluster-Id: {other:x}\r\nContent-Length: 0\r\n\r\n"
        ))
        .await;
    }
    // Four pauses, less what the first request took to get here.
    assert!(start.elapsed() > Duration::from_millis(250), "{:?}", start.elapsed());
    assert!(a.transport.active_since(B).is_none());
    assert!(!a.host.expelled.load(Ordering::SeqCst));
}

pub(crate) async fn a_silent_stream_is_given_up_after_5_s() {
    let (a, mut peer) = start().await;
    let (_, mut raw) = peer.expect(MESSAGES).await;
    let (_, mut mute) = peer.expect(APPENDS).await;
    raw.send(ok()).await;
    // A length that lies: the bytes never come.
    raw.send(chunk(&hex("0000000020000000 0808"))).await;
    let start = Instant::now();
    tokio::join!(raw.rest(), mute.rest());
    assert!(start.elapsed() > Duration::from_secs(4), "{:?}", start.elapsed());
    eventually("inactive", || a.transport.active_since(B).is_none().then_some(())).await;
}

#[tokio::test]
async fn how_long_a_stream_may_be_silent_can_be_chosen() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let read = Duration::from_millis(100);
    let timeouts = rafthttp::IoTimeouts { read, ..rafthttp::IoTimeouts::default() };
    let a = Member::start_with(listener, A, CLUSTER, timeouts);
    let mut peer = FakePeer::start().await;
    a.transport.add_peer(B, &[peer.url()]);
    let (_, mut raw) = peer.expect(MESSAGES).await;
    raw.send(ok()).await;
    let start = Instant::now();
    raw.rest().await;
    assert!(start.elapsed() < rafthttp::IoTimeouts::LEAST, "{:?}", start.elapsed());
}

#[tokio::test]
async fn only_our_own_cluster_can_tell_that_we_were_removed() {
    let (a, mut peer) = start().await;
    let ours = format!("X-Etcd-Cluster-Id: {CLUSTER:x}\r\n");
    for (id, expelled) in [("", false), ("X-Etcd-Cluster-Id: 1\r\n", false), (&ours, true)] {
        let (_, mut raw) = peer.expect(MESSAGES).await;
        raw.send(format!(
            "HTTP/1.1 410 Gone\r\n{id}X-Server-Version: 3.7.1\r\nContent-Length: 15\r\n\r\n\
             removed member\n"
        ))
        .await;
        raw.rest().await;
        if expelled {
            let told = || a.host.expelled.load(Ordering::SeqCst).then_some(());
            eventually("told", told).await;
        } else {
            assert!(!a.host.expelled.load(Ordering::SeqCst));
        }
    }
}

#[tokio::test]
async fn posts_have_the_recorded_bytes_and_share_a_connection() {
    let (a, mut peer) = start().await;
    let answer =
        |index| proto::raftpb::Message { index, ..a.message(MessageType::MsgHeartbeatResp, B, 0) };
    a.transport.send(vec![answer(None)]);
    let (mut head, mut raw) = peer.expect("POST /raft HTTP/1.1").await;
    for n in 1..4 {
        let mut lines: Vec<&str> = head.split("\r\n").collect();
        lines[1..].sort_unstable();
        let len = if n == 1 { 24 } else { 26 };
        let want = [
            "POST /raft HTTP/1.1".to_owned(),
            format!("Content-Length: {len}"),
            "Content-Type: application/protobuf".to_owned(),
            format!("Host: {}", peer.address),
            format!("X-Etcd-Cluster-Id: {CLUSTER:x}"),
            "X-Min-Cluster-Version: 3.0.0".to_owned(),
            format!("X-Peerurls: {}", a.url()),
            format!("X-Server-From: {A:x}"),
            "X-Server-Version: 3.7.1".to_owned(),
        ];
        assert_eq!(lines, want);
        let body = raw.exactly(len).await;
        let start = hex("0809 10f0f59cd6c7e485d326 18ddbfb8f4ffa6b4997a 2002");
        assert_eq!(body[..24], start);
        raw.send(format!("HTTP/1.1 204 No Content\r\nX-Etcd-Cluster-Id: {CLUSTER:x}\r\n\r\n"))
            .await;
        eventually("counted", || {
            (a.transport.stats().peers[&B].sent_bytes >= 26 * n - 2).then_some(())
        })
        .await;
        a.transport.send(vec![answer(Some(n))]);
        head = raw.head().await;
    }
    assert!(a.transport.active_since(B).is_some());
    // The peer closes the connection instead of answering: the message comes again.
    let body = raw.exactly(26).await;
    drop(raw);
    let (_, mut raw) = peer.expect("POST /raft HTTP/1.1").await;
    assert_eq!(raw.exactly(26).await, body);
    assert!(a.host.unreachable.lock().is_empty());
    // Forbidden, by somebody else and by a member.
    let forbid = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n";
    raw.send(format!("{forbid}\r\n")).await;
    eventually("a failure", || a.host.was_unreachable(B).then_some(())).await;
    assert!(!a.host.expelled.load(Ordering::SeqCst));
    a.transport.send(vec![answer(None)]);
    let (_, mut raw) = peer.expect("POST /raft HTTP/1.1").await;
    raw.send(format!("{forbid}X-Etcd-Cluster-Id: {CLUSTER:x}\r\n\r\n")).await;
    eventually("told", || a.host.expelled.load(Ordering::SeqCst).then_some(())).await;
}

#[tokio::test]
async fn a_proposal_that_may_have_arrived_is_not_posted_again() {
    let (a, mut peer) = start().await;
    let entry = proto::raftpb::Entry { data: Some("write".into()), ..Default::default() };
    let proposal =
        proto::raftpb::Message { entries: vec![entry], ..a.message(MessageType::MsgProp, B, 0) };
    a.transport.send(vec![a.message(MessageType::MsgVoteResp, B, 1)]);
    let (head, mut raw) = peer.expect("POST /raft HTTP/1.1").await;
    let len = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    raw.exactly(len.expect("a length").parse().expect("a number")).await;
    raw.send(format!("HTTP/1.1 204 No Content\r\nX-Etcd-Cluster-Id: {CLUSTER:x}\r\n\r\n")).await;
    eventually("kept", || (a.transport.stats().peers[&B].sent_bytes > 0).then_some(())).await;
    a.transport.send(vec![proposal]);
    let head = raw.head().await;
    assert!(head.starts_with("POST /raft HTTP/1.1"), "on the connection that was kept: {head}");
    drop(raw);
    eventually("a failure", || a.host.was_unreachable(B).then_some(())).await;
    a.transport.send(vec![a.message(MessageType::MsgVoteResp, B, 2)]);
    let (_, mut raw) = peer.expect("POST /raft HTTP/1.1").await;
    let kind = raw.exactly(2).await;
    assert_eq!(kind, [0x08, MessageType::MsgVoteResp as u8], "and nothing before it");
}

#[tokio::test]
async fn a_failed_post_is_known_by_its_status_line() {
    let (a, mut peer) = start().await;
    let mut held = Vec::new();
    for n in 1..=8 {
        a.transport.send(vec![a.message(MessageType::MsgVoteResp, B, n)]);
        let (_, mut raw) = peer.expect("POST /raft HTTP/1.1").await;
        raw.send(
            "HTTP/1.1 500 Internal Server Error\r\nTransfer-Encoding: chunked\r\n\r\n\
             1e\r\nerror processing raft message\n\r\n",
        )
        .await;
        held.push(raw);
        let failures = || (a.transport.stats().peers[&B].sent_failures >= n).then_some(());
        eventually("counted", failures).await;
    }
    assert!(a.host.was_unreachable(B));
    assert!(!a.host.expelled.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_peer_that_never_answers_posts_delays_nobody() {
    let (a, mut peer) = start().await;
    let healthy = Member::start(C).await;
    a.knows(&healthy);
    let messages = |to| (0..100).map(|n| a.message(MessageType::MsgVoteResp, to, n)).collect();
    a.transport.send(messages(B));
    eventually("reported", || a.host.was_unreachable(B).then_some(())).await;
    assert!(a.transport.stats().peers[&B].sent_failures >= 100 - 64 - 4);
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(peer.expect("POST /raft HTTP/1.1").await);
    }
    for n in 0..10 {
        a.transport.send(vec![a.message(MessageType::MsgVoteResp, C, n)]);
        assert_eq!(healthy.host.message("an answer").await.index, Some(n));
    }
    assert!(!a.host.was_unreachable(C));
    a.transport.remove_peer(B);
    for (_, mut raw) in held {
        raw.rest().await;
    }
}
