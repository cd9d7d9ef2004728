//! The backend in a temporary folder.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use base::schema::Bucket;
use tempfile::TempDir;

use crate::{Backend, CacheUse, Error, LogMode, Options, Rows};

const MODES: [LogMode; 3] = [LogMode::On, LogMode::Buffered, LogMode::Off];

fn dir() -> TempDir {
    tempfile::tempdir().expect("temporary folder")
}

fn open(dir: &Path) -> Backend {
    Backend::open(dir, &Options::default()).expect("open")
}

fn open_error(dir: &Path) -> Error {
    Backend::open(dir, &Options::default()).map(|_| ()).expect_err("refused")
}

fn put(backend: &Backend, bucket: Bucket, key: &str, value: &str) {
    let mut batch = backend.batch();
    batch.put(bucket, key.as_bytes(), value.as_bytes());
    backend.write(batch).expect("write");
}

fn get(rows: &impl Rows, bucket: Bucket, key: &str) -> Option<String> {
    let value = rows.get(bucket, key.as_bytes()).expect("read");
    value.map(|v| String::from_utf8_lossy(&v).into_owned())
}

fn keys(rows: &impl Rows, bucket: Bucket, from: &str, to: Option<&str>) -> Vec<String> {
    let mut keys = Vec::new();
    rows.scan(bucket, from.as_bytes(), to.map(str::as_bytes), CacheUse::Bypass, |key, _| {
        keys.push(String::from_utf8_lossy(key).into_owned());
        ControlFlow::Continue(())
    })
    .expect("scan");
    keys
}

#[test]
fn buckets_do_not_share_keys() {
    let dir = dir();
    let backend = open(dir.path());
    for bucket in Bucket::ALL {
        put(&backend, bucket, "k", bucket.name());
    }
    for bucket in Bucket::ALL {
        assert_eq!(get(&backend, bucket, "k").as_deref(), Some(bucket.name()));
        assert_eq!(keys(&backend, bucket, "", None), ["k"]);
    }
    assert_eq!(backend.private_get(b"k").expect("read"), None);
}

#[test]
fn later_operations_of_a_batch_win() {
    let dir = dir();
    let backend = open(dir.path());
    let mut batch = backend.batch();
    batch.put(Bucket::Meta, b"a", b"1");
    batch.delete(Bucket::Meta, b"a");
    batch.put(Bucket::Meta, b"b", b"1");
    batch.put(Bucket::Meta, b"b", b"2");
    assert_eq!((batch.len(), batch.is_empty()), (4, false));
    backend.write(batch).expect("write");
    assert_eq!(get(&backend, Bucket::Meta, "a"), None);
    assert_eq!(get(&backend, Bucket::Meta, "b").as_deref(), Some("2"));
}

#[test]
fn scans_take_the_lower_and_leave_the_upper_bound() {
    let dir = dir();
    let backend = open(dir.path());
    for key in ["a", "b", "c", "d"] {
        put(&backend, Bucket::Key, key, "x");
    }
    assert_eq!(keys(&backend, Bucket::Key, "b", Some("d")), ["b", "c"]);
    assert_eq!(keys(&backend, Bucket::Key, "bb", None), ["c", "d"]);
    assert!(keys(&backend, Bucket::Key, "d", Some("b")).is_empty());
    let mut seen = 0;
    backend
        .scan(Bucket::Key, b"", None, CacheUse::Fill, |_, _| {
            seen += 1;
            ControlFlow::Break(())
        })
        .expect("scan");
    assert_eq!(seen, 1);
    assert_eq!(backend.last_key(Bucket::Key).expect("read").as_deref(), Some(&b"d"[..]));
    assert_eq!(backend.last_key(Bucket::Lease).expect("read"), None);
}

#[test]
fn many_rows_are_read_in_the_order_asked_for() {
    let dir = dir();
    let backend = open(dir.path());
    let mut batch = backend.batch();
    for i in 0..2000 {
        batch.put(Bucket::Key, format!("{i:04}").as_bytes(), i.to_string().as_bytes());
    }
    backend.write(batch).expect("write");
    let asked: Vec<String> = (0..3000).rev().map(|i| format!("{i:04}")).collect();
    let mut next = 0;
    backend
        .multi_get(Bucket::Key, &asked, |i, value| {
            assert_eq!(i, next);
            next += 1;
            let number = 2999 - i;
            let expected = (number < 2000).then(|| number.to_string());
            assert_eq!(value, expected.as_ref().map(|text| text.as_bytes()));
        })
        .expect("read");
    assert_eq!(next, 3000);
}

