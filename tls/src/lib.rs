//! TLS for both sides of every connection, by etcd's rules: who is asked for a certificate, whose
//! is accepted, and the words a refusal is told in.
//!
//! ```text
//!   accepted socket ─▶ Acceptor ─▶ Accepted { Stream, Identity }      files ─┬─ certificate, key:
//!                         │                                                  │  read at each use
//!                         ╰─▶ Rejected { error, … } for the log              ├─ revocation list:
//!   dialled socket  ─▶ Connector ─▶ Stream                                   │  read at each use
//!                                                                            ╰─ CA: read once
//! ```
//!
//! Invariants:
//! - the provider of the algorithms is passed explicitly, the process has no default one;
//! - no session is resumed: every connection passes every check;
//! - a file that cannot be used refuses connections, it never waves them through;
//! - nothing a peer sends panics; a handshake ends within [`HANDSHAKE_TIMEOUT`];
//! - nothing is logged here: texts and warnings are returned.
//!
//! Entry points: [`Acceptor::new`], [`Connector::new`], [`self_signed`], [`Protocols::new`].

#![forbid(unsafe_code)]

mod acceptor;
mod allowed;
mod cert;
mod client_check;
mod connector;
mod crl;
mod error;
mod pair;
mod protocols;
mod roots;
mod san;
mod self_signed;
mod server_check;
mod stream;
#[cfg(feature = "test-certs")]
pub mod test_certs;
mod text;
mod verify;

use std::time::Duration;

pub use acceptor::{Accepted, Acceptor, Identity, Rejected, ServerOptions};
pub use allowed::Allowed;
pub use connector::{ClientOptions, Connector, Trust};
pub use error::Error;
pub use pair::PairFiles;
pub use protocols::{Protocols, Version};
pub use san::{Names, SystemNames};
pub use self_signed::{SelfSigned, self_signed};
pub use stream::Stream;
pub use text::describe;

/// How long a handshake may take, the checks of the peer's certificate included (etcd: 10 s).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
