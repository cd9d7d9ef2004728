//! The server: flags, listeners, gRPC and HTTP, and the loops around the replicated state.
//! It is a library so that tests can reach its parts; `main.rs` only calls it.
//!
//! ```text
//!   Config ─▶ DataDir ─▶ (Wal, Backend, Cluster) ─▶ Booted ─▶ run ─▶ ordered stop
//! ```
//!
//! Invariants:
//! - this crate decides nothing about keys: rules live in `apply` and `mvcc`;
//! - every flag works, or is refused by name; none is ignored.
//!
//! Entry points: [`config::read`], [`logging::install`].
#![forbid(unsafe_code)]

pub mod background;
pub mod backup;
pub mod bootstrap;
pub mod compactor;
pub mod config;
mod corruption;
pub mod facts;
pub mod fatal;
pub mod http;
pub mod lease_keeper;
pub mod listen;
mod log_disk;
pub mod logging;
pub mod machine;
pub mod member;
pub mod membership;
pub mod metrics;
pub mod notify;
pub mod peers;
pub mod proposer;
pub mod reads;
pub mod replies;
pub mod rpc;
pub mod run;
pub mod running;
pub mod signals;
pub mod snapshots;
pub mod state;
pub mod tls_setup;
mod versions;
