//! Our side of a stream a peer has asked for: messages as chunks of an answer without end.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::codec::{Encoder, StreamKind};
use crate::limits::{LINK_HEARTBEAT, WRITE_BUFFER_KEPT_BYTES, WRITE_BYTES};
use crate::peer::Peer;
use crate::queue::Queue;
use crate::transport::Shared;

/// Encodes what is queued whenever the connection has room, many messages into one write.
pub(crate) struct StreamBody {
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    kind: StreamKind,
    queue: Arc<Queue>,
    encoder: Encoder,
    buffer: BytesMut,
    heartbeat: Interval,
}

impl std::fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamBody").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl StreamBody {
    /// Takes the place of the peer's stream of this kind; one there was ends.
    pub(crate) fn attach(shared: Arc<Shared>, peer: Arc<Peer>, kind: StreamKind) -> StreamBody {
        let (queue, lost) = peer.attach(kind);
        if lost {
            shared.host.report_unreachable(peer.id);
        }
        peer.activate();
        tracing::info!(
            "stream-writer-type" = kind.log_name(),
            "remote-peer-id" = format!("{:x}", peer.id),
            "established TCP streaming connection with remote peer"
        );
        let mut heartbeat = interval_at(Instant::now() + LINK_HEARTBEAT, LINK_HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let encoder = Encoder::new(kind);
        let buffer = BytesMut::new();
        StreamBody { shared, peer, kind, queue, encoder, buffer, heartbeat }
    }

    /// The next chunk; `None` once the stream was replaced or its peer removed.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        while self.buffer.len() < WRITE_BYTES {
            match self.queue.poll_pop(cx) {
                Poll::Ready(Some(message)) => self.encoder.encode(&message, &mut self.buffer),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => break,
            }
        }
        if self.heartbeat.poll_tick(cx).is_ready() {
            self.encoder.heartbeat(&mut self.buffer);
        }
        if self.buffer.is_empty() {
            return Poll::Pending;
        }
        let chunk = self.buffer.split().freeze();
        if chunk.len() > WRITE_BUFFER_KEPT_BYTES {
            self.buffer = BytesMut::new();
        }
        self.peer.counters.sent_bytes.fetch_add(chunk.len() as u64, Relaxed);
        Poll::Ready(Some(chunk))
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.queue.close();
        let writer = self.kind.log_name();
        let remote = format!("{:x}", self.peer.id);
        // Still attached: the connection broke, and what was written last may be lost too.
        if self.peer.detach(self.kind, &self.queue) {
            tracing::warn!(
                "stream-writer-type" = writer,
                "remote-peer-id" = remote,
                "lost TCP streaming connection with remote peer"
            );
            self.peer.counters.sent_failures.fetch_add(1, Relaxed);
            self.peer.deactivate("stream to peer", &"the connection ended");
            self.shared.host.report_unreachable(self.peer.id);
        } else {
            tracing::info!(
                "stream-writer-type" = writer,
                "remote-peer-id" = remote,
                "closed TCP streaming connection with remote peer"
            );
        }
    }
}
