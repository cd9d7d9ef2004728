//! Ranges: filters, orders and limits.

use std::cell::Cell;

use base::KeyRange;
use bytes::Bytes;
use mvcc::{Found, KeyMeta, KeyState};
use proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use proto::etcdserverpb::{CompactionRequest, PutRequest, RangeRequest};
use proto::request::Kind;

use super::model::Model;
use super::{Rig, delete, put, range};
use crate::{ApplyError, ReadError, Source};

/// k1..k5 with values c, a2, b, d, 0, as in the contract's example.
fn five() -> Rig {
    let mut rig = Rig::new();
    for (key, value) in [("k1", "c"), ("k2", "a2"), ("k3", "b"), ("k4", "d"), ("k5", "0")] {
        rig.put(key, value);
    }
    rig
}

fn all() -> RangeRequest {
    range("k", "l")
}

fn sorted(order: SortOrder, target: SortTarget) -> RangeRequest {
    RangeRequest { sort_order: order as i32, sort_target: target as i32, ..all() }
}

fn keys(rig: &mut Rig, request: &RangeRequest) -> Vec<String> {
    let key = |pair: proto::mvccpb::KeyValue| String::from_utf8(pair.key.to_vec()).expect("ASCII");
    rig.range(request).0.into_iter().map(key).collect()
}

#[test]
fn an_unordered_range_sorts_by_its_target_only_what_the_limit_left() {
    let mut rig = five();
    let by_value = RangeRequest { limit: 1, ..sorted(SortOrder::None, SortTarget::Value) };
    assert_eq!(keys(&mut rig, &by_value), ["k2"]);
    let (_, more, count) = rig.range(&by_value);
    assert_eq!((more, count), (true, 5));
}

#[test]
fn an_ordered_range_sorts_everything_before_the_limit() {
    let mut rig = five();
    let by_value = RangeRequest { limit: 1, ..sorted(SortOrder::Ascend, SortTarget::Value) };
    assert_eq!(keys(&mut rig, &by_value), ["k5"]);
    let (_, more, count) = rig.range(&by_value);
    assert_eq!((more, count), (true, 5));
}

#[test]
fn a_filter_switches_the_early_cut_off() {
    let mut rig = five();
    let request = RangeRequest {
        limit: 1,
        min_mod_revision: 1,
        ..sorted(SortOrder::None, SortTarget::Value)
    };
    assert_eq!(keys(&mut rig, &request), ["k5"]);
}

#[test]
fn every_target_sorts_both_ways() {
    let mut rig = five();
    rig.put("k2", "z"); // version 2, newest modification
    rig.reply(Kind::DeleteRange, &delete("k1", ""));
    rig.put("k1", "y"); // newest creation and modification
    for (target, ascending) in [
        (SortTarget::Key, ["k1", "k2", "k3", "k4", "k5"]),
        (SortTarget::Mod, ["k3", "k4", "k5", "k2", "k1"]),
        (SortTarget::Create, ["k2", "k3", "k4", "k5", "k1"]),
        (SortTarget::Value, ["k5", "k3", "k4", "k1", "k2"]),
    ] {
        assert_eq!(keys(&mut rig, &sorted(SortOrder::Ascend, target)), ascending, "{target:?}");
        let mut descending = ascending;
        descending.reverse();
        assert_eq!(keys(&mut rig, &sorted(SortOrder::Descend, target)), descending, "{target:?}");
        assert_eq!(keys(&mut rig, &sorted(SortOrder::None, target)), ascending, "{target:?}");
    }
    let by_version = keys(&mut rig, &sorted(SortOrder::Descend, SortTarget::Version));
    assert_eq!(by_version[0], "k2");
}

#[test]
fn bounds_are_inclusive_and_zero_is_none() {
    let mut rig = five();
    rig.put("k1", "again"); // created 2, modified 7
    for (request, expected) in [
        (RangeRequest { min_mod_revision: 6, ..all() }, &["k1", "k5"][..]),
        (RangeRequest { max_mod_revision: 4, ..all() }, &["k2", "k3"]),
        (RangeRequest { min_create_revision: 6, ..all() }, &["k5"]),
        (RangeRequest { max_create_revision: 2, ..all() }, &["k1"]),
        (RangeRequest { min_mod_revision: 3, max_mod_revision: 3, ..all() }, &["k2"]),
    ] {
        assert_eq!(keys(&mut rig, &request), expected, "{request:?}");
        assert_eq!(rig.range(&request).2, 5, "filters do not change the count");
    }
}

