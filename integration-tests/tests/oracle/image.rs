//! Images that this project's writer made, before the eyes of real etcd 3.4.23 and its etcdctl.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use base::schema::Bucket;
use base::{Revision, RowKey};
use etcd_client::{Client, CompactionOptions, DeleteOptions, Txn, TxnOp};
use integration_tests::{Kind, Rng, Server, Tool, seed};
use prost::Message;
use proto::mvccpb::KeyValue;
use snapshot::{HashingWriter, Planner, Reader, Status, Writer};

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// The rows of bucket `key` after `requests` puts and deletes, starting at revision 2.
fn history(requests: u64, seed: u64) -> Rows {
    let mut rng = Rng::new(seed);
    let mut alive = std::collections::BTreeMap::new();
    let mut rows = Rows::new();
    for main in 2..i64::try_from(requests).expect("small") + 2 {
        let rev = Revision::new(main, 0);
        let name = rng.below(requests / 2 + 1);
        let key = format!("/registry/{name:06}").into_bytes();
        if rng.below(8) == 0 && alive.remove(&name).is_some() {
            let value = KeyValue { key: key.into(), ..KeyValue::default() };
            rows.push((RowKey::tombstone(rev).encode().to_vec(), value.encode_to_vec()));
            continue;
        }
        let (create_revision, version) =
            alive.get(&name).map_or((main, 1), |(created, version)| (*created, version + 1));
        alive.insert(name, (create_revision, version));
        let len = if rng.below(50) == 0 { 20_000 } else { rng.below(200) };
        let value = vec![b'v'; usize::try_from(len).expect("small")].into();
        let kv = KeyValue {
            key: key.into(),
            create_revision,
            mod_revision: main,
            version,
            value,
            lease: 0,
        };
        rows.push((RowKey::put(rev).encode().to_vec(), kv.encode_to_vec()));
    }
    rows
}

/// The rows of a store with this history, as real etcd 3.4 has them.
fn rows_of(bucket: Bucket, history: &Rows) -> Rows {
    match bucket {
        Bucket::Key => history.clone(),
        Bucket::Cluster => vec![(b"clusterVersion".to_vec(), b"3.4.0".to_vec())],
        Bucket::Auth => vec![(b"authRevision".to_vec(), 1_u64.to_be_bytes().to_vec())],
        Bucket::Meta => vec![(b"consistent_index".to_vec(), 9_u64.to_be_bytes().to_vec())],
        _ => Rows::new(),
    }
}

/// Writes a backup, trailer included, and gives the status we read from it.
fn write_backup(path: &Path, history: &Rows) -> Status {
    let mut planner = Planner::new();
    for bucket in Bucket::ALL {
        planner.bucket(bucket.name().as_bytes()).expect("plan");
        for (key, value) in rows_of(bucket, history) {
            planner.row(key.len(), value.len()).expect("plan");
        }
    }
    let file = BufWriter::new(File::create(path).expect("create the backup"));
    let plan = planner.finish().expect("plan");
    let mut writer = Writer::new(HashingWriter::new(file), plan).expect("write");
    for bucket in Bucket::ALL {
        writer.bucket(bucket.name().as_bytes()).expect("write");
        for (key, value) in rows_of(bucket, history) {
            writer.row(&key, &value).expect("write");
        }
    }
    let hashing = writer.finish().expect("write");
    hashing.finish_with_trailer().and_then(|mut file| file.flush()).expect("write");
    let file = File::open(path).expect("open the backup");
    assert_eq!(snapshot::verify_trailer(&file).expect("a trailer"), plan.total_bytes());
    Reader::open(file).expect("a backup").status().expect("a whole backup")
}

fn etcdctl(args: &[&str]) -> String {
    let output = Command::new(Tool::Reference.path())
        .env("ETCDCTL_API", "3")
        .args(args)
        .output()
        .expect("start etcdctl");
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "etcdctl {args:?}: {stderr}");
    stdout.into_owned()
}

