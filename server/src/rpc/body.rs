//! The body of an answer: what the generated server makes, counted and bounded in time if it is a
//! stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::{Code, Status};

use super::errors::RpcError;
use crate::metrics::Metrics;

/// The body of an answer.
#[derive(Debug)]
pub struct Answer {
    body: tonic::body::Body,
    stream: Option<Box<Stream>>,
}

/// What a stream needs until it ends.
#[derive(Debug)]
struct Stream {
    /// Taken when the end was counted.
    counted: Option<(Arc<Metrics>, usize)>,
    began: Instant,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Stream {
    fn end(&mut self, code: Code) {
        if let Some((metrics, method)) = self.counted.take() {
            let took = metrics.is_extensive().then(|| self.began.elapsed());
            metrics.grpc.all()[method].handled(code, took);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The client went away.
        self.end(Code::Cancelled);
    }
}

impl Answer {
    /// An answer that is already counted.
    pub(super) fn unary(body: tonic::body::Body) -> Self {
        Self { body, stream: None }
    }

    /// A stream, counted when it ends.
    pub(super) fn stream(
        body: tonic::body::Body,
        metrics: Arc<Metrics>,
        method: usize,
        began: Instant,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Self {
        let counted = Some((metrics, method));
        Self { body, stream: Some(Box::new(Stream { counted, began, deadline })) }
    }
}

/// The code in the trailers that end a stream.
fn code_of(frame: &Frame<Bytes>) -> Option<Code> {
    let status = frame.trailers_ref()?.get("grpc-status")?;
    Some(Code::from_bytes(status.as_bytes()))
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let Some(stream) = &mut self.stream else { return polled };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(code) = code_of(frame) {
                    stream.end(code);
                }
            }
            Poll::Ready(Some(Err(status))) => stream.end(status.code()),
            Poll::Ready(None) => stream.end(Code::Ok),
            Poll::Pending => {
                let deadline = stream.deadline.as_mut().map(|deadline| deadline.as_mut().poll(cx));
                if deadline == Some(Poll::Ready(())) {
                    let status = Status::from(RpcError::ContextDeadline);
                    stream.end(status.code());
                    self.body = tonic::body::Body::empty();
                    let mut trailers = http::HeaderMap::new();
                    status.add_header(&mut trailers)?;
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
