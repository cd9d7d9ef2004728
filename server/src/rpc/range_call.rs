//! Plain calls of `KV/Range`, without the generated server: it would copy the whole answer once
//! more, on the thread that serves everybody.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, Frame};
use proto::codec::{EtcdCodec, frame_range};
use proto::etcdserverpb::RangeRequest;
use proto::raw::RangeResponse;
use tonic::codec::Codec as _;
use tonic::{Status, Streaming};

use super::kv::Kv;
use super::node::Node;

/// Answers an uncompressed call of `KV/Range`.
pub(super) async fn call<N, B>(
    kv: Arc<Kv<N>>,
    request: Request<B>,
) -> Result<Response<tonic::body::Body>, Infallible>
where
    N: Node,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let answered = async {
        let request = receive(request.into_body(), kv.settings.message_bytes_max()).await?;
        frame_range(kv.read(request).await?)
    };
    Ok(match answered.await {
        Ok(pieces) => {
            let mut response = Response::new(tonic::body::Body::new(Message(Some(pieces))));
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
            response
        }
        Err(status) => status.into_http(),
    })
}

/// The only message of a call, once the client has said that it was the only one.
async fn receive<B>(body: B, bytes_max: usize) -> Result<RangeRequest, Status>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let decoder = EtcdCodec::<RangeResponse, RangeRequest>::default().decoder();
    let mut messages = pin!(Streaming::new_request(decoder, body, None, Some(bytes_max)));
    let request = messages.message().await?;
    let request = request.ok_or_else(|| Status::internal("Missing request message."))?;
    while messages.message().await?.is_some() {}
    Ok(request)
}

/// The pieces of one message, then the trailers of success.
struct Message(Option<VecDeque<Bytes>>);

impl Body for Message {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(pieces) = &mut self.0 else { return Poll::Ready(None) };
        if let Some(piece) = pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.0 = None;
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
