//! Command-line tools run against a server.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Server, our_binary, reference_binary};

/// Whose `etcdctl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// Built from this workspace.
    Ours,
    /// The distribution's real etcdctl 3.4.
    Reference,
}

/// What a tool printed and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Exit status, or -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Tool {
    /// The executable.
    pub fn path(self) -> PathBuf {
        match self {
            Self::Ours => our_binary("etcdctl"),
            Self::Reference => reference_binary("etcdctl"),
        }
    }

    /// The command with the server's endpoint set, for tests that talk to it while it runs.
    pub fn command(self, server: &Server) -> Command {
        self.command_at(&server.client_authority())
    }

    /// The command with these endpoints set, parted by commas.
    pub fn command_at(self, endpoints: &str) -> Command {
        let mut command = Command::new(self.path());
        command.env("ETCDCTL_API", "3").env("ETCDCTL_ENDPOINTS", endpoints);
        command
    }

    /// Runs to the end with these endpoints, parted by commas.
    pub fn run_at<S: AsRef<OsStr>>(self, endpoints: &str, args: &[S]) -> Output {
        finish(self.command_at(endpoints).args(args), b"")
    }

    /// Runs to the end without input.
    pub fn run<S: AsRef<OsStr>>(self, server: &Server, args: &[S]) -> Output {
        self.run_with_input(server, args, b"")
    }

    /// Runs to the end with `input` on standard input.
    pub fn run_with_input<S: AsRef<OsStr>>(
        self,
        server: &Server,
        args: &[S],
        input: &[u8],
    ) -> Output {
        finish(self.command(server).args(args), input)
    }

    /// Runs and demands success, giving standard output.
    pub fn ok<S: AsRef<OsStr> + std::fmt::Debug>(self, server: &Server, args: &[S]) -> String {
        let output = self.run(server, args);
        assert_eq!(output.code, 0, "{self:?} etcdctl {args:?}: {}", output.stderr);
        output.stdout
    }
}

/// Runs `command` to its end.
fn finish(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start etcdctl");
    // A tool that does not read its input closes the pipe: not an error of the test.
    drop(child.stdin.take().expect("piped").write_all(input));
    let output = child.wait_with_output().expect("wait for etcdctl");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
