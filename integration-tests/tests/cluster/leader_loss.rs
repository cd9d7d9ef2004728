//! The leader is killed, again and again.

use std::time::Duration;

use integration_tests::{Cluster, Plan, Traffic, observe, seed};

use crate::{ELECTION, SOON, target};

/// How often.
const KILLS: usize = 20;

/// Nothing acknowledged is lost, one order explains all answers, and the others go on soon.
#[test]
fn twenty_killed_leaders_lose_nothing_and_are_soon_replaced() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let traffic = Traffic::start(&cluster.endpoints(), Plan::new(seed()));
    let mut killed = Vec::new();
    for _ in 0..KILLS {
        let leader = cluster.await_leader();
        traffic.await_write_after(traffic.now(), SOON);
        cluster.member_mut(leader).crash();
        let moment = traffic.now();
        killed.push(moment);
        traffic.await_write_after(moment, SOON);
        cluster.restart(leader);
        cluster.await_health();
    }
    traffic.await_write_after(traffic.now(), SOON);
    let calls = traffic.finish();
    let mut outages: Vec<Duration> = killed
        .iter()
        .map(|moment| calls.first_write_after(*moment).expect("awaited") - *moment)
        .collect();
    outages.sort_unstable();
    println!("{} writes; outages {outages:?}", calls.writes());
    for member in cluster.members() {
        calls.check(&observe(&member.client_authority()));
    }
    cluster.await_same_data();
    cluster.assert_no_panic();
    let [.., second_worst, worst] = outages.as_slice() else { panic!("{outages:?}") };
    assert!(outages[KILLS / 2] <= ELECTION * 16 / 10, "half of {outages:?}");
    assert!(*second_worst <= ELECTION * 3, "19 of 20 of {outages:?}");
    assert!(*worst <= ELECTION * 6, "{outages:?}");
}
