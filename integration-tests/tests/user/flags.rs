//! The server's command line, environment, signals and HTTP pages.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use integration_tests::{Kind, Server, Tool, our_binary};
use nix::sys::signal::Signal;

use crate::{SOON, running};

/// A server that should not start: its status, standard output and standard error.
fn refused(args: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let data = dir.path().join("data");
    let output = Command::new("timeout")
        .arg("20")
        .arg(our_binary("etcd"))
        .arg(format!("--data-dir={}", data.display()))
        .args(["--listen-client-urls=http://127.0.0.1:0", "--listen-peer-urls=http://127.0.0.1:0"])
        .arg("--advertise-client-urls=http://127.0.0.1:1")
        .arg("--initial-advertise-peer-urls=http://127.0.0.1:2")
        .args(args)
        .envs(env.iter().copied())
        .output()
        .expect("start the server");
    assert!(!data.join("member/snap/db").exists(), "{args:?} made a database");
    let text = |bytes| String::from_utf8(bytes).expect("plain text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// The `error` of the last line of a log.
fn last_error(log: &str) -> (String, String) {
    let line = log.lines().last().unwrap_or_default();
    let line: serde_json::Value =
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {log}"));
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (text("msg"), text("error"))
}

/// The unit's flags without TLS, addresses on loopback.
#[test]
fn the_flags_of_the_unit_serve_and_tell_systemd() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("notify.socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let server = Server::builder(Kind::Ours, dir.path())
        .name("etcd-192.168.174.103")
        .args([
            "--initial-cluster-token=etcd-cluster-0",
            "--initial-cluster-state=new",
            "--wal-dir=",
            "--snapshot-count=50000",
            "--auto-compaction-retention=1",
            "--auto-compaction-mode=periodic",
            "--max-request-bytes=10485760",
            "--quota-backend-bytes=8589934592",
        ])
        .env("NOTIFY_SOCKET", path.to_str().expect("plain"))
        .spawn();
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("a datagram");
    assert_eq!(buffer.get(..length), Some(&b"READY=1"[..]));
    Tool::Reference.ok(&server, &["endpoint", "health"]);
    Tool::Ours.ok(&server, &["endpoint", "health"]);
    let members = Tool::Ours.ok(&server, &["member", "list"]);
    assert!(members.contains(", started, etcd-192.168.174.103, http://127.0.0.1:"), "{members}");
    assert_eq!(server.metric("etcd_server_quota_backend_bytes"), 8_589_934_592.0);
    let wal = server.data_dir().join("member/wal/0000000000000000-0000000000000000.wal");
    assert!(wal.exists(), "an empty --wal-dir is the usual place");
    let log = server.log();
    let start = log.lines().find(|line| line.contains("\"starting an etcd server\""));
    let start = start.unwrap_or_else(|| panic!("no start: {log}"));
    for field in [
        "\"name\":\"etcd-192.168.174.103\"",
        "\"snapshot-count\":50000",
        "\"max-request-bytes\":10485760",
        "\"quota-backend-bytes\":8589934592",
        "\"initial-cluster-token\":\"etcd-cluster-0\"",
    ] {
        assert!(start.contains(field), "{field} is not in {start}");
    }
}

#[test]
fn flags_are_read_from_the_environment() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path())
        .env("ETCD_QUOTA_BACKEND_BYTES", "1234567890")
        .env("ETCD_MAX_TXN_OPS", "2")
        .env("ETCD_WAL_DIR", dir.path().join("wal").to_str().expect("plain"))
        .env("ETCD_NO_SUCH_FLAG", "x")
        .start();
    assert_eq!(server.metric("etcd_server_quota_backend_bytes"), 1_234_567_890.0);
    assert!(dir.path().join("wal/0000000000000000-0000000000000000.wal").exists());
    let (code, _, stderr) =
        crate::answer(Tool::Ours, &server, &["txn"], "\nput a 1\nput b 2\nput c 3\n\n\n");
    let text = "Error: etcdserver: too many operations in txn request\n";
    assert_eq!((code, stderr.as_str()), (1, text));
    let log = server.log();
    for (message, field) in [
        ("recognized and used environment variable", "\"variable-value\":\"1234567890\""),
        ("unrecognized environment variable", "\"environment-variable\":\"ETCD_NO_SUCH_FLAG=x\""),
    ] {
        let found = log.lines().any(|line| line.contains(message) && line.contains(field));
        assert!(found, "{field}: {log}");
    }
}

