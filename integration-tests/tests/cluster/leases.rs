//! Leases of a cluster: only the leader counts their time, any member may be asked.

use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Client;
use integration_tests::{Cluster, eventually};
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseKeepAliveRequest, LeaseRevokeRequest, LeaseTimeToLiveRequest,
    LeaseTimeToLiveResponse, PutRequest,
};
use tonic::Code;

use crate::{ELECTION, SOON, call, get, target};

fn grant(authority: &str, id: i64, ttl: i64) {
    let request = LeaseGrantRequest { id, ttl };
    let granted = call(authority, async |c: Client| c.lease().lease_grant(request).await);
    let granted = granted.expect("granted");
    assert_eq!((granted.id, granted.ttl), (id, ttl));
}

fn attach(authority: &str, key: &str, lease: i64) {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let put = PutRequest { key, lease, ..PutRequest::default() };
    call(authority, async |c: Client| c.kv().put(put).await).expect("put");
}

fn time_to_live(authority: &str, id: i64) -> LeaseTimeToLiveResponse {
    let request = LeaseTimeToLiveRequest { id, keys: true };
    let ask = async |c: Client| c.lease().lease_time_to_live(request).await;
    call(authority, ask).unwrap_or_else(|error| panic!("lease {id} at {authority}: {error:?}"))
}

/// One renewal: the time it gives.
fn keep_alive(authority: &str, id: i64) -> i64 {
    let requests = tokio_stream::once(LeaseKeepAliveRequest { id });
    let mut answers = integration_tests::asked(authority, async |c: Client| {
        let mut answers = c.lease().lease_keep_alive(requests).await?.into_inner();
        answers.message().await
    });
    let answer = answers.as_mut().expect("answered").take().expect("one answer");
    assert_eq!(answer.id, id);
    answer.ttl
}

#[test]
fn every_member_renews_and_tells_leases() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let leader = cluster.await_leader();
    let all: Vec<String> = cluster.members().iter().map(|m| m.client_authority()).collect();
    let followers = [&all[(leader + 1) % 3], &all[(leader + 2) % 3]];

    // Granted at one follower, used through the other.
    grant(followers[0], 7, 60);
    attach(followers[1], "attached", 7);
    for member in &all {
        assert_eq!(keep_alive(member, 7), 60, "{member}");
        assert_eq!(keep_alive(member, 8), 0, "unknown, {member}");
        let told = time_to_live(member, 7);
        assert!((55..60).contains(&told.ttl) && told.granted_ttl == 60, "{member}: {told:?}");
        assert_eq!(told.keys, [Bytes::from_static(b"attached")], "{member}");
        assert_eq!(time_to_live(member, 8).ttl, -1, "unknown, {member}");
    }
    let revoke = LeaseRevokeRequest { id: 7 };
    call(followers[1], async |c: Client| c.lease().lease_revoke(revoke).await).expect("revoked");
    let again = call(followers[0], async |c: Client| c.lease().lease_revoke(revoke).await);
    let refused = (Code::NotFound, "etcdserver: requested lease not found".to_owned());
    assert_eq!(again.map(drop), Err(refused));
    for member in &all {
        assert_eq!(get(member, "attached", false), Ok(None), "{member}");
        assert_eq!(time_to_live(member, 7).ttl, -1, "{member}");
    }

    // Kept alive through a follower it stays; then it goes, on all members.
    grant(followers[0], 9, 2);
    attach(&all[leader], "short", 9);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(keep_alive(followers[1], 9), 2);
        std::thread::sleep(Duration::from_millis(500));
    }
    let renewed = Instant::now();
    assert_eq!(keep_alive(followers[1], 9), 2);
    eventually("the lease expires", SOON, || {
        (get(followers[0], "short", false) == Ok(None)).then_some(())
    });
    let lived = renewed.elapsed();
    assert!(lived >= Duration::from_secs(2), "{lived:?}");
    assert!(lived <= Duration::from_secs(2) + ELECTION + Duration::from_millis(1500), "{lived:?}");
    cluster.await_same_data();
    cluster.assert_no_panic();
}

/// A new leader does not know how much time had passed: it gives each lease its full time again.
#[test]
fn a_new_leader_extends_leases() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let leader = cluster.await_leader();
    let other = cluster.members()[(leader + 1) % 3].client_authority();
    grant(&other, 5, 10);
    attach(&other, "kept", 5);
    eventually("some of its time has passed", SOON, || {
        (time_to_live(&other, 5).ttl <= 7).then_some(())
    });
    cluster.member_mut(leader).crash();
    let new = cluster.await_leader();
    let told = eventually("the new leader tells", SOON, || {
        let told = time_to_live(&cluster.members()[new].client_authority(), 5);
        (told.ttl >= 0).then_some(told)
    });
    // The full time and one election timeout, less what passed since.
    assert!((8..=11).contains(&told.ttl) && told.granted_ttl == 10, "{told:?}");
    assert_eq!(get(&other, "kept", false), Ok(Some(String::new())));
    cluster.restart(leader);
    cluster.await_health();
    cluster.assert_no_panic();
}
