use std::fs;

use integration_tests::{Kind, Output, Server, Tool, hash_kv};

use crate::{etcdutl, leases, messages, recorded, revision, run, succeeds, text};

#[test]
fn status_of_recorded_backups_is_what_etcd_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = recorded::snapshot("etcd-3.7.1", dir.path());
    let told = |args: &[&str]| {
        let output = run(&[&["snapshot", "status", text(&file)], args].concat());
        assert_eq!((output.code, output.stderr.as_str()), (0, ""));
        output.stdout
    };
    assert_eq!(told(&[]), "c0fd5dd5, 69, 58, 82 kB, 3.7.0\n");
    assert_eq!(
        told(&["-w", "json"]),
        "{\"hash\":3237830101,\"revision\":69,\"totalKey\":58,\"totalSize\":81920,\
         \"version\":\"3.7.0\"}\n"
    );
    assert_eq!(
        told(&["--write-out=fields"]),
        "\"Hash\" : 3237830101\n\"Revision\" : 69\n\"Keys\" : 58\n\"Size\" : 81920\n\
         \"Version\" : 3.7.0\n"
    );
    assert_eq!(
        told(&["-wtable"]),
        "+----------+----------+------------+------------+---------+\n\
         |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |\n\
         +----------+----------+------------+------------+---------+\n\
         | c0fd5dd5 |       69 |         58 |      82 kB |   3.7.0 |\n\
         +----------+----------+------------+------------+---------+\n"
    );
    let old = recorded::snapshot("etcd-3.4.23", dir.path());
    assert_eq!(run(&["snapshot", "status", text(&old)]).stdout, "57e4a821, 69, 58, 82 kB, \n");
}

#[test]
fn status_refuses_what_is_no_backup() {
    let dir = tempfile::tempdir().expect("a folder");
    let refused = |args: &[&str]| {
        let Output { code, stdout, stderr } = run(&[&["snapshot", "status"], args].concat());
        assert_eq!(stdout, "");
        (code, stderr)
    };
    let missing = dir.path().join("nofile");
    let error = format!("Error: stat {}: no such file or directory\n", missing.display());
    assert_eq!(refused(&[text(&missing)]), (1, error));
    let other = dir.path().join("other");
    fs::write(&other, [b'x'; 10_000]).expect("write");
    assert_eq!(refused(&[text(&other)]), (1, "Error: invalid database\n".to_owned()));
    let format = "Error: protobuf not supported as output format\n".to_owned();
    assert_eq!(refused(&[text(&other), "-w", "protobuf"]), (4, format));

    let file = recorded::snapshot("etcd-3.7.1", dir.path());
    let mut bytes = fs::read(&file).expect("read");
    bytes[4 * 4096 + 8] = 0xff;
    fs::write(&file, bytes).expect("write");
    let (code, stderr) = refused(&[text(&file)]);
    assert_eq!(code, 1);
    assert!(stderr.starts_with("Error: snapshot file integrity check failed. "), "{stderr}");
    assert!(stderr.contains("pgId:4"), "{stderr}");
}

/// Restores a recorded backup for a member of these ports, starts it and looks.
fn restored(of: &str, args: &[&str]) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = recorded::snapshot(of, dir.path());
    let data = dir.path().join("restored");
    let mut builder = Server::builder(Kind::Ours, dir.path()).data_dir(&data);
    let cluster = builder.peer();
    let (_, url) = cluster.split_once('=').expect("a pair");
    let fixed = [
        "snapshot",
        "restore",
        text(&file),
        "--data-dir",
        text(&data),
        "--initial-cluster",
        &cluster,
        "--initial-advertise-peer-urls",
        url,
    ];
    let stderr = succeeds(&[&fixed, args].concat());
    let told = messages(&stderr);
    assert_eq!(told.first(), Some(&"restoring snapshot"), "{stderr}");
    assert_eq!(told.last(), Some(&"restored snapshot"), "{stderr}");
    let server = builder.start();
    (dir, server)
}

