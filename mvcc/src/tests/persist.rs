//! Restarts from an index file.

use std::fs;
use std::ops::ControlFlow;

use base::RowKey;
use base::schema::Bucket;

use super::*;
use crate::index_file;

impl Fixture {
    fn file(&self) -> std::path::PathBuf {
        index_file::path(self.store.backend().path())
    }

    /// Whether the index came from a file, or one was written since.
    fn has_file(&self) -> bool {
        self.store.shared.files.notes_above().is_some()
    }

    fn notes(&self) -> (usize, usize) {
        let count = |from: &[u8], to: &[u8]| {
            let mut rows = 0;
            let visit = |_: &[u8], _: &[u8]| {
                rows += 1;
                ControlFlow::Continue(())
            };
            self.store.backend().private_scan(from, Some(to), visit).expect("scan");
            rows
        };
        (count(b"L", b"M"), count(b"T", b"U"))
    }

    fn states(&self) -> Vec<String> {
        let metas = self.store.metas(&all(), 0, usize::MAX).expect("read").items;
        let show = |meta: &KeyMeta| {
            let key = String::from_utf8_lossy(&meta.key).into_owned();
            let state = meta.state;
            format!("{key} {} {} {}", state.modified.main, state.created.main, state.version)
        };
        metas.iter().map(show).collect()
    }
}

#[test]
fn a_restart_replays_what_came_after_the_file() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("b", "1");
    f.put("c", "1");
    f.store.write_index_file().expect("write");
    f.put("a", "2");
    f.delete("b");
    f.put("d", "1");
    let before = f.states();
    let f = f.restart();
    assert!(f.has_file());
    assert_eq!(f.states(), before);
    assert_eq!(before, ["a 5 2 2", "c 4 4 1", "d 7 7 1"]);
    assert_eq!(f.pairs(&all(), 4), ["a=1@2", "b=1@3", "c=1@4"]);
    assert_eq!(f.store.current_revision(), 7);
}

#[test]
fn a_key_whose_tombstone_is_compacted_away_stays_dead() {
    for compaction_walk_bytes_max in [0, u64::MAX] {
        let mut f = Fixture::with(Options { compaction_walk_bytes_max, ..no_pause() });
        f.put("a", "1");
        f.store.write_index_file().expect("write");
        f.delete("a");
        f.put("b", "1");
        f.compact(4);
        assert_eq!(f.rows(Bucket::Key).len(), 1);
        assert_eq!(f.notes(), (0, 1));
        let mut f = f.restart();
        assert!(f.has_file());
        assert_eq!(f.states(), ["b 4 4 1"]);
        f.put("a", "2");
        assert_eq!(f.states(), ["a 5 5 1", "b 4 4 1"]);
        // The next file knows of the deletion.
        f.store.write_index_file().expect("write");
        assert_eq!(f.notes(), (0, 0));
    }
}

#[test]
fn without_a_file_no_tombstones_are_noted() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.delete("a");
    f.put("b", "1");
    f.compact(4);
    assert_eq!(f.notes(), (0, 0));
}

#[test]
fn changes_that_were_compacted_after_the_file_leave_no_gap() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("b", "1");
    f.store.write_index_file().expect("write");
    for i in 0..5 {
        f.put("a", &i.to_string());
    }
    f.delete("b");
    f.put("b", "2");
    f.put("b", "3");
    f.compact(f.store.current_revision());
    let before = f.states();
    assert_eq!(before, ["a 8 2 6", "b 11 10 2"]);
    let mut f = f.restart();
    assert!(f.has_file());
    assert_eq!(f.states(), before);
    f.put("a", "x");
    f.compact(12);
    assert_eq!(f.rows(Bucket::Key).len(), 2);
}

