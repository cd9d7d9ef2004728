//! Snapshots: a message and a database in one POST, in both directions.
//!
//! ```text
//!   ├ len u64 ─┼ message (MsgSnap) ┼ database, to the end of the body ┤
//! ```

mod receive;
mod send;

pub(crate) use receive::take;
pub use receive::{BodyBroken, SnapshotBody};
pub use send::{SinkClosed, SnapshotSink, SnapshotSource};
pub(crate) use send::{Upload, send};
