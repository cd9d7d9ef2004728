//! What the server does by itself: leases end, the quota alarms, the log is trimmed, watches end.

use std::time::{Duration, Instant};

use client::{Client, Options};
use nix::sys::signal::Signal;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::watch_request::RequestUnion;
use tokio_stream::StreamExt as _;

use crate::server::{Flags, PATIENCE, Server};

fn client(server: &Server) -> Client {
    let address = server.flags.client.strip_prefix("http://").expect("a plain URL");
    Client::new(&[address], Options::default()).expect("a good endpoint")
}

fn put(key: &str, value: impl Into<bytes::Bytes>, lease: i64) -> pb::PutRequest {
    let key = bytes::Bytes::copy_from_slice(key.as_bytes());
    pb::PutRequest { key, value: value.into(), lease, ..Default::default() }
}

fn watch_of(key: &str) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: bytes::Bytes::copy_from_slice(key.as_bytes()),
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// Waits until `done` says so.
fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_lease_ends_after_its_time_and_takes_its_keys_along() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(dir.path(), &Flags::new(&dir.path().join("data")), |command| {
        // The shortest TTL is 1.5 election timeouts, rounded up.
        command.args(["--heartbeat-interval=10", "--election-timeout=100"]);
    });
    let client = client(&server);
    let mut watch = client.watch();
    let requests = tokio_stream::once(watch_of("k")).chain(tokio_stream::pending());
    let mut events = watch.watch(requests).await.expect("a stream").into_inner();
    assert!(events.message().await.expect("an answer").is_some_and(|r| r.created));
    let began = Instant::now();
    let grant = pb::LeaseGrantRequest { ttl: 3, ..Default::default() };
    let granted = client.lease().lease_grant(grant).await.expect("granted").into_inner();
    assert_eq!(granted.ttl, 3);
    client.kv().put(put("k", "v", granted.id)).await.expect("put");
    let first = events.message().await.expect("an answer").expect("an event");
    let second = events.message().await.expect("an answer").expect("an event");
    let took = began.elapsed();
    assert_eq!((first.events.len(), second.events.len()), (1, 1));
    assert_eq!(second.events[0].r#type(), proto::mvccpb::event::EventType::Delete);
    assert!(took >= Duration::from_secs(3), "it ended after {took:?}");
    let leases = client.lease().lease_leases(pb::LeaseLeasesRequest {}).await.expect("a list");
    assert!(leases.into_inner().leases.is_empty());
    // Counted when the revoke is answered, a moment after its events left.
    let expired = "\netcd_debugging_server_lease_expired_total 1\n";
    eventually("the lease is counted", || server.get("/metrics").contains(expired));
}

#[tokio::test]
async fn a_lease_lives_on_over_a_restart() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let server = Server::start(dir.path(), &flags, |_| {});
    let grant = pb::LeaseGrantRequest { ttl: 500, id: 7 };
    client(&server).lease().lease_grant(grant).await.expect("granted");
    client(&server).kv().put(put("k", "v", 7)).await.expect("put");
    server.stop(Signal::SIGKILL);
    let server = Server::start(dir.path(), &flags, |_| {});
    let ask = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    // A new leader first has to see that it leads.
    let began = Instant::now();
    let left = loop {
        let left = client(&server).lease().lease_time_to_live(ask).await.expect("an answer");
        let left = left.into_inner();
        if left.ttl > 0 || began.elapsed() > PATIENCE {
            break left;
        }
    };
    assert_eq!((left.granted_ttl, left.keys), (500, vec![bytes::Bytes::from_static(b"k")]));
    assert!((490..=501).contains(&left.ttl), "{} seconds left", left.ttl);
    let alive = pb::LeaseKeepAliveRequest { id: 7 };
    let mut answers = client(&server)
        .lease()
        .lease_keep_alive(tokio_stream::once(alive))
        .await
        .expect("a stream")
        .into_inner();
    let renewed = answers.message().await.expect("an answer").expect("a renewal");
    assert_eq!((renewed.id, renewed.ttl), (7, 500));
}

