//! The standard health service. One name is known: the empty one, for the whole member.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use proto::healthpb::health_check_response::ServingStatus;
use proto::healthpb::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use proto::server::health_server;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::errors::RpcError;
use super::stream_end::{Closing, Waiting};

/// Whether the member serves: until it ends.
#[derive(Debug)]
pub(super) struct Health {
    closing: Closing,
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Health {
    pub(super) fn new(closing: Closing) -> Self {
        Self { closing }
    }

    fn now(&self) -> ServingStatus {
        if self.closing.is_closed() { ServingStatus::NotServing } else { ServingStatus::Serving }
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.into_inner().service.is_empty() {
            Ok(Response::new(answer(self.now())))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = BTreeMap::from([(String::new(), answer(self.now()))]);
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = HealthStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthStream>, Status> {
        let known = request.into_inner().service.is_empty();
        let first = if known { self.now() } else { ServingStatus::ServiceUnknown };
        Ok(Response::new(HealthStream { first: Some(first), closing: self.closing.wait() }))
    }
}

/// The state, which stays until the member ends.
pub(super) struct HealthStream {
    first: Option<ServingStatus>,
    closing: Waiting,
}

impl Stream for HealthStream {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(status) = self.first.take() {
            return Poll::Ready(Some(Ok(answer(status))));
        }
        self.closing.as_mut().poll(cx).map(|()| Some(Err(RpcError::Stopped.into())))
    }
}
