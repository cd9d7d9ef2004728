//! The protobuf wire format, as far as the files of the log need it: varints, tags and
//! a bounds-checked walk over the fields of one message.

use std::fmt;

/// Longest varint: ten groups of seven bits.
const VARINT_BYTES_MAX: usize = 10;

/// Why bytes are not a protobuf message. The texts are those of etcd's decoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireError {
    /// A tag, varint or length runs past the end of the message.
    Truncated,
    /// A varint has more than 64 bits.
    Overflow,
    /// Field number 0, an unknown wire type, or a known field with another wire type.
    Malformed,
    /// An entry type outside etcd's enum.
    UnknownEntryType,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "unexpected EOF",
            Self::Overflow => "proto: integer overflow",
            Self::Malformed => "proto: cannot parse invalid wire-format data",
            Self::UnknownEntryType => "proto: unknown raftpb.EntryType",
        })
    }
}

impl std::error::Error for WireError {}

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 2.
    Bytes(&'a [u8]),
    /// Wire types 1 and 5: no message of the log has such a field, so they are only skipped.
    Fixed,
}

impl<'a> Value<'a> {
    /// The number, or an error when the field has another wire type.
    pub(crate) fn varint(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(n) => Ok(n),
            Self::Bytes(_) | Self::Fixed => Err(WireError::Malformed),
        }
    }

    /// The bytes, or an error when the field has another wire type.
    pub(crate) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(b) => Ok(b),
            Self::Varint(_) | Self::Fixed => Err(WireError::Malformed),
        }
    }
}

/// Iterator over the fields of one message: `(field number, value)`.
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Walks the fields of `message`.
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// The next field, `None` at the end of the message.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 {
            return Err(WireError::Malformed);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(WireError::Malformed),
        };
        Ok(Some((number, value)))
    }

    /// The next element of a packed list of varints, `None` at its end.
    pub(crate) fn next_varint(&mut self) -> Result<Option<u64>, WireError> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut n = 0u64;
        for (i, byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            if i == VARINT_BYTES_MAX - 1 && *byte > 1 {
                return Err(WireError::Overflow);
            }
            n |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.take(i + 1)?;
                return Ok(n);
            }
        }
        // Ten bytes that all carry on are caught above: the tenth may only be 0 or 1.
        Err(WireError::Truncated)
    }
}

/// Appends a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(low_seven(n) | 0x80);
        n >>= 7;
    }
    out.push(low_seven(n));
}

#[allow(clippy::cast_possible_truncation, reason = "seven bits fit into a byte")]
fn low_seven(n: u64) -> u8 {
    (n & 0x7f) as u8
}

/// Appends a varint field; `number` must be below 16 (a tag of one byte).
pub(crate) fn put_number(out: &mut Vec<u8>, number: u8, n: u64) {
    debug_assert!(number < 16);
    out.push(number << 3);
    put_varint(out, n);
}

/// Appends tag and length of a bytes field; `number` must be below 16.
pub(crate) fn put_bytes_head(out: &mut Vec<u8>, number: u8, len: usize) {
    debug_assert!(number < 16);
    out.push(number << 3 | 2);
    put_varint(out, len as u64);
}

/// Appends a whole bytes field; `number` must be below 16.
pub(crate) fn put_bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    put_bytes_head(out, number, bytes.len());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_reject_more_than_64_bits() {
        for n in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = vec![0x08];
            put_varint(&mut out, n);
            assert_eq!(Fields::new(&out).next(), Ok(Some((1, Value::Varint(n)))));
        }
        let mut eleven = vec![0x08];
        eleven.extend([0xff; 9]);
        eleven.push(0x02);
        assert_eq!(Fields::new(&eleven).next(), Err(WireError::Overflow));
    }

    #[test]
    fn every_prefix_of_a_message_is_an_error_or_fewer_fields() {
        let mut message = Vec::new();
        put_number(&mut message, 1, 300);
        put_bytes(&mut message, 2, b"hello");
        message.extend([0x1d, 1, 2, 3, 4]); // field 3, fixed 32
        message.extend([0x21, 1, 2, 3, 4, 5, 6, 7, 8]); // field 4, fixed 64
        for end in 0..=message.len() {
            let mut fields = Fields::new(&message[..end]);
            let mut seen = 0;
            let result = loop {
                match fields.next() {
                    Ok(Some(_)) => seen += 1,
                    Ok(None) => break Ok(seen),
                    Err(e) => break Err(e),
                }
            };
            match [0, 3, 10, 15, 24].iter().position(|boundary| *boundary == end) {
                Some(n) => assert_eq!(result, Ok(n), "prefix of {end}"),
                None => assert_eq!(result, Err(WireError::Truncated), "prefix of {end}"),
            }
        }
    }

    #[test]
    fn field_zero_and_groups_are_refused() {
        assert_eq!(Fields::new(&[0x00, 0x00]).next(), Err(WireError::Malformed));
        assert_eq!(Fields::new(&[0x0b]).next(), Err(WireError::Malformed));
        assert_eq!(Fields::new(&[0x0c]).next(), Err(WireError::Malformed));
        assert_eq!(Fields::new(&[0x0f]).next(), Err(WireError::Malformed));
    }
}
