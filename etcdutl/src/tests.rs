//! Command lines and the commands on real folders.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backend::Backend;
use bytes::Bytes;
use mvcc::Store;

use crate::arguments::{Command, Parsed, parse};
use crate::commands::run;
use crate::restore;

fn parsed(line: &str) -> Parsed {
    let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
    parse(&words)
}

fn refused(line: &str) -> String {
    match parsed(line) {
        Parsed::Refused { message, .. } => message,
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_are_read_with_their_flags() {
    let timeout = Duration::from_secs(10);
    let data_dir = PathBuf::from("d");
    assert_eq!(
        parsed("def --data-dir d"),
        Parsed::Command(Command::Defrag { data_dir: data_dir.clone(), timeout })
    );
    let timeout = Duration::from_millis(1500);
    assert_eq!(
        parsed("--timeout 1.5s hashkv -wjson db --rev=7"),
        Parsed::Command(Command::HashKv {
            path: "db".into(),
            revision: 7,
            timeout,
            write_out: "json".into()
        })
    );
    assert_eq!(parsed("version"), Parsed::Command(Command::Version));
}

#[test]
fn help_is_the_usage_alone() {
    for line in ["", "--help", "help", "-h"] {
        let Parsed::Help(usage) = parsed(line) else { panic!("{line}") };
        assert!(usage.starts_with("Usage:\n  etcdutl [command]\n"), "{line}");
    }
    for (line, first) in [
        ("defrag --help", "defrag [flags]"),
        ("help defrag", "defrag [flags]"),
        ("snapshot", "snapshot [command]"),
        ("snapshot save", "snapshot [command]"),
        ("snapshot restore -h", "snapshot restore <filename> --data-dir"),
        ("help snapshot status", "snapshot status <filename> [flags]"),
        ("migrate --help", "migrate [flags]"),
        ("completion --help", "completion [bash|zsh|fish|powershell]"),
    ] {
        let Parsed::Help(usage) = parsed(line) else { panic!("{line}") };
        assert!(usage.starts_with(&format!("Usage:\n  etcdutl {first}")), "{line}: {usage}");
    }
}

#[test]
fn wrong_command_lines_are_refused_in_the_words_of_cobra() {
    assert_eq!(refused("defrag"), "required flag(s) \"data-dir\" not set");
    assert_eq!(refused("hashkv"), "accepts 1 arg(s), received 0");
    assert_eq!(refused("hashkv a b"), "accepts 1 arg(s), received 2");
    assert_eq!(refused("hashkv --nope a"), "unknown flag: --nope");
    assert_eq!(refused("migrate"), "required flag(s) \"data-dir\", \"target-version\" not set");
    assert_eq!(refused("completion"), "accepts 1 arg(s), received 0");
    assert_eq!(refused("completion tcsh"), "invalid argument \"tcsh\" for \"etcdutl completion\"");
    assert_eq!(
        refused("snapshot restore x --bump-revision -1"),
        "invalid argument \"-1\" for \"--bump-revision\" flag: \
         strconv.ParseUint: parsing \"-1\": invalid syntax"
    );
    assert_eq!(
        refused("snapshot restore x --mark-compacted=maybe"),
        "invalid argument \"maybe\" for \"--mark-compacted\" flag: \
         strconv.ParseBool: parsing \"maybe\": invalid syntax"
    );
    assert_eq!(refused("snapshot restore x --nope"), "unknown flag: --nope");
    assert_eq!(refused("backup"), "unknown command \"backup\" for \"etcdutl\"");
    assert_eq!(
        refused("hashkv a --rev x"),
        "invalid argument \"x\" for \"--rev\" flag: \
         strconv.ParseInt: parsing \"x\": invalid syntax"
    );
    assert_eq!(
        refused("hashkv a --timeout 5"),
        "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\""
    );
}

#[test]
fn restore_takes_all_its_flags() {
    let line = "snap restore x.db --data-dir d --name m1 --initial-cluster m1=http://a:1 \
                --initial-cluster-token t --initial-advertise-peer-urls http://a:1 --wal-dir w \
                --skip-hash-check --bump-revision 7 --mark-compacted=true \
                --initial-memory-map-size 5";
    assert_eq!(
        parsed(line),
        Parsed::Command(Command::Restore(restore::Request {
            files: vec!["x.db".into()],
            name: "m1".into(),
            initial_cluster: "m1=http://a:1".into(),
            token: "t".into(),
            peer_urls: "http://a:1".into(),
            data_dir: "d".into(),
            wal_dir: "w".into(),
            skip_hash_check: true,
            bump_revision: 7,
            mark_compacted: true,
            memory_map_bytes: 5,
        }))
    );
    let Parsed::Command(Command::Restore(defaults)) = parsed("snapshot restore x.db") else {
        panic!("not a restore");
    };
    assert_eq!(defaults.initial_cluster, "default=http://localhost:2380");
    assert_eq!((defaults.name.as_str(), defaults.skip_hash_check), ("default", false));
}

#[test]
fn commands_that_count_their_arguments_themselves_end_with_128() {
    for (line, text) in [
        ("snapshot status", "snapshot status requires exactly one argument"),
        ("snapshot status a b", "snapshot status requires exactly one argument"),
        ("snapshot restore", "snapshot restore requires exactly one argument"),
        (
            "snapshot restore a --bump-revision 1",
            "--mark-compacted required if --revision-bump > 0",
        ),
        ("snapshot restore a --mark-compacted", "--mark-compacted required if --revision-bump > 0"),
    ] {
        let Parsed::Command(command) = parsed(line) else { panic!("{line}") };
        let failure = run(&command).expect_err(line);
        assert_eq!((failure.to_string().as_str(), failure.code()), (text, 128));
    }
}

#[test]
fn every_shell_gets_a_script_that_names_the_commands() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let Parsed::Command(command) = parsed(&format!("completion {shell}")) else {
            panic!("{shell}");
        };
        let script = run(&command).expect("a script");
        for word in ["hashkv", "restore", "skip-hash-check"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

/// A member's database with one pair of the output contract.
fn filled(path: &Path) {
    let backend = Backend::open(path, &backend::Options::default()).expect("open");
    let mut opened = Store::open(backend, mvcc::Options::default()).expect("store");
    opened.writer.put(&Bytes::from_static(b"test-key"), b"test-value", 1);
    opened.writer.end_entry();
    opened.writer.commit().expect("commit");
}

fn hash_kv(path: &Path, revision: i64) -> Result<String, String> {
    let command = Command::HashKv {
        path: path.to_owned(),
        revision,
        timeout: Duration::from_millis(1),
        write_out: "simple".into(),
    };
    run(&command).map_err(|failure| failure.to_string())
}

#[test]
fn hash_kv_of_a_known_store_is_the_known_hash() {
    let dir = tempfile::tempdir().expect("directory");
    let path = dir.path().join("db");
    filled(&path);
    assert_eq!(hash_kv(&path, 0), Ok("645561629, 2, -1\n".to_owned()));
    assert_eq!(hash_kv(&path, 1), Ok("1084519789, 1, -1\n".to_owned()));
    let future = "mvcc: required revision is a future revision";
    assert_eq!(hash_kv(&path, 9), Err(future.to_owned()));
    let missing = dir.path().join("nofile");
    let text = format!("stat {}: no such file or directory", missing.display());
    assert_eq!(hash_kv(&missing, 0), Err(text));
}

#[test]
fn defrag_works_on_a_folder_nobody_has_open() {
    let dir = tempfile::tempdir().expect("directory");
    let data_dir = dir.path().to_owned();
    let path = data_dir.join("member").join("snap").join("db");
    let command = Command::Defrag { data_dir: data_dir.clone(), timeout: Duration::from_millis(1) };
    let failed = run(&command).expect_err("no database").to_string();
    let data = data_dir.display();
    let missing = format!("stat {}: no such file or directory", path.display());
    assert_eq!(failed, format!("Failed to defragment etcd data[{data}] ({missing})"));

    std::fs::create_dir_all(path.parent().expect("parent")).expect("folders");
    filled(&path);
    let held = Backend::open(&path, &backend::Options::default()).expect("open");
    let failed = run(&command).expect_err("locked").to_string();
    assert_eq!(failed, format!("Failed to defragment etcd data[{data}] (timeout)"));
    drop(held);
    assert_eq!(run(&command).expect("defragmented"), "");
    assert_eq!(hash_kv(&path, 0), Ok("645561629, 2, -1\n".to_owned()));
}
