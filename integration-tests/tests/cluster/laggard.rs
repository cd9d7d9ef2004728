//! A follower that was away for longer than the others remember.

use bytes::Bytes;
use client::Client;
use integration_tests::{Cluster, Kind, asked};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{CompactionRequest, PutRequest, RequestOp, TxnRequest};

use crate::{get, ours, target};

/// Puts in one transaction, which is one entry of the log.
const PUTS: usize = 100;
/// Transactions under way at once.
const UNDER_WAY: usize = 8;

/// Writes `txns` transactions of [`PUTS`] puts; gives the last revision.
fn fill(authority: &str, txns: usize) -> i64 {
    asked(authority, async |client: Client| {
        let mut workers = Vec::new();
        for worker in 0..UNDER_WAY {
            let client = client.clone();
            workers.push(tokio::spawn(async move {
                let mut last = 0;
                for n in (worker..txns).step_by(UNDER_WAY) {
                    let txn = TxnRequest { success: puts(n), ..TxnRequest::default() };
                    let answer = client.kv().txn(txn).await.expect("a transaction");
                    last = answer.into_inner().header.expect("a header").revision;
                }
                last
            }));
        }
        let mut last = 0;
        for worker in workers {
            last = last.max(worker.await.expect("a writer does not panic"));
        }
        last
    })
}

fn puts(n: usize) -> Vec<RequestOp> {
    let put = |i: usize| {
        // Each key is written several times, so that compaction finds something.
        let key = format!("fill/{}", (n * PUTS + i) % 40_000);
        let put = PutRequest {
            key: key.into(),
            value: Bytes::from(format!("{n}/{i}")),
            ..PutRequest::default()
        };
        RequestOp { request: Some(Request::RequestPut(put)) }
    };
    (0..PUTS).map(put).collect()
}

fn compact(authority: &str, revision: i64) {
    asked(authority, async |client: Client| {
        let request = CompactionRequest { revision, physical: true };
        client.kv().compact(request).await.expect("a compaction");
    });
}

/// 200,000 puts and a compaction pass while one follower is dead and, then, stands still.
#[test]
fn a_follower_that_missed_too_much_comes_back_by_a_snapshot() {
    let mut args = vec!["--snapshot-count=200"];
    if target() == Kind::Ours {
        args.push("--snapshot-catchup-entries=100");
    }
    let mut cluster = Cluster::start(target(), 3, &args);
    let leader = cluster.await_leader();
    let follower = (leader + 1) % 3;
    let authority = cluster.members()[leader].client_authority();
    cluster.member_mut(follower).crash();
    // Real etcd keeps 5000 entries; one transaction is one.
    let txns = if target() == Kind::Ours { 2_000 } else { 6_000 };
    let last = fill(&authority, txns);
    compact(&authority, last - 100);
    cluster.restart(follower);
    cluster.await_health();
    let revision = cluster.await_same_data();
    assert!(revision >= last, "{revision} after {last}");
    came_by_snapshot(&cluster, follower);

    // A member that never stopped, but stood still.
    cluster.members()[follower].pause();
    let last = fill(&authority, txns / 4);
    compact(&authority, last - 100);
    cluster.members()[follower].signal(nix::sys::signal::Signal::SIGCONT);
    assert!(cluster.await_same_data() >= last);

    // It is a full member again: with another one dead, writes need it.
    let other = (leader + 2) % 3;
    cluster.member_mut(other).crash();
    ours(&authority, "put after all");
    let found = get(&cluster.members()[follower].client_authority(), "after", false);
    assert_eq!(found, Ok(Some("all".to_owned())));
    cluster.restart(other);
    cluster.await_health();
    // And its data folder is one it can start from.
    cluster.member_mut(follower).terminate();
    cluster.restart(follower);
    cluster.await_health();
    cluster.await_same_data();
    cluster.assert_no_panic();
}

/// The member's log says that it took in a snapshot of another's.
fn came_by_snapshot(cluster: &Cluster, at: usize) {
    let log = cluster.members()[at].log();
    assert!(log.contains("applied snapshot"), "{log}");
}
