//! Appending, cutting, releasing and opening again.

use crate::support::{Dir, METADATA, entry, offsets, small, state};
use base::ConfState;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use wal::{Entry, Error, Options, SnapshotRecord, Wal, purge, read_all, valid_snapshots, verify};

fn mark(index: u64, term: u64) -> SnapshotRecord {
    let conf_state = Some(ConfState { voters: vec![0x1111], ..ConfState::default() });
    SnapshotRecord { index, term, conf_state }
}

#[test]
fn a_new_log_is_one_segment_of_64_million_bytes_and_a_spare() {
    let dir = Dir::new();
    assert!(!Wal::exists(&dir.wal).unwrap());
    let mut wal = dir.create(&Options::default());
    assert!(Wal::exists(&dir.wal).unwrap());
    wal.save(&[entry(1, 1, b"one")], Some(&state(1, 0x1111, 0))).unwrap();
    let segment = dir.segments().remove(0);
    assert!(segment.ends_with("0000000000000000-0000000000000000.wal"));
    let meta = fs::metadata(&segment).unwrap();
    assert_eq!(meta.len(), 64_000_000);
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(&dir.wal).unwrap().permissions().mode() & 0o777, 0o700);
    assert!(!dir.wal.with_file_name("wal.tmp").exists());
    wal.close().unwrap();
    assert_eq!(dir.names(), ["0000000000000000-0000000000000000.wal"], "the spare is removed");
}

#[test]
fn what_was_saved_is_recovered() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    let first = [entry(1, 1, b"one"), entry(2, 1, b""), entry(3, 1, &[7; 5000])];
    wal.save(&first, Some(&state(1, 5, 0))).unwrap();
    wal.save(&[], Some(&state(1, 5, 3))).unwrap();
    wal.save(&[], None).unwrap();
    drop(wal);
    let (wal, recovered) = dir.open();
    assert_eq!(recovered.metadata, METADATA);
    assert_eq!(recovered.entries, first);
    assert_eq!(recovered.hard_state, state(1, 5, 3));
    assert_eq!(recovered.repaired, None);
    assert_eq!(wal.last_index(), 3);
    let read = read_all(&dir.wal, (0, 0)).unwrap();
    assert_eq!(read.entries, first);
    assert_eq!(verify(&dir.wal, (0, 0)).unwrap(), state(1, 5, 3));
}

#[test]
fn a_log_is_not_created_over_another() {
    let dir = Dir::new();
    drop(dir.create(&small()));
    let error = Wal::create(&dir.wal, &METADATA, &small()).unwrap_err();
    assert!(matches!(error, Error::AlreadyExists { .. }), "{error}");
}

#[test]
fn what_an_interrupted_creation_left_is_replaced() {
    let dir = Dir::new();
    let beside = dir.wal.with_file_name("wal.tmp");
    fs::create_dir_all(&beside).unwrap();
    fs::write(beside.join("0000000000000000-0000000000000000.wal"), b"half").unwrap();
    fs::create_dir_all(&dir.wal).unwrap();
    fs::write(dir.wal.join("0.tmp"), b"spare").unwrap();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, b"x")], None).unwrap();
    drop(wal);
    assert!(!beside.exists());
    assert_eq!(dir.open().1.entries.len(), 1);
}

#[test]
fn a_full_segment_ends_with_its_data_and_the_next_is_named_after_the_next_entry() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 2, &[1; 5000])], Some(&state(2, 9, 0))).unwrap();
    wal.save(&[entry(2, 2, &[2; 5000])], Some(&state(2, 9, 1))).unwrap();
    wal.save(&[entry(3, 2, b"after")], Some(&state(2, 9, 2))).unwrap();
    let segments = dir.segments();
    assert_eq!(segments.len(), 2);
    assert!(segments[1].ends_with("0000000000000001-0000000000000003.wal"));
    let ends = offsets(&segments[0]);
    assert_eq!(fs::metadata(&segments[0]).unwrap().len(), *ends.last().unwrap());
    assert_eq!(fs::metadata(&segments[1]).unwrap().len(), 8192);
    // A thread of its own makes it.
    let spare = dir.wal.join("1.tmp");
    let until = Instant::now() + Duration::from_secs(30);
    while !spare.exists() {
        assert!(Instant::now() < until, "the next spare");
        std::thread::sleep(Duration::from_millis(1));
    }

    // The chain goes on: the second segment can be read alone, and it begins with crc (4),
    // metadata (1) and state (3).
    let bytes = fs::read(&segments[1]).unwrap();
    let kinds: Vec<u8> =
        offsets(&segments[1]).iter().take(3).map(|at| bytes[*at as usize + 9]).collect();
    assert_eq!(kinds, [4, 1, 3]);
    drop(wal);
    assert_eq!(dir.open().1.entries.len(), 3);
}

