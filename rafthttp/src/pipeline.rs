//! Messages by POST, for peers without a stream and senders that are no members yet.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use prost::Message as _;
use proto::raftpb::MessageType;
use tokio::time::timeout;

use crate::Body;
use crate::codec;
use crate::limits::{POST_BYTES_PER_S, POST_IDLE, POST_TIMEOUT};
use crate::link::{Link, RequestError};
use crate::peer::Peer;
use crate::transport::Shared;

/// Why a post came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error("this member was removed from the cluster")]
    Removed,
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("{0}: {1}")]
    Status(StatusCode, String),
    #[error("no answer in time")]
    Late,
}

/// One of the workers of a peer: posts what it takes, on a connection it keeps for the next.
pub(crate) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let mut link = None;
    loop {
        let pop = poll_fn(|cx| peer.pipeline.poll_pop(cx));
        let taken = if link.is_some() {
            match timeout(POST_IDLE, pop).await {
                Ok(taken) => taken,
                Err(_) => {
                    link = None;
                    continue;
                }
            }
        } else {
            pop.await
        };
        let Some(message) = taken else { return };
        let post = Post {
            body: Bytes::from(message.encode_to_vec()),
            once: codec::is(&message, MessageType::MsgProp),
        };
        let len = post.body.len();
        let time = POST_TIMEOUT + Duration::from_secs((len / POST_BYTES_PER_S) as u64);
        let url = peer.urls.pick();
        let posted = timeout(time, post.send(&shared, &url, link.take())).await;
        match posted.unwrap_or(Err(PostError::Late)) {
            Ok(kept) => {
                link = Some(kept);
                peer.counters.sent_bytes.fetch_add(len as u64, Relaxed);
                peer.activate();
            }
            Err(PostError::Removed) => shared.host.removed_from_cluster(),
            Err(error) => failed(&shared, &peer, &url, &error),
        }
    }
}

/// What every failed post leads to.
pub(crate) fn failed(shared: &Shared, peer: &Peer, url: &str, error: &PostError) {
    peer.urls.failed(url);
    peer.counters.sent_failures.fetch_add(1, Relaxed);
    peer.deactivate("failed to post to peer", error);
    shared.host.report_unreachable(peer.id);
}

/// A message to be posted.
struct Post {
    body: Bytes,
    /// A second copy would be taken for another message: proposals are ordered as often as they
    /// arrive.
    once: bool,
}

impl Post {
    /// Posts on the connection that was kept, or on a new one. The peer may have closed the kept
    /// one while the request was on its way, so that is tried again, unless the peer may have
    /// read what must not come twice.
    async fn send(self, shared: &Shared, url: &str, kept: Option<Link>) -> Result<Link, PostError> {
        if let Some(mut link) = kept.filter(|link| link.url() == url) {
            match ask(shared, &mut link, self.body.clone()).await {
                Ok(()) => return Ok(link),
                Err(PostError::Request(error)) if !self.once || error.is_unsent() => {}
                Err(other) => return Err(other),
            }
        }
        let mut link = Link::open(&*shared.dial, url, shared.times).await?;
        ask(shared, &mut link, self.body).await?;
        Ok(link)
    }
}

async fn ask(shared: &Shared, link: &mut Link, body: Bytes) -> Result<(), PostError> {
    let request = request(shared, "/raft", "application/protobuf", Body::whole(body));
    answered(shared, link, request).await
}

/// A signed POST.
pub(crate) fn request(
    shared: &Shared,
    path: &'static str,
    content_type: &'static str,
    body: Body,
) -> Request<Body> {
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static(path);
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    shared.identity.sign(request.headers_mut());
    request
}

/// Sends a request and judges the status of its answer.
pub(crate) async fn answered(
    shared: &Shared,
    link: &mut Link,
    request: Request<Body>,
) -> Result<(), PostError> {
    let (head, mut body) = link.ask(request).await?.into_parts();
    let ours = shared.identity.is_of_cluster(&head.headers);
    match head.status {
        StatusCode::NO_CONTENT => Ok(()),
        StatusCode::FORBIDDEN if ours => Err(PostError::Removed),
        status => Err(PostError::Status(status, link.error_text(&mut body).await)),
    }
}
