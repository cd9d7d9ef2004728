//! Bytes on the client port that are no protocol, or one badly spoken.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use integration_tests::{Rng, seed};

use super::resources::{Usage, given_back};
use crate::node::{Node, PATIENCE};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a member may think about junk before the client hangs up.
const HANG_UP: Duration = Duration::from_millis(30);

/// Types of HTTP/2 frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Flags of HTTP/2 frames.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// The preface and empty settings, then `frames`.
fn http2(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    bytes.extend(frames.into_iter().flatten());
    bytes
}

/// Header fields of a proper call, as literals without indexing.
fn call_headers() -> Vec<u8> {
    let mut block = vec![];
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.KV/Range"),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("short"));
            block.extend(text.bytes());
        }
    }
    block
}

fn open_call(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &call_headers())
}

/// A ClientHello as a browser sends it, as far as anyone reads it.
fn tls_client_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    hello.extend((0..502).map(|n: u32| n.to_le_bytes()[0]));
    hello
}

/// What is written on a new connection each.
fn junk() -> Vec<(&'static str, Vec<u8>)> {
    let get = "GET /health HTTP/1.1\r\n";
    let text = |text: &str| text.as_bytes().to_vec();
    vec![
        ("nothing", vec![]),
        ("one byte", vec![0]),
        ("a TLS hello", tls_client_hello()),
        ("zeroes", vec![0; 100_000]),
        ("ones", vec![0xff; 100_000]),
        ("a line without end", vec![b'a'; 1_000_000]),
        ("no version", text("GET /health\r\n\r\n")),
        ("a strange version", text("GET /health HTTP/9.9\r\n\r\n")),
        ("no host", text(&format!("{get}\r\n"))),
        ("half a head", text(&format!("{get}Host: a\r\nX: "))),
        ("a head without end", text(&format!("{get}X: {}", "a".repeat(1_000_000)))),
        ("100,000 headers", text(&format!("{get}{}\r\n", "X: a\r\n".repeat(100_000)))),
        ("no colon", text(&format!("{get}Host a\r\n\r\n"))),
        ("two lengths", text(&format!("{get}Content-Length: 3\r\nContent-Length: 5\r\n\r\nabc"))),
        (
            "a length and chunks",
            text(&format!(
                "{get}Host: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            )),
        ),
        ("a bad chunk", text(&format!("{get}Host: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"))),
        ("a long pipeline", text(&format!("{get}Host: a\r\n\r\n").repeat(1000))),
        ("half a preface", PREFACE[..12].to_vec()),
        ("a preface misspelt", text("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")),
        ("a preface alone", PREFACE.to_vec()),
        ("a preface, then zeroes", [PREFACE, &[0; 10_000]].concat()),
        ("a preface, then ones", [PREFACE, &[0xff; 10_000]].concat()),
        ("a preface, then a TLS hello", [PREFACE, &tls_client_hello()].concat()),
        ("a preface, then HTTP/1", [PREFACE, get.as_bytes()].concat()),
        ("two prefaces", [PREFACE, PREFACE].concat()),
        ("half a frame", http2([vec![0, 0, 8, PING]])),
        ("a frame that is cut off", http2([frame(PING, 0, 0, &[0; 8])[..12].to_vec()])),
        ("a frame of 16 MB", http2([vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]])),
        ("settings of an odd length", http2([frame(SETTINGS, 0, 0, &[0; 5])])),
        ("settings on a stream", http2([frame(SETTINGS, 0, 1, &[])])),
        ("a window setting past its bound", http2([frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0, 0, 0])])),
        ("a frame size below its bound", http2([frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 0])])),
        ("an unknown frame", http2([frame(0xbb, 0xff, 0, &[1; 100])])),
        ("data before headers", http2([frame(DATA, 0, 1, b"data")])),
        ("data on stream 0", http2([frame(DATA, 0, 0, b"data")])),
        ("headers on stream 0", http2([open_call(0)])),
        ("headers on an even stream", http2([open_call(2)])),
        ("headers that go back", http2([open_call(5), open_call(3)])),
        ("headers twice", http2([open_call(1), open_call(1)])),
        ("headers that are none", http2([frame(HEADERS, END_HEADERS, 1, &[0xff; 50])])),
        ("headers that end early", http2([frame(HEADERS, END_HEADERS, 1, &[0, 0x7f, b'a'])])),
        ("headers without a path", http2([frame(HEADERS, 5, 1, &[0x83])])),
        ("no headers at all", http2([frame(HEADERS, END_HEADERS | END_STREAM, 1, &[])])),
        ("headers that never end", http2([frame(HEADERS, 0, 1, &call_headers())])),
        (
            "something amid headers",
            http2([frame(HEADERS, 0, 1, &call_headers()), frame(PING, 0, 0, &[0; 8])]),
        ),
        (
            "a continuation of nothing",
            http2([frame(CONTINUATION, END_HEADERS, 1, &call_headers())]),
        ),
        ("a push from the client", http2([open_call(1), frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])])),
        ("a reset of nothing", http2([frame(RST_STREAM, 0, 1, &[0; 4])])),
        ("a window of nothing", http2([frame(WINDOW_UPDATE, 0, 0, &[0; 4])])),
        ("a window past its bound", http2([frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])])),
        ("a goodbye", http2([frame(GOAWAY, 0, 0, &[0; 8])])),
        ("a call that waits", http2([open_call(1)])),
        ("half a message", http2([open_call(1), frame(DATA, 0, 1, &[0, 0, 0, 0, 9, 1])])),
        ("padding longer than its frame", http2([open_call(1), frame(DATA, 8, 1, &[200, 1, 2])])),
        (
            "a table size past its bound",
            http2([frame(HEADERS, END_HEADERS, 1, &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f])]),
        ),
    ]
}

