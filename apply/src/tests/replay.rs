//! Logs of real servers, applied from their first entry, give every row those servers had.

use std::collections::BTreeMap;
use std::sync::mpsc;

use base::schema::{self, Bucket};
use bytes::Bytes;

use super::machine::Disk;
use crate::{Entry, EntryKind};

type Rows = BTreeMap<(Bucket, Vec<u8>), Vec<u8>>;

/// A log with the rows its server had after the last entry.
struct Recording {
    entries: Vec<Entry>,
    rows: Rows,
}

fn unhex(text: &str) -> Bytes {
    if text == "-" {
        return Bytes::new();
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("two hex digits");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn read(text: &str) -> Recording {
    let mut recording = Recording { entries: Vec::new(), rows: BTreeMap::new() };
    for line in text.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        match fields[..] {
            ["entry", index, term, kind, data] => recording.entries.push(Entry {
                index: index.parse().expect("an index"),
                term: term.parse().expect("a term"),
                kind: match kind {
                    "0" => EntryKind::Normal,
                    "1" => EntryKind::ConfChange,
                    other => panic!("entry type {other}"),
                },
                data: unhex(data),
            }),
            ["row", bucket, key, value] => {
                let bucket = Bucket::from_name(bucket).expect("a bucket");
                recording.rows.insert((bucket, unhex(key).into()), unhex(value).into());
            }
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    recording
}

/// Applies the log in batches of `batch` entries and returns the rows it made.
fn replay(entries: &[Entry], batch: usize) -> Rows {
    let disk = Disk::new();
    let mut running = disk.open();
    let mut outcomes = Vec::new();
    for entries in entries.chunks(batch) {
        running
            .machine
            .apply_batch(entries.iter().cloned(), |_id| false, &mut outcomes)
            .expect("every entry of a real log can be applied");
    }
    let store = running.machine.store();
    let (done, finished) = mpsc::channel();
    store.when_compacted(store.compacted_revision(), move || {
        done.send(()).expect("the test waits");
    });
    finished.recv().expect("the compaction ends");
    running.rows()
}

/// Compares row by row, so that a failure names the row. Users and roles are not replayed.
fn compare(made: &Rows, expected: &Rows, left_out: &[&[u8]]) {
    let users = [Bucket::Auth, Bucket::AuthRoles, Bucket::AuthUsers];
    let compared = |key: &&(Bucket, Vec<u8>)| {
        let (bucket, key) = key;
        let is_left_out = *bucket == Bucket::Meta && left_out.contains(&&key[..]);
        !users.contains(bucket) && !is_left_out
    };
    for key in made.keys().chain(expected.keys()).filter(compared) {
        assert_eq!(made.get(key), expected.get(key), "{:?} {:02x?}", key.0, key.1);
    }
}

#[test]
fn a_single_3_7_1_server() {
    let recording = read(include_str!("../../tests/fixtures/etcd-3.7.1.txt"));
    assert_eq!((recording.entries.len(), recording.rows.len()), (82, 80));
    for batch in [1, 7, 1000] {
        compare(&replay(&recording.entries, batch), &recording.rows, &[]);
    }
}

#[test]
fn a_3_7_1_cluster_with_every_kind_of_membership_change() {
    let recording = read(include_str!("../../tests/fixtures/etcd-3.7.1-cluster-m1.txt"));
    assert_eq!((recording.entries.len(), recording.rows.len()), (248, 152));
    for batch in [1, 7, 1000] {
        compare(&replay(&recording.entries, batch), &recording.rows, &[]);
    }
}

#[test]
fn a_removed_member_of_that_cluster() {
    let recording = read(include_str!("../../tests/fixtures/etcd-3.7.1-cluster-m3.txt"));
    assert_eq!((recording.entries.len(), recording.rows.len()), (215, 210));
    compare(&replay(&recording.entries, 16), &recording.rows, &[]);
}

#[test]
fn a_3_4_server_whose_log_speaks_the_old_api() {
    let recording = read(include_str!("../../tests/fixtures/etcd-3.4.23.txt"));
    assert_eq!((recording.entries.len(), recording.rows.len()), (81, 77));
    let newer_rows = [schema::TERM, schema::CONF_STATE];
    compare(&replay(&recording.entries, 16), &recording.rows, &newer_rows);
}
