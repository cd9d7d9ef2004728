//! Snapshots in both directions, whole and broken.

use std::io::Write as _;

use super::support::{A, B, C, CLUSTER, FakePeer, Member, Raw, chunk, eventually, hex, pair};
use proto::raftpb::{self, MessageType};
use rafthttp::{ReceiveError, SnapshotSource};

fn snapshot(from: &Member, to: u64) -> raftpb::Message {
    let metadata = raftpb::SnapshotMetadata {
        conf_state: Some(raftpb::ConfState { voters: vec![from.id], ..Default::default() }),
        index: Some(0x42),
        term: Some(2),
    };
    let data = Some(vec![b'{'; 7651].into());
    let snapshot = Some(raftpb::Snapshot { data, metadata: Some(metadata) });
    raftpb::Message { index: None, snapshot, ..from.message(MessageType::MsgSnap, to, 0) }
}

/// A database of this size, no two blocks of it alike.
fn database(bytes: usize) -> Vec<u8> {
    (0..bytes as u64 / 8).flat_map(u64::to_be_bytes).collect()
}

/// A source that is given the database on a thread of its own.
fn source(db: Vec<u8>, finish: bool) -> SnapshotSource {
    let (mut sink, source) = SnapshotSource::channel();
    std::thread::spawn(move || {
        for part in db.chunks(100_000) {
            if sink.write_all(part).is_err() {
                return;
            }
        }
        if finish {
            sink.finish();
        }
    });
    source
}

async fn report(member: &Member) -> (u64, bool) {
    eventually("a report", || member.host.reports.lock().pop()).await
}

#[tokio::test]
async fn a_database_arrives_whole() {
    let (a, b) = pair().await;
    let db = database(20 << 20);
    a.transport.send_snapshot(snapshot(&a, B), source(db.clone(), true));
    assert_eq!(report(&a).await, (B, true));
    let received = b.host.snapshots.lock().pop().expect("received before it is answered");
    assert_eq!(received.0, snapshot(&a, B));
    assert!(received.1 == Ok(db));
    let sent = a.transport.stats().peers[&B].clone();
    assert_eq!((sent.snapshots_sent.successes, sent.snapshots_sent.in_flight), (1, 0));
    assert!(sent.sent_bytes > 20 << 20);
    let got = b.transport.stats().peers[&A].snapshots_received.clone();
    assert_eq!((got.successes, got.failures, got.in_flight), (1, 0, 0));
    assert_eq!(got.seconds.counts.iter().sum::<u64>(), 1);
}

#[tokio::test]
async fn a_source_that_ends_early_is_no_snapshot() {
    let (a, b) = pair().await;
    for bytes in [0, 4 << 20] {
        a.transport.send_snapshot(snapshot(&a, B), source(database(bytes), false));
        assert_eq!(report(&a).await, (B, false));
    }
    // What fits into no buffer has reached the receiver, as far as it goes.
    let failed = || {
        let failures = b.transport.stats().peers.get(&A)?.snapshots_received.failures;
        (failures > 0).then_some(())
    };
    eventually("the receiver notices", failed).await;
    assert!(b.host.snapshots.lock().iter().all(|(_, db)| db.is_err()));
    assert_eq!(a.transport.stats().peers[&B].snapshots_sent.failures, 2);
    assert!(a.host.was_unreachable(B));
}

#[tokio::test]
async fn what_the_receiver_refuses_has_failed() {
    let (a, b) = pair().await;
    *b.host.refuse_snapshots.lock() = Some(ReceiveError::Process("why".to_owned()));
    a.transport.send_snapshot(snapshot(&a, B), source(database(1000), true));
    assert_eq!(report(&a).await, (B, false));
    assert_eq!(b.host.snapshots.lock().len(), 1);
    // For nobody, and for one that is nowhere.
    a.transport.send_snapshot(snapshot(&a, C), source(database(1000), true));
    assert_eq!(report(&a).await, (C, false));
    a.transport.add_peer(C, &["http://127.0.0.1:1".to_owned()]);
    a.transport.send_snapshot(snapshot(&a, C), source(database(1000), true));
    assert_eq!(report(&a).await, (C, false));
}

