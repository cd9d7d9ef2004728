//! The stream of one kind from a peer: asked for, read until it breaks, asked for again.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout};

use crate::codec::{DecodeError, Decoded, Decoder, StreamKind};
use crate::limits::REDIAL;
use crate::link::{Link, RequestError};
use crate::peer::Peer;
use crate::transport::Shared;
use crate::{Body, headers};

/// Why there is no stream, or no more.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("this member was removed from the cluster")]
    Removed,
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("{0}: {1}")]
    Status(StatusCode, String),
    #[error("the peer belongs to another cluster")]
    OtherCluster,
    #[error("{0}")]
    Decode(#[from] DecodeError),
    #[error("the peer closed the stream")]
    Closed,
    #[error("the peer was silent for {} s", .0.as_secs())]
    Silent(Duration),
}

/// Keeps the stream until the peer is stopped or says that this member was removed.
pub(crate) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, kind: StreamKind) {
    let mut redial = Instant::now();
    loop {
        sleep_until(redial).await;
        redial = Instant::now() + REDIAL;
        let url = peer.urls.pick();
        match open(&shared, &peer, kind, &url).await {
            Ok((link, body)) => {
                peer.activate();
                let reader = kind.log_name();
                let remote = format!("{:x}", peer.id);
                tracing::info!(
                    "stream-reader-type" = reader,
                    "remote-peer-id" = remote,
                    "established TCP streaming connection with remote peer"
                );
                let end = read(&shared, &peer, kind, link, body).await;
                tracing::warn!(
                    "stream-reader-type" = reader,
                    "remote-peer-id" = remote,
                    error = %end,
                    "lost TCP streaming connection with remote peer"
                );
                peer.deactivate("lost the stream from peer", &end);
            }
            Err(End::Removed) => {
                shared.host.removed_from_cluster();
                return;
            }
            Err(end) => {
                peer.urls.failed(&url);
                peer.deactivate("failed to open a stream from peer", &end);
            }
        }
    }
}

/// Asks for the stream.
async fn open(
    shared: &Shared,
    peer: &Peer,
    kind: StreamKind,
    url: &str,
) -> Result<(Link, Incoming), End> {
    let mut link = Link::open(&*shared.dial, url, shared.times).await?;
    let mut request = Request::new(Body::whole(""));
    let path = format!("{}{:x}", kind.path(), shared.local.member_id);
    *request.uri_mut() = path.parse().map_err(|_| RequestError::Url(path))?;
    shared.identity.sign(request.headers_mut());
    if let Ok(to) = HeaderValue::from_str(&format!("{:x}", peer.id)) {
        request.headers_mut().insert(headers::RAFT_TO, to);
    }
    let patience = shared.io_timeouts.read;
    let asked = timeout(patience, link.ask(request)).await;
    let (head, mut body) = asked.map_err(|_| End::Silent(patience))??.into_parts();
    let ours = shared.identity.is_of_cluster(&head.headers);
    match head.status {
        _ if !ours && head.headers.contains_key(headers::CLUSTER_ID) => Err(End::OtherCluster),
        StatusCode::OK => Ok((link, body)),
        StatusCode::GONE if ours => Err(End::Removed),
        status => Err(End::Status(status, link.error_text(&mut body).await)),
    }
}

/// Hands over messages until the stream ends.
async fn read(
    shared: &Shared,
    peer: &Peer,
    kind: StreamKind,
    mut link: Link,
    mut body: Incoming,
) -> End {
    let mut decoder = Decoder::new(kind, peer.id, shared.local.member_id);
    let heartbeats = shared.counters.of(0);
    let patience = shared.io_timeouts.read;
    loop {
        let chunk = match timeout(patience, link.chunk(&mut body)).await {
            Err(_) => return End::Silent(patience),
            Ok(Err(error)) => return error.into(),
            Ok(Ok(None)) => return End::Closed,
            Ok(Ok(Some(chunk))) => chunk,
        };
        let received = chunk.len();
        let mut beats = 0;
        decoder.push(chunk);
        loop {
            match decoder.next() {
                Ok(None) => break,
                Ok(Some(Decoded::Heartbeat { bytes })) => beats += bytes,
                Ok(Some(Decoded::Message(message))) => {
                    if let Err(why) = shared.deliver(*message, Some(peer)) {
                        peer.counters.received_failures.fetch_add(1, Relaxed);
                        tracing::debug!(error = %why, "dropped a message from a stream");
                    }
                }
                Err(error) => {
                    peer.counters.received_failures.fetch_add(1, Relaxed);
                    return error.into();
                }
            }
        }
        heartbeats.received_bytes.fetch_add(beats as u64, Relaxed);
        peer.counters.received_bytes.fetch_add(received.saturating_sub(beats) as u64, Relaxed);
    }
}
