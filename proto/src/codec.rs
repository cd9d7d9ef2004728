//! The codec of the server: scans a request before prost decodes it and words decode errors as
//! etcd's clients know them.

use std::any::TypeId;
use std::collections::VecDeque;
use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Code, Status};

use crate::scan::{self, Refusal, Shape};
use crate::{etcdserverpb as pb, raw, v3electionpb};

/// Text of the refusal of bytes that are no message.
const MALFORMED: &str =
    "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
/// Text of the refusal of a string field that is not UTF-8.
const NOT_UTF8: &str = "grpc: error unmarshalling request: string field contains invalid UTF-8";
/// Text of the refusal of a transaction nested deeper than any budget.
const TOO_MANY_OPS: &str = "etcdserver: too many operations in txn request";

/// First size of the buffers of one call, in bytes: most requests and answers are small, and a
/// decoded key keeps the whole buffer it was received in alive.
const BUFFER_BYTES: usize = 512;
/// Length of what precedes a gRPC message: compression flag and length.
const PREFIX_BYTES: usize = 5;
/// Answers up to this length are put into one piece; beyond, a copy costs more than a frame.
const FRAME_WHOLE_BYTES: usize = 16 * 1024;
/// Encoded bytes beyond which a stream hands over what it has.
const YIELD_BYTES: usize = 32 * 1024;

/// Encodes `E`, decodes `D`.
#[derive(Debug, Clone)]
pub struct EtcdCodec<E, D>(PhantomData<(E, D)>);

impl<E, D> Default for EtcdCodec<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for EtcdCodec<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = EtcdEncoder<E>;
    type Decoder = EtcdDecoder<D>;

    fn encoder(&mut self) -> Self::Encoder {
        EtcdEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        EtcdDecoder { shape: shape_of::<D>(), message: PhantomData }
    }
}

/// Encodes answers into one reservation of the output buffer.
#[derive(Debug)]
pub struct EtcdEncoder<E>(PhantomData<E>);

impl<E: Message> Encoder for EtcdEncoder<E> {
    type Item = E;
    type Error = Status;

    fn encode(&mut self, item: E, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(item.encoded_len());
        item.encode_raw(buf);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

/// Scans, then decodes requests.
#[derive(Debug)]
pub struct EtcdDecoder<D> {
    shape: Shape,
    message: PhantomData<D>,
}

impl<D: Message + Default> Decoder for EtcdDecoder<D> {
    type Item = D;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<D>, Status> {
        scan_and_decode(self.shape, buf).map(Some)
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
    }
}

/// A range's answer as the bytes of one gRPC message, prefix included. Large answers come in
/// pieces, so that their pairs are not copied.
///
/// # Errors
/// `ResourceExhausted` for what is longer than clients can take.
pub fn frame_range(mut answer: raw::RangeResponse) -> Result<VecDeque<Bytes>, Status> {
    let length = answer.encoded_len();
    let prefix = match u32::try_from(length) {
        Ok(length) if i32::try_from(length).is_ok() => length.to_be_bytes(),
        _ => {
            let words = "grpc: trying to send message larger than max";
            let text = format!("{words} ({length} vs. {})", i32::MAX);
            return Err(Status::new(Code::ResourceExhausted, text));
        }
    };
    let mut first = BytesMut::with_capacity(PREFIX_BYTES + length.min(FRAME_WHOLE_BYTES));
    first.put_u8(0);
    first.put_slice(&prefix);
    if length <= FRAME_WHOLE_BYTES {
        answer.encode_raw(&mut first);
        return Ok([first.freeze()].into());
    }
    // The fields before the pairs, the pairs, the fields behind them.
    let header = raw::RangeResponse { header: answer.header.take(), ..Default::default() };
    header.encode_raw(&mut first);
    let pairs = std::mem::take(&mut answer.kvs);
    let mut last = BytesMut::new();
    answer.encode_raw(&mut last);
    let mut pieces = VecDeque::from([first.freeze()]);
    pieces.extend(pairs.into_parts());
    if !last.is_empty() {
        pieces.push_back(last.freeze());
    }
    Ok(pieces)
}

/// Decodes one whole request the way the server does, from bytes in one piece.
///
/// # Errors
/// `Internal` for bytes that are no such message; `InvalidArgument` for a transaction nested
/// deeper than any operation budget.
pub fn decode<D: Message + Default + 'static>(bytes: Bytes) -> Result<D, Status> {
    scan_and_decode(shape_of::<D>(), bytes)
}

/// `buf` holds one message in one piece, as the transport hands it over.
fn scan_and_decode<D: Message + Default>(shape: Shape, buf: impl Buf) -> Result<D, Status> {
    debug_assert_eq!(buf.chunk().len(), buf.remaining());
    scan::scan(buf.chunk(), shape).map_err(|refusal| match refusal {
        Refusal::Malformed => Status::new(Code::Internal, MALFORMED),
        Refusal::TooManyOps => Status::new(Code::InvalidArgument, TOO_MANY_OPS),
    })?;
    D::decode(buf).map_err(|error| Status::new(Code::Internal, decode_text(&error)))
}

/// The stable part of the wording of a decode error.
fn decode_text(error: &prost::DecodeError) -> &'static str {
    if error.to_string().contains("UTF-8") { NOT_UTF8 } else { MALFORMED }
}

/// The shape of a request; every request with message fields has its row here.
fn shape_of<D: 'static>() -> Shape {
    let id = TypeId::of::<D>();
    if id == TypeId::of::<pb::TxnRequest>() {
        Shape::Txn
    } else if id == TypeId::of::<pb::WatchRequest>() {
        Shape::Leaves(3)
    } else if id == TypeId::of::<pb::AuthUserAddRequest>() {
        Shape::LeafAt(3)
    } else if id == TypeId::of::<pb::AuthRoleGrantPermissionRequest>() {
        Shape::LeafAt(2)
    } else if id == TypeId::of::<v3electionpb::ProclaimRequest>()
        || id == TypeId::of::<v3electionpb::ResignRequest>()
    {
        Shape::LeafAt(1)
    } else {
        Shape::Leaf
    }
}

#[cfg(test)]
mod tests;
