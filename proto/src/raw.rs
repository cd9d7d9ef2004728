//! Twins of the answers that carry stored pairs: the same wire form, but the parts that come
//! from the store are the stored bytes themselves.
//!
//! A row of the `key` bucket is an encoded `mvccpb.KeyValue`; these messages embed it as it is,
//! so a read never decodes what it only forwards.

mod pairs;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{self, DecodeContext, WireType};
use prost::{DecodeError, Message};

use crate::etcdserverpb::ResponseHeader;
pub use pairs::Pairs;

/// `etcdserverpb.RangeResponse` with encoded pairs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RangeResponse {
    /// Who answered, and at which revision.
    pub header: Option<ResponseHeader>,
    /// The pairs found.
    pub kvs: Pairs,
    /// The limit cut the result.
    pub more: bool,
    /// Keys in the range, whatever the limit.
    pub count: i64,
}

/// `etcdserverpb.RangeStreamResponse` with encoded pairs.
#[derive(Clone, PartialEq, Message)]
pub struct RangeStreamResponse {
    /// One slice of the whole answer.
    #[prost(message, optional, tag = "1")]
    pub range_response: Option<RangeResponse>,
}

/// `etcdserverpb.PutResponse` with an encoded former pair.
#[derive(Clone, PartialEq, Message)]
pub struct PutResponse {
    /// Who answered, and at which revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Encoded `mvccpb.KeyValue` the put replaced.
    #[prost(bytes = "bytes", optional, tag = "2")]
    pub prev_kv: Option<Bytes>,
}

/// `etcdserverpb.DeleteRangeResponse` with encoded former pairs.
#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeResponse {
    /// Who answered, and at which revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Keys removed.
    #[prost(int64, tag = "2")]
    pub deleted: i64,
    /// Encoded `mvccpb.KeyValue` each.
    #[prost(bytes = "bytes", repeated, tag = "3")]
    pub prev_kvs: Vec<Bytes>,
}

/// `etcdserverpb.TxnResponse` made of raw parts.
#[derive(Clone, PartialEq, Message)]
pub struct TxnResponse {
    /// Who answered, and at which revision.
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// The compares held.
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    /// One answer per operation of the branch that ran.
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

/// `etcdserverpb.ResponseOp` made of raw parts.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseOp {
    /// The answer of one operation.
    #[prost(oneof = "Response", tags = "1, 2, 3, 4")]
    pub response: Option<Response>,
}

/// The answer of one operation of a transaction.
#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Response {
    /// Of a range.
    #[prost(message, tag = "1")]
    ResponseRange(RangeResponse),
    /// Of a put.
    #[prost(message, tag = "2")]
    ResponsePut(PutResponse),
    /// Of a delete.
    #[prost(message, tag = "3")]
    ResponseDeleteRange(DeleteRangeResponse),
    /// Of a nested transaction.
    #[prost(message, tag = "4")]
    ResponseTxn(TxnResponse),
}

/// Field number of the events inside `WatchResponse`.
const EVENTS_FIELD: u32 = 11;

/// `etcdserverpb.WatchResponse` whose events are already encoded.
///
/// `events` holds the whole repeated field 11, tags and lengths included, so one encoding serves
/// every watcher that sees the same events. Build it with [`encode_event`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WatchResponse {
    /// Who answered, and at which revision.
    pub header: Option<ResponseHeader>,
    /// The watcher on its stream.
    pub watch_id: i64,
    /// Answers a create request.
    pub created: bool,
    /// The watcher is gone.
    pub canceled: bool,
    /// Not zero when the watcher fell behind this compacted revision.
    pub compact_revision: i64,
    /// Why the watcher is gone.
    pub cancel_reason: String,
    /// More parts of the same answer follow.
    pub fragment: bool,
    /// Encoded repeated field 11, tags included.
    pub events: Bytes,
}

/// Appends one encoded `mvccpb.Event` to `buf` as an element of `WatchResponse.events`.
///
/// `kv` and `prev_kv` are encoded `mvccpb.KeyValue`; `kind` is the event type's number.
pub fn encode_event(kind: i32, kv: &[u8], prev_kv: Option<&[u8]>, buf: &mut BytesMut) {
    let body_len = event_body_len(kind, kv, prev_kv);
    buf.reserve(1 + encoding::encoded_len_varint(body_len as u64) + body_len);
    encoding::encode_key(EVENTS_FIELD, WireType::LengthDelimited, buf);
    encoding::encode_varint(body_len as u64, buf);
    if kind != 0 {
        encoding::int32::encode(1, &kind, buf);
    }
    put_part(2, kv, buf);
    if let Some(prev) = prev_kv {
        put_part(3, prev, buf);
    }
}

