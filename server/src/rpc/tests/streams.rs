use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::healthpb::{HealthCheckRequest, HealthListRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Streaming};

use super::*;
use crate::rpc::node::TimeToLive;

/// Long enough for a loaded machine; never waited for when all is well.
const PATIENCE: Duration = Duration::from_secs(20);

async fn next<T>(answers: &mut Streaming<T>) -> T {
    let answer = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
    answer.expect("no error").expect("not ended")
}

struct Watch {
    ask: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Watch {
    async fn open(served: &Served) -> Self {
        let (ask, asked) = mpsc::channel(16);
        let answers = served.client.watch().watch(ReceiverStream::new(asked)).await;
        Self { ask, answers: answers.expect("opened").into_inner() }
    }

    async fn send(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.ask.send(request).await.expect("taken");
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.send(RequestUnion::CreateRequest(create)).await;
        next(&mut self.answers).await
    }
}

fn on(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.to_owned().into(), ..Default::default() }
}

#[tokio::test]
async fn watchers_are_created_fed_and_cancelled() {
    let served = serve().await;
    let mut watch = Watch::open(&served).await;
    let created = watch.create(on("k")).await;
    assert!(created.created && !created.canceled && created.events.is_empty());
    assert_eq!((created.watch_id, created.header), (0, full_header(1)));

    let revision = served.fake.write("k", "v");
    let told = next(&mut watch.answers).await;
    assert_eq!((told.watch_id, told.header), (0, full_header(revision)));
    let kv = told.events[0].kv.clone().expect("a pair");
    assert_eq!((&kv.key[..], &kv.value[..], kv.mod_revision), (&b"k"[..], &b"v"[..], revision));

    let cancel = |watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id });
    watch.send(cancel(77)).await;
    watch.send(cancel(0)).await;
    let gone = next(&mut watch.answers).await;
    assert!(gone.canceled && !gone.created && gone.cancel_reason.is_empty());
    assert_eq!((gone.watch_id, gone.header), (0, full_header(revision)));
}

#[tokio::test]
async fn impossible_watchers_are_refused_and_the_stream_goes_on() {
    let served = serve().await;
    let mut watch = Watch::open(&served).await;
    watch.create(pb::WatchCreateRequest { watch_id: 5, ..on("k") }).await;
    for (create, reason) in [
        (
            pb::WatchCreateRequest { watch_id: 5, ..on("k") },
            "mvcc: duplicate watch ID provided on the WatchStream",
        ),
        (
            pb::WatchCreateRequest { range_end: "a".into(), ..on("k") },
            "mvcc: watcher range is empty",
        ),
        (
            pb::WatchCreateRequest { start_revision: -1, ..on("k") },
            "etcdserver: mvcc: required revision has been compacted",
        ),
    ] {
        let refused = watch.create(create).await;
        assert!(refused.created && refused.canceled);
        assert_eq!((refused.watch_id, refused.compact_revision), (-1, 0));
        assert_eq!(refused.cancel_reason, reason);
    }
    assert_eq!(watch.create(on("k")).await.watch_id, 0);
}

#[tokio::test]
async fn progress_is_told_when_asked_and_when_quiet() {
    let served = serve().await;
    let mut watch = Watch::open(&served).await;
    watch.create(on("k")).await;
    watch.send(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let told = next(&mut watch.answers).await;
    assert_eq!((told.watch_id, told.header), (-1, full_header(1)));
    let quiet = pb::WatchCreateRequest { progress_notify: true, watch_id: 9, ..on("q") };
    watch.create(quiet).await;
    let told = next(&mut watch.answers).await;
    assert!(told.events.is_empty() && !told.created);
    assert_eq!((told.watch_id, told.header), (9, full_header(1)));
}

#[tokio::test]
async fn a_half_closed_stream_goes_on() {
    let served = serve().await;
    let mut watch = Watch::open(&served).await;
    watch.create(on("k")).await;
    let Watch { ask, mut answers } = watch;
    drop(ask);
    for _ in 0..3 {
        served.fake.write("k", "v");
        assert_eq!(next(&mut answers).await.events.len(), 1);
    }
}

#[tokio::test]
async fn large_answers_are_split_for_those_who_asked() {
    let served = serve().await;
    let mut split = Watch::open(&served).await;
    let mut whole = Watch::open(&served).await;
    split.create(pb::WatchCreateRequest { fragment: true, ..all() }).await;
    whole.create(all()).await;
    let value = Bytes::from(vec![b'v'; SETTINGS.message_bytes_max() / 4]);
    let puts = (0..10).map(|n| (Bytes::from(format!("k{n}")), value.clone())).collect();
    let revision = served.fake.publish_puts(puts);
    let mut events = vec![];
    loop {
        let part = next(&mut split.answers).await;
        assert_eq!((part.watch_id, part.header), (0, full_header(revision)));
        let last = !part.fragment;
        assert_eq!(part.events.len(), if last { 1 } else { 3 });
        events.extend(part.events);
        if last {
            break;
        }
    }
    let all = next(&mut whole.answers).await;
    assert!(!all.fragment);
    assert_eq!(events, all.events);
}

fn all() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: Bytes::from_static(b"\0"), ..on("\0") }
}

