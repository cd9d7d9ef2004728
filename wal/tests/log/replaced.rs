//! Entries that others have taken the place of, at and below the mark a log is opened at.

use crate::support::{Dir, entry, small, state};
use base::ConfState;
use wal::{Entry, SnapshotRecord, Wal, valid_snapshots};

fn mark(index: u64, term: u64) -> SnapshotRecord {
    SnapshotRecord { index, term, conf_state: Some(ConfState::of_voters(vec![1, 2, 3])) }
}

fn entries(indexes: std::ops::RangeInclusive<u64>, term: u64) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, b"data")).collect()
}

/// What a start finds behind the last mark.
fn reopened(dir: &Dir) -> (Wal, Vec<(u64, u64)>) {
    let last = valid_snapshots(&dir.wal).unwrap().pop().unwrap();
    let (wal, recovered) = Wal::open(&dir.wal, (last.index, last.term), &small()).unwrap();
    (wal, recovered.entries.iter().map(|entry| (entry.index, entry.term)).collect())
}

#[test]
fn a_received_snapshot_ends_what_the_log_had_beyond_it() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    // A leader that was cut off; the others went on without these.
    wal.save(&entries(1..=10, 1), Some(&state(1, 1, 3))).unwrap();
    wal.save_snapshot(&mark(5, 2)).unwrap();
    wal.save(&[], Some(&state(2, 0, 5))).unwrap();
    drop(wal);
    let (mut wal, found) = reopened(&dir);
    assert_eq!(found, []);
    // The same mark once more takes nothing away of what follows it.
    wal.save(&entries(6..=7, 2), Some(&state(2, 0, 7))).unwrap();
    wal.save_snapshot(&mark(5, 2)).unwrap();
    drop(wal);
    assert_eq!(reopened(&dir).1, [(6, 2), (7, 2)]);
}

#[test]
fn a_mark_of_its_own_ends_nothing() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&entries(1..=10, 1), Some(&state(1, 1, 8))).unwrap();
    wal.save_snapshot(&mark(8, 1)).unwrap();
    drop(wal);
    assert_eq!(reopened(&dir).1, [(9, 1), (10, 1)]);
}

#[test]
fn entries_below_the_mark_replace_those_beyond_it_too() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&entries(1..=10, 1), Some(&state(1, 1, 5))).unwrap();
    wal.save(&entries(6..=8, 2), Some(&state(2, 0, 8))).unwrap();
    wal.save_snapshot(&mark(8, 2)).unwrap();
    drop(wal);
    assert_eq!(reopened(&dir).1, []);
}
