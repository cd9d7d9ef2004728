//! Networks that do not carry, one-way or both, and members that stand still.

use std::time::Duration;

use integration_tests::{Cluster, Line, Plan, Traffic, eventually, put, seed, status};
use nix::sys::signal::Signal;

use crate::{ELECTION, SOON, conclude, get, target};

/// Waits until a member knows no leader.
fn await_no_leader(authority: &str) {
    eventually("the leader steps down", ELECTION * 5, || {
        (status(authority)?.leader == 0).then_some(())
    });
}

#[test]
fn a_leader_cut_off_from_the_majority_serves_nothing_new() {
    let mut cluster = Cluster::linked(target(), 3, &[]);
    let traffic = Traffic::start(&cluster.endpoints(), Plan::new(seed()));
    for (round, line) in [Line::Held, Line::Cut].into_iter().enumerate() {
        let old = cluster.await_leader();
        let others = [(old + 1) % 3, (old + 2) % 3];
        let authority = cluster.members()[old].client_authority();
        let key = format!("cut{round}");
        put(&authority, &key, "before").expect("a leader");
        cluster.links().isolate(old, line);
        let cut = traffic.now();
        std::thread::scope(|scope| {
            let read = scope.spawn(|| get(&authority, &key, false));
            let written = scope.spawn(|| put(&authority, &key, "lost"));
            let stale = get(&authority, &key, true);
            assert_eq!(stale, Ok(Some("before".to_owned())), "serializable, {line:?}");
            await_no_leader(&authority);
            traffic.await_write_after(cut, SOON);
            let read = read.join().expect("joined");
            assert!(read.is_err(), "{line:?}: {read:?}");
            let written = written.join().expect("joined");
            assert!(written.is_err(), "{line:?}: {written:?}");
        });
        let new = cluster.await_leader_of(&others);
        let new = cluster.members()[new].client_authority();
        assert_eq!(get(&new, &key, false), Ok(Some("before".to_owned())), "{line:?}");
        put(&new, &key, "after").expect("the majority serves");
        cluster.links().heal();
        cluster.await_leader();
        assert_eq!(get(&authority, &key, false), Ok(Some("after".to_owned())), "{line:?}");
    }
    conclude(&mut cluster, traffic);
}

/// The leader is heard and does not hear, then hears and is not heard.
#[test]
fn one_way_partitions_of_the_leader_heal_without_loss() {
    let mut cluster = Cluster::linked(target(), 3, &[]);
    let traffic = Traffic::start(&cluster.endpoints(), Plan::new(seed()));
    for is_heard in [true, false] {
        let old = cluster.await_leader();
        let others = [(old + 1) % 3, (old + 2) % 3];
        for other in others {
            let (from, to) = if is_heard { (other, old) } else { (old, other) };
            cluster.links().set(from, to, Line::Held);
        }
        let cut = traffic.now();
        let id = cluster.id(old);
        eventually("the old leader gives up", ELECTION * 5, || {
            (status(&cluster.members()[old].client_authority())?.leader != id).then_some(())
        });
        let new = cluster.await_leader_of(&others);
        assert_ne!(new, old, "is heard: {is_heard}");
        traffic.await_write_after(cut + ELECTION, SOON);
        cluster.links().heal();
        cluster.await_leader();
    }
    conclude(&mut cluster, traffic);
}

/// A follower that was away asks for votes it cannot get: the leader keeps its term.
#[test]
fn a_follower_that_comes_back_does_not_depose_the_leader() {
    let mut cluster = Cluster::linked(target(), 3, &["--pre-vote=true"]);
    let leader = cluster.await_leader();
    let authority = cluster.members()[leader].client_authority();
    let term = status(&authority).expect("it answers").raft_term;
    let follower = (leader + 1) % 3;
    for line in [Line::Held, Line::Cut] {
        cluster.links().isolate(follower, line);
        let away = cluster.members()[follower].client_authority();
        await_no_leader(&away);
        put(&authority, "meanwhile", "written").expect("two of three serve");
        cluster.links().heal();
        assert_eq!(cluster.await_leader(), leader, "{line:?}");
        cluster.await_same_data();
        assert_eq!(status(&authority).expect("it answers").raft_term, term, "{line:?}");
    }
    // Slow and unreliable lines do not depose it either.
    for other in (0..3).filter(|at| *at != leader) {
        cluster.links().set_both(leader, other, Line::Open(Duration::from_millis(20)));
    }
    for round in 0..10 {
        cluster.links().drop_connections(leader, follower);
        put(&authority, "unreliable", &round.to_string()).expect("served");
    }
    cluster.links().heal();
    cluster.await_same_data();
    assert_eq!(status(&authority).expect("it answers").raft_term, term);
    cluster.assert_no_panic();
}

/// A leader that stood still for three election timeouts does not answer from its past.
#[test]
fn a_leader_that_stood_still_reads_nothing_stale() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let traffic = Traffic::start(&cluster.endpoints(), Plan::new(seed()));
    for _ in 0..2 {
        let old = cluster.await_leader();
        traffic.await_write_after(traffic.now(), SOON);
        cluster.members()[old].pause();
        let paused = traffic.now();
        traffic.await_write_after(paused + ELECTION * 3, SOON);
        cluster.members()[old].signal(Signal::SIGCONT);
        cluster.await_leader();
    }
    conclude(&mut cluster, traffic);
}