#[tokio::test]
async fn streams_that_want_a_leader_end_without_one() {
    let served = serve().await;
    let (_ask, asked) = mpsc::channel(1);
    let mut request = Request::new(ReceiverStream::new(asked));
    request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
    let mut answers = served.client.watch().watch(request).await.expect("opened").into_inner();
    let mut other = Watch::open(&served).await;
    other.create(on("k")).await;
    served.fake.leader.store(0, SeqCst);
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
    assert_eq!(refusal(ended), words(Code::Unavailable, "etcdserver: no leader"));
    served.fake.write("k", "v");
    assert_eq!(next(&mut other.answers).await.events.len(), 1);
}

#[tokio::test]
async fn a_failed_renewal_ends_its_stream_alone() {
    let served = serve().await;
    let (ask, asked) = mpsc::channel(1);
    let mut other = Watch::open(&served).await;
    other.create(on("k")).await;
    let mut lease = served.client.lease();
    let mut answers =
        lease.lease_keep_alive(ReceiverStream::new(asked)).await.expect("opened").into_inner();
    served.fake.leader.store(0, SeqCst);
    ask.send(pb::LeaseKeepAliveRequest { id: 1 }).await.expect("taken");
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
    assert_eq!(refusal(ended), words(Code::Unavailable, "etcdserver: no leader"));
    served.fake.write("k", "v");
    assert_eq!(next(&mut other.answers).await.events.len(), 1);
}

#[tokio::test]
async fn keep_alives_are_answered_one_by_one_until_half_closed() {
    let served = serve().await;
    served.fake.leases.lock().insert(5, TimeToLive { granted_s: 60, ..Default::default() });
    let (ask, asked) = mpsc::channel(4);
    let mut lease = served.client.lease();
    let mut answers =
        lease.lease_keep_alive(ReceiverStream::new(asked)).await.expect("opened").into_inner();
    for (id, ttl) in [(5, 60), (6, 0), (5, 60)] {
        ask.send(pb::LeaseKeepAliveRequest { id }).await.expect("taken");
        let answer = next(&mut answers).await;
        assert_eq!((answer.id, answer.ttl, answer.header), (id, ttl, full_header(1)));
    }
    drop(ask);
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
    assert_eq!(ended.expect("ended well"), None);
}

#[tokio::test]
async fn requests_that_cannot_be_received_are_counted() {
    let served = serve().await;
    let mut watch = Watch::open(&served).await;
    let key = vec![b'k'; SETTINGS.message_bytes_max()];
    let create = pb::WatchCreateRequest { key: key.into(), ..Default::default() };
    watch.send(RequestUnion::CreateRequest(create)).await;
    let ended = tokio::time::timeout(PATIENCE, watch.answers.message()).await.expect("in time");
    assert_eq!(ended.expect_err("too large").code(), Code::ResourceExhausted);
    assert_eq!(served.metrics.watch_receive_failures.get(), 1);
}

#[tokio::test]
async fn idle_keep_alives_end_with_the_member() {
    let served = serve().await;
    let (_ask, asked) = mpsc::channel(1);
    let mut lease = served.client.lease();
    let mut answers =
        lease.lease_keep_alive(ReceiverStream::new(asked)).await.expect("opened").into_inner();
    served.fake.closing.close();
    let ended = tokio::time::timeout(PATIENCE, answers.message()).await.expect("in time");
    assert_eq!(refusal(ended), words(Code::Unavailable, "etcdserver: server stopped"));
}

#[tokio::test]
async fn range_streams_make_up_the_whole_range() {
    let served = serve().await;
    for n in 0..25 {
        served.fake.write(format!("k{n:02}"), "v");
    }
    let request = pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() };
    let mut kv = served.client.kv();
    let mut chunks = kv.range_stream(request.clone()).await.expect("opened").into_inner();
    let mut whole = pb::RangeResponse::default();
    while let Some(chunk) = chunks.message().await.expect("no error") {
        let chunk = chunk.range_response.expect("present");
        whole.kvs.extend(chunk.kvs);
        whole.header = chunk.header;
        whole.count = chunk.count;
        whole.more = chunk.more;
    }
    assert_eq!(whole, kv.range(request).await.expect("answered").into_inner());
}

#[tokio::test]
async fn health_is_known_by_the_empty_name() {
    let served = serve().await;
    let mut health = served.client.health();
    let known = HealthCheckRequest::default();
    let unknown = HealthCheckRequest { service: "etcd".into() };
    assert_eq!(health.check(known.clone()).await.expect("answered").into_inner().status, 1);
    let refused = health.check(unknown.clone()).await;
    assert_eq!(refusal(refused), words(Code::NotFound, "unknown service"));
    let list = health.list(HealthListRequest {}).await.expect("answered").into_inner();
    assert_eq!(list.statuses.keys().collect::<Vec<_>>(), [""]);

    let mut changes = health.watch(known).await.expect("opened").into_inner();
    assert_eq!(next(&mut changes).await.status, 1);
    let mut nobody = health.watch(unknown).await.expect("opened").into_inner();
    assert_eq!(next(&mut nobody).await.status, 3);
    served.fake.closing.close();
    for mut stream in [changes, nobody] {
        let ended = tokio::time::timeout(PATIENCE, stream.message()).await.expect("in time");
        assert_eq!(refusal(ended), words(Code::Unavailable, "etcdserver: server stopped"));
    }
    let known = HealthCheckRequest::default();
    assert_eq!(health.check(known).await.expect("answered").into_inner().status, 2);
}
