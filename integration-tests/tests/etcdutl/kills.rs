//! Killed at any moment, the tool leaves nothing that could be taken for a whole result.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::{Kind, Rng, Server, Tool, seed};

use crate::made::{KEYS, backup, is_whole, member};
use crate::{etcdutl, hash, run, succeeds, text};

/// How often each command is killed.
const KILLS: u64 = 12;

/// Starts the command and kills it after `delay`, unless it ends before.
fn killed_after(mut command: Command, delay: Duration) {
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("start");
    let end = Instant::now() + delay;
    while Instant::now() < end && child.try_wait().expect("wait").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Already gone is fine.
    drop(child.kill());
    child.wait().expect("wait");
}

/// A delay somewhere in the time that the whole command takes, for the `n`th kill. The first
/// comes at once: the command may have been slow just when its time was taken.
fn delay(rng: &mut Rng, whole: Duration, n: u64) -> Duration {
    let micros = u64::try_from(whole.as_micros()).expect("short") * 11 / 10;
    if n == 0 { Duration::ZERO } else { Duration::from_micros(rng.below(micros)) }
}

/// What a command that makes a data directory leaves when killed: nothing by that name, or all.
fn makes_all_or_nothing(args: &[&str], data: &Path, log: &Path, expected: &str) {
    let mut rng = Rng::new(seed());
    let start = Instant::now();
    succeeds(args);
    let whole = start.elapsed();
    let (mut early, mut late) = (0, 0);
    for n in 0..KILLS {
        fs::remove_dir_all(data).expect("remove");
        if log.exists() {
            fs::remove_dir_all(log).expect("remove");
        }
        killed_after(etcdutl(args), delay(&mut rng, whole, n));
        if log.exists() {
            late += 1;
        } else {
            early += 1;
            // The next run clears up and makes it whole.
            succeeds(args);
        }
        is_whole(data, log, expected);
        let leftover = fs::read_dir(data).expect("list").flatten().count();
        assert_eq!(leftover, 1, "nothing but the member");
    }
    eprintln!("{early} killed in time, {late} too late, of {whole:?}");
    assert!(early > 0, "no kill came in time");
}

#[test]
fn a_killed_restore_leaves_no_half_member() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = backup(dir.path());
    let expected = run(&["hashkv", text(&file)]).stdout;
    let data = dir.path().join("data");
    let args = ["snapshot", "restore", text(&file), "--data-dir", text(&data)];
    makes_all_or_nothing(&args, &data, &data.join("member/wal"), &expected);
    fs::remove_dir_all(&data).expect("remove");
    let log = dir.path().join("log");
    let args = [&args[..], &["--wal-dir", text(&log)]].concat();
    makes_all_or_nothing(&args, &data, &log, &expected);
}

#[test]
fn a_killed_import_leaves_no_half_member() {
    let dir = tempfile::tempdir().expect("a folder");
    let from = member(dir.path());
    let expected = hash(&from);
    assert!(expected.ends_with(&format!(", {}, -1\n", KEYS + 1)), "{expected}");
    let data = dir.path().join("data");
    let args = ["import", "--from-data-dir", text(&from), "--data-dir", text(&data)];
    makes_all_or_nothing(&args, &data, &data.join("member/wal"), &expected);
    assert_eq!(hash(&from), expected);
}

#[test]
fn a_killed_defrag_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let from = member(dir.path());
    let expected = hash(&from);
    let data = dir.path().join("data");
    succeeds(&["import", "--from-data-dir", text(&from), "--data-dir", text(&data)]);
    let args = ["defrag", "--data-dir", text(&data)];
    let mut rng = Rng::new(seed());
    let start = Instant::now();
    succeeds(&args);
    let whole = start.elapsed();
    for n in 0..KILLS {
        killed_after(etcdutl(&args), delay(&mut rng, whole, n));
        assert_eq!(hash(&data), expected);
    }
    succeeds(&args);
    assert_eq!(hash(&data), expected);
}

#[test]
fn a_killed_export_leaves_no_half_member() {
    let dir = tempfile::tempdir().expect("a folder");
    let (from, ours) = (member(dir.path()), dir.path().join("ours"));
    let expected = hash(&from);
    succeeds(&["import", "--from-data-dir", text(&from), "--data-dir", text(&ours)]);
    let data = dir.path().join("theirs");
    let args = ["export", "--data-dir", text(&ours), "--to-data-dir", text(&data)];
    makes_all_or_nothing(&args, &data, &data.join("member/wal"), &expected);
    assert_eq!(hash(&ours), expected);
}

#[test]
fn a_killed_save_keeps_the_backup_of_yesterday_or_is_whole() {
    let dir = tempfile::tempdir().expect("a folder");
    let (file, data) = (backup(dir.path()), dir.path().join("data"));
    succeeds(&["snapshot", "restore", text(&file), "--data-dir", text(&data)]);
    let server = Server::builder(Kind::Ours, dir.path()).data_dir(&data).start();
    let saved = dir.path().join("saved.db");
    let save = || {
        let mut command = Tool::Ours.command(&server);
        command.args(["snapshot", "save", text(&saved)]).stdout(std::process::Stdio::null());
        command
    };
    let start = Instant::now();
    killed_after(save(), Duration::from_secs(60));
    let (whole, good) = (start.elapsed(), fs::read(&saved).expect("saved"));
    let (mut rng, mut early) = (Rng::new(seed()), 0);
    for n in 0..KILLS {
        fs::write(&saved, "of yesterday").expect("write");
        killed_after(save(), delay(&mut rng, whole, n));
        let found = fs::read(&saved).expect("a backup");
        early += u64::from(found == b"of yesterday");
        // Nobody wrote meanwhile: what is whole is the same.
        assert!(found == b"of yesterday" || found == good, "{} bytes", found.len());
    }
    eprintln!("{early} killed in time, of {whole:?}");
    assert!(early > 0, "no kill came in time");
    // What was left does not keep the next one from saving.
    killed_after(save(), Duration::from_secs(60));
    assert!(fs::read(&saved).expect("saved") == good, "another backup");
    assert!(!saved.with_extension("db.part").exists());
}
