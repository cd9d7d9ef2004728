//! Messages that are none: bad bytes, lying lengths, too many of them.

use bytes::{BufMut as _, Bytes, BytesMut};
use integration_tests::{Kind, Rng, seed};
use prost::Message;
use proto::etcdserverpb::{
    DeleteRangeRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest, TxnRequest,
    WatchCreateRequest, WatchRequest, watch_request,
};
use tonic::{Code, Request};

use super::resources::Usage;
use crate::node::{Node, only_ours, open, put_op, target, within};

const WATCH: &str = "/etcdserverpb.Watch/Watch";
const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TXN: &str = "/etcdserverpb.KV/Txn";
const KEEP_ALIVE: &str = "/etcdserverpb.Lease/LeaseKeepAlive";

/// Largest gRPC message, and the parts of that bound.
const REQUEST_BYTES_MAX: usize = 1_572_864;
const MESSAGE_BYTES_MAX: usize = REQUEST_BYTES_MAX + 524_288;

/// How each refusal of bytes begins.
const UNMARSHALLING: &str = "grpc: error unmarshalling request: ";

/// No message of any kind.
const MALFORMED: [(&str, &[u8]); 12] = [
    ("a truncated tag", &[0x80]),
    ("a tag of eleven bytes", &[0xff; 11]),
    ("a truncated varint", &[0x18, 0xff]),
    ("an endless varint", &[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    ("a length past the end", &[0x0a, 0x7f, b'k']),
    ("a length of 2^63", &[0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
    ("field 0", &[0x02, 0x00]),
    ("wire type 6", &[0x0e]),
    ("wire type 7", &[0x0f]),
    ("an end of no group", &[0x0c]),
    ("a group without end", &[0x7b, 0x0a, 0x01, b'k']),
    ("a group that ends as another", &[0x7b, 0x84, 0x01]),
];

#[tokio::test]
async fn bytes_that_are_no_message_end_their_call_alone() {
    let node = Node::start().await;
    // A stream on the same connection, to see that it stays.
    let create = WatchCreateRequest { key: "k".into(), ..WatchCreateRequest::default() };
    let union = Some(watch_request::RequestUnion::CreateRequest(create));
    let create: Bytes = WatchRequest { request_union: union }.encode_to_vec().into();
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(create),
        tokio_stream::pending::<Bytes>(),
    );
    let mut watch = open(node.channel(), WATCH, Request::new(requests)).await.expect("a stream");
    within("created", watch.message()).await.expect("open").expect("an answer");

    // The 3.4 line takes any end of a group for the end of the last one begun.
    let known = MALFORMED.len() - usize::from(target() == Kind::Reference);
    for (what, message) in &MALFORMED[..known] {
        for path in [RANGE, PUT, TXN, WATCH, KEEP_ALIVE] {
            let request = Request::new(Bytes::from_static(message));
            let refused = node.call_bytes(path, request).await;
            let status = refused.err().unwrap_or_else(|| panic!("{what} to {path}: accepted"));
            assert_eq!(status.code(), Code::Internal, "{what} to {path}: {status:?}");
            // Streams have words of their own.
            let begin = if [WATCH, KEEP_ALIVE].contains(&path) { "grpc: " } else { UNMARSHALLING };
            assert!(status.message().starts_with(begin), "{what} to {path}: {status:?}");
        }
    }
    node.put("k", "v").await;
    let event = within("an event", watch.message()).await.expect("open").expect("an event");
    assert!(!event.is_empty());
}

#[tokio::test]
async fn unknown_fields_are_passed_over() {
    let node = Node::start().await;
    let request = RangeRequest { key: "k".into(), ..RangeRequest::default() }.encode_to_vec();
    node.put("k", "v").await;
    for unknown in [
        &[0xf8, 0x07, 0x2a][..],
        &[0xfa, 0x07, 0x02, b'a', b'b'],
        &[0xfd, 0x07, 1, 2, 3, 4],
        &[0xf9, 0x07, 1, 2, 3, 4, 5, 6, 7, 8],
        // A whole group, with a group inside.
        &[0xfb, 0x07, 0xfb, 0x07, 0xfc, 0x07, 0xf8, 0x07, 0x01, 0xfc, 0x07],
    ] {
        for message in [[&request, unknown].concat(), [unknown, &request].concat()] {
            let answer = node.call_bytes(RANGE, Request::new(message.into())).await;
            let answer = answer.unwrap_or_else(|status| panic!("{unknown:x?}: {status:?}"));
            let answer = proto::etcdserverpb::RangeResponse::decode(answer).expect("an answer");
            assert_eq!(answer.count, 1, "{unknown:x?}");
        }
    }
}

/// A valid message with some bytes changed, cut out or doubled.
fn mutated(rng: &mut Rng, message: &[u8]) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..=rng.below(4) {
        let at = usize::try_from(rng.below(bytes.len() as u64 + 1)).expect("fits");
        match rng.below(4) {
            0 if at < bytes.len() => bytes[at] = rng.next_u64().to_le_bytes()[0],
            1 => bytes.truncate(at),
            2 => bytes.insert(at, rng.next_u64().to_le_bytes()[0]),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

#[tokio::test]
async fn random_bytes_never_stop_the_member() {
    let mut rng = Rng::new(seed());
    let node = Node::start().await;
    let txn = TxnRequest {
        success: vec![put_op("k", "v"), crate::node::txn_op(vec![put_op("n", "v")], vec![])],
        ..TxnRequest::default()
    };
    let put = PutRequest { key: "k".into(), value: "value".into(), ..PutRequest::default() };
    let delete = DeleteRangeRequest { key: "k".into(), range_end: "m".into(), prev_kv: true };
    let range = RangeRequest { key: "k".into(), limit: 5, revision: 1, ..RangeRequest::default() };
    let alarm = proto::etcdserverpb::AlarmRequest { action: 0, member_id: 7, alarm: 1 };
    for round in 0..400 {
        let (path, valid) = match round % 6 {
            0 => (TXN, txn.encode_to_vec()),
            1 => (PUT, put.encode_to_vec()),
            2 => ("/etcdserverpb.KV/DeleteRange", delete.encode_to_vec()),
            3 => (RANGE, range.encode_to_vec()),
            4 => ("/etcdserverpb.Maintenance/Alarm", alarm.encode_to_vec()),
            _ => (KEEP_ALIVE, LeaseKeepAliveRequest { id: 9 }.encode_to_vec()),
        };
        // Whatever the answer: there is one.
        drop(node.call_bytes(path, Request::new(mutated(&mut rng, &valid).into())).await);
    }
    lift_alarms(&node).await;
    node.assert_serves().await;
    let node = node.restart_after_kill().await;
    node.assert_serves().await;
}

/// Random alarm requests may have raised some.
async fn lift_alarms(node: &Node) {
    for alarm in node.alarm(0, 0, 0).await.alarms {
        node.alarm(2, alarm.member_id, alarm.alarm).await;
    }
}

#[tokio::test]
async fn the_longest_message_passes_and_one_byte_more_is_refused() {
    for (flags, limit) in [(&[][..], MESSAGE_BYTES_MAX), (&["--max-request-bytes=1000"], 525_288)] {
        let node = Node::start_with(flags).await;
        // A put of this length: too long for the log, but a message of its own.
        let put = |message_bytes: usize| {
            // Three bytes of key, one of tag and three of length stand beside the value.
            let value = vec![0; message_bytes - 7].into();
            let put = PutRequest { key: "k".into(), value, ..PutRequest::default() };
            assert_eq!(put.encoded_len(), message_bytes);
            Bytes::from(put.encode_to_vec())
        };
        let refusal = async |message| {
            let refused = node.call_bytes(PUT, Request::new(message)).await;
            let status = refused.expect_err("too long");
            (status.code(), status.message().to_owned())
        };
        let too_large = "etcdserver: request is too large".to_owned();
        assert_eq!(refusal(put(limit)).await, (Code::InvalidArgument, too_large));
        for size in [limit + 1, limit + 20, limit + 100_000] {
            let text = format!("grpc: received message larger than max ({size} vs. {limit})");
            assert_eq!(refusal(vec![0; size].into()).await, (Code::ResourceExhausted, text));
        }
        let text = format!("grpc: received message larger than max ({} vs. {limit})", limit + 1);
        for path in [WATCH, KEEP_ALIVE] {
            let refused = node.call_bytes(path, Request::new(vec![0; limit + 1].into())).await;
            let status = refused.expect_err("too long");
            assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, &*text));
        }
        node.assert_serves().await;
    }
}

#[tokio::test]
async fn the_log_takes_what_fits_with_its_envelope() {
    let node = Node::start().await;
    let mut kv = node.kv();
    let mut put = async |value_bytes: usize| {
        let value = vec![b'v'; value_bytes].into();
        kv.put(PutRequest { key: "x".into(), value, ..PutRequest::default() }).await
    };
    // Seven bytes of tags and lengths, then 17 or 18 of the envelope, as the request id falls.
    for passes in [1_572_700, 1_572_839] {
        put(passes).await.expect("fits");
        assert_eq!(node.get("x").await.expect("a pair").value.len(), passes);
    }
    for refused in [1_572_841, REQUEST_BYTES_MAX, 1_800_000] {
        let status = put(refused).await.expect_err("too large");
        assert_eq!(status.code(), Code::InvalidArgument, "{refused}: {status:?}");
        assert_eq!(status.message(), "etcdserver: request is too large", "{refused}");
    }
}

/// One call with a body as it is, length prefix and all; gives the status it ends with.
async fn raw_body(node: &Node, path: &str, encoding: Option<&str>, body: Bytes) -> String {
    let stream = tokio::net::TcpStream::connect(node.server().client_authority()).await;
    let (mut h2, connection) =
        h2::client::handshake(stream.expect("connected")).await.expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut request = http::Request::post(format!("{}{path}", node.server().client_url()))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(encoding) = encoding {
        request = request.header("grpc-encoding", encoding);
    }
    let request = request.body(()).expect("a request");
    let (response, mut send) = h2.send_request(request, false).expect("a stream");
    send.send_data(body, true).expect("data");
    let status = within("an answer", async {
        let response = response.await.expect("headers");
        if let Some(status) = response.headers().get("grpc-status") {
            return status.clone();
        }
        let mut body = response.into_body();
        while let Some(data) = body.data().await {
            let data = data.expect("data");
            body.flow_control().release_capacity(data.len()).expect("capacity");
        }
        let trailers = body.trailers().await.expect("trailers").expect("trailers");
        trailers.get("grpc-status").expect("a status").clone()
    });
    let status = status.await.to_str().expect("a number").to_owned();
    connection.abort();
    status
}

/// A message with its length prefix.
fn framed(flag: u8, length: u32, message: &[u8]) -> Bytes {
    let mut body = BytesMut::new();
    body.put_u8(flag);
    body.put_u32(length);
    body.put_slice(message);
    body.freeze()
}

#[tokio::test]
async fn bodies_that_lie_about_their_message_are_refused() {
    if only_ours("codes of cut bodies") {
        return;
    }
    let node = Node::start().await;
    let range = RangeRequest { key: "k".into(), ..RangeRequest::default() }.encode_to_vec();
    let length = u32::try_from(range.len()).expect("short");
    assert_eq!(raw_body(&node, RANGE, None, framed(0, length, &range)).await, "0");
    for (what, encoding, body, code) in [
        ("half a prefix", None, Bytes::from_static(&[0, 0]), "13"),
        ("less than told", None, framed(0, length + 5, &range), "13"),
        ("4 GiB told", None, framed(0, u32::MAX, &range), "8"),
        ("compressed, but not said how", None, framed(1, length, &range), "13"),
        ("not gzip at all", Some("gzip"), framed(1, length, &range), "13"),
    ] {
        assert_eq!(raw_body(&node, RANGE, encoding, body).await, code, "{what}");
    }
    node.assert_serves().await;
}

#[tokio::test]
async fn compressed_messages_unpack_to_no_more_than_the_limit() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write as _;
    if only_ours("gzip") {
        return;
    }
    let node = Node::start().await;
    node.put("k", "v").await;
    let packed = |message: &[u8]| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(message).expect("packed");
        let packed = packer.finish().expect("packed");
        framed(1, u32::try_from(packed.len()).expect("short"), &packed)
    };
    let range = RangeRequest { key: "k".into(), ..RangeRequest::default() }.encode_to_vec();
    assert_eq!(raw_body(&node, RANGE, Some("gzip"), packed(&range)).await, "0");
    let before = Usage::of(&node).resident_bytes;
    // A hundred megabytes of zeroes in a hundred kilobytes.
    let bomb = packed(&vec![0; 100 << 20]);
    for _ in 0..3 {
        assert_eq!(raw_body(&node, PUT, Some("gzip"), bomb.clone()).await, "8");
    }
    let grown = Usage::of(&node).resident_bytes.saturating_sub(before);
    assert!(grown < 40 << 20, "grew by {grown} bytes");
    node.assert_serves().await;
}
