//! Counters of the log, read by whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Durations by power-of-two buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; Histogram::BUCKETS],
    count: AtomicU64,
    sum_nanos: AtomicU64,
}

impl Histogram {
    /// Number of buckets: the first ends at 1 ms, each next one at twice that; as etcd's.
    pub const BUCKETS: usize = 14;

    /// Upper bound of bucket `i`, in seconds: 0.001 * 2^i.
    pub fn bound_seconds(i: usize) -> f64 {
        i32::try_from(i).map_or(f64::INFINITY, |i| 0.001 * 2f64.powi(i))
    }

    pub(crate) fn observe(&self, duration: Duration) {
        let mut bound = Duration::from_millis(1);
        for bucket in &self.buckets {
            if duration <= bound {
                bucket.fetch_add(1, Ordering::Relaxed);
                break;
            }
            bound *= 2;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Observations that are at most [`Histogram::bound_seconds`] long, cumulated as in
    /// Prometheus' text form, and the number of all.
    pub fn cumulated(&self) -> ([u64; Self::BUCKETS], u64) {
        let mut below = 0;
        let cumulated = std::array::from_fn(|i| {
            below += self.buckets.get(i).map_or(0, |b| b.load(Ordering::Relaxed));
            below
        });
        (cumulated, self.count.load(Ordering::Relaxed))
    }

    /// Sum of all observations in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_nanos.load(Ordering::Relaxed)).as_secs_f64()
    }
}

/// What a [`crate::Wal`] has done since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    /// `etcd_disk_wal_fsync_duration_seconds`
    pub fsync: Histogram,
    /// `etcd_disk_wal_write_duration_seconds`
    pub write: Histogram,
    write_bytes: AtomicU64,
}

impl Stats {
    pub(crate) fn wrote(&self, bytes: usize, duration: Duration) {
        self.write_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.write.observe(duration);
    }

    /// `etcd_disk_wal_write_bytes_total`
    pub fn write_bytes(&self) -> u64 {
        self.write_bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_buckets_of_etcd() {
        let histogram = Histogram::default();
        for micros in [1, 1000, 1001, 2000, 8_192_000, 8_192_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (below, all) = histogram.cumulated();
        assert_eq!((below[0], below[1], below[2], below[12], below[13], all), (2, 4, 4, 4, 5, 6));
        assert_eq!(Histogram::bound_seconds(13), 8.192);
        assert!((histogram.sum_seconds() - 16.388003).abs() < 1e-9);
    }
}
