use std::fs;
use std::path::Path;

use integration_tests::{Kind, Server, Tool, hash_kv, own_network, skipped, status};

use crate::{
    kept_rows, kept_rows_of, keys, leases, messages, recorded, revision, run, succeeds, text,
};

/// Every file below a folder, with its bytes' CRC.
fn contents(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("list").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("read");
            found.push((path.display().to_string(), crc32c::crc32c(&bytes)));
        }
    }
    found.sort();
    found
}

fn import(from: &Path, to: &Path) -> String {
    succeeds(&["import", "--from-data-dir", text(from), "--data-dir", text(to)])
}

fn members(server: &Server) -> String {
    Tool::Reference.ok(server, &["member", "list"])
}

#[test]
fn a_member_of_real_etcd_moves_in() {
    let dir = tempfile::tempdir().expect("a folder");
    for (of, hash) in [("etcd-3.7.1", 3_866_940_726), ("etcd-3.4.23", 1_044_277_136)] {
        let from = recorded::data_dir(of, dir.path());
        let before = contents(&from);
        let to = dir.path().join(format!("{of}-ours"));
        let stderr = import(&from, &to);
        assert_eq!(messages(&stderr), ["importing member", "imported member"], "{stderr}");
        assert!(stderr.contains("\"member-id\": \"8e9e05c52164694d\""), "{stderr}");
        assert_eq!(contents(&from), before, "the original is only read");

        let server = Server::builder(Kind::Ours, &dir.path().join("log")).data_dir(&to).start();
        let authority = server.client_authority();
        assert_eq!(hash_kv(&authority, 69), (hash, 69), "{of}");
        assert_eq!(revision(&server), 69);
        assert_eq!(keys(&server), recorded::keys(of), "{of}");
        assert_eq!(kept_rows_of(&server), kept_rows(&from.join("member/snap/db")), "{of}");
        assert!(members(&server).starts_with("8e9e05c52164694d, started, default, "));
        assert!(!leases(&server).is_empty());
        Tool::Reference.ok(&server, &["put", "after", "import"]);
        let (again, _) = server.stop();
        assert_eq!(revision(&again.start()), 70);
    }
}

#[test]
fn entries_behind_the_backend_come_from_the_log() {
    // The database of a moment before most of the log: as after a power cut.
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::builder(Kind::Reference, dir.path());
    let data = dir.path().join("data");
    server = server.args(["--snapshot-count=1000000"]);
    let server = server.start();
    Tool::Reference.ok(&server, &["put", "early", "1"]);
    let (builder, _) = server.stop();
    let early = fs::read(data.join("member/snap/db")).expect("read");
    let server = builder.start();
    for n in 0..20 {
        Tool::Reference.ok(&server, &["put", "late", &n.to_string()]);
    }
    Tool::Reference.ok(&server, &["del", "early"]);
    let hash = hash_kv(&server.client_authority(), 0);
    drop(server.stop());
    fs::write(data.join("member/snap/db"), early).expect("write");

    let to = dir.path().join("ours");
    import(&data, &to);
    let server = Server::builder(Kind::Ours, &dir.path().join("log")).data_dir(&to).start();
    assert_eq!(hash_kv(&server.client_authority(), 0), hash);
}

#[test]
fn what_cannot_move_in_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |from: &Path| {
        let to = dir.path().join("never");
        let output = run(&["import", "--from-data-dir", text(from), "--data-dir", text(&to)]);
        assert_eq!(output.code, 1, "{output:?}");
        assert!(!to.exists());
        output.stderr.lines().last().unwrap_or_default().to_owned()
    };
    let removed = recorded::data_dir("cluster-m3", dir.path());
    let text_of_removed =
        "Error: member 6259c509f8bd080f has been permanently removed from the cluster";
    assert_eq!(refused(&removed), text_of_removed);
    let empty = dir.path().join("empty");
    let missing = format!("Error: stat {}/member/snap/db: no such file or directory", text(&empty));
    assert_eq!(refused(&empty), missing);

    let from = recorded::data_dir("etcd-3.7.1", dir.path());
    let held = fs::File::open(from.join("member/snap/db")).expect("open");
    held.lock().expect("lock");
    let to = dir.path().join("never");
    let args =
        ["import", "--from-data-dir", text(&from), "--data-dir", text(&to), "--timeout", "100ms"];
    let output = run(&args);
    assert!(output.stderr.ends_with("is in use by another process (timeout)\n"), "{output:?}");
    drop(held);

    // A log that ends before what the database has applied.
    let log = from.join("member/wal/0000000000000000-0000000000000000.wal");
    let log = fs::File::options().write(true).open(log).expect("open");
    log.set_len(30_000).expect("cut");
    let lost = refused(&from);
    assert!(lost.ends_with("entries are lost"), "{lost}");
    log.set_len(0).expect("cut");
    assert!(refused(&from).starts_with("Error: wal: "), "{}", refused(&from));

    let ours = dir.path().join("ours");
    fs::create_dir_all(ours.join("member/snap/db")).expect("folder");
    assert!(refused(&ours).ends_with("is a folder: this member needs no import"));
}