/// The zone in the form that needs no tables on the machine.
#[test]
fn log_lines_carry_the_local_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path()).env("TZ", "IST-5:30").start();
    let log = server.log();
    let line: serde_json::Value = log
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find(|line: &serde_json::Value| line["msg"] == "ready to serve client requests")
        .expect("the line");
    let time = line["ts"].as_str().expect("a time");
    assert!(time.len() == 31 && time.ends_with("+0530"), "{time}");
}

#[test]
fn a_variable_beside_its_flag_is_a_conflict() {
    // Another value, the same, and none at all.
    for value in ["other", "m1", ""] {
        let (code, _, log) = refused(&["--name=m1"], &[("ETCD_NAME", value)]);
        assert_eq!(code, 1, "{log}");
        let line: serde_json::Value =
            serde_json::from_str(log.lines().last().expect("a line")).expect("JSON");
        assert_eq!(line["level"], "fatal");
        let text = "conflicting environment variable is shadowed by corresponding command-line \
                    flag (either unset environment variable or disable flag))";
        assert_eq!(line["msg"], text);
        assert_eq!(line["environment-variable"], "ETCD_NAME");
    }
}

#[test]
fn a_command_line_that_cannot_be_read_ends_with_2() {
    for (args, line) in [
        (&["--no-such-flag"][..], "flag provided but not defined: -no-such-flag"),
        (&["-no-such-flag=1"], "flag provided but not defined: -no-such-flag"),
        (&["--snapshot-count"], "flag needs an argument: -snapshot-count"),
        (&["--snapshot-count=x"], "invalid value \"x\" for flag -snapshot-count: parse error"),
        (
            &["--initial-cluster-state=old"],
            "invalid value \"old\" for flag -initial-cluster-state: invalid value",
        ),
        (&["--log-level=loud"], "panic: unrecognized level: \"loud\""),
    ] {
        let (code, stdout, stderr) = refused(args, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}");
        assert_eq!(stderr.lines().next(), Some(line));
    }
}

#[test]
fn flags_that_make_no_sense_end_with_1_and_the_reason() {
    let cluster = "--initial-cluster=default=http://127.0.0.1:2";
    for (args, message, error) in [
        (&["stray"][..], "failed to verify flags", "\"stray\" is not a valid flag"),
        (
            &["--auto-compaction-mode=weekly"],
            "failed to verify flags",
            "unknown auto-compaction-mode \"weekly\"",
        ),
        (
            &[cluster, "--auto-compaction-retention=1d"],
            "discovery failed",
            "error parsing CompactionRetention: time: unknown unit \"d\" in duration \"1d\"",
        ),
        (
            &[cluster, "--auto-compaction-retention=-1"],
            "discovery failed",
            "error parsing CompactionRetention: time: missing unit in duration \"-1\"",
        ),
        (
            &["--heartbeat-interval=0"],
            "failed to verify flags",
            "--heartbeat-interval must be >0 (set to 0ms)",
        ),
        (
            &["--election-timeout=400"],
            "failed to verify flags",
            "--election-timeout[400ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            &["--initial-cluster=other=http://127.0.0.1:2"],
            "discovery failed",
            "couldn't find local name \"default\" in the initial cluster configuration",
        ),
    ] {
        let (code, _, log) = refused(args, &[]);
        let found = last_error(&log);
        assert_eq!(code, 1, "{args:?}");
        assert_eq!((found.0.as_str(), found.1.as_str()), (message, error), "{args:?}");
    }
    let (code, _, log) = refused(&[], &[("ETCD_SNAPSHOT_COUNT", "x")]);
    let error = "invalid value \"x\" for ETCD_SNAPSHOT_COUNT: parse error".to_owned();
    assert_eq!((code, last_error(&log)), (1, ("failed to verify flags".to_owned(), error)));
}

#[test]
fn version_and_help_go_to_standard_output() {
    let run = |flag: &str| {
        let output = Command::new(our_binary("etcd")).arg(flag).output().expect("run");
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).expect("plain text")
    };
    let version = run("--version");
    let labels: Vec<&str> = version.lines().map(|l| l.split(": ").next().expect("one")).collect();
    assert_eq!(labels, ["etcd Version", "Git SHA", "Go Version", "Go OS/Arch"]);
    assert_eq!(version.lines().next(), Some("etcd Version: 3.7.1"));
    let help = run("--help");
    for flag in ["--name 'default'", "--quota-backend-bytes '0'", "--wal-dir ''"] {
        assert!(help.contains(flag), "{flag} is not in the help");
    }
}

