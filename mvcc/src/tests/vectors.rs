//! Rows and hashes that running etcd servers have shown.

use base::schema::{self, Bucket};

use super::*;
use crate::Error;

/// put foo=bar, put foo=bar2, put hello=world, del foo, put k2=v2.
fn worked_example() -> Fixture {
    let mut f = Fixture::new();
    f.put("foo", "bar");
    f.put("foo", "bar2");
    f.put("hello", "world");
    f.delete("foo");
    f.put("k2", "v2");
    f
}

fn hash_kv(f: &Fixture, at: i64) -> (u32, i64, i64) {
    let hash = f.store.hash_kv(at).expect("hash");
    (hash.hash, hash.revision, hash.compact_revision)
}

#[test]
fn rows_have_the_bytes_etcd_stores() {
    let rows: Vec<_> = worked_example().rows(Bucket::Key);
    let expected = [
        ("00000000000000025f0000000000000000", "0a03666f6f1002180220012a03626172"),
        ("00000000000000035f0000000000000000", "0a03666f6f1002180320022a0462617232"),
        ("00000000000000045f0000000000000000", "0a0568656c6c6f1004180420012a05776f726c64"),
        ("00000000000000055f000000000000000074", "0a03666f6f"),
        ("00000000000000065f0000000000000000", "0a026b321006180620012a027632"),
    ];
    assert_eq!(rows, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn key_history_hashes_equal_etcds() {
    let mut f = worked_example();
    assert_eq!(hash_kv(&f, 0), (4_191_077_807, 6, -1));
    f.compact(3);
    assert_eq!(hash_kv(&f, 0), (1_806_268_877, 6, 3));
    f.compact(5);
    assert_eq!(hash_kv(&f, 0), (2_830_346_191, 6, 5));
    // The tombstone at the compacted revision stays stored but does not count.
    let rows = f.rows(Bucket::Key);
    assert_eq!(rows.len(), 3);
    assert!(rows[1].0.ends_with("74"));
    let f = f.restart();
    assert_eq!(hash_kv(&f, 0), (2_830_346_191, 6, 5));
}

#[test]
fn hash_of_an_empty_history_is_that_of_the_bucket_name() {
    let f = Fixture::new();
    assert_eq!(hash_kv(&f, 0), (1_084_519_789, 1, -1));
    assert_eq!(hash_kv(&f, -7), (1_084_519_789, -7, -1));
}

#[test]
fn hash_of_one_row_equals_etcds() {
    let mut f = Fixture::new();
    f.put("foo", "bar");
    assert_eq!(hash_kv(&f, 0), (3_305_255_506, 2, -1));
}

#[test]
fn hash_with_txn_and_compaction_equals_etcds() {
    let mut f = Fixture::new();
    f.put("a", "1");
    f.put("foo", "bar");
    f.put("foo", "qux");
    f.writer.delete_range(&KeyRange::single(bytes("a")));
    f.writer.put(&bytes("b"), b"2", 0);
    f.end();
    f.delete("foo");
    for i in 0..5 {
        f.put(&format!("k{i}"), &format!("v{i}"));
    }
    f.put("k0", "new");
    f.put("k0", "after-half-close");
    f.compact(4);
    assert_eq!(hash_kv(&f, 13), (3_350_031_528, 13, 4));
}

#[test]
fn hash_revisions_are_checked() {
    let mut f = worked_example();
    f.compact(5);
    assert!(matches!(f.store.hash_kv(4), Err(Error::Compacted)));
    assert!(matches!(f.store.hash_kv(7), Err(Error::FutureRev)));
}

#[test]
fn a_compaction_remembers_the_hash_of_what_it_walked() {
    let mut f = worked_example();
    // Before: what a reader hashes at 3 while nothing is compacted.
    let (before, _, _) = hash_kv(&f, 3);
    f.compact(3);
    assert_eq!(hash_kv(&f, 3), (before, 3, -1));
    let (before, _, _) = hash_kv(&f, 5);
    f.compact(5);
    assert_eq!(hash_kv(&f, 5).1, 5);
    assert_eq!(hash_kv(&f, 5).2, 3);
    // At 5 the compaction also keeps the tombstone, which no reader sees.
    assert_ne!(hash_kv(&f, 5).0, 0);
    let _ = before;
    // Remembered in memory only.
    let f = f.restart();
    assert_eq!(hash_kv(&f, 5).2, 5);
}

#[test]
fn only_ten_compaction_hashes_are_remembered() {
    let mut f = Fixture::new();
    for i in 0..12 {
        f.put("k", &i.to_string());
        f.compact(2 + i);
    }
    assert!(matches!(f.store.hash_kv(2), Err(Error::Compacted)));
    assert_eq!(hash_kv(&f, 13), (f.store.hash_kv(13).expect("hash").hash, 13, 12));
}

/// The rows of the hand-made database whose hashes a running etcd confirmed.
fn hand_made() -> Fixture {
    let mut f = Fixture::new();
    let lease = 1_311_768_467_294_899_695;
    f.put("a", "1");
    f.put("b", "2");
    f.put_leased("l", "leased", lease);
    f.put("a", "11");
    f.delete("b");
    let w = &mut f.writer;
    w.row_put(Bucket::Auth, schema::AUTH_REVISION, &3u64.to_be_bytes());
    w.row_put(Bucket::AuthRoles, b"r", b"\x0a\x01r\x12\x08\x08\x02\x12\x01a\x1a\x01c");
    w.row_put(Bucket::Cluster, schema::CLUSTER_VERSION, b"3.7.0");
    let ttl = b"\x08\xef\x9b\xaf\x85\x89\xcf\x95\x9a\x12\x10\xd8\x04";
    w.row_put(Bucket::Lease, &schema::lease_key(lease), ttl);
    let member = concat!(
        r#"{"id":14402914879349585701,"peerURLs":["http://127.0.0.1:37011"],"#,
        r#""name":"scratch","clientURLs":["http://127.0.0.1:37010"]}"#
    );
    w.row_put(Bucket::Members, b"c7e16ec5d9d1f725", member.as_bytes());
    let voters = br#"{"voters":[14402914879349585701],"auto_leave":false}"#;
    w.row_put(Bucket::Meta, schema::CONF_STATE, voters);
    w.row_put(Bucket::Meta, schema::STORAGE_VERSION, b"3.7.0");
    w.set_applied(12, 2);
    w.commit().expect("commit");
    f
}

#[test]
fn hashes_of_the_hand_made_database_equal_etcds() {
    let f = hand_made();
    assert_eq!(hash_kv(&f, 0), (47_181_049, 6, -1));
    assert_eq!(f.store.hash().expect("hash"), 302_642_921);
    let status = crate::hash_buckets(&f.store.backend().view(), |_, _| false);
    assert_eq!(status.expect("hash"), 1_889_347_483);
}

#[test]
fn term_index_and_storage_version_are_not_in_the_hash() {
    let mut f = hand_made();
    let before = f.store.hash().expect("hash");
    f.writer.set_applied(99, 7);
    f.writer.row_delete(Bucket::Meta, schema::STORAGE_VERSION);
    f.writer.commit().expect("commit");
    assert_eq!(f.store.hash().expect("hash"), before);
    f.writer.row_put(Bucket::Meta, schema::CONF_STATE, b"{}");
    f.writer.commit().expect("commit");
    assert_ne!(f.store.hash().expect("hash"), before);
}
