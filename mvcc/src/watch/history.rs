//! Where past events come from, and what rows tell of them.

use std::ops::ControlFlow;

use base::{Revision, RowKey};
use bytes::{BufMut, Bytes, BytesMut};

/// Reading failed for good. The store reports why and the member is about to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadFailed;

/// Where the hub reads past events; the store. What cannot be read any more is `None`.
pub trait History: Send + Sync + 'static {
    /// The revision compacted at, or a negative number. It must rise before the first row of a
    /// compaction is removed: the hub reads it after reading rows.
    fn compacted_revision(&self) -> i64;

    /// Hands over the rows of bucket `key` whose main revision is in `from..=to`, ascending,
    /// until `f` breaks.
    ///
    /// # Errors
    /// [`ReadFailed`] if rows may be missing; the hub then delivers no past events any more.
    fn scan(
        &self,
        from: i64,
        to: i64,
        f: &mut dyn FnMut(RowKey, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadFailed>;

    /// The value of the put row at `rev`, if it still exists.
    fn row(&self, rev: Revision) -> Option<Bytes>;

    /// The encoded pair of `key` as a read at main revision `main` sees it; `None` if the key
    /// does not live then or `main` is compacted.
    fn pair_at(&self, key: &[u8], main: i64) -> Option<Bytes>;
}

const KEY_TAG: u8 = 0x0a;
const CREATE_REVISION_TAG: u8 = 0x10;
const MOD_REVISION_TAG: u8 = 0x18;

fn put_varint(buf: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        buf.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buf.put_u8(value as u8);
}

/// The encoded pair of a DELETE event.
pub(super) fn deleted_pair(key: &[u8], main: i64) -> Bytes {
    let mut buf = BytesMut::with_capacity(key.len() + 22);
    buf.put_u8(KEY_TAG);
    put_varint(&mut buf, key.len() as u64);
    buf.put_slice(key);
    buf.put_u8(MOD_REVISION_TAG);
    put_varint(&mut buf, main as u64);
    buf.freeze()
}

/// Reads a varint from the front of `bytes`.
pub(super) fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// The key inside a row's value; `None` if there is none, as in rows that only hold a revision.
pub(super) fn key_of_row(value: &[u8]) -> Option<&[u8]> {
    let (&KEY_TAG, mut rest) = value.split_first()? else { return None };
    let len = usize::try_from(take_varint(&mut rest)?).ok()?;
    rest.get(..len).filter(|key| !key.is_empty())
}

/// Whether the value of a put's row tells of a creation: both revisions in it are the same.
pub(super) fn is_creation(value: &[u8]) -> bool {
    let revisions = || {
        let mut rest = value.get(1..)?;
        let len = usize::try_from(take_varint(&mut rest)?).ok()?;
        let (&CREATE_REVISION_TAG, mut rest) = rest.get(len..)?.split_first()? else {
            return None;
        };
        let create = take_varint(&mut rest)?;
        let (&MOD_REVISION_TAG, mut rest) = rest.split_first()? else { return None };
        Some((create, take_varint(&mut rest)?))
    };
    revisions().is_some_and(|(create, modified)| create == modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deleted_pair_holds_key_and_mod_revision_only() {
        assert_eq!(&deleted_pair(b"foo", 5)[..], b"\x0a\x03foo\x18\x05");
        assert_eq!(&deleted_pair(b"a", 300)[..], b"\x0a\x01a\x18\xac\x02");
    }

    #[test]
    fn the_key_of_a_row_is_its_first_field() {
        assert_eq!(key_of_row(b"\x0a\x03foo\x10\x02"), Some(&b"foo"[..]));
        let long = vec![b'k'; 300];
        assert_eq!(key_of_row(&deleted_pair(&long, 7)), Some(&long[..]));
        assert!(is_creation(b"\x0a\x03foo\x10\x02\x18\x02\x20\x01"));
        assert!(!is_creation(b"\x0a\x03foo\x10\x02\x18\x03\x20\x02"));
        for bad in [&b""[..], b"\x10\x02", b"\x0a\x03fo", b"\x0a", b"\x0a\x00"] {
            assert_eq!(key_of_row(bad), None);
            assert!(!is_creation(bad));
        }
    }
}
