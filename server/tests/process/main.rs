//! The program as an operator meets it: exit codes, readiness, signals, data directories.

mod loops;
mod server;

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output};

use nix::sys::signal::Signal;
use serde_json::Value;

use server::{Flags, Server, etcd, free_url, get};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The last line of the log, which must be fatal, and its error.
fn fatal_error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let stderr = text(&output.stderr);
    let line: Value =
        serde_json::from_str(stderr.lines().last().unwrap_or_default()).expect("a log line");
    assert_eq!(line["level"], "fatal");
    assert_eq!(line["msg"], "discovery failed");
    line["error"].as_str().expect("an error").to_owned()
}

#[test]
fn version_help_and_wrong_usage_have_their_exit_codes() {
    let run = |args: &[&str]| etcd().args(args).output().expect("the program");
    let version = run(&["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(text(&version.stdout).starts_with("etcd Version: 3.7.1\nGit SHA: "));
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).starts_with("\nMember:\n  --name 'default'\n"));
    assert!(text(&help.stderr).starts_with("Usage:\n"));
    let wrong = run(&["--nope"]);
    assert_eq!(wrong.status.code(), Some(2));
    let head = "flag provided but not defined: -nope\nUsage:\n";
    assert!(text(&wrong.stderr).starts_with(head));
    let level = run(&["--log-level=loud"]);
    assert_eq!(level.status.code(), Some(2));
    assert_eq!(text(&level.stderr), "panic: unrecognized level: \"loud\"\n");
}

#[test]
fn refused_flags_are_logged_and_exit_1() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let cases = [
        ("foo", "\"foo\" is not a valid flag"),
        ("--election-timeout=1", "--election-timeout[1ms] should be at least as 5 times as"),
        ("--auth-token=jwt", "--auth-token=jwt is refused: authentication is not available"),
        ("--log-format=xml", "unknown log format: xml, supported values json, console"),
    ];
    for (arg, want) in cases {
        let output = etcd().arg(arg).current_dir(&dir).output().expect("the program");
        assert_eq!(output.status.code(), Some(1), "{arg}");
        let stderr = text(&output.stderr);
        let line: Value =
            serde_json::from_str(stderr.lines().last().unwrap_or_default()).expect("a log line");
        assert_eq!(
            (line["level"].as_str(), line["msg"].as_str()),
            (Some("warn"), Some("failed to verify flags"))
        );
        assert!(line["error"].as_str().is_some_and(|e| e.starts_with(want)), "{line}");
    }
    let conflict = etcd().arg("--name=a").env("ETCD_NAME", "a").output().expect("the program");
    assert_eq!(conflict.status.code(), Some(1));
    let line: Value = serde_json::from_str(&text(&conflict.stderr)).expect("one log line");
    assert_eq!(line["level"], "fatal");
    assert_eq!(line["environment-variable"], "ETCD_NAME");
    let left = std::fs::read_dir(&dir).expect("the folder").count();
    assert_eq!(left, 0, "nothing is made before the flags are good");
}

#[test]
fn a_server_is_ready_serves_and_dies_of_the_signal() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let server = Server::start(dir.path(), &flags, |_| {});
    assert!(server.get("/health").ends_with("\r\n\r\n{\"health\":\"true\",\"reason\":\"\"}"));
    assert!(server.get("/readyz").ends_with("\r\n\r\nok\n"));
    assert!(server.get("/version").contains("{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\""));
    assert!(server.get("/metrics").contains("\netcd_server_is_leader 1\n"));
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&flags.data), 0o700);
    assert_eq!(mode(&flags.data.join("member/snap")), 0o700);
    let names: Vec<_> = std::fs::read_dir(&flags.data)
        .expect("the data directory")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["member"]);
    let (status, log) = server.stop(Signal::SIGTERM);
    assert_eq!(status.signal(), Some(15));
    for line in log.lines() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(line.starts_with("{\"level\":\"") && line.contains("\",\"ts\":\"20"), "{line}");
        assert!(value["caller"].is_string() && value["msg"].is_string(), "{line}");
        assert_ne!(value["level"], "error", "{line}");
    }
    let order = [
        "starting an etcd server",
        "published local member to cluster through raft",
        "ready to serve client requests",
        "successfully notified init daemon",
        "received signal; shutting down",
        "closing etcd server",
        "closed etcd server",
    ];
    let places: Vec<Option<usize>> = order.iter().map(|m| log.find(m)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}");
    // What was written is there again, and the other signal works, too, although a shell starts
    // what runs in its background with interrupts ignored.
    let server = Server::start(dir.path(), &flags, |command| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' INT; exec \"$@\"", "sh"]);
        shell.arg(command.get_program()).args(command.get_args());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let log = File::create(dir.path().join("log")).expect("a log file");
        *command = shell;
        command.stderr(log);
    });
    assert!(server.logged().contains("restarting local member"));
    let (status, _) = server.stop(Signal::SIGINT);
    assert_eq!(status.signal(), Some(2));
}

