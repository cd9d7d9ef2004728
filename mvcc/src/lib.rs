//! Revisions, the key index, and watches over a backend.
#![forbid(unsafe_code)]

mod change;
mod index;
mod watch;

pub use change::{Changes, Event, EventKind};
pub use index::{BuildError, Builder, CompactCursor, Entry, Key, KeyState, Put, Scan, TreeIndex};
pub use watch::{
    Body, CreateError, History, HubStats, Pump, ReadFailed, Response, Shard, WatchHub,
    WatchRequest, WatchStream,
};
