//! The server: flags, listeners, gRPC and HTTP, and the loops around the replicated state.
//! `main.rs` only calls [`main`].
//!
//! ```text
//!   Config ─▶ DataDir ─▶ (Wal, Backend, Cluster) ─▶ Booted ─▶ run ─▶ ordered stop
//! ```
//!
//! Invariants:
//! - this crate decides nothing about keys: rules live in `apply` and `mvcc`;
//! - every flag works, or is refused by name; none is ignored.
//!
//! Entry point: [`main`].
#![forbid(unsafe_code)]

mod background;
mod backup;
mod bootstrap;
mod compactor;
mod config;
mod corruption;
mod facts;
mod fatal;
mod http;
mod lease_keeper;
mod listen;
mod log_disk;
mod logging;
mod machine;
mod member;
mod membership;
mod metrics;
mod notify;
mod peers;
mod proposer;
mod reads;
mod replies;
mod rpc;
mod run;
mod running;
mod signals;
mod snapshots;
mod state;
mod tls_setup;
mod versions;

pub use run::main;
