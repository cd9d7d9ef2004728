//! Clusters of whole processes: founding, faults, membership, and members of real etcd 3.4.
//!
//! `CLUSTER_TARGET=reference` runs what applies against the distribution's real etcd, which proves
//! the tests themselves.

#![forbid(unsafe_code)]

mod corruption;
mod disk;
mod force_new;
mod founding;
mod laggard;
mod leader_loss;
mod leases;
mod membership;
mod mixed;
mod partition;
mod rolling;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use client::Client;
use integration_tests::{
    Cluster, Kind, Tool, Traffic, asked_within, eventually, observe, skipped, status,
};
use proto::etcdserverpb::{MoveLeaderRequest, RangeRequest};
use tonic::{Code, Response, Status};

/// Longest wait for anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(30);

/// Longest time between signs of life of a leader that its followers accept, by default.
const ELECTION: Duration = Duration::from_secs(1);

/// Whose servers are tested.
fn target() -> Kind {
    match std::env::var("CLUSTER_TARGET").as_deref() {
        Ok("reference") => Kind::Reference,
        _ => Kind::Ours,
    }
}

/// Ends the traffic and demands that one order explains it and that all members agree.
fn conclude(cluster: &mut Cluster, traffic: Traffic) {
    // Every client reaches its member again.
    cluster.await_leader();
    traffic.await_write_after(traffic.now(), SOON);
    let calls = traffic.finish();
    println!("{} writes", calls.writes());
    cluster.await_same_data();
    for member in cluster.members() {
        let mut observed = observe(&member.client_authority());
        observed.events.retain(|event| event.pair.key.starts_with(b"key"));
        assert_eq!(observed.lost(&calls.outcomes()), 0, "{}", member.name());
        calls.check_answers(&observed);
    }
    cluster.assert_no_panic();
}

/// Runs our tool at these endpoints, words parted by blanks: what it prints, or its error.
fn try_ours(endpoints: &str, line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split(' ').collect();
    let output = Tool::Ours.run_at(endpoints, &words);
    if output.code == 0 { Ok(output.stdout) } else { Err(output.stderr) }
}

/// Runs our tool, which must succeed.
#[track_caller]
fn ours(endpoints: &str, line: &str) -> String {
    match try_ours(endpoints, line) {
        Ok(stdout) => stdout,
        Err(stderr) => panic!("etcdctl {line}: {stderr}"),
    }
}

/// What a member answers to one call: its error as code and text.
fn call<T>(
    authority: &str,
    ask: impl AsyncFnOnce(Client) -> Result<Response<T>, Status>,
) -> Result<T, (Code, String)> {
    let answer = asked_within(authority, SOON, ask).expect("an answer in time");
    answer.map(Response::into_inner).map_err(|s| (s.code(), s.message().to_owned()))
}

/// What a member finds at a key: `Err` if it gives no answer in time.
fn get(authority: &str, key: &str, serializable: bool) -> Result<Option<String>, String> {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let request = RangeRequest { key, serializable, ..RangeRequest::default() };
    let ask = async |client: Client| client.kv().range(request).await;
    let answer = asked_within(authority, Duration::from_secs(10), ask).ok_or("no answer")?;
    let answer = answer.map_err(|status| status.to_string())?.into_inner();
    let value = answer.kvs.into_iter().next().map(|pair| pair.value);
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

/// Moves leadership to a member, wherever it is now.
fn lead(cluster: &mut Cluster, at: usize) {
    let target_id = cluster.id(at);
    eventually("leadership moves", SOON, || {
        let from = cluster.await_leader();
        if from == at {
            return Some(());
        }
        let authority = cluster.members()[from].client_authority();
        let request = MoveLeaderRequest { target_id };
        let ask = async |client: Client| client.maintenance().move_leader(request).await;
        asked_within(&authority, Duration::from_secs(5), ask)?.ok()?;
        None
    });
}

/// Demands that a member is in this term, as before.
#[track_caller]
fn assert_term(authority: &str, term: u64) {
    assert_eq!(status(authority).expect("it answers").raft_term, term);
}
