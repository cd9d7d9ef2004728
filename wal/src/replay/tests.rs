//! Logs that real servers wrote, read to the last record.

use super::*;
use crate::wal::{Options, Wal};
use std::collections::HashMap;
use std::io::Read;
use tempfile::TempDir;

/// A log of a real server: its data without the zeros behind, and what is known about it.
struct Fixture {
    name: &'static str,
    /// The mark to open it at.
    at: (u64, u64),
    end: u64,
    end_crc: u32,
    entries: usize,
    last_index: u64,
    commit: u64,
    marks: usize,
}

const FIXTURES: [Fixture; 6] = [
    Fixture {
        name: "etcd-3.4.23",
        at: (0, 0),
        end: 39640,
        end_crc: 0x83ff0f78,
        entries: 81,
        last_index: 81,
        commit: 81,
        marks: 1,
    },
    Fixture {
        name: "etcd-3.7.1",
        at: (0, 0),
        end: 39640,
        end_crc: 0xf64f1a1e,
        entries: 82,
        last_index: 82,
        commit: 81,
        marks: 1,
    },
    Fixture {
        name: "cluster-m1",
        at: (0, 0),
        end: 23360,
        end_crc: 0x7307f815,
        entries: 248,
        last_index: 248,
        commit: 247,
        marks: 5,
    },
    Fixture {
        name: "cluster-m2",
        at: (0, 0),
        end: 23400,
        end_crc: 0x38b2f01d,
        entries: 248,
        last_index: 248,
        commit: 247,
        marks: 5,
    },
    Fixture {
        name: "cluster-m3",
        at: (0, 0),
        end: 20128,
        end_crc: 0x5958cac4,
        entries: 215,
        last_index: 215,
        commit: 215,
        marks: 4,
    },
    Fixture {
        name: "cluster-m4",
        at: (132, 2),
        end: 10848,
        end_crc: 0x06f0147e,
        entries: 116,
        last_index: 248,
        commit: 247,
        marks: 3,
    },
];

/// Puts the log into a directory, with zeros up to the length of a fresh segment.
fn unpack(fixture: &Fixture) -> (TempDir, PathBuf) {
    let path = format!("{}/tests/fixtures/{}.wal.gz", env!("CARGO_MANIFEST_DIR"), fixture.name);
    let mut data = Vec::new();
    flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut data).unwrap();
    let temp = TempDir::new().unwrap();
    let segment = temp.path().join("0000000000000000-0000000000000000.wal");
    std::fs::write(&segment, data).unwrap();
    File::options().write(true).open(&segment).unwrap().set_len(64_000_000).unwrap();
    (temp, segment)
}

#[test]
fn logs_of_real_servers_are_read_to_their_last_record() {
    for fixture in &FIXTURES {
        let (temp, segment) = unpack(fixture);
        let start = Start { index: fixture.at.0, term: fixture.at.1 };
        let replay = read_from(temp.path(), start).unwrap();
        let name = fixture.name;
        assert_eq!((replay.tail.offset, replay.tail.crc), (fixture.end, fixture.end_crc), "{name}");
        assert!(replay.tail.damage.is_none(), "{name}");
        assert_eq!(replay.entries.len(), fixture.entries, "{name}");
        assert_eq!(replay.last_index, fixture.last_index, "{name}");
        assert_eq!(replay.hard_state.commit, fixture.commit, "{name}");
        assert_eq!(replay.marks.len(), fixture.marks, "{name}");
        let valid = valid_snapshots(temp.path()).unwrap();
        assert_eq!(valid, replay.marks, "{name}: all marks are committed");
        drop(segment);
    }
}

#[test]
fn entries_of_one_index_are_the_same_on_all_members() {
    let mut first: HashMap<u64, Entry> = HashMap::new();
    for fixture in FIXTURES.iter().filter(|fixture| fixture.name.starts_with("cluster")) {
        let (temp, _) = unpack(fixture);
        for entry in read_all(temp.path(), fixture.at).unwrap().entries {
            let known = first.entry(entry.index).or_insert_with(|| entry.clone());
            assert_eq!(*known, entry, "{}", fixture.name);
        }
    }
    assert_eq!(first.len(), 248);
}

#[test]
fn a_member_that_joined_by_snapshot_has_no_first_entry() {
    let fixture = &FIXTURES[5];
    let (temp, _) = unpack(fixture);
    let error = read_all(temp.path(), (0, 0)).unwrap_err().to_string();
    assert!(error.starts_with("wal: slice bounds out of range"), "{error}");
    let newest = valid_snapshots(temp.path()).unwrap().pop().unwrap();
    assert_eq!((newest.index, newest.term), (193, 2));
    let recovered = read_all(temp.path(), (newest.index, newest.term)).unwrap();
    assert_eq!(recovered.entries.first().unwrap().index, 194);
    let conf_state = newest.conf_state.unwrap();
    assert_eq!(conf_state.voters.len() + conf_state.learners.len(), 4);
}

#[test]
fn a_log_of_a_real_server_is_continued() {
    for fixture in &FIXTURES {
        let (temp, segment) = unpack(fixture);
        let (mut wal, before) = Wal::open(temp.path(), fixture.at, &Options::default()).unwrap();
        assert_eq!(before.repaired, None);
        let next = Entry { term: 9, index: fixture.last_index + 1, ..Entry::default() };
        wal.save(std::slice::from_ref(&next), None).unwrap();
        drop(wal);
        assert_eq!(std::fs::metadata(&segment).unwrap().len(), 64_000_000);
        let after = read_all(temp.path(), fixture.at).unwrap();
        assert_eq!(after.entries.len(), fixture.entries + 1, "{}", fixture.name);
        assert_eq!(after.entries.last(), Some(&next));
        assert_eq!(after.entries[..fixture.entries], before.entries);
    }
}
