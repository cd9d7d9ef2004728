use std::fs;
use std::io::Read as _;
use std::path::Path;

use apply::Standing;
use backend::{Backend, CacheUse, Rows as _};
use base::schema::Bucket;
use mvcc::Store;
use wal::{EntryKind, HardState};

use super::*;

/// A file recorded from real etcd.
fn recorded(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshot/tests/data");
    let file = fs::File::open(dir.join(format!("{name}.gz"))).expect("a recorded file");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

fn request(dir: &Path, bytes: &[u8]) -> Request {
    let file = dir.join("x.db");
    fs::write(&file, bytes).expect("write the snapshot");
    Request {
        files: vec![file],
        name: "default".to_owned(),
        initial_cluster: "default=http://localhost:2380".to_owned(),
        token: "etcd-cluster".to_owned(),
        peer_urls: "http://localhost:2380".to_owned(),
        data_dir: dir.join("data"),
        ..Request::default()
    }
}

fn backend(request: &Request) -> Backend {
    let path = request.data_dir.join("member/snap/db");
    Backend::open(path, &backend::Options::default()).expect("backend")
}

fn rows(backend: &Backend, bucket: Bucket) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    let visit = |key: &[u8], value: &[u8]| {
        rows.push((key.to_vec(), value.to_vec()));
        std::ops::ControlFlow::Continue(())
    };
    backend.scan(bucket, b"", None, CacheUse::Bypass, visit).expect("scan");
    rows
}

#[test]
fn a_restored_member_has_the_rows_of_the_snapshot_and_a_cluster_of_its_own() {
    let dir = tempfile::tempdir().expect("directory");
    for (name, hash, revision) in
        [("etcd-3.7.1.snapshot", 3_866_940_726, 69), ("etcd-3.4.23.snapshot", 1_044_277_136, 69)]
    {
        let bytes = recorded(name);
        let request = request(dir.path(), &bytes);
        run(&request).expect("restored");
        let backend = backend(&request);
        let standing = Standing::read(&backend).expect("standing");
        assert_eq!((standing.index, standing.term), (1, 1));
        let members: Vec<String> =
            standing.cluster.members.iter().map(base::Member::to_json).collect();
        let known = "{\"id\":10276657743932975437,\"peerURLs\":[\"http://localhost:2380\"],\
                     \"name\":\"default\"}";
        assert_eq!(members, [known]);
        assert_eq!(standing.cluster.members.removed().count(), 0);

        // Everything else is what it was.
        let reader = snapshot::Reader::open(bytes.as_slice()).expect("a snapshot");
        let mut walk = reader.walk();
        while let Some(name) = walk.next_bucket().expect("bucket") {
            let bucket = std::str::from_utf8(name).ok().and_then(Bucket::from_name).expect("known");
            let mut found = rows(&backend, bucket);
            let mut stored = Vec::new();
            while let Some((key, value)) = walk.next_row().expect("row") {
                stored.push((key.to_vec(), value.to_vec()));
            }
            if bucket == Bucket::Meta {
                let is_position = |(key, _): &(Vec<u8>, Vec<u8>)| {
                    key == base::schema::CONSISTENT_INDEX || key == base::schema::TERM
                };
                found.retain(|row| !is_position(row));
                stored.retain(|row| !is_position(row));
            }
            if bucket != Bucket::Members {
                assert_eq!(found, stored, "{}", bucket.name());
            }
        }
        let opened = Store::open(backend, mvcc::Options::default()).expect("store");
        let found = opened.store.hash_kv(0).expect("hash");
        assert_eq!((found.hash, found.revision, found.compact_revision), (hash, revision, 20));
        drop(opened);
        fs::remove_dir_all(&request.data_dir).expect("remove");
    }
}

