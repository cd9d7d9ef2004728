//! Images of the backend between members: made from a pinned view, loaded into a backend aside.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use apply::Standing;
use backend::{NextBackend, image};
use base::ConfState;
use bytes::Bytes;
use parking_lot::Mutex;
use proto::raftpb;
use rafthttp::{ReceiveError, SnapshotBody, SnapshotSink, SnapshotSource, Transport};

use crate::state::StoreSlot;

/// Bytes of an image handed to the transport at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes of a received image written to its file at a time.
const WRITE_BYTES: usize = 1 << 20;
/// How long a received image waits for raft to take it before another may replace it.
const UNCLAIMED_AFTER: Duration = Duration::from_secs(30);
/// Why an image is refused while another one may still be needed.
const OCCUPIED: &str = "another snapshot is being installed";

/// Sends images of this member's backend.
pub(crate) struct ImageSender {
    stores: Arc<StoreSlot>,
    transport: Transport,
    raft: OnceLock<raftnode::Handle>,
}

impl ImageSender {
    /// Of the store in use, over `transport`.
    pub(crate) fn new(stores: Arc<StoreSlot>, transport: Transport) -> Arc<ImageSender> {
        Arc::new(ImageSender { stores, transport, raft: OnceLock::new() })
    }

    /// Raft has started.
    pub(crate) fn set_raft(&self, raft: raftnode::Handle) {
        self.raft.get_or_init(|| raft);
    }

    /// Sends the backend as of now with `message`, on a thread of its own. How it ended is
    /// reported to raft.
    pub(crate) fn send(self: &Arc<Self>, message: raftpb::Message) {
        let to = message.to();
        let sender = self.clone();
        let run = move || {
            let began = Instant::now();
            let id = format!("{to:x}");
            if let Err(error) = sender.stream(message) {
                tracing::warn!("to" = id, error, "failed to send database snapshot");
                // Raft may learn of it twice, from the transport, too: that does no harm.
                sender.failed(to);
                return;
            }
            let took = crate::logging::go_duration(began.elapsed());
            tracing::info!("to" = id, took, "sent merged snapshot");
        };
        if std::thread::Builder::new().name("snap-send".to_owned()).spawn(run).is_err() {
            self.failed(to);
        }
    }

    fn failed(&self, to: u64) {
        if let Some(raft) = self.raft.get() {
            raft.report_snapshot(to, false);
        }
    }

    fn stream(&self, mut message: raftpb::Message) -> Result<(), String> {
        let store = self.stores.get();
        let view = store.backend().view();
        let standing = Standing::read(&view).map_err(|e| e.to_string())?;
        let plan = image::plan(&view).map_err(|e| e.to_string())?;
        let bytes = plan.total_bytes();
        complete(&mut message, &standing);
        tracing::info!(
            "to" = format!("{:x}", message.to()),
            "snapshot-index" = standing.index,
            "size" = bytes,
            "sending merged snapshot"
        );
        let (sink, source) = SnapshotSource::channel();
        self.transport.send_snapshot(message, source);
        let out = image::write(&view, plan, Chunks { sink, buffer: Vec::new() })
            .map_err(|e| e.to_string())?;
        out.finish().map_err(|e| e.to_string())
    }
}

/// The message that goes with an image: where the image stands, and the members in the form that
/// older versions read.
fn complete(message: &mut raftpb::Message, standing: &Standing) {
    let members: Vec<base::Member> = standing.cluster.members.iter().cloned().collect();
    let removed: Vec<u64> = standing.cluster.members.removed().collect();
    let version = standing.cluster.version.map(|version| version.to_string());
    let document = wal::store_document(&members, &removed, version.as_deref());
    let ConfState { voters, learners, .. } = standing.cluster.members.conf_state();
    message.snapshot = Some(raftpb::Snapshot {
        data: Some(document.into()),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(raftpb::ConfState {
                voters,
                learners,
                ..raftpb::ConfState::default()
            }),
            index: Some(standing.index),
            term: Some(standing.term),
        }),
    });
}

