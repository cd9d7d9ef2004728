use bytes::Bytes;
use proptest::prelude::*;
use wal::EntryKind;

use super::*;

fn entry(index: u64, term: u64) -> Entry {
    Entry { kind: EntryKind::Normal, term, index, data: Bytes::from(vec![0; 100]) }
}

fn store(boundary: (u64, u64), entries: Vec<Entry>) -> LogStore {
    let boundary = LogPosition { index: boundary.0, term: boundary.1 };
    LogStore::new(boundary, entries, HardState::default(), base::ConfState::default())
        .expect("a sound log")
}

fn places(store: &LogStore, low: u64, high: u64, max: Option<u64>) -> Vec<(u64, u64)> {
    let entries = store.entries(low, high, max, GetEntriesContext::empty(false)).expect("entries");
    entries.iter().map(|entry| (entry.index, entry.term)).collect()
}

#[test]
fn a_gap_in_what_was_read_is_refused() {
    let boundary = LogPosition { index: 4, term: 2 };
    let load = |entries| {
        LogStore::new(boundary, entries, HardState::default(), base::ConfState::default())
    };
    assert!(load(vec![entry(5, 2), entry(6, 3)]).is_ok());
    assert!(matches!(
        load(vec![entry(6, 2)]),
        Err(Error::LogGap { before_index: 4, index: 6, .. })
    ));
    assert!(matches!(
        load(vec![entry(5, 2), entry(7, 2)]),
        Err(Error::LogGap { before_index: 5, index: 7, .. })
    ));
    assert!(matches!(load(vec![entry(5, 1)]), Err(Error::LogGap { before_term: 2, term: 1, .. })));
}

#[test]
fn the_boundary_keeps_its_term_when_everything_behind_it_is_gone() {
    let mut log = store((0, 0), (1..=9).map(|i| entry(i, i / 4 + 1)).collect());
    log.compact(9);
    assert_eq!(Storage::term(&log, 9), Ok(3));
    assert_eq!(Storage::first_index(&log), Ok(10));
    assert_eq!(Storage::last_index(&log), Ok(9));
    assert_eq!(Storage::term(&log, 8), Err(StorageError::Compacted.into()));
    assert_eq!(Storage::term(&log, 10), Err(StorageError::Unavailable.into()));
    assert_eq!(log.bytes(), 0);
}

#[test]
fn entries_below_the_boundary_are_told_to_be_compacted() {
    let log = store((4, 1), vec![entry(5, 1), entry(6, 1)]);
    let below = log.entries(4, 6, None, GetEntriesContext::empty(false));
    assert_eq!(below, Err(StorageError::Compacted.into()));
}

#[test]
fn a_byte_limit_counts_the_data_that_raft_does_not_see_and_lets_one_entry_pass() {
    let log = store((0, 0), (1..=5).map(|i| entry(i, 1)).collect());
    assert_eq!(places(&log, 1, 6, Some(0)), [(1, 1)]);
    assert_eq!(places(&log, 1, 6, Some(2 * 164)), [(1, 1), (2, 1)]);
    assert_eq!(places(&log, 2, 6, None).len(), 4);
}

#[test]
fn an_append_replaces_what_conflicts() {
    let mut log = store((0, 0), (1..=5).map(|i| entry(i, 1)).collect());
    log.append(&[entry(3, 2), entry(4, 2)]);
    assert_eq!(places(&log, 1, 5, None), [(1, 1), (2, 1), (3, 2), (4, 2)]);
    assert_eq!(log.last(), LogPosition { index: 4, term: 2 });
    assert_eq!(log.bytes(), 4 * 164);
}

#[test]
fn compaction_keeps_what_lagging_followers_need_within_bytes() {
    let log = store((0, 0), (1..=100).map(|i| entry(i, 1)).collect());
    assert_eq!(log.compact_point(90, 20, usize::MAX), 70);
    assert_eq!(log.compact_point(90, 1000, usize::MAX), 0);
    // 50 entries of 164 bytes fit: what is not applied counts, too, and is kept.
    assert_eq!(log.compact_point(90, 1000, 50 * 164), 50);
    assert_eq!(log.compact_point(90, 1000, 0), 90);
}

#[test]
fn a_snapshot_is_offered_at_the_applied_index_or_not_at_all() {
    let mut log = store((0, 0), (1..=9).map(|i| entry(i, 2)).collect());
    assert!(log.snapshot(0, 2).is_err());
    log.offer_snapshot(7);
    log.offer_membership(&base::ConfState { voters: vec![1, 2], ..Default::default() });
    let snapshot = log.snapshot(3, 2).expect("offered");
    let metadata = snapshot.get_metadata();
    assert_eq!((metadata.index, metadata.term), (7, 2));
    assert_eq!(metadata.get_conf_state().voters, [1, 2]);
    assert!(log.snapshot(8, 2).is_err());
}

/// What a log does, said the simplest way.
#[derive(Clone, Debug)]
enum Step {
    Append { back: u64, count: u64 },
    Compact { forward: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..5, 1_u64..6).prop_map(|(back, count)| Step::Append { back, count }),
        (0_u64..6).prop_map(|forward| Step::Compact { forward }),
    ]
}

proptest! {
    #[test]
    fn it_agrees_with_a_plain_map(steps in proptest::collection::vec(step(), 1..60)) {
        let mut log = store((0, 0), vec![]);
        let mut model = std::collections::BTreeMap::from([(0_u64, 0_u64)]);
        for (term, step) in (1..).zip(steps) {
            let first = *model.keys().next().expect("the boundary");
            let last = *model.keys().last().expect("the boundary");
            match step {
                Step::Append { back, count } => {
                    let from = last.saturating_sub(back).max(first) + 1;
                    let entries = (from..from + count).map(|i| entry(i, term));
                    log.append(&entries.collect::<Vec<Entry>>());
                    model.retain(|index, _| *index < from);
                    model.extend((from..from + count).map(|i| (i, term)));
                }
                Step::Compact { forward } => {
                    let to = (first + forward).min(last);
                    log.compact(to);
                    model.retain(|index, _| *index >= to);
                }
            }
            let first = *model.keys().next().expect("the boundary");
            let last = *model.keys().last().expect("the boundary");
            prop_assert_eq!(log.first_index(), first + 1);
            prop_assert_eq!(log.last().index, last);
            prop_assert_eq!(log.bytes() as u64, (last - first) * 164);
            for (index, term) in &model {
                prop_assert_eq!(log.term_at(*index), Some(*term));
            }
            let held: Vec<(u64, u64)> = model.iter().skip(1).map(|(i, t)| (*i, *t)).collect();
            prop_assert_eq!(places(&log, first + 1, last + 1, None), held);
        }
    }
}