#[test]
fn walks_find_what_single_reads_find() {
    let dir = dir();
    let backend = open(dir.path());
    // Every third row is on disk, every third in memory, every third missing.
    for part in 0..2 {
        for i in (part..3000).step_by(3) {
            put(&backend, Bucket::Key, &format!("{i:04}"), &i.to_string());
        }
        if part == 0 {
            backend.flush().expect("flush");
        }
    }
    // Neighbours, rows farther apart than a walk steps, a key asked for twice, keys behind all,
    // and back again.
    let far = (400..3010).step_by(37).chain([3010, 3010, 9999, 7, 6, 9]);
    let asked: Vec<String> = (0..400).chain(far).map(|i| format!("{i:04}")).collect();
    for keys in [&asked[..], &asked[450..], &asked[..1], &[]] {
        let mut next = 0;
        let each = |i: usize, value: Option<&[u8]>| {
            assert_eq!(i, next);
            next += 1;
            let single = backend.get(Bucket::Key, keys[i].as_bytes()).expect("read");
            assert_eq!(value, single.as_deref(), "{}", keys[i]);
        };
        backend.walk_get(Bucket::Key, keys, each).expect("read");
        assert_eq!(next, keys.len());
    }
}

#[test]
fn a_view_keeps_its_moment() {
    let dir = dir();
    let backend = open(dir.path());
    put(&backend, Bucket::Key, "a", "1");
    let view = backend.view();
    put(&backend, Bucket::Key, "a", "2");
    put(&backend, Bucket::Key, "b", "2");
    let mut batch = backend.batch();
    batch.delete_written_once(Bucket::Key, b"b");
    batch.private_put(b"p", b"1");
    backend.write(batch).expect("write");
    backend.compact().expect("compact");
    assert_eq!(get(&view, Bucket::Key, "a").as_deref(), Some("1"));
    assert_eq!(keys(&view, Bucket::Key, "", None), ["a"]);
    assert_eq!(view.private_get(b"p").expect("read"), None);
    let mut found = Vec::new();
    view.multi_get(Bucket::Key, &["a", "b"], |_, value| found.push(value.map(<[u8]>::to_vec)))
        .expect("read");
    assert_eq!(found, [Some(b"1".to_vec()), None]);
    assert_eq!(get(&backend, Bucket::Key, "a").as_deref(), Some("2"));
}

#[test]
fn private_rows_are_in_no_bucket() {
    let dir = dir();
    let backend = open(dir.path());
    let mut batch = backend.batch();
    batch.private_put(b"x1", b"1");
    batch.private_put(b"x2", b"2");
    batch.private_delete(b"x1");
    backend.write(batch).expect("write");
    let mut rows = Vec::new();
    backend
        .private_scan(b"x", Some(b"y"), |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scan");
    assert_eq!(rows, [(b"x2".to_vec(), b"2".to_vec())]);
    assert!(Bucket::ALL.iter().all(|bucket| keys(&backend, *bucket, "", None).is_empty()));
}

#[test]
fn rows_survive_a_reopen_in_every_log_mode() {
    for log in MODES {
        let dir = dir();
        let options = Options { log, ..Options::default() };
        let backend = Backend::open(dir.path(), &options).expect("open");
        put(&backend, Bucket::Key, "a", "1");
        backend.flush().expect("flush");
        put(&backend, Bucket::Key, "b", "1");
        drop(backend);
        let backend = Backend::open(dir.path(), &options).expect("open");
        assert_eq!(keys(&backend, Bucket::Key, "", None), ["a", "b"], "{log:?}");
    }
}

/// Copies the folder as it is on disk at this moment, as a power cut would leave it.
fn image(of: &Path, to: &Path) {
    fs::create_dir_all(to).expect("create");
    for entry in fs::read_dir(of).expect("list") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            image(&entry.path(), &target);
        } else {
            match fs::copy(entry.path(), target) {
                // Deleted by RocksDB in between.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.expect("copy")),
            }
        }
    }
}

