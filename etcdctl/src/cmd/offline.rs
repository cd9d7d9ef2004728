//! Commands that moved to etcdutl: it is run in our place, from beside us or from the path.
//! etcdctl opens no data directory itself.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cli::Parsed;
use crate::failure::{Failure, code};
use crate::output;

/// The flags of `snapshot restore` that have a value.
const RESTORE_VALUES: [&str; 6] = [
    "data-dir",
    "initial-advertise-peer-urls",
    "initial-cluster",
    "initial-cluster-token",
    "name",
    "wal-dir",
];

/// Runs `etcdutl snapshot restore`.
pub(super) fn restore(parsed: &Parsed) -> Result<(), Failure> {
    deprecated("snapshot restore");
    Err(become_etcdutl(&restore_arguments(parsed)))
}

/// Runs `etcdutl defrag`.
pub(super) fn defrag(parsed: &Parsed) -> Result<(), Failure> {
    deprecated("defrag");
    Err(become_etcdutl(&["defrag".into(), flag(parsed, "data-dir")]))
}

fn deprecated(command: &str) {
    output::complain(&format!("Deprecated: Use `etcdutl {command}` instead.\n"));
}

fn flag(parsed: &Parsed, name: &str) -> OsString {
    format!("--{name}={}", parsed.text(name)).into()
}

fn restore_arguments(parsed: &Parsed) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["snapshot".into(), "restore".into()];
    arguments.extend(RESTORE_VALUES.iter().map(|name| flag(parsed, name)));
    if parsed.switch("skip-hash-check") {
        arguments.push("--skip-hash-check".into());
    }
    arguments.push("--".into());
    arguments.extend(parsed.arguments.iter().cloned().map(OsString::from_vec));
    arguments
}

/// Gives back only what kept it from being run.
fn become_etcdutl(arguments: &[OsString]) -> Failure {
    let error =
        Command::new(etcdutl(std::env::current_exe().ok().as_deref())).args(arguments).exec();
    let reason = base::text::io_error(&error);
    Failure::new(code::ERROR, format!("etcdutl, which does this, cannot be run: {reason}"))
}

/// The one beside us, which is of our version, or any.
fn etcdutl(own: Option<&Path>) -> PathBuf {
    let beside = own.map(|own| own.with_file_name("etcdutl")).filter(|path| path.is_file());
    beside.unwrap_or_else(|| "etcdutl".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli;

    #[test]
    fn all_that_was_said_is_passed_on() {
        let line = "snapshot restore x.db --name m1 --skip-hash-check --data-dir= --wal-dir w";
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let found = cli::find(&words).unwrap_or_else(|_| panic!("a command"));
        let parsed = cli::parse(&found.path, &found.rest).unwrap_or_else(|_| panic!("flags"));
        assert_eq!(
            restore_arguments(&parsed),
            [
                "snapshot",
                "restore",
                "--data-dir=",
                "--initial-advertise-peer-urls=http://localhost:2380",
                "--initial-cluster=default=http://localhost:2380",
                "--initial-cluster-token=etcd-cluster",
                "--name=m1",
                "--wal-dir=w",
                "--skip-hash-check",
                "--",
                "x.db",
            ]
        );
    }

    #[test]
    fn the_tool_beside_us_comes_first() {
        let dir = tempfile::tempdir().expect("a folder");
        let own = dir.path().join("etcdctl");
        assert_eq!(etcdutl(Some(&own)), Path::new("etcdutl"));
        std::fs::write(dir.path().join("etcdutl"), "").expect("write");
        assert_eq!(etcdutl(Some(&own)), dir.path().join("etcdutl"));
        assert_eq!(etcdutl(None), Path::new("etcdutl"));
    }
}
