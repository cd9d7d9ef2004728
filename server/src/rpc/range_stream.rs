//! Large ranges in chunks that suit the transport.
//!
//! ```text
//!   keys asked for:  10 ─▶ 20 ─▶ 40 ─▶ …   doubled while a chunk is smaller than half the
//!                                          largest request, halved above twice of it
//! ```
//!
//! The chunks put together are exactly the answer of a plain range: header, `more` and `count`
//! come with the last one.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use apply::RangeAnswer;
use base::KeyRange;
use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::RangeRequest;
use proto::raw::{RangeResponse, RangeStreamResponse};
use tokio_stream::Stream;
use tonic::Status;

use super::errors::read_failed;
use super::header;
use super::node::Node;

/// Keys in the first chunk.
const FIRST_CHUNK_KEYS: i64 = 10;

/// The stream of one request.
pub(super) struct RangeChunks<N> {
    node: Arc<N>,
    /// What is still to be read.
    request: RangeRequest,
    request_bytes_max: usize,
    chunk_keys: i64,
    /// Keys sent so far.
    sent: i64,
    /// Revision of the store when the stream began.
    began_at: Option<i64>,
    done: bool,
}

impl<N: Node> RangeChunks<N> {
    /// A stream of a checked request, past the read barrier.
    pub(super) fn new(node: Arc<N>, mut request: RangeRequest, request_bytes_max: usize) -> Self {
        // Only key order comes in consecutive slices.
        request.sort_order = 0;
        request.sort_target = 0;
        request.limit = request.limit.max(0);
        Self {
            node,
            request,
            request_bytes_max,
            chunk_keys: FIRST_CHUNK_KEYS,
            sent: 0,
            began_at: None,
            done: false,
        }
    }

    fn next_chunk(&mut self) -> Result<RangeResponse, Status> {
        let keys_left = match self.request.limit {
            0 => i64::MAX,
            limit => limit - self.sent,
        };
        let limit = self.chunk_keys.min(keys_left);
        let chunk = RangeRequest { limit, ..self.request.clone() };
        let RangeAnswer { mut response, revision } =
            self.node.range(&chunk).map_err(read_failed)?;
        let began_at = *self.began_at.get_or_insert(revision);
        if self.request.revision == 0 {
            // Later writes stay invisible.
            self.request.revision = revision;
        }
        self.sent += i64::try_from(response.kvs.len()).unwrap_or(i64::MAX);
        let limit_reached = self.request.limit > 0 && self.sent >= self.request.limit;
        if self.request.count_only || !response.more || limit_reached {
            self.done = true;
            response.count += self.sent - i64::try_from(response.kvs.len()).unwrap_or(0);
            response.header = header::full(&*self.node, began_at);
            return Ok(response);
        }
        self.adapt(response.encoded_len());
        self.request.key = match response.kvs.last().as_ref().and_then(key_of) {
            Some(last) => after(&last),
            None => return Err(Status::internal("a pair of the range has no key")),
        };
        if KeyRange::new(self.request.key.clone(), self.request.range_end.clone()).is_empty() {
            return Err(Status::internal("a range goes on behind its end"));
        }
        response.count = 0;
        response.more = false;
        Ok(response)
    }

    fn adapt(&mut self, chunk_bytes: usize) {
        if chunk_bytes < self.request_bytes_max / 2 {
            self.chunk_keys = self.chunk_keys.saturating_mul(2);
        } else if chunk_bytes > self.request_bytes_max * 2 {
            self.chunk_keys = (self.chunk_keys / 2).max(1);
        }
    }
}

/// The key inside an encoded pair.
fn key_of(pair: &Bytes) -> Option<Bytes> {
    let pair = proto::mvccpb::KeyValue::decode(pair.clone()).ok()?;
    (!pair.key.is_empty()).then_some(pair.key)
}

/// The first key behind `key`.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

impl<N: Node> Stream for RangeChunks<N> {
    type Item = Result<RangeStreamResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.done {
            return Poll::Ready(None);
        }
        let chunk = this.next_chunk();
        this.done |= chunk.is_err();
        Poll::Ready(Some(chunk.map(|it| RangeStreamResponse { range_response: Some(it) })))
    }
}

#[cfg(test)]
mod tests;
