//! Faults made on purpose: killed servers, cut power, damaged logs, full disks.
//!
//! `FAULTS_TARGET=reference` runs what applies against the distribution's real etcd, which proves
//! the tests themselves.

mod disk_full;
mod double_start;
mod kill;
mod notify;
mod power_cut;
mod torn_wal;

use integration_tests::{Kind, skipped};

/// Whose server is tested.
fn target() -> Kind {
    match std::env::var("FAULTS_TARGET").as_deref() {
        Ok("reference") => Kind::Reference,
        _ => Kind::Ours,
    }
}