#[test]
fn a_database_of_another_engine_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("data/member/snap/db");
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
    let content = b"\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0\xed\xda\x0c\xed\x02\0\0\0\0\x10\0\0";
    std::fs::write(&path, content).expect("write");
    let mut server = Server::builder(Kind::Ours, dir.path()).spawn();
    assert_eq!(server.wait(SOON).code(), Some(1), "{}", server.log());
    let (message, error) = last_error(&server.log());
    assert_eq!(message, "discovery failed");
    assert!(error.contains(path.to_str().expect("plain")), "{error}");
    assert!(error.contains("bbolt"), "{error}");
    assert_eq!(std::fs::read(&path).expect("still there"), content);
}

/// D-18 without load, by the other signal; then ids, keys and revisions are as before.
#[test]
fn a_restart_keeps_the_ids_and_the_keys() {
    let (_dir, mut server) = running(&[]);
    Tool::Ours.ok(&server, &["put", "k", "v"]);
    let ask = |server: &Server| {
        let members = Tool::Ours.ok(server, &["member", "list", "-w", "json"]);
        let members: serde_json::Value = serde_json::from_str(&members).expect("JSON");
        let pairs = Tool::Ours.ok(server, &["get", "k", "-w", "json"]);
        let pairs: serde_json::Value = serde_json::from_str(&pairs).expect("JSON");
        let header = &members["header"];
        assert_eq!(pairs["kvs"][0]["mod_revision"], 2);
        assert_eq!(pairs["header"]["revision"], 2);
        (header["cluster_id"].clone(), header["member_id"].clone(), members["members"].clone())
    };
    let before = ask(&server);
    server.signal(Signal::SIGINT);
    let status = server.wait(SOON);
    assert_eq!(status.signal(), Some(2), "{status}");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("\"received signal; shutting down\""));
    assert!(line.is_some_and(|line| line.contains("\"signal\":\"interrupt\"")), "{log}");
    // What the flags say of the cluster counts only at the first start.
    let server = server.again().args(["--initial-cluster-token=another"]).start();
    assert_eq!(ask(&server), before);
}

/// One request by hand: status, headers in lower case, body.
fn http(server: &Server, method: &str, path: &str, host: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.client_authority()).expect("connect");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        .expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, head.to_lowercase(), body.to_owned())
}

#[test]
fn the_metrics_page_is_compressed_for_who_can_read_that() {
    let (_dir, server) = running(&[]);
    let ask = |accepted: &str| {
        let mut stream = TcpStream::connect(server.client_authority()).expect("connect");
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Accept-Encoding: {accepted}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
        (head.contains("\r\ncontent-encoding: gzip"), answer.split_off(end + 4))
    };
    let (is_gzip, body) = ask("deflate, gzip");
    assert!(is_gzip);
    let mut page = String::new();
    flate2::read::GzDecoder::new(&body[..]).read_to_string(&mut page).expect("gzip");
    assert!(page.contains("\netcd_server_has_leader 1\n"), "{page}");
    for accepted in ["identity", "gzip;q=0", ""] {
        let (is_gzip, body) = ask(accepted);
        assert!(!is_gzip, "{accepted}");
        assert!(String::from_utf8_lossy(&body).contains("\netcd_server_has_leader 1\n"));
    }
}

#[test]
fn the_pages_answer_as_probes_expect() {
    let (_dir, server) = running(&[]);
    let get = |path: &str| {
        let (status, _, body) = http(&server, "GET", path, "localhost:2379");
        (status, body)
    };
    let ok = |body: &str| (200, body.to_owned());
    assert_eq!(get("/health"), ok("{\"health\":\"true\",\"reason\":\"\"}"));
    assert_eq!(get("/health?serializable=true"), ok("{\"health\":\"true\",\"reason\":\"\"}"));
    let version = "{\"etcdserver\":\"3.7.1\",\"etcdcluster\":\"3.7.0\",\"storage\":\"3.7.0\"}";
    assert_eq!(get("/version"), ok(version));
    for path in ["/livez", "/readyz", "/livez/serializable_read", "/readyz/linearizable_read"] {
        assert_eq!(get(path), ok("ok\n"), "{path}");
    }
    let (status, body) = get("/readyz?verbose");
    let mut checks: Vec<&str> = body.lines().collect();
    checks.sort_unstable();
    let expected = [
        "[+]data_corruption ok",
        "[+]linearizable_read ok",
        "[+]non_learner ok",
        "[+]serializable_read ok",
        "ok",
    ];
    assert_eq!((status, &checks[..]), (200, &expected[..]));
    for path in ["/", "/v2/keys", "/health/", "/readyz/none", "/config/local/log"] {
        assert_eq!(get(path), (404, "404 page not found\n".to_owned()), "{path}");
    }
    let (status, head, body) = http(&server, "POST", "/health", "x");
    assert_eq!((status, body.as_str()), (405, "Method Not Allowed\n"));
    assert!(head.contains("\r\nallow: get"), "{head}");
    let (_, head, _) = http(&server, "GET", "/version", "x");
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
}

