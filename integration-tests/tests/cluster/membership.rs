//! Who may be added, promoted and removed, what learners serve, and where leadership goes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Client;
use integration_tests::{Builder, Cluster, Kind, eventually, members, put, status};
use nix::sys::signal::Signal;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    HashKvRequest, LeaseGrantRequest, Member, MemberAddRequest, MemberListRequest,
    MemberPromoteRequest, MemberRemoveRequest, MoveLeaderRequest, PutRequest, RangeRequest,
    WatchCreateRequest, WatchRequest,
};
use proto::healthpb::HealthCheckRequest;
use tonic::Code;

use crate::{SOON, call, get, skipped, target};

type Refusal = (Code, String);

fn refusal(code: Code, text: &str) -> Refusal {
    (code, format!("etcdserver: {text}"))
}

fn unhealthy() -> Refusal {
    refusal(Code::Unavailable, "unhealthy cluster")
}

fn add(authority: &str, url: &str, is_learner: bool) -> Result<Member, Refusal> {
    let request = MemberAddRequest { peer_ur_ls: vec![url.to_owned()], is_learner };
    let added = call(authority, async |c: Client| c.cluster().member_add(request).await)?;
    Ok(added.member.expect("the member"))
}

fn remove(authority: &str, id: u64) -> Result<(), Refusal> {
    let request = MemberRemoveRequest { id };
    call(authority, async |c: Client| c.cluster().member_remove(request).await).map(drop)
}

fn promote(authority: &str, id: u64) -> Result<(), Refusal> {
    let request = MemberPromoteRequest { id };
    call(authority, async |c: Client| c.cluster().member_promote(request).await).map(drop)
}

fn move_leader(authority: &str, target_id: u64) -> Result<(), Refusal> {
    let request = MoveLeaderRequest { target_id };
    call(authority, async |c: Client| c.maintenance().move_leader(request).await).map(drop)
}

/// Tries again while the members have not been connected for long enough.
fn once_healthy<T>(mut change: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
    eventually("the cluster is healthy", SOON, || match change() {
        Err(refused) if refused == unhealthy() => None,
        other => Some(other),
    })
}

