//! The requests of the loads: keys, values and how they are drawn.

use bytes::Bytes;
use proto::etcdserverpb as pb;

use crate::grpc::framed;

/// Keys the put and get loads draw from.
pub(crate) const KEYS: u64 = 10_000;
/// Length of a value of the put and get loads.
pub(crate) const VALUE_BYTES: usize = 256;
/// Keys the page load reads from.
pub(crate) const PAGE_KEYS: u64 = 110_000;
/// Length of a value of the page load.
pub(crate) const PAGE_VALUE_BYTES: usize = 1024;
/// Keys of one page.
pub(crate) const PAGE_LIMIT: i64 = 500;
/// Puts in one transaction when the page keys are written; the servers' default limit.
pub(crate) const FILL_TXN_OPS: u64 = 128;
/// Bytes that values are cut from.
const NOISE_BYTES: usize = 64 * 1024;

/// A small deterministic source of numbers (xorshift), one per client.
#[derive(Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The numbers of one seed; equal seeds give equal numbers.
    pub(crate) fn new(seed: u64) -> Self {
        // A state of zero would never leave zero.
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Bytes no compression shortens, from which values are cut.
#[derive(Clone)]
pub(crate) struct Noise(Bytes);

impl Noise {
    /// The same bytes in every run.
    pub(crate) fn new() -> Self {
        let mut dice = Dice::new(7);
        let byte = |_| u8::try_from(dice.below(256)).unwrap_or(0);
        Noise((0..NOISE_BYTES).map(byte).collect())
    }

    /// A value of `length` bytes.
    pub(crate) fn value(&self, dice: &mut Dice, length: usize) -> Bytes {
        let room = u64::try_from(NOISE_BYTES - length).unwrap_or(1);
        let start = usize::try_from(dice.below(room)).unwrap_or(0);
        self.0.slice(start..start + length)
    }
}

/// The key with this number: eight bytes.
pub(crate) fn key(number: u64) -> Bytes {
    format!("k{number:07}").into()
}

/// The page key with this number.
pub(crate) fn page_key(number: u64) -> Bytes {
    format!("p{number:07}").into()
}

/// A framed put of `value` at `key`.
pub(crate) fn put(key: Bytes, value: Bytes) -> Bytes {
    framed(&pb::PutRequest { key, value, ..Default::default() })
}

/// A framed linearizable get of one key.
pub(crate) fn get(key: Bytes) -> Bytes {
    framed(&pb::RangeRequest { key, ..Default::default() })
}

/// A framed read of one page that starts at page key `number`.
pub(crate) fn page(number: u64) -> Bytes {
    framed(&pb::RangeRequest {
        key: page_key(number),
        range_end: Bytes::from_static(b"q"),
        limit: PAGE_LIMIT,
        ..Default::default()
    })
}

/// A framed transaction that writes the page keys from `first` on.
pub(crate) fn fill(first: u64, noise: &Noise, dice: &mut Dice) -> Bytes {
    let last = (first + FILL_TXN_OPS).min(PAGE_KEYS);
    fill_with((first..last).map(|number| (page_key(number), noise.value(dice, PAGE_VALUE_BYTES))))
}

/// A framed transaction that writes these keys and values, at most [`FILL_TXN_OPS`].
pub(crate) fn fill_with(pairs: impl Iterator<Item = (Bytes, Bytes)>) -> Bytes {
    let put = |(key, value)| {
        let put = pb::PutRequest { key, value, ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
    };
    framed(&pb::TxnRequest { success: pairs.map(put).collect(), ..Default::default() })
}

/// A framed request for a watch of one key.
pub(crate) fn watch(key: Bytes) -> Bytes {
    let create = pb::WatchCreateRequest { key, ..Default::default() };
    let union = pb::watch_request::RequestUnion::CreateRequest(create);
    framed(&pb::WatchRequest { request_union: Some(union) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_eight_bytes_and_values_differ() {
        assert_eq!(&key(9_999)[..], b"k0009999");
        assert_eq!(page_key(PAGE_KEYS - 1).len(), 8);
        let (noise, mut dice) = (Noise::new(), Dice::new(1));
        let first = noise.value(&mut dice, VALUE_BYTES);
        assert_eq!(first.len(), VALUE_BYTES);
        assert_ne!(first, noise.value(&mut dice, VALUE_BYTES));
    }

    #[test]
    fn dice_reach_every_number_below_the_bound() {
        let mut dice = Dice::new(3);
        let mut seen = [false; 10];
        for _ in 0..1_000 {
            seen[usize::try_from(dice.below(10)).expect("small")] = true;
        }
        assert!(seen.iter().all(|seen| *seen));
    }
}
