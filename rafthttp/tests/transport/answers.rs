//! What a peer gets for each request, word by word as etcd answers it.

use std::net::SocketAddr;

use super::support::{A, B, C, CLUSTER, Member, Raw};
use proto::raftpb::MessageType;
use rafthttp::StepRefused;

const TEXT: [&str; 2] =
    ["Content-Type: text/plain; charset=utf-8", "X-Content-Type-Options: nosniff"];

fn signed(cluster: &str) -> String {
    format!(
        "Host: x\r\nX-Etcd-Cluster-Id: {cluster}\r\nX-Min-Cluster-Version: 3.0.0\r\n\
         X-Server-From: {C:x}\r\nX-Server-Version: 3.4.0\r\n"
    )
}

fn ours() -> String {
    signed(&format!("{CLUSTER:x}"))
}

async fn ask(address: SocketAddr, request: impl AsRef<[u8]>) -> (String, Vec<String>, Vec<u8>) {
    let mut raw = Raw::connect(address).await;
    raw.send(request).await;
    raw.answer().await
}

fn post(path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let len = body.len();
    let head = format!("POST {path} HTTP/1.1\r\n{headers}Content-Length: {len}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// One request and the error it gets, with these headers beside those of every error.
async fn check(member: &Member, request: Vec<u8>, status: &str, more: &[&str], text: &str) {
    let shown = String::from_utf8_lossy(&request).into_owned();
    let (got, headers, body) = ask(member.address, request).await;
    assert_eq!(got, format!("HTTP/1.1 {status}"), "{shown}");
    let mut want: Vec<String> = TEXT.iter().chain(more).map(|h| (*h).to_owned()).collect();
    want.push(format!("Content-Length: {}", text.len() + 1));
    want.sort();
    assert_eq!(headers, want, "{shown}");
    assert_eq!(String::from_utf8_lossy(&body), format!("{text}\n"), "{shown}");
}

#[tokio::test]
async fn wrong_requests_get_etcds_words() {
    let member = Member::start(A).await;
    member.transport.add_peer(B, &["http://127.0.0.1:1".to_owned()]);
    member.host.removed.lock().insert(0xdead);
    let ours = ours();
    let get =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\n{headers}\r\n").into_bytes();
    let id = format!("X-Etcd-Cluster-Id: {CLUSTER:x}");
    let posted: [&str; 1] = [&id];
    let stream = [id.as_str(), "X-Server-Version: 3.7.1"];
    let bare = "Host: x\r\n";
    let newer = ours.replace("Version: 3.0.0", "Version: 3.8.0");
    let older = ours.replace("Version: 3.4.0", "Version: 2.3.8");
    let upper = signed(&format!("{CLUSTER:X}"));
    let table: &[(Vec<u8>, &str, &[&str], &str)] = &[
        (get("/raft", &ours), "405 Method Not Allowed", &["Allow: POST"], "Method Not Allowed"),
        (
            get("/raft/snapshot", bare),
            "405 Method Not Allowed",
            &["Allow: POST"],
            "Method Not Allowed",
        ),
        (
            post("/raft/stream/message/5", &ours, b""),
            "405 Method Not Allowed",
            &["Allow: GET"],
            "Method Not Allowed",
        ),
        (post("/raft", bare, b""), "412 Precondition Failed", &posted, "incompatible version"),
        (post("/raft", &newer, b""), "412 Precondition Failed", &posted, "incompatible version"),
        (post("/raft", &older, b""), "412 Precondition Failed", &posted, "incompatible version"),
        (
            post("/raft", &signed("1"), b""),
            "412 Precondition Failed",
            &posted,
            "cluster ID mismatch",
        ),
        (post("/raft", &upper, b""), "412 Precondition Failed", &posted, "cluster ID mismatch"),
        (
            post("/raft", &ours, b"\xff\xff"),
            "400 Bad Request",
            &posted,
            "error unmarshalling raft message",
        ),
        (post("/raft/", &ours, b""), "404 Not Found", &[], "404 page not found"),
        (get("/raft/foo", &ours), "404 Not Found", &[], "404 page not found"),
        (get("/raft/probing/", &ours), "404 Not Found", &[], "404 page not found"),
        (
            get("/raft/stream/message/5", bare),
            "412 Precondition Failed",
            &stream,
            "incompatible version",
        ),
        (
            get("/raft/stream/message/5", &signed("1")),
            "412 Precondition Failed",
            &stream,
            "cluster ID mismatch",
        ),
        (get("/raft/stream/foo/5", &ours), "404 Not Found", &stream, "invalid path"),
        (get("/raft/stream/", &ours), "404 Not Found", &stream, "invalid path"),
        (get("/raft/stream/message", &ours), "404 Not Found", &stream, "invalid path"),
        (get("/raft/stream/message/5/6", &ours), "404 Not Found", &stream, "invalid path"),
        (get("/raft/stream/message/zz", &ours), "404 Not Found", &stream, "invalid from"),
        (get("/raft/stream/message/+5", &ours), "404 Not Found", &stream, "invalid from"),
        (get("/raft/stream/message/0x5", &ours), "404 Not Found", &stream, "invalid from"),
        (get("/raft/stream/message/dead", &ours), "410 Gone", &stream, "removed member"),
        (
            get("/raft/stream/msgapp/cafe", &ours),
            "404 Not Found",
            &stream,
            "error sender not found",
        ),
        (
            get(&format!("/raft/stream/msgapp/{B:x}"), &ours),
            "412 Precondition Failed",
            &stream,
            "to field mismatch",
        ),
        (
            post("/raft/snapshot", bare, b""),
            "412 Precondition Failed",
            &posted,
            "incompatible version",
        ),
        (
            post("/raft/snapshot", &ours, b""),
            "400 Bad Request",
            &posted,
            "failed to decode raft message (EOF)",
        ),
        (
            post("/raft/snapshot", &ours, b"\0\0\0\0\0\0\0\x09\x08\x07"),
            "400 Bad Request",
            &posted,
            "failed to decode raft message (unexpected EOF)",
        ),
        (
            post("/raft/snapshot", &ours, b"\xff\0\0\0\0\0\0\x02\x08\x07"),
            "400 Bad Request",
            &posted,
            "failed to decode raft message (rafthttp: error limit exceeded)",
        ),
        (
            post("/raft/snapshot", &ours, b"\0\0\0\0\0\0\0\x02\x08\x08"),
            "400 Bad Request",
            &posted,
            "wrong raft message type",
        ),
        (
            post("/raft/snapshot", &ours, b"\0\0\0\0\0\0\0\x02\x08\x07"),
            "500 Internal Server Error",
            &posted,
            "failed to process raft message (the message has no snapshot)",
        ),
    ];
    for (request, status, more, text) in table {
        check(&member, request.clone(), status, more, text).await;
    }
    let abc = ours.replace("Version: 3.4.0", "Version: abc");
    let text = "malformed x-server-version header";
    check(&member, post("/raft", &abc, b""), "400 Bad Request", &posted, text).await;
    assert!(member.host.messages.lock().is_empty());
    assert_eq!(member.transport.stats().undecodable.into_values().sum::<u64>(), 1);
}

#[tokio::test]
async fn a_posted_message_reaches_the_host() {
    let member = Member::start(A).await;
    // A vote with the numbers other implementations put under 14 and 16.
    let vote = [
        &b"\x08\x05\x10\xdd\xbf\xb8\xf4\xff\xa6\xb4\x99\x7a\x18\x05\x20\x02"[..],
        b"\x70\x01\x80\x01\x09",
    ]
    .concat();
    let mut raw = Raw::connect(member.address).await;
    for _ in 0..3 {
        raw.send(post("/raft", &ours(), &vote)).await;
        let (status, headers, _) = raw.answer().await;
        assert_eq!(status, "HTTP/1.1 204 No Content");
        assert_eq!(headers, [format!("X-Etcd-Cluster-Id: {CLUSTER:x}")]);
    }
    let got = member.host.message("a vote").await;
    assert_eq!(got.r#type, Some(MessageType::MsgVote as i32));
    assert_eq!((got.to, got.from, got.term), (Some(A), Some(5), Some(2)));
}

#[tokio::test]
async fn local_types_are_taken_and_dropped() {
    let member = Member::start(A).await;
    for kind in [b"\x08\x00", b"\x08\x17", b"\x08\x13"] {
        let message = [&kind[..], b"\x10\xdd\xbf\xb8\xf4\xff\xa6\xb4\x99\x7a"].concat();
        let (status, _, _) = ask(member.address, post("/raft", &ours(), &message)).await;
        assert_eq!(status, "HTTP/1.1 204 No Content");
    }
    assert!(member.host.messages.lock().is_empty());
}

/// Asserts the answer to a message that cannot be processed: its text is a chunk, after which
/// the connection breaks.
async fn check_broken(member: &Member, message: &[u8]) {
    let mut raw = Raw::connect(member.address).await;
    raw.send(post("/raft", &ours(), message)).await;
    let (status, headers, _) = raw.answer().await;
    assert_eq!(status, "HTTP/1.1 500 Internal Server Error");
    let mut want: Vec<String> = TEXT.iter().map(|h| (*h).to_owned()).collect();
    want.push("Transfer-Encoding: chunked".to_owned());
    want.push(format!("X-Etcd-Cluster-Id: {CLUSTER:x}"));
    want.sort();
    assert_eq!(headers, want);
    assert_eq!(raw.rest().await.to_ascii_lowercase(), b"1e\r\nerror processing raft message\n\r\n");
}

#[tokio::test]
async fn messages_that_cannot_be_processed_break_the_connection() {
    let member = Member::start(A).await;
    member.host.removed.lock().insert(0x99);
    let to_us = b"\x10\xdd\xbf\xb8\xf4\xff\xa6\xb4\x99\x7a";
    check_broken(&member, b"\x08\x05\x10\x01\x18\x05").await;
    check_broken(&member, &[&b"\x08\x05"[..], to_us, b"\x18\x99\x01"].concat()).await;
    check_broken(&member, &[&b"\x08\x07"[..], to_us].concat()).await;
    *member.host.refuse.lock() = Some(StepRefused::Invalid("why".to_owned()));
    check_broken(&member, &[&b"\x08\x05"[..], to_us].concat()).await;
    assert!(member.host.messages.lock().is_empty());
}

#[tokio::test]
async fn a_full_host_drops_silently() {
    let member = Member::start(A).await;
    member.transport.add_peer(C, &["http://127.0.0.1:1".to_owned()]);
    *member.host.refuse.lock() = Some(StepRefused::Full);
    let message = b"\x08\x05\x10\xdd\xbf\xb8\xf4\xff\xa6\xb4\x99\x7a\x18\xfe\x95\x03";
    let (status, _, _) = ask(member.address, post("/raft", &ours(), message)).await;
    assert_eq!(status, "HTTP/1.1 204 No Content");
    assert_eq!(member.transport.stats().peers[&C].received_failures, 1);
}

#[tokio::test]
async fn probes_are_answered_with_the_moment() {
    let member = Member::start(A).await;
    for method in ["GET", "POST"] {
        let request =
            format!("{method} /raft/probing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let (status, headers, body) = ask(member.address, request).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert_eq!(headers[1], "Content-Type: text/plain; charset=utf-8");
        assert_eq!(headers.len(), 2);
        let body = String::from_utf8(body).expect("text");
        let now = body.strip_prefix("{\"OK\":true,\"Now\":\"").expect("its head");
        let now = now.strip_suffix("\"}\n").and_then(base::time::parse_rfc3339).expect("a moment");
        let ago = std::time::SystemTime::now().duration_since(now).expect("past");
        assert!(ago.as_secs() < 30);
    }
}

#[tokio::test]
async fn a_stream_opens_with_its_headers_at_once() {
    let member = Member::start(A).await;
    member.transport.add_peer(B, &["http://127.0.0.1:1".to_owned()]);
    let mut raw = Raw::connect(member.address).await;
    raw.send(format!(
        "GET /raft/stream/message/{B:x} HTTP/1.1\r\n{}X-Raft-To: {A:x}\r\n\r\n",
        ours()
    ))
    .await;
    let (status, headers, _) = raw.answer().await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let id = format!("X-Etcd-Cluster-Id: {CLUSTER:x}");
    assert_eq!(headers, ["Transfer-Encoding: chunked", &id, "X-Server-Version: 3.7.1"]);
    member.transport.send(vec![member.message(MessageType::MsgHeartbeat, B, 0)]);
    let frame = b"\0\0\0\0\0\0\0\x1a\x08\x08\x10\xf0\xf5\x9c\xd6\xc7\xe4\x85\xd3\x26\
                  \x18\xdd\xbf\xb8\xf4\xff\xa6\xb4\x99\x7a\x20\x02\x30\0";
    assert_eq!(raw.chunk().await, frame);
    assert_eq!(raw.chunk().await, b"\0\0\0\0\0\0\0\x02\x08\x08", "the link heartbeat");
}

#[tokio::test]
async fn an_unknown_sender_is_answered_where_it_says_it_is() {
    let (member, other) = (Member::start(A).await, Member::start(C).await);
    let request = format!(
        "GET /raft/stream/message/{C:x} HTTP/1.1\r\n{}X-PeerURLs: {}\r\n\r\n",
        ours(),
        other.url()
    );
    let (status, _, _) = ask(member.address, request).await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    member.transport.send(vec![member.message(MessageType::MsgAppResp, C, 7)]);
    assert_eq!(other.host.message("an answer").await.index, Some(7));
    assert_eq!(member.transport.active_since(C), None, "it is no member");
}

#[tokio::test]
async fn removed_and_wrongly_addressed_senders_are_not_remembered() {
    let (member, other) = (Member::start(A).await, Member::start(C).await);
    member.host.removed.lock().insert(C);
    for urls in [other.url(), "nonsense".to_owned(), String::new()] {
        let headers = format!("{}X-PeerURLs: {urls}\r\n", ours());
        let (status, _, _) = ask(
            member.address,
            post("/raft", &headers, b"\x08\x05\x10\xdd\xbf\xb8\xf4\xff\xa6\xb4\x99\x7a"),
        )
        .await;
        assert_eq!(status, "HTTP/1.1 204 No Content");
        member.host.removed.lock().clear();
    }
    let headers = format!("{}X-PeerURLs: {}\r\n", ours(), other.url());
    member.transport.send(vec![member.message(MessageType::MsgAppResp, C, 1)]);
    ask(member.address, post("/raft", &headers, b"")).await;
    member.transport.send(vec![member.message(MessageType::MsgAppResp, C, 2)]);
    assert_eq!(other.host.message("an answer").await.index, Some(2));
}

pub(crate) async fn an_idle_connection_and_half_a_request_end_after_a_while() {
    let member = Member::start(A).await;
    let start = std::time::Instant::now();
    let mut idle = Raw::connect(member.address).await;
    idle.send(post("/raft", &ours(), b"\xff")).await;
    idle.answer().await;
    let mut half = Raw::connect(member.address).await;
    half.send("POST /raft HTTP/1.1\r\nHost: x\r\n").await;
    let mut body = Raw::connect(member.address).await;
    let whole = post("/raft", &ours(), b"\x08\x05\x10");
    body.send(&whole[..whole.len() - 1]).await;
    let (idle, half, body) = tokio::join!(idle.rest(), half.rest(), body.rest());
    assert!(idle.is_empty());
    assert!(half.is_empty() || half.starts_with(b"HTTP/1.1 408"), "{half:?}");
    let body = String::from_utf8_lossy(&body).into_owned();
    assert!(body.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{body}");
    assert!(body.ends_with("\r\n\r\nerror reading raft message\n"), "{body}");
    assert!((4..20).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}
