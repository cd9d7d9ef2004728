//! Inputs for commands that are to be interrupted: large enough to take some tenths of a second.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use base::schema::{self, Bucket};
use base::{ConfState, Member, Revision, RowKey};
use prost::Message as _;
use proto::mvccpb::KeyValue;
use wal::{Entry, EntryKind, HardState, Metadata, SnapshotRecord, Wal};

use crate::{backup_of, hash};

/// Keys of each input.
pub(crate) const KEYS: i64 = 120_000;
const MEMBER: u64 = 0x8e9e_05c5_2164_694d;

/// A backup, its hash at its end.
pub(crate) fn backup(dir: &Path) -> PathBuf {
    let path = dir.join("backup.db");
    image(&path);
    fs::write(&path, backup_of(&fs::read(&path).expect("read"))).expect("write");
    path
}

/// Demands a member that can be started, with these keys.
pub(crate) fn is_whole(data: &Path, log: &Path, expected: &str) {
    assert_eq!(hash(data), expected);
    let marks = wal::valid_snapshots(log).expect("a whole log");
    let last = marks.last().expect("a mark");
    wal::read_all(log, (last.index, last.term)).expect("a whole log");
}

/// A member of real etcd that was stopped after its first entry, with many keys all the same.
pub(crate) fn member(dir: &Path) -> PathBuf {
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
