//! Our etcdctl against real etcd 3.4, beside the distribution's etcdctl: the commands about
//! members, leaders and backups, which need a cluster of several members or a real backup.

mod endpoints;
mod fake;
mod leader;
mod members;
mod snapshot;

use integration_tests::{Output, Tool};
use std::time::Duration;

/// Longest wait for anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// Both tools: what they print is the same, except where a test says otherwise.
const BOTH: [Tool; 2] = [Tool::Ours, Tool::Reference];

/// A port where nobody listens: it may only be used by who is allowed to take ports below 1024.
const NOBODY: &str = "127.0.0.1:1";

/// An output without the client's own log lines, which name ports and times.
fn without_client_log(output: Output) -> Output {
    let is_log = |line: &&str| line.starts_with('{') && line.contains("\"msg\":");
    let stderr: Vec<&str> = output.stderr.lines().filter(|line| !is_log(line)).collect();
    let stderr = stderr.iter().map(|line| format!("{line}\n")).collect();
    Output { stderr, ..output }
}

/// What `tool` answers, words of the line parted by blanks.
fn answer(tool: Tool, endpoints: &str, line: &str) -> (i32, String, String) {
    let words: Vec<&str> = line.split(' ').collect();
    let output = without_client_log(tool.run_at(endpoints, &words));
    (output.code, output.stdout, output.stderr)
}

/// What both tools answer, which must be the same.
#[track_caller]
fn both(endpoints: &str, line: &str) -> (i32, String, String) {
    let [ours, theirs] = BOTH.map(|tool| answer(tool, endpoints, line));
    assert_eq!(ours, theirs, "etcdctl {line}");
    ours
}

/// A refusal: nothing on standard output, one line of error.
fn refused(code: i32, text: &str) -> (i32, String, String) {
    (code, String::new(), format!("Error: {text}\n"))
}

/// Runs our tool, which must succeed.
#[track_caller]
fn ours(endpoints: &str, line: &str) -> String {
    let (code, stdout, stderr) = answer(Tool::Ours, endpoints, line);
    assert_eq!(code, 0, "etcdctl {line}: {stderr}");
    stdout
}

/// Runs our tool for its JSON.
#[track_caller]
fn json(endpoints: &str, line: &str) -> serde_json::Value {
    serde_json::from_str(&ours(endpoints, &format!("{line} -w json"))).expect("JSON")
}
