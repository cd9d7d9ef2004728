//! Backups of our server, before the eyes of real etcd 3.4.23 and its etcdctl.

use std::path::Path;
use std::process::Command;

use etcd_client::{Client, CompactionOptions, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};
use integration_tests::{Kind, Rng, Server, Tool, hash_kv, our_binary, seed};

/// Requests before the compaction, and as many behind it.
const REQUESTS: u64 = 120;

/// Puts, deletes and transactions of few keys, so that they have a history.
async fn write(client: &mut Client, rng: &mut Rng, lease: i64) {
    for _ in 0..REQUESTS {
        let key = |rng: &mut Rng| format!("/registry/{:02}", rng.below(30));
        let (first, second) = (key(rng), key(rng));
        let length = if rng.below(20) == 0 { 9_000 } else { rng.below(200) };
        let value = vec![b'v'; usize::try_from(length).expect("small")];
        match rng.below(6) {
            0 => {
                client.delete(first, None).await.expect("a delete");
            }
            1 => {
                let range = DeleteOptions::new().with_range(format!("{first}~"));
                let mut operations = vec![TxnOp::delete(first.clone(), Some(range))];
                operations
                    .extend((0..3).map(|n| TxnOp::put(format!("/second{second}/{n}"), "x", None)));
                client.txn(Txn::new().and_then(operations)).await.expect("a transaction");
            }
            2 => {
                let options = PutOptions::new().with_lease(lease);
                client.put(first, value, Some(options)).await.expect("a put");
            }
            _ => {
                client.put(first, value, None).await.expect("a put");
            }
        }
    }
}

/// Every key at a revision, or the error.
async fn at(client: &mut Client, revision: i64) -> String {
    let options = GetOptions::new().with_from_key().with_revision(revision);
    match client.get("", Some(options)).await {
        Ok(found) => {
            let show = |kv: &etcd_client::KeyValue| {
                format!(
                    "{:?} {} {} {} {} {}\n",
                    kv.key_str(),
                    kv.create_revision(),
                    kv.mod_revision(),
                    kv.version(),
                    kv.lease(),
                    crc32c::crc32c(kv.value())
                )
            };
            found.kvs().iter().map(show).collect()
        }
        Err(error) => error.to_string(),
    }
}

/// Standard output of a program that succeeds.
fn told(program: &Path, args: &[&str]) -> String {
    let mut command = Command::new(program);
    let output = command.env("ETCDCTL_API", "3").args(args).output().expect("run");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Both tools tell the same hash, revision and size of a file; the rows that the real one counts
/// are those that ours does under that name.
fn same_status(path: &str) {
    let args = ["snapshot", "status", path, "-w", "json"];
    let theirs = told(&Tool::Reference.path(), &args);
    assert_eq!(told(&Tool::Ours.path(), &args), theirs);
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    let (theirs, utl) = (parse(&theirs), parse(&told(&our_binary("etcdutl"), &args)));
    for name in ["hash", "revision", "totalSize"] {
        assert_eq!(theirs[name], utl[name], "{name}");
    }
}

#[tokio::test]
async fn real_etcd_serves_a_backup_of_ours_at_every_revision() {
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(Kind::Ours, &dir.path().join("ours")).start();
    let mut ours = Client::connect([server.client_url()], None).await.expect("a connection");
    let mut rng = Rng::new(seed());
    let lease = ours.lease_grant(5_000, None).await.expect("a lease").id();
    write(&mut ours, &mut rng, lease).await;
    let header = ours.put("/last", "before", None).await.expect("a put");
    let compacted = header.header().expect("a header").revision() - 5;
    let physical = CompactionOptions::new().with_physical();
    ours.compact(compacted, Some(physical)).await.expect("a compaction");
    write(&mut ours, &mut rng, lease).await;
    let header = ours.put("/last", "after", None).await.expect("a put");
    let latest = header.header().expect("a header").revision();

    // Saved by either tool.
    for (tool, name) in [(Tool::Ours, "ours.db"), (Tool::Reference, "theirs.db")] {
        let path = dir.path().join(name);
        let path = path.to_str().expect("UTF-8");
        tool.ok(&server, &["snapshot", "save", path]);
        same_status(path);
        let data = dir.path().join(format!("{name}.data"));
        let data_dir = format!("--data-dir={}", data.display());
        told(&Tool::Reference.path(), &["snapshot", "restore", path, &data_dir]);
        let real = Server::builder(Kind::Reference, &dir.path().join(format!("{name}.log")));
        let real = real.data_dir(&data).start();
        let mut theirs = Client::connect([real.client_url()], None).await.expect("a connection");
        for revision in compacted - 1..=latest + 1 {
            let (found, expected) =
                (at(&mut theirs, revision).await, at(&mut ours, revision).await);
            assert!(!found.is_empty());
            assert_eq!(found, expected, "at revision {revision}");
        }
        let hash = |server: &Server| {
            let authority = server.client_authority();
            tokio::task::spawn_blocking(move || hash_kv(&authority, latest))
        };
        assert_eq!(hash(&real).await.expect("a hash"), hash(&server).await.expect("a hash"));
        let told = theirs.lease_time_to_live(lease, None).await.expect("a lease");
        assert_eq!(told.granted_ttl(), 5_000);
        let put = theirs.put("/more", "x", None).await.expect("a put");
        assert_eq!(put.header().expect("a header").revision(), latest + 1);
    }
}
