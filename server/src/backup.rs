//! Maintenance.Snapshot: the whole store as etcd's file, from one moment, while writes go on.
//!
//! A thread of its own walks a pinned view twice, first for lengths and then for bytes: the file
//! begins with pages that name its size. It waits for the reader, who thereby sets the pace.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use backend::image;
use bytes::{Bytes, BytesMut};
use proto::etcdserverpb::SnapshotResponse;
use snapshot::HashingWriter;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tonic::Status;

use crate::metrics::Metrics;
use crate::rpc::RpcError;

/// Bytes of the file in one message (etcd: 32 KiB).
const CHUNK_BYTES: usize = 32 << 10;
/// Messages between the thread and the connection.
const CHUNKS_MAX: usize = 32;
/// Backups made at a time; more wait for their turn.
const BACKUPS_MAX: usize = 4;

/// Messages of a backup.
pub(crate) type Chunks = mpsc::Receiver<Result<SnapshotResponse, Status>>;

/// Makes backups of the store.
#[derive(Debug)]
pub(crate) struct Backups {
    turns: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Backups {
    /// None is under way.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Backups {
        Backups { turns: Arc::new(Semaphore::new(BACKUPS_MAX)), metrics }
    }

    /// Starts a backup of the store as it is when its turn comes. It ends when the messages are
    /// dropped.
    ///
    /// # Errors
    /// When the server stops or has no thread to give.
    pub(crate) async fn start(
        &self,
        store: mvcc::Store,
        version: String,
    ) -> Result<Chunks, Status> {
        let turn = self.turns.clone().acquire_owned().await;
        let turn = turn.map_err(|_| Status::from(RpcError::Stopped))?;
        let (messages, chunks) = mpsc::channel(CHUNKS_MAX);
        let metrics = self.metrics.clone();
        std::thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || run(&store, &metrics, version, messages, turn))
            .map_err(|e| Status::internal(format!("start a thread: {e}")))?;
        Ok(chunks)
    }
}

fn run(
    store: &mvcc::Store,
    metrics: &Metrics,
    version: String,
    messages: mpsc::Sender<Result<SnapshotResponse, Status>>,
    turn: OwnedSemaphorePermit,
) {
    let began = Instant::now();
    let failed = match stream(store, version, &messages) {
        Ok(bytes) => {
            metrics.backend_snapshot_seconds.observe(began.elapsed());
            let took = crate::logging::go_duration(began.elapsed());
            tracing::info!("total-bytes" = bytes, took, "sent database snapshot to client");
            None
        }
        // Nobody is there to be told.
        Err(_) if messages.is_closed() => {
            tracing::info!("a client has given up its snapshot");
            None
        }
        Err(error) => Some(error),
    };
    if let Some(error) = failed {
        tracing::warn!(error = %error, "failed to send database snapshot to client");
        messages.blocking_send(Err(Status::unknown(error.to_string()))).ok();
    }
    drop(turn);
}

/// Sends the file and its hash; gives its length.
fn stream(
    store: &mvcc::Store,
    version: String,
    messages: &mpsc::Sender<Result<SnapshotResponse, Status>>,
) -> Result<u64, Box<dyn Error>> {
    let backend = store.backend();
    let view = backend.view();
    let plan = image::plan(&view)?;
    let total = plan.total_bytes();
    tracing::info!("total-bytes" = total, "sending database snapshot to client");
    let out = Messages { messages, version, left: total, buffer: BytesMut::new() };
    let hashing = image::write(&view, plan, HashingWriter::new(out))?;
    let (out, hash) = hashing.finish();
    out.finish(&hash)?;
    Ok(total)
}

/// Cuts the file into messages.
struct Messages<'a> {
    messages: &'a mpsc::Sender<Result<SnapshotResponse, Status>>,
    version: String,
    /// Bytes of the file not sent yet.
    left: u64,
    buffer: BytesMut,
}

impl Messages<'_> {
    fn send(&mut self, blob: Bytes) -> io::Result<()> {
        self.left = self.left.saturating_sub(blob.len() as u64);
        self.send_with(blob, self.left)
    }

    fn send_with(&self, blob: Bytes, remaining_bytes: u64) -> io::Result<()> {
        let version = self.version.clone();
        let message = SnapshotResponse { header: None, remaining_bytes, blob, version };
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.messages.blocking_send(Ok(message)).map_err(gone)
    }

    fn finish(mut self, hash: &[u8; 32]) -> io::Result<()> {
        if !self.buffer.is_empty() {
            let rest = self.buffer.split().freeze();
            self.send(rest)?;
        }
        self.send_with(Bytes::copy_from_slice(hash), 0)
    }
}

impl Write for Messages<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= CHUNK_BYTES {
            let blob = self.buffer.split_to(CHUNK_BYTES).freeze();
            self.send(blob)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
