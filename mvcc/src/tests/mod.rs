//! The store on a real backend in a temporary folder.

mod model;
mod persist;
mod reads;
mod restart;
mod vectors;

use std::sync::mpsc;
use std::time::Duration;

use backend::{Backend, Rows as _};
use base::schema::Bucket;
use base::{KeyRange, Revision};
use bytes::Bytes;
use tempfile::TempDir;

use crate::{Changes, KeyMeta, KeyValue, Opened, Options, Store, Writer};

/// Longest wait for a condition.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store in a folder of its own.
struct Fixture {
    dir: TempDir,
    options: Options,
    store: Store,
    writer: Writer,
}

fn no_pause() -> Options {
    Options { compaction_batch_rows: 2, compaction_pause: Duration::ZERO, ..Options::default() }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture::with(no_pause())
    }

    fn with(options: Options) -> Fixture {
        let dir = tempfile::tempdir().expect("temporary folder");
        let Opened { store, writer, .. } = open(&dir, &options);
        Fixture { dir, options, store, writer }
    }

    /// Closes the store without a commit and opens it again.
    fn restart(self) -> Fixture {
        self.restart_with_leases().0
    }

    fn restart_with_leases(self) -> (Fixture, Vec<(Bytes, i64)>) {
        let Fixture { dir, options, store, writer } = self;
        drop((store, writer));
        let Opened { store, writer, leased } = open(&dir, &options);
        (Fixture { dir, options, store, writer }, leased)
    }

    fn put(&mut self, key: &str, value: &str) -> Changes {
        self.put_leased(key, value, 0)
    }

    fn put_leased(&mut self, key: &str, value: &str, lease: i64) -> Changes {
        self.writer.put(&bytes(key), value.as_bytes(), lease);
        self.end()
    }

    fn delete(&mut self, key: &str) -> Option<Changes> {
        self.writer.delete_range(&KeyRange::single(bytes(key)));
        let changes = self.writer.end_entry();
        self.writer.commit().expect("commit");
        changes
    }

    fn end(&mut self) -> Changes {
        let changes = self.writer.end_entry().expect("something changed");
        self.writer.commit().expect("commit");
        changes
    }

    /// Compacts and waits until the rows are gone.
    fn compact(&mut self, revision: i64) {
        self.writer.compact(revision).expect("compact");
        self.writer.commit().expect("commit");
        self.wait_compacted(revision);
    }

    fn wait_compacted(&self, revision: i64) {
        let (done, finished) = mpsc::channel();
        self.store.when_compacted(revision, move || done.send(()).expect("send"));
        if finished.recv_timeout(PATIENCE).is_err() {
            panic!("the compaction does not finish: {:?}", self.store.background_error());
        }
    }

    /// Stored rows of a bucket, in hex.
    fn rows(&self, bucket: Bucket) -> Vec<(String, String)> {
        let mut rows = Vec::new();
        self.store
            .backend()
            .scan(bucket, &[], None, backend::CacheUse::Fill, |key, value| {
                rows.push((hex(key), hex(value)));
                std::ops::ControlFlow::Continue(())
            })
            .expect("scan");
        rows
    }

    /// `key=value@mod` of a whole range at a revision.
    fn pairs(&self, range: &KeyRange, at: i64) -> Vec<String> {
        let found = self.store.pairs(range, at, usize::MAX).expect("read");
        assert_eq!(found.count as usize, found.items.len());
        found.items.iter().map(|row| show(row)).collect()
    }
}

fn open(dir: &TempDir, options: &Options) -> Opened {
    let backend = Backend::open(dir.path().join("db"), &backend::Options::default());
    Store::open(backend.expect("open"), options.clone()).expect("restore")
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn all() -> KeyRange {
    KeyRange::new(&b"\0"[..], &b"\0"[..])
}

fn show(row: &[u8]) -> String {
    let kv = KeyValue::decode(row).expect("a stored pair");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}={}@{}", text(kv.key), text(kv.value), kv.mod_revision)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn rev(main: i64, sub: i64) -> Revision {
    Revision::new(main, sub)
}

fn names(metas: &[KeyMeta]) -> Vec<String> {
    metas.iter().map(|meta| String::from_utf8_lossy(&meta.key).into_owned()).collect()
}