#[test]
fn a_restored_member_serves_what_was_saved() {
    for (of, hash) in [("etcd-3.7.1", 3_866_940_726), ("etcd-3.4.23", 1_044_277_136)] {
        let (_dir, server) = restored(of, &[]);
        let authority = server.client_authority();
        assert_eq!(hash_kv(&authority, 69), (hash, 69), "{of}");
        assert_eq!(revision(&server), 69, "{of}");
        let count =
            Tool::Reference.ok(&server, &["get", "", "--from-key", "--keys-only", "-w=fields"]);
        assert!(count.contains("\"Count\" : 58"), "{of}: {count}");
        let found = leases(&server);
        assert!(!found.is_empty(), "{of}");
        let members = Tool::Reference.ok(&server, &["member", "list"]);
        assert_eq!(members.lines().count(), 1, "{members}");
        assert!(members.contains(", started, default, "), "{members}");

        // And goes on from there, over a restart.
        Tool::Reference.ok(&server, &["put", "after", "restore"]);
        let (again, _) = server.stop();
        let server = again.start();
        assert_eq!(revision(&server), 70, "{of}");
        assert_eq!(leases(&server), found, "{of}");
    }
}

#[test]
fn a_raised_revision_ends_old_watches() {
    let (_dir, server) = restored("etcd-3.7.1", &["--bump-revision=1000", "--mark-compacted"]);
    let put = Tool::Reference.ok(&server, &["put", "a", "b", "-w=fields"]);
    assert!(put.contains("\"Revision\" : 1070"), "{put}");
    let old = Tool::Reference.run(&server, &["get", "a", "--rev=1068"]);
    assert!(old.stderr.contains("required revision has been compacted"), "{old:?}");
    let watched = Tool::Reference.run(&server, &["watch", "a", "--rev=50"]);
    let all = watched.stdout + &watched.stderr;
    assert!(all.contains("required revision has been compacted"), "{all}");
}

#[test]
fn what_is_in_the_way_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = recorded::snapshot("etcd-3.7.1", dir.path());
    let data = dir.path().join("rd1");
    let restore = |data: &str, args: &[&str]| {
        let mut command =
            etcdutl(&[&["snapshot", "restore", text(&file), "--data-dir", data], args].concat());
        let output = command.current_dir(dir.path()).output().expect("run etcdutl");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        (output.status.code(), stderr.lines().last().unwrap_or_default().to_owned())
    };
    assert_eq!(restore("rd1", &[]).0, Some(0));
    let error = "Error: data-dir \"rd1\" not empty or could not be read".to_owned();
    assert_eq!(restore("rd1", &[]), (Some(1), error));
    fs::create_dir(dir.path().join("rdw")).expect("folder");
    let error = "Error: wal-dir \"rdw\" exists".to_owned();
    assert_eq!(restore("rd2", &["--wal-dir", "rdw"]), (Some(1), error));
    assert!(!dir.path().join("rd2").exists());
    let hash = run(&["hashkv", text(&data.join("member/snap/db"))]).stdout;
    assert_eq!(hash, "3866940726, 69, 20\n", "the first one is as it was");

    // A log of its own place, and a folder that is there but empty.
    fs::create_dir(dir.path().join("rd3")).expect("folder");
    assert_eq!(restore("rd3", &["--wal-dir", "logs/rd3"]).0, Some(0));
    assert!(dir.path().join("logs/rd3/0000000000000000-0000000000000000.wal").exists());
    // Without data directory it is named after the member.
    assert_eq!(restore("", &[]).0, Some(0));
    assert!(dir.path().join("default.etcd/member/wal").is_dir());
}

#[test]
fn the_hash_of_a_backup_is_that_of_its_member() {
    let dir = tempfile::tempdir().expect("a folder");
    for (of, hash) in [("etcd-3.7.1", 3_866_940_726_u32), ("etcd-3.4.23", 1_044_277_136)] {
        let file = recorded::snapshot(of, dir.path());
        let before = fs::read(&file).expect("read");
        assert_eq!(run(&["hashkv", text(&file)]).stdout, format!("{hash}, 69, 20\n"));
        assert_eq!(fs::read(&file).expect("read"), before, "it is only read");
        let early = run(&["hashkv", text(&file), "--rev", "19"]);
        assert_eq!(early.stderr, "Error: mvcc: required revision has been compacted\n");
    }
}
