//! Leases without time: what all members agree on. Deadlines live in the server's keeper.

mod rows;
mod table;

pub(crate) use rows::{decode_row, encode_row};
pub use table::{Lease, LeaseTable};

/// The longest TTL a lease may have, in seconds.
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;
