//! SIGKILL at random moments.

use std::time::Duration;

use integration_tests::{Load, Observed, Outcomes, Rng, Server, eventually, observe, seed};

use crate::target;

const ROUNDS: u64 = 30;
const WRITERS: usize = 32;

/// D-01: acknowledged writes are there after every kill, transactions whole, no revision used
/// twice, and the history from revision 1 is the same at every reading.
#[test]
fn thirty_kills_under_32_writers_lose_nothing_that_was_promised() {
    let mut rng = Rng::new(seed());
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::builder(target(), dir.path()).start();
    let mut promised = Outcomes::default();
    let mut seen: Option<Observed> = None;
    for round in 0..ROUNDS {
        let load = Load::start(&server.client_authority(), round, WRITERS, 64);
        // A random number of answers, then a random moment in the middle of the next ones.
        let wanted = 1 + rng.below(1500);
        eventually("the load makes progress", Duration::from_secs(120), || {
            (load.answered() >= wanted).then_some(())
        });
        std::thread::sleep(Duration::from_micros(rng.below(20_000)));
        let builder = server.kill();
        promised.extend(load.finish());

        server = builder.start();
        let observed = observe(&server.client_authority());
        observed.check(&promised);
        if let Some(seen) = &seen {
            observed.check_continues(seen);
        }
        seen = Some(observed);
    }
    println!("{} acknowledged, {} unknown", promised.acknowledged.len(), promised.unknown.len());
    assert!(!promised.unknown.is_empty(), "no kill hit a request under way");
}

/// D-14: kills during the start leave a server that starts.
#[test]
fn kills_during_the_start_leave_a_server_that_starts() {
    let mut rng = Rng::new(seed());
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(target(), dir.path()).start();
    let load = Load::start(&server.client_authority(), 0, WRITERS, 64);
    eventually("the load makes progress", Duration::from_secs(120), || {
        (load.answered() >= 500).then_some(())
    });
    let mut builder = server.kill();
    let promised = load.finish();
    for _ in 0..50 {
        let server = builder.spawn();
        std::thread::sleep(Duration::from_millis(rng.below(500)));
        builder = server.kill();
    }
    let server = builder.start();
    observe(&server.client_authority()).check(&promised);
}
