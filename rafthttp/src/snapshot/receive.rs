//! A snapshot from a peer.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use proto::raftpb::{self, MessageType};
use tokio::time::timeout;

use crate::ReceiveError;
use crate::codec::{self, decode_message};
use crate::headers::Refusal;
use crate::limits::{SNAPSHOT_MESSAGE_BYTES_MAX, SNAPSHOT_PAUSE, SNAPSHOT_RECEIVES_MAX};
use crate::stats::InFlight;
use crate::transport::Shared;

/// The database of a snapshot as it arrives. It has no checksum of its own here: whoever stores
/// it checks its pages.
#[derive(Debug)]
pub struct SnapshotBody {
    /// Bytes that came with the message.
    first: Bytes,
    rest: Incoming,
}

/// Why the bytes of a database stopped coming.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyBroken {
    /// The connection broke, or the sender gave up.
    #[error("{0}")]
    Connection(String),
    /// Nothing came for 30 s.
    #[error("the sender paused for {} s", SNAPSHOT_PAUSE.as_secs())]
    Pause,
}

impl SnapshotBody {
    /// The next bytes; `None` at the end of the database. Cancel safe.
    ///
    /// # Errors
    /// [`BodyBroken`]; what came before is not a whole database.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyBroken> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        loop {
            match timeout(SNAPSHOT_PAUSE, self.rest.frame()).await {
                Err(_) => return Err(BodyBroken::Pause),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => return Err(BodyBroken::Connection(error.to_string())),
                Ok(Some(Ok(frame))) => {
                    if let Ok(chunk) = frame.into_data() {
                        return Ok(Some(chunk));
                    }
                }
            }
        }
    }

    /// Takes the message off the head of the body.
    async fn message(&mut self) -> Result<raftpb::Message, String> {
        let mut head = BytesMut::new();
        if !self.fill(&mut head, size_of::<u64>()).await? {
            return Err(if head.is_empty() { "EOF" } else { "unexpected EOF" }.to_owned());
        }
        let len = usize::try_from(head.get_u64()).ok();
        let len = len.filter(|len| *len <= SNAPSHOT_MESSAGE_BYTES_MAX);
        let len = len.ok_or_else(|| codec::DecodeError::TooLong.to_string())?;
        if !self.fill(&mut head, len).await? {
            return Err("unexpected EOF".to_owned());
        }
        let message = head.split_to(len).freeze();
        self.first = head.freeze();
        decode_message(message).map_err(|error| error.to_string())
    }

    /// Reads until `head` holds `len` bytes; whether that many came.
    async fn fill(&mut self, head: &mut BytesMut, len: usize) -> Result<bool, String> {
        while head.len() < len {
            match self.chunk().await.map_err(|error| error.to_string())? {
                Some(chunk) => head.extend_from_slice(&chunk),
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// A place among the snapshots being received.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(taken: &'a AtomicUsize) -> Option<Place<'a>> {
        if taken.fetch_add(1, Ordering::Relaxed) < SNAPSHOT_RECEIVES_MAX {
            return Some(Place(taken));
        }
        taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Takes a posted snapshot whose headers were checked.
pub(crate) async fn take(shared: &Shared, request: Request<Incoming>) -> Result<(), Refusal> {
    let mut body = SnapshotBody { first: Bytes::new(), rest: request.into_body() };
    let failures = &shared.counters.unknown_snapshot_failures;
    let message = match body.message().await {
        Ok(message) => message,
        Err(why) => {
            failures.fetch_add(1, Ordering::Relaxed);
            let text = format!("failed to decode raft message ({why})");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
        }
    };
    if !codec::is(&message, MessageType::MsgSnap) {
        failures.fetch_add(1, Ordering::Relaxed);
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "wrong raft message type"));
    }
    receive(shared, message, body).await.map_err(|why| {
        tracing::warn!(error = %why, "failed to receive a snapshot");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why.to_string())
    })
}

async fn receive(
    shared: &Shared,
    message: raftpb::Message,
    body: SnapshotBody,
) -> Result<(), ReceiveError> {
    let from = message.from.unwrap_or_default();
    let flight = InFlight::receiving(shared.counters.of(from));
    if message.snapshot.is_none() {
        return Err(ReceiveError::Process("the message has no snapshot".to_owned()));
    }
    let checked = shared.check_addresses(&message);
    checked.map_err(|refused| ReceiveError::Process(refused.to_string()))?;
    let place = Place::take(&shared.snapshots_received);
    let Some(_place) = place else {
        let why = "too many snapshots are being received";
        return Err(ReceiveError::Store(why.to_owned()));
    };
    let from = format!("{from:x}");
    tracing::info!("remote-peer-id" = from, "receiving database snapshot");
    shared.host.receive_snapshot(message, body).await?;
    tracing::info!("remote-peer-id" = from, "received and saved database snapshot");
    flight.arrived();
    Ok(())
}
