//! Maintenance.Snapshot: the whole store as etcd's file, from one moment, while writes go on.
//!
//! A thread of its own walks a pinned view twice, first for lengths and then for bytes: the file
//! begins with pages that name its size. It waits for the reader, who thereby sets the pace; one
//! that stands still is given up, because its view keeps old files on the disk.

use std::error::Error;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use backend::image;
use bytes::{Bytes, BytesMut};
use proto::etcdserverpb::SnapshotResponse;
use snapshot::HashingWriter;
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tonic::Status;

use crate::metrics::Metrics;
use crate::rpc::RpcError;

/// Bytes of the file in one message (etcd: 32 KiB).
const CHUNK_BYTES: usize = 32 << 10;
/// Messages between the thread and the connection.
const CHUNKS_MAX: usize = 32;
/// Backups made at a time; more wait for their turn.
const BACKUPS_MAX: usize = 4;
/// How long they wait before they are refused.
const TURN_WAIT: Duration = Duration::from_secs(30);
/// How long a reader may take for a message.
const STALL_MAX: Duration = Duration::from_secs(300);

/// Messages of a backup.
pub(crate) type Chunks = mpsc::Receiver<Result<SnapshotResponse, Status>>;

/// Makes backups of the store.
#[derive(Debug)]
pub(crate) struct Backups {
    turns: Arc<Semaphore>,
    turn_wait: Duration,
    metrics: Arc<Metrics>,
}

impl Backups {
    /// None is under way.
    pub(crate) fn new(metrics: Arc<Metrics>) -> Backups {
        Backups { turns: Arc::new(Semaphore::new(BACKUPS_MAX)), turn_wait: TURN_WAIT, metrics }
    }

    /// Starts a backup of the store as it is when its turn comes. It ends when the messages are
    /// dropped.
    ///
    /// # Errors
    /// When the server stops, has no thread to give, or makes as many as it can at a time.
    pub(crate) async fn start(
        &self,
        store: mvcc::Store,
        version: String,
    ) -> Result<Chunks, Status> {
        let turn = timeout(self.turn_wait, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Status::from(RpcError::TooManyRequests))?;
        let turn = turn.map_err(|_| Status::from(RpcError::Stopped))?;
        let (outlet, chunks) = Outlet::new(CHUNKS_MAX, STALL_MAX)?;
        let metrics = self.metrics.clone();
        std::thread::Builder::new()
            .name("backup".to_owned())
            .spawn(move || run(&store, &metrics, version, outlet, turn))
            .map_err(|e| Status::internal(format!("start a thread: {e}")))?;
        Ok(chunks)
    }
}

fn run(
    store: &mvcc::Store,
    metrics: &Metrics,
    version: String,
    outlet: Outlet,
    turn: OwnedSemaphorePermit,
) {
    let began = Instant::now();
    let failed = match stream(store, version, &outlet) {
        Ok(bytes) => {
            metrics.backend_snapshot_seconds.observe(began.elapsed());
            let took = crate::logging::go_duration(began.elapsed());
            tracing::info!("total-bytes" = bytes, took, "sent database snapshot to client");
            None
        }
        // Nobody is there to be told.
        Err(_) if outlet.messages.is_closed() => {
            tracing::info!("a client has given up its snapshot");
            None
        }
        Err(error) => Some(error),
    };
    if let Some(error) = failed {
        tracing::warn!(error = %error, "failed to send database snapshot to client");
        outlet.fail(Status::unknown(error.to_string()));
    }
    drop(turn);
}

/// Sends the file and its hash; gives its length.
fn stream(store: &mvcc::Store, version: String, outlet: &Outlet) -> Result<u64, Box<dyn Error>> {
    let backend = store.backend();
    let view = backend.view();
    let plan = image::plan(&view)?;
    let total = plan.total_bytes();
    tracing::info!("total-bytes" = total, "sending database snapshot to client");
    let out = Messages { outlet, version, left: total, buffer: BytesMut::new() };
    let hashing = image::write(&view, plan, HashingWriter::new(out))?;
    let (out, hash) = hashing.finish();
    out.finish(&hash)?;
    Ok(total)
}

