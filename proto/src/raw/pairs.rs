//! The pairs of a range's answer as they go over the wire.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{self, WireType};

/// Field number of the pairs inside `RangeResponse`.
pub(super) const FIELD: u32 = 2;

/// Room for the tag and the length of a pair.
const HEAD_BYTES_MAX: usize = 6;

/// Encoded `mvccpb.KeyValue`s as the repeated field of `RangeResponse`, tags and lengths
/// included. The pairs of a part lie in one allocation, so that thousands of them are kept,
/// measured and written like one.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    parts: Vec<Bytes>,
    number: usize,
    bytes: usize,
}

impl Pairs {
    /// Room that `pairs` pairs of `pair_bytes` bytes each take in a part.
    pub fn room(pairs: usize, pair_bytes: usize) -> usize {
        pairs * (pair_bytes + HEAD_BYTES_MAX)
    }

    /// Appends one encoded pair to a part under construction.
    pub fn append(part: &mut Vec<u8>, pair: &[u8]) {
        encoding::encode_key(FIELD, WireType::LengthDelimited, part);
        encoding::encode_varint(pair.len() as u64, part);
        part.extend_from_slice(pair);
    }

    /// Adds a part that [`append`](Pairs::append) filled with `number` pairs.
    pub fn push_part(&mut self, part: Vec<u8>, number: usize) {
        if number > 0 {
            self.number += number;
            self.bytes += part.len();
            self.parts.push(part.into());
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.number
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.number == 0
    }

    /// The encoded pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Bytes> {
        self.parts.iter().flat_map(|part| split(part.clone()))
    }

    /// The last encoded pair.
    pub fn last(&self) -> Option<Bytes> {
        split(self.parts.last()?.clone()).last()
    }

    /// The parts, in order.
    pub(crate) fn into_parts(self) -> Vec<Bytes> {
        self.parts
    }

    /// Length of the encoded field.
    pub(super) fn encoded_len(&self) -> usize {
        self.bytes
    }

    pub(super) fn encode_to(&self, buf: &mut impl BufMut) {
        for part in &self.parts {
            buf.put_slice(part);
        }
    }
}

/// The pairs of a part.
fn split(mut part: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        if !part.has_remaining() {
            return None;
        }
        part.advance(1);
        let length = encoding::decode_varint(&mut part).ok()?;
        Some(part.split_to(usize::try_from(length).ok()?.min(part.len())))
    })
}

/// One part that holds them all.
impl<T: AsRef<[u8]>> FromIterator<T> for Pairs {
    fn from_iter<I: IntoIterator<Item = T>>(pairs: I) -> Self {
        let (mut part, mut number) = (Vec::new(), 0);
        for pair in pairs {
            Pairs::append(&mut part, pair.as_ref());
            number += 1;
        }
        let mut all = Pairs::default();
        all.push_part(part, number);
        all
    }
}

/// However they are cut into parts.
impl PartialEq for Pairs {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number && self.bytes == other.bytes && self.iter().eq(other.iter())
    }
}