/// A URL where nobody is: it may only be used by who is allowed to take ports below 1024.
fn nobody(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

#[test]
fn a_change_that_could_cost_the_quorum_is_refused() {
    if target() == Kind::Reference {
        return skipped("strict reconfiguration", "3.4 has stricter rules");
    }
    let founded = Instant::now();
    let mut cluster = Cluster::start(target(), 3, &[]);
    let leader = cluster.await_leader();
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let authority = cluster.members()[leader].client_authority();
    let bad = add(&authority, "no url", false).expect_err("no URL");
    assert_eq!(bad, refusal(Code::InvalidArgument, "given member URLs are invalid"));
    // Before the members have been connected for five seconds.
    for is_learner in [false, true] {
        match add(&authority, &nobody(1), is_learner) {
            Err(refused) => assert_eq!(refused, unhealthy(), "learner: {is_learner}"),
            Ok(added) => {
                assert!(founded.elapsed() >= Duration::from_secs(5), "too early");
                assert_eq!(remove(&authority, added.id), Ok(()));
            }
        }
    }
    let taken = cluster.members()[others[0]].peer_url();
    let exists = once_healthy(|| add(&authority, &taken, false)).expect_err("its URL is taken");
    assert_eq!(exists, refusal(Code::FailedPrecondition, "Peer URLs already exists"));

    // Three that run carry five, not six.
    let fourth = once_healthy(|| add(&authority, &nobody(2), false)).expect("a fourth").id;
    let fifth = once_healthy(|| add(&authority, &nobody(3), false)).expect("a fifth").id;
    let sixth = add(&authority, &nobody(4), false).expect_err("a sixth");
    let text = "re-configuration failed due to not enough started members";
    assert_eq!(sixth, refusal(Code::Unknown, text));
    let running = cluster.id(others[0]);
    assert_eq!(remove(&authority, running), Err(refusal(Code::Unknown, text)));
    assert_eq!(promote(&authority, fifth), Err(not_ready()));
    assert_eq!(remove(&authority, fifth), Ok(()));
    assert_eq!(remove(&authority, fourth), Ok(()));
    for gone in [fourth, 12345] {
        let missing = refusal(Code::NotFound, "member not found");
        assert_eq!(remove(&authority, gone), Err(missing));
    }

    // With one down: nobody comes, only the one that is down may go.
    let down = cluster.id(others[1]);
    cluster.member_mut(others[1]).crash();
    let own = cluster.id(leader);
    let link = format!("etcd_network_active_peers{{Local=\"{own:x}\",Remote=\"{down:x}\"}}");
    eventually("the loss is noticed", SOON, || {
        (cluster.members()[leader].metric(&link) == 0.0).then_some(())
    });
    assert_eq!(remove(&authority, running), Err(unhealthy()));
    assert_eq!(add(&authority, &nobody(5), false), Err(unhealthy()));
    assert_eq!(remove(&authority, down), Ok(()));
    let left = members(&authority, true).expect("the list");
    assert_eq!(left.len(), 2);
    put(&authority, "two", "left").expect("two of two serve");
    cluster.assert_no_panic();
}

fn not_ready() -> Refusal {
    let text = "can only promote a learner member which is in sync with leader";
    refusal(Code::FailedPrecondition, text)
}

/// Starts a member that was added.
fn join(cluster: &mut Cluster, mut builder: Builder) -> usize {
    let peers: Vec<String> = cluster.members().iter().map(|member| member.again().peer()).collect();
    let peers = format!("{},{}", peers.join(","), builder.peer());
    let builder = builder.initial_cluster(&peers).args(["--initial-cluster-state=existing"]);
    cluster.push(builder.spawn());
    cluster.await_health();
    cluster.members().len() - 1
}

#[test]
fn a_learner_serves_little_until_it_is_promoted() {
    let mut cluster = Cluster::start(target(), 3, &["--strict-reconfig-check=false"]);
    let leader = cluster.await_leader();
    let authority = cluster.members()[leader].client_authority();
    let follower = cluster.members()[(leader + 1) % 3].client_authority();
    put(&authority, "known", "to all").expect("a leader");
    let mut builder = cluster.member("n3");
    let id = add(&follower, &builder.peer_url(), true).expect("a learner").id;
    let many = refusal(Code::FailedPrecondition, "too many learner members in cluster");
    assert_eq!(add(&authority, &nobody(1), true), Err(many));
    for asked in [&authority, &follower] {
        assert_eq!(promote(asked, id), Err(not_ready()), "never started");
        let missing = refusal(Code::NotFound, "member not found");
        assert_eq!(promote(asked, 12345), Err(missing));
    }
    let bad = refusal(Code::FailedPrecondition, "bad leader transferee");
    assert_eq!(move_leader(&authority, id), Err(bad), "a learner cannot lead");

    let at = join(&mut cluster, builder);
    let learner = cluster.members()[at].client_authority();
    eventually("the learner has caught up", SOON, || {
        (get(&learner, "known", true) == Ok(Some("to all".to_owned()))).then_some(())
    });
    assert!(status(&learner).expect("it answers").is_learner);
    refuses_all_but_little(&learner);
    assert_eq!(cluster.members()[at].http_get("/health").map(|(code, _)| code), Some(200));

    // Through a follower, which asks the leader.
    eventually("it can be promoted", SOON, || match promote(&follower, id) {
        Err(refused) if refused == not_ready() => None,
        other => {
            assert_eq!(other, Ok(()));
            Some(())
        }
    });
    let twice = refusal(Code::FailedPrecondition, "can only promote a learner member");
    let again = promote(&follower, id).expect_err("no learner any more");
    assert_eq!(again, twice);
    eventually("it knows that it votes", SOON, || (!status(&learner)?.is_learner).then_some(()));
    assert_eq!(get(&learner, "known", false), Ok(Some("to all".to_owned())));
    assert_eq!(move_leader(&authority, id), Ok(()));
    assert_eq!(cluster.await_leader(), at);
    cluster.await_same_data();
    cluster.assert_no_panic();
}

fn refuses_all_but_little(learner: &str) {
    // Later versions chose another code, and refuse more.
    let code = match target() {
        Kind::Ours => Code::FailedPrecondition,
        Kind::Reference => Code::Unavailable,
    };
    let refused = Err(refusal(code, "rpc not supported for learner"));
    let key = Bytes::from_static(b"known");
    let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
    let answer = call(learner, async |c: Client| c.kv().range(range).await);
    assert_eq!(answer.map(drop), refused, "a linearizable read");
    let put = PutRequest { key: key.clone(), ..PutRequest::default() };
    let answer = call(learner, async |c: Client| c.kv().put(put).await);
    assert_eq!(answer.map(drop), refused, "put");
    let request = LeaseGrantRequest { id: 0, ttl: 5 };
    let answer = call(learner, async |c: Client| c.lease().lease_grant(request).await);
    assert_eq!(answer.map(drop), refused, "a lease");
    let create = WatchCreateRequest { key, ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let answer = call(learner, async |c: Client| {
        let mut stream = c.watch().watch(tokio_stream::once(create)).await?.into_inner();
        stream.message().await.map(tonic::Response::new)
    });
    assert_eq!(answer.map(drop), refused, "watch");
    if target() == Kind::Reference {
        return;
    }
    let request = MemberListRequest { linearizable: false };
    let answer = call(learner, async |c: Client| c.cluster().member_list(request).await);
    assert_eq!(answer.map(drop), refused, "the list of members");
    let request = HashKvRequest { revision: 0 };
    let answer = call(learner, async |c: Client| c.maintenance().hash_kv(request).await);
    assert_eq!(answer.map(drop), refused, "HashKV");
    let request = HealthCheckRequest::default();
    let answer = call(learner, async |c: Client| c.health().check(request).await);
    assert_eq!(answer.map(drop), refused, "gRPC health");
}

/// A removed member ends by itself with success.
#[test]
fn a_removed_member_ends() {
    let mut cluster = Cluster::start(target(), 3, &["--strict-reconfig-check=false"]);
    let leader = cluster.await_leader();
    let [stays, goes] = [(leader + 1) % 3, (leader + 2) % 3];
    let authority = cluster.members()[stays].client_authority();
    let id = cluster.id(goes);
    assert_eq!(remove(&authority, id), Ok(()));
    let ended = cluster.member_mut(goes).wait(Duration::from_secs(5));
    assert!(ended.success(), "{ended}");
    put(&authority, "without", "it").expect("two serve");

    // The leader itself.
    let id = cluster.id(leader);
    assert_eq!(remove(&authority, id), Ok(()));
    let ended = cluster.member_mut(leader).wait(Duration::from_secs(5));
    assert!(ended.success(), "{ended}");
    assert_eq!(cluster.await_leader_of(&[stays]), stays);
    put(&authority, "quite", "alone").expect("one serves");
    cluster.assert_no_panic();
}

#[test]
fn leadership_moves_only_where_it_can() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let leader = cluster.await_leader();
    let [next, third] = [(leader + 1) % 3, (leader + 2) % 3];
    let authorities: Vec<String> = cluster.members().iter().map(|m| m.client_authority()).collect();
    let ids: Vec<u64> = (0..3).map(|at| cluster.id(at)).collect();
    let at_follower = refusal(Code::FailedPrecondition, "not leader");
    assert_eq!(move_leader(&authorities[next], ids[third]), Err(at_follower));
    let nobody = refusal(Code::FailedPrecondition, "bad leader transferee");
    assert_eq!(move_leader(&authorities[leader], 12345), Err(nobody));
    assert_eq!(move_leader(&authorities[leader], ids[leader]), Ok(()), "where it is");
    assert_eq!(cluster.await_leader(), leader);
    assert_eq!(move_leader(&authorities[leader], ids[next]), Ok(()));
    assert_eq!(cluster.await_leader(), next);

    // To one that stands still. Until that is given up, 3.4 drops writes; ours wait.
    cluster.members()[third].pause();
    let (moved, wrote) = std::thread::scope(|scope| {
        let moved = scope.spawn(|| {
            let request = MoveLeaderRequest { target_id: ids[third] };
            call(&authorities[next], async |c: Client| c.maintenance().move_leader(request).await)
        });
        let mut wrote = Vec::new();
        while !moved.is_finished() {
            wrote.push(put(&authorities[next], "during", "transfer"));
        }
        (moved.join().expect("joined"), wrote)
    });
    match target() {
        Kind::Ours => assert!(wrote.iter().all(Result::is_ok), "{wrote:?}"),
        Kind::Reference => assert!(
            wrote.iter().flat_map(|w| w.as_ref().err()).any(|e| e.contains("proposal dropped")),
            "{wrote:?}"
        ),
    }
    let late = refusal(Code::Unknown, "request timed out, leader transfer took too long");
    assert_eq!(moved.map(drop), Err(late));
    cluster.members()[third].signal(Signal::SIGCONT);
    // A write through a member that is about to be brought back by a snapshot may be in the
    // snapshot: it is made, but nobody can tell.
    cluster.await_same_data();
    let all = cluster.endpoints();
    put(&all, "after", "all").expect("served");
    cluster.await_same_data();
    cluster.assert_no_panic();
}

/// Nobody waits for an election when a leader is told to end.
#[test]
fn a_leader_that_is_told_to_end_hands_over() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    for _ in 0..3 {
        let leader = cluster.await_leader();
        let other = cluster.members()[(leader + 1) % 3].client_authority();
        let old = cluster.id(leader);
        let before = status(&other).expect("it answers");
        let handed_over = |log: &str| log.matches("leadership transfer finished").count();
        let earlier = handed_over(&cluster.members()[leader].log());
        cluster.members()[leader].signal(Signal::SIGTERM);
        eventually("another leads", SOON, || {
            status(&other).filter(|now| now.leader != 0 && now.leader != old)
        });
        put(&other, "led", "by another").expect("served");
        let after = status(&other).expect("it answers");
        assert_eq!(after.raft_term, before.raft_term + 1, "one election");
        cluster.member_mut(leader).wait(SOON);
        let log = cluster.members()[leader].log();
        assert!(target() == Kind::Reference || handed_over(&log) > earlier);
        cluster.restart(leader);
        cluster.await_health();
    }
    cluster.assert_no_panic();
}
