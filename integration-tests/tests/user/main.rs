//! What users and operators do, as they do it: the command lines of a running cluster's
//! documentation, full and healing databases, compaction, flags, and what the tools print.

mod compaction;
mod etcdctl_ours;
mod flags;
#[path = "../oracle/mask.rs"]
mod mask;
mod quota;
mod registry;
#[path = "../oracle/script.rs"]
mod script;
mod walkthrough;

use std::time::Duration;

use integration_tests::{Kind, Output, Server, Tool};

/// Longest wait for anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// Both command-line tools: what they print for the walkthrough is the same.
const BOTH: [Tool; 2] = [Tool::Ours, Tool::Reference];

/// Our server with more arguments, and the folder it lives in.
fn running(args: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path()).args(args.iter().copied()).start();
    (dir, server)
}

/// An output without the client's own log lines, which name ports and times.
fn without_client_log(output: Output) -> Output {
    let is_log = |line: &&str| line.starts_with('{') && line.contains("\"msg\":");
    let stderr: Vec<&str> = output.stderr.lines().filter(|line| !is_log(line)).collect();
    let stderr = stderr.iter().map(|line| format!("{line}\n")).collect();
    Output { stderr, ..output }
}

/// What `tool` answers on `server`: status, standard output and standard error.
fn answer(tool: Tool, server: &Server, args: &[&str], input: &str) -> (i32, String, String) {
    let output = without_client_log(tool.run_with_input(server, args, input.as_bytes()));
    (output.code, output.stdout, output.stderr)
}
