//! The KV service.

use std::sync::Arc;

use apply::Reply;
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, PutRequest, RangeRequest, TxnRequest,
};
use proto::raw;
use proto::request::Kind;
use proto::server::kv_server;
use tonic::{Request, Response, Status};

use super::errors::{RpcError, read_failed};
use super::node::{Applied, Node};
use super::range_stream::RangeChunks;
use super::{Settings, check, header};

/// Pairs: reads, writes, transactions, compaction.
pub(super) struct Kv<N> {
    pub(super) node: Arc<N>,
    pub(super) settings: Settings,
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
        let request = request.into_inner();
        if !request.serializable && self.node.is_learner() {
            return Err(RpcError::NotSupportedForLearner.into());
        }
        check::range(&request)?;
        if !request.serializable {
            self.node.barrier().await?;
        }
        let mut answer = self.node.range(&request).map_err(read_failed)?;
        answer.response.header = header::full(&*self.node, answer.revision);
        Ok(Response::new(answer.response))
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
            if !apply::is_serializable(&request) {
                self.node.barrier().await?;
            }
            let answer = self.node.read_txn(&request).map_err(read_failed)?;
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
