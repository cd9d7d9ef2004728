//! Ranges that come in chunks: together they are exactly the plain answer.

use prost::Message;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{RangeRequest, RangeResponse, RangeStreamResponse};
use tonic::{Code, Status};

use crate::node::{Node, only_ours, within};

fn all() -> RangeRequest {
    RangeRequest { key: "k".into(), range_end: "l".into(), ..RangeRequest::default() }
}

async fn chunks(node: &Node, request: &RangeRequest) -> Vec<RangeResponse> {
    let answers = node.call_all("/etcdserverpb.KV/RangeStream", request).await.expect("chunks");
    let decoded = answers.into_iter().map(RangeStreamResponse::decode);
    decoded.map(|chunk| chunk.expect("a chunk").range_response.expect("an answer")).collect()
}

fn sizes(chunks: &[RangeResponse]) -> Vec<usize> {
    chunks.iter().map(|chunk| chunk.kvs.len()).collect()
}

/// What a client makes of the chunks.
fn merged(chunks: &[RangeResponse]) -> RangeResponse {
    let bytes: Vec<u8> = chunks.iter().flat_map(Message::encode_to_vec).collect();
    RangeResponse::decode(bytes.as_slice()).expect("merged")
}

async fn filled(keys: usize, value_bytes: usize) -> Node {
    let node = Node::start().await;
    let value = bytes::Bytes::from(vec![b'v'; value_bytes]);
    node.put_all((0..keys).map(|n| (format!("k{n:05}"), value.clone()))).await;
    node
}

#[tokio::test]
async fn chunks_of_small_pairs_double_and_make_up_the_plain_answer() {
    if only_ours("RS") {
        return;
    }
    let node = filled(200, 1).await;
    for (limit, want) in [
        (0, vec![10, 20, 40, 80, 50]),
        (35, vec![10, 20, 5]),
        (30, vec![10, 20]),
        (200, vec![10, 20, 40, 80, 50]),
        (1000, vec![10, 20, 40, 80, 50]),
        (1, vec![1]),
    ] {
        let request = RangeRequest { limit, ..all() };
        let chunks = chunks(&node, &request).await;
        assert_eq!(sizes(&chunks), want, "limit {limit}");
        let (last, others) = chunks.split_last().expect("at least one");
        assert!(others.iter().all(|c| c.header.is_none() && !c.more && c.count == 0), "{limit}");
        assert_eq!((last.count, last.more), (200, limit > 0 && limit < 200), "limit {limit}");
        assert_eq!(merged(&chunks), node.range(request).await, "limit {limit}");
    }
    for request in [
        RangeRequest { keys_only: true, ..all() },
        RangeRequest { limit: -5, ..all() },
        RangeRequest { sort_order: 1, ..all() },
        RangeRequest { revision: 100, ..all() },
        RangeRequest { key: "k00199".into(), range_end: "".into(), ..all() },
        RangeRequest { key: "z".into(), range_end: "\0".into(), ..all() },
        RangeRequest { range_end: "a".into(), ..all() },
        RangeRequest { key: "\0".into(), range_end: "\0".into(), limit: 30, ..all() },
    ] {
        let chunks = chunks(&node, &request).await;
        assert_eq!(merged(&chunks), node.range(request.clone()).await, "{request:?}");
    }
    let exact = RangeRequest { range_end: "k00030".into(), ..all() };
    assert_eq!(sizes(&chunks(&node, &exact).await), [10, 20], "no empty chunk at the end");
}

#[tokio::test]
async fn counts_and_empty_ranges_are_one_chunk() {
    if only_ours("RS-7") {
        return;
    }
    let node = filled(40, 1).await;
    for (request, count) in [
        (RangeRequest { count_only: true, limit: 5, ..all() }, 40),
        (RangeRequest { key: "x".into(), range_end: "y".into(), ..all() }, 0),
    ] {
        let chunks = chunks(&node, &request).await;
        assert_eq!(chunks.len(), 1);
        assert_eq!((chunks[0].count, chunks[0].more, chunks[0].kvs.len()), (count, false, 0));
        assert!(chunks[0].header.is_some());
    }
}

#[tokio::test]
async fn chunks_of_large_pairs_stay_small() {
    if only_ours("RS-4") {
        return;
    }
    let node = filled(30, 100_000).await;
    assert_eq!(sizes(&chunks(&node, &all()).await), [10, 10, 10]);
    let node = filled(20, 400_000).await;
    assert_eq!(sizes(&chunks(&node, &all()).await), [10, 5, 5]);
}

/// Reads one chunk, lets `meanwhile` run while the member cannot send on, then reads the rest.
async fn interrupted(
    node: &Node,
    meanwhile: impl AsyncFnOnce(),
) -> Result<Vec<RangeResponse>, Status> {
    let kv = KvClient::new(node.narrow_channel().await);
    let mut kv = kv.max_decoding_message_size(usize::MAX);
    let mut stream = kv.range_stream(all()).await?.into_inner();
    let mut chunks = vec![];
    let first = within("the first chunk", stream.message()).await?;
    chunks.extend(first.and_then(|chunk| chunk.range_response));
    meanwhile().await;
    while let Some(chunk) = within("a chunk", stream.message()).await? {
        chunks.extend(chunk.range_response);
    }
    Ok(chunks)
}

#[tokio::test]
async fn a_stream_keeps_to_the_revision_it_began_at() {
    if only_ours("RS-5") {
        return;
    }
    let node = filled(100, 100_000).await;
    let before = node.range(all()).await;
    let chunks = interrupted(&node, async || {
        node.put("k00099", "overwritten").await;
        node.put("k00100", "new").await;
        node.delete("k00098").await;
    });
    assert_eq!(merged(&chunks.await.expect("all chunks")), before);
}

#[tokio::test]
async fn a_stream_ends_when_its_revision_is_compacted() {
    if only_ours("RS-5") {
        return;
    }
    let node = filled(100, 100_000).await;
    let chunks = interrupted(&node, async || {
        let revision = node.put("k00099", "overwritten").await;
        node.compact(revision).await;
    });
    let ended = chunks.await.expect_err("the revision is gone");
    assert_eq!(ended.code(), Code::OutOfRange);
    assert_eq!(ended.message(), "etcdserver: mvcc: required revision has been compacted");
}
