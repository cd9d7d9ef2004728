//! The rules of the state machine, run on the simple store of `model`.

mod alarms;
mod compares;
mod conf_changes;
mod entries;
mod keys;
mod leases;
mod machine;
mod model;
mod naive;
mod quotas;
mod random;
mod ranges;
mod replay;
mod txns;
mod versions;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::{
    AlarmRequest, AlarmType, DeleteRangeRequest, LeaseGrantRequest, PutRequest, RangeRequest,
    RequestHeader, RequestOp, TxnRequest, alarm_request::AlarmAction, request_op,
};
use proto::mvccpb::KeyValue;
use proto::raw;
use proto::request::{Kind, encode};

use crate::entry::{self, Applied, Entry, EntryKind, Options};
use crate::error::{ApplyError, Error};
use crate::state::State;
use crate::{Effect, Reply};

use model::Model;

/// A state machine on a model store.
#[derive(Default)]
pub(crate) struct Rig {
    pub(crate) model: Model,
    pub(crate) state: State,
    pub(crate) options: Options,
    index: u64,
    /// Nobody waits for answers.
    pub(crate) deaf: bool,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self { model: Model::new(), ..Self::default() }
    }

    pub(crate) fn apply_entry(&mut self, kind: EntryKind, data: Bytes) -> Result<Applied, Error> {
        self.index += 1;
        let entry = Entry { index: self.index, term: 2, kind, data };
        let waits = !self.deaf;
        let applied =
            entry::apply(&entry, &mut self.model, &self.state, &self.options, &mut |_id: u64| {
                waits
            });
        let revision = self.model.commit();
        applied.map(|applied| Applied { revision, ..applied })
    }

    pub(crate) fn apply<M: Message>(&mut self, kind: Kind, request: &M) -> Applied {
        let header = RequestHeader { id: 7, ..RequestHeader::default() };
        let data = encode(kind, request, &header);
        self.apply_entry(EntryKind::Normal, data).expect("the entry is well-formed")
    }

    pub(crate) fn reply<M: Message>(&mut self, kind: Kind, request: &M) -> Reply {
        self.apply(kind, request).result.expect("the request is fine")
    }

    pub(crate) fn refusal<M: Message>(&mut self, kind: Kind, request: &M) -> ApplyError {
        let before = self.model.revision_and_rows();
        let error = self.apply(kind, request).result.expect_err("the request is refused");
        assert_eq!(self.model.revision_and_rows(), before, "a refusal writes nothing");
        error
    }

    pub(crate) fn put(&mut self, key: &'static str, value: &'static str) {
        self.reply(Kind::Put, &put(key, value));
    }

    pub(crate) fn txn(&mut self, request: &TxnRequest) -> raw::TxnResponse {
        match self.reply(Kind::Txn, request) {
            Reply::Txn(response) => response,
            other => panic!("a txn answered with {other:?}"),
        }
    }

    pub(crate) fn range(&mut self, request: &RangeRequest) -> (Vec<KeyValue>, bool, i64) {
        let response = crate::range(&self.model, request).expect("the range is fine").response;
        (pairs(response.kvs.iter()), response.more, response.count)
    }

    /// The newest pair of a key.
    pub(crate) fn get(&mut self, key: &'static str) -> Option<KeyValue> {
        self.range(&range(key, "")).0.pop()
    }

    pub(crate) fn grant(&mut self, id: i64, ttl: i64) {
        self.reply(Kind::LeaseGrant, &LeaseGrantRequest { id, ttl });
    }

    pub(crate) fn raise(&mut self, member_id: u64, alarm: AlarmType) -> Vec<Effect> {
        self.apply(Kind::Alarm, &alarm_request(AlarmAction::Activate, member_id, alarm)).effects
    }
}

pub(crate) fn pairs(kvs: impl IntoIterator<Item = Bytes>) -> Vec<KeyValue> {
    kvs.into_iter().map(|kv| KeyValue::decode(kv).expect("a stored pair")).collect()
}

pub(crate) fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

pub(crate) fn range(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: range_end.into(), ..RangeRequest::default() }
}

pub(crate) fn delete(key: &'static str, range_end: &'static str) -> DeleteRangeRequest {
    DeleteRangeRequest {
        key: key.into(),
        range_end: range_end.into(),
        ..DeleteRangeRequest::default()
    }
}

pub(crate) fn alarm_request(action: AlarmAction, member_id: u64, alarm: AlarmType) -> AlarmRequest {
    AlarmRequest { action: action as i32, member_id, alarm: alarm as i32 }
}

pub(crate) fn op_put(request: PutRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestPut(request)) }
}

pub(crate) fn op_range(request: RangeRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestRange(request)) }
}

pub(crate) fn op_delete(request: DeleteRangeRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestDeleteRange(request)) }
}

pub(crate) fn op_txn(request: TxnRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestTxn(request)) }
}

/// A txn without compares.
pub(crate) fn txn(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..TxnRequest::default() }
}