#[test]
fn more_says_whether_the_limit_cut() {
    let mut rig = five();
    for (limit, returned, more) in [(0, 5, false), (-5, 5, false), (4, 4, true), (5, 5, false)] {
        for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
            let request = RangeRequest { limit, ..sorted(order, SortTarget::Key) };
            let (pairs, said, count) = rig.range(&request);
            assert_eq!((pairs.len(), said, count), (returned, more, 5), "{limit} {order:?}");
        }
    }
    let filtered = RangeRequest { limit: 2, min_mod_revision: 5, ..all() };
    assert!(!rig.range(&filtered).1, "two keys pass the filter");
}

#[test]
fn keys_only_drops_the_lease_too_unless_values_are_sorted() {
    let mut rig = five();
    rig.grant(9, 60);
    rig.reply(Kind::Put, &PutRequest { lease: 9, ..put("k1", "c") });
    for order in [SortOrder::None, SortOrder::Descend] {
        for (target, lease) in [(SortTarget::Key, 0), (SortTarget::Mod, 0), (SortTarget::Value, 9)]
        {
            let request = RangeRequest { keys_only: true, ..sorted(order, target) };
            let (pairs, _, _) = rig.range(&request);
            let pair = pairs.into_iter().find(|pair| pair.key == "k1").expect("it is there");
            assert!(pair.value.is_empty());
            assert_eq!((pair.create_revision, pair.mod_revision, pair.version), (2, 7, 2));
            assert_eq!(pair.lease, lease, "{target:?}");
        }
    }
}

#[test]
fn count_only_ignores_limit_and_filters() {
    let mut rig = five();
    let request = RangeRequest { count_only: true, limit: 2, min_mod_revision: 6, ..all() };
    let (pairs, more, count) = rig.range(&request);
    assert_eq!((pairs.len(), more, count), (0, false, 5));
}

#[test]
fn revisions_lead_back_until_the_compaction() {
    let mut rig = five();
    rig.put("k1", "new");
    assert_eq!(rig.range(&RangeRequest { revision: 2, ..all() }).2, 1);
    assert_eq!(rig.range(&RangeRequest { revision: -5, ..all() }).2, 5);
    rig.reply(Kind::Compaction, &CompactionRequest { revision: 4, physical: false });
    assert_eq!(rig.range(&RangeRequest { revision: 4, ..all() }).2, 3);
    for (revision, refusal) in [(3, ApplyError::Compacted), (8, ApplyError::FutureRev)] {
        for keys_only in [false, true] {
            let request = RangeRequest { revision, keys_only, ..all() };
            let error = crate::range(&rig.model, &request).expect_err("out of reach");
            assert!(matches!(error, ReadError::Refused(got) if got == refusal), "{error}");
        }
    }
}

#[test]
fn an_end_not_above_the_key_is_an_empty_range() {
    let mut rig = five();
    for end in ["k1", "a"] {
        let (pairs, more, count) = rig.range(&range("k1", end));
        assert_eq!((pairs.len(), more, count), (0, false, 0));
    }
}

/// A source whose rows vanish between the look into the index and their reading, some times.
struct Overtaken<'a> {
    model: &'a Model,
    times: Cell<u32>,
}

impl Source for Overtaken<'_> {
    fn revision(&self) -> i64 {
        self.model.revision()
    }

    fn compacted_revision(&self) -> i64 {
        self.model.compacted_revision()
    }

    fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, ReadError> {
        self.model.pairs(range, at, limit)
    }

    fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, ReadError> {
        self.model.metas(range, at, limit)
    }

    fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, ReadError> {
        self.model.count(range, at)
    }

    fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, ReadError> {
        match self.times.get().checked_sub(1) {
            Some(left) => {
                self.times.set(left);
                Err(ReadError::Refused(ApplyError::Compacted))
            }
            None => self.model.rows(metas),
        }
    }

    fn stat(&self, key: &Bytes) -> Result<Option<KeyState>, ReadError> {
        self.model.stat(key)
    }

    fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, ReadError> {
        self.model.pair(key)
    }
}

#[test]
fn a_read_of_the_newest_state_that_compaction_overtakes_begins_anew() {
    let rig = five();
    let newest = sorted(SortOrder::Descend, SortTarget::Key);
    for (times, revision, succeeds) in [(3, 0, true), (1, 6, false), (100, 0, false)] {
        let source = Overtaken { model: &rig.model, times: Cell::new(times) };
        let request = RangeRequest { revision, ..newest.clone() };
        assert_eq!(crate::range(&source, &request).is_ok(), succeeds, "{times} {revision}");
    }
}