/// The encoded length of an `mvccpb.Event`, without its own tag and length.
fn event_body_len(kind: i32, kv: &[u8], prev_kv: Option<&[u8]>) -> usize {
    let kind_len = if kind == 0 { 0 } else { encoding::int32::encoded_len(1, &kind) };
    kind_len + part_len(kv) + prev_kv.map_or(0, part_len)
}

fn part_len(part: &[u8]) -> usize {
    1 + encoding::encoded_len_varint(part.len() as u64) + part.len()
}

fn put_part(field: u32, part: &[u8], buf: &mut BytesMut) {
    encoding::encode_key(field, WireType::LengthDelimited, buf);
    encoding::encode_varint(part.len() as u64, buf);
    buf.put_slice(part);
}

impl Message for RangeResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(header) = &self.header {
            encoding::message::encode(1, header, buf);
        }
        self.kvs.encode_to(buf);
        if self.more {
            encoding::bool::encode(3, &self.more, buf);
        }
        if self.count != 0 {
            encoding::int64::encode(4, &self.count, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => {
                let header = self.header.get_or_insert_default();
                encoding::message::merge(wire_type, header, buf, ctx)
            }
            pairs::FIELD => {
                let mut pair = Bytes::new();
                encoding::bytes::merge(wire_type, &mut pair, buf, ctx)?;
                let mut part = Vec::with_capacity(Pairs::room(1, pair.len()));
                Pairs::append(&mut part, &pair);
                self.kvs.push_part(part, 1);
                Ok(())
            }
            3 => encoding::bool::merge(wire_type, &mut self.more, buf, ctx),
            4 => encoding::int64::merge(wire_type, &mut self.count, buf, ctx),
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let mut len = self.kvs.encoded_len() + 2 * usize::from(self.more);
        if let Some(header) = &self.header {
            len += encoding::message::encoded_len(1, header);
        }
        if self.count != 0 {
            len += encoding::int64::encoded_len(4, &self.count);
        }
        len
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Message for WatchResponse {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if let Some(header) = &self.header {
            encoding::message::encode(1, header, buf);
        }
        if self.watch_id != 0 {
            encoding::int64::encode(2, &self.watch_id, buf);
        }
        if self.created {
            encoding::bool::encode(3, &self.created, buf);
        }
        if self.canceled {
            encoding::bool::encode(4, &self.canceled, buf);
        }
        if self.compact_revision != 0 {
            encoding::int64::encode(5, &self.compact_revision, buf);
        }
        if !self.cancel_reason.is_empty() {
            encoding::string::encode(6, &self.cancel_reason, buf);
        }
        if self.fragment {
            encoding::bool::encode(7, &self.fragment, buf);
        }
        buf.put_slice(&self.events);
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        ctx: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            1 => {
                let header = self.header.get_or_insert_default();
                encoding::message::merge(wire_type, header, buf, ctx)
            }
            2 => encoding::int64::merge(wire_type, &mut self.watch_id, buf, ctx),
            3 => encoding::bool::merge(wire_type, &mut self.created, buf, ctx),
            4 => encoding::bool::merge(wire_type, &mut self.canceled, buf, ctx),
            5 => encoding::int64::merge(wire_type, &mut self.compact_revision, buf, ctx),
            6 => encoding::string::merge(wire_type, &mut self.cancel_reason, buf, ctx),
            7 => encoding::bool::merge(wire_type, &mut self.fragment, buf, ctx),
            EVENTS_FIELD => {
                let mut event = Bytes::new();
                encoding::bytes::merge(wire_type, &mut event, buf, ctx)?;
                let mut events = BytesMut::from(&self.events[..]);
                put_part(EVENTS_FIELD, &event, &mut events);
                self.events = events.freeze();
                Ok(())
            }
            _ => encoding::skip_field(wire_type, tag, buf, ctx),
        }
    }

    fn encoded_len(&self) -> usize {
        let mut len = self.events.len();
        if let Some(header) = &self.header {
            len += encoding::message::encoded_len(1, header);
        }
        if self.watch_id != 0 {
            len += encoding::int64::encoded_len(2, &self.watch_id);
        }
        len += 2 * (usize::from(self.created) + usize::from(self.canceled));
        if self.compact_revision != 0 {
            len += encoding::int64::encoded_len(5, &self.compact_revision);
        }
        if !self.cancel_reason.is_empty() {
            len += encoding::string::encoded_len(6, &self.cancel_reason);
        }
        len + 2 * usize::from(self.fragment)
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}
