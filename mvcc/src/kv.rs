//! The stored form of a key-value pair: an encoded `mvccpb.KeyValue`, written and read by hand.
//!
//! ```text
//!   0a len key | 10 create | 18 mod | 20 version | 2a len value | 30 lease     zero: left out
//! ```

use bytes::Bytes;

const KEY: u8 = 0x0a;
const CREATE_REVISION: u8 = 0x10;
const MOD_REVISION: u8 = 0x18;
const VERSION: u8 = 0x20;
const VALUE: u8 = 0x2a;
const LEASE: u8 = 0x30;

/// Longest varint.
const VARINT_BYTES_MAX: usize = 10;

/// A key-value pair whose bytes are borrowed from its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Main revision of the put that began this generation.
    pub create_revision: i64,
    /// Main revision of this put.
    pub mod_revision: i64,
    /// Puts in this generation, this one included.
    pub version: i64,
    /// The value.
    pub value: &'a [u8],
    /// The lease attached, 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// The stored form, in one buffer of exactly its size.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_to(&mut out);
        Bytes::from(out)
    }

    /// Appends the stored form.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        put_bytes(out, KEY, self.key);
        put_number(out, CREATE_REVISION, self.create_revision);
        put_number(out, MOD_REVISION, self.mod_revision);
        put_number(out, VERSION, self.version);
        put_bytes(out, VALUE, self.value);
        put_number(out, LEASE, self.lease);
    }

    /// Length of the stored form.
    pub fn encoded_len(&self) -> usize {
        bytes_len(self.key)
            + number_len(self.create_revision)
            + number_len(self.mod_revision)
            + number_len(self.version)
            + bytes_len(self.value)
            + number_len(self.lease)
    }

    /// Reads a stored row, as protobuf does: any order, last one wins, unknown fields skipped.
    /// `None` if it is no message.
    pub fn decode(mut row: &'a [u8]) -> Option<KeyValue<'a>> {
        let mut kv = KeyValue::default();
        while !row.is_empty() {
            let tag = varint(&mut row)?;
            match u8::try_from(tag) {
                Ok(KEY) => kv.key = prefixed(&mut row)?,
                Ok(CREATE_REVISION) => kv.create_revision = varint(&mut row)?.cast_signed(),
                Ok(MOD_REVISION) => kv.mod_revision = varint(&mut row)?.cast_signed(),
                Ok(VERSION) => kv.version = varint(&mut row)?.cast_signed(),
                Ok(VALUE) => kv.value = prefixed(&mut row)?,
                Ok(LEASE) => kv.lease = varint(&mut row)?.cast_signed(),
                _ => skip(tag, &mut row)?,
            }
        }
        Some(kv)
    }

    /// The key of a stored row, usually without looking at the rest.
    pub fn key_of(row: &'a [u8]) -> Option<&'a [u8]> {
        match row.split_first() {
            Some((&KEY, mut rest)) => {
                let key = prefixed(&mut rest);
                // Our rows hold each field once, in order; others are read in full.
                if rest.first() == Some(&KEY) { Some(KeyValue::decode(row)?.key) } else { key }
            }
            _ => Some(KeyValue::decode(row)?.key),
        }
    }
}

fn put_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(tag);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn put_number(out: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        out.push(tag);
        put_varint(out, number.cast_unsigned());
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn bytes_len(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + varint_len(bytes.len() as u64) + bytes.len() }
}

fn number_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + varint_len(number.cast_unsigned()) }
}

fn varint_len(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

pub(crate) fn varint(row: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for i in 0..VARINT_BYTES_MAX {
        let (&byte, rest) = row.split_first()?;
        *row = rest;
        number |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn prefixed<'a>(row: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(row)?).ok()?;
    let (bytes, rest) = row.split_at_checked(len)?;
    *row = rest;
    Some(bytes)
}

fn skip(tag: u64, row: &mut &[u8]) -> Option<()> {
    let fixed = match tag & 7 {
        0 => return varint(row).map(drop),
        1 => 8,
        2 => return prefixed(row).map(drop),
        5 => 4,
        _ => return None,
    };
    *row = row.get(fixed..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn twin(kv: &KeyValue<'_>) -> proto::mvccpb::KeyValue {
        proto::mvccpb::KeyValue {
            key: Bytes::copy_from_slice(kv.key),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: Bytes::copy_from_slice(kv.value),
            lease: kv.lease,
        }
    }

    proptest! {
        #[test]
        fn stored_form_is_the_protobuf_message(
            key in proptest::collection::vec(any::<u8>(), 0..200),
            value in proptest::collection::vec(any::<u8>(), 0..300),
            create_revision in prop_oneof![Just(0), any::<i64>()],
            mod_revision in any::<i64>(),
            version in 0..300i64,
            lease in prop_oneof![Just(0), any::<i64>()],
        ) {
            let kv = KeyValue {
                key: &key, create_revision, mod_revision, version, value: &value, lease,
            };
            let row = kv.encode();
            prop_assert_eq!(&row[..], &twin(&kv).encode_to_vec()[..]);
            prop_assert_eq!(row.len(), kv.encoded_len());
            prop_assert_eq!(KeyValue::decode(&row), Some(kv));
            prop_assert_eq!(KeyValue::key_of(&row), Some(&key[..]));
        }

        #[test]
        fn decoding_agrees_with_protobuf_on_any_bytes(
            row in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(message) = proto::mvccpb::KeyValue::decode(&row[..]) {
                let kv = KeyValue::decode(&row).expect("protobuf reads it");
                prop_assert_eq!(twin(&kv), message);
                prop_assert_eq!(KeyValue::key_of(&row), Some(kv.key));
            }
            // Whatever it is, it does not panic.
            KeyValue::decode(&row);
            KeyValue::key_of(&row);
        }
    }
}
