//! A crash at any byte: what was synced is there, in order, and nothing that was never written.

use crate::support::{METADATA, entry, state};
use proptest::prelude::*;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use wal::{Entry, HardState, Options, Wal};

/// Small segments, and no waiting for the disk: what a crash leaves is made by the tests.
fn fast() -> Options {
    Options { unsafe_no_fsync: true, ..crate::support::small() }
}

/// One batch: how many entries, how long their data is, how far back they replace, and a state.
type Batch = (usize, usize, u64, bool);

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let batch = (0usize..5, 0usize..1500, 0u64..3, any::<bool>());
    proptest::collection::vec(batch, 1..20)
}

/// The log of a raft member, kept in memory.
#[derive(Clone, Default)]
struct Model {
    entries: Vec<Entry>,
    state: HardState,
}

impl Model {
    fn next_batch(&mut self, (count, len, back, with_state): Batch) -> (Vec<Entry>, HardState) {
        // Entries up to the commit index are never replaced.
        let committed = self.state.commit as usize;
        let keep = self.entries.len().saturating_sub(back as usize).max(committed);
        if keep < self.entries.len() && count > 0 {
            self.entries.truncate(keep);
            self.state.term += 1;
        }
        let first = self.entries.len() as u64 + 1;
        let term = self.state.term.max(1);
        let fill = |index: u64| vec![(index % 251) as u8 + 1; len];
        let new: Vec<Entry> =
            (first..first + count as u64).map(|i| entry(i, term, &fill(i))).collect();
        self.entries.extend(new.iter().cloned());
        self.state = state(term, 7, self.state.commit);
        if with_state {
            self.state.commit = self.entries.len() as u64;
        }
        (new, self.state)
    }
}

/// The segments and their lengths, sorted.
fn segments(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap())
        .filter(|e| e.path().extension().is_some_and(|x| x == "wal"))
        .map(|e| (e.path(), e.metadata().unwrap().len()))
        .collect();
    files.sort();
    files
}

