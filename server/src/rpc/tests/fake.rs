//! A member without a log: a map of pairs, answers given in advance, and a real watch hub.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use apply::{ApplyError, RangeAnswer, ReadError, Reply, TxnAnswer};
use base::{KeyRange, Member, Revision, RowKey};
use bytes::Bytes;
use mvcc::{Changes, Event, EventKind, History, KvHash, ReadFailed, Shard, WatchHub, WatchStream};
use parking_lot::Mutex;
use prost::Message;
use proto::etcdserverpb::{LeaseTimeToLiveRequest, RangeRequest, SnapshotResponse, TxnRequest};
use proto::mvccpb::KeyValue;
use proto::raw;
use proto::request::Kind;

use crate::rpc::Closing;
use crate::rpc::errors::RpcError;
use crate::rpc::node::{Applied, Board, Leases, Reads, Status, TimeToLive, Watching, Writes};

pub(crate) const CLUSTER_ID: u64 = 0xc1;
pub(crate) const MEMBER_ID: u64 = 0x3e;
pub(crate) const TERM: u64 = 7;
pub(crate) const FIRST_LEASE: i64 = 1000;

/// No events of the past.
struct NoHistory;

impl History for NoHistory {
    fn compacted_revision(&self) -> i64 {
        -1
    }

    fn scan(
        &self,
        _: i64,
        _: i64,
        _: &mut dyn FnMut(RowKey, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFailed> {
        Ok(())
    }

    fn row(&self, _: Revision) -> Option<Bytes> {
        None
    }

    fn pair_at(&self, _: &[u8], _: i64) -> Option<Bytes> {
        None
    }
}

fn put(key: Bytes, kv: Bytes, revision: i64) -> Event {
    Event { kind: EventKind::Put, key, kv, rev: Revision::new(revision, 0), prev: None }
}

pub(crate) struct Fake {
    pub(crate) pairs: Mutex<BTreeMap<Bytes, KeyValue>>,
    pub(crate) revision: AtomicI64,
    pub(crate) compacted: AtomicI64,
    pub(crate) leader: AtomicU64,
    pub(crate) learner: AtomicBool,
    /// The quota has room.
    pub(crate) room: AtomicBool,
    /// Barriers are never passed.
    pub(crate) stuck: AtomicBool,
    pub(crate) barriers: AtomicU64,
    /// What was proposed.
    pub(crate) proposed: Mutex<Vec<(Kind, Bytes)>>,
    /// What the next proposals are answered with.
    pub(crate) answers: Mutex<Vec<Result<Reply, RpcError>>>,
    pub(crate) leases: Mutex<BTreeMap<i64, TimeToLive>>,
    pub(crate) hub: WatchHub,
    /// What the next read of a range waits for.
    pub(crate) gate: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    next_lease: AtomicI64,
    pub(crate) closing: Closing,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            pairs: Mutex::default(),
            gate: Mutex::default(),
            revision: AtomicI64::new(1),
            compacted: AtomicI64::new(-1),
            leader: AtomicU64::new(MEMBER_ID),
            learner: AtomicBool::new(false),
            room: AtomicBool::new(true),
            stuck: AtomicBool::new(false),
            barriers: AtomicU64::new(0),
            proposed: Mutex::default(),
            answers: Mutex::default(),
            leases: Mutex::default(),
            hub: WatchHub::start(Arc::new(NoHistory), 1).expect("a thread"),
            next_lease: AtomicI64::new(FIRST_LEASE),
            closing: Closing::default(),
        })
    }

    /// Writes a pair at the next revision and tells the watchers.
    pub(crate) fn write(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> i64 {
        let key = key.into();
        let revision = self.revision.fetch_add(1, Ordering::SeqCst) + 1;
        let pair = KeyValue {
            key: key.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            value: value.into(),
            lease: 0,
        };
        let row = pair.encode_to_vec().into();
        self.pairs.lock().insert(key.clone(), pair);
        let events = vec![put(key, row, revision)];
        self.hub.publish(&[Changes { revision, events }]);
        revision
    }

    /// Tells the watchers of many puts at one revision.
    pub(crate) fn publish_puts(&self, puts: Vec<(Bytes, Bytes)>) -> i64 {
        let revision = self.revision.fetch_add(1, Ordering::SeqCst) + 1;
        let events = puts
            .into_iter()
            .map(|(key, value)| {
                let pair = KeyValue { key: key.clone(), value, ..KeyValue::default() };
                put(key, pair.encode_to_vec().into(), revision)
            })
            .collect();
        self.hub.publish(&[Changes { revision, events }]);
        revision
    }

    /// Answers the next proposal with this.
    pub(crate) fn answer_with(&self, answer: Result<Reply, RpcError>) {
        self.answers.lock().push(answer);
    }
}

impl Board for Fake {
    fn cluster_id(&self) -> u64 {
        CLUSTER_ID
    }

    fn member_id(&self) -> u64 {
        MEMBER_ID
    }

    fn applied_term(&self) -> u64 {
        TERM
    }

    fn leader(&self) -> u64 {
        self.leader.load(Ordering::SeqCst)
    }

    fn is_learner(&self) -> bool {
        self.learner.load(Ordering::SeqCst)
    }

    fn revision(&self) -> i64 {
        self.revision.load(Ordering::SeqCst)
    }

    fn members(&self) -> Vec<Member> {
        vec![Member {
            id: MEMBER_ID,
            name: "one".into(),
            peer_urls: vec!["http://127.0.0.1:2380".into()],
            client_urls: vec!["http://127.0.0.1:2379".into()],
            is_learner: false,
        }]
    }

