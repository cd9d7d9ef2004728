//! The decoded content of a log entry.
//!
//! ```text
//! entry.data = InternalRaftRequest
//!   +--------------------+-----------------------------+-------------------+
//!   | field 4: put {...} | field 100: header {ID, ...} | unknown: skipped  |
//!   +--------------------+-----------------------------+-------------------+
//!     the one request       whom to answer
//! ```
//!
//! The envelope has some thirty optional messages of which one is set. It is walked by hand and
//! only that one is decoded; keys and values stay slices of the entry. If a log ever carries
//! more than one request in an entry, the first one counts.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{self, DecodeContext, WireType};
use proto::etcdserverpb as pb;
use proto::membershippb;
use proto::scan::{Shape, scan};

use crate::legacy;

/// The request of an entry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    /// A leader's first entry, or a request this version has no name for.
    Nothing,
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compaction(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseCheckpoint(pb::LeaseCheckpointRequest),
    Alarm(pb::AlarmRequest),
    /// Any of the auth service.
    Auth,
    ClusterVersionSet(membershippb::ClusterVersionSetRequest),
    ClusterMemberAttrSet(membershippb::ClusterMemberAttrSetRequest),
    DowngradeInfoSet(membershippb::DowngradeInfoSetRequest),
    /// Changes nothing; it exists so that logs can carry a version mark.
    DowngradeVersionTest,
}

/// A request and the number under which its proposer waits.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// 0 if nobody waits.
    pub(crate) request_id: u64,
    pub(crate) request: Request,
}

const FIELD_ID: u32 = 1;
const FIELD_V2: u32 = 2;
const FIELD_HEADER: u32 = 100;

impl Envelope {
    /// Decodes the data of an entry.
    ///
    /// # Errors
    ///
    /// Says why the bytes are neither an `InternalRaftRequest` nor a request of the v2 API, which
    /// logs written by 3.4 and 3.5 still carry.
    pub(crate) fn decode(data: &Bytes) -> Result<Self, String> {
        let mut rest: &[u8] = data;
        let mut plain_id = 0;
        let mut header_id = 0;
        let mut body: Option<(u32, Bytes)> = None;
        while !rest.is_empty() {
            let (field, wire) = encoding::decode_key(&mut rest).map_err(text)?;
            match (field, wire) {
                (FIELD_ID, WireType::Varint) => {
                    plain_id = encoding::decode_varint(&mut rest).map_err(text)?;
                }
                (FIELD_V2, WireType::LengthDelimited) => {
                    let bytes = message(data, &mut rest)?;
                    if !legacy::is_nested_request(&bytes) {
                        return legacy::decode(data);
                    }
                    return legacy::decode(&bytes);
                }
                (FIELD_HEADER, WireType::LengthDelimited) => {
                    header_id = decode::<pb::RequestHeader>(message(data, &mut rest)?)?.id;
                }
                (3..=11 | 1000..=9999, WireType::LengthDelimited) => {
                    let bytes = message(data, &mut rest)?;
                    body.get_or_insert((field, bytes));
                }
                (_, wire) => {
                    encoding::skip_field(wire, field, &mut rest, DecodeContext::default())
                        .map_err(text)?;
                }
            }
        }
        let request_id = if header_id == 0 { plain_id } else { header_id };
        let request = match body {
            None => Request::Nothing,
            Some((field, bytes)) => Request::decode(field, bytes)?,
        };
        Ok(Self { request_id, request })
    }
}

impl Request {
    fn decode(field: u32, bytes: Bytes) -> Result<Self, String> {
        Ok(match field {
            3 => Self::Range(decode(bytes)?),
            4 => Self::Put(decode(bytes)?),
            5 => Self::DeleteRange(decode(bytes)?),
            6 => {
                scan(&bytes, Shape::Txn).map_err(|refusal| format!("txn: {refusal:?}"))?;
                Self::Txn(decode(bytes)?)
            }
            7 => Self::Compaction(decode(bytes)?),
            8 => Self::LeaseGrant(decode(bytes)?),
            9 => Self::LeaseRevoke(decode(bytes)?),
            10 => Self::Alarm(decode(bytes)?),
            11 => Self::LeaseCheckpoint(decode(bytes)?),
            1000 | 1011..=1013 | 1100..=1107 | 1200..=1204 => Self::Auth,
            1300 => Self::ClusterVersionSet(decode(bytes)?),
            1301 => Self::ClusterMemberAttrSet(decode(bytes)?),
            1302 => Self::DowngradeInfoSet(decode(bytes)?),
            9900 => Self::DowngradeVersionTest,
            _unknown => Self::Nothing,
        })
    }
}

/// Cuts a length-delimited field out of `data`, whose unread part is `rest`.
fn message(data: &Bytes, rest: &mut &[u8]) -> Result<Bytes, String> {
    let len = encoding::decode_varint(rest).map_err(text)?;
    let len = usize::try_from(len).map_err(text)?;
    let Some((head, tail)) = rest.split_at_checked(len) else {
        return Err(format!("a field of {len} bytes in the last {} bytes", rest.len()));
    };
    *rest = tail;
    Ok(data.slice_ref(head))
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M, String> {
    M::decode(bytes).map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
