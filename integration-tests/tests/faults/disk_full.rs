//! A disk without room.

use std::time::Duration;

use integration_tests::{Kind, Load, Server, Tmpfs, eventually, observe, put, seed};

use crate::{skipped, target};

/// Two segments of the log, preallocated, and little beside them.
const SMALL_BYTES: u64 = 150 << 20;

/// D-11: the server says why it stops and stops; with room again everything promised is there.
#[test]
fn a_full_disk_stops_the_server_and_loses_nothing() {
    seed();
    let disk = match Tmpfs::new(SMALL_BYTES) {
        Ok(disk) => disk,
        Err(reason) => return skipped("D-11", &reason),
    };
    let dir = tempfile::tempdir().expect("a folder");
    let builder = Server::builder(target(), dir.path()).data_dir(&disk.path().join("data"));
    let mut server = builder.start();
    let load = Load::start(&server.client_authority(), 0, 8, 40_000);
    let status = server.wait(Duration::from_secs(60));
    let promised = load.finish();
    assert!(!promised.acknowledged.is_empty());
    match target() {
        Kind::Ours => assert_eq!(status.code(), Some(1), "{}", server.log()),
        Kind::Reference => assert!(!status.success()),
    }
    let log = server.log().to_lowercase();
    assert!(log.contains("no space left on device"), "the log does not say why: {log}");

    // While there is no room a start may fail, but it must not harm anything.
    let mut early = server.again().spawn();
    eventually("it serves or gives up", Duration::from_secs(20), || {
        early.ended().map(drop).or_else(|| early.http_get("/health").map(drop))
    });
    drop(early);

    disk.resize(4 * SMALL_BYTES);
    let server = server.again().start();
    observe(&server.client_authority()).check(&promised);
    put(&server.client_authority(), "after", "the disk has room").expect("writes are accepted");
}