    fn closing(&self) -> Closing {
        self.closing.clone()
    }

    fn status(&self) -> Status {
        Status { db_bytes: 20480, applied_index: 5, committed_index: 6, ..Status::default() }
    }
}

impl Writes for Fake {
    async fn propose<M: Message>(&self, kind: Kind, request: &M) -> Result<Applied, RpcError> {
        self.proposed.lock().push((kind, request.encode_to_vec().into()));
        let reply = self.answers.lock().pop().unwrap_or(Ok(Reply::Nothing))?;
        Ok(Applied { reply, revision: self.revision() })
    }

    fn has_room(&self, _: i64) -> bool {
        self.room.load(Ordering::SeqCst)
    }

    async fn compacted(&self, _: i64) -> Result<(), RpcError> {
        Ok(())
    }

    fn next_lease_id(&self) -> i64 {
        self.next_lease.fetch_add(1, Ordering::SeqCst)
    }
}

impl Reads for Fake {
    fn barrier(&self) -> impl Future<Output = Result<(), RpcError>> + Send {
        self.barriers.fetch_add(1, Ordering::SeqCst);
        let stuck = self.stuck.load(Ordering::SeqCst);
        async move { if stuck { pending().await } else { Ok(()) } }
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeAnswer, ReadError> {
        let gate = if request.range_end.is_empty() { None } else { self.gate.lock().take() };
        if let Some(gate) = gate {
            gate.recv_timeout(std::time::Duration::from_secs(60)).expect("the gate opens");
        }
        let current = self.revision();
        let at = if request.revision > 0 { request.revision } else { current };
        if at < self.compacted.load(Ordering::SeqCst) {
            return Err(ApplyError::Compacted.into());
        }
        let keys = KeyRange::new(request.key.clone(), request.range_end.clone());
        let pairs = self.pairs.lock();
        let found: Vec<&KeyValue> = pairs
            .values()
            .filter(|pair| keys.contains(&pair.key) && pair.mod_revision <= at)
            .collect();
        let limit = match usize::try_from(request.limit) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(limit) => limit,
        };
        let taken = if request.count_only { 0 } else { limit };
        let response = raw::RangeResponse {
            header: None,
            kvs: found.iter().take(taken).map(|pair| pair.encode_to_vec()).collect(),
            more: !request.count_only && found.len() > limit,
            count: i64::try_from(found.len()).expect("few"),
        };
        Ok(RangeAnswer { response, revision: current })
    }

    fn keys_in(&self, range: &KeyRange) -> i64 {
        let pairs = self.pairs.lock();
        i64::try_from(pairs.keys().filter(|key| range.contains(key)).count()).expect("few")
    }

    fn read_txn(&self, _: &TxnRequest) -> Result<TxnAnswer, ReadError> {
        let response = raw::TxnResponse { header: None, succeeded: true, responses: vec![] };
        Ok(TxnAnswer { response, revision: self.revision() })
    }

    async fn hash(&self) -> Result<u32, tonic::Status> {
        Ok(0xabcd)
    }

    async fn hash_kv(&self, revision: i64) -> Result<KvHash, tonic::Status> {
        Ok(KvHash { hash: 9, revision, compact_revision: -1 })
    }

    async fn backup(&self) -> Result<crate::backup::Chunks, tonic::Status> {
        let (messages, chunks) = tokio::sync::mpsc::channel(2);
        let message = |blob: &'static [u8], remaining_bytes| SnapshotResponse {
            remaining_bytes,
            blob: Bytes::from_static(blob),
            ..SnapshotResponse::default()
        };
        messages.try_send(Ok(message(b"data", 0))).expect("room");
        messages.try_send(Ok(message(b"hash", 0))).expect("room");
        Ok(chunks)
    }

    async fn defragment(&self) -> Result<(), tonic::Status> {
        Ok(())
    }
}

impl Leases for Fake {
    async fn renew(&self, id: i64) -> Result<Option<i64>, RpcError> {
        if self.leader() == 0 {
            return Err(RpcError::NoLeader);
        }
        Ok(self.leases.lock().get(&id).map(|lease| lease.granted_s))
    }

    async fn time_to_live(
        &self,
        request: &LeaseTimeToLiveRequest,
    ) -> Result<Option<TimeToLive>, RpcError> {
        Ok(self.leases.lock().get(&request.id).cloned())
    }

    fn leases(&self) -> Vec<i64> {
        self.leases.lock().keys().copied().collect()
    }
}

impl crate::rpc::node::Changes for Fake {
    async fn add_member(&self, _: &[String], _: bool) -> Result<Member, RpcError> {
        Err(RpcError::Unhealthy)
    }

    async fn remove_member(&self, _: u64) -> Result<(), RpcError> {
        Err(RpcError::Unhealthy)
    }

    async fn update_member(&self, _: u64, _: &[String]) -> Result<(), RpcError> {
        Err(RpcError::MemberNotFound)
    }

    async fn promote_member(&self, _: u64) -> Result<(), RpcError> {
        Err(RpcError::MemberNotLearner)
    }

    async fn move_leader(&self, _: u64) -> Result<(), RpcError> {
        Err(RpcError::BadLeaderTransferee)
    }
}

impl Watching for Fake {
    fn watch(&self, shard: &Shard) -> WatchStream {
        self.hub.open_stream(Some(shard))
    }
}