#[tokio::test]
async fn snapshots_are_posted_as_go_posts_them() {
    let (a, mut peer) = (Member::start(A).await, FakePeer::start().await);
    a.transport.add_peer(B, &[peer.url()]);
    let (sink, source) = SnapshotSource::channel();
    a.transport.send_snapshot(snapshot(&a, B), source);
    let (head, mut raw) = peer.expect("POST /raft/snapshot HTTP/1.1").await;
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    let want = [
        "POST /raft/snapshot HTTP/1.1".to_owned(),
        "Content-Type: application/octet-stream".to_owned(),
        format!("Host: {}", peer.address),
        "Transfer-Encoding: chunked".to_owned(),
        format!("X-Etcd-Cluster-Id: {CLUSTER:x}"),
        "X-Min-Cluster-Version: 3.0.0".to_owned(),
        format!("X-Peerurls: {}", a.url()),
        format!("X-Server-From: {A:x}"),
        "X-Server-Version: 3.7.1".to_owned(),
    ];
    assert_eq!(lines, want);
    let first = raw.chunk().await;
    assert_eq!(first[..8], (first.len() as u64 - 8).to_be_bytes());
    let start = hex("0807 10f0f59cd6c7e485d326 18ddbfb8f4ffa6b4997a 2002 4a");
    assert_eq!(first[8..8 + start.len()], start);
    let done = std::thread::spawn(move || {
        sink.send(b"page".as_slice().into()).expect("taken");
        sink.finish();
    });
    assert_eq!(raw.chunk().await, b"page");
    done.join().expect("no panic");
    assert_eq!(raw.chunk().await, b"");
    assert!(a.host.reports.lock().is_empty(), "not before the answer");
    raw.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(report(&a).await, (B, true));
}

#[tokio::test]
async fn sixteen_are_on_their_way_at_most() {
    let (a, peer) = (Member::start(A).await, FakePeer::start().await);
    a.transport.add_peer(B, &[peer.url()]);
    for _ in 0..16 {
        a.transport.send_snapshot(snapshot(&a, B), source(database(8), true));
    }
    assert!(a.host.reports.lock().is_empty());
    a.transport.send_snapshot(snapshot(&a, B), source(database(8), true));
    assert_eq!(a.host.reports.lock().pop(), Some((B, false)));
    a.transport.remove_peer(B);
    eventually("all have failed", || (a.host.reports.lock().len() == 16).then_some(())).await;
    assert!(a.host.reports.lock().iter().all(|report| *report == (B, false)));
    assert_eq!(a.transport.stats().peers[&B].snapshots_sent.in_flight, 0);
}

/// Headers of a posted snapshot.
fn head(more: &str) -> String {
    format!(
        "POST /raft/snapshot HTTP/1.1\r\nHost: x\r\nUser-Agent: Go-http-client/1.1\r\n{more}\r\n\
         Content-Type: application/octet-stream\r\nX-Etcd-Cluster-Id: {CLUSTER:x}\r\n\
         X-Min-Cluster-Version: 3.0.0\r\nX-Server-From: {A:x}\r\nX-Server-Version: 3.7.1\r\n\
         Accept-Encoding: gzip\r\n\r\n"
    )
}

