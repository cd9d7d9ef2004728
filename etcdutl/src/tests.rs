//! Command lines and the commands on real folders.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backend::Backend;
use bytes::Bytes;
use mvcc::Store;

use crate::arguments::{Command, Parsed, parse};
use crate::commands::run;

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
    for line in ["defrag --help", "help defrag"] {
        let Parsed::Help(usage) = parsed(line) else { panic!("{line}") };
        assert!(usage.starts_with("Usage:\n  etcdutl defrag [flags]\n"), "{line}");
    }
}

#[test]
fn wrong_command_lines_are_refused_in_the_words_of_cobra() {
    assert_eq!(refused("defrag"), "required flag(s) \"data-dir\" not set");
    assert_eq!(refused("hashkv"), "accepts 1 arg(s), received 0");
    assert_eq!(refused("hashkv a b"), "accepts 1 arg(s), received 2");
    assert_eq!(refused("hashkv --nope a"), "unknown flag: --nope");
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
fn commands_of_a_later_version_fail_by_name() {
    for (line, name) in [
        ("snapshot status x.db", "snapshot status"),
        ("snapshot restore x.db --data-dir d", "snapshot restore"),
        ("migrate --data-dir d --target-version 3.6", "migrate"),
        ("completion bash", "completion"),
    ] {
        let Parsed::Command(command) = parsed(line) else { panic!("{line}") };
        let failure = run(&command).expect_err(line);
        assert_eq!(failure.to_string(), format!("{name} is not supported by this version"));
        assert_eq!(failure.code(), 1);
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
