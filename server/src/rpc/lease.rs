//! The Lease service.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apply::Reply;
use proto::etcdserverpb::{
    LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest, LeaseRevokeResponse, LeaseStatus,
    LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use proto::request::Kind;
use proto::server::lease_server;
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::errors::RpcError;
use super::header;
use super::kv::mismatched;
use super::node::{Applied, Node};
use super::stream_end::{LeaderLoss, Waiting};
use super::{Settings, serve, transport};
use crate::metrics::Metrics;

/// TTL in the answer about a lease that is not there.
const NO_LEASE_TTL: i64 = -1;

/// Leases.
pub(super) struct Leases<N> {
    node: Arc<N>,
    settings: Settings,
    metrics: Arc<Metrics>,
    /// Place of LeaseKeepAlive in the counters of methods.
    keep_alive: usize,
}

impl<N: Node> Leases<N> {
    pub(super) fn new(node: Arc<N>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let is_keep_alive = |method: &crate::metrics::Method| method.name == "LeaseKeepAlive";
        let place = metrics.grpc.all().iter().position(is_keep_alive);
        let keep_alive = place.expect("the method is counted");
        Self { node, settings, metrics, keep_alive }
    }
}

#[tonic::async_trait]
impl<N: Node> lease_server::Lease for Leases<N> {
    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let mut request = request.into_inner();
        if !self.node.has_room(apply::quota::LEASE_GRANT_COST) {
            return Err(RpcError::NoSpace.into());
        }
        if request.id == 0 {
            request.id = self.node.next_lease_id();
        }
        match self.node.propose(Kind::LeaseGrant, &request).await? {
            Applied { reply: Reply::LeaseGrant { id, ttl_s }, revision } => {
                let header = header::full(&*self.node, revision);
                let error = String::new();
                Ok(Response::new(LeaseGrantResponse { header, id, ttl: ttl_s, error }))
            }
            _ => Err(mismatched()),
        }
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let applied = self.node.propose(Kind::LeaseRevoke, request.get_ref()).await?;
        let header = header::full(&*self.node, applied.revision);
        Ok(Response::new(LeaseRevokeResponse { header }))
    }

    type LeaseKeepAliveStream = KeepAlives<N>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<KeepAlives<N>>, Status> {
        let loss = serve::wants_leader(request.metadata().as_ref())
            .then(|| LeaderLoss::new(self.node.clone(), self.settings.election_timeout));
        Ok(Response::new(KeepAlives {
            node: self.node.clone(),
            metrics: self.metrics.clone(),
            method: self.keep_alive,
            message_bytes_max: self.settings.message_bytes_max(),
            requests: request.into_inner(),
            renewal: None,
            closing: self.node.closing().wait(),
            loss,
            ended: false,
        }))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let request = request.into_inner();
        let left = self.node.time_to_live(&request).await?;
        let (ttl, granted_ttl, keys) = match left {
            Some(left) => (left.remaining_s, left.granted_s, left.keys),
            None => (NO_LEASE_TTL, 0, Vec::new()),
        };
        let header = header::current(&*self.node);
        Ok(Response::new(LeaseTimeToLiveResponse {
            header,
            id: request.id,
            ttl,
            granted_ttl,
            keys,
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let leases = self.node.leases().into_iter().map(|id| LeaseStatus { id }).collect();
        Ok(Response::new(LeaseLeasesResponse { header: header::current(&*self.node), leases }))
    }
}

type Renewal = Pin<Box<dyn Future<Output = Result<LeaseKeepAliveResponse, RpcError>> + Send>>;

/// The answers of a keep-alive stream: one per request, in order.
pub(super) struct KeepAlives<N> {
    node: Arc<N>,
    metrics: Arc<Metrics>,
    method: usize,
    message_bytes_max: usize,
    requests: Streaming<LeaseKeepAliveRequest>,
    renewal: Option<Renewal>,
    closing: Waiting,
    loss: Option<LeaderLoss<N>>,
    ended: bool,
}

/// Renews a lease; the header tells the revision from before.
async fn renew<N: Node>(node: Arc<N>, id: i64) -> Result<LeaseKeepAliveResponse, RpcError> {
    let header = header::current(&*node);
    let ttl = node.renew(id).await?.unwrap_or(0);
    Ok(LeaseKeepAliveResponse { header, id, ttl })
}

impl<N: Node> KeepAlives<N> {
    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<LeaseKeepAliveResponse, Status>>> {
        loop {
            if let Some(renewal) = &mut self.renewal {
                let Poll::Ready(renewed) = renewal.as_mut().poll(cx) else { break };
                self.renewal = None;
                return Poll::Ready(Some(renewed.map_err(Status::from)));
            }
            match Pin::new(&mut self.requests).poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(status))) => {
                    let failures = &self.metrics.keepalive_receive_failures;
                    let status = transport::not_received(status, self.message_bytes_max, failures);
                    return Poll::Ready(Some(Err(status)));
                }
                Poll::Ready(Some(Ok(request))) => {
                    self.metrics.grpc.all()[self.method].received.inc();
                    self.renewal = Some(Box::pin(renew(self.node.clone(), request.id)));
                }
            }
        }
        // What was asked is answered first.
        if self.renewal.is_none() && self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(RpcError::Stopped.into())));
        }
        match self.loss.as_mut().map(|loss| loss.poll_lost(cx)) {
            Some(Poll::Ready(())) => Poll::Ready(Some(Err(RpcError::NoLeader.into()))),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl<N: Node> Stream for KeepAlives<N> {
    type Item = Result<LeaseKeepAliveResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let polled = this.poll_answer(cx);
        match &polled {
            Poll::Ready(Some(Ok(_))) => this.metrics.grpc.all()[this.method].sent.inc(),
            Poll::Ready(Some(Err(_)) | None) => this.ended = true,
            Poll::Pending => {}
        }
        polled
    }
}
