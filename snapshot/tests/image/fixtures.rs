//! Files that real etcd wrote: backups, and databases of stopped members.

use std::io::Read;

use snapshot::{Reader, Status, verify_trailer};

use crate::support::{Buckets, read, write};

fn fixture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/data/{name}.gz", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).unwrap();
    bytes
}

fn status(hash: u32, live_keys: u64, rows: u64, version: &str) -> Status {
    let version = version.to_owned();
    Status { hash, revision: 69, live_keys, rows, size_bytes: 81_920, version }
}

fn rows(image: Vec<u8>) -> Buckets {
    read(&Reader::open(image).unwrap()).unwrap()
}

#[test]
fn backups_have_the_status_that_etcd_printed() {
    for (name, expected) in [
        ("etcd-3.7.1", status(0xc0fd_5dd5, 58, 80, "3.7.0")),
        ("etcd-3.4.23", status(0x57e4_a821, 58, 77, "")),
    ] {
        let backup = fixture(&format!("{name}.snapshot"));
        assert_eq!(verify_trailer(&backup).unwrap(), 81_920, "{name}");
        let reader = Reader::open(backup).unwrap();
        reader.check().unwrap();
        assert_eq!(reader.status().unwrap(), expected, "{name}");
    }
}

#[test]
fn a_members_database_holds_what_its_backup_holds() {
    for name in ["etcd-3.7.1", "etcd-3.4.23"] {
        let (backup, live) = (fixture(&format!("{name}.snapshot")), fixture(&format!("{name}.db")));
        assert_ne!(backup[..81_920], live[..81_920], "{name}");
        assert_eq!(rows(backup), rows(live), "{name}");
    }
}

#[test]
fn members_of_a_cluster_have_the_hashes_that_etcd_has() {
    for name in ["cluster-m1", "cluster-m4"] {
        let reader = Reader::open(fixture(&format!("{name}.db"))).unwrap();
        let status = reader.status().unwrap();
        let found = (status.hash, status.revision, status.live_keys, status.rows);
        assert_eq!(found, (1_948_396_984, 231, 90, 152), "{name}");
    }
    let removed = Reader::open(fixture("cluster-m3.db")).unwrap().status().unwrap();
    assert_eq!((removed.revision, removed.rows), (201, 210));
}

#[test]
fn what_was_read_is_written_with_the_same_status() {
    for name in ["etcd-3.7.1.snapshot", "etcd-3.4.23.db", "cluster-m3.db"] {
        let image = fixture(name);
        let original = Reader::open(image.clone()).unwrap().status().unwrap();
        let copy = Reader::open(write(&rows(image))).unwrap().status().unwrap();
        assert_eq!(Status { size_bytes: original.size_bytes, ..copy }, original, "{name}");
    }
}