#[test]
fn flushed_batches_survive_the_process_and_buckets_agree() {
    for log in MODES {
        let (from, to) = (dir(), dir());
        let options = Options { log, ..Options::default() };
        let backend = Backend::open(from.path(), &options).expect("open");
        for i in 0..300 {
            let mut batch = backend.batch();
            batch.put(Bucket::Key, format!("{i:03}").as_bytes(), &[7; 100]);
            batch.put(Bucket::Meta, b"last", format!("{i:03}").as_bytes());
            backend.write(batch).expect("write");
            if i == 200 {
                backend.flush().expect("flush");
            }
        }
        image(from.path(), to.path());
        let after = Backend::open(to.path(), &options).expect("open");
        let last = get(&after, Bucket::Meta, "last").expect("stored");
        let rows = keys(&after, Bucket::Key, "", None);
        assert_eq!(rows.last(), Some(&last), "{log:?}");
        assert_eq!(rows.len(), last.parse::<usize>().expect("number") + 1, "{log:?}");
        assert!(last.as_str() >= "200", "{log:?}: {last}");
    }
}

#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = dir();
    let backend = open(dir.path());
    assert!(matches!(open_error(dir.path()), Error::Locked { path } if path == dir.path()));
    drop(backend);
    open(dir.path());
}

#[test]
fn a_bbolt_file_is_refused_and_left_alone() {
    let dir = dir();
    let path = dir.path().join("db");
    fs::write(&path, "bbolt").expect("write");
    let error = open_error(&path);
    assert!(matches!(&error, Error::BoltFile { .. }));
    let text = error.to_string();
    assert!(text.contains("is a regular file") && text.contains("etcdutl import"), "{text}");
    assert_eq!(fs::read(&path).expect("read"), b"bbolt");
}

#[test]
fn an_unknown_layout_is_refused_by_its_number() {
    let dir = dir();
    let backend = open(dir.path());
    let mut batch = backend.batch();
    batch.private_put(b"layout", b"7");
    backend.write(batch).expect("write");
    drop(backend);
    let text = open_error(dir.path()).to_string();
    assert!(text.contains("has storage layout 7, this program reads layout 1"), "{text}");
}

#[test]
fn a_folder_without_layout_number_is_refused() {
    let dir = dir();
    let backend = open(dir.path());
    let mut batch = backend.batch();
    batch.private_delete(b"layout");
    backend.write(batch).expect("write");
    drop(backend);
    assert!(matches!(
        open_error(dir.path()),
        Error::UnknownLayout { found, supported: 1, .. } if found == "(none)"
    ));
}

#[test]
fn damaged_pointers_to_the_folder_are_refused() {
    for text in ["", "000001", "1\n", "0000001\n", "000001\n\n", "../etc\n", "000009\n"] {
        let dir = dir();
        drop(open(dir.path()));
        fs::write(dir.path().join("CURRENT"), text).expect("write");
        let before = fs::read_dir(dir.path()).expect("list").count();
        assert!(matches!(open_error(dir.path()), Error::Damaged { .. }), "{text:?}");
        // Nothing is removed while it is unclear what is in use.
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), before, "{text:?}");
    }
}

#[test]
fn a_crash_while_creating_starts_anew() {
    let dir = dir();
    drop(open(dir.path()));
    fs::remove_file(dir.path().join("CURRENT")).expect("remove");
    fs::write(dir.path().join("CURRENT.tmp"), "0000").expect("write");
    let backend = open(dir.path());
    assert!(keys(&backend, Bucket::Key, "", None).is_empty());
    assert!(!dir.path().join("CURRENT.tmp").exists());
}

#[test]
fn an_installed_database_replaces_the_former_when_its_readers_are_gone() {
    let dir = dir();
    let old = open(dir.path());
    put(&old, Bucket::Key, "a", "old");
    let next = old.create_next().expect("create");
    put(next.backend(), Bucket::Key, "a", "new");
    let new = next.install().expect("install");
    let (old_path, new_path) = (old.path().to_owned(), new.path().to_owned());
    assert_eq!(get(&old, Bucket::Key, "a").as_deref(), Some("old"));
    assert_eq!(get(&new, Bucket::Key, "a").as_deref(), Some("new"));
    drop(old);
    assert!(!old_path.exists() && new_path.exists());
    // Twice in a row.
    let next = new.create_next().expect("create");
    put(next.backend(), Bucket::Key, "a", "newer");
    let newer = next.install().expect("install");
    drop((new, newer));
    assert!(!new_path.exists());
    assert_eq!(get(&open(dir.path()), Bucket::Key, "a").as_deref(), Some("newer"));
}

#[test]
fn an_abandoned_database_leaves_nothing() {
    let dir = dir();
    let backend = open(dir.path());
    put(&backend, Bucket::Key, "a", "1");
    let next = backend.create_next().expect("create");
    put(next.backend(), Bucket::Key, "a", "2");
    let path = next.backend().path().to_owned();
    drop(next);
    assert!(!path.exists());
    drop(backend);
    // A crash leaves the folder: the next open removes it.
    fs::create_dir(&path).expect("create");
    assert_eq!(get(&open(dir.path()), Bucket::Key, "a").as_deref(), Some("1"));
    assert!(!path.exists());
}

