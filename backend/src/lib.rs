//! The rows of a member on disk: RocksDB with one column family per bucket.
//! It stores and returns bytes, atomically per batch, and knows nothing of what they mean.
//!
//! ```text
//!            WriteBatch ──▶ write ──▶ memory tables ──▶ table files     <dir>/CURRENT ─▶ 000001/
//!  apply ──▶  key  │ meta │ lease │ alarm │ … │ private                                 RocksDB
//!            get, multi_get, scan ◀── Backend (now) or ReadView (a pinned moment)
//! ```
//!
//! Invariants:
//! - A batch is visible and recovered whole or not at all, and batches are recovered as a prefix
//!   of the order in which they were written.
//! - Nothing is synced on a write. [`Backend::flush`] makes all earlier batches durable.
//! - `private` rows belong to this crate and to `mvcc`; they are in no bucket, no hash and no
//!   snapshot file.
//! - Any error after the open is fatal for the member: nothing here retries a write or a sync.
//!
//! This crate does not know revisions, requests or raft. Entry points: [`Backend::open`],
//! [`Backend::batch`], [`Backend::view`], [`Backend::create_next`].
#![forbid(unsafe_code)]

mod batch;
mod db;
mod error;
pub mod image;
mod layout;
mod load;
mod next;
mod options;
mod rows;
mod size;
#[cfg(test)]
mod tests;
mod view;

pub use batch::WriteBatch;
pub use db::Backend;
pub use error::Error;
pub use next::NextBackend;
pub use options::{LogMode, Options};
pub use rows::{CacheUse, Rows};
pub use size::Sizes;
pub use view::ReadView;
