//! Answers to peers: which path, which checks in which order, which words.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::codec::{self, StreamKind};
use crate::headers::{self, Refusal, method_not_allowed, no_content, text};
use crate::limits::{FRAME_BYTES_MAX, IO_TIMEOUT, POSTED_BYTES_MAX};
use crate::transport::Shared;
use crate::writer::StreamBody;
use crate::{Body, probe, snapshot};

const STREAM: &str = "/raft/stream/";

/// Answers a request to `/raft` or below.
pub(crate) async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    match path {
        "/raft" => post(shared, request).await,
        "/raft/snapshot" => snapshot(shared, request).await,
        probe::PATH => text(probe::answer(SystemTime::now())),
        _ if path.starts_with(STREAM) => stream(&shared, &request),
        _ => Refusal::new(StatusCode::NOT_FOUND, "404 page not found").into(),
    }
}

/// A stream for the peer that asks, or why it gets none.
fn stream(shared: &Arc<Shared>, request: &Request<Incoming>) -> Response<Body> {
    if request.method() != Method::GET {
        return method_not_allowed(&Method::GET);
    }
    let mut response = match open_stream(shared, request.uri().path(), request.headers()) {
        Ok(stream) => Response::new(Body::stream(stream)),
        Err(refusal) => refusal.into(),
    };
    shared.identity.stamp(&mut response, true);
    response
}

fn open_stream(
    shared: &Arc<Shared>,
    path: &str,
    headers: &HeaderMap,
) -> Result<StreamBody, Refusal> {
    shared.identity.check(headers)?;
    let not_found = |text| Refusal::new(StatusCode::NOT_FOUND, text);
    let kind = StreamKind::ALL.into_iter().find_map(|kind| {
        let from = path.strip_prefix(kind.path())?;
        (!from.is_empty() && !from.contains('/')).then_some((kind, from))
    });
    let (kind, from) = kind.ok_or_else(|| not_found("invalid path"))?;
    let from = headers::parse_id(from).ok_or_else(|| not_found("invalid from"))?;
    if shared.host.is_removed(from) {
        let id = format!("{from:x}");
        tracing::warn!("remote-peer-id" = id, "refused a stream of a removed member");
        return Err(Refusal::new(StatusCode::GONE, "removed member"));
    }
    let Some(peer) = shared.peer(from) else {
        if let Some(urls) = headers::peer_urls(headers) {
            shared.add_remote(from, urls);
        }
        return Err(not_found("error sender not found"));
    };
    let to = headers::id(headers, headers::RAFT_TO);
    if to != Some(shared.local.member_id) {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "to field mismatch"));
    }
    Ok(StreamBody::attach(shared.clone(), peer, kind))
}

/// Takes one message.
async fn post(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return method_not_allowed(&Method::POST);
    }
    let mut response = match take(&shared, request).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.into(),
    };
    shared.identity.stamp(&mut response, false);
    response
}

async fn take(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<(), Refusal> {
    shared.identity.check(request.headers())?;
    note_sender(shared, request.headers());
    let address = request.extensions().get::<SocketAddr>().copied();
    let bad = |text| Refusal::new(StatusCode::BAD_REQUEST, text);
    let mut place = Place { taken: &shared.posted_bytes, bytes: 0 };
    let body = read(request.into_body(), &mut place).await;
    let body = body.ok_or_else(|| bad("error reading raft message"))?;
    let len = body.len();
    let message = codec::decode_message(body).map_err(|_| {
        if let Some(address) = address {
            shared.counters.undecodable(address.ip());
        }
        bad("error unmarshalling raft message")
    })?;
    let from = message.from.unwrap_or_default();
    if let Some(counters) = shared.counters.known(from) {
        counters.received_bytes.fetch_add(len as u64, Ordering::Relaxed);
    }
    let sender = shared.peer(from);
    shared.deliver(message, sender.as_deref()).map_err(|why| {
        tracing::debug!(error = %why, "refused a posted message");
        Refusal::breaking(StatusCode::INTERNAL_SERVER_ERROR, "error processing raft message")
    })
}

/// Takes a snapshot.
async fn snapshot(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Body> {
    if request.method() != Method::POST {
        return method_not_allowed(&Method::POST);
    }
    let mut response = match take_snapshot(&shared, request).await {
        Ok(()) => no_content(),
        Err(refusal) => refusal.into(),
    };
    shared.identity.stamp(&mut response, false);
    response
}

async fn take_snapshot(shared: &Arc<Shared>, request: Request<Incoming>) -> Result<(), Refusal> {
    shared.identity.check(request.headers())?;
    note_sender(shared, request.headers());
    snapshot::take(shared, request).await
}

/// A sender that is no member yet can be answered if it says where.
fn note_sender(shared: &Arc<Shared>, headers: &HeaderMap) {
    let Some(from) = headers::id(headers, headers::SERVER_FROM) else { return };
    if let Some(urls) = headers::peer_urls(headers) {
        shared.add_remote(from, urls);
    }
}

/// Bytes of a body being received, counted against the bound for all.
struct Place<'a> {
    taken: &'a AtomicUsize,
    bytes: usize,
}

impl Place<'_> {
    fn grow(&mut self, bytes: usize) -> bool {
        self.bytes += bytes;
        let before = self.taken.fetch_add(bytes, Ordering::Relaxed);
        self.bytes <= FRAME_BYTES_MAX && before + bytes <= POSTED_BYTES_MAX
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.taken.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The whole body, unless it breaks, pauses or grows too long.
async fn read(mut body: Incoming, place: &mut Place<'_>) -> Option<Bytes> {
    let mut first = Bytes::new();
    let mut gathered = BytesMut::new();
    while let Some(frame) = timeout(IO_TIMEOUT, body.frame()).await.ok()? {
        let Ok(chunk) = frame.ok()?.into_data() else { continue };
        if !place.grow(chunk.len()) {
            return None;
        }
        if first.is_empty() && gathered.is_empty() {
            first = chunk;
        } else {
            gathered.extend_from_slice(&std::mem::take(&mut first));
            gathered.extend_from_slice(&chunk);
        }
    }
    Some(if gathered.is_empty() { first } else { gathered.freeze() })
}
