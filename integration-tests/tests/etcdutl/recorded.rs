//! Data that real etcd left behind, from the tests of the crates that read its files.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Length of a log segment as etcd allocates it.
const SEGMENT_BYTES: u64 = 64_000_000;

fn unzipped(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(file).read_to_end(&mut bytes).expect("gzip");
    bytes
}

/// The keys that etcd itself told, as its etcdctl prints them: of `etcd-3.4.23`, `etcd-3.7.1` and
/// `cluster`.
pub(crate) fn keys(of: &str) -> serde_json::Value {
    let path = crate_dir("integration-tests").join(format!("tests/etcdutl/{of}.all.json.gz"));
    let told: serde_json::Value = serde_json::from_slice(&unzipped(&path)).expect("JSON");
    told["kvs"].clone()
}

fn crate_dir(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("root").join(name)
}

/// Writes a backup that real etcd made, `etcd-3.4.23` or `etcd-3.7.1`.
pub(crate) fn snapshot(of: &str, dir: &Path) -> PathBuf {
    let path = dir.join(format!("{of}.snapshot"));
    let packed = crate_dir("snapshot").join(format!("tests/data/{of}.snapshot.gz"));
    fs::write(&path, unzipped(&packed)).expect("write the backup");
    path
}

/// Writes the data directory that a member of real etcd left when it was stopped: of `etcd-3.4.23`
/// and `etcd-3.7.1`, which were alone, and of `cluster-m1` to `cluster-m4`.
pub(crate) fn data_dir(of: &str, dir: &Path) -> PathBuf {
    let data = dir.join(format!("{of}.etcd"));
    let (snap, log) = (data.join("member/snap"), data.join("member/wal"));
    fs::create_dir_all(&snap).expect("folder");
    fs::create_dir_all(&log).expect("folder");
    let image = match of {
        // Only here: the crate that reads images has enough without it.
        "cluster-m2" => crate_dir("integration-tests").join("tests/etcdutl/cluster-m2.db.gz"),
        _ => crate_dir("snapshot").join(format!("tests/data/{of}.db.gz")),
    };
    fs::write(snap.join("db"), unzipped(&image)).expect("write the database");
    let fixtures = crate_dir("wal").join("tests/fixtures");
    let segment = log.join("0000000000000000-0000000000000000.wal");
    fs::write(&segment, unzipped(&fixtures.join(format!("{of}.wal.gz")))).expect("write the log");
    let segment = fs::File::options().write(true).open(segment).expect("open the log");
    segment.set_len(SEGMENT_BYTES).expect("the segment's length");
    for entry in fs::read_dir(&fixtures).expect("list").flatten() {
        let name = entry.file_name().into_string().expect("UTF-8");
        let mark = name.strip_prefix(&format!("{of}-")).and_then(|rest| rest.strip_suffix(".gz"));
        if let Some(mark) = mark {
            fs::write(snap.join(mark), unzipped(&entry.path())).expect("write the snapshot");
        }
    }
    data
}
