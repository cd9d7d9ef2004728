//! The rows of bucket `lease`: big-endian id to `leasepb.Lease`.

use bytes::Bytes;
use prost::Message;
use proto::leasepb;

use super::table::Lease;

/// The value of a lease's row.
pub(crate) fn encode_row(id: i64, lease: &Lease) -> Bytes {
    let row = leasepb::Lease { id, ttl: lease.ttl_s, remaining_ttl: lease.remaining_ttl_s };
    row.encode_to_vec().into()
}

/// Reads the value of a row: the id it names, and the lease without keys.
pub(crate) fn decode_row(value: &[u8]) -> Result<(i64, Lease), prost::DecodeError> {
    let row = leasepb::Lease::decode(value)?;
    Ok((row.id, Lease::new(row.ttl, row.remaining_ttl)))
}
