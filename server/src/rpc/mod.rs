//! gRPC: checks requests, asks the member below, words answers and errors as clients know them.
//!
//! ```text
//!   Grpc ─ path, metadata ─▶ generated server ─ decode ─▶ service ─ check ─▶ Node
//!     ╰── counts, deadline, texts of transport errors ◀── answer + header ◀──╯
//! ```
//!
//! Invariants:
//! - rules about keys live below; here are only those that need no store;
//! - every error text comes from `errors.rs`, those of the transport from `transport.rs`;
//! - what is not served yet says so with code Unimplemented.
//!
//! Entry points: [`Grpc::new`], and [`node`] for what it needs.

mod body;
pub(crate) mod check;
mod cluster;
mod duplicates;
mod errors;
mod header;
mod health;
mod kv;
mod lease;
mod maintenance;
pub(crate) mod node;
mod range_call;
mod range_stream;
mod routes;
mod serve;
mod stream_end;
mod transport;
mod watch;

use std::time::Duration;

pub(crate) use errors::RpcError;
pub(crate) use serve::Grpc;
pub(crate) use stream_end::Closing;

/// What the services need of the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    /// Longest log entry, in bytes (`--max-request-bytes`).
    pub request_bytes_max: usize,
    /// Operations on one level of a transaction (`--max-txn-ops`).
    pub txn_ops_max: usize,
    /// `--election-timeout`.
    pub election_timeout: Duration,
    /// Time between progress notices of an idle watcher.
    pub watch_progress_interval: Duration,
    /// Unary requests that take longer are logged; zero is never.
    pub slow_request: Duration,
}

/// What a gRPC message may be longer than a log entry, in bytes.
pub(crate) const GRPC_OVERHEAD_BYTES: usize = 512 * 1024;

impl Settings {
    /// Longest gRPC message taken, in bytes.
    pub(crate) const fn message_bytes_max(&self) -> usize {
        self.request_bytes_max + GRPC_OVERHEAD_BYTES
    }
}

#[cfg(test)]
mod tests;