#[test]
fn the_log_says_who_founded_the_cluster() {
    let dir = tempfile::tempdir().expect("directory");
    let mut request = request(dir.path(), &recorded("etcd-3.7.1.snapshot"));
    request.initial_cluster = "m1=http://127.0.0.1:35001,m2=http://127.0.0.1:35002,\
                               m3=http://127.0.0.1:35003"
        .to_owned();
    request.token = "etcd-cluster-0".to_owned();
    request.name = "m2".to_owned();
    request.peer_urls = "http://127.0.0.1:35002".to_owned();
    request.wal_dir = dir.path().join("log");
    run(&request).expect("restored");
    let ids = [0x15ae_9e1b_9c7f_2f19, 0x6259_c509_f8bd_080f, 0xac1f_978d_b545_5996];

    let all = wal::read_all(&request.wal_dir, (0, 0)).expect("log");
    assert_eq!((all.metadata.node_id, all.metadata.cluster_id), (ids[2], 0x0f5a_8697_00de_b3ef));
    assert_eq!(all.hard_state, HardState { term: 1, vote: ids[0], commit: 3 });
    assert!(all.entries.iter().all(|entry| entry.kind == EntryKind::ConfChange));
    assert_eq!(all.entries.len(), 3);
    let marks = wal::valid_snapshots(&request.wal_dir).expect("marks");
    let mark = marks.last().expect("a mark");
    assert_eq!((mark.index, mark.term), (3, 1));
    assert_eq!(mark.conf_state.as_ref().expect("members").voters, ids);
    let snap_dir = wal::SnapDir::open(&request.data_dir.join("member/snap"), None).expect("dir");
    let snap = snap_dir.load_newest(&marks).expect("a .snap file");
    assert_eq!((snap.index, snap.term, &snap.conf_state.voters[..]), (3, 1, &ids[..]));
    let names: Vec<_> = fs::read_dir(&request.wal_dir).expect("list").flatten().collect();
    assert_eq!(names.len(), 1, "no spare segment is left: {names:?}");
    assert!(!request.data_dir.join("member/wal").exists());
    assert_eq!(Standing::read(&backend(&request)).expect("standing").index, 3);
}

#[test]
fn a_raised_revision_hides_everything_before_it() {
    let dir = tempfile::tempdir().expect("directory");
    let mut request = request(dir.path(), &recorded("etcd-3.7.1.snapshot"));
    request.bump_revision = 1000;
    assert_eq!(run(&request).expect_err("half").code(), 128);
    request.mark_compacted = true;
    run(&request).expect("restored");
    let opened = Store::open(backend(&request), mvcc::Options::default()).expect("store");
    assert_eq!(opened.store.current_revision(), 1069);
    let text = opened.store.hash_kv(1068).expect_err("compacted").to_string();
    assert_eq!(text, "mvcc: required revision has been compacted");
}

/// What is refused, and that nothing is left of it.
fn refused(request: &Request) -> String {
    let failure = run(request).expect_err("refused");
    assert_eq!(failure.code(), 1);
    assert!(!request.data_dir.exists(), "{failure}");
    failure.to_string()
}

#[test]
fn damaged_files_are_refused_in_etcds_words() {
    let dir = tempfile::tempdir().expect("directory");
    let whole = recorded("etcd-3.7.1.snapshot");
    let mut flipped = whole.clone();
    flipped[30_000] ^= 1;
    let text = refused(&request(dir.path(), &flipped));
    assert!(text.starts_with("expected sha256 ["), "{text}");
    assert!(text.contains("], got ["), "{text}");

    let text = "snapshot missing hash but --skip-hash-check=false";
    assert_eq!(refused(&request(dir.path(), &whole[..whole.len() - 32])), text);
    assert_eq!(refused(&request(dir.path(), b"")), text);
    assert_eq!(refused(&request(dir.path(), &[0; 1024])), text);

    // A page head of the damaged page, seen only when its rows are read.
    let mut damaged = whole.clone();
    damaged[4 * 4096 + 8] = 0xff;
    let mut skipping = request(dir.path(), &damaged);
    skipping.skip_hash_check = true;
    let text = refused(&skipping);
    assert!(text.ends_with("for pgId:4 (byte 16392)") && text.contains(" is damaged: "), "{text}");
    let mut no_database = request(dir.path(), &[7; 9000]);
    no_database.skip_hash_check = true;
    assert_eq!(refused(&no_database), "invalid database");
}

#[test]
fn a_database_copied_from_a_member_needs_the_hash_check_off() {
    let dir = tempfile::tempdir().expect("directory");
    let mut request = request(dir.path(), &recorded("etcd-3.7.1.db"));
    assert_eq!(refused(&request), "snapshot missing hash but --skip-hash-check=false");
    request.skip_hash_check = true;
    run(&request).expect("restored");
}

#[test]
fn only_files_are_restored() {
    let dir = tempfile::tempdir().expect("directory");
    let mut request = request(dir.path(), b"");
    let mut refused_for = |path: &Path| {
        request.files = vec![path.to_owned()];
        refused(&request)
    };
    let missing = dir.path().join("nofile");
    let text = format!("open {}: no such file or directory", missing.display());
    assert_eq!(refused_for(&missing), text);
    assert_eq!(refused_for(Path::new("/")), "read /: is a directory");
    assert_eq!(refused_for(Path::new("/dev/zero")), "open /dev/zero: not a regular file");
}
