//! Metadata no honest client sends.

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::RangeRequest;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::{Code, Request, Status};

use crate::node::{Node, only_ours};

async fn range_with(node: &Node, metadata: &[(&str, &[u8])]) -> Result<Bytes, Status> {
    let range = RangeRequest { key: "k".into(), ..RangeRequest::default() };
    let mut request = Request::new(range.encode_to_vec().into());
    for (key, value) in metadata {
        let key: MetadataKey<Ascii> = key.parse().expect("a name");
        let value = MetadataValue::try_from(*value).expect("a value");
        request.metadata_mut().append(key, value);
    }
    node.call_bytes("/etcdserverpb.KV/Range", request).await
}

#[tokio::test]
async fn odd_metadata_is_ignored_or_refused_by_name() {
    if only_ours("X-18") {
        return;
    }
    let node = Node::start().await;
    // While authentication is off, tokens are of no interest.
    for metadata in [
        &[("token", &b"a"[..]), ("token", b"b")][..],
        &[("token", b"")],
        &[("authorization", b"Bearer "), ("authorization", b"Basic \xff\xfe")],
        &[("hasleader", b"junk")],
        &[("hasleader", b"\xff")],
        &[("hasleader", b"true"), ("hasleader", b"false")],
        &[("hasleader", b"")],
        &[("client-api-version", b"")],
        &[("client-api-version", b"\"\\n{}=")],
        &[("client-api-version", "3.\u{20ac}".as_bytes())],
        &[("grpc-timeout", b"5S")],
        &[("grpc-timeout", b"99999999H")],
        &[("grpc-accept-encoding", b"\xff,,gzip;q=0")],
        &[("grpc-encoding", b"identity")],
        &[("user-agent", b"\xff"), ("x-bin-but-not", b"~")],
    ] {
        let outcome = range_with(&node, metadata).await;
        assert!(outcome.is_ok(), "{metadata:?}: {outcome:?}");
    }
    for version in [&b"\xff"[..], b"3.4\xc3", b"\xed\xa0\x80"] {
        let refused = range_with(&node, &[("client-api-version", version)]).await;
        let status = refused.expect_err("no text");
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(status.message(), "etcdserver: invalid client api version");
    }
    for encoding in ["deflate", "snappy", "\"", "gzip2"] {
        let refused = range_with(&node, &[("grpc-encoding", encoding.as_bytes())]).await;
        let status = refused.expect_err("an unknown encoding");
        assert_eq!(status.code(), Code::Unimplemented, "{encoding}");
        let begin = "grpc: Decompressor is not installed for grpc-encoding ";
        assert!(status.message().starts_with(begin), "{encoding}: {status:?}");
    }
}

#[tokio::test]
async fn heaps_of_metadata_hurt_nobody_else() {
    let node = Node::start().await;
    let long = vec![b'v'; 1 << 20];
    let names: Vec<String> = (0..10_000).map(|n| format!("x-{n}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b"v"[..])).collect();
    let same: Vec<(&str, &[u8])> = vec![("x-same", b"v"); 10_000];
    for metadata in [&[("x-long", &long[..])][..], &many, &same] {
        // Taken or refused, as the limits of the connection have it.
        drop(range_with(&node, metadata).await);
        node.assert_serves().await;
    }
}

#[tokio::test]
async fn unknown_client_versions_share_a_label() {
    let node = Node::start().await;
    for version in ["3.4", "3.7"] {
        range_with(&node, &[("client-api-version", version.as_bytes())]).await.expect("a range");
    }
    let lines = || {
        let (status, page) = node.server().http_get("/metrics").expect("an answer");
        assert_eq!(status, 200);
        page.lines().filter(|line| line.contains("client_api_version=")).count()
    };
    let before = lines();
    for n in 0..500 {
        let version = format!("evil-{n}\"}} 1");
        range_with(&node, &[("client-api-version", version.as_bytes())]).await.expect("a range");
    }
    if only_ours("the number of labels") {
        return;
    }
    let grown = lines() - before;
    assert!(grown <= 10, "{grown} new lines for 500 made-up versions");
}
