//! The offline tool as operators use it: backups restored, members moved in and out, and processes
//! killed in the middle of it, with real servers on what comes of it.

mod deploy;
mod kills;
mod recorded;
mod restore;
mod transfer;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use integration_tests::{Output, Server, Tool, our_binary};

/// `etcdutl` with these arguments.
fn etcdutl<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(our_binary("etcdutl"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs it to its end.
fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    let output = etcdutl(args).output().expect("run etcdutl");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs it and demands success; gives standard error.
fn succeeds<S: AsRef<OsStr> + std::fmt::Debug>(args: &[S]) -> String {
    let output = run(args);
    assert_eq!((output.code, output.stdout.as_str()), (0, ""), "{args:?}: {}", output.stderr);
    output.stderr
}

/// A path as an argument.
fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The messages of the log lines.
fn messages(stderr: &str) -> Vec<&str> {
    stderr.lines().filter_map(|line| line.split('\t').nth(3)).collect()
}

/// The revision of a server.
fn revision(server: &Server) -> i64 {
    let shown = Tool::Reference.ok(server, &["get", "a", "-w=json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown["header"]["revision"].as_i64().expect("a number")
}

/// The leases of a server, with their keys.
fn leases(server: &Server) -> Vec<String> {
    let list = Tool::Reference.ok(server, &["lease", "list"]);
    let ids = list.lines().skip(1).map(str::to_owned);
    ids.map(|id| {
        let shown = Tool::Reference.ok(server, &["lease", "timetolive", &id, "--keys", "-w=json"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
        format!("{id} {} {}", shown["granted-ttl"], shown["keys"])
    })
    .collect()
}
