//! A disk that fails: the log stops for good and never says that something is durable.

use crate::support::{Dir, entry, small, state};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use wal::{DiskHook, DiskOp, Error, Options, Wal};

/// Notes all operations and fails those that `broken` picks.
#[derive(Debug, Default)]
struct Faults {
    seen: Mutex<Vec<DiskOp>>,
    broken: Mutex<Option<DiskOp>>,
}

impl Faults {
    fn options(self: &Arc<Self>) -> Options {
        Options { disk_hook: Some(Arc::clone(self) as Arc<dyn DiskHook>), ..small() }
    }

    fn break_on(&self, op: Option<DiskOp>) {
        *self.broken.lock().unwrap() = op;
    }

    /// What was done since the last call by the thread that appends; the spare is made by another.
    fn take(&self) -> Vec<DiskOp> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

impl DiskHook for Faults {
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()> {
        let fails =
            self.broken.lock().unwrap().is_some_and(|broken| {
                std::mem::discriminant(&broken) == std::mem::discriminant(&op)
            });
        if path.extension().is_none_or(|extension| extension != "tmp") {
            self.seen.lock().unwrap().push(op);
        }
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

#[test]
fn a_batch_is_one_write_and_one_sync() {
    let faults = Arc::new(Faults::default());
    let dir = Dir::new();
    let mut wal = dir.create(&faults.options());
    faults.take();
    let batch: Vec<_> = (1..=20).map(|index| entry(index, 1, &[1; 100])).collect();
    wal.save(&batch, Some(&state(1, 7, 0))).unwrap();
    match faults.take()[..] {
        [DiskOp::Write { bytes }, DiskOp::SyncData] => assert!(bytes > 20 * 100),
        ref other => panic!("{other:?}"),
    }
    assert_eq!(wal.stats().fsync.cumulated().1, 1);
    assert_eq!(wal.stats().write.cumulated().1, 1);
    assert!(wal.stats().write_bytes() > 2000);
}

#[test]
fn only_entries_a_term_or_a_vote_are_synced() {
    let faults = Arc::new(Faults::default());
    let dir = Dir::new();
    let mut wal = dir.create(&faults.options());
    faults.take();
    let synced = |wal: &mut Wal, entries: &[wal::Entry], state: wal::HardState| {
        wal.save(entries, Some(&state)).unwrap();
        faults.take().contains(&DiskOp::SyncData)
    };
    assert!(synced(&mut wal, &[entry(1, 1, b"a")], state(0, 0, 0)), "an entry");
    assert!(synced(&mut wal, &[], state(1, 0, 0)), "a term");
    assert!(synced(&mut wal, &[], state(1, 7, 0)), "a vote");
    assert!(!synced(&mut wal, &[], state(1, 7, 1)), "a commit index");
    assert!(!synced(&mut wal, &[], state(0, 0, 0)), "nothing");
    assert!(!wal.append(&[], Some(&state(1, 7, 2))).unwrap());
    assert!(wal.append(&[], Some(&state(2, 7, 2))).unwrap());
}

#[test]
fn without_fsync_nothing_is_synced() {
    let faults = Arc::new(Faults::default());
    let dir = Dir::new();
    let mut wal = dir.create(&Options { unsafe_no_fsync: true, ..faults.options() });
    faults.take();
    wal.save(&[entry(1, 1, b"a")], None).unwrap();
    assert!(!faults.take().contains(&DiskOp::SyncData));
}

#[test]
fn after_a_failed_write_or_sync_nothing_more_is_accepted() {
    for (broken, action) in
        [(DiskOp::Write { bytes: 0 }, "write file"), (DiskOp::SyncData, "sync file")]
    {
        let faults = Arc::new(Faults::default());
        let dir = Dir::new();
        let mut wal = dir.create(&faults.options());
        wal.save(&[entry(1, 1, b"kept")], None).unwrap();
        faults.break_on(Some(broken));
        let error = wal.save(&[entry(2, 1, b"lost")], None).unwrap_err().to_string();
        assert!(error.starts_with(action) && error.contains("Input/output error"), "{error}");
        assert!(error.contains("0000000000000000-0000000000000000.wal"), "{error}");
        // The disk is well again; the log does not believe it.
        faults.break_on(None);
        faults.take();
        assert!(matches!(wal.save(&[entry(2, 1, b"x")], None), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.append(&[], Some(&state(9, 9, 9))), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.sync(), Err(Error::Poisoned { .. })));
        let mark = wal::SnapshotRecord::default();
        assert!(matches!(wal.save_snapshot(&mark), Err(Error::Poisoned { .. })));
        assert!(matches!(wal.close(), Err(Error::Poisoned { .. })));
        assert!(faults.take().is_empty(), "no operation on the disk after the failure");
        let entries = dir.open().1.entries;
        assert_eq!(entries[0], entry(1, 1, b"kept"));
    }
}

#[test]
fn a_failure_at_any_step_of_a_cut_stops_the_log_and_loses_nothing_synced() {
    for broken in [
        DiskOp::SetLen,
        DiskOp::SyncData,
        DiskOp::Rename,
        DiskOp::SyncDir,
        DiskOp::Allocate,
        DiskOp::Open,
    ] {
        let faults = Arc::new(Faults::default());
        let dir = Dir::new();
        let mut wal = dir.create(&faults.options());
        wal.save(&[entry(1, 1, &[1; 3000])], Some(&state(1, 7, 0))).unwrap();
        // The first spare exists already: for Allocate and Open it is the second cut that fails.
        faults.break_on(Some(broken));
        let mut saved = 1;
        let error = loop {
            match wal.save(&[entry(saved + 1, 1, &[2; 6000])], None) {
                Ok(()) => saved += 1,
                Err(error) => break error,
            }
            assert!(saved < 10, "{broken:?} never failed");
        };
        assert!(error.to_string().contains("Input/output error"), "{broken:?}: {error}");
        assert!(matches!(wal.sync(), Err(Error::Poisoned { .. })), "{broken:?}");
        drop(wal);
        let (mut wal, recovered) = dir.open();
        assert!(recovered.entries.len() as u64 >= saved, "{broken:?}");
        assert_eq!(recovered.hard_state, state(1, 7, 0), "{broken:?}");
        let next = recovered.entries.len() as u64 + 1;
        wal.save(&[entry(next, 2, b"goes on")], None).unwrap();
    }
}

#[test]
fn a_creation_that_fails_leaves_no_log() {
    for broken in [
        DiskOp::Open,
        DiskOp::Allocate,
        DiskOp::Write { bytes: 0 },
        DiskOp::SyncData,
        DiskOp::Rename,
        DiskOp::SyncDir,
    ] {
        let faults = Arc::new(Faults::default());
        let dir = Dir::new();
        faults.break_on(Some(broken));
        let metadata = wal::Metadata::default();
        let error = Wal::create(&dir.wal, &metadata, &faults.options()).unwrap_err();
        assert!(matches!(error, Error::Io { .. }), "{broken:?}: {error}");
        assert!(!Wal::exists(&dir.wal).unwrap(), "{broken:?}");
        dir.create(&small());
    }
}

/// Fails the sync of the directory that holds the log, once its name is there.
#[derive(Debug)]
struct ParentSyncFails;

impl DiskHook for ParentSyncFails {
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()> {
        let fails = op == DiskOp::SyncDir && path.join("wal").exists();
        if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
    }
}

#[test]
fn a_new_log_whose_name_is_not_durable_is_renamed_away() {
    let dir = Dir::new();
    let options = Options { disk_hook: Some(Arc::new(ParentSyncFails)), ..small() };
    let error = Wal::create(&dir.wal, &wal::Metadata::default(), &options).unwrap_err();
    assert!(error.to_string().starts_with("sync directory"), "{error}");
    let parent = dir.wal.parent().unwrap();
    let names: Vec<String> = std::fs::read_dir(parent)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 1);
    assert!(names[0].starts_with("wal.broken.20") && names[0].len() == 33, "{names:?}");
}
