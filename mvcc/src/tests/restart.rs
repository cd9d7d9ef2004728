//! What is there after a restart.

use base::schema::{self, Bucket};

use super::*;
use crate::Error;

#[test]
fn a_batch_is_stored_whole_or_not_at_all() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.writer.put(&bytes("b"), b"1", 0);
    f.writer.row_put(Bucket::Lease, b"12345678", b"x");
    f.writer.end_entry();
    f.writer.set_applied(8, 2);
    let mut f = f.restart();
    assert_eq!(f.pairs(&all(), 0), ["a=1@2"]);
    assert!(f.rows(Bucket::Lease).is_empty() && f.rows(Bucket::Meta).is_empty());
    f.writer.put(&bytes("b"), b"1", 0);
    f.writer.row_put(Bucket::Lease, b"12345678", b"x");
    f.writer.set_applied(8, 2);
    f.writer.commit().expect("commit");
    let f = f.restart();
    assert_eq!(f.pairs(&all(), 0), ["a=1@2", "b=1@3"]);
    assert_eq!(f.rows(Bucket::Lease).len(), 1);
    let index = (hex(schema::CONSISTENT_INDEX), "0000000000000008".to_owned());
    let term = (hex(schema::TERM), "0000000000000002".to_owned());
    assert_eq!(f.rows(Bucket::Meta), [index, term]);
}

#[test]
fn versions_and_generations_go_on_after_a_restart() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("a", "2");
    f.put("b", "1");
    f.delete("b");
    f.compact(5);
    let mut f = f.restart();
    assert_eq!(f.store.current_revision(), 5);
    f.put("a", "3");
    f.put("b", "2");
    let row = f.store.pair(&bytes("a")).expect("read").expect("it lives");
    let kv = KeyValue::decode(&row).expect("a pair");
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 6, 3));
    let row = f.store.pair(&bytes("b")).expect("read").expect("it lives");
    assert_eq!(KeyValue::decode(&row).expect("a pair").version, 1);
}

#[test]
fn the_revision_never_falls_when_its_rows_are_compacted() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.delete("a");
    f.compact(3);
    // The tombstone at the compacted revision stays; nothing else does.
    assert_eq!(f.rows(Bucket::Key).len(), 1);
    let mut f = f.restart();
    assert_eq!(f.store.current_revision(), 3);
    assert_eq!(f.put("a", "2").revision, 4);
}

#[test]
fn leases_of_live_keys_are_reported() {
    let mut f = Fixture::new();
    f.put_leased("a", "1", 7);
    f.put_leased("b", "1", 7);
    f.put_leased("c", "1", 7);
    f.put_leased("d", "1", 7);
    f.put("b", "2");
    f.delete("c");
    f.put_leased("d", "2", 9);
    let (_, leased) = f.restart_with_leases();
    assert_eq!(leased, [(bytes("a"), 7), (bytes("d"), 9)]);
}

#[test]
fn an_interrupted_compaction_is_done_after_the_restart() {
    let mut f = Fixture::new();
    for i in 0..50 {
        f.put("a", &i.to_string());
    }
    // The mark of the schedule, as a crash right after the batch leaves it.
    let row = base::RowKey::put(rev(40, 0)).encode();
    f.writer.row_put(Bucket::Meta, schema::SCHEDULED_COMPACT, &row);
    f.writer.commit().expect("commit");
    assert_eq!(f.rows(Bucket::Key).len(), 50);
    let f = f.restart();
    assert_eq!(f.store.compacted_revision(), 40);
    assert!(matches!(f.store.pairs(&all(), 39, 1), Err(Error::Compacted)));
    f.wait_compacted(40);
    assert_eq!(f.rows(Bucket::Key).len(), 12);
    assert_eq!(f.pairs(&all(), 40), ["a=38@40"]);
    let marks = f.rows(Bucket::Meta);
    assert_eq!(marks[0], (hex(schema::FINISHED_COMPACT), hex(&row)));
    // Its hash is not remembered: rows could have been missing from the walk.
    assert_eq!(f.store.hash_kv(40).expect("hash").compact_revision, 40);
}

#[test]
fn a_scheduled_revision_above_all_rows_is_the_current_one() {
    let mut f = Fixture::new();
    f.put("a", "1");
    let row = base::RowKey::put(rev(9, 0)).encode();
    f.writer.row_put(Bucket::Meta, schema::SCHEDULED_COMPACT, &row);
    f.writer.commit().expect("commit");
    assert_eq!(f.restart().store.current_revision(), 9);
}

#[test]
fn a_row_without_a_key_only_moves_the_revision() {
    let f = Fixture::new();
    let mut batch = f.store.backend().batch();
    batch.put(Bucket::Key, &base::RowKey::put(rev(1000, 0)).encode(), b"");
    f.store.backend().write(batch).expect("write");
    let mut f = f.restart();
    assert_eq!((f.store.current_revision(), f.pairs(&all(), 0).len()), (1000, 0));
    assert_eq!(f.put("a", "1").revision, 1001);
    f.compact(1001);
    assert_eq!(f.rows(Bucket::Key).len(), 1);
}

#[test]
fn damaged_rows_are_refused_with_their_revision() {
    for (value, detail) in [
        (&b"\x0a\xff"[..], "its value is no key-value pair"),
        (b"\x0a\x01a\x10\x02\x18\x07\x20\x01", "its value names another revision"),
        (b"\x0a\x01a\x10\x05\x18\x02\x20\x01", "it contradicts the earlier rows of its key"),
    ] {
        let dir = tempfile::tempdir().expect("temporary folder");
        let backend = Backend::open(dir.path(), &backend::Options::default()).expect("open");
        let mut batch = backend.batch();
        batch.put(Bucket::Key, &base::RowKey::put(rev(2, 0)).encode(), value);
        backend.write(batch).expect("write");
        match Store::open(backend, Options::default()).map(|_| ()) {
            Err(Error::Row { rev: at, detail: text }) => {
                assert_eq!((at, text), (rev(2, 0), detail));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn foreign_row_keys_are_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    let backend = Backend::open(dir.path(), &backend::Options::default()).expect("open");
    let mut batch = backend.batch();
    batch.put(Bucket::Key, b"no revision", b"");
    backend.write(batch).expect("write");
    assert!(matches!(Store::open(backend, Options::default()), Err(Error::RowKey(_))));
}
