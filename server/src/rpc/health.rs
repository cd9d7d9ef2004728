//! The standard health service. One name is known: the empty one, for the whole member.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};

use proto::healthpb::health_check_response::ServingStatus;
use proto::healthpb::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use proto::server::health_server;
use tokio::sync::watch;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

/// Whether the member serves, for whoever asks.
#[derive(Debug)]
pub struct Health {
    serving: watch::Sender<bool>,
}

impl Default for Health {
    fn default() -> Self {
        Self { serving: watch::Sender::new(true) }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

fn status(serving: bool) -> ServingStatus {
    if serving { ServingStatus::Serving } else { ServingStatus::NotServing }
}

impl Health {
    /// Tells everybody that the member serves, or does not.
    pub fn set_serving(&self, serving: bool) {
        self.serving.send_replace(serving);
    }

    fn now(&self) -> HealthCheckResponse {
        answer(status(*self.serving.borrow()))
    }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if request.into_inner().service.is_empty() {
            Ok(Response::new(self.now()))
        } else {
            Err(Status::not_found("unknown service"))
        }
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let statuses = BTreeMap::from([(String::new(), self.now())]);
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = HealthStream;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthStream>, Status> {
        let known = request.into_inner().service.is_empty();
        let mut changes = self.serving.subscribe();
        changes.mark_changed();
        Ok(Response::new(HealthStream {
            known,
            last: None,
            changes: Some(Box::pin(next(changes))),
        }))
    }
}

type Next = Pin<Box<dyn Future<Output = Option<watch::Receiver<bool>>> + Send>>;

async fn next(mut changes: watch::Receiver<bool>) -> Option<watch::Receiver<bool>> {
    changes.changed().await.ok()?;
    Some(changes)
}

/// The state at first, then each change.
pub struct HealthStream {
    known: bool,
    last: Option<ServingStatus>,
    changes: Option<Next>,
}

impl Stream for HealthStream {
    type Item = Result<HealthCheckResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let Some(waiting) = &mut self.changes else { return Poll::Ready(None) };
            let Poll::Ready(changed) = waiting.as_mut().poll(cx) else { return Poll::Pending };
            let Some(mut changes) = changed else {
                self.changes = None;
                continue;
            };
            let status = if self.known {
                status(*changes.borrow_and_update())
            } else {
                ServingStatus::ServiceUnknown
            };
            self.changes = Some(Box::pin(next(changes)));
            if self.last != Some(status) {
                self.last = Some(status);
                return Poll::Ready(Some(Ok(answer(status))));
            }
        }
    }
}
