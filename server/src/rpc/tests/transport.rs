use std::sync::atomic::Ordering::SeqCst;

use bytes::{Buf, BufMut, Bytes};
use http_body_util::Full;
use proto::etcdserverpb as pb;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response};

use super::*;

/// Bytes as they are, both ways.
#[derive(Default)]
struct AsIs;

impl Codec for AsIs {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for AsIs {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// Sends these bytes as the request of `path`.
async fn send(
    served: &Served,
    path: &'static str,
    request: Request<Bytes>,
    gzip: bool,
) -> Result<Response<Bytes>, Status> {
    let address = format!("http://{}", served.address);
    let channel = Channel::from_shared(address).expect("an address").connect().await;
    let mut grpc = tonic::client::Grpc::new(channel.expect("connects"))
        .accept_compressed(CompressionEncoding::Gzip);
    if gzip {
        grpc = grpc.send_compressed(CompressionEncoding::Gzip);
    }
    grpc.ready().await.expect("ready");
    grpc.unary(request, http::uri::PathAndQuery::from_static(path), AsIs).await
}

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// A put of exactly this encoded length.
fn put_of_len(len: usize) -> Bytes {
    use prost::Message;
    let value_len = len - 3 - 3; // a key of one byte; tag and two bytes of length
    let value = vec![b'v'; value_len].into();
    let put = pb::PutRequest { key: "k".into(), value, ..Default::default() };
    let bytes: Bytes = put.encode_to_vec().into();
    bytes
}

#[tokio::test]
async fn messages_beyond_the_limit_are_refused_in_the_known_words() {
    let served = serve().await;
    let limit = SETTINGS.message_bytes_max();
    let long = vec![0; limit + 20];
    let refused = send(&served, PUT, Request::new(long.into()), false).await;
    let text = format!("grpc: received message larger than max ({} vs. {limit})", limit + 20);
    assert_eq!(refusal(refused), words(Code::ResourceExhausted, &text));
    // At the limit it is decoded, and found to be no message.
    let bytes = vec![0; limit];
    let (code, text) = refusal(send(&served, PUT, Request::new(bytes.into()), false).await);
    assert_eq!(code, Code::Internal);
    assert!(text.starts_with("grpc: error unmarshalling request: "), "{text}");
}

#[tokio::test]
async fn unpacked_messages_beyond_the_limit_are_refused_alike() {
    let served = serve().await;
    let long = vec![0; 2 * SETTINGS.message_bytes_max()];
    let (code, text) = refusal(send(&served, PUT, Request::new(long.into()), true).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.starts_with("grpc: received message larger than max ("), "{text}");
}

#[tokio::test]
async fn answers_are_packed_as_the_request_was() {
    let served = serve().await;
    served.fake.write("k", vec![b'v'; 4000]);
    let range = Bytes::from_static(b"\x0a\x01k");
    for (gzip, encoding) in [(false, None), (true, Some("gzip"))] {
        let answer =
            send(&served, RANGE, Request::new(range.clone()), gzip).await.expect("answered");
        let header = answer.metadata().get("grpc-encoding").map(|value| value.to_str());
        assert_eq!(header.transpose().expect("text"), encoding);
        assert!(answer.into_inner().len() > 4000);
    }
}

#[tokio::test]
async fn other_packings_and_paths_are_unimplemented() {
    let served = serve().await;
    let mut request = Request::new(put_of_len(100));
    request.metadata_mut().insert("grpc-encoding", MetadataValue::from_static("snappy"));
    let text = "grpc: Decompressor is not installed for grpc-encoding \"snappy\"";
    let refused = send(&served, PUT, request, false).await;
    assert_eq!(refusal(refused), words(Code::Unimplemented, text));
    for (path, text) in [
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/a.B/C", "unknown service a.B"),
        (
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            "unknown service grpc.reflection.v1alpha.ServerReflection",
        ),
    ] {
        let refused = send(&served, path, Request::new(Bytes::new()), false).await;
        assert_eq!(refusal(refused), words(Code::Unimplemented, text));
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_is_refused() {
    let served = serve().await;
    let request = Request::new(Bytes::from_static(b"\x0a\x02\xff\xfe"));
    let refused = send(&served, "/etcdserverpb.Cluster/MemberAdd", request, false).await;
    let text = "grpc: error unmarshalling request: string field contains invalid UTF-8";
    assert_eq!(refusal(refused), words(Code::Internal, text));
}

#[tokio::test]
async fn calls_that_want_a_leader_are_refused_without_one() {
    let served = serve().await;
    served.fake.leader.store(0, SeqCst);
    let ask = |wish: &'static str| {
        let mut request = Request::new(Bytes::from_static(b"\x0a\x01k"));
        request.metadata_mut().insert("hasleader", MetadataValue::from_static(wish));
        request
    };
    let refused = send(&served, RANGE, ask("true"), false).await;
    assert_eq!(refusal(refused), words(Code::Unavailable, "etcdserver: no leader"));
    send(&served, RANGE, ask("junk"), false).await.expect("served");
}

#[tokio::test]
async fn a_client_version_is_text() {
    let served = serve().await;
    let mut request = Request::new(Bytes::from_static(b"\x0a\x01k"));
    let odd = MetadataValue::try_from(&b"\xff"[..]).expect("bytes");
    request.metadata_mut().insert("client-api-version", odd);
    let refused = send(&served, RANGE, request, false).await;
    let text = "etcdserver: invalid client api version";
    assert_eq!(refusal(refused), words(Code::InvalidArgument, text));
}

/// A bare HTTP/2 connection, to send what no gRPC client would.
async fn bare(served: &Served) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(&served.address).await.expect("connects");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(executor, io).await.expect("shakes hands");
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn calls_end_at_their_deadline() {
    let served = serve().await;
    served.fake.stuck.store(true, SeqCst);
    let request = http::Request::post(format!("http://{}{RANGE}", served.address))
        .header("content-type", "application/grpc")
        .header("grpc-timeout", "30m")
        .body(Full::new(Bytes::from_static(b"\0\0\0\0\x03\x0a\x01k")))
        .expect("a request");
    let answer = bare(&served).await.send_request(request).await.expect("answered");
    let status = Status::from_header_map(answer.headers()).expect("a status");
    let words = words(Code::DeadlineExceeded, "context deadline exceeded");
    assert_eq!((status.code(), status.message().to_owned()), words);
}

#[tokio::test]
async fn what_is_not_grpc_is_told_by_http_status() {
    let served = serve().await;
    let mut sender = bare(&served).await;
    for (method, kind, status) in [
        ("GET", "application/grpc", 405),
        ("GET", "", 415),
        ("POST", "text/plain", 415),
        ("POST", "", 415),
    ] {
        let request = http::Request::builder()
            .method(method)
            .uri(format!("http://{}{PUT}", served.address))
            .header("content-type", kind)
            .body(Full::default())
            .expect("a request");
        let answer = sender.send_request(request).await.expect("answered");
        assert_eq!(answer.status(), status);
        if status == 415 {
            assert_eq!(answer.headers()["content-type"], "application/grpc");
            let told = Status::from_header_map(answer.headers()).expect("a status");
            let text = format!("invalid gRPC request content-type \"{kind}\"");
            assert_eq!((told.code(), told.message()), (Code::InvalidArgument, text.as_str()));
        }
    }
}

#[tokio::test]
async fn calls_are_counted_by_their_code() {
    let served = serve().await;
    let good = Request::new(Bytes::from_static(b"\x0a\x01k"));
    send(&served, RANGE, good, false).await.expect("served");
    refusal(send(&served, RANGE, Request::new(Bytes::new()), false).await);
    let range = served.metrics.grpc.get("etcdserverpb.KV", "Range").expect("counted");
    assert_eq!((range.started.get(), range.received.get(), range.sent.get()), (2, 2, 1));
}