#[test]
fn a_member_moves_out_to_real_etcd_and_back() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, dir.path()).start();
    for n in 0..50 {
        Tool::Reference.ok(&server, &["put", &format!("k{}", n % 7), &n.to_string()]);
    }
    Tool::Reference.ok(&server, &["del", "k3"]);
    Tool::Reference.ok(&server, &["compaction", "20"]);
    let granted = Tool::Reference.ok(&server, &["lease", "grant", "1000"]);
    let lease = granted.split(' ').nth(1).expect("an id").to_owned();
    Tool::Reference.ok(&server, &["put", "--lease", &lease, "leased", "x"]);
    let (hash, found) = (hash_kv(&server.client_authority(), 0), leases(&server));
    let listed = members(&server);
    // Killed: the backend is behind the log.
    let builder = server.kill();
    let ours = dir.path().join("data");

    let theirs = dir.path().join("theirs");
    let args = ["export", "--data-dir", text(&ours), "--to-data-dir", text(&theirs)];
    let stderr = succeeds(&[&args[..], &["--target-version", "3.4"]].concat());
    assert_eq!(messages(&stderr), ["exporting member", "exported member"], "{stderr}");
    let log = dir.path().join("log");
    let real = Server::builder(Kind::Reference, &log).data_dir(&theirs).start();
    assert_eq!(hash_kv(&real.client_authority(), 0), hash);
    assert_eq!(leases(&real), found);
    // It tells its new client URL; id, name and peer URL are those of the member.
    let id = |list: &str| list.split(", ").take(4).collect::<Vec<_>>().join(", ");
    assert_eq!(id(&members(&real)), id(&listed));
    Tool::Reference.ok(&real, &["put", "there", "1"]);
    let hash_there = hash_kv(&real.client_authority(), 0);
    drop(real.stop());

    // The exported member itself is what it was.
    let server = builder.start();
    assert_eq!(hash_kv(&server.client_authority(), 0), hash);
    drop(server.stop());

    let back = dir.path().join("back");
    import(&theirs, &back);
    let server = Server::builder(Kind::Ours, &log).data_dir(&back).start();
    assert_eq!(hash_kv(&server.client_authority(), 0), hash_there);
    assert_eq!(leases(&server), found);
}

#[test]
fn versions_there_is_no_export_for_are_refused() {
    for version in ["3.3", "3.8", "x", "4.0"] {
        let args = ["export", "--data-dir", "a", "--to-data-dir", "b", "--target-version", version];
        let output = run(&args);
        let text =
            format!("Error: target version \"{version}\" not supported: \"3.4\" to \"3.7\" are\n");
        assert_eq!((output.code, output.stderr), (128, text));
    }
}

/// In a network of its own: the ports are those that the recorded members tell each other.
#[test]
fn a_cluster_of_real_etcd_moves_in_and_goes_on() {
    if let Err(error) = own_network() {
        return skipped("recorded cluster", &error);
    }
    let dir = tempfile::tempdir().expect("a folder");
    let start = |name: &str, ports: &[u16]| {
        let home = dir.path().join(name);
        let from = recorded::data_dir(&format!("cluster-{name}"), dir.path());
        let to = home.join("ours");
        import(&from, &to);
        let urls: Vec<String> =
            ports.iter().map(|port| format!("http://127.0.0.1:{port}")).collect();
        let listen = format!("--listen-peer-urls={}", urls.join(","));
        Server::builder(Kind::Ours, &home).name(name).data_dir(&to).args([listen]).spawn()
    };
    let mut servers = [start("m1", &[35001]), start("m2", &[35002]), start("m4", &[35004, 35014])];
    servers.iter_mut().for_each(Server::await_health);
    for server in &servers {
        assert_eq!(hash_kv(&server.client_authority(), 231), (2_117_252_056, 231));
        assert_eq!(keys(server), recorded::keys("cluster"));
        let id = status(&server.client_authority())
            .expect("a status")
            .header
            .expect("a header")
            .cluster_id;
        assert_eq!(id, 1_106_344_641_585_656_815);
        let list = members(server);
        let ids: Vec<&str> = list.lines().filter_map(|line| line.split(", ").next()).collect();
        assert_eq!(ids, ["15ae9e1b9c7f2f19", "ac0e9c2b3747ff6e", "ac1f978db5455996"]);
    }
    Tool::Reference.ok(&servers[0], &["put", "after", "import"]);
    let got = Tool::Reference.ok(&servers[2], &["get", "after", "--print-value-only"]);
    assert_eq!(got, "import\n");
    assert_eq!(revision(&servers[1]), 232);
}