/// A snapshot from A to B at index 0x14 as a 3.7 leader of term 5 sends it.
fn recorded() -> Vec<u8> {
    hex("000000000000003a 0807 10f0f59cd6c7e485d326 18ddbfb8f4ffa6b4997a 2005 4a20 121e
         0a18 08af8588fbc586d4f7b001 0899eec0beb88d88bebc01 2800 1014 1805")
}

async fn status(raw: &mut Raw) -> (String, String) {
    let (status, _, body) = raw.answer().await;
    (status, String::from_utf8(body).expect("text"))
}

#[tokio::test]
async fn both_forms_of_bodies_are_taken_in_any_pieces() {
    let b = Member::start(B).await;
    let db = database(20_000);
    let body = [recorded(), db.clone()].concat();
    let mut raw = Raw::connect(b.address).await;
    raw.send(head(&format!("Content-Length: {}", body.len()))).await;
    raw.send(&body).await;
    assert_eq!(status(&mut raw).await.0, "HTTP/1.1 204 No Content");
    for size in [1, 7, 8, 9, 66, 67, 4096, 100_000] {
        raw.send(head("Transfer-Encoding: chunked")).await;
        let pieces: Vec<u8> = body.chunks(size).flat_map(chunk).collect();
        raw.send([pieces, b"0\r\n\r\n".to_vec()].concat()).await;
        assert_eq!(status(&mut raw).await.0, "HTTP/1.1 204 No Content", "{size}");
    }
    let received = std::mem::take(&mut *b.host.snapshots.lock());
    assert_eq!(received.len(), 9);
    for (message, got) in received {
        let metadata = message.snapshot.and_then(|s| s.metadata).expect("metadata");
        assert_eq!((metadata.index, metadata.term, message.term), (Some(0x14), Some(5), Some(5)));
        assert!(got.as_ref() == Ok(&db));
    }
    assert!(b.host.messages.lock().is_empty(), "the host steps it itself");
}

#[tokio::test]
async fn a_broken_upload_is_no_snapshot() {
    let b = Member::start(B).await;
    let mut raw = Raw::connect(b.address).await;
    raw.send(head("Content-Length: 100000")).await;
    raw.send([recorded(), database(5000)].concat()).await;
    drop(raw);
    let broken = || b.host.snapshots.lock().pop();
    // The future is dropped with the connection, or the body says that it broke.
    let failed = || {
        let failures = b.transport.stats().peers.get(&A)?.snapshots_received.failures;
        (failures == 1).then_some(())
    };
    eventually("failed", failed).await;
    assert!(broken().is_none_or(|(_, db)| db.is_err()));
    let mut raw = Raw::connect(b.address).await;
    raw.send(head("Transfer-Encoding: chunked")).await;
    raw.send(chunk(&recorded())).await;
    raw.send("zz\r\n").await;
    let words = raw.rest().await;
    assert!(words.is_empty() || words.starts_with(b"HTTP/1.1 500 "), "{words:?}");
    assert!(broken().is_none_or(|(_, db)| db.is_err()));
}

#[tokio::test]
async fn refused_snapshots_get_etcds_words() {
    let b = Member::start(B).await;
    let ask = async |body: Vec<u8>| {
        let mut raw = Raw::connect(b.address).await;
        raw.send(head(&format!("Content-Length: {}", body.len()))).await;
        raw.send(body).await;
        status(&mut raw).await
    };
    let error = "HTTP/1.1 500 Internal Server Error".to_owned();
    let process = |why| {
        (error.clone(), format!("failed to process raft message (cannot process message {why})\n"))
    };
    let mut misdirected = recorded();
    misdirected[11] = 0xf1;
    assert_eq!(ask(misdirected).await, process("to mismatch member"));
    b.host.removed.lock().insert(A);
    assert_eq!(ask(recorded()).await, process("from removed member"));
    b.host.removed.lock().clear();
    assert!(b.host.snapshots.lock().is_empty());
    let store = "failed to save KV snapshot (disk full)";
    *b.host.refuse_snapshots.lock() = Some(ReceiveError::Store("disk full".to_owned()));
    assert_eq!(ask(recorded()).await, (error.clone(), format!("{store}\n")));
    assert_eq!(b.transport.stats().peers[&A].snapshots_received.failures, 3);
}

#[tokio::test]
async fn only_so_many_are_received_at_once() {
    let b = Member::start(B).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(b.address).await;
        raw.send(head("Content-Length: 1000")).await;
        raw.send(recorded()).await;
        held.push(raw);
    }
    let flying = |wanted| {
        let in_flight = b.transport.stats().peers.get(&A)?.snapshots_received.in_flight;
        (in_flight == wanted).then_some(())
    };
    eventually("four", || flying(4)).await;
    let mut raw = Raw::connect(b.address).await;
    raw.send(head(&format!("Content-Length: {}", recorded().len()))).await;
    raw.send(recorded()).await;
    let text = "failed to save KV snapshot (too many snapshots are being received)\n";
    assert_eq!(status(&mut raw).await.1, text);
    held.clear();
    eventually("their places are free", || flying(0)).await;
    let mut raw = Raw::connect(b.address).await;
    raw.send(head(&format!("Content-Length: {}", recorded().len()))).await;
    raw.send(recorded()).await;
    assert_eq!(status(&mut raw).await.0, "HTTP/1.1 204 No Content");
}
