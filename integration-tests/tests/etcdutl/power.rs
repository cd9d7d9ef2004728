//! The power fails while a tool writes: whatever it had not made durable is gone. What a tool said
//! it had done is there all the same, and half of it is never taken for the whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::{Kind, LoopDisk, Rng, Server, Tool, freeze, seed, skipped};

use crate::made::{backup, is_whole, member};
use crate::{etcdutl, hash, succeeds, text};

/// How often the power fails within each command; once more it does right behind its end.
const CUTS: u64 = 3;
const DISK_BYTES: u64 = 256 << 20;

/// A disk, and the moments at which its power fails.
struct Power {
    disk: LoopDisk,
    rng: Rng,
}

impl Power {
    /// Nothing, with the reason printed, where there is no such disk to be had.
    fn new() -> Option<Self> {
        match LoopDisk::new(DISK_BYTES) {
            Ok(disk) => Some(Self { disk, rng: Rng::new(seed()) }),
            Err(reason) => {
                skipped("power cuts", &reason);
                None
            }
        }
    }

    /// A path on the disk.
    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    /// Runs it and cuts the power after `delay`, or once it has ended; tells whether it had.
    fn cut(&mut self, mut command: Command, delay: Duration) -> bool {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().expect("start");
        let end = Instant::now() + delay;
        let status = loop {
            match child.try_wait().expect("wait") {
                None if Instant::now() < end => std::thread::sleep(Duration::from_micros(200)),
                status => break status,
            }
        };
        if status.is_none() {
            freeze(&child);
        }
        let copy = self.disk.copy();
        if status.is_none() {
            child.kill().expect("kill a process of ours");
            child.wait().expect("wait");
        }
        self.disk.restart_with(copy);
        status.is_some_and(|status| {
            assert!(status.success(), "{command:?}: {status}");
            true
        })
    }

    /// Moments within a command that takes so long, and one behind its end.
    fn delays(&mut self, whole: Duration) -> Vec<Duration> {
        let micros = u64::try_from(whole.as_micros()).expect("short");
        let within = (0..CUTS).map(|_| Duration::from_micros(self.rng.below(micros)));
        within.chain([Duration::from_secs(60)]).collect()
    }
}

/// How long a command takes that is not disturbed.
fn time(mut command: Command) -> Duration {
    let start = Instant::now();
    let output = command.output().expect("run");
    assert!(output.status.success(), "{command:?}: {output:?}");
    start.elapsed()
}

fn remove(path: &Path) {
    if path.exists() {
        fs::remove_dir_all(path).expect("remove");
    }
}

/// A server takes what is there neither for a member nor for the place of one.
fn is_refused(data: &Path, log: &Path) {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::builder(Kind::Ours, dir.path()).data_dir(data);
    if !log.starts_with(data) {
        server = server.args([format!("--wal-dir={}", text(log))]);
    }
    let mut server = server.spawn();
    let status = server.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(1), "{}", server.log());
}

/// Cuts the power while a command makes a member.
fn makes_all_or_nothing(power: &mut Power, args: &[&str], data: &Path, log: &Path, hash: &str) {
    let whole = time(etcdutl(args));
    is_whole(data, log, hash);
    for delay in power.delays(whole) {
        remove(data);
        remove(log);
        let ended = power.cut(etcdutl(args), delay);
        if log.exists() {
            is_whole(data, log, hash);
            continue;
        }
        assert!(!ended, "what was made is gone");
        if data.exists() && fs::read_dir(data).expect("list").next().is_some() {
            is_refused(data, log);
        }
        // The next run clears up and makes it whole.
        succeeds(args);
        is_whole(data, log, hash);
    }
}

#[test]
fn a_restore_without_power_leaves_no_half_member() {
    let Some(mut power) = Power::new() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (file, data) = (backup(dir.path()), power.path("data"));
    let args = ["snapshot", "restore", text(&file), "--data-dir", text(&data)];
    succeeds(&args);
    let expected = hash(&data);
    remove(&data);
    makes_all_or_nothing(&mut power, &args, &data, &data.join("member/wal"), &expected);
    remove(&data);
    let log = power.path("log");
    let args = [&args[..], &["--wal-dir", text(&log)]].concat();
    makes_all_or_nothing(&mut power, &args, &data, &log, &expected);
}

#[test]
fn moving_in_and_out_without_power_leaves_no_half_member() {
    let Some(mut power) = Power::new() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (from, data) = (member(dir.path()), power.path("data"));
    let expected = hash(&from);
    let args = ["import", "--from-data-dir", text(&from), "--data-dir", text(&data)];
    makes_all_or_nothing(&mut power, &args, &data, &data.join("member/wal"), &expected);
    remove(&data);
    let ours = dir.path().join("ours");
    succeeds(&["import", "--from-data-dir", text(&from), "--data-dir", text(&ours)]);
    let args = ["export", "--data-dir", text(&ours), "--to-data-dir", text(&data)];
    makes_all_or_nothing(&mut power, &args, &data, &data.join("member/wal"), &expected);
}

#[test]
fn a_defrag_without_power_loses_nothing() {
    let Some(mut power) = Power::new() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (from, data) = (member(dir.path()), power.path("data"));
    let expected = hash(&from);
    let import = ["import", "--from-data-dir", text(&from), "--data-dir", text(&data)];
    succeeds(&import);
    let args = ["defrag", "--data-dir", text(&data)];
    let whole = time(etcdutl(&args));
    for delay in power.delays(whole) {
        // Fresh each time: what was defragmented already is left as it is.
        remove(&data);
        succeeds(&import);
        power.cut(etcdutl(&args), delay);
        is_whole(&data, &data.join("member/wal"), &expected);
    }
}

#[test]
fn a_save_without_power_keeps_the_backup_of_yesterday_or_is_whole() {
    const OLD: &[u8] = b"of yesterday";
    let Some(mut power) = Power::new() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let (file, data) = (backup(dir.path()), dir.path().join("data"));
    succeeds(&["snapshot", "restore", text(&file), "--data-dir", text(&data)]);
    let server = Server::builder(Kind::Ours, dir.path()).data_dir(&data).start();
    let saved = power.path("saved.db");
    let save = || {
        let mut command = Tool::Ours.command(&server);
        command.args(["snapshot", "save", text(&saved)]);
        command
    };
    let whole = time(save());
    let good = fs::read(&saved).expect("saved");
    for delay in power.delays(whole) {
        for old in [Some(OLD), None] {
            fs::remove_file(&saved).expect("remove");
            if let Some(old) = old {
                fs::write(&saved, old).expect("write");
            }
            sync(&power.path("."));
            let ended = power.cut(save(), delay);
            match fs::read(&saved) {
                Ok(found) if found == good => {}
                Ok(found) => {
                    let is_old = old == Some(&found[..]);
                    assert!(is_old && !ended, "{} of {} bytes", found.len(), good.len());
                }
                Err(error) => assert!(old.is_none() && !ended, "{error}"),
            }
            // What was left does not keep the next one from saving.
            time(save());
            assert!(fs::read(&saved).expect("saved") == good, "another backup");
        }
    }
}

/// Makes all that is in a folder of the disk durable, as time would.
fn sync(dir: &Path) {
    let status = Command::new("sync").arg("--file-system").arg(dir).status().expect("run sync");
    assert!(status.success(), "{status}");
}
