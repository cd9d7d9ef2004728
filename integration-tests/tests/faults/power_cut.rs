//! Power cuts: whatever was not made durable is gone.

use std::time::Duration;

use integration_tests::{
    Kind, Load, LoopDisk, Model, Outcomes, Rng, Server, eventually, hash_kv, observe, seed,
};

use crate::{skipped, target};

const CUTS: u64 = 10;
const DISK_BYTES: u64 = 512 << 20;

/// Runs a load on `server`, which keeps its data on `disk`, and cuts the power in the middle of
/// it. What comes back is what the clients were promised.
fn cut_under_load(disk: &mut LoopDisk, server: Server, run: u64, rng: &mut Rng) -> Outcomes {
    let load = Load::start(&server.client_authority(), run, 16, 200);
    let wanted = 100 + rng.below(1000);
    eventually("the load makes progress", Duration::from_secs(120), || {
        (load.answered() >= wanted).then_some(())
    });
    std::thread::sleep(Duration::from_micros(rng.below(20_000)));
    server.pause();
    let copy = disk.copy();
    server.kill();
    let promised = load.finish();
    disk.restart_with(copy);
    promised
}

/// D-03: nothing acknowledged is lost, and the store is what a replay of the log gives.
#[test]
fn ten_power_cuts_lose_nothing_that_was_promised() {
    let mut rng = Rng::new(seed());
    let mut disk = match LoopDisk::new(DISK_BYTES) {
        Ok(disk) => disk,
        Err(reason) => return skipped("D-03", &reason),
    };
    let dir = tempfile::tempdir().expect("a folder");
    let data = disk.path().join("data");
    let builder = Server::builder(target(), dir.path()).data_dir(&data);
    let mut server = builder.start();
    let mut promised = Outcomes::default();
    for cut in 0..CUTS {
        let again = server.again();
        promised.extend(cut_under_load(&mut disk, server, cut, &mut rng));
        server = again.start();
        let observed = observe(&server.client_authority());
        observed.check(&promised);
        let (hash, revision) = hash_kv(&server.client_authority(), 0);
        let log = wal::read_all(&data.join("member/wal"), (0, 0)).expect("a sound log");
        let model = Model::replay(&log.entries);
        assert_eq!(revision, model.revision());
        assert_eq!(hash, model.hash_kv(revision), "HashKV at {revision}, after cut {cut}");
        assert!(model.pairs().values().eq(observed.pairs.iter()), "after cut {cut}");
    }
    println!("{} acknowledged, {} unknown", promised.acknowledged.len(), promised.unknown.len());
}

/// The control: a server that does not sync must fail the test above.
#[test]
fn without_syncing_a_power_cut_loses_writes() {
    if target() == Kind::Reference {
        return skipped("D-03 control", "etcd 3.4 has no --unsafe-no-fsync");
    }
    let mut rng = Rng::new(seed());
    for run in 0..2 {
        let mut disk = match LoopDisk::new(DISK_BYTES) {
            Ok(disk) => disk,
            Err(reason) => return skipped("D-03 control", &reason),
        };
        let dir = tempfile::tempdir().expect("a folder");
        let builder = Server::builder(target(), dir.path())
            .data_dir(&disk.path().join("data"))
            .args(["--unsafe-no-fsync"]);
        let server = builder.start();
        let again = server.again();
        let promised = cut_under_load(&mut disk, server, run, &mut rng);
        assert!(promised.acknowledged.len() >= 100);
        // Not to start at all, or never to serve, is one way to have lost everything.
        let mut server = again.spawn();
        let serves = (0..200).find_map(|_| {
            std::thread::sleep(Duration::from_millis(25));
            if server.ended().is_some() {
                return Some(false);
            }
            let (status, body) = server.http_get("/health")?;
            (status == 200 && body.contains("true")).then_some(true)
        });
        if serves == Some(true) {
            let lost = observe(&server.client_authority()).lost(&promised);
            println!("lost {lost} of {}", promised.acknowledged.len());
            assert!(lost > 0, "the power cut lost nothing: this test is broken");
        }
    }
}
