//! The portable image of a store: one file in bbolt's format, which real etcd and its tools read
//! and write. This crate makes such a file from sorted rows and reads foreign ones; where rows
//! come from and go to is not its business.
//!
//! ```text
//!   rows ─▶ Planner ─▶ Plan (root, pages, bytes)          pass 1: lengths only
//!   rows ─────────────▶ Writer ─▶ meta meta leaf leaf branch … root     pass 2: in file order
//!                                                             [SHA-256]
//!   file ─▶ Reader ─▶ Walk ─▶ bucket, row, row, bucket, …
//!              └────▶ check, status
//! ```
//!
//! Invariants:
//! - The writer holds one page per tree level and the row at hand; it never seeks, unless it is
//!   the [`FileWriter`].
//! - Both passes run the same layout code, so they can differ only if the rows did; then the
//!   writer fails, before it exceeds the length that was announced.
//! - The reader believes nothing: every length, offset, order and reference is checked before use.
//!   Whatever the bytes are, it ends, does not panic, and holds one page per level (at most
//!   64 levels), the row at hand and one bit per page.
//! - No threads, no clock, no async; files only through [`Source`] and [`std::io::Write`].
//!
//! Entry points: [`Planner`], [`Writer`], [`FileWriter`], [`Reader`], [`HashingWriter`],
//! [`verify_trailer`].

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

mod audit;
mod error;
mod format;
mod page;
mod plan;
mod reader;
mod source;
mod status;
mod trailer;
mod tree;
mod walk;
mod writer;

pub use error::{Error, Result};
pub use plan::{Plan, Planner};
pub use reader::Reader;
pub use source::Source;
pub use status::Status;
pub use trailer::{HashingWriter, TRAILER_BYTES, has_trailer_size, verify_trailer};
pub use walk::Walk;
pub use writer::{FileWriter, Writer};