/// Where the messages go, as fast as they are taken.
struct Outlet {
    messages: mpsc::Sender<Result<SnapshotResponse, Status>>,
    /// Room for an error, whatever else waits: a stream that just ended would pass for whole.
    last_word: mpsc::OwnedPermit<Result<SnapshotResponse, Status>>,
    /// The runtime that counts the time of a reader who stands still.
    timer: Handle,
    stall_max: Duration,
}

impl Outlet {
    /// With room for `messages_max`. To be called in a runtime.
    fn new(messages_max: usize, stall_max: Duration) -> Result<(Outlet, Chunks), Status> {
        let (messages, chunks) = mpsc::channel(messages_max + 1);
        let last_word = messages.clone().try_reserve_owned();
        let last_word = last_word.map_err(|_| Status::from(RpcError::Stopped))?;
        Ok((Outlet { messages, last_word, timer: Handle::current(), stall_max }, chunks))
    }

    /// Ends the stream with an error, which the client finds behind what it has not taken yet.
    fn fail(self, status: Status) {
        self.last_word.send(Err(status));
    }

    fn send(&self, message: SnapshotResponse) -> io::Result<()> {
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        let message = match self.messages.try_send(Ok(message)) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Closed(_)) => return Err(gone()),
            Err(TrySendError::Full(message)) => message,
        };
        // The timer is made where it is polled: on that runtime.
        let taken = async { timeout(self.stall_max, self.messages.send(message)).await };
        match self.timer.block_on(taken) {
            Ok(sent) => sent.map_err(|_| gone()),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")),
        }
    }
}

/// Cuts the file into messages.
struct Messages<'a> {
    outlet: &'a Outlet,
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
        self.outlet.send(message)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_stands_still_is_given_up_and_told() {
        let (outlet, mut chunks) = Outlet::new(1, Duration::from_millis(1)).expect("room");
        let sent = tokio::task::spawn_blocking(move || {
            let first = outlet.send(SnapshotResponse::default()).map_err(|e| e.kind());
            let second = outlet.send(SnapshotResponse::default()).map_err(|e| e.kind());
            outlet.fail(Status::unknown("too slow"));
            (first, second)
        });
        assert_eq!(sent.await.expect("sent"), (Ok(()), Err(io::ErrorKind::TimedOut)));
        assert!(chunks.recv().await.is_some_and(|message| message.is_ok()));
        let told = chunks.recv().await.and_then(Result::err).expect("an error, not the end");
        assert_eq!(told.message(), "too slow");
        assert!(chunks.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_reader_sets_the_pace() {
        let (outlet, mut chunks) = Outlet::new(1, STALL_MAX).expect("room");
        let sent = tokio::task::spawn_blocking(move || {
            (0..100).try_for_each(|_| outlet.send(SnapshotResponse::default()))
        });
        for _ in 0..100 {
            tokio::task::yield_now().await;
            assert!(chunks.recv().await.is_some_and(|message| message.is_ok()));
        }
        assert!(sent.await.expect("sent").is_ok());
    }

    #[tokio::test]
    async fn one_too_many_is_refused_when_nobody_makes_room() {
        let dir = tempfile::tempdir().expect("a folder");
        let backend = backend::Backend::open(dir.path(), &backend::Options::default());
        let options = mvcc::Options::default();
        let store = mvcc::Store::open(backend.expect("open"), options).expect("open").store;
        let backups = Backups::new(Arc::new(Metrics::new(false)));
        let backups = Backups { turn_wait: Duration::from_millis(1), ..backups };
        let held = backups.turns.clone().try_acquire_many_owned(4).expect("all are free");
        let refused = backups.start(store.clone(), String::new()).await.expect_err("no turn");
        assert_eq!(refused.message(), "etcdserver: too many requests");
        drop(held);
        assert!(backups.start(store, String::new()).await.is_ok());
    }
}
