//! The KV service.

use std::sync::Arc;
use std::time::Instant;

use apply::{RangeAnswer, ReadError, Reply, TxnAnswer};
use base::KeyRange;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest,
};
use proto::raw::{self, RangeResponse};
use proto::request::Kind;
use proto::server::kv_server;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};

use super::errors::{RpcError, read_failed};
use super::node::{Applied, Node};
use super::range_stream::RangeChunks;
use super::{Settings, check, header};
use crate::metrics::{Metrics, RequestType};

/// Keys from which on a range is read on a thread of its own: reading so many takes longer than
/// going there and back.
const LONG_RANGE_KEYS: i64 = 64;

/// Pairs: reads, writes, transactions, compaction.
pub(super) struct Kv<N> {
    pub(super) node: Arc<N>,
    pub(super) settings: Settings,
    metrics: Arc<Metrics>,
    /// Held by long ranges being read.
    long_ranges: Arc<Semaphore>,
}

impl<N: Node> Kv<N> {
    /// As many long ranges are read at a time as there are threads that serve connections.
    pub(super) fn new(node: Arc<N>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let long_ranges = Arc::new(Semaphore::new(crate::listen::default_shards()));
        Self { node, settings, metrics, long_ranges }
    }

    /// Answers a range.
    pub(super) async fn read(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let began = Instant::now();
        let answer = self.read_range(request).await;
        self.metrics.request_done(RequestType::Range, began.elapsed(), answer.is_ok());
        answer
    }

    async fn read_range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        if !request.serializable && self.node.is_learner() {
            return Err(RpcError::NotSupportedForLearner.into());
        }
        check::range(&request)?;
        if !request.serializable {
            self.node.barrier().await?;
        }
        let answer = if self.is_long(&request) {
            self.read_apart(request).await?
        } else {
            self.node.range(&request)
        };
        let mut answer = answer.map_err(read_failed)?;
        answer.response.header = header::full(&*self.node, answer.revision);
        Ok(answer.response)
    }

    /// Answers a transaction that changes nothing.
    async fn read_txn(&self, request: &TxnRequest) -> Result<TxnAnswer, Status> {
        let began = Instant::now();
        let passed = match apply::is_serializable(request) {
            true => Ok(()),
            false => self.node.barrier().await.map_err(Status::from),
        };
        let answer = passed.and_then(|()| self.node.read_txn(request).map_err(read_failed));
        self.metrics.request_done(RequestType::ReadonlyTxn, began.elapsed(), answer.is_ok());
        answer
    }

    /// Whether many keys must be looked at; the newest state tells it quickly.
    fn is_long(&self, request: &RangeRequest) -> bool {
        let cut = (1..LONG_RANGE_KEYS).contains(&request.limit)
            && request.sort_order == 0
            && request.sort_target == 0
            && request.min_mod_revision == 0
            && request.max_mod_revision == 0
            && request.min_create_revision == 0
            && request.max_create_revision == 0;
        let newest_count = request.count_only && request.revision <= 0;
        if request.range_end.is_empty() || newest_count || (cut && request.revision <= 0) {
            return false;
        }
        let keys = KeyRange::new(request.key.clone(), request.range_end.clone());
        self.node.keys_in(&keys) >= LONG_RANGE_KEYS
    }

    /// Reads a range on a thread that may block, when it is its turn.
    async fn read_apart(
        &self,
        request: RangeRequest,
    ) -> Result<Result<RangeAnswer, ReadError>, Status> {
        let turn = self.long_ranges.clone().acquire_owned().await;
        let (turn, node) = (turn.map_err(|_| RpcError::Stopped)?, self.node.clone());
        let read = tokio::task::spawn_blocking(move || {
            let answer = node.range(&request);
            drop(turn);
            answer
        });
        read.await.map_err(|_| RpcError::Stopped.into())
    }
}

/// The state machine answered a request with the answer of another kind.
pub(super) fn mismatched() -> Status {
    Status::internal("the applied request gave an answer of another kind")
}

#[tonic::async_trait]
impl<N: Node> kv_server::Kv for Kv<N> {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<raw::RangeResponse>, Status> {
        self.read(request.into_inner()).await.map(Response::new)
    }

    type RangeStreamStream = RangeChunks<N>;

    async fn range_stream(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeChunks<N>>, Status> {
        let request = request.into_inner();
        check::range_stream(&request)?;
        if !request.serializable {
            self.node.barrier().await?;
        }
        let chunks = RangeChunks::new(self.node.clone(), request, self.settings.request_bytes_max);
        Ok(Response::new(chunks))
    }

    async fn put(
        &self,
        request: Request<PutRequest>,
    ) -> Result<Response<raw::PutResponse>, Status> {
        let request = request.into_inner();
        if !self.node.has_room(apply::quota::put_cost(&request)) {
            return Err(RpcError::NoSpace.into());
        }
        check::put(&request)?;
        match self.node.propose(Kind::Put, &request).await? {
            Applied { reply: Reply::Put(mut response), revision } => {
                response.header = header::full(&*self.node, revision);
                Ok(Response::new(response))
            }
            _ => Err(mismatched()),
        }
    }

    async fn delete_range(
        &self,
        request: Request<DeleteRangeRequest>,
    ) -> Result<Response<raw::DeleteRangeResponse>, Status> {
        let request = request.into_inner();
        check::delete_range(&request)?;
        match self.node.propose(Kind::DeleteRange, &request).await? {
            Applied { reply: Reply::DeleteRange(mut response), revision } => {
                response.header = header::full(&*self.node, revision);
                Ok(Response::new(response))
            }
            _ => Err(mismatched()),
        }
    }

    async fn txn(
        &self,
        request: Request<TxnRequest>,
    ) -> Result<Response<raw::TxnResponse>, Status> {
        let request = request.into_inner();
        let reads = apply::is_read_only(&request);
        if !reads && !self.node.has_room(apply::quota::txn_cost(&request)) {
            return Err(RpcError::NoSpace.into());
        }
        check::txn(&request, self.settings.txn_ops_max)?;
        let (mut response, revision) = if reads {
            let answer = self.read_txn(&request).await?;
            (answer.response, answer.revision)
        } else {
            match self.node.propose(Kind::Txn, &request).await? {
                Applied { reply: Reply::Txn(response), revision } => (response, revision),
                _ => return Err(mismatched()),
            }
        };
        response.header = header::full(&*self.node, revision);
        Ok(Response::new(response))
    }

    async fn compact(
        &self,
        request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        let request = request.into_inner();
        let applied = self.node.propose(Kind::Compaction, &request).await?;
        if request.physical {
            self.node.compacted(request.revision).await?;
        }
        let header = header::full(&*self.node, applied.revision);
        Ok(Response::new(CompactionResponse { header }))
    }
}
