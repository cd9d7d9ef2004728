//! Random histories: the state machine answers as the naive reading of the rules does.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::{
    self as pb, CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, request_op,
};
use proto::request::{Kind, encode};

use super::Rig;
use super::machine::Disk;
use super::naive::Naive;
use crate::{ApplyError, Reply};

/// One entry of a random log.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Grant(i64),
    Revoke(i64),
    Compact(i64),
    Txn(TxnRequest),
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "bb", "c", "d", "e"]).prop_map(Bytes::from)
}

fn range_end() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => Just(Bytes::new()),
        3 => key(),
        1 => Just(Bytes::from_static(b"\0")),
        1 => Just(Bytes::from_static(b"z")),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2", "22", "3"]).prop_map(Bytes::from)
}

fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 1 => 1..4i64]
}

prop_compose! {
    fn put()(
        key in key(),
        value in value(),
        lease in lease(),
        prev_kv in any::<bool>(),
        ignore in 0..8u8,
    ) -> PutRequest {
        let (ignore_value, ignore_lease) = (ignore == 0, ignore == 1);
        PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { 0 } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        }
    }
}

fn bound() -> impl Strategy<Value = i64> {
    prop_oneof![5 => Just(0i64), 1 => 1..12i64]
}

prop_compose! {
    fn range()(
        (key, range_end) in (key(), range_end()),
        limit in -1..4i64,
        revision in prop_oneof![6 => Just(0i64), 1 => -2..14i64],
        (sort_order, sort_target) in (0..3i32, 0..5i32),
        (keys_only, count_only) in (any::<bool>(), prop::bool::weighted(0.1)),
        (min_mod_revision, max_mod_revision) in (bound(), bound()),
        (min_create_revision, max_create_revision) in (bound(), bound()),
    ) -> RangeRequest {
        RangeRequest {
            key, range_end, limit, revision, sort_order, sort_target, serializable: false,
            keys_only, count_only, min_mod_revision, max_mod_revision, min_create_revision,
            max_create_revision,
        }
    }
}

prop_compose! {
    fn compare()(
        (key, range_end) in (key(), range_end()),
        (target, result) in (0..6i32, 0..5i32),
        number in 0..6i64,
        value in value(),
        union in 0..8u8,
    ) -> Compare {
        let target_union = match (union, target) {
            (0, _) => None,
            (1, _) | (_, 0) => Some(TargetUnion::Version(number)),
            (_, 1) => Some(TargetUnion::CreateRevision(number)),
            (_, 2) => Some(TargetUnion::ModRevision(number)),
            (_, 3) => Some(TargetUnion::Value(value)),
            _ => Some(TargetUnion::Lease(number)),
        };
        Compare { result, target, key, range_end, target_union }
    }
}

fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

fn plain_op() -> impl Strategy<Value = RequestOp> {
    prop_oneof![
        4 => put().prop_map(|r| op(request_op::Request::RequestPut(r))),
        3 => range().prop_map(|r| op(request_op::Request::RequestRange(r))),
        2 => delete().prop_map(|r| op(request_op::Request::RequestDeleteRange(r))),
    ]
}

fn txn_of(ops: impl Strategy<Value = RequestOp> + Clone) -> impl Strategy<Value = TxnRequest> {
    let branch = || vec(ops.clone(), 0..4);
    (vec(compare(), 0..2), branch(), branch()).prop_map(|(compare, success, failure)| TxnRequest {
        compare,
        success,
        failure,
    })
}

pub(super) fn txn() -> impl Strategy<Value = TxnRequest> {
    let any_op = plain_op().boxed().prop_recursive(3, 12, 3, |inner| {
        txn_of(inner).prop_map(|r| op(request_op::Request::RequestTxn(r)))
    });
    txn_of(any_op)
}

pub(super) fn history() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        2 => (1..4i64).prop_map(Action::Grant),
        1 => (1..4i64).prop_map(Action::Revoke),
        1 => (0..14i64).prop_map(Action::Compact),
        12 => txn().prop_map(Action::Txn),
    ];
    vec(action, 1..24)
}

/// What the naive reading answers; a txn's answer in its wire form.
pub(super) fn expected(
    naive: &mut Naive,
    action: &Action,
) -> Result<Option<pb::TxnResponse>, ApplyError> {
    match action {
        Action::Grant(id) if !naive.grant(*id) => Err(ApplyError::LeaseExist),
        Action::Revoke(id) if !naive.revoke(*id) => Err(ApplyError::LeaseNotFound),
        Action::Grant(_) | Action::Revoke(_) => Ok(None),
        Action::Compact(revision) => naive.compact(*revision).map(|()| None),
        Action::Txn(request) => naive.txn(request).map(Some),
    }
}

/// The request of an action, as an entry holds it.
pub(super) fn encoded(action: &Action) -> Bytes {
    let header = pb::RequestHeader { id: 1, ..Default::default() };
    match action {
        Action::Grant(id) => {
            encode(Kind::LeaseGrant, &LeaseGrantRequest { id: *id, ttl: 60 }, &header)
        }
        Action::Revoke(id) => encode(Kind::LeaseRevoke, &LeaseRevokeRequest { id: *id }, &header),
        Action::Compact(revision) => {
            let request = CompactionRequest { revision: *revision, physical: false };
            encode(Kind::Compaction, &request, &header)
        }
        Action::Txn(request) => encode(Kind::Txn, request, &header),
    }
}

/// An answer in the form of [`expected`].
pub(super) fn answered(
    result: Result<Reply, ApplyError>,
) -> Result<Option<pb::TxnResponse>, ApplyError> {
    result.map(|reply| match reply {
        Reply::Txn(response) => {
            let bytes = response.encode_to_vec();
            Some(pb::TxnResponse::decode(&bytes[..]).expect("a raw answer has the same wire form"))
        }
        _ => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_answer_as_their_naive_reading(history in history()) {
        let mut rig = Rig::new();
        let mut naive = Naive::new();
        for action in &history {
            let applied = rig
                .apply_entry(crate::EntryKind::Normal, encoded(action))
                .expect("the entry is well-formed");
            let wanted = expected(&mut naive, action);
            prop_assert_eq!(applied.revision, naive.revision);
            prop_assert_eq!(answered(applied.result), wanted);
            let leases = rig.state.leases.read();
            for (id, lease) in leases.iter() {
                let keys: Vec<_> = lease.keys().cloned().collect();
                prop_assert_eq!(keys, naive.keys_of(id));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// The same on the real store, in batches of every size, with restarts in between.
    #[test]
    fn the_stored_state_answers_as_the_naive_reading(
        history in history(),
        batches in vec((1..6usize, prop::bool::weighted(0.2)), 24),
    ) {
        let disk = Disk::new();
        let mut machine = disk.open();
        let mut naive = Naive::new();
        let mut rest = &history[..];
        for (size, restart) in batches {
            let (batch, tail) = rest.split_at(size.min(rest.len()));
            rest = tail;
            let outcomes = machine.apply_data(batch.iter().map(encoded));
            for (action, applied) in batch.iter().zip(outcomes) {
                let wanted = expected(&mut naive, action);
                prop_assert_eq!(applied.revision, naive.revision);
                prop_assert_eq!(answered(applied.result), wanted, "{:?}", action);
            }
            if restart {
                drop(machine);
                machine = disk.open();
            }
            for (id, lease) in machine.machine.state().leases.read().iter() {
                let keys: Vec<_> = lease.keys().cloned().collect();
                prop_assert_eq!(keys, naive.keys_of(id));
            }
        }
    }
}
