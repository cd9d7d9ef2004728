//! The replicated state machine: takes the committed entries of the log one by one and turns
//! them into rows, answers and consequences. It is a function of the log alone.
//!
//! ```text
//!   entry ─▶ decode ─▶ guards ─▶ execute ─▶ quota verdict ─▶ Applied { result, effects, changes }
//!                                   │
//!                 keys (mvcc), leases, alarms, members, versions
//!                                   ▼
//!            rows of the whole batch + consistent index + term ─▶ one write
//! ```
//!
//! Invariants:
//! - The same entries on the same rows give the same rows on every member: no clock, no random
//!   number, no order of a hash map, no setting of one member decides what is written. (The
//!   shortest lease TTL and the number of learners are settings all members must share.)
//! - The rows of a batch and its last index are one write, so neither is ever ahead.
//! - Entries up to the stored index change nothing.
//! - A request that fails is an answer; only bytes that are no request stop the member.
//!
//! This crate waits for nothing and knows neither time nor network. Entry points:
//! [`StateMachine`], [`range`] and [`read_txn`] for reads beside the log, [`State`] for what is
//! not keys.
#![forbid(unsafe_code)]
// What every member must do alike may not hang on the order of a hash map or on a clock.
#![deny(clippy::iter_over_hash_type, clippy::disallowed_methods)]

mod alarm;
mod cluster;
mod compare;
mod dispatch;
mod effect;
mod entry;
mod error;
mod guard;
mod lease;
pub mod legacy;
mod load;
mod machine;
pub mod quota;
mod range;
mod request;
mod source;
mod state;
mod store;
mod txn;
mod write;

#[cfg(test)]
mod tests;

pub use alarm::Alarms;
pub use cluster::{DowngradeInfo, Members};
pub use dispatch::Reply;
pub use effect::Effect;
pub use entry::{Applied, Entry, EntryKind, Options, Verdict};
pub use error::{ApplyError, Error};
pub use lease::{LEASE_TTL_MAX_S, Lease, LeaseTable};
pub use load::Standing;
pub use machine::StateMachine;
pub use range::{RangeAnswer, range};
pub use source::{ReadError, Source};
pub use state::{Cluster, State};
pub use txn::{TxnAnswer, is_read_only, is_serializable, read_txn};
