//! TLS as operators set it up: https with client certificates, mixed ports, renewals, refusals,
//! and what both sides say of them.

mod clients;
mod http;
mod peers;
mod reasons;
#[path = "../user/registry.rs"]
mod registry;
mod start;
mod unit;
mod walkthrough;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use integration_tests::{Builder, Kind, Output, Server, Tool, eventually};
use tempfile::TempDir;
use tls::PairFiles;
use tls::test_certs::{Authority, Issued, Subject};

/// Longest wait for anything that should take milliseconds.
const SOON: Duration = Duration::from_secs(20);

/// A folder with a CA and what it issued.
struct Scene {
    dir: TempDir,
    ca: Authority,
    server: PairFiles,
    client: PairFiles,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let ca = Authority::new("test-ca");
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("write the CA");
        let server = ca.issue(server_subject()).write(dir.path(), "server");
        let client = ca.issue(Subject::named("root")).write(dir.path(), "client");
        Scene { dir, ca, server, client }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, issued: &Issued) -> PairFiles {
        issued.write(self.dir.path(), name)
    }

    /// Our server with a certificate, serving `schemes`.
    fn server(&self, schemes: &[&'static str]) -> Builder {
        Server::builder(Kind::Ours, &self.dir.path().join("member")).client_schemes(schemes).args([
            format!("--cert-file={}", self.server.cert.display()),
            format!("--key-file={}", self.server.key.display()),
        ])
    }

    /// The same, demanding client certificates.
    fn strict_server(&self, schemes: &[&'static str]) -> Builder {
        let ca = format!("--trusted-ca-file={}", self.path("ca.pem"));
        self.server(schemes).args([ca, "--client-cert-auth".to_owned()])
    }

    /// Flags of a client that trusts the CA.
    fn trusting(&self) -> Vec<String> {
        vec![format!("--cacert={}", self.path("ca.pem")), "--command-timeout=10s".to_owned()]
    }

    /// Flags of a client that trusts the CA and shows a certificate.
    fn showing(&self, pair: &PairFiles) -> Vec<String> {
        let mut flags = self.trusting();
        flags.push(format!("--cert={}", pair.cert.display()));
        flags.push(format!("--key={}", pair.key.display()));
        flags
    }
}

fn server_subject() -> Subject {
    Subject::named("etcd-server").hosts(&["localhost", "127.0.0.1"])
}

/// Starts a server that cannot be asked for its health in plain text.
fn start(builder: Builder) -> Server {
    let mut server = builder.spawn();
    eventually("the server serves", SOON, || {
        let log = server.log();
        assert!(server.ended().is_none(), "the server ended early: {log}");
        log.contains("\"serving client traffic securely\"").then_some(())
    });
    server
}

/// Runs a tool against `https` at the server's port.
fn secure(tool: Tool, server: &Server, flags: &[String], args: &[&str]) -> Output {
    let mut all = flags.to_vec();
    all.extend(args.iter().map(|&arg| arg.to_owned()));
    let endpoint = format!("https://{}", server.client_authority());
    let output = tool
        .command(server)
        .env("ETCDCTL_ENDPOINTS", endpoint)
        .args(&all)
        .output()
        .expect("run etcdctl");
    Output {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a tool that cannot succeed, for as long as it takes to be turned away.
fn turned_away(tool: Tool, server: &Server, flags: &[String]) {
    let mut flags = flags.to_vec();
    flags.push("--command-timeout=1s".to_owned());
    let output = secure(tool, server, &flags, &["get", "k"]);
    assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{}", output.stderr);
}

/// Waits until the server has logged a rejected connection of a client with this error.
fn rejected(server: &Server, error: &str) {
    rejected_on("client", server, error);
}

/// The same on either port.
fn rejected_on(endpoint: &str, server: &Server, error: &str) {
    eventually(&format!("the log tells: {error}"), SOON, || {
        let log = server.log();
        let told = log.lines().any(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            line["msg"] == format!("rejected connection on {endpoint} endpoint")
                && line["level"] == "warn"
                && line["remote-addr"].as_str().is_some_and(|a| a.starts_with("127.0.0."))
                && line["error"].as_str().is_some_and(|e| e.contains(error))
        });
        told.then_some(())
    });
}

/// Runs `curl` without looking at the environment: what it printed, and whether it succeeded.
fn curl(args: &[&str]) -> (bool, String) {
    let output = Command::new("curl")
        .args(["-sS", "--noproxy", "*", "--max-time", "20"])
        .args(args)
        .output()
        .expect("run curl");
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A path in the words of a flag.
fn shown(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// A port nobody listens on right now.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("an address").port()
}

/// A file below the scene's folder.
fn file(scene: &Scene, name: &str) -> PathBuf {
    scene.dir.path().join(name)
}