/// Copies the log as a crash leaves it: the last segment ends after `len` bytes, and then there is
/// either the end of the file or zeros.
fn copy_cut(from: &Path, to: &Path, len: u64, with_zeros: bool) {
    fs::create_dir(to).unwrap();
    let files = segments(from);
    for (i, (path, full)) in files.iter().enumerate() {
        let target = to.join(path.file_name().unwrap());
        fs::copy(path, &target).unwrap();
        if i == files.len() - 1 {
            let file = fs::File::options().write(true).open(&target).unwrap();
            file.set_len(len).unwrap();
            if with_zeros {
                file.set_len(*full).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_log_cut_at_any_byte_is_a_prefix_with_all_that_was_synced_before(
        batches in batches(),
        place in any::<prop::sample::Index>(),
        with_zeros in any::<bool>(),
    ) {
        let temp = TempDir::new().unwrap();
        let (dir, copy) = (temp.path().join("wal"), temp.path().join("copy"));
        let mut wal = Wal::create(&dir, &METADATA, &fast()).unwrap();
        let mut model = Model::default();
        // After each batch: the model, the batch, the number of segments, the end of the data.
        let mut history = vec![(model.clone(), vec![], 1, 0)];
        for batch in batches {
            let (entries, state) = model.next_batch(batch);
            wal.save(&entries, Some(&state)).unwrap();
            let files = segments(&dir);
            let end = data_end(&files.last().unwrap().0);
            history.push((model.clone(), entries, files.len(), end));
        }
        drop(wal);
        let files = segments(&dir);
        let end = data_end(&files.last().unwrap().0);
        let mut len = place.index(end as usize + 1) as u64;
        if with_zeros {
            len -= len % 512; // The disk writes whole sectors.
        }
        copy_cut(&dir, &copy, len, with_zeros);

        // The batches that were whole before the cut, and the one that was not.
        let is_whole = |count: usize, end: u64| count < files.len() || end <= len;
        let whole = history.iter().rposition(|(_, _, count, end)| is_whole(*count, *end)).unwrap();
        let synced = &history[whole].0;
        let torn = history.get(whole + 1).map_or(&[][..], |(_, entries, _, _)| entries);
        match Wal::open(&copy, (0, 0), &fast()) {
            Ok((mut wal, recovered)) => {
                let possible = (0..=torn.len()).any(|count| {
                    recovered.entries == replace(synced.entries.clone(), &torn[..count])
                });
                prop_assert!(possible, "{:?}", recovered.entries);
                prop_assert!(recovered.hard_state.commit >= synced.state.commit);
                // The log goes on and is read again.
                let known = recovered.entries.len();
                wal.save(&[entry(known as u64 + 1, 99, b"next")], Some(&state(99, 1, 0))).unwrap();
                drop(wal);
                let (_, again) = Wal::open(&copy, (0, 0), &Options::default()).unwrap();
                prop_assert_eq!(again.entries.len(), known + 1);
                prop_assert_eq!(again.hard_state, state(99, 1, 0));
            }
            // Only the very first records can be missing so that there is no log at all.
            Err(error) => prop_assert!(files.len() == 1 && len < 80, "{error}"),
        }
    }
}

/// What a log with `entries` is after `new` was appended.
fn replace(mut entries: Vec<Entry>, new: &[Entry]) -> Vec<Entry> {
    if let Some(first) = new.first() {
        entries.truncate(first.index as usize - 1);
        entries.extend_from_slice(new);
    }
    entries
}

fn data_end(segment: &Path) -> u64 {
    *crate::support::offsets(segment).last().unwrap()
}

/// One piece of damage: where, and what.
#[derive(Debug, Clone)]
enum Damage {
    Flip { byte: prop::sample::Index, bit: u8 },
    Fill { from: prop::sample::Index, bytes: usize, with: u8 },
    Swap { from: prop::sample::Index, to: prop::sample::Index, bytes: usize },
    Cut { at: prop::sample::Index },
    Random { from: prop::sample::Index, bytes: Vec<u8> },
}

fn damage() -> impl Strategy<Value = Damage> {
    let place = any::<prop::sample::Index>;
    prop_oneof![
        (place(), 0u8..8).prop_map(|(byte, bit)| Damage::Flip { byte, bit }),
        (place(), 1usize..2000, prop_oneof![Just(0), any::<u8>()])
            .prop_map(|(from, bytes, with)| Damage::Fill { from, bytes, with }),
        (place(), place(), 1usize..600).prop_map(|(from, to, bytes)| Damage::Swap {
            from,
            to,
            bytes
        }),
        place().prop_map(|at| Damage::Cut { at }),
        (place(), proptest::collection::vec(any::<u8>(), 1..100))
            .prop_map(|(from, bytes)| Damage::Random { from, bytes }),
    ]
}

impl Damage {
    /// Changes the first `end` bytes of a segment.
    fn apply(&self, bytes: &mut Vec<u8>, end: usize) {
        let end = end.min(bytes.len());
        if end == 0 {
            return;
        }
        match self {
            Self::Flip { byte, bit } => bytes[byte.index(end)] ^= 1 << bit,
            Self::Fill { from, bytes: len, with } => {
                let from = from.index(end);
                bytes[from..end.min(from + len)].fill(*with);
            }
            Self::Swap { from, to, bytes: len } => {
                let (from, to) = (from.index(end), to.index(end));
                let len = (*len).min(end - from.max(to));
                let moved = bytes[from..from + len].to_vec();
                bytes[to..to + len].copy_from_slice(&moved);
            }
            Self::Cut { at } => bytes.truncate(at.index(end)),
            Self::Random { from, bytes: new } => {
                let from = from.index(end);
                let len = new.len().min(end - from);
                bytes[from..from + len].copy_from_slice(&new[..len]);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_log_gives_all_that_was_applied_or_is_refused(
        batches in batches(),
        damages in proptest::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
    ) {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("wal");
        let mut wal = Wal::create(&dir, &METADATA, &fast()).unwrap();
        let mut model = Model::default();
        for batch in batches {
            let (entries, state) = model.next_batch(batch);
            wal.save(&entries, Some(&state)).unwrap();
        }
        drop(wal);
        let files = segments(&dir);
        for (which, damage) in damages {
            let path = &which.get(&files).0;
            let mut bytes = fs::read(path).unwrap();
            let end = data_end(path) as usize;
            damage.apply(&mut bytes, end);
            fs::write(path, bytes).unwrap();
        }
        // All entries were applied: then they are all there, or the log says what is wrong.
        let (durable_index, durable_term) =
            model.entries.last().map_or((0, 0), |entry| (entry.index, entry.term));
        let options = Options { durable_index, durable_term, ..fast() };
        if let Ok((_, recovered)) = Wal::open(&dir, (0, 0), &options) {
            prop_assert_eq!(recovered.entries, model.entries);
        }
    }

    #[test]
    fn any_bytes_as_a_segment_are_refused_or_read_but_never_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        with_head in any::<bool>(),
    ) {
        let temp = TempDir::new().unwrap();
        let dir = temp.path().join("wal");
        drop(Wal::create(&dir, &METADATA, &fast()).unwrap());
        let segment = &segments(&dir)[0].0;
        let mut content = fs::read(segment).unwrap();
        let end = if with_head { data_end(segment) as usize } else { 0 };
        content.truncate(end);
        content.extend(&bytes);
        fs::write(segment, &content).unwrap();
        if let Ok((mut wal, recovered)) = Wal::open(&dir, (0, 0), &fast()) {
            let next = recovered.entries.len() as u64 + 1;
            wal.save(&[entry(next, u64::MAX, b"next")], None).unwrap();
            drop(wal);
            let (_, again) = Wal::open(&dir, (0, 0), &fast()).unwrap();
            prop_assert_eq!(again.entries.len() as u64, next);
        }
    }
}
