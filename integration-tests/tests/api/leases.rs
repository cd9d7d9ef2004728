//! Leases: ids, attached keys, renewal, expiry in time, and what a crash leaves of them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
    PutRequest, WatchCreateRequest, WatchRequest,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::node::{Late, Node, only_ours, put_op, until, within};

/// Smallest TTL in seconds: one and a half election timeouts, rounded up.
const TTL_MIN_S: i64 = 2;
/// How late an expiry may be: the leader looks every half second, then the deletion is a write,
/// on a machine that may be busy.
const EXPIRY_LATE: Duration = Duration::from_secs(10);
/// What a new leader adds to every TTL: an election timeout.
const PROMOTION_EXTRA: Duration = Duration::from_secs(1);

impl Node {
    async fn grant(&self, id: i64, ttl: i64) -> LeaseGrantResponse {
        let request = LeaseGrantRequest { id, ttl };
        self.lease().lease_grant(request).await.expect("a lease").into_inner()
    }

    /// Revokes a lease and gives the revision.
    async fn revoke(&self, id: i64) -> i64 {
        let request = LeaseRevokeRequest { id };
        let answer = self.lease().lease_revoke(request).await.expect("revoked").into_inner();
        answer.header.expect("a header").revision
    }

    async fn time_to_live(&self, id: i64) -> LeaseTimeToLiveResponse {
        let request = LeaseTimeToLiveRequest { id, keys: true };
        self.lease().lease_time_to_live(request).await.expect("an answer").into_inner()
    }

    /// Keys attached to a lease.
    async fn attached(&self, id: i64) -> BTreeSet<Bytes> {
        self.time_to_live(id).await.keys.into_iter().collect()
    }

    async fn leases(&self) -> Vec<i64> {
        let answer = self.lease().lease_leases(LeaseLeasesRequest {}).await.expect("an answer");
        answer.into_inner().leases.into_iter().map(|lease| lease.id).collect()
    }
}

/// A keep-alive stream.
struct KeepAlive {
    requests: mpsc::Sender<LeaseKeepAliveRequest>,
    answers: Late<LeaseKeepAliveResponse>,
}

impl KeepAlive {
    async fn open(node: &Node) -> Self {
        let (requests, received) = mpsc::channel(1024);
        let mut client = node.lease();
        let received = ReceiverStream::new(received);
        let answers = Late::open(async move { client.lease_keep_alive(received).await });
        Self { requests, answers }
    }

    /// Renews and gives the TTL that was answered.
    async fn renew(&mut self, id: i64) -> i64 {
        self.requests.send(LeaseKeepAliveRequest { id }).await.expect("the stream is open");
        let answer = within("a renewal", self.answers.next()).await.expect("open");
        let answer = answer.expect("an answer");
        assert_eq!(answer.id, id);
        answer.ttl
    }
}

