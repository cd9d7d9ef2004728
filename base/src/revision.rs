//! Revisions and their row keys.
//!
//! ```text
//!   0        8  9        17 18
//!   ├─ main ─┤_ ├─ sub ─┤[t]      big endian; `t` marks a tombstone
//! ```

use std::ops::Deref;

use crate::Error;

/// Length of the row key of a put.
const PUT_LEN: usize = 17;
/// Length of the row key of a tombstone.
const TOMBSTONE_LEN: usize = 18;
const SEPARATOR: u8 = b'_';
const TOMBSTONE: u8 = b't';

/// A point in the store's history: the write request that made it, and the change inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision {
    /// The write request; the first one of a store gets 2.
    pub main: i64,
    /// The change inside the request, from 0.
    pub sub: i64,
}

impl Revision {
    /// The change `sub` of the request `main`.
    pub const fn new(main: i64, sub: i64) -> Self {
        Self { main, sub }
    }
}

/// The key of a row in bucket `key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// Which change the row holds.
    pub rev: Revision,
    /// The change is a deletion.
    pub tombstone: bool,
}

impl RowKey {
    /// The row of a put.
    pub const fn put(rev: Revision) -> Self {
        Self { rev, tombstone: false }
    }

    /// The row of a deletion.
    pub const fn tombstone(rev: Revision) -> Self {
        Self { rev, tombstone: true }
    }

    /// The bytes of the key. Both numbers must not be negative; `debug_assert`ed.
    pub fn encode(self) -> RowKeyBytes {
        debug_assert!(self.rev.main >= 0 && self.rev.sub >= 0, "revision is not negative");
        let mut bytes = [0; TOMBSTONE_LEN];
        bytes[..8].copy_from_slice(&self.rev.main.to_be_bytes());
        bytes[8] = SEPARATOR;
        bytes[9..PUT_LEN].copy_from_slice(&self.rev.sub.to_be_bytes());
        bytes[PUT_LEN] = TOMBSTONE;
        RowKeyBytes { bytes, tombstone: self.tombstone }
    }

    /// Reads the key of a row.
    ///
    /// # Errors
    /// [`Error::RowKey`] for another length, separator or mark, and for negative numbers.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let bad = Error::RowKey { len: bytes.len() };
        let tombstone = match (bytes.len(), bytes.last()) {
            (PUT_LEN, _) => false,
            (TOMBSTONE_LEN, Some(&TOMBSTONE)) => true,
            _ => return Err(bad),
        };
        let (Some((main, rest)), Some(sub)) = (bytes.split_first_chunk::<8>(), bytes.get(9..17))
        else {
            return Err(bad);
        };
        let (Some(&SEPARATOR), Ok(sub)) = (rest.first(), <[u8; 8]>::try_from(sub)) else {
            return Err(bad);
        };
        let rev = Revision::new(i64::from_be_bytes(*main), i64::from_be_bytes(sub));
        if rev.main < 0 || rev.sub < 0 {
            return Err(bad);
        }
        Ok(Self { rev, tombstone })
    }
}

/// The encoded form of a [`RowKey`], without an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowKeyBytes {
    bytes: [u8; TOMBSTONE_LEN],
    tombstone: bool,
}

impl Deref for RowKeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.tombstone { &self.bytes } else { &self.bytes[..PUT_LEN] }
    }
}

impl AsRef<[u8]> for RowKeyBytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn rows_have_the_known_bytes() {
        let put = RowKey::put(Revision::new(3, 0));
        assert_eq!(hex(&put.encode()), "00000000000000035f0000000000000000");
        let gone = RowKey::tombstone(Revision::new(5, 0));
        assert_eq!(hex(&gone.encode()), "00000000000000055f000000000000000074");
    }

    #[test]
    fn foreign_bytes_are_refused() {
        let good = RowKey::put(Revision::new(3, 1)).encode();
        let mut negative = good.to_vec();
        negative[0] = 0x80;
        let mut separator = good.to_vec();
        separator[8] = b'-';
        let mut mark = good.to_vec();
        mark.push(b'x');
        for bytes in [&b""[..], &good[..16], &negative, &separator, &mark, &[0; 19]] {
            assert_eq!(RowKey::decode(bytes), Err(Error::RowKey { len: bytes.len() }));
        }
    }

    proptest! {
        #[test]
        fn byte_order_is_revision_order(
            a in (0..i64::MAX, 0..i64::MAX, any::<bool>()),
            b in (0..i64::MAX, 0..i64::MAX, any::<bool>()),
        ) {
            let row = |(main, sub, tombstone)| RowKey { rev: Revision::new(main, sub), tombstone };
            let (a, b) = (row(a), row(b));
            prop_assert_eq!(RowKey::decode(&a.encode()), Ok(a));
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }

        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
            if let Ok(key) = RowKey::decode(&bytes) {
                prop_assert_eq!(&*key.encode(), &bytes[..]);
            }
        }
    }
}
