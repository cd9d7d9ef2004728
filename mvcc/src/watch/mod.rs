//! Watches: who wants to hear of which keys, and getting every event to them once and in order.
//!
//! ```text
//!  apply ── publish ─▶ WatchHub ─ matches ─▶ synced: by key │ by range
//!                        │                       │ push                 128 responses, bytes
//!                        │ queue full            ▼
//!                        └─▶ unsynced ◀── room ── WatchStream queue ── poll_next ─▶ rpc task
//!                               │                      ▲
//!                               └─ watch-sync thread ──┘  reads rows from the store
//! ```
//!
//! A watcher is *synced* when every event up to the hub's revision is in its stream's queue; it
//! then takes part in [`WatchHub::publish`]. Otherwise it is *unsynced* and knows the next
//! revision it needs; the sync thread reads rows for up to 512 such watchers at a time, without
//! any lock, and hands them back. A watcher whose stream has no room is a *victim*: set aside,
//! holding nothing but its next revision, until the stream has been read from.
//!
//! Invariants:
//! - Registration, publication and hand-back happen under the hub's lock and compare with the
//!   hub's revision, so a watcher misses nothing and sees nothing twice.
//! - All events of a revision for one watcher are in one response.
//! - Everything for a stream goes through its one queue: created before events, events before a
//!   progress response of the same or a later revision, nothing after the cancel.
//! - A watcher with a start revision gets nothing, not even progress, below it.
//! - Events of a revision are encoded at most twice, with and without previous pairs, and shared.
//!
//! Locks, in order: hub, stream queue, shard. None is held while rows are read for catching up.

mod encode;
mod groups;
mod history;
mod hub;
mod interval;
mod queue;
mod registry;
mod shard;
mod sync;
#[cfg(test)]
mod tests;

pub use encode::event_lengths;
pub use history::{History, ReadFailed};
pub use hub::{HubStats, WatchHub};
pub use queue::{Body, Response};
pub use registry::{CreateError, WatchRequest, WatchStream};
pub use shard::{Pump, Shard};