#[test]
fn a_staged_database_survives_a_crash_and_no_other_does() {
    let dir = dir();
    let backend = open(dir.path());
    put(&backend, Bucket::Key, "a", "1");
    backend.flush().expect("flush");
    let next = backend.create_next().expect("create");
    put(next.backend(), Bucket::Key, "a", "2");
    next.stage().expect("stage");
    // As a crash leaves it: neither folder is removed, neither handle closed in order.
    let staged_path = next.backend().path().to_owned();
    let copy = tempfile::tempdir().expect("folder");
    let copied = std::process::Command::new("cp")
        .args(["-r".as_ref(), dir.path().join(".").as_os_str(), copy.path().as_os_str()])
        .status()
        .expect("cp");
    assert!(copied.success());
    drop(next);
    assert!(!staged_path.exists());
    drop(backend);
    let backend = open(dir.path());
    assert!(backend.staged().expect("look").is_none());
    // A number once staged is not used again while the file names it.
    let backend = open(copy.path());
    assert_eq!(get(&backend, Bucket::Key, "a").as_deref(), Some("1"));
    let staged = backend.staged().expect("look").expect("it was staged");
    assert_eq!(get(staged.backend(), Bucket::Key, "a").as_deref(), Some("2"));
    let installed = staged.install().expect("install");
    drop((backend, installed));
    let backend = open(copy.path());
    assert_eq!(get(&backend, Bucket::Key, "a").as_deref(), Some("2"));
    assert!(backend.staged().expect("look").is_none());
}