#[tokio::test]
async fn a_full_backend_raises_the_alarm_until_it_is_disarmed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(dir.path(), &Flags::new(&dir.path().join("data")), |command| {
        command.arg("--quota-backend-bytes=300000");
    });
    let client = client(&server);
    let mut refused = None;
    for n in 0..100 {
        let request = put(&format!("k{n}"), vec![b'x'; 20_000], 0);
        if let Err(status) = client.kv().put(request).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.expect("a refusal");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert_eq!(refused.message(), "etcdserver: mvcc: database space exceeded");
    let alarm = |action: AlarmAction, member_id| pb::AlarmRequest {
        action: action.into(),
        member_id,
        alarm: pb::AlarmType::Nospace.into(),
    };
    let mut maintenance = client.maintenance();
    let began = Instant::now();
    let raised = loop {
        let list = maintenance.alarm(alarm(AlarmAction::Get, 0)).await.expect("a list");
        let list = list.into_inner().alarms;
        if !list.is_empty() || began.elapsed() > PATIENCE {
            break list;
        }
    };
    assert_eq!(raised.len(), 1);
    assert!(server.get("/health").ends_with("\"reason\":\"ALARM NOSPACE\"}\n"));
    // Small writes are refused, too, as long as the alarm is on; deletes are not.
    let status = client.kv().put(put("a", "b", 0)).await.expect_err("refused");
    assert_eq!(status.message(), "etcdserver: mvcc: database space exceeded");
    let all = pb::DeleteRangeRequest {
        key: bytes::Bytes::from_static(b"k"),
        range_end: bytes::Bytes::from_static(b"l"),
        ..Default::default()
    };
    let deleted = client.kv().delete_range(all).await.expect("deleted").into_inner();
    let compact = pb::CompactionRequest {
        revision: deleted.header.expect("a header").revision,
        physical: true,
    };
    client.kv().compact(compact).await.expect("compacted");
    maintenance.defragment(pb::DefragmentRequest {}).await.expect("defragmented");
    let disarm = alarm(AlarmAction::Deactivate, raised[0].member_id);
    maintenance.alarm(disarm).await.expect("disarmed");
    client.kv().put(put("a", "b", 0)).await.expect("there is room again");
    assert!(server.get("/health").contains("\"true\""));
}

#[tokio::test]
async fn the_log_is_trimmed_and_the_rest_is_enough() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let server = Server::start(dir.path(), &flags, |command| {
        command.args(["--snapshot-count=20", "--max-snapshots=2"]);
    });
    for n in 0..100 {
        client(&server).kv().put(put("k", n.to_string(), 0)).await.expect("put");
    }
    let snaps = || {
        let entries = std::fs::read_dir(flags.data.join("member/snap")).expect("the folder");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string());
        names.filter(|n| n.as_ref().is_ok_and(|n| n.ends_with(".snap"))).count()
    };
    eventually("a snapshot", || snaps() >= 2);
    server.stop(Signal::SIGKILL);
    let server = Server::start(dir.path(), &flags, |_| {});
    let request = pb::RangeRequest { key: bytes::Bytes::from_static(b"k"), ..Default::default() };
    let answer = client(&server).kv().range(request).await.expect("read").into_inner();
    assert_eq!((&answer.kvs[0].value[..], answer.kvs[0].version), (&b"99"[..], 100));
    // What went over the wire was counted, without the heads of messages.
    let page = server.get("/metrics");
    assert!(page.contains("\netcd_network_client_grpc_received_bytes_total 3\n"), "{page}");
}

#[tokio::test]
async fn history_is_compacted_as_asked_for() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    // A tenth of the period is the time between two looks.
    let server = Server::start(dir.path(), &flags, |command| {
        command.arg("--auto-compaction-retention=1s");
    });
    for n in 0..5 {
        client(&server).kv().put(put("k", n.to_string(), 0)).await.expect("put");
    }
    let old = pb::RangeRequest {
        key: bytes::Bytes::from_static(b"k"),
        revision: 2,
        ..Default::default()
    };
    let began = Instant::now();
    let status = loop {
        match client(&server).kv().range(old.clone()).await {
            Err(status) => break status,
            Ok(_) => assert!(began.elapsed() < PATIENCE, "nothing was compacted"),
        }
    };
    assert_eq!(status.message(), "etcdserver: mvcc: required revision has been compacted");
    assert!(server.logged().contains("\"msg\":\"completed auto periodic compaction\""));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_watches() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let server = Server::start(dir.path(), &Flags::new(&dir.path().join("data")), |_| {});
    let client = client(&server);
    let requests = tokio_stream::once(watch_of("k")).chain(tokio_stream::pending());
    let mut events = client.watch().watch(requests).await.expect("a stream").into_inner();
    assert!(events.message().await.expect("an answer").is_some_and(|r| r.created));
    let began = Instant::now();
    let stopped = tokio::task::spawn_blocking(move || server.stop(Signal::SIGTERM));
    let end = events.message().await.expect_err("the stream ends");
    assert_eq!(end.message(), "etcdserver: server stopped");
    drop(client);
    stopped.await.expect("no panic");
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
}
