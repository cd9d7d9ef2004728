//! A snapshot to a peer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use proto::raftpb;
use tokio::sync::{Notify, mpsc};

use crate::body::BodyError;
use crate::limits::{SNAPSHOT_ANSWER, SNAPSHOT_CHUNKS_MAX, SNAPSHOT_PAUSE};
use crate::link::{Link, Times};
use crate::peer::Peer;
use crate::pipeline::{self, PostError};
use crate::stats::InFlight;
use crate::transport::Shared;
use crate::{Body, codec};

/// The transfer of a snapshot has ended, so nobody takes more of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the transfer of the snapshot has ended")]
pub struct SinkClosed;

/// The database of a snapshot on its way to a peer: what a [`SnapshotSink`] is given.
#[derive(Debug)]
pub struct SnapshotSource {
    chunks: mpsc::Receiver<Bytes>,
    complete: Arc<AtomicBool>,
}

/// Takes the bytes of a database, on any thread that may wait. Dropped without
/// [`SnapshotSink::finish`] the snapshot fails.
#[derive(Debug)]
pub struct SnapshotSink {
    chunks: mpsc::Sender<Bytes>,
    complete: Arc<AtomicBool>,
}

impl SnapshotSource {
    /// Both ends.
    pub fn channel() -> (SnapshotSink, SnapshotSource) {
        let (sender, receiver) = mpsc::channel(SNAPSHOT_CHUNKS_MAX);
        let complete = Arc::new(AtomicBool::new(false));
        let sink = SnapshotSink { chunks: sender, complete: complete.clone() };
        (sink, SnapshotSource { chunks: receiver, complete })
    }
}

impl SnapshotSink {
    /// Gives the next bytes and waits while four chunks are on their way; chunks of 64 KiB to
    /// 1 MiB are best. Must not be called on a thread of a tokio runtime.
    ///
    /// # Errors
    /// [`SinkClosed`] once the transfer has ended.
    pub fn send(&self, chunk: Bytes) -> Result<(), SinkClosed> {
        self.chunks.blocking_send(chunk).map_err(|_| SinkClosed)
    }

    /// Says that all has been given.
    pub fn finish(self) {
        self.complete.store(true, Ordering::Release);
    }
}

impl io::Write for SnapshotSink {
    /// As [`SnapshotSink::send`], with a copy of the bytes.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.send(Bytes::copy_from_slice(bytes));
        sent.map(|()| bytes.len()).map_err(|e| io::Error::new(io::ErrorKind::BrokenPipe, e))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The body of the POST.
#[derive(Debug)]
pub(crate) struct Upload {
    /// The message behind its length, sent first.
    head: Bytes,
    source: SnapshotSource,
    peer: Arc<Peer>,
    /// Told when all was given to the connection.
    ended: Arc<Notify>,
}

impl Upload {
    pub(crate) fn poll_chunk(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let chunk = if self.head.is_empty() {
            match self.source.chunks.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(chunk)) => chunk,
                Poll::Ready(None) if self.source.complete.load(Ordering::Acquire) => {
                    self.ended.notify_one();
                    return Poll::Ready(None);
                }
                Poll::Ready(None) => return Poll::Ready(Some(Err(BodyError::SourceEnded))),
            }
        } else {
            std::mem::take(&mut self.head)
        };
        self.peer.counters.sent_bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(chunk)))
    }
}

/// Posts a snapshot and reports what became of it.
pub(crate) async fn send(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    message: raftpb::Message,
    source: SnapshotSource,
) {
    let flight = InFlight::sending(peer.counters.clone());
    let url = peer.urls.pick();
    let posted = peer.until_stopped(post(&shared, &peer, &url, message, source)).await;
    let arrived = match posted {
        Some(Ok(())) => {
            flight.arrived();
            peer.activate();
            true
        }
        Some(Err(PostError::Removed)) => {
            shared.host.removed_from_cluster();
            false
        }
        Some(Err(error)) => {
            pipeline::failed(&shared, &peer, &url, &error);
            false
        }
        None => false,
    };
    shared.host.report_snapshot(peer.id, arrived);
}

async fn post(
    shared: &Shared,
    peer: &Arc<Peer>,
    url: &str,
    message: raftpb::Message,
    source: SnapshotSource,
) -> Result<(), PostError> {
    let mut head = BytesMut::new();
    codec::message_frame(&message, &mut head);
    drop(message);
    let ended = Arc::new(Notify::new());
    let upload = Upload { head: head.freeze(), source, peer: peer.clone(), ended: ended.clone() };
    let body = Body::upload(upload);
    let request = pipeline::request(shared, "/raft/snapshot", "application/octet-stream", body);
    let times = Times { write: SNAPSHOT_PAUSE, ..shared.times };
    let mut link = Link::open(&*shared.dial, url, times).await?;
    tokio::select! {
        answered = pipeline::answered(shared, &mut link, request) => answered,
        () = async {
            ended.notified().await;
            tokio::time::sleep(SNAPSHOT_ANSWER).await;
        } => Err(PostError::Late),
    }
}
