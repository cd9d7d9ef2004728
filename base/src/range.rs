//! Intervals of keys as requests give them.

use bytes::Bytes;

/// The interval a request names with `key` and `range_end`.
///
/// | `end` | keys |
/// |---|---|
/// | empty | `key` alone |
/// | `00` | every key not below `key` |
/// | other | `key <= k < end`; nothing when `end <= key` |
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyRange {
    /// The first key.
    pub key: Bytes,
    /// The `range_end` of the request.
    pub end: Bytes,
}

impl KeyRange {
    /// The interval of these request fields.
    pub fn new(key: impl Into<Bytes>, end: impl Into<Bytes>) -> Self {
        Self { key: key.into(), end: end.into() }
    }

    /// One key.
    pub fn single(key: impl Into<Bytes>) -> Self {
        Self::new(key, Bytes::new())
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let key = prefix.into();
        let end = prefix_end(&key);
        if key.is_empty() { Self::new(&b"\0"[..], end) } else { Self::new(key, end) }
    }

    /// Names one key only.
    pub fn is_single(&self) -> bool {
        self.end.is_empty()
    }

    /// Has no upper bound.
    pub fn is_open(&self) -> bool {
        self.end[..] == [0]
    }

    /// Can hold no key at all.
    pub fn is_empty(&self) -> bool {
        !self.is_single() && !self.is_open() && self.end <= self.key
    }

    /// Whether `key` lies in the interval.
    pub fn contains(&self, key: &[u8]) -> bool {
        if self.is_single() {
            return key == self.key;
        }
        key >= &self.key[..] && (self.is_open() || key < &self.end[..])
    }

    /// The bounds `[from, to)` of a scan: `None` is no upper bound. A single key ends right after
    /// itself.
    pub fn bounds(&self) -> (Bytes, Option<Bytes>) {
        let end = if self.is_single() {
            let mut after = self.key.to_vec();
            after.push(0);
            Some(after.into())
        } else if self.is_open() {
            None
        } else {
            Some(self.end.clone())
        };
        (self.key.clone(), end)
    }
}

/// The `range_end` that makes `prefix` a prefix query: the prefix with its last byte below `ff`
/// incremented and what follows dropped; `00` when there is no such byte.
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|&b| b < 0xff) {
        Some(at) => {
            let mut end = prefix[..=at].to_vec();
            end[at] += 1;
            end.into()
        }
        None => Bytes::from_static(&[0]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_forms_hold_what_they_name() {
        let one = KeyRange::single("a");
        assert!(one.contains(b"a") && !one.contains(b"b") && !one.contains(b"a\0"));
        let from = KeyRange::new("b", &b"\0"[..]);
        assert!(from.contains(b"b") && from.contains(b"\xff\xff") && !from.contains(b"a"));
        let range = KeyRange::new("a", "c");
        assert!(range.contains(b"a") && range.contains(b"bz") && !range.contains(b"c"));
    }

    #[test]
    fn an_end_not_above_the_key_holds_nothing() {
        for range in [KeyRange::new("b", "b"), KeyRange::new("b", "a")] {
            assert!(range.is_empty());
            assert!(!range.contains(b"b") && !range.contains(b"a"));
        }
        assert!(!KeyRange::new("b", &b"\0"[..]).is_empty());
    }

    #[test]
    fn prefix_ends_skip_trailing_ff() {
        assert_eq!(prefix_end(b"foo"), "fop");
        assert_eq!(prefix_end(b"a\xff\xff"), "b");
        assert_eq!(prefix_end(b"\xff"), &b"\0"[..]);
        assert_eq!(KeyRange::prefix(""), KeyRange::new(&b"\0"[..], &b"\0"[..]));
    }

    proptest! {
        #[test]
        fn prefix_queries_hold_exactly_the_keys_with_the_prefix(
            prefix in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 1..4),
            key in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0xff)], 1..6),
        ) {
            let holds = KeyRange::prefix(prefix.clone()).contains(&key);
            let open = prefix.iter().all(|&b| b == 0xff);
            prop_assert_eq!(holds, key.starts_with(&prefix) || (open && key >= prefix));
        }

        #[test]
        fn scan_bounds_agree_with_contains(
            key in proptest::collection::vec(0u8..3, 1..3),
            end in proptest::collection::vec(0u8..3, 0..3),
            probe in proptest::collection::vec(0u8..3, 1..4),
        ) {
            let range = KeyRange::new(key, end);
            let (from, to) = range.bounds();
            let scanned = probe >= from && to.is_none_or(|to| probe < to);
            prop_assert_eq!(scanned, range.contains(&probe));
        }
    }
}
