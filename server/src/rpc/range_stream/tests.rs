use std::sync::atomic::Ordering::SeqCst;

use tokio_stream::StreamExt;

use super::*;
use crate::rpc::RpcError;
use crate::rpc::tests::Fake;

/// A store of `count` pairs with values of this length.
fn store(count: usize, value_len: usize) -> Arc<Fake> {
    let fake = Fake::new();
    for n in 0..count {
        fake.write(format!("k{n:04}"), vec![b'v'; value_len]);
    }
    fake
}

fn all() -> RangeRequest {
    RangeRequest { key: "k".into(), range_end: "l".into(), ..RangeRequest::default() }
}

const REQUEST_BYTES_MAX: usize = 100_000;

async fn chunks(fake: &Arc<Fake>, request: RangeRequest) -> Vec<RangeResponse> {
    RangeChunks::new(fake.clone(), request, REQUEST_BYTES_MAX)
        .map(|chunk| chunk.expect("no error").range_response.expect("present"))
        .collect()
        .await
}

fn sizes(chunks: &[RangeResponse]) -> Vec<usize> {
    chunks.iter().map(|chunk| chunk.kvs.len()).collect()
}

#[tokio::test]
async fn small_chunks_grow() {
    let parts = chunks(&store(200, 10), all()).await;
    assert_eq!(sizes(&parts), [10, 20, 40, 80, 50]);
    let (last, rest) = parts.split_last().expect("some");
    assert!(rest.iter().all(|part| part.header.is_none() && !part.more && part.count == 0));
    assert_eq!((last.count, last.more), (200, false));
    assert_eq!(last.header.expect("on the last").revision, 201);
}

#[tokio::test]
async fn large_chunks_shrink() {
    // 10 x 6,250 bytes stay as they are; 10 x 25,000 are too many, 5 x 25,000 are not.
    assert_eq!(sizes(&chunks(&store(30, 6_250), all()).await), [10, 10, 10]);
    assert_eq!(sizes(&chunks(&store(25, 25_000), all()).await), [10, 5, 5, 5]);
}

#[tokio::test]
async fn a_chunk_that_ends_at_the_last_key_is_the_last() {
    assert_eq!(sizes(&chunks(&store(30, 10), all()).await), [10, 20]);
}

#[tokio::test]
async fn limits_cut_the_stream_and_count_the_rest() {
    let fake = store(200, 10);
    for (limit, expected, more) in [
        (35, vec![10, 20, 5], true),
        (30, vec![10, 20], true),
        (500, vec![10, 20, 40, 80, 50], false),
    ] {
        let parts = chunks(&fake, RangeRequest { limit, ..all() }).await;
        assert_eq!(sizes(&parts), expected);
        let last = parts.last().expect("some");
        assert_eq!((last.more, last.count), (more, 200));
    }
    assert_eq!(sizes(&chunks(&fake, RangeRequest { limit: -1, ..all() }).await).len(), 5);
}

#[tokio::test]
async fn counts_and_empty_ranges_are_one_message() {
    let fake = store(30, 10);
    let counted = chunks(&fake, RangeRequest { count_only: true, limit: 5, ..all() }).await;
    assert_eq!(sizes(&counted), [0]);
    assert_eq!((counted[0].count, counted[0].more), (30, false));
    let empty =
        chunks(&fake, RangeRequest { key: "x".into(), range_end: "y".into(), ..all() }).await;
    assert_eq!(sizes(&empty), [0]);
    assert!(empty[0].header.is_some() && empty[0].count == 0);
}

#[tokio::test]
async fn later_writes_stay_invisible() {
    let fake = store(30, 10);
    let mut stream = RangeChunks::new(fake.clone(), all(), REQUEST_BYTES_MAX);
    stream.next().await.expect("a chunk").expect("no error");
    fake.write("k9999", "late");
    let last = stream.next().await.expect("a chunk").expect("no error");
    let last = last.range_response.expect("present");
    assert_eq!((last.kvs.len(), last.count), (20, 30));
    assert_eq!(last.header.expect("on the last").revision, 31);
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_compaction_under_way_ends_the_stream() {
    let fake = store(30, 10);
    let mut stream = RangeChunks::new(fake.clone(), all(), REQUEST_BYTES_MAX);
    stream.next().await.expect("a chunk").expect("no error");
    fake.write("x", "");
    fake.compacted.store(32, SeqCst);
    let ended = stream.next().await.expect("an end").expect_err("compacted");
    assert_eq!(ended.message(), RpcError::Compacted.text());
    assert!(stream.next().await.is_none());
}
