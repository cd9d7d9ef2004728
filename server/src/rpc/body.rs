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
pub(crate) struct Answer {
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
        self.deadline = None;
    }

    /// Whether the deadline has passed.
    fn is_over(&self) -> bool {
        let deadline = self.deadline.as_ref();
        deadline.is_some_and(|it| it.deadline().into_std() <= Instant::now())
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
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        // Looked at by the clock, and first: a stream that always has something ends as well.
        let mut over = stream.is_over();
        let mut polled = Poll::Pending;
        if !over {
            polled = Pin::new(&mut this.body).poll_frame(cx);
            match &polled {
                Poll::Ready(Some(Ok(frame))) => {
                    if let Some(code) = code_of(frame) {
                        stream.end(code);
                    }
                }
                Poll::Ready(Some(Err(status))) => stream.end(status.code()),
                Poll::Ready(None) => stream.end(Code::Ok),
                Poll::Pending => {
                    let deadline = stream.deadline.as_mut();
                    over = deadline.is_some_and(|it| it.as_mut().poll(cx).is_ready());
                }
            }
        }
        if !over {
            return polled;
        }
        let status = Status::from(RpcError::ContextDeadline);
        stream.end(status.code());
        this.body = tonic::body::Body::empty();
        let mut trailers = http::HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// Always has another message.
    struct Endless;

    impl Body for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
        }
    }

    #[tokio::test]
    async fn a_busy_stream_ends_at_its_deadline() {
        let metrics = Arc::new(Metrics::new(false));
        let began = Instant::now();
        let deadline = Box::pin(tokio::time::sleep(Duration::from_millis(20)));
        let body = tonic::body::Body::new(Endless);
        let mut answer = Answer::stream(body, metrics, 0, began, Some(deadline));
        let mut next = async || poll_fn(|cx| Pin::new(&mut answer).poll_frame(cx)).await;
        let trailers = loop {
            let frame = next().await.expect("no end without trailers").expect("no error");
            if let Ok(trailers) = frame.into_trailers() {
                break trailers;
            }
            assert!(began.elapsed() < Duration::from_secs(5), "it goes on");
        };
        assert!(began.elapsed() >= Duration::from_millis(20));
        assert_eq!(trailers["grpc-status"], (Code::DeadlineExceeded as i32).to_string());
        assert!(next().await.is_none());
    }
}