/// Cuts what is written into chunks for the transport.
struct Chunks {
    sink: SnapshotSink,
    buffer: Vec<u8>,
}

impl Chunks {
    fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sink.send(chunk).map_err(io::Error::other)
    }

    fn finish(mut self) -> io::Result<()> {
        self.hand_over()?;
        self.sink.finish();
        Ok(())
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A loaded backend that waits for raft to accept its snapshot.
struct Received {
    index: u64,
    since: Instant,
    next: NextBackend,
}

/// The place for the one backend that may be loaded or wait.
enum Place {
    Free,
    Loading,
    Waiting(Received),
}

impl Place {
    /// Whether another backend may be loaded. One that waits goes only if raft has had the time
    /// to take it and has not: the log would name a snapshot whose backend is gone.
    fn is_free(&self, awaited: impl Fn(u64) -> bool) -> bool {
        match self {
            Place::Free => true,
            Place::Loading => false,
            Place::Waiting(received) => {
                received.since.elapsed() >= UNCLAIMED_AFTER && !awaited(received.index)
            }
        }
    }
}

/// Whether raft may be about to install the snapshot at `index`.
fn awaits(raft: Option<&raftnode::Handle>, index: u64) -> bool {
    raft.is_some_and(|raft| raft.status().commit() >= index && raft.status().applied() < index)
}

/// Receives images. At most one is loaded or waits for raft at a time.
pub(crate) struct ReceivedImages {
    stores: Arc<StoreSlot>,
    dir: PathBuf,
    place: Mutex<Place>,
}

impl ReceivedImages {
    /// Files in transfer are in `dir`; the backend of the store in use makes room for the new.
    pub(crate) fn new(stores: Arc<StoreSlot>, dir: PathBuf) -> Arc<ReceivedImages> {
        Arc::new(ReceivedImages { stores, dir, place: Mutex::new(Place::Free) })
    }

    /// Takes the image that comes with `message`: all of it, checked, durable, and named so that
    /// a crash does not lose it. Returns its index.
    ///
    /// # Errors
    /// What is wrong with the image or the disk. Nothing is left behind then.
    pub(super) async fn receive(
        self: &Arc<Self>,
        message: &raftpb::Message,
        mut body: SnapshotBody,
        raft: Option<&raftnode::Handle>,
    ) -> Result<u64, ReceiveError> {
        let store = |error: &dyn std::fmt::Display| ReceiveError::Store(error.to_string());
        let metadata = message.snapshot.as_ref().and_then(|s| s.metadata.as_ref());
        let Some(index) = metadata.map(|m| m.index()).filter(|index| *index > 0) else {
            return Err(ReceiveError::Process("the message names no snapshot".to_owned()));
        };
        if !self.place.lock().is_free(|index| awaits(raft, index)) {
            return Err(ReceiveError::Store(OCCUPIED.to_owned()));
        }
        let from = format!("{:x}", message.from());
        tracing::info!(
            "remote-snapshot-sender-id" = from,
            "incoming-snapshot-index" = index,
            "receiving database snapshot"
        );
        let began = Instant::now();
        // Named `tmp…`: what a crash leaves of it is removed at the next start.
        let file =
            tempfile::Builder::new().prefix("tmp").tempfile_in(&self.dir).map_err(|e| store(&e))?;
        let mut out = file.reopen().map_err(|e| store(&e))?;
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        while let Some(chunk) = body.chunk().await.map_err(|e| store(&e))? {
            buffer.extend_from_slice(&chunk);
            if buffer.len() >= WRITE_BYTES {
                let write = move || {
                    out.write_all(&buffer)?;
                    buffer.clear();
                    Ok((out, buffer))
                };
                (out, buffer) = blocking(write).await.map_err(|e| store(&e))?;
            }
        }
        let write = move || out.write_all(&buffer).map(|()| out);
        out = blocking(write).await.map_err(|e| store(&e))?;
        let (this, raft) = (self.clone(), raft.cloned());
        blocking(move || this.load(index, out, raft.as_ref()).map_err(io::Error::other))
            .await
            .map_err(|e| store(&e))?;
        drop(file);
        tracing::info!(
            "remote-snapshot-sender-id" = from,
            "incoming-snapshot-index" = index,
            took = crate::logging::go_duration(began.elapsed()),
            "received and saved database snapshot"
        );
        Ok(index)
    }

    fn load(&self, index: u64, file: File, raft: Option<&raftnode::Handle>) -> Result<(), String> {
        let image = snapshot::Reader::open(file).map_err(|e| e.to_string())?;
        if !self.occupy(|index| awaits(raft, index)) {
            return Err(OCCUPIED.to_owned());
        }
        let staged = self.stage(index, &image);
        let (place, outcome) = match staged {
            Ok(next) => (Place::Waiting(Received { index, since: Instant::now(), next }), Ok(())),
            Err(error) => (Place::Free, Err(error)),
        };
        *self.place.lock() = place;
        outcome
    }

    /// Takes the place for a backend to be loaded; what nobody claimed is removed.
    fn occupy(&self, awaited: impl Fn(u64) -> bool) -> bool {
        let mut place = self.place.lock();
        let free = place.is_free(awaited);
        let unclaimed = free.then(|| std::mem::replace(&mut *place, Place::Loading));
        // Folders are removed without the lock.
        drop(place);
        drop(unclaimed);
        free
    }

    /// Loads an image, if it stands at `index`, into a backend that outlives the process.
    fn stage(&self, index: u64, image: &snapshot::Reader<File>) -> Result<NextBackend, String> {
        let next = self.stores.get().backend().create_next().map_err(|e| e.to_string())?;
        image::load(image, next.backend()).map_err(|e| e.to_string())?;
        let standing = Standing::read(next.backend()).map_err(|e| e.to_string())?;
        if standing.index != index {
            return Err(format!(
                "the image stands at index {}, its message at {index}",
                standing.index
            ));
        }
        next.stage().map_err(|e| e.to_string())?;
        Ok(next)
    }

    /// The backend of the snapshot at `index`, for its installation.
    pub(crate) fn claim(&self, index: u64) -> Option<NextBackend> {
        let mut place = self.place.lock();
        match std::mem::replace(&mut *place, Place::Free) {
            Place::Waiting(received) if received.index == index => Some(received.next),
            other => {
                *place = other;
                None
            }
        }
    }

    /// Raft refused the snapshot at `index`.
    pub(super) fn forget(&self, index: u64) {
        drop(self.claim(index));
    }
}

/// Runs what touches the disk beside the connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(store: &mvcc::Store, since: Instant) -> Place {
        let next = store.backend().create_next().expect("a backend");
        Place::Waiting(Received { index: 7, since, next })
    }

    #[test]
    fn a_backend_that_raft_may_need_is_not_given_up_for_another() {
        let dir = tempfile::tempdir().expect("a folder");
        let backend = backend::Backend::open(dir.path().join("db"), &backend::Options::default());
        let opened = mvcc::Store::open(backend.expect("a backend"), mvcc::Options::default());
        let store = opened.expect("a store").store;
        let images = ReceivedImages::new(StoreSlot::new(store.clone()), dir.path().to_path_buf());
        assert!(images.occupy(|_| false));
        assert!(!images.occupy(|_| false), "another one is being loaded");
        *images.place.lock() = received(&store, Instant::now());
        assert!(!images.occupy(|_| false), "raft has had no time to take it");
        assert!(
            images.claim(6).is_none() && images.claim(7).is_some() && images.claim(7).is_none()
        );
        let long_ago = Instant::now().checked_sub(UNCLAIMED_AFTER).expect("a while after boot");
        *images.place.lock() = received(&store, long_ago);
        assert!(!images.occupy(|index| index == 7), "it is about to be installed");
        assert!(images.occupy(|_| false), "nobody wants it");
        assert!(images.claim(7).is_none());
    }
}
