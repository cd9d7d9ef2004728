//! `.snap` files of real servers, and what becomes of damaged ones.

use super::*;
use crate::store_document;
use base::Member;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::io::{Error as IoError, Result as IoResult};
use tempfile::TempDir;

/// The content of each `.snap` file in the fixtures, by member and file name.
fn fixtures() -> Vec<(String, String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".snap.gz") else { continue };
        let stem = stem.strip_prefix("cluster-").unwrap();
        let (member, file) = stem.split_once('-').unwrap();
        let mut bytes = Vec::new();
        let zipped = fs::File::open(entry.path()).unwrap();
        flate2::read::GzDecoder::new(zipped).read_to_end(&mut bytes).unwrap();
        found.push((member.to_owned(), format!("{file}.snap"), bytes));
    }
    found.sort();
    found
}

fn member(id: u64, n: u32) -> Member {
    Member {
        id,
        name: format!("m{n}"),
        peer_urls: vec![format!("http://127.0.0.1:3500{n}")],
        client_urls: vec![format!("http://127.0.0.1:3510{n}")],
        is_learner: false,
    }
}

/// The members of the cluster in the fixtures.
fn cluster() -> [Member; 4] {
    [
        member(0x15ae9e1b9c7f2f19, 1),
        member(0xac1f978db5455996, 2),
        member(0x6259c509f8bd080f, 3),
        member(0xac0e9c2b3747ff6e, 4),
    ]
}

fn snapshot(term: u64, index: u64) -> Snapshot {
    let conf_state = ConfState { voters: vec![1, 2], learners: vec![3], ..ConfState::default() };
    Snapshot { index, term, conf_state, data: Bytes::from_static(b"{}") }
}

fn mark(term: u64, index: u64) -> SnapshotRecord {
    SnapshotRecord { index, term, conf_state: None }
}

fn new_dir() -> (TempDir, SnapDir) {
    let temp = TempDir::new().unwrap();
    let dir = SnapDir::open(&temp.path().join("snap"), None).unwrap();
    (temp, dir)
}

#[test]
fn files_of_real_servers_are_read_and_written_again_byte_for_byte() {
    let files = fixtures();
    assert_eq!(files.len(), 13);
    for (member, name, bytes) in files {
        let decoded = decode(&bytes.clone().into()).unwrap();
        assert_eq!(file_name(decoded.term, decoded.index), name, "{member}");
        assert!(decoded.conf_state.voters.is_sorted());
        assert_eq!(encode(&decoded), bytes, "{member} {name}");
    }
}

#[test]
fn the_document_of_the_members_is_that_of_etcd() {
    let files: HashMap<(String, String), Vec<u8>> =
        fixtures().into_iter().map(|(member, name, bytes)| ((member, name), bytes)).collect();
    let expected = |member: &str, name: &str| {
        let bytes = files[&(member.to_owned(), format!("{name}.snap"))].clone();
        String::from_utf8(decode(&bytes.into()).unwrap().data.to_vec()).unwrap()
    };
    let [m1, m2, m3, m4] = cluster();
    let built = store_document(&[m1.clone(), m2.clone(), m3.clone()], &[], Some("3.7.0"));
    assert_eq!(built, expected("m1", "0000000000000002-000000000000003d"));

    let learner =
        Member { is_learner: true, name: String::new(), client_urls: vec![], ..m4.clone() };
    let built = store_document(&[m1.clone(), m2.clone(), learner, m3.clone()], &[], Some("3.7.0"));
    assert_eq!(built, expected("m4", "0000000000000002-0000000000000084"));

    let mut moved = m4;
    moved.peer_urls.push("http://127.0.0.1:35014".to_owned());
    let built = store_document(&[m1, m2, moved], &[m3.id], Some("3.7.0"));
    assert_eq!(built, expected("m1", "0000000000000003-00000000000000f4"));
}

#[test]
fn a_saved_snapshot_is_loaded_when_the_log_has_its_mark() {
    let (temp, dir) = new_dir();
    for (term, index) in [(2, 10), (2, 20), (3, 15)] {
        dir.save(&snapshot(term, index)).unwrap();
    }
    let path = temp.path().join("snap/0000000000000002-000000000000000a.snap");
    assert_eq!(dir.load(&path).unwrap(), snapshot(2, 10));
    let newest = dir.load_newest(&[mark(2, 10), mark(2, 20), mark(3, 15)]).unwrap();
    assert_eq!((newest.term, newest.index), (3, 15), "the term is compared first");
    let newest = dir.load_newest(&[mark(2, 10), mark(3, 20)]).unwrap();
    assert_eq!((newest.term, newest.index), (2, 10));
    let none = dir.load_newest(&[mark(0, 0)]).unwrap_err().to_string();
    assert!(none.starts_with("snap: no available snapshot"), "{none}");
}

