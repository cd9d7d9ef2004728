//! Keys with their history: every change has a revision, every revision above the compacted one
//! can be read, and watchers get every change in order.
//!
//! ```text
//!   apply ─▶ Writer ── batch ─▶ backend: rows of `key` by revision
//!              │                   ▲ rows
//!              └─ commit ─▶ index  │          index: key ─▶ revisions
//!                             ▲    │
//!   readers ─▶ Store ─────────┴────┘          pairs, metas, count, hash_kv
//!   compact thread: index forgets, rows go    watchers ◀─ Changes of an entry
//! ```
//!
//! Invariants:
//! - One [`Writer`]; its batch and the index become visible together, in revision order. What
//!   readers see is exactly the revisions up to the current one.
//! - The same calls on the same state write the same bytes on every member: no clock, no
//!   randomness and no setting has influence on rows.
//! - A row of `key` is written once, never changed, and deleted by compaction only.
//! - The compacted revision is published before anything below it disappears: a read that
//!   afterwards finds itself at or above it was complete.
//!
//! This crate does not know leases (it reports which keys carry one), users, or raft. Entry
//! points: [`Store::open`], [`Writer`], [`Store`].
#![forbid(unsafe_code)]

mod change;
mod compact;
mod error;
mod hash;
pub mod index;
mod index_file;
mod kv;
mod options;
mod overlay;
mod past;
mod persist;
mod private;
mod read;
mod restore;
mod store;
#[cfg(test)]
mod tests;
mod watch;
mod write;

pub use change::{Changes, Event, EventKind};
pub use error::Error;
pub use hash::{KvHash, hash_buckets};
pub use index::KeyState;
pub use kv::KeyValue;
pub use options::{CompactionStep, Observer, Options};
pub use read::{Found, KeyMeta, Page};
pub use restore::Opened;
pub use store::Store;
pub use watch::{
    Body, CreateError, History, HubStats, Pump, ReadFailed, Response, Shard, WatchHub,
    WatchRequest, WatchStream, event_lengths,
};
pub use write::Writer;