#[test]
fn only_listed_hosts_are_answered() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path())
        .args(["--host-whitelist=localhost,127.0.0.1,etcd.example"])
        .start();
    for host in ["localhost", "127.0.0.1:2379", "etcd.example:1"] {
        assert_eq!(http(&server, "GET", "/health", host).0, 200, "{host}");
    }
    let (status, head, body) = http(&server, "GET", "/health", "evil.com");
    let text = "\netcd received your request, but the Host header was unrecognized.\n\n\
        To fix this, choose one of the following options:\n\
        - Enable TLS, then any HTTPS request will be allowed.\n\
        - Add the hostname you want to use to the whitelist in settings.\n  \
          - e.g. etcd --host-whitelist \"evil.com\"\n\n\
        This requirement has been added to help prevent \"DNS Rebinding\" attacks \
        (CVE-2018-5702).\n\n";
    assert_eq!((status, body.as_str()), (421, text));
    assert!(!head.contains("access-control-"), "{head}");
    // gRPC is not HTTP for people: it stays open.
    Tool::Reference.ok(&server, &["put", "k", "v"]);
}

/// The families that dashboards and alerts ask for.
const FAMILIES: [(&str, &str); 20] = [
    ("etcd_cluster_version", "gauge"),
    ("etcd_debugging_mvcc_watcher_total", "gauge"),
    ("etcd_disk_backend_commit_duration_seconds", "histogram"),
    ("etcd_disk_wal_fsync_duration_seconds", "histogram"),
    ("etcd_mvcc_db_total_size_in_bytes", "gauge"),
    ("etcd_mvcc_db_total_size_in_use_in_bytes", "gauge"),
    ("etcd_network_client_grpc_received_bytes_total", "counter"),
    ("etcd_network_client_grpc_sent_bytes_total", "counter"),
    ("etcd_server_has_leader", "gauge"),
    ("etcd_server_leader_changes_seen_total", "counter"),
    ("etcd_server_proposals_applied_total", "gauge"),
    ("etcd_server_proposals_committed_total", "gauge"),
    ("etcd_server_proposals_failed_total", "counter"),
    ("etcd_server_proposals_pending", "gauge"),
    ("etcd_server_quota_backend_bytes", "gauge"),
    ("grpc_server_handled_total", "counter"),
    ("grpc_server_handling_seconds", "histogram"),
    ("grpc_server_started_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
];

#[test]
fn the_metrics_page_can_be_read_and_counts() {
    let (_dir, server) = running(&["--metrics=extensive"]);
    let puts_before = server.metric("etcd_mvcc_put_total");
    for value in ["1", "2", "3"] {
        Tool::Ours.ok(&server, &["put", "k", value]);
    }
    assert_eq!(server.metric("etcd_mvcc_put_total"), puts_before + 3.0);
    Tool::Ours.ok(&server, &["get", "k"]);
    let nothing = Tool::Ours.run(&server, &["lease", "revoke", "1"]);
    assert_ne!(nothing.code, 0);
    for (success, kind, count) in
        [("true", "Put", 3.0), ("true", "Range", 1.0), ("false", "LeaseRevoke", 1.0)]
    {
        let labels = format!("{{success=\"{success}\",type=\"{kind}\"}}");
        let series = format!("etcd_server_request_duration_seconds_count{labels}");
        assert_eq!(server.metric(&series), count, "{series}");
    }
    assert_eq!(server.metric("etcd_server_has_leader"), 1.0);
    let (status, head, page) = http(&server, "GET", "/metrics", "x");
    assert_eq!(status, 200);
    assert!(head.contains("\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let mut families: Vec<(&str, &str)> = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(help) = lines.next() {
        let name = help.strip_prefix("# HELP ").expect("help first").split(' ').next();
        let name = name.expect("a name");
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE "));
        let kind = kind.and_then(|rest| rest.strip_prefix(name)).expect("then the type").trim();
        families.push((name, kind));
        while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').expect("a value");
            assert!(series.starts_with(name), "{sample} below {name}");
            assert!(value.parse::<f64>().is_ok(), "{sample}");
        }
    }
    assert!(families.is_sorted_by(|a, b| a.0 < b.0), "not sorted, or one twice");
    for family in FAMILIES {
        assert!(families.contains(&family), "{family:?} is not on the page");
    }
    let handled = "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
                   grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 3";
    assert!(page.lines().any(|line| line == handled), "{page}");
}
