//! Too much of what is allowed.

use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, PutRequest, WatchCancelRequest, WatchCreateRequest,
    WatchProgressRequest, WatchRequest,
};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::resources::{Usage, given_back};
use crate::node::{Node, only_ours, within};

/// Watchers on one stream. Their registrations are small, but there is one for each.
const WATCHERS: i64 = 100_000;

fn create(key: String) -> WatchRequest {
    let create = WatchCreateRequest { key: key.into(), ..WatchCreateRequest::default() };
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// The rest of a stream of requests: nothing, for as long as the sender is kept. (A client that
/// merely forgets the answers of a stream it still could write to does not end the stream.)
fn still_open() -> (mpsc::Sender<WatchRequest>, ReceiverStream<WatchRequest>) {
    let (requests, rest) = mpsc::channel(1);
    (requests, ReceiverStream::new(rest))
}

#[tokio::test]
async fn a_stream_with_very_many_watchers_hurts_nobody_else() {
    let node = Node::start().await;
    node.assert_serves().await;
    let creates = tokio_stream::iter((0..WATCHERS).map(|n| create(format!("key-{n}"))));
    let mut watch = WatchClient::new(node.new_channel().await);
    let (requests, rest) = still_open();
    let mut answers = watch.watch(creates.chain(rest)).await.expect("a stream").into_inner();
    for n in 0..WATCHERS {
        let answer = within("created", answers.message()).await.expect("open").expect("an answer");
        assert_eq!((answer.created, answer.canceled, answer.watch_id), (true, false, n));
    }
    // Others are served as ever, and one watcher of so many is found at once.
    for n in 0..50 {
        let revision = node.put(format!("key-{}", n * 2000), "v").await;
        let event = within("an event", answers.message()).await.expect("open").expect("an event");
        assert_eq!((event.watch_id, event.events.len()), (n * 2000, 1));
        assert_eq!(event.header.expect("a header").revision, revision);
    }
    node.put("nobody", "v").await;
    drop((watch, requests, answers));
    let mut watchers = String::new();
    crate::node::until("the watchers are gone", || {
        let (_, page) = node.server().http_get("/metrics").expect("an answer");
        let line = page.lines().find(|it| it.starts_with("etcd_debugging_mvcc_watcher_total"));
        watchers = line.expect("the metric").to_owned();
        let gone = watchers.ends_with(" 0").then_some(());
        async move { gone }
    })
    .await;
    node.assert_serves().await;
}

#[tokio::test]
async fn pointless_watch_requests_are_taken_in_stride() {
    if only_ours("silence about progress of no watcher") {
        return;
    }
    let node = Node::start().await;
    let requests = (0..20_000_i64).map(|n| WatchRequest {
        request_union: match n % 3 {
            0 => Some(RequestUnion::CancelRequest(WatchCancelRequest { watch_id: n })),
            1 => Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
            _ => None,
        },
    });
    let requests = tokio_stream::iter(requests.chain([create("k".to_owned())]));
    let mut watch = WatchClient::new(node.channel());
    let (_open, rest) = still_open();
    let mut answers = watch.watch(requests.chain(rest)).await.expect("a stream").into_inner();
    let answer = within("created", answers.message()).await.expect("open").expect("an answer");
    assert!(answer.created && !answer.canceled, "nothing else is answered: {answer:?}");
    node.put("k", "v").await;
    let event = within("an event", answers.message()).await.expect("open").expect("an event");
    assert_eq!(event.events.len(), 1);
}

#[tokio::test]
async fn ten_thousand_renewals_of_nothing_are_answered_with_nothing() {
    let node = Node::start().await;
    let requests = tokio_stream::iter((1..=10_000).map(|id| LeaseKeepAliveRequest { id }));
    let opened = node.lease().lease_keep_alive(requests).await;
    let mut answers = opened.expect("a stream").into_inner();
    for id in 1..=10_000 {
        let answer = within("an answer", answers.message()).await.expect("open").expect("one each");
        assert_eq!((answer.id, answer.ttl), (id, 0));
    }
    assert!(within("the end", answers.message()).await.expect("status OK").is_none());
}

#[tokio::test]
async fn streams_left_unread_give_everything_back() {
    let node = Node::start().await;
    let value = bytes::Bytes::from(vec![b'v'; 100_000]);
    let round = async || {
        let mut unread = vec![];
        for _ in 0..50 {
            let everything = WatchCreateRequest {
                key: "\0".into(),
                range_end: "\0".into(),
                start_revision: 1,
                ..WatchCreateRequest::default()
            };
            let union = Some(RequestUnion::CreateRequest(everything));
            let request = tokio_stream::once(WatchRequest { request_union: union });
            let mut watch = WatchClient::new(node.narrow_channel().await);
            let (requests, rest) = still_open();
            unread.push((requests, watch.watch(request.chain(rest)).await.expect("a stream")));
        }
        for _ in 0..60 {
            let (key, value) = ("big".into(), value.clone());
            let put = PutRequest { key, value, ..PutRequest::default() };
            node.kv().put(put).await.expect("a put");
        }
        // Fifty readers of megabytes each, none of which reads; writers do not wait for them.
        node.assert_serves().await;
    };
    round().await;
    node.compact(node.revision().await).await;
    let before = Usage::of(&node);
    for _ in 0..2 {
        round().await;
        node.compact(node.revision().await).await;
    }
    given_back(&node, &before).await;
    node.assert_serves().await;
}
