//! The member's raft files, in the formats of etcd: the log of entries and hard states that makes
//! a write durable, and the `.snap` files beside it. What an entry means is not known here.
//!
//! ```text
//! <data>/member/wal/0000000000000000-0000000000000000.wal   [crc][metadata][mark 0,0] records…
//!                   0000000000000001-0000000000000033.wal   [crc][metadata][state]    records…
//!                   0.tmp                                   zeros: the next segment
//! ```
//!
//! Invariants:
//! * A record's CRC covers the data of all records before it, over all segments.
//! * One batch is one `write` and, when it must be durable, one `fdatasync`.
//! * After a failed write or sync nothing more is written; a sync is never tried twice.
//! * Whatever was synced is read again, or reading fails with file and offset: damage is cut off
//!   only at the end of the last segment, and only when no committed entry is lost by it.
//! * No thread but `wal-spare`, which makes the next segment ready; no clock but for metrics.
//!
//! Entry points: [`Wal::create`], [`Wal::open`], [`valid_snapshots`], [`read_all`], [`purge`],
//! [`SnapDir`].

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test fails by panicking"))]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )
)]

mod create;
mod error;
mod fs;
mod metrics;
mod pipeline;
mod reader;
mod record;
mod repair;
mod replay;
mod segment;
mod snap_dir;
mod store_document;
mod wal;
mod wire;

pub use error::{Error, Result};
pub use fs::{DiskHook, DiskOp};
pub use metrics::{Histogram, Stats};
pub use record::{Entry, EntryKind, HardState, Metadata, SnapshotRecord};
pub use replay::{Recovered, Repaired, read_all, valid_snapshots, verify};
pub use snap_dir::{SnapDir, Snapshot};
pub use store_document::store_document;
pub use wal::{Options, Wal, purge};
