//! The offline tool as operators use it: backups restored, members moved in and out, and processes
//! killed in the middle of it, with real servers on what comes of it.

mod damage;
mod deploy;
mod founding;
mod kills;
mod made;
mod power;
mod recorded;
mod restore;
mod terminal;
mod transfer;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base::schema::Bucket;
use integration_tests::{Output, Server, Tool, our_binary};
use snapshot::Reader;

/// `etcdutl` with these arguments.
fn etcdutl<S: AsRef<OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(our_binary("etcdutl"));
    command.args(args).stdin(Stdio::null());
    command
}

/// What a command may take that could wait for ever, even beside many others.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a command that writes little, to its end, which must come soon.
fn in_time(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("start");
    let end = Instant::now() + PATIENCE;
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > end {
            child.kill().expect("kill a process of ours");
            panic!("{command:?} does not end: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    output_of(&child.wait_with_output().expect("wait"))
}

fn output_of(output: &std::process::Output) -> Output {
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs it to its end.
fn run<S: AsRef<OsStr>>(args: &[S]) -> Output {
    output_of(&etcdutl(args).output().expect("run etcdutl"))
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

/// A database as a backup: with its SHA-256 behind it.
fn backup_of(pages: &[u8]) -> Vec<u8> {
    let mut hashing = snapshot::HashingWriter::new(Vec::new());
    hashing.write_all(pages).and_then(|()| hashing.finish_with_trailer()).expect("memory")
}

/// The hash of a stopped member's keys, or how it is refused.
fn hash(data: &Path) -> String {
    let output = run(&["hashkv", text(&data.join("member/snap/db"))]);
    output.stdout + &output.stderr
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

/// All keys of a server, as etcdctl prints them.
fn keys(server: &Server) -> serde_json::Value {
    let shown = Tool::Reference.ok(server, &["get", "", "--from-key", "-w=json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    shown["kvs"].clone()
}

/// What a store has besides who its members are and how far its log is.
const KEPT: [Bucket; 6] =
    [Bucket::Key, Bucket::Lease, Bucket::Auth, Bucket::AuthUsers, Bucket::AuthRoles, Bucket::Alarm];

/// The rows of those buckets in a file of etcd's form.
fn kept_rows(path: &Path) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let file = File::open(path).expect("open");
    let reader = Reader::open(&file).expect("a database");
    let mut walk = reader.walk();
    let mut rows = Vec::new();
    while let Some(name) = walk.next_bucket().expect("a bucket") {
        let name = String::from_utf8(name.to_vec()).expect("a name");
        let is_kept = KEPT.iter().any(|kept| kept.name() == name);
        while let Some((key, value)) = walk.next_row().expect("a row") {
            if is_kept {
                rows.push((name.clone(), key.to_vec(), value.to_vec()));
            }
        }
    }
    assert!(rows.iter().any(|(bucket, ..)| bucket.starts_with("auth")), "no users in it");
    rows
}

/// The same of a server, which is asked for a backup.
fn kept_rows_of(server: &Server) -> Vec<(String, Vec<u8>, Vec<u8>)> {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("backup.db");
    Tool::Ours.ok(server, &["snapshot", "save", text(&path)]);
    kept_rows(&path)
}
