//! Messages between members: etcd's peer protocol over HTTP/1.1, both as client and as server.
//!
//! ```text
//!   raft thread ── send ──▶ inbox ─▶ dispatch ─┬▶ stream queue ─▶ answer to GET /raft/stream/..
//!                                              └▶ pipeline ─────▶ POST /raft
//!   host ◀── step ── reader (GET /raft/stream/..) and answers to POST /raft
//! ```
//!
//! A member sends on the streams its peers have asked for and receives on those it asked for:
//! two kinds in both directions between each pair. What has no stream goes by POST.
//!
//! Invariants:
//! - every queue is bounded in messages and in bytes; what finds no room is dropped and
//!   reported, so a slow or dead peer delays nobody and holds a bounded amount of memory;
//! - no length is believed: memory grows with the bytes that arrive;
//! - all tasks run on the runtime given at the start; [`Transport::send`] never waits;
//! - this crate knows no term, vote or log: it looks at type, addresses and, for the short form
//!   of appends, at term and index.
//!
//! Entry points: [`Transport`], [`Host`], [`Dial`], [`serve_connection`].

#![forbid(unsafe_code)]

mod body;
mod codec;
mod headers;
mod host;
mod io;
mod limits;
mod link;
mod peer;
mod pipeline;
mod probe;
mod queue;
mod reader;
mod receive;
mod serve;
mod snapshot;
mod stats;
mod transport;
mod writer;

pub use body::{Body, BodyError};
pub use host::{BoxFuture, Host, ReceiveError, StepRefused};
pub use io::{Dial, Io, IoTimeouts, PlainDial, tune};
pub use link::{RequestError, ask};
pub use serve::serve_connection;
pub use snapshot::{BodyBroken, SinkClosed, SnapshotBody, SnapshotSink, SnapshotSource};
pub use stats::{
    HistogramStats, PeerStats, ROUND_TRIP_BOUNDS, SNAPSHOT_BOUNDS, SnapshotStats, Stats,
};
pub use transport::{Local, Options, Transport};