#[test]
fn the_cut_comes_exactly_at_the_limit() {
    let two = [entry(1, 1, &[1; 100]), entry(2, 1, &[2; 100])];
    let dir = Dir::new();
    dir.create(&small()).save(&two, None).unwrap();
    let end = *offsets(&dir.segments()[0]).last().unwrap();
    for (room, segments) in [(0, 2), (1, 1)] {
        let dir = Dir::new();
        let mut wal = dir.create(&Options { segment_bytes: end + room, ..Options::default() });
        wal.save(&two[..1], None).unwrap();
        assert_eq!(dir.segments().len(), 1);
        wal.save(&two[1..], None).unwrap();
        assert_eq!(dir.segments().len(), segments, "{room} bytes of room");
    }
}

#[test]
fn a_later_segment_is_read_alone() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    for index in 1..=4 {
        wal.save(&[entry(index, 1, &[1; 5000])], Some(&state(1, 7, index))).unwrap();
    }
    wal.save_snapshot(&mark(4, 1)).unwrap();
    wal.save(&[entry(5, 1, b"five")], None).unwrap();
    drop(wal);
    let segments = dir.segments();
    assert_eq!(segments.len(), 3);
    fs::remove_file(&segments[0]).unwrap();
    let (mut wal, recovered) = Wal::open(&dir.wal, (4, 1), &small()).unwrap();
    assert_eq!(recovered.entries, [entry(5, 1, b"five")]);
    assert_eq!(recovered.hard_state, state(1, 7, 4));
    assert_eq!(recovered.metadata, METADATA);
    wal.save(&[entry(6, 1, b"six")], None).unwrap();
    drop(wal);
    assert_eq!(read_all(&dir.wal, (4, 1)).unwrap().entries.len(), 2);
    let early = read_all(&dir.wal, (2, 1)).unwrap_err().to_string();
    assert!(early.starts_with("wal: file not found which matches the snapshot index '2'"));
}

#[test]
fn later_entries_replace_earlier_ones_of_the_same_index() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    let old: Vec<Entry> = (1..=5).map(|i| entry(i, 1, b"old")).collect();
    wal.save(&old, None).unwrap();
    wal.save(&[entry(3, 2, b"new"), entry(4, 2, b"new")], None).unwrap();
    assert_eq!(wal.last_index(), 4);
    drop(wal);
    let (_, recovered) = dir.open();
    let terms: Vec<u64> = recovered.entries.iter().map(|entry| entry.term).collect();
    assert_eq!(terms, [1, 1, 2, 2]);
}

#[test]
fn a_log_opens_at_a_mark_and_only_at_one_it_has() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, b"a"), entry(2, 1, b"b")], Some(&state(1, 3, 2))).unwrap();
    wal.save_snapshot(&mark(2, 1)).unwrap();
    wal.save(&[entry(3, 1, b"c")], None).unwrap();
    drop(wal);
    let (_, recovered) = Wal::open(&dir.wal, (2, 1), &small()).unwrap();
    assert_eq!(recovered.entries, [entry(3, 1, b"c")]);
    let error = read_all(&dir.wal, (1, 1)).unwrap_err().to_string();
    assert!(error.starts_with("wal: snapshot not found"), "{error}");
    let error = read_all(&dir.wal, (2, 9)).unwrap_err().to_string();
    assert!(error.starts_with("wal: snapshot mismatch"), "{error}");
    assert!(Wal::open(&dir.wal, (2, 9), &small()).is_err());
}

#[test]
fn marks_above_the_commit_index_are_not_valid() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, b"a"), entry(2, 1, b"b")], Some(&state(1, 3, 1))).unwrap();
    wal.save_snapshot(&mark(1, 1)).unwrap();
    wal.save_snapshot(&mark(2, 1)).unwrap();
    let valid = valid_snapshots(&dir.wal).unwrap();
    assert_eq!(valid, [SnapshotRecord::default(), mark(1, 1)]);
    wal.save(&[], Some(&state(1, 3, 2))).unwrap();
    assert_eq!(valid_snapshots(&dir.wal).unwrap().last(), Some(&mark(2, 1)));
}

