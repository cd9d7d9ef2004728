use std::fs;

use integration_tests::{Kind, Output, Server, Tool, hash_kv};

use crate::{
    etcdutl, in_time, kept_rows, kept_rows_of, keys, leases, messages, recorded, revision, run,
    succeeds, text,
};

/// What tools print of a recorded backup: recorded itself, but for the borders, which are those of
/// 3.5 and 3.6, and for etcdctl on a file of 3.7, which only etcdutl of that version reads.
struct Told {
    of: &'static str,
    /// Of the newer tool: keys that are there.
    utl: [&'static str; 4],
    /// Of the older one: rows of all buckets.
    ctl: [&'static str; 4],
}

const TOLD: [Told; 2] = [
    Told {
        of: "etcd-3.7.1",
        utl: [
            "c0fd5dd5, 69, 58, 82 kB, 3.7.0\n",
            "{\"hash\":3237830101,\"revision\":69,\"totalKey\":58,\"totalSize\":81920,\
             \"version\":\"3.7.0\"}\n",
            "\"Hash\" : 3237830101\n\"Revision\" : 69\n\"Keys\" : 58\n\"Size\" : 81920\n\
             \"Version\" : 3.7.0\n",
            "+----------+----------+------------+------------+---------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |\n\
             +----------+----------+------------+------------+---------+\n\
             | c0fd5dd5 |       69 |         58 |      82 kB |   3.7.0 |\n\
             +----------+----------+------------+------------+---------+\n",
        ],
        ctl: [
            "c0fd5dd5, 69, 80, 82 kB\n",
            "{\"hash\":3237830101,\"revision\":69,\"totalKey\":80,\"totalSize\":81920}\n",
            "\"Hash\" : 3237830101\n\"Revision\" : 69\n\"Keys\" : 80\n\"Size\" : 81920\n",
            "+----------+----------+------------+------------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE |\n\
             +----------+----------+------------+------------+\n\
             | c0fd5dd5 |       69 |         80 |      82 kB |\n\
             +----------+----------+------------+------------+\n",
        ],
    },
    Told {
        of: "etcd-3.4.23",
        utl: [
            "57e4a821, 69, 58, 82 kB, \n",
            "{\"hash\":1474603041,\"revision\":69,\"totalKey\":58,\"totalSize\":81920,\
             \"version\":\"\"}\n",
            "\"Hash\" : 1474603041\n\"Revision\" : 69\n\"Keys\" : 58\n\"Size\" : 81920\n\
             \"Version\" : \n",
            "+----------+----------+------------+------------+---------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE | VERSION |\n\
             +----------+----------+------------+------------+---------+\n\
             | 57e4a821 |       69 |         58 |      82 kB |         |\n\
             +----------+----------+------------+------------+---------+\n",
        ],
        ctl: [
            "57e4a821, 69, 77, 82 kB\n",
            "{\"hash\":1474603041,\"revision\":69,\"totalKey\":77,\"totalSize\":81920}\n",
            "\"Hash\" : 1474603041\n\"Revision\" : 69\n\"Keys\" : 77\n\"Size\" : 81920\n",
            "+----------+----------+------------+------------+\n\
             |   HASH   | REVISION | TOTAL KEYS | TOTAL SIZE |\n\
             +----------+----------+------------+------------+\n\
             | 57e4a821 |       69 |         77 |      82 kB |\n\
             +----------+----------+------------+------------+\n",
        ],
    },
];

#[test]
fn status_of_recorded_backups_is_what_etcd_told() {
    let dir = tempfile::tempdir().expect("a folder");
    for Told { of, utl, ctl } in TOLD {
        let file = recorded::snapshot(of, dir.path());
        for (at, format) in ["simple", "json", "fields", "table"].into_iter().enumerate() {
            let args = ["snapshot", "status", text(&file), "-w", format];
            let told = run(&args);
            assert_eq!((told.code, told.stderr.as_str()), (0, ""));
            assert_eq!(told.stdout, utl[at], "{of}");
            let told = Tool::Ours.run_at("", &args);
            assert_eq!((told.code, told.stdout.as_str()), (0, ctl[at]), "{of}");
            // The real tool of 3.4 reads both.
            assert_eq!(Tool::Reference.run_at("", &args).stdout, ctl[at], "{of}");
        }
    }
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
        let (dir, server) = restored(of, &[]);
        let authority = server.client_authority();
        assert_eq!(hash_kv(&authority, 69), (hash, 69), "{of}");
        assert_eq!(revision(&server), 69, "{of}");
        assert_eq!(keys(&server), recorded::keys(of), "{of}");
        let saved = recorded::snapshot(of, dir.path());
        assert_eq!(kept_rows_of(&server), kept_rows(&saved), "{of}");
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
fn a_raised_revision_ends_old_watches_and_lists() {
    let (_dir, server) = restored("etcd-3.7.1", &["--bump-revision=1000000", "--mark-compacted"]);
    // 70 is where a watch goes on that has seen all of the backup, 700 one that had seen more.
    for since in ["50", "69", "70", "700", "1000068"] {
        let list = Tool::Reference.run(&server, &["get", "a", "--rev", since]);
        let mut watch = Tool::Reference.command(&server);
        watch.args(["watch", "a", "--rev", since]);
        let watch = in_time(watch);
        for told in [list.stderr, watch.stdout + &watch.stderr] {
            assert!(told.contains("required revision has been compacted"), "{since}: {told}");
        }
    }
    assert_eq!(revision(&server), 1_000_069);
    assert_eq!(keys(&server), recorded::keys("etcd-3.7.1"));
    let put = Tool::Reference.ok(&server, &["put", "a", "b", "-w=fields"]);
    assert!(put.contains("\"Revision\" : 1000070"), "{put}");
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