/// More of what might be allowed once.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let many = |count: u32, one: &dyn Fn(u32) -> Vec<u8>| http2((0..count).map(one));
    let reset = |n: u32| [open_call(2 * n + 1), frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8])];
    let empty = [open_call(1), frame(DATA, 0, 1, &[]).repeat(50_000)];
    let field = [0, 1, b'x', 100].iter().copied().chain([b'v'; 100]).collect::<Vec<u8>>();
    let block = [call_headers(), field.repeat(100)].concat();
    let endless = [frame(HEADERS, 0, 1, &block), frame(CONTINUATION, 0, 1, &block).repeat(500)];
    // One long field is remembered, then named over and over by one byte each.
    let remembered = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'v'; 4000]].concat();
    let bomb = [call_headers(), remembered, vec![0xbe; 10_000]].concat();
    vec![
        ("pings", many(50_000, &|_| frame(PING, 0, 0, &[0; 8]))),
        ("settings", many(50_000, &|_| frame(SETTINGS, 0, 0, &[]))),
        ("streams begun and reset", many(20_000, &|n| reset(n).concat())),
        ("streams left open", many(5_000, &|n| open_call(2 * n + 1))),
        ("empty data", http2(empty)),
        ("window updates", many(50_000, &|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]))),
        ("continuations", http2(endless)),
        ("headers that unpack to forty megabytes", http2([frame(HEADERS, END_HEADERS, 1, &bomb)])),
    ]
}

fn address(node: &Node) -> SocketAddr {
    node.server().client_authority().parse().expect("an address")
}

/// Writes, reads for a moment, hangs up.
fn say(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).expect("the member accepts connections");
    stream.set_read_timeout(Some(HANG_UP)).expect("set");
    stream.set_write_timeout(Some(PATIENCE)).expect("set");
    // The member may hang up first.
    drop(stream.write_all(bytes));
    let mut answer = [0; 16 * 1024];
    while stream.read(&mut answer).is_ok_and(|count| count > 0) {}
}

async fn all_junk(node: &Node, rng: &mut Rng) {
    for (what, bytes) in junk() {
        say(address(node), &bytes);
        let begin = Instant::now();
        node.assert_serves().await;
        let took = begin.elapsed();
        assert!(took < PATIENCE, "{took:?} for a put and a get after {what}");
    }
    for round in 0..100 {
        let noise: Vec<u8> = (0..rng.below(300)).map(|_| rng.next_u64().to_le_bytes()[0]).collect();
        let bytes = if round % 2 == 0 { noise } else { http2([noise]) };
        let mut stream = TcpStream::connect(address(node)).expect("connected");
        drop(stream.write_all(&bytes));
    }
    node.assert_serves().await;
}

#[tokio::test]
async fn junk_on_the_client_port_leaves_no_trace() {
    let mut rng = Rng::new(seed());
    let node = Node::start().await;
    all_junk(&node, &mut rng).await;
    let before = Usage::of(&node);
    for _ in 0..2 {
        all_junk(&node, &mut rng).await;
    }
    given_back(&node, &before).await;
}

#[tokio::test]
async fn floods_of_frames_are_bounded() {
    let node = Node::start().await;
    let round = async || {
        for (what, bytes) in floods() {
            let before = Usage::of(&node).resident_bytes;
            let flood = address(&node);
            let writer = std::thread::spawn(move || say(flood, &bytes));
            // Others are served while it lasts.
            let begin = Instant::now();
            node.assert_serves().await;
            let took = begin.elapsed();
            assert!(took < PATIENCE, "{took:?} for a put and a get amid {what}");
            writer.join().expect("written");
            let grown = Usage::of(&node).resident_bytes.saturating_sub(before);
            assert!(grown < 50 << 20, "grew by {grown} bytes through {what}");
        }
    };
    round().await;
    let before = Usage::of(&node);
    round().await;
    round().await;
    given_back(&node, &before).await;
    node.assert_serves().await;
}

#[tokio::test]
async fn connections_closed_at_once_leave_no_trace() {
    let node = Node::start().await;
    let connect = |count: usize| {
        for _ in 0..count {
            drop(TcpStream::connect(address(&node)).expect("the member accepts connections"));
        }
    };
    connect(1000);
    node.assert_serves().await;
    let before = Usage::of(&node);
    connect(10_000);
    node.assert_serves().await;
    given_back(&node, &before).await;
}

#[tokio::test]
async fn clients_that_speak_slowly_keep_nobody_waiting() {
    let node = Node::start().await;
    node.assert_serves().await;
    let says: [&[u8]; 3] =
        [PREFACE, b"GET /health HTTP/1.1\r\nHost: a\r\n", &http2([open_call(1)])];
    let before = Usage::of(&node);
    let mut slow: Vec<TcpStream> = (0..600)
        .map(|_| TcpStream::connect(address(&node)).expect("the member accepts connections"))
        .collect();
    for byte in 0..20 {
        for (stream, says) in slow.iter_mut().zip(says.iter().cycle()) {
            stream.write_all(&says[byte..=byte]).expect("still open");
        }
        let begin = Instant::now();
        node.assert_serves().await;
        assert!(begin.elapsed() < PATIENCE, "{:?}", begin.elapsed());
    }
    drop(slow);
    given_back(&node, &before).await;
    node.assert_serves().await;
}