#[test]
fn sizes_grow_with_rows_and_shrink_when_deleted_ones_are_compacted() {
    let dir = dir();
    let backend = open(dir.path());
    let empty = backend.sizes().expect("sizes");
    assert!(empty.in_use > 0 && empty.allocated >= empty.in_use);
    assert!(empty.allocated < 50_000, "{empty:?}");
    let value: Vec<u8> =
        (0..1000u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect();
    for i in 0..1000 {
        let mut batch = backend.batch();
        batch.put(Bucket::Key, format!("{i:04}").as_bytes(), &value);
        backend.write(batch).expect("write");
        assert!(backend.allocated_bytes() >= i * 4000);
    }
    let full = backend.sizes().expect("sizes");
    assert!(full.allocated >= full.in_use && full.allocated > 4_000_000, "{full:?}");
    assert!(full.allocated < 9_000_000, "{full:?}");
    backend.compact().expect("compact");
    for i in 0..1000 {
        let mut batch = backend.batch();
        batch.delete_written_once(Bucket::Key, format!("{i:04}").as_bytes());
        backend.write(batch).expect("write");
    }
    // What could be given back is not in use, before it is given back.
    let deleted = backend.sizes().expect("sizes");
    assert!(deleted.allocated > 4_000_000 && deleted.in_use < 50_000, "{deleted:?}");
    backend.compact().expect("compact");
    let after = backend.sizes().expect("sizes");
    assert!(after.allocated < 50_000 && after.in_use > 0, "{after:?}");
    assert!(backend.allocated_bytes() < 50_000);
    backend.background_error().expect("nothing failed");
}

#[test]
fn a_flipped_bit_in_a_table_is_found() {
    let dir = dir();
    let backend = open(dir.path());
    for i in 0..500 {
        put(&backend, Bucket::Key, &format!("{i:04}"), &format!("value-{i}").repeat(20));
    }
    backend.compact().expect("compact");
    let folder = backend.path().to_owned();
    drop(backend);
    let tables = fs::read_dir(&folder).expect("list").map(|entry| entry.expect("entry").path());
    let largest = tables
        .filter(|path| path.extension().is_some_and(|e| e == "sst"))
        .max_by_key(|path| fs::metadata(path).expect("metadata").len())
        .expect("a table");
    let mut bytes = fs::read(&largest).expect("read");
    bytes[100] ^= 1;
    fs::write(&largest, bytes).expect("write");
    let backend = open(dir.path());
    let read =
        backend.scan(Bucket::Key, b"", None, CacheUse::Fill, |_, _| ControlFlow::Continue(()));
    assert!(matches!(read, Err(Error::Engine { action: "scan rows", .. })), "{read:?}");
    assert!(matches!(backend.get(Bucket::Key, b"0000"), Err(Error::Engine { .. })));
}

/// Set for the process that [`a_killed_process_leaves_a_prefix_of_its_batches`] kills.
const VICTIM_DIR: &str = "BACKEND_VICTIM_DIR";
const VICTIM_MODE: &str = "BACKEND_VICTIM_MODE";

/// Batches after which the victim flushes.
const FLUSH_EVERY: u64 = 500;

#[test]
fn victim() {
    let (Ok(dir), Ok(mode)) = (std::env::var(VICTIM_DIR), std::env::var(VICTIM_MODE)) else {
        return;
    };
    let log = MODES.into_iter().find(|log| format!("{log:?}") == mode).expect("a mode");
    // Small tables, so that flushes and compactions are met too.
    let options = Options { log, write_buffer_bytes: 256 << 10, ..Options::default() };
    let backend = Backend::open(Path::new(&dir), &options).expect("open");
    for i in 0..u64::MAX {
        let mut batch = backend.batch();
        batch.put(Bucket::Key, &i.to_be_bytes(), &[7; 300]);
        batch.put(Bucket::Meta, b"last", &i.to_be_bytes());
        if i >= 100 {
            batch.delete_written_once(Bucket::Key, &(i - 100).to_be_bytes());
        }
        backend.write(batch).expect("write");
        if i % FLUSH_EVERY == FLUSH_EVERY - 1 {
            backend.flush().expect("flush");
            fs::write(Path::new(&dir).join("flushed"), i.to_string()).expect("write");
        }
    }
}

#[test]
fn a_killed_process_leaves_a_prefix_of_its_batches() {
    for log in MODES {
        let dir = dir();
        let exe = std::env::current_exe().expect("this binary");
        let mut child = std::process::Command::new(exe)
            .args(["--exact", "tests::victim"])
            .env(VICTIM_DIR, dir.path())
            .env(VICTIM_MODE, format!("{log:?}"))
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("spawn");
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        let flushed =
            || -> Option<u64> { fs::read_to_string(dir.path().join("flushed")).ok()?.parse().ok() };
        while flushed().is_none_or(|i| i < 5 * FLUSH_EVERY) {
            assert!(std::time::Instant::now() < deadline, "{log:?}: the victim makes no progress");
            std::thread::yield_now();
        }
        child.kill().expect("kill");
        child.wait().expect("wait");
        // The file may just have been cut short to be written again.
        let flushed = flushed().unwrap_or(5 * FLUSH_EVERY);
        let options = Options { log, ..Options::default() };
        let backend = Backend::open(dir.path(), &options).expect("open");
        let last = backend.get(Bucket::Meta, b"last").expect("read").expect("stored");
        let last = u64::from_be_bytes(last[..].try_into().expect("8 bytes"));
        assert!(last >= flushed, "{log:?}: {last} < {flushed}");
        let mut rows = Vec::new();
        backend
            .scan(Bucket::Key, b"", None, CacheUse::Fill, |key, _| {
                rows.push(u64::from_be_bytes(key.try_into().expect("8 bytes")));
                ControlFlow::Continue(())
            })
            .expect("scan");
        assert_eq!(rows, (last - 99..=last).collect::<Vec<_>>(), "{log:?}");
    }
}

#[test]
fn an_image_holds_every_row_of_its_view_and_loads_into_an_empty_database() {
    let (from, into) = (dir(), dir());
    let backend = open(from.path());
    for (n, bucket) in Bucket::ALL.into_iter().enumerate() {
        for i in 0..n * 40 {
            put(&backend, bucket, &format!("{i:05}"), &"v".repeat(i * 7 % 9000));
        }
    }
    let view = backend.view();
    put(&backend, Bucket::Key, "later", "than the view");
    let plan = crate::image::plan(&view).expect("plan");
    let bytes = crate::image::write(&view, plan, Vec::new()).expect("write");
    assert_eq!(bytes.len() as u64, plan.total_bytes());
    let loaded = open(into.path());
    let image = snapshot::Reader::open(bytes).expect("a sound image");
    crate::image::load(&image, &loaded).expect("load");
    for bucket in Bucket::ALL {
        assert_eq!(all(&loaded, bucket), all(&view, bucket), "{}", bucket.name());
    }
}

fn all(rows: &impl Rows, bucket: Bucket) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    let collect = |key: &[u8], value: &[u8]| {
        all.push((key.to_vec(), value.to_vec()));
        ControlFlow::Continue(())
    };
    rows.scan(bucket, b"", None, CacheUse::Bypass, collect).expect("scan");
    all
}
