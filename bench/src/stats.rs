//! What a load measured.

use std::time::Duration;

use serde::Serialize;

/// The figures of one load against one server.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Sample {
    /// Operations (events, for watchers) done.
    pub(crate) ops: u64,
    /// How long that took.
    pub(crate) wall_s: f64,
    /// Operations per second.
    pub(crate) ops_per_s: f64,
    /// Half of the operations took at most this long.
    pub(crate) p50_us: f64,
    /// 99 of 100 operations took at most this long.
    pub(crate) p99_us: f64,
    /// CPU time of the server per operation, user and system.
    pub(crate) cpu_us_per_op: Option<f64>,
    /// Resident memory of the server afterwards.
    pub(crate) rss_mib: Option<f64>,
}

impl Sample {
    /// Puts the figures of a load together.
    pub(crate) fn new(ops: u64, wall: Duration, latencies: &mut Latencies) -> Self {
        let count = ops as f64;
        Sample {
            ops,
            wall_s: wall.as_secs_f64(),
            ops_per_s: count / wall.as_secs_f64().max(f64::EPSILON),
            p50_us: latencies.quantile_us(0.50),
            p99_us: latencies.quantile_us(0.99),
            cpu_us_per_op: None,
            rss_mib: None,
        }
    }

    /// With the CPU time the server took for it.
    pub(crate) fn with_cpu(mut self, cpu: Option<Duration>) -> Self {
        self.cpu_us_per_op = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / (self.ops as f64).max(1.0));
        self
    }
}

/// How long single operations took.
#[derive(Default)]
pub(crate) struct Latencies(Vec<u32>);

impl Latencies {
    /// Room for `ops` operations, so that none is delayed by growing.
    pub(crate) fn with_capacity(ops: usize) -> Self {
        Latencies(Vec::with_capacity(ops))
    }

    /// Notes one operation.
    pub(crate) fn push(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_nanos() / 100).unwrap_or(u32::MAX));
    }

    /// Takes over what another client measured.
    pub(crate) fn append(&mut self, mut other: Latencies) {
        self.0.append(&mut other.0);
    }

    /// What this share of the operations took at most.
    pub(crate) fn quantile_us(&mut self, share: f64) -> f64 {
        if self.0.is_empty() {
            return 0.0;
        }
        let last = self.0.len() - 1;
        let position = ((last as f64) * share).round() as usize;
        let (_, tenth_us, _) = self.0.select_nth_unstable(position.min(last));
        f64::from(*tenth_us) / 10.0
    }
}

/// The middle of `values`; the mean of the two middle ones when their number is even.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((upper + values[values.len() / 2 - 1]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_taken_over_all_clients() {
        let mut all = Latencies::default();
        for part in [0..50u64, 50..101] {
            let mut latencies = Latencies::with_capacity(51);
            part.for_each(|us| latencies.push(Duration::from_micros(us)));
            all.append(latencies);
        }
        let sample = Sample::new(101, Duration::from_secs(1), &mut all);
        assert_eq!((sample.p50_us, sample.p99_us, sample.ops_per_s), (50.0, 99.0, 101.0));
    }

    #[test]
    fn the_median_is_the_middle_value() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
