//! Killed at any moment, the tool leaves nothing that could be taken for a whole result.

use std::ffi::OsStr;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::schema::{self, Bucket};
use base::{ConfState, Member, Revision, RowKey};
use integration_tests::{Rng, seed};
use prost::Message as _;
use proto::mvccpb::KeyValue;
use wal::{Entry, EntryKind, HardState, Metadata, SnapshotRecord, Wal};

use crate::{etcdutl, run, succeeds, text};

/// How often each command is killed.
const KILLS: u64 = 12;
/// Enough for a command to take some tenths of a second.
const KEYS: i64 = 120_000;
const MEMBER: u64 = 0x8e9e_05c5_2164_694d;

/// A member of real etcd that was stopped after its first entry, with many keys all the same.
fn member(dir: &Path) -> PathBuf {
    let data = dir.join("member-of-etcd");
    let snap = data.join("member/snap");
    fs::create_dir_all(&snap).expect("folder");
    image(&snap.join("db"));
    let log = data.join("member/wal");
    let metadata = Metadata { node_id: MEMBER, cluster_id: 7 };
    let mut wal = Wal::create(&log, &metadata, &wal::Options::default()).expect("log");
    let entry = Entry { kind: EntryKind::Normal, term: 1, index: 1, ..Entry::default() };
    wal.save(&[entry], Some(&HardState { term: 1, vote: MEMBER, commit: 1 })).expect("save");
    let conf_state = Some(ConfState::of_voters(vec![MEMBER]));
    wal.save_snapshot(&SnapshotRecord { index: 1, term: 1, conf_state }).expect("save");
    wal.close().expect("close");
    data
}

fn image(path: &Path) {
    let file = fs::File::create(path).expect("create");
    let mut writer = snapshot::FileWriter::new(std::io::BufWriter::new(file)).expect("image");
    for bucket in Bucket::ALL {
        writer.bucket(bucket.name().as_bytes()).expect("bucket");
        let mut row = |key: &[u8], value: &[u8]| writer.row(key, value).expect("row");
        match bucket {
            Bucket::Key => (2..KEYS + 2).for_each(|main| {
                let kv = KeyValue {
                    key: format!("key-{main}").into(),
                    create_revision: main,
                    mod_revision: main,
                    version: 1,
                    value: vec![main as u8; 200].into(),
                    lease: 0,
                };
                row(&RowKey::put(Revision::new(main, 0)).encode(), &kv.encode_to_vec());
            }),
            Bucket::Members => {
                let member = Member { id: MEMBER, ..Member::default() };
                row(Member::row_key(MEMBER).as_bytes(), member.to_json().as_bytes());
            }
            Bucket::Meta => {
                row(schema::CONSISTENT_INDEX, &1u64.to_be_bytes());
                row(schema::TERM, &1u64.to_be_bytes());
            }
            _ => {}
        }
    }
    writer.finish().expect("image").flush().expect("flush");
}

/// Starts the command and kills it after `delay`, unless it ends before.
fn killed_after<S: AsRef<OsStr>>(args: &[S], delay: Duration) {
    let mut child = etcdutl(args).stderr(std::process::Stdio::null()).spawn().expect("start");
    let end = Instant::now() + delay;
    while Instant::now() < end && child.try_wait().expect("wait").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Already gone is fine.
    drop(child.kill());
    child.wait().expect("wait");
}

/// A delay somewhere in the time that the whole command takes.
fn delay(rng: &mut Rng, whole: Duration) -> Duration {
    let micros = u64::try_from(whole.as_micros()).expect("short") * 11 / 10;
    Duration::from_micros(rng.below(micros))
}

/// The hash of a backend, or how it is refused.
fn hash(data: &Path) -> String {
    let output = run(&["hashkv", text(&data.join("member/snap/db"))]);
    output.stdout + &output.stderr
}

/// What a command that makes a data directory leaves when killed: nothing by that name, or all.
fn makes_all_or_nothing(args: &[&str], data: &Path, log: &Path, expected: &str) {
    let mut rng = Rng::new(seed());
    let start = Instant::now();
    succeeds(args);
    let whole = start.elapsed();
    let (mut early, mut late) = (0, 0);
    for _ in 0..KILLS {
        fs::remove_dir_all(data).expect("remove");
        if log.exists() {
            fs::remove_dir_all(log).expect("remove");
        }
        killed_after(args, delay(&mut rng, whole));
        if log.exists() {
            late += 1;
        } else {
            early += 1;
            // The next run clears up and makes it whole.
            succeeds(args);
        }
        assert_eq!(hash(data), expected);
        let marks = wal::valid_snapshots(log).expect("a whole log");
        let last = marks.last().expect("a mark");
        wal::read_all(log, (last.index, last.term)).expect("a whole log");
        let leftover = fs::read_dir(data).expect("list").flatten().count();
        assert_eq!(leftover, 1, "nothing but the member");
    }
    eprintln!("{early} killed in time, {late} too late, of {whole:?}");
    assert!(early > 0, "no kill came in time");
}

#[test]
fn a_killed_restore_leaves_no_half_member() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("backup.db");
    image(&file);
    let mut hashing = snapshot::HashingWriter::new(std::io::sink());
    std::io::copy(&mut fs::File::open(&file).expect("open"), &mut hashing).expect("hash");
    let (_, sum) = hashing.finish();
    let mut backup = fs::File::options().append(true).open(&file).expect("open");
    backup.write_all(&sum).and_then(|()| backup.rewind()).expect("append");
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
    for _ in 0..KILLS {
        killed_after(&args, delay(&mut rng, whole));
        assert_eq!(hash(&data), expected);
    }
    succeeds(&args);
    assert_eq!(hash(&data), expected);
}
