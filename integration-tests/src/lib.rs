//! What the tests against whole processes share: starting servers (ours and the distribution's
//! real etcd), running command-line tools against them, and waiting for conditions.
//!
//! ```text
//!  Server::builder(Kind::Ours | Kind::Reference) ──▶ child process ──▶ .kill() .pause() .stop()
//!  Cluster::start(kind, size)                    ──▶ servers that know each other
//!  Cluster::linked(kind, size).links().set(…)    ──▶ … over a network that can be broken
//!  Tool::{Ours, Reference}.run(&server, args)    ──▶ Output { code, stdout, stderr }
//!  Load::start(writers) ──▶ Outcomes             what clients were promised
//!  observe(server) ──▶ Observed.check(&outcomes) what the server says has happened
//!  Traffic::start(plan) ──▶ Calls.check(&observed) whether one order explains all answers
//!  Model::replay(wal entries).hash_kv(revision)  what the log says should be there
//!  eventually(deadline, || condition)
//!  Following::watch(tool, &server, args)         a tool that goes on, line by line
//!  own_network(), Lan, LoopDisk, Tmpfs         what needs root: skipped(…) where that is missing
//! ```
//!
//! Nothing here sleeps for luck: every wait has a condition and a deadline. A server's log is
//! kept in its folder and printed when the test that owns it panics.
#![forbid(unsafe_code)]

mod asked;
mod calls;
mod cluster;
mod disk;
mod following;
mod history;
mod lan;
mod linear;
mod links;
mod load;
mod model;
mod network;
mod ports;
mod seed;
mod server;
mod table;
mod tool;
mod traffic;

pub use asked::{asked, asked_within, members, status};
pub use calls::{Action, Call, Calls};
pub use cluster::Cluster;
pub use disk::{LoopDisk, Tmpfs};
pub use following::Following;
pub use history::{Event, Observed, hash_kv, observe, put};
pub use lan::Lan;
pub use links::{Line, Links};
pub use load::{Change, Load, Outcomes};
pub use model::Model;
pub use network::own_network;
pub use seed::{Rng, seed};
pub use server::{Builder, Kind, Server, freeze};
pub use table::{MEMBER_COLUMNS, STATUS_COLUMNS, Table};
pub use tool::{Output, Tool};
pub use traffic::{Plan, Traffic};

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Asks `condition` until it answers `Some`, or panics after `deadline` with what was awaited.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < deadline, "not within {deadline:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Says that a test could not be run here, and why.
pub fn skipped(id: &str, reason: &str) {
    println!("SKIPPED {id}: {reason}");
}

/// Folder of our binaries: `ETCD_BIN_DIR`, else the release folder of this workspace.
pub fn our_binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("ETCD_BIN_DIR").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("root").join("target/release"),
        PathBuf::from,
    );
    let path = dir.join(name);
    assert!(path.exists(), "{} is not built: run `make build`", path.display());
    path
}

/// The distribution's real `etcd` or `etcdctl` 3.4: `REFERENCE_ETCD_DIR`, else `/usr/bin`.
pub fn reference_binary(name: &str) -> PathBuf {
    let dir = std::env::var_os("REFERENCE_ETCD_DIR").unwrap_or_else(|| "/usr/bin".into());
    let path = PathBuf::from(dir).join(name);
    assert!(path.exists(), "{} is missing: run `scripts/reference.sh`", path.display());
    path
}