fn keys(names: &[&'static str]) -> BTreeSet<Bytes> {
    names.iter().map(|name| Bytes::from_static(name.as_bytes())).collect()
}

#[tokio::test]
async fn any_id_but_zero_is_taken_as_it_is() {
    let node = Node::start().await;
    let mut chosen = BTreeSet::new();
    for _ in 0..20 {
        let granted = node.grant(0, 60).await;
        assert!(granted.id > 0, "a positive id: {}", granted.id);
        assert_eq!((granted.ttl, granted.error.as_str()), (60, ""));
        assert_eq!(granted.header.expect("a header").revision, 1, "no revision is made");
        assert!(chosen.insert(granted.id), "{} twice", granted.id);
    }
    for id in [1, -1, i64::MAX, i64::MIN] {
        assert_eq!(node.grant(id, 60).await.id, id);
        let again = node.lease().lease_grant(LeaseGrantRequest { id, ttl: 60 }).await;
        assert_eq!(again.expect_err("in use").code(), Code::FailedPrecondition, "{id}");
        chosen.insert(id);
    }
    assert_eq!(node.leases().await.into_iter().collect::<BTreeSet<_>>(), chosen);
    node.revoke(-1).await;
    assert_eq!(node.grant(-1, 60).await.id, -1, "free again");
}

#[tokio::test]
async fn short_ttls_are_raised_and_the_longest_is_allowed() {
    let node = Node::start().await;
    for (asked, granted) in [
        (0, TTL_MIN_S),
        (-1, TTL_MIN_S),
        (i64::MIN, TTL_MIN_S),
        (1, TTL_MIN_S),
        (2, 2),
        (3, 3),
        (9_000_000_000, 9_000_000_000),
    ] {
        let answer = node.grant(0, asked).await;
        assert_eq!(answer.ttl, granted, "asked for {asked}");
        let told = node.time_to_live(answer.id).await;
        assert_eq!(told.granted_ttl, granted, "asked for {asked}");
        assert!(told.ttl < granted && told.ttl >= granted - 2, "rounded down: {told:?}");
    }
}

#[tokio::test]
async fn a_revoke_deletes_all_its_keys_in_one_revision() {
    let node = Node::start().await;
    node.grant(7, 60).await;
    assert_eq!(node.revoke(7).await, 1, "no keys, no revision");
    node.grant(7, 60).await;
    for key in ["c", "a", "b"] {
        node.put_leased(key, 7).await;
    }
    node.put("d", "stays").await;
    let mut events = watch(&node, "a").await;
    assert_eq!(node.revoke(7).await, 6);
    let response = within("the events", events.message()).await.expect("open").expect("events");
    let deleted = response.events.iter().map(|event| {
        let kv = event.kv.as_ref().expect("a pair");
        (event.r#type, kv.key.clone(), kv.mod_revision, kv.lease)
    });
    let want = ["a", "b", "c"].map(|key| (1, Bytes::from_static(key.as_bytes()), 6, 0));
    assert!(deleted.eq(want), "{response:?}");
    assert!(node.get("a").await.is_none());
    assert!(node.get("d").await.is_some());
    assert_eq!(node.leases().await, [0; 0]);
    assert_eq!(node.time_to_live(7).await.ttl, -1);
}

/// Events of all keys from `key` on, once the watcher is there.
async fn watch(node: &Node, key: &'static str) -> Streaming<proto::etcdserverpb::WatchResponse> {
    let create = WatchCreateRequest {
        key: key.into(),
        range_end: "\0".into(),
        ..WatchCreateRequest::default()
    };
    let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let mut client = WatchClient::new(node.channel());
    // The stream outlives what the client has to ask.
    let opened = client.watch(tokio_stream::once(request)).await;
    let mut answers = opened.expect("a stream").into_inner();
    let created = within("created", answers.message()).await.expect("open").expect("an answer");
    assert!(created.created && !created.canceled);
    answers
}

#[tokio::test]
async fn a_key_belongs_to_the_lease_of_its_last_put() {
    let node = Node::start().await;
    node.grant(1, 60).await;
    node.grant(2, 60).await;
    for key in ["moves", "leaves", "goes", "kept", "txn"] {
        node.put_leased(key, 1).await;
    }
    node.put_leased("moves", 2).await;
    node.put("leaves", "without").await;
    node.delete("goes").await;
    let kept = PutRequest {
        key: "kept".into(),
        value: "new".into(),
        ignore_lease: true,
        ..PutRequest::default()
    };
    node.kv().put(kept).await.expect("a put");
    node.txn(vec![put_op("txn", "without")]).await;
    assert_eq!(node.attached(1).await, keys(&["kept"]));
    assert_eq!(node.attached(2).await, keys(&["moves"]));
    assert_eq!(node.get("kept").await.expect("a pair").lease, 1);
    assert_eq!(node.get("moves").await.expect("a pair").lease, 2);
    assert_eq!(node.get("leaves").await.expect("a pair").lease, 0);
    node.revoke(1).await;
    assert!(node.get("kept").await.is_none());
    for key in ["moves", "leaves", "txn"] {
        assert!(node.get(key).await.is_some(), "{key}");
    }
}

#[tokio::test]
async fn unknown_leases_have_no_time_and_are_no_error() {
    let node = Node::start().await;
    let told = node.time_to_live(404).await;
    assert_eq!((told.id, told.ttl, told.granted_ttl, told.keys.len()), (404, -1, 0, 0));
    let mut alive = KeepAlive::open(&node).await;
    assert_eq!(alive.renew(404).await, 0);
    node.grant(5, 60).await;
    assert_eq!(alive.renew(5).await, 60, "the stream goes on");
    node.revoke(5).await;
    assert_eq!(alive.renew(5).await, 0);
    assert_eq!(alive.renew(0).await, 0);
    let KeepAlive { requests, mut answers } = alive;
    drop(requests);
    let end = within("the end", answers.next()).await;
    assert!(end.expect("status OK").is_none(), "the stream ends with the client's side");
}

#[tokio::test]
async fn renewals_are_answered_in_order_of_their_requests() {
    let node = Node::start().await;
    for id in 1..=50 {
        node.grant(id, 100 + id).await;
    }
    let alive = KeepAlive::open(&node).await;
    let ids: Vec<i64> = (0..1000).map(|n| n % 70 + 1).collect();
    let KeepAlive { requests, mut answers } = alive;
    let sends = async {
        for id in ids.clone() {
            requests.send(LeaseKeepAliveRequest { id }).await.expect("the stream is open");
        }
    };
    let receives = async {
        for id in ids.clone() {
            let answer = within("a renewal", answers.next()).await.expect("open");
            let answer = answer.expect("an answer");
            let ttl = if id <= 50 { 100 + id } else { 0 };
            assert_eq!((answer.id, answer.ttl), (id, ttl));
            assert_eq!(answer.header.expect("a header").revision, 1);
        }
    };
    tokio::join!(sends, receives);
}

#[tokio::test]
async fn leases_are_listed_by_the_time_they_have_left() {
    if only_ours("LE-10") {
        return;
    }
    let node = Node::start().await;
    for (id, ttl) in [(1, 300), (2, 100), (3, 200), (4, 50)] {
        node.grant(id, ttl).await;
    }
    assert_eq!(node.leases().await, [4, 2, 3, 1]);
    let mut alive = KeepAlive::open(&node).await;
    let left = node.time_to_live(1).await.ttl;
    assert!((298..=299).contains(&left), "whole seconds, rounded down: {left}");
    assert_eq!(alive.renew(1).await, 300);
}

/// Waits until a key is gone, and gives the moment.
async fn gone(node: &Node, key: &'static str) -> Instant {
    until("the key expires", || async { node.get(key).await.is_none().then_some(Instant::now()) })
        .await
}

#[tokio::test]
async fn a_lease_expires_in_time_with_all_its_keys() {
    let node = Node::start().await;
    let mut events = watch(&node, "a").await;
    let begin = Instant::now();
    node.grant(7, 4).await;
    for key in ["b", "a", "c"] {
        node.put_leased(key, 7).await;
        within("the put", events.message()).await.expect("open").expect("an event");
    }
    let response = within("the expiry", events.message()).await.expect("open").expect("events");
    let took = begin.elapsed();
    let ttl = Duration::from_secs(4);
    assert!(took >= ttl && took < ttl + EXPIRY_LATE, "expired after {took:?}");
    let deleted: Vec<_> = response
        .events
        .iter()
        .map(|event| {
            let kv = event.kv.as_ref().expect("a pair");
            (event.r#type, kv.key.clone(), kv.mod_revision, kv.version)
        })
        .collect();
    assert_eq!(deleted, ["a", "b", "c"].map(|key| (1, Bytes::from_static(key.as_bytes()), 5, 0)));
    assert_eq!(node.time_to_live(7).await.ttl, -1);
    assert_eq!(node.leases().await, [0; 0]);
}

#[tokio::test]
async fn a_lease_lives_while_it_is_renewed() {
    let node = Node::start().await;
    let begin = Instant::now();
    node.grant(7, TTL_MIN_S).await;
    node.grant(8, TTL_MIN_S).await;
    node.put_leased("renewed", 7).await;
    node.put_leased("left", 8).await;
    let mut alive = KeepAlive::open(&node).await;
    let mut renewed = Instant::now();
    while begin.elapsed() < Duration::from_secs(4) {
        renewed = Instant::now();
        assert_eq!(alive.renew(7).await, TTL_MIN_S);
        assert!(node.get("renewed").await.is_some(), "after {:?}", begin.elapsed());
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let took = gone(&node, "renewed").await - renewed;
    let ttl = Duration::from_secs(2);
    assert!(took >= ttl && took < ttl + EXPIRY_LATE, "expired {took:?} after the last renewal");
    assert!(node.get("left").await.is_none());
    assert_eq!(alive.renew(7).await, 0);
}

#[tokio::test]
async fn leases_and_their_keys_survive_a_crash_with_their_whole_ttl() {
    let node = Node::start().await;
    node.grant(7, 5).await;
    node.grant(8, 600).await;
    node.grant(9, 600).await;
    for (key, lease) in [("a", 7), ("b", 8), ("c", 8), ("d", 9)] {
        node.put_leased(key, lease).await;
    }
    node.revoke(9).await;
    node.put("c", "detached").await;
    let stopped = Instant::now();
    let node = node.restart_after_kill().await;
    let led = Instant::now();
    assert_eq!(node.leases().await, [7, 8]);
    assert_eq!(node.attached(7).await, keys(&["a"]));
    assert_eq!(node.attached(8).await, keys(&["b"]));
    assert!(node.get("d").await.is_none(), "revoked stays revoked");
    let told = node.time_to_live(8).await;
    assert_eq!(told.granted_ttl, 600);
    assert!(told.ttl >= 599, "the whole TTL again: {}", told.ttl);
    let expired = gone(&node, "a").await;
    assert!(expired - stopped >= Duration::from_secs(5), "not before its TTL after the outage");
    let latest = Duration::from_secs(5) + PROMOTION_EXTRA + EXPIRY_LATE;
    assert!(expired - led < latest, "{:?} after the restart", expired - led);
    assert!(node.get("b").await.is_some());
    node.revoke(8).await;
    assert!(node.get("b").await.is_none());
    assert!(node.get("c").await.is_some());
}

#[tokio::test]
async fn a_renewal_that_comes_too_late_waits_for_the_end() {
    let node = Node::start().await;
    node.grant(7, TTL_MIN_S).await;
    let granted = Instant::now();
    node.put_leased("a", 7).await;
    let mut alive = KeepAlive::open(&node).await;
    // The lease has just expired; its revocation is looked for twice a second.
    tokio::time::sleep_until((granted + Duration::from_millis(2050)).into()).await;
    assert_eq!(alive.renew(7).await, 0);
    assert!(node.get("a").await.is_none(), "the answer comes after the deletion");
    assert_eq!(alive.renew(7).await, 0);
}

#[tokio::test]
async fn a_put_amid_a_revocation_is_refused_or_deleted() {
    let node = Node::start().await;
    for id in 1..=40 {
        node.grant(id, 60).await;
        let puts = (0..8).map(|n| {
            let mut kv = node.kv();
            async move {
                let key = format!("k{id}-{n}").into();
                kv.put(PutRequest { key, lease: id, ..PutRequest::default() }).await
            }
        });
        let mut tasks = tokio::task::JoinSet::new();
        puts.for_each(|put| drop(tasks.spawn(put)));
        node.revoke(id).await;
        for put in within("all puts", tasks.join_all()).await {
            let refused = put.err().map(|status| status.code());
            assert!(refused.is_none_or(|code| code == Code::NotFound), "{refused:?}");
        }
    }
    assert_eq!(node.get_count("k").await, 0, "nothing hangs on a lease that is gone");
}

#[tokio::test]
async fn without_space_leases_can_be_kept_and_ended_but_not_begun() {
    let node = Node::start().await;
    node.grant(7, 60).await;
    node.put_leased("a", 7).await;
    node.alarm(1, 1, 1).await;
    let refused = node.lease().lease_grant(LeaseGrantRequest { id: 8, ttl: 60 }).await;
    assert_eq!(refused.expect_err("no space").code(), Code::ResourceExhausted);
    assert_eq!(KeepAlive::open(&node).await.renew(7).await, 60);
    node.revoke(7).await;
    assert!(node.get("a").await.is_none());
}

#[tokio::test]
async fn many_leases_that_end_together_are_all_gone_soon() {
    let node = Node::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for worker in 0..16_i64 {
        let (mut lease, mut kv) = (node.lease(), node.kv());
        tasks.spawn(async move {
            for n in 0..50 {
                let id = 1000 + worker * 50 + n;
                lease.lease_grant(LeaseGrantRequest { id, ttl: 2 }).await.expect("a lease");
                let key = format!("k{id}").into();
                let put = PutRequest { key, lease: id, ..PutRequest::default() };
                kv.put(put).await.expect("a put");
            }
        });
    }
    within("all leases", tasks.join_all()).await;
    until("all keys expire", || async { node.get_count("k").await.eq(&0).then_some(()) }).await;
    assert_eq!(node.leases().await, [0; 0]);
}

impl Node {
    /// Keys from `key` on.
    async fn get_count(&self, key: &'static str) -> i64 {
        let request = proto::etcdserverpb::RangeRequest {
            key: key.into(),
            range_end: "\0".into(),
            count_only: true,
            ..Default::default()
        };
        self.range(request).await.count
    }
}