#[test]
fn a_killed_server_starts_again_as_the_same_member() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let server = Server::start(dir.path(), &flags, |_| {});
    let before = get(&flags.peer, "/members");
    server.stop(Signal::SIGKILL);
    // Bootstrap flags mean nothing any more.
    let server = Server::start(dir.path(), &flags, |command| {
        command.args(["--initial-cluster=x=http://127.0.0.1:1", "--initial-cluster-token=y"]);
    });
    let body = |answer: &str| answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
    assert_eq!(body(&get(&flags.peer, "/members")), body(&before));
    assert!(body(&before).contains("\"name\":\"m1\""));
    drop(server);
}

#[test]
fn a_second_server_on_a_data_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let first = Server::start(dir.path(), &flags, |_| {});
    let elsewhere = Flags::new(&flags.data);
    let error = fatal_error(&elsewhere.command().output().expect("the program"));
    let want = format!("data directory {} is used by another etcd process", flags.data.display());
    assert_eq!(error, want);
    assert!(first.get("/health").contains("\"true\""));
}

#[test]
fn a_port_conflict_leaves_the_data_alone() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let address = flags.peer.strip_prefix("http://").expect("a plain URL").to_owned();
    let taken = TcpListener::bind(&address).expect("a free port");
    let error = fatal_error(&flags.command().output().expect("the program"));
    assert_eq!(error, format!("listen tcp {address}: bind: address already in use"));
    assert!(!flags.data.exists());
    drop(taken);
}

#[test]
fn what_cannot_be_started_is_refused_in_clear_words() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let refusal = |name: &str, args: &[String]| {
        let flags = Flags::new(&dir.path().join(name));
        let peer = flags.peer.clone();
        let args = args.iter().map(|a| a.replace("PEER", &peer));
        (fatal_error(&flags.command().args(args).output().expect("the program")), peer)
    };
    let args = |list: &[&str]| list.iter().map(|a| (*a).to_owned()).collect::<Vec<_>>();
    let nobody = "--initial-cluster=m1=PEER,m2=http://127.0.0.1:1";
    let (error, _) = refusal("join", &args(&["--initial-cluster-state=existing", nobody]));
    let want = "cannot fetch cluster info from peer urls: could not retrieve cluster information";
    assert!(error.starts_with(want), "{error}");
    let (error, _) = refusal("name", &args(&["--initial-cluster=other=PEER"]));
    let want = "couldn't find local name \"m1\" in the initial cluster configuration";
    assert_eq!(error, want);
    let (error, peer) = refusal("url", &args(&["--initial-cluster=m1=http://127.0.0.1:1"]));
    assert_eq!(
        error,
        format!(
            "--initial-cluster has m1=http://127.0.0.1:1 but missing from \
             --initial-advertise-peer-urls={peer} (resolved urls: \"{peer}\" != \
             \"http://127.0.0.1:1\")"
        )
    );
    let (error, _) = refusal("twice", &args(&["--initial-cluster=m1=PEER,m2=PEER"]));
    assert!(error.ends_with("has duplicate url"), "{error}");
    let (error, _) = refusal("retention", &args(&["--auto-compaction-retention=abc"]));
    assert_eq!(error, "error parsing CompactionRetention: time: invalid duration \"abc\"");
}

#[test]
fn foreign_and_halved_data_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    Server::start(dir.path(), &flags, |_| {}).stop(Signal::SIGTERM);
    let wal = flags.data.join("member/wal");
    let aside = dir.path().join("wal");
    std::fs::rename(&wal, &aside).expect("moved");
    let error = fatal_error(&flags.command().output().expect("the program"));
    assert!(error.contains("holds data up to index") && error.contains("there is no log in"));
    assert!(!wal.exists(), "a refusal makes no log");
    // The log of another member beside this backend.
    let other = Flags::new(&dir.path().join("other"));
    Server::start(dir.path(), &other, |_| {}).stop(Signal::SIGTERM);
    std::fs::rename(other.data.join("member/wal"), &wal).expect("moved");
    let error = fatal_error(&flags.command().output().expect("the program"));
    assert!(error.contains("does not know") || error.contains("log ends"), "{error}");
    // A database of etcd itself.
    let bolt = Flags::new(&dir.path().join("bolt"));
    std::fs::create_dir_all(bolt.data.join("member/snap")).expect("made");
    std::fs::write(bolt.data.join("member/snap/db"), [0u8; 4096]).expect("written");
    let error = fatal_error(&bolt.command().output().expect("the program"));
    assert!(error.contains("bbolt"), "{error}");
}

#[test]
fn flags_come_from_the_environment_too() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let flags = Flags::new(&dir.path().join("data"));
    let metrics = free_url();
    let server = Server::start(dir.path(), &flags, |command| {
        command
            .env("ETCD_LISTEN_METRICS_URLS", &metrics)
            .env("ETCD_INITIAL_CLUSTER_TOKEN", "tk")
            .env("ETCD_HOST_WHITELIST", "nobody.example")
            .env("ETCD_WAL_DIR", dir.path().join("log-dir"));
    });
    assert!(server.get("/health").starts_with("HTTP/1.1 421 Misdirected Request\r\n"));
    assert!(get(&metrics, "/health").starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(&metrics, "/version").starts_with("HTTP/1.1 404 Not Found\r\n"));
    assert!(dir.path().join("log-dir").is_dir() && !flags.data.join("member/wal").exists());
    assert!(server.logged().contains("\"variable-name\":\"ETCD_INITIAL_CLUSTER_TOKEN\""));
}
