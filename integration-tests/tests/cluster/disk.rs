//! A disk of one member fails.

use std::process::Command;

use integration_tests::{Cluster, Kind, Plan, Tmpfs, Traffic, put, seed, skipped};

use crate::{SOON, conclude, lead, target};

/// Two segments of the log, preallocated, and little beside them.
const SMALL_BYTES: u64 = 150 << 20;

/// A value: twice as many as there are MiB do not fit.
const VALUE_BYTES: usize = 1 << 20;

#[test]
fn a_leader_whose_disk_is_full_gives_way_and_comes_back_when_there_is_room() {
    let disk = match Tmpfs::new(SMALL_BYTES) {
        Ok(disk) => disk,
        Err(reason) => return skipped("a member's full disk", &reason),
    };
    let mut cluster = Cluster::start(target(), 3, &[]);
    let small = disk.path().join("data");
    cluster.member_mut(0).terminate();
    let moved =
        Command::new("cp").arg("-a").arg(cluster.members()[0].data_dir()).arg(&small).status();
    assert!(moved.is_ok_and(|status| status.success()));
    let builder = cluster.members()[0].again().data_dir(&small);
    cluster.restart_as(0, builder);
    cluster.await_health();
    lead(&mut cluster, 0);

    let traffic = Traffic::start(&cluster.endpoints(), Plan::new(seed()));
    let value = "v".repeat(VALUE_BYTES);
    let all = cluster.endpoints();
    let full = (0..SMALL_BYTES >> 19).any(|_| {
        // The one that meets the end fails.
        drop(put(&all, "large", &value));
        cluster.member_mut(0).ended().is_some()
    });
    let log = cluster.members()[0].log().to_lowercase();
    assert!(full && log.contains("no space left on device"), "{log}");
    let status = cluster.member_mut(0).wait(SOON);
    match target() {
        Kind::Ours => assert_eq!(status.code(), Some(1), "{log}"),
        Kind::Reference => assert!(!status.success()),
    }
    traffic.await_write_after(traffic.now(), SOON);

    disk.resize(4 * SMALL_BYTES);
    cluster.restart(0);
    cluster.await_health();
    conclude(&mut cluster, traffic);
}