#[test]
fn leases_are_known_without_reading_their_rows() {
    let mut f = Fixture::new();
    for (i, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
        f.put_leased(key, "1", 1 + i as i64);
    }
    f.store.write_index_file().expect("write");
    f.put("a", "2");
    f.delete("b");
    f.put_leased("c", "2", 9);
    f.put_leased("e", "1", 5);
    assert_eq!(f.notes().0, 6);
    let expected = [(bytes("c"), 9), (bytes("d"), 4), (bytes("e"), 5)];
    let (mut f, leased) = f.restart_with_leases();
    assert!(f.has_file());
    assert_eq!(leased, expected);
    // Compactions remove the notes that say nothing any more.
    f.compact(f.store.current_revision());
    assert_eq!(f.notes().0, 3);
    assert_eq!(f.restart_with_leases().1, expected);
}

#[test]
fn leases_of_rows_that_were_loaded_are_known_too() {
    let mut f = Fixture::new();
    f.put_leased("a", "1", 7);
    f.put_leased("b", "1", 8);
    // As a snapshot brings them: rows of buckets only.
    let mut batch = f.store.backend().batch();
    batch.private_delete_range(b"L", b"M");
    f.store.backend().write(batch).expect("write");
    let mut f = f.restart();
    f.delete("b");
    f.store.write_index_file().expect("write");
    let (f, leased) = f.restart_with_leases();
    assert!(f.has_file());
    assert_eq!(leased, [(bytes("a"), 7)]);
}

#[test]
fn a_damaged_file_is_not_used() {
    let mut f = Fixture::new();
    for i in 0..40 {
        f.put(&format!("key-{}", i % 9), &i.to_string());
    }
    f.delete("key-3");
    f.store.write_index_file().expect("write");
    let (before, good) = (f.states(), fs::read(f.file()).expect("read"));
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|i| flipped(&good, i)).collect();
    damaged.extend((0..good.len()).step_by(7).map(|len| good[..len].to_vec()));
    damaged.push([&good[..], b"x"].concat());
    for bytes in damaged {
        fs::write(f.file(), &bytes).expect("write");
        assert!(index_file::load(f.store.backend().path(), 42).is_err());
    }
    fs::write(f.file(), flipped(&good, good.len() / 2)).expect("write");
    let f = f.restart();
    assert!(!f.has_file() && !f.file().exists());
    assert_eq!(f.states(), before);
}

fn flipped(good: &[u8], i: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    bytes[i] ^= 0x10;
    bytes
}

#[test]
fn a_file_ahead_of_the_rows_is_not_used() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("b", "1");
    f.store.write_index_file().expect("write");
    // As if the rows had fallen back.
    let mut batch = f.store.backend().batch();
    batch.delete(Bucket::Key, &RowKey::put(rev(3, 0)).encode());
    f.store.backend().write(batch).expect("write");
    let f = f.restart();
    assert!(!f.has_file());
    assert_eq!(f.states(), ["a 2 2 1"]);
    assert_eq!(f.store.current_revision(), 2);
}

#[test]
fn files_are_written_by_themselves() {
    let mut f = Fixture::with(Options { index_file_revisions_min: 5, ..no_pause() });
    for i in 0..4 {
        f.put("a", &i.to_string());
    }
    let deadline = std::time::Instant::now() + PATIENCE;
    assert!(!f.file().exists());
    f.put("a", "4");
    while !f.file().exists() {
        assert!(std::time::Instant::now() < deadline, "no file is written");
        std::thread::yield_now();
    }
    let f = f.restart();
    assert!(f.has_file());
    assert_eq!(f.states(), ["a 6 2 5"]);
}

#[test]
fn an_interrupted_compaction_is_done_after_a_restart_from_the_file() {
    let mut f = Fixture::new();
    for i in 0..50 {
        f.put("a", &i.to_string());
    }
    let row = RowKey::put(rev(40, 0)).encode();
    f.writer.row_put(Bucket::Meta, base::schema::SCHEDULED_COMPACT, &row);
    f.writer.commit().expect("commit");
    // The index in the file has forgotten what the rows still hold.
    let mut cursor = Some(crate::index::CompactCursor::new(40));
    while let Some(from) = cursor {
        cursor = f.store.shared.index.write().compact_step(from, |_| {});
    }
    f.store.write_index_file().expect("write");
    let f = f.restart();
    assert!(f.has_file());
    f.wait_compacted(40);
    assert_eq!(f.rows(Bucket::Key).len(), 12);
}