/// Compares what etcdctl tells of a file with what we do.
fn compare_status(path: &Path, status: &Status) {
    let told = etcdctl(&["snapshot", "status", "-w", "json", path.to_str().expect("UTF-8")]);
    let Status { hash, revision, rows, size_bytes, .. } = status;
    let expected = format!(
        r#"{{"hash":{hash},"revision":{revision},"totalKey":{rows},"totalSize":{size_bytes}}}"#
    );
    assert_eq!(told.trim_end(), expected, "{}", path.display());
}

#[test]
fn etcdctl_tells_of_our_image_what_we_tell() {
    let dir = tempfile::tempdir().expect("a folder");
    for requests in [0, 3, 40, 1_000, 30_000] {
        let path = dir.path().join(format!("{requests}-requests.db"));
        let status = write_backup(&path, &history(requests, requests));
        compare_status(&path, &status);
    }
}

#[test]
fn real_etcd_serves_what_we_wrote() {
    let dir = tempfile::tempdir().expect("a folder");
    let (path, data) = (dir.path().join("backup.db"), dir.path().join("data"));
    let history = history(5_000, 7);
    let status = write_backup(&path, &history);
    // Restoring checks the trailer.
    let data_dir = format!("--data-dir={}", data.display());
    etcdctl(&["snapshot", "restore", path.to_str().expect("UTF-8"), &data_dir]);

    let server = Server::builder(Kind::Reference, dir.path()).data_dir(&data).start();
    let count = Tool::Reference.ok(&server, &["get", "", "--from-key", "--keys-only", "-wfields"]);
    assert!(count.contains(&format!("\"Count\" : {}\n", status.live_keys)), "{count}");
    assert!(count.contains(&format!("\"Revision\" : {}\n", status.revision)), "{count}");
    let hash = history.iter().fold(crc32c::crc32c(b"key"), |hash, (key, value)| {
        crc32c::crc32c_append(crc32c::crc32c_append(hash, key), value)
    });
    let told = Tool::Reference.ok(&server, &["endpoint", "hashkv", "-wjson"]);
    assert!(told.contains(&format!("\"hash\":{hash},")), "{hash} is not in {told}");
}

/// Requests that move pages about: puts of all sizes, deletes, and now and then a compaction.
async fn churn(client: &mut Client, rng: &mut Rng, round: u64) {
    let mut revision = 0;
    for _ in 0..6 {
        let first = rng.below(1_500);
        let put = |i| {
            let len = if rng.below(30) == 0 { rng.below(30_000) } else { rng.below(300) };
            let value = vec![b'v'; usize::try_from(len).expect("small")];
            TxnOp::put(format!("/registry/{:05}", first + i), value, None)
        };
        let mut operations: Vec<_> = (0..120).map(put).collect();
        let gone = first + 200 + rng.below(500);
        let end = format!("/registry/{:05}", gone + rng.below(60));
        let range = DeleteOptions::new().with_range(end);
        operations.push(TxnOp::delete(format!("/registry/{gone:05}"), Some(range)));
        let done = client.txn(Txn::new().and_then(operations)).await.expect("a transaction");
        revision = done.header().expect("a header").revision();
    }
    if round % 2 == 1 {
        let physical = CompactionOptions::new().with_physical();
        client.compact(revision - 3, Some(physical)).await.expect("a compaction");
    }
    if round == 3 {
        client.defragment().await.expect("a defragmentation");
    }
}

#[tokio::test]
async fn what_real_etcd_wrote_while_it_lived_is_read() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Reference, dir.path()).start();
    let mut client = Client::connect([server.client_url()], None).await.expect("a connection");
    let mut rng = Rng::new(seed());
    for round in 0..8 {
        churn(&mut client, &mut rng, round).await;
        let path = dir.path().join(format!("round-{round}.db"));
        Tool::Reference.ok(&server, &["snapshot", "save", path.to_str().expect("UTF-8")]);
        let file = File::open(&path).expect("open the backup");
        snapshot::verify_trailer(&file).expect("a trailer");
        let status = Reader::open(file).expect("a backup").status().expect("a whole backup");
        compare_status(&path, &status);
    }
    // The database as it lies there, with free pages among the used.
    let path = server.data_dir().join("member/snap/db");
    drop(server.kill());
    let file = File::open(&path).expect("open the database");
    let status = Reader::open(file).expect("a database").status().expect("a whole database");
    compare_status(&path, &status);
}