#[test]
fn a_mark_without_membership_is_refused() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    let error = wal.save_snapshot(&SnapshotRecord { conf_state: None, ..mark(1, 1) }).unwrap_err();
    assert!(error.to_string().starts_with("Saved (not-initial) snapshot is missing ConfState"));
    wal.save(&[entry(1, 1, b"a")], None).expect("the log is not spoilt by it");
}

#[test]
fn after_a_received_snapshot_entries_begin_behind_it() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[], Some(&state(2, 0, 0))).unwrap();
    wal.save_snapshot(&mark(132, 2)).unwrap();
    wal.save(&[entry(133, 2, b"x")], Some(&state(2, 0, 132))).unwrap();
    drop(wal);
    let (_, recovered) = Wal::open(&dir.wal, (132, 2), &small()).unwrap();
    assert_eq!(recovered.entries, [entry(133, 2, b"x")]);
    let error = read_all(&dir.wal, (0, 0)).unwrap_err().to_string();
    assert!(
        error.starts_with(
            "wal: slice bounds out of range, snapshot[Index: 0, Term: 0], \
             current entry[Index: 133, Term: 2], len(ents): 0"
        ),
        "{error}"
    );
}

#[test]
#[should_panic(expected = "entry 3 behind entry 1")]
fn a_gap_between_entries_is_never_written() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, b"a")], None).unwrap();
    wal.save(&[entry(3, 1, b"c")], None).unwrap();
}

#[test]
fn released_segments_are_purged_and_held_ones_are_not() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    for index in 1..=12 {
        wal.save(&[entry(index, 1, &[1; 5000])], Some(&state(1, 7, index))).unwrap();
    }
    // Names by index: 0, 3, 5, 7, 9, 11, 13.
    assert_eq!(dir.segments().len(), 7);
    assert!(purge(&dir.wal, 2).unwrap().is_empty(), "all are held");
    wal.release_to(8);
    assert!(purge(&dir.wal, 0).unwrap().is_empty(), "0 keeps all");
    assert_eq!(purge(&dir.wal, 6).unwrap().len(), 1);
    assert_eq!(purge(&dir.wal, 1).unwrap().len(), 2, "the segment with entry 8 is held");
    let left = dir.segments();
    assert!(left[0].ends_with("0000000000000003-0000000000000007.wal"), "{left:?}");
    wal.release_to(1000);
    assert_eq!(purge(&dir.wal, 1).unwrap().len(), 3, "all but the last");
    wal.save(&[entry(13, 1, b"still")], None).unwrap();
}

#[test]
fn a_second_process_is_refused_while_the_log_is_open() {
    let dir = Dir::new();
    let wal = dir.create(&small());
    let error = Wal::open(&dir.wal, (0, 0), &small()).unwrap_err();
    assert!(error.to_string().starts_with("fileutil: file already locked"), "{error}");
    drop(wal);
    let (_wal, _) = dir.open();
    assert!(matches!(Wal::open(&dir.wal, (0, 0), &small()), Err(Error::Locked { .. })));
    read_all(&dir.wal, (0, 0)).expect("readers need no lock");
}

#[test]
fn a_spare_left_by_a_crash_is_emptied_before_it_becomes_a_segment() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    wal.save(&[entry(1, 1, b"a")], None).unwrap();
    drop(wal);
    fs::write(dir.wal.join("0.tmp"), vec![0xee; 20_000]).unwrap();
    fs::write(dir.wal.join("notes.txt"), b"not a segment").unwrap();
    let (mut wal, _) = dir.open();
    wal.save(&[entry(2, 1, &[2; 9000])], None).unwrap();
    wal.save(&[entry(3, 1, b"c")], None).unwrap();
    assert_eq!(dir.segments().len(), 2);
    assert_eq!(fs::metadata(&dir.segments()[1]).unwrap().len(), 8192);
    drop(wal);
    assert_eq!(dir.open().1.entries.len(), 3);
}

#[test]
fn a_missing_middle_segment_is_refused() {
    let dir = Dir::new();
    let mut wal = dir.create(&small());
    for index in 1..=6 {
        wal.save(&[entry(index, 1, &[1; 5000])], None).unwrap();
    }
    drop(wal);
    fs::remove_file(&dir.segments()[1]).unwrap();
    for error in [
        read_all(&dir.wal, (0, 0)).unwrap_err(),
        valid_snapshots(&dir.wal).unwrap_err(),
        Wal::open(&dir.wal, (0, 0), &small()).unwrap_err(),
    ] {
        let error = error.to_string();
        assert!(
            error.starts_with(
                "wal: file sequence numbers (starting from 0) do not increase continuously"
            ),
            "{error}"
        );
    }
}
