//! Probes between two members.

use super::support::{A, B, eventually, pair};

pub(crate) async fn round_trips_are_measured() {
    let (a, b) = pair().await;
    for (member, peer) in [(&a, B), (&b, A)] {
        let counted = eventually("the first look at the probes", || {
            let times = member.transport.stats().peers[&peer].round_trip.clone();
            (times.counts.iter().sum::<u64>() > 0).then_some(times)
        })
        .await;
        assert!(counted.sum > 0.0, "{counted:?}");
    }
    assert!(a.opened.lock().iter().any(|path| path == "/raft/probing"));
}
