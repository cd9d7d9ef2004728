//! Revisions, the key index, and watches over a backend.
#![forbid(unsafe_code)]

mod index;

pub use index::{BuildError, Builder, CompactCursor, Entry, Key, KeyState, Put, Scan, TreeIndex};
