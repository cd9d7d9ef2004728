//! Finds keys that a branch of a transaction would change twice.
//!
//! What counts (etcd 3.7): a put twice on one level or in two nested transactions; a put inside a
//! delete's interval on the same level, below it, or in an earlier sibling. The two branches of
//! one nested transaction never meet, so they may share keys. Not counted: a nested put that a
//! *later* sibling deletes, and deletes that have no upper bound.
//!
//! Sets of a nested transaction are merged into those of its parent, the smaller into the
//! larger, so the whole costs O(n log² n) in the number of operations.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proto::etcdserverpb::{DeleteRangeRequest, RequestOp, request_op::Request};

use super::errors::RpcError;

/// Keys put and intervals deleted by a branch and everything below it.
#[derive(Default)]
struct Changes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Intervals<'a>,
}

/// Checks one branch.
///
/// # Errors
/// [`RpcError::DuplicateKey`].
pub(super) fn check(ops: &[RequestOp]) -> Result<(), RpcError> {
    let reads = |op: &RequestOp| matches!(op.request, Some(Request::RequestRange(_)) | None);
    let nests = |op: &RequestOp| matches!(op.request, Some(Request::RequestTxn(_)));
    let mut writes = ops.iter().filter(|op| !reads(op));
    let alone = writes.next().is_none_or(|op| !nests(op)) && writes.next().is_none();
    if alone { Ok(()) } else { changes(ops).map(drop) }
}

fn changes(ops: &[RequestOp]) -> Result<Changes<'_>, RpcError> {
    let mut all = Changes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            all.deletes.add(delete);
        }
    }
    for op in ops {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            let success = changes(&nested.success)?;
            let failure = changes(&nested.failure)?;
            for branch in [&success, &failure] {
                if share_a_key(&branch.puts, &all.puts) || all.deletes.cover_any(&branch.puts) {
                    return Err(RpcError::DuplicateKey);
                }
            }
            all.take_in(success);
            all.take_in(failure);
        }
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            let key: &[u8] = &put.key;
            if all.deletes.cover(key) || !all.puts.insert(key) {
                return Err(RpcError::DuplicateKey);
            }
        }
    }
    Ok(all)
}

impl Changes<'_> {
    fn take_in(&mut self, mut other: Self) {
        if other.puts.len() > self.puts.len() {
            std::mem::swap(&mut self.puts, &mut other.puts);
        }
        self.puts.extend(other.puts);
        if other.deletes.0.len() > self.deletes.0.len() {
            std::mem::swap(&mut self.deletes, &mut other.deletes);
        }
        for (from, to) in other.deletes.0 {
            self.deletes.widen(from, to);
        }
    }
}

fn share_a_key(a: &BTreeSet<&[u8]>, b: &BTreeSet<&[u8]>) -> bool {
    let (small, large) = if a.len() < b.len() { (a, b) } else { (b, a) };
    small.iter().any(|key| large.contains(key))
}

/// Where an interval ends: before a key, or after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct End<'a> {
    key: &'a [u8],
    inclusive: bool,
}

impl End<'_> {
    fn is_past(self, key: &[u8]) -> bool {
        self.key > key || (self.key == key && self.inclusive)
    }
}

type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

fn up_to(key: &[u8]) -> Bounds<'_> {
    (Bound::Unbounded, Bound::Included(key))
}

fn starting_at(key: &[u8]) -> Bounds<'_> {
    (Bound::Included(key), Bound::Unbounded)
}

/// Disjoint intervals by their first key.
#[derive(Default)]
struct Intervals<'a>(BTreeMap<&'a [u8], End<'a>>);

impl<'a> Intervals<'a> {
    fn add(&mut self, delete: &'a DeleteRangeRequest) {
        let (from, to): (&[u8], &[u8]) = (&delete.key, &delete.range_end);
        if to.is_empty() {
            self.widen(from, End { key: from, inclusive: true });
        } else if from < to {
            self.widen(from, End { key: to, inclusive: false });
        }
        // An end of 00 lies below every key: such a delete is not looked at.
    }

    fn widen(&mut self, mut from: &'a [u8], mut to: End<'a>) {
        if let Some((&start, &end)) = self.0.range::<[u8], _>(up_to(from)).next_back()
            && end.is_past(from)
        {
            from = start;
        }
        while let Some((&start, &end)) = self.0.range::<[u8], _>(starting_at(from)).next()
            && to.is_past(start)
        {
            self.0.remove(start);
            to = to.max(end);
        }
        self.0.insert(from, to);
    }

    fn cover(&self, key: &[u8]) -> bool {
        self.0.range::<[u8], _>(up_to(key)).next_back().is_some_and(|(_, end)| end.is_past(key))
    }

    fn cover_any(&self, keys: &BTreeSet<&[u8]>) -> bool {
        if keys.len() < self.0.len() {
            return keys.iter().any(|key| self.cover(key));
        }
        self.0.iter().any(|(&from, end)| {
            keys.range::<[u8], _>(starting_at(from)).next().is_some_and(|key| end.is_past(key))
        })
    }
}

#[cfg(test)]
mod tests;
