//! What users and operators do, as they do it: the command lines of a running cluster's
//! documentation, full and healing databases, compaction, flags, and what the tools print.

mod compaction;
mod etcdctl_ours;
mod flags;
#[path = "../oracle/mask.rs"]
mod mask;
mod quota;
#[path = "../oracle/script.rs"]
mod script;
mod walkthrough;

use integration_tests::{Kind, Output, Server, Tool, eventually};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

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

/// The sample of a metric without labels.
fn metric(server: &Server, name: &str) -> f64 {
    let (_, page) = server.http_get("/metrics").expect("metrics");
    let sample = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    sample.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
}

/// A tool that goes on until it is dropped, its lines as they come.
struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    /// Starts `watch` and waits until the server knows of it.
    fn watch(tool: Tool, server: &Server, args: &[&str]) -> Self {
        let before = metric(server, "etcd_debugging_mvcc_watcher_total");
        let mut child = tool
            .command(server)
            .arg("watch")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start etcdctl");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        eventually("the watch is there", SOON, || {
            (metric(server, "etcd_debugging_mvcc_watcher_total") > before).then_some(())
        });
        Self { child, lines }
    }

    /// The next lines, each within its time.
    fn expect(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.lines.recv_timeout(SOON).as_deref(), Ok(*line));
        }
    }

    /// Nothing more was printed, and it still runs.
    fn goes_on(&mut self) {
        assert_eq!(self.lines.try_recv().ok(), None);
        assert!(self.child.try_wait().expect("wait").is_none(), "the watch has ended");
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // Already gone is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
