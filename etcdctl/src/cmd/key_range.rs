//! From a key, an optional range end and the flags `--prefix` and `--from-key` to an interval.

use bytes::Bytes;

use crate::failure::Failure;

/// How the flags widen a single key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Widening {
    /// Not at all; a range end may be given.
    None,
    /// `--prefix`.
    Prefix,
    /// `--from-key`.
    FromKey,
}

impl Widening {
    /// Reads the two flags.
    ///
    /// # Errors
    /// Both are set.
    pub(super) fn of(prefix: bool, from_key: bool) -> Result<Self, Failure> {
        match (prefix, from_key) {
            (true, true) => Err(Failure::arguments(
                "`--prefix` and `--from-key` cannot be set at the same time, choose one",
            )),
            (true, false) => Ok(Widening::Prefix),
            (false, true) => Ok(Widening::FromKey),
            (false, false) => Ok(Widening::None),
        }
    }
}

/// The interval as requests carry it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval {
    /// The first key.
    pub(super) key: Bytes,
    /// The key after the last one; empty for one key, a zero byte for all from `key` on.
    pub(super) range_end: Bytes,
}

/// Builds the interval.
///
/// # Errors
/// A range end together with a flag that makes one.
pub(super) fn interval(
    key: &[u8],
    range_end: Option<&[u8]>,
    widening: Widening,
) -> Result<Interval, Failure> {
    if range_end.is_some() && widening != Widening::None {
        return Err(Failure::arguments(
            "too many arguments, only accept one argument when `--prefix` or `--from-key` is set",
        ));
    }
    let everything = || Interval { key: Bytes::from_static(b"\0"), range_end: zero() };
    let key_bytes = Bytes::copy_from_slice(key);
    Ok(match widening {
        Widening::None => Interval {
            key: key_bytes,
            range_end: Bytes::copy_from_slice(range_end.unwrap_or_default()),
        },
        Widening::Prefix | Widening::FromKey if key.is_empty() => everything(),
        Widening::Prefix => Interval { range_end: prefix_end(key), key: key_bytes },
        Widening::FromKey => Interval { key: key_bytes, range_end: zero() },
    })
}

/// The first key after all keys that begin with `prefix`; a zero byte when there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Bytes {
    match prefix.iter().rposition(|byte| *byte < 0xff) {
        None => zero(),
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
    }
}

fn zero() -> Bytes {
    Bytes::from_static(b"\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(key: &[u8], end: Option<&[u8]>, widening: Widening) -> (Vec<u8>, Vec<u8>) {
        let made = interval(key, end, widening).unwrap_or_else(|failure| panic!("{failure:?}"));
        (made.key.to_vec(), made.range_end.to_vec())
    }

    #[test]
    fn flags_widen_a_key_to_an_interval() {
        let pair = |key: &[u8], end: &[u8]| (key.to_vec(), end.to_vec());
        assert_eq!(made(b"a", None, Widening::None), pair(b"a", b""));
        assert_eq!(made(b"a", Some(b"c"), Widening::None), pair(b"a", b"c"));
        assert_eq!(made(b"a/", None, Widening::Prefix), pair(b"a/", b"a0"));
        assert_eq!(made(b"a\xff\xff", None, Widening::Prefix), pair(b"a\xff\xff", b"b"));
        assert_eq!(made(b"\xff", None, Widening::Prefix), pair(b"\xff", b"\0"));
        assert_eq!(made(b"", None, Widening::Prefix), pair(b"\0", b"\0"));
        assert_eq!(made(b"", None, Widening::FromKey), pair(b"\0", b"\0"));
        assert_eq!(made(b"k", None, Widening::FromKey), pair(b"k", b"\0"));
    }

    #[test]
    fn contradicting_flags_are_refused() {
        assert!(Widening::of(true, true).is_err());
        assert!(interval(b"a", Some(b"b"), Widening::Prefix).is_err());
    }
}
