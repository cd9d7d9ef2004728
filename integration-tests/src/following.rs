//! Tools that go on, such as a watch.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::{Server, Tool, eventually};

/// Longest wait for anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// A tool that goes on until it is dropped, its lines as they come.
#[derive(Debug)]
pub struct Following {
    child: Child,
    lines: Receiver<String>,
}

impl Following {
    /// Starts `watch` and waits until the server knows of it.
    pub fn watch(tool: Tool, server: &Server, args: &[&str]) -> Self {
        let mut command = tool.command(server);
        command.arg("watch").args(args);
        Self::watch_by(&mut command, server)
    }

    /// Starts this watch and waits until the server knows of it.
    pub fn watch_by(command: &mut Command, server: &Server) -> Self {
        const WATCHERS: &str = "etcd_debugging_mvcc_watcher_total";
        let mut least = server.metric(WATCHERS);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("start etcdctl");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.take_while(|line| sender.send(line.clone()).is_ok()).for_each(drop);
        });
        eventually("the watch is there", SOON, || {
            let now = server.metric(WATCHERS);
            let more = now > least;
            // One that was killed before may leave only now.
            least = least.min(now);
            more.then_some(())
        });
        Self { child, lines }
    }

    /// Demands that these are the next lines, each within its time.
    #[track_caller]
    pub fn expect(&self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.lines.recv_timeout(SOON).as_deref(), Ok(*line));
        }
    }

    /// Demands that nothing more was printed and that it still runs.
    #[track_caller]
    pub fn goes_on(&mut self) {
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
