//! What the store costs: CPU per put, get, page and count, restart times, memory.
//!
//! `cargo run --release -p mvcc --example store_cost -- [folder] [keys] [value bytes]`
//!
//! CPU is that of the whole process, RocksDB's threads included; the folder is removed.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use backend::{Backend, LogMode};
use base::KeyRange;
use bytes::Bytes;
use mvcc::{Opened, Options, Store, Writer};

/// Clock ticks per second in `/proc`.
const TICKS_PER_SECOND: u64 = 100;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "/tmp/store_cost".to_owned());
    let dir = Path::new(&dir);
    let mut number = |default| args.next().map_or(default, |arg| arg.parse().expect("a number"));
    let (keys, value_bytes) = (number(300_000), number(256));
    for log in [LogMode::On, LogMode::Buffered, LogMode::Off] {
        for batch in [1, 16, 512] {
            remove(dir);
            let mut opened = open(dir, log);
            let puts = keys.min(300_000);
            let took = measure(|| fill(&mut opened.writer, puts, value_bytes, batch));
            println!("put {log:?} batch {batch}: {}", took.per(puts));
        }
    }
    remove(dir);
    let mut opened = open(dir, LogMode::Buffered);
    let took = measure(|| fill(&mut opened.writer, keys, value_bytes, 64));
    println!("load {keys} keys: {}; rss {} MiB", took.per(keys), rss_mib());
    reads(&opened.store, keys);
    let sizes = opened.store.backend().sizes().expect("sizes");
    println!("sizes: {sizes:?}, index {} MiB", opened.store.index_bytes() >> 20);
    let took = measure(|| fill(&mut opened.writer, keys, value_bytes, 64));
    println!("overwrite: {}; rss {} MiB", took.per(keys), rss_mib());
    compact(&mut opened);
    reads(&opened.store, keys);
    drop(opened);
    restarts(dir);
    remove(dir);
}

fn open(dir: &Path, log: LogMode) -> Opened {
    let options = backend::Options { log, ..backend::Options::default() };
    let backend = Backend::open(dir, &options).expect("open");
    Store::open(backend, Options::default()).expect("restore")
}

fn remove(dir: &Path) {
    if dir.exists() {
        std::fs::remove_dir_all(dir).expect("remove");
    }
}

fn key(i: usize) -> Bytes {
    // Spread over the key space, as names of objects are.
    let hash = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
    Bytes::from(format!("/registry/pods/namespace-{:03}/pod-{hash:011x}-{i:07}", hash % 100))
}

fn fill(writer: &mut Writer, keys: usize, value_bytes: usize, batch: usize) {
    let value: Vec<u8> = (0..value_bytes.max(8) as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> if i % 2 == 0 { 24 } else { 29 }) as u8)
        .collect();
    for i in 0..keys {
        let mut value = value.clone();
        value[..8].copy_from_slice(&i.to_le_bytes());
        writer.put(&key(i), &value, 0);
        writer.end_entry();
        if (i + 1) % batch == 0 || i + 1 == keys {
            writer.set_applied(i as u64 + 1, 2);
            writer.commit().expect("commit");
        }
    }
}

fn reads(store: &Store, keys: usize) {
    let gets = 100_000_usize;
    let took = measure(|| {
        for i in 0..gets {
            let key = key(i.wrapping_mul(7919) % keys);
            assert!(store.pair(&key).expect("read").is_some());
        }
    });
    println!("get: {}", took.per(gets));
    let range = KeyRange::prefix("/registry/pods/");
    let took = measure(|| {
        for _ in 0..1000 {
            assert_eq!(store.count(&range, 0).expect("count").count, keys as i64);
        }
    });
    println!("count: {}", took.per(1000));
    let pages = 200;
    let took = measure(|| {
        let mut from = range.key.clone();
        for _ in 0..pages {
            let page = KeyRange::new(from.clone(), range.end.clone());
            let found = store.pairs(&page, 0, 500).expect("read");
            let last = found.items.last().and_then(|row| mvcc::KeyValue::key_of(row));
            from = last.map_or(range.key.clone(), |key| Bytes::from([key, b"\0"].concat()));
        }
    });
    println!("page of 500: {}", took.per(pages));
}

fn compact(opened: &mut Opened) {
    let (done, finished) = std::sync::mpsc::channel();
    let revision = opened.store.current_revision();
    let took = measure(|| {
        opened.writer.compact(revision).expect("compact");
        opened.writer.commit().expect("commit");
        opened.store.when_compacted(revision, move || done.send(()).expect("send"));
        finished.recv().expect("it finishes");
    });
    println!("compaction: {took}; rss {} MiB", rss_mib());
    let took = measure(|| opened.store.backend().compact().expect("compact"));
    println!("defragmentation: {took}, {:?}", opened.store.backend().sizes().expect("sizes"));
}

fn restarts(dir: &Path) {
    let took = measure(|| drop(open(dir, LogMode::Buffered)));
    println!("restart, all rows: {took}");
    let opened = open(dir, LogMode::Buffered);
    let took = measure(|| opened.store.write_index_file().expect("write"));
    println!("index file: {took}");
    drop(opened);
    let took = measure(|| drop(open(dir, LogMode::Buffered)));
    println!("restart, index file: {took}; rss {} MiB", rss_mib());
}

/// Wall time and CPU of something.
struct Took {
    wall: Duration,
    cpu: Duration,
}

impl Took {
    fn per(&self, n: usize) -> String {
        let us = |time: Duration| time.as_secs_f64() * 1e6 / n as f64;
        format!("{:.2} us wall, {:.2} us cpu", us(self.wall), us(self.cpu))
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s wall, {:.2} s cpu", self.wall.as_secs_f64(), self.cpu.as_secs_f64())
    }
}

fn measure(job: impl FnOnce()) -> Took {
    let (start, before) = (Instant::now(), cpu());
    job();
    Took { wall: start.elapsed(), cpu: cpu() - before }
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("procfs");
    let fields: Vec<&str> =
        stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks: u64 = fields[11..13].iter().map(|t| t.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND)
}

fn rss_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages: u64 = statm.split(' ').nth(1).and_then(|p| p.parse().ok()).expect("a number");
    (pages * 4096) >> 20
}
