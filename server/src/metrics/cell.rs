//! Counters, gauges and histograms as plain atomics.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub(crate) fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    /// Sets the number.
    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`, which may be negative.
    pub(crate) fn add(&self, n: i64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number.
    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds that double: `first`, `2 * first`, ...
const fn doubling<const N: usize>(first: f64) -> [f64; N] {
    let mut bounds = [0.0; N];
    let mut bound = first;
    let mut at = 0;
    while at < N {
        bounds[at] = bound;
        bound *= 2.0;
        at += 1;
    }
    bounds
}

/// 1 ms to 8.192 s: disks.
pub(super) const DISK: [f64; 14] = doubling(0.001);
/// 0.1 ms to 52 s: requests inside the server.
pub(super) const INNER: [f64; 20] = doubling(0.0001);
/// 0.1 s to 410 s: defragmentation.
pub(super) const DEFRAG: [f64; 13] = doubling(0.1);
/// 10 ms to 655 s: snapshots of the backend.
pub(super) const SNAPSHOT: [f64; 17] = doubling(0.01);
/// 10 ms to 164 s: hashes.
pub(super) const HASH: [f64; 15] = doubling(0.01);
/// 0.1 s to 51 s: received snapshots.
pub(super) const RECEIVE: [f64; 10] = doubling(0.1);
/// 1 s to 97 days: TTLs.
pub(super) const TTL: [f64; 24] = doubling(1.0);
/// 1 ms to 4 s, in milliseconds: pauses of a compaction.
pub(super) const PAUSE_MS: [f64; 13] = doubling(1.0);
/// 0.5 ms to 4 s, in milliseconds: pauses of the index.
pub(super) const INDEX_PAUSE_MS: [f64; 14] = doubling(0.5);
/// 0.1 s to 14 min, in milliseconds: compactions.
pub(super) const COMPACTION_MS: [f64; 14] = doubling(100.0);
/// The client library's default: gRPC handlers.
pub(super) const HANDLING: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Observations counted by upper bound. Sums are kept in units of 1e-9, so that adding is one
/// atomic operation.
#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    buckets: [AtomicU64; N],
    beyond: AtomicU64,
    sum_units: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    /// An empty histogram.
    pub(crate) fn new(bounds: &'static [f64; N]) -> Self {
        Self {
            bounds,
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            beyond: AtomicU64::new(0),
            sum_units: AtomicU64::new(0),
        }
    }

    /// Counts a duration, in seconds.
    pub(crate) fn observe(&self, duration: Duration) {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.count(duration.as_secs_f64(), nanos);
    }

    /// Counts a duration, in milliseconds.
    pub(crate) fn observe_ms(&self, duration: Duration) {
        let units = u64::try_from(duration.as_nanos().saturating_mul(1000)).unwrap_or(u64::MAX);
        self.count(duration.as_secs_f64() * 1000.0, units);
    }

    /// Counts a number.
    pub(crate) fn observe_value(&self, value: u32) {
        self.count(f64::from(value), u64::from(value).saturating_mul(1_000_000_000));
    }

    fn count(&self, value: f64, units: u64) {
        // Nearly every observation falls into one of the first buckets.
        let bucket = match self.bounds.iter().position(|&bound| value <= bound) {
            Some(at) => &self.buckets[at],
            None => &self.beyond,
        };
        bucket.fetch_add(1, Ordering::Relaxed);
        self.sum_units.fetch_add(units, Ordering::Relaxed);
    }

    /// Cumulative counts by upper bound, the whole count and the sum.
    pub(crate) fn read(&self) -> Reading {
        let mut total = 0;
        let rows = self.bounds.iter().zip(&self.buckets).map(|(&bound, count)| {
            total += count.load(Ordering::Relaxed);
            (bound, total)
        });
        let rows = rows.collect();
        total += self.beyond.load(Ordering::Relaxed);
        let sum = super::text::to_f64(self.sum_units.load(Ordering::Relaxed)) / 1e9;
        Reading { rows, total, sum }
    }
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Upper bound and count up to it.
    pub rows: Vec<(f64, u64)>,
    /// All observations.
    pub total: u64,
    /// Their sum.
    pub sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn observations_are_counted_up_to_their_bound() {
        let histogram = Histogram::new(&DISK);
        histogram.observe(Duration::from_micros(1));
        histogram.observe(Duration::from_millis(1));
        histogram.observe(Duration::from_millis(3));
        histogram.observe(Duration::from_secs(9));
        let reading = histogram.read();
        assert_eq!(reading.rows[..3], [(0.001, 2), (0.002, 2), (0.004, 3)]);
        assert_eq!(reading.rows[13], (8.192, 3));
        assert_eq!((reading.total, reading.sum), (4, 9.004_001));
    }
}