#[test]
fn damaged_snapshots_are_set_aside_and_the_next_one_is_taken() {
    let good = encode(&snapshot(1, 1));
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut without_crc = vec![0x08, 0x00];
    without_crc.extend(&good[6..]);
    let damaged: [(&[u8], &str); 5] = [
        (b"", "snap: empty snapshot"),
        (&[0x08, 0x05], "snap: empty snapshot"),
        (&without_crc, "snap: empty snapshot"),
        (&flipped, "snap: crc mismatch"),
        (&good[..good.len() - 3], "snap: unexpected EOF"),
    ];
    for (bytes, error) in damaged {
        let (temp, dir) = new_dir();
        dir.save(&snapshot(1, 1)).unwrap();
        let path = temp.path().join("snap/0000000000000001-0000000000000002.snap");
        fs::write(&path, bytes).unwrap();
        assert_eq!(
            dir.load(&path).unwrap_err().to_string(),
            format!("{error}: '{}'", path.display())
        );
        let loaded = dir.load_newest(&[mark(1, 1), mark(1, 2)]).unwrap();
        assert_eq!(loaded.index, 1);
        assert!(!path.exists());
        assert_eq!(fs::read(path.with_extension("snap.broken")).unwrap(), bytes);
    }
}

#[test]
fn every_flipped_bit_of_a_snapshot_is_found() {
    let good = encode(&snapshot(7, 300));
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(decoded) = decode(&bytes.into()) {
            panic!("bit {bit} gives {decoded:?}");
        }
    }
}

#[test]
fn what_interrupted_work_left_is_removed_at_the_start_and_nothing_else() {
    let temp = TempDir::new().unwrap();
    let keep = ["0000000000000001-0000000000000001.snap", "0000000000000001.snap.db", "other"];
    for name in ["tmp123", "db.tmp.456"].iter().chain(&keep) {
        fs::write(temp.path().join(name), b"x").unwrap();
    }
    fs::create_dir(temp.path().join("db")).unwrap();
    let dir = SnapDir::open(temp.path(), None).unwrap();
    assert_eq!(dir.file_names().unwrap(), keep);
    assert!(temp.path().join("db").is_dir());
}

#[test]
fn images_before_a_snapshot_are_released() {
    let (_temp, dir) = new_dir();
    for index in [5, 9, 10, 11] {
        fs::write(dir.db_path(index), b"db").unwrap();
    }
    dir.release_dbs(10).unwrap();
    assert_eq!(dir.file_names().unwrap(), ["000000000000000a.snap.db", "000000000000000b.snap.db"]);
}

#[test]
fn the_newest_files_of_each_kind_outlive_a_purge() {
    let (_temp, dir) = new_dir();
    for index in 1..=4 {
        dir.save(&snapshot(1, index)).unwrap();
        fs::write(dir.db_path(index), b"db").unwrap();
    }
    assert!(dir.purge(0).unwrap().is_empty(), "0 keeps all");
    assert!(dir.purge(4).unwrap().is_empty());
    assert_eq!(dir.purge(3).unwrap().len(), 2);
    let left = dir.file_names().unwrap();
    assert_eq!(left.len(), 6);
    assert_eq!(left[0], "0000000000000001-0000000000000002.snap");
    assert_eq!(left[3], "0000000000000002.snap.db");
}

/// Fails one kind of operation.
#[derive(Debug)]
struct Fail(crate::DiskOp);

impl DiskHook for Fail {
    fn before(&self, op: crate::DiskOp, _: &Path) -> IoResult<()> {
        let same = std::mem::discriminant(&op) == std::mem::discriminant(&self.0);
        if same { Err(IoError::from_raw_os_error(28)) } else { Ok(()) }
    }
}

#[test]
fn a_snapshot_that_could_not_be_made_durable_is_not_there() {
    use crate::DiskOp::{Open, SyncData, SyncDir, Write};
    for op in [Open, Write { bytes: 0 }, SyncData, SyncDir] {
        let temp = TempDir::new().unwrap();
        let dir = SnapDir::open(temp.path(), Some(Arc::new(Fail(op)))).unwrap();
        let error = dir.save(&snapshot(1, 1)).unwrap_err().to_string();
        assert!(error.contains("No space left on device"), "{op:?}: {error}");
        assert!(dir.file_names().unwrap().is_empty(), "{op:?}");
    }
}
