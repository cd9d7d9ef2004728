//! A second, plain reading of the rules of keys, leases and txns: maps, copies and recursion.
//! Random requests must get the same answers from it and from the state machine.

use std::collections::{BTreeMap, BTreeSet};

use base::KeyRange;
use bytes::Bytes;
use proto::etcdserverpb::compare::TargetUnion;
use proto::etcdserverpb::{
    self as pb, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, ResponseHeader,
    ResponseOp, TxnRequest, request_op, response_op,
};
use proto::mvccpb::KeyValue;

use crate::ApplyError;

type Pairs = BTreeMap<Bytes, KeyValue>;

/// The whole store, with a copy of every revision.
pub(super) struct Naive {
    now: Pairs,
    past: BTreeMap<i64, Pairs>,
    pub(super) revision: i64,
    compacted: i64,
    changed: bool,
    leases: BTreeSet<i64>,
}

/// A txn whose branches are chosen.
struct Decided<'a> {
    succeeded: bool,
    ops: Vec<DecidedOp<'a>>,
}

enum DecidedOp<'a> {
    Plain(&'a request_op::Request),
    Nested(Decided<'a>),
}

impl Naive {
    pub(super) fn new() -> Self {
        Self {
            now: Pairs::new(),
            past: BTreeMap::from([(1, Pairs::new())]),
            revision: 1,
            compacted: -1,
            changed: false,
            leases: BTreeSet::new(),
        }
    }

    pub(super) fn grant(&mut self, id: i64) -> bool {
        self.leases.insert(id)
    }

    pub(super) fn revoke(&mut self, id: i64) -> bool {
        if !self.leases.remove(&id) {
            return false;
        }
        let keys = self.keys_of(id);
        self.changed = !keys.is_empty();
        self.now.retain(|key, _| !keys.contains(key));
        self.commit();
        true
    }

    pub(super) fn keys_of(&self, id: i64) -> Vec<Bytes> {
        let with = self.now.values().filter(|pair| pair.lease == id);
        with.map(|pair| pair.key.clone()).collect()
    }

    pub(super) fn compact(&mut self, revision: i64) -> Result<(), ApplyError> {
        if revision <= self.compacted {
            return Err(ApplyError::Compacted);
        }
        if revision > self.revision {
            return Err(ApplyError::FutureRev);
        }
        self.compacted = revision;
        Ok(())
    }

    fn commit(&mut self) {
        if self.changed {
            self.revision += 1;
            self.past.insert(self.revision, self.now.clone());
            self.changed = false;
        }
    }

    /// Runs a txn as if it were the only operation: all changes or none.
    pub(super) fn txn(&mut self, request: &TxnRequest) -> Result<pb::TxnResponse, ApplyError> {
        let decided = self.decide(request)?;
        self.check(&decided, true)?;
        self.check(&decided, false)?;
        let mut response = self.run(&decided);
        response.header = None;
        self.commit();
        Ok(response)
    }

    fn decide<'a>(&self, request: &'a TxnRequest) -> Result<Decided<'a>, ApplyError> {
        let succeeded = request.compare.iter().all(|compare| self.holds(compare));
        let ops = if succeeded { &request.success } else { &request.failure };
        let decide = |op: &'a RequestOp| match &op.request {
            Some(request_op::Request::RequestTxn(nested)) => {
                Ok(DecidedOp::Nested(self.decide(nested)?))
            }
            Some(plain) => Ok(DecidedOp::Plain(plain)),
            None => Err(ApplyError::KeyNotFound),
        };
        let ops = ops.iter().map(decide).collect::<Result<_, _>>()?;
        Ok(Decided { succeeded, ops })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let range = KeyRange::new(compare.key.clone(), compare.range_end.clone());
        let pairs = select(&self.now, &range);
        if pairs.is_empty() {
            return compare.target != 3 && test(compare, &KeyValue::default());
        }
        pairs.iter().all(|pair| test(compare, pair))
    }

    fn check(&self, txn: &Decided<'_>, puts: bool) -> Result<(), ApplyError> {
        for op in &txn.ops {
            match op {
                DecidedOp::Nested(nested) => self.check(nested, puts)?,
                DecidedOp::Plain(request_op::Request::RequestPut(put)) if puts => {
                    if put.lease != 0 && !self.leases.contains(&put.lease) {
                        return Err(ApplyError::LeaseNotFound);
                    }
                    let keeps = put.ignore_value || put.ignore_lease;
                    if keeps && !self.now.contains_key(&put.key) {
                        return Err(ApplyError::KeyNotFound);
                    }
                }
                DecidedOp::Plain(request_op::Request::RequestRange(range)) if !puts => {
                    if range.revision > self.revision {
                        return Err(ApplyError::FutureRev);
                    }
                    if range.revision != 0 && range.revision < self.compacted {
                        return Err(ApplyError::Compacted);
                    }
                }
                DecidedOp::Plain(_) => {}
            }
        }
        Ok(())
    }

    fn run(&mut self, txn: &Decided<'_>) -> pb::TxnResponse {
        let mut responses = Vec::new();
        for op in &txn.ops {
            let response = match op {
                DecidedOp::Nested(nested) => response_op::Response::ResponseTxn(self.run(nested)),
                DecidedOp::Plain(request_op::Request::RequestPut(put)) => {
                    response_op::Response::ResponsePut(self.put(put))
                }
                DecidedOp::Plain(request_op::Request::RequestRange(range)) => {
                    let mut response = self.range(range);
                    response.header = self.header();
                    response_op::Response::ResponseRange(response)
                }
                DecidedOp::Plain(request_op::Request::RequestDeleteRange(delete)) => {
                    response_op::Response::ResponseDeleteRange(self.delete(delete))
                }
                DecidedOp::Plain(request_op::Request::RequestTxn(_)) => {
                    unreachable!("decided as nested")
                }
            };
            responses.push(ResponseOp { response: Some(response) });
        }
        let header = Some(ResponseHeader::default());
        pb::TxnResponse { header, succeeded: txn.succeeded, responses }
    }

    fn header(&self) -> Option<ResponseHeader> {
        let revision = self.revision + i64::from(self.changed);
        Some(ResponseHeader { revision, ..ResponseHeader::default() })
    }

    fn put(&mut self, request: &PutRequest) -> pb::PutResponse {
        let former = self.now.get(&request.key).cloned();
        self.changed = true;
        let made = self.revision + 1;
        let kept = former.clone().unwrap_or_default();
        let pair = KeyValue {
            key: request.key.clone(),
            create_revision: former.as_ref().map_or(made, |pair| pair.create_revision),
            mod_revision: made,
            version: kept.version + 1,
            value: if request.ignore_value { kept.value } else { request.value.clone() },
            lease: if request.ignore_lease { kept.lease } else { request.lease },
        };
        self.now.insert(request.key.clone(), pair);
        pb::PutResponse { header: self.header(), prev_kv: former.filter(|_| request.prev_kv) }
    }

    fn delete(&mut self, request: &DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let range = KeyRange::new(request.key.clone(), request.range_end.clone());
        let gone = select(&self.now, &range);
        for pair in &gone {
            self.now.remove(&pair.key);
            self.changed = true;
        }
        let deleted = gone.len() as i64;
        let prev_kvs = if request.prev_kv { gone } else { Vec::new() };
        pb::DeleteRangeResponse { header: self.header(), deleted, prev_kvs }
    }

    /// A range whose revision was checked.
    pub(super) fn range(&self, request: &RangeRequest) -> pb::RangeResponse {
        let range = KeyRange::new(request.key.clone(), request.range_end.clone());
        let state = if request.revision > 0 { &self.past[&request.revision] } else { &self.now };
        let mut pairs = select(state, &range);
        let count = pairs.len() as i64;
        if request.count_only {
            return pb::RangeResponse { header: None, kvs: vec![], more: false, count };
        }
        let limit = usize::try_from(request.limit).ok().filter(|&n| n > 0).unwrap_or(usize::MAX);
        let bounds = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ];
        let [min_mod, max_mod, min_create, max_create] = bounds;
        if request.sort_order == 0 && bounds == [0; 4] {
            pairs.truncate(limit.saturating_add(1));
        }
        pairs.retain(|pair| {
            (min_mod == 0 || pair.mod_revision >= min_mod)
                && (max_mod == 0 || pair.mod_revision <= max_mod)
                && (min_create == 0 || pair.create_revision >= min_create)
                && (max_create == 0 || pair.create_revision <= max_create)
        });
        match request.sort_target {
            0 => {}
            1 => pairs.sort_by_key(|pair| pair.version),
            2 => pairs.sort_by_key(|pair| pair.create_revision),
            3 => pairs.sort_by_key(|pair| pair.mod_revision),
            _ => pairs.sort_by_key(|pair| pair.value.clone()),
        }
        if request.sort_order == 2 {
            pairs.reverse();
        }
        let more = pairs.len() > limit;
        pairs.truncate(limit);
        if request.keys_only {
            for pair in &mut pairs {
                pair.value = Bytes::new();
                if request.sort_target != 4 {
                    pair.lease = 0;
                }
            }
        }
        pb::RangeResponse { header: None, kvs: pairs, more, count }
    }
}

fn select(pairs: &Pairs, range: &KeyRange) -> Vec<KeyValue> {
    pairs.values().filter(|pair| range.contains(&pair.key)).cloned().collect()
}

fn test(compare: &Compare, pair: &KeyValue) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let ordering = match (compare.target, &compare.target_union) {
        (0, Some(TargetUnion::Version(n))) => pair.version.cmp(n),
        (0, _) => pair.version.cmp(&0),
        (1, Some(TargetUnion::CreateRevision(n))) => pair.create_revision.cmp(n),
        (1, _) => pair.create_revision.cmp(&0),
        (2, Some(TargetUnion::ModRevision(n))) => pair.mod_revision.cmp(n),
        (2, _) => pair.mod_revision.cmp(&0),
        (3, Some(TargetUnion::Value(value))) => pair.value.cmp(value),
        (3, _) => pair.value.cmp(&Bytes::new()),
        (4, Some(TargetUnion::Lease(n))) => pair.lease.cmp(n),
        (4, _) => pair.lease.cmp(&0),
        _ => Equal,
    };
    match compare.result {
        0 => ordering == Equal,
        1 => ordering == Greater,
        2 => ordering == Less,
        3 => ordering != Equal,
        _ => true,
    }
}
