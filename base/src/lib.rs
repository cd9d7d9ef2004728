//! The shared vocabulary of the store: revisions, rows, buckets, ids, members, ranges, versions,
//! and the text forms users and other members see. Pure values: no I/O, no clock, no globals.
//!
//! ```text
//!   ids ─── member ─── schema (members, cluster, meta rows)
//!   revision ── row keys of bucket `key`          text ── durations, sizes, quoted bytes
//! ```
//!
//! Invariants:
//! - numbers in rows are fixed-width big endian, so byte order is number order;
//! - decoding never panics: rows come from disk and may be foreign or damaged;
//! - the JSON forms equal etcd's byte for byte.
//!
//! Entry points: [`Revision`], [`RowKey`], [`schema`], [`ids`], [`Member`], [`ConfState`],
//! [`KeyRange`], [`text`], [`time`], [`version`].

#![forbid(unsafe_code)]

pub mod ids;
pub mod json;
mod member;
mod range;
mod revision;
pub mod schema;
pub mod text;
pub mod time;
pub mod urls;
pub mod version;

pub use member::{ConfState, Member, MemberChange};
pub use range::{KeyRange, prefix_end};
pub use revision::{Revision, RowKey, RowKeyBytes};

/// What this crate refuses to read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A row key of bucket `key` that is no revision.
    #[error("row key is not a revision: {len} bytes")]
    RowKey {
        /// Its length in bytes.
        len: usize,
    },
    /// A row whose JSON does not describe what it should.
    #[error("decode {what}: {reason}")]
    Json {
        /// What the row should hold.
        what: &'static str,
        /// The parser's words.
        reason: String,
    },
    /// A duration in Go's syntax that does not parse.
    #[error("{0}")]
    Duration(String),
    /// A version that is not `major.minor[.patch]`.
    #[error("{0} is not a version")]
    Version(String),
    /// A list of member URLs that cannot be used.
    #[error("{0}")]
    Urls(String),
}
