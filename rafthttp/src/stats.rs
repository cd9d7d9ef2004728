//! What is counted about peers, for the `etcd_network_*` metrics.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;

use crate::limits::{COUNTED_ADDRESSES_MAX, COUNTED_PEERS_MAX};

/// Upper bounds in seconds of the round trips of probes: they double from 0.1 ms.
pub const ROUND_TRIP_BOUNDS: [f64; 16] = doubling(0.0001);
/// Upper bounds in seconds of the times of snapshots: they double from 0.1 s.
pub const SNAPSHOT_BOUNDS: [f64; 10] = doubling(0.1);

const fn doubling<const N: usize>(first: f64) -> [f64; N] {
    let mut bounds = [first; N];
    let mut at = 1;
    while at < N {
        bounds[at] = bounds[at - 1] * 2.0;
        at += 1;
    }
    bounds
}

/// The numbers of all peers at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats {
    /// Of each member or sender ever spoken to, by id. Id 0 has the heartbeats of streams.
    pub peers: BTreeMap<u64, PeerStats>,
    /// Messages that could not be decoded, by the address they came from.
    pub undecodable: BTreeMap<IpAddr, u64>,
    /// Snapshots refused before their sender was known.
    pub unknown_snapshot_failures: u64,
}

/// The numbers of one peer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PeerStats {
    /// Whether something works in either direction; never for id 0 and remotes.
    pub active: bool,
    /// Changes from active to inactive.
    pub disconnected: u64,
    /// Bytes of messages and databases sent.
    pub sent_bytes: u64,
    /// Bytes of messages received.
    pub received_bytes: u64,
    /// Messages dropped before they were sent, and broken sends.
    pub sent_failures: u64,
    /// Messages that were read but not taken, and broken reads.
    pub received_failures: u64,
    /// Snapshots to this peer.
    pub snapshots_sent: SnapshotStats,
    /// Snapshots from this peer.
    pub snapshots_received: SnapshotStats,
    /// Smoothed round trips of probes, see [`ROUND_TRIP_BOUNDS`].
    pub round_trip: HistogramStats,
}

/// The numbers of snapshots in one direction.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SnapshotStats {
    /// Those that arrived whole and were taken.
    pub successes: u64,
    /// The others.
    pub failures: u64,
    /// Those on their way.
    pub in_flight: i64,
    /// The times of those that arrived, see [`SNAPSHOT_BOUNDS`].
    pub seconds: HistogramStats,
}

/// Observations by size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HistogramStats {
    /// Observations up to each bound but above the one before, then those above all.
    pub counts: Vec<u64>,
    /// Sum of all in seconds.
    pub sum: f64,
}

#[derive(Debug)]
pub(crate) struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    counts: [AtomicU64; N],
    above: AtomicU64,
    sum_ns: AtomicU64,
}

impl<const N: usize> Histogram<N> {
    fn new(bounds: &'static [f64; N]) -> Self {
        let counts = [const { AtomicU64::new(0) }; N];
        Self { bounds, counts, above: AtomicU64::new(0), sum_ns: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = self.bounds.iter().position(|bound| seconds <= *bound);
        at.map_or(&self.above, |at| &self.counts[at]).fetch_add(1, Relaxed);
        self.sum_ns.fetch_add(time.as_nanos().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    fn read(&self) -> HistogramStats {
        let counts = self.counts.iter().chain([&self.above]).map(|c| c.load(Relaxed)).collect();
        HistogramStats { counts, sum: self.sum_ns.load(Relaxed) as f64 / 1e9 }
    }
}

#[derive(Debug)]
pub(crate) struct SnapshotCounters {
    pub(crate) successes: AtomicU64,
    pub(crate) failures: AtomicU64,
    pub(crate) in_flight: AtomicI64,
    pub(crate) seconds: Histogram<10>,
}

impl SnapshotCounters {
    fn new() -> Self {
        Self {
            successes: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            seconds: Histogram::new(&SNAPSHOT_BOUNDS),
        }
    }

    fn read(&self) -> SnapshotStats {
        SnapshotStats {
            successes: self.successes.load(Relaxed),
            failures: self.failures.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            seconds: self.seconds.read(),
        }
    }
}

/// A snapshot on its way; dropped without [`InFlight::arrived`] it has failed.
#[derive(Debug)]
pub(crate) struct InFlight {
    counters: Arc<PeerCounters>,
    received: bool,
    started: std::time::Instant,
    arrived: bool,
}

impl InFlight {
    pub(crate) fn sending(counters: Arc<PeerCounters>) -> InFlight {
        InFlight::start(counters, false)
    }

    pub(crate) fn receiving(counters: Arc<PeerCounters>) -> InFlight {
        InFlight::start(counters, true)
    }

    fn start(counters: Arc<PeerCounters>, received: bool) -> InFlight {
        let started = std::time::Instant::now();
        let flight = InFlight { counters, received, started, arrived: false };
        flight.numbers().in_flight.fetch_add(1, Relaxed);
        flight
    }

    fn numbers(&self) -> &SnapshotCounters {
        if self.received {
            &self.counters.snapshots_received
        } else {
            &self.counters.snapshots_sent
        }
    }

    pub(crate) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let numbers = self.numbers();
        numbers.in_flight.fetch_sub(1, Relaxed);
        if self.arrived {
            numbers.successes.fetch_add(1, Relaxed);
            numbers.seconds.observe(self.started.elapsed());
        } else {
            numbers.failures.fetch_add(1, Relaxed);
        }
    }
}

/// The counters of one peer.
#[derive(Debug)]
pub(crate) struct PeerCounters {
    pub(crate) disconnected: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
    pub(crate) sent_failures: AtomicU64,
    pub(crate) received_failures: AtomicU64,
    pub(crate) snapshots_sent: SnapshotCounters,
    pub(crate) snapshots_received: SnapshotCounters,
    pub(crate) round_trip: Histogram<16>,
}

impl PeerCounters {
    fn new() -> Self {
        Self {
            disconnected: AtomicU64::new(0),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            sent_failures: AtomicU64::new(0),
            received_failures: AtomicU64::new(0),
            snapshots_sent: SnapshotCounters::new(),
            snapshots_received: SnapshotCounters::new(),
            round_trip: Histogram::new(&ROUND_TRIP_BOUNDS),
        }
    }

    pub(crate) fn read(&self) -> PeerStats {
        PeerStats {
            active: false,
            disconnected: self.disconnected.load(Relaxed),
            sent_bytes: self.sent_bytes.load(Relaxed),
            received_bytes: self.received_bytes.load(Relaxed),
            sent_failures: self.sent_failures.load(Relaxed),
            received_failures: self.received_failures.load(Relaxed),
            snapshots_sent: self.snapshots_sent.read(),
            snapshots_received: self.snapshots_received.read(),
            round_trip: self.round_trip.read(),
        }
    }
}

/// All counters; they outlive the peers they are about.
#[derive(Debug)]
pub(crate) struct Counters {
    peers: Mutex<BTreeMap<u64, Arc<PeerCounters>>>,
    /// Of those that came too late for counters of their own; never shown.
    uncounted: Arc<PeerCounters>,
    undecodable: Mutex<BTreeMap<IpAddr, u64>>,
    pub(crate) unknown_snapshot_failures: AtomicU64,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            peers: Mutex::default(),
            uncounted: Arc::new(PeerCounters::new()),
            undecodable: Mutex::default(),
            unknown_snapshot_failures: AtomicU64::new(0),
        }
    }

    /// The counters of this id.
    pub(crate) fn of(&self, id: u64) -> Arc<PeerCounters> {
        let mut peers = self.peers.lock();
        if let Some(found) = peers.get(&id) {
            return found.clone();
        }
        if peers.len() == COUNTED_PEERS_MAX {
            return self.uncounted.clone();
        }
        let made = Arc::new(PeerCounters::new());
        peers.insert(id, made.clone());
        made
    }

    /// The counters of this id, if it has any.
    pub(crate) fn known(&self, id: u64) -> Option<Arc<PeerCounters>> {
        self.peers.lock().get(&id).cloned()
    }

    pub(crate) fn undecodable(&self, from: IpAddr) {
        let mut addresses = self.undecodable.lock();
        if addresses.len() < COUNTED_ADDRESSES_MAX || addresses.contains_key(&from) {
            *addresses.entry(from).or_default() += 1;
        }
    }

    pub(crate) fn read(&self) -> Stats {
        Stats {
            peers: self.peers.lock().iter().map(|(id, peer)| (*id, peer.read())).collect(),
            undecodable: self.undecodable.lock().clone(),
            unknown_snapshot_failures: self.unknown_snapshot_failures.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_up_to_their_bound() {
        let histogram = Histogram::new(&SNAPSHOT_BOUNDS);
        for ms in [50, 100, 101, 51_200, 60_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let read = histogram.read();
        assert_eq!(read.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert!((read.sum - 111.451).abs() < 1e-9, "{}", read.sum);
    }

    #[test]
    fn a_snapshot_that_is_dropped_on_its_way_has_failed() {
        let counters = Counters::new();
        let flight = InFlight::sending(counters.of(7));
        assert_eq!(counters.read().peers[&7].snapshots_sent.in_flight, 1);
        drop(flight);
        InFlight::sending(counters.of(7)).arrived();
        let sent = counters.read().peers[&7].snapshots_sent.clone();
        assert_eq!((sent.in_flight, sent.failures, sent.successes), (0, 1, 1));
        assert_eq!(
            counters.read().peers[&7].snapshots_received,
            SnapshotStats {
                seconds: HistogramStats { counts: vec![0; 11], sum: 0.0 },
                ..Default::default()
            }
        );
    }

    #[test]
    fn strangers_cannot_fill_the_tables() {
        let counters = Counters::new();
        for n in 0..2 * COUNTED_PEERS_MAX as u64 {
            counters.of(n).sent_bytes.fetch_add(1, Relaxed);
            let address = std::net::Ipv4Addr::from_bits(n as u32);
            counters.undecodable(address.into());
        }
        let read = counters.read();
        assert_eq!(read.peers.len(), COUNTED_PEERS_MAX);
        assert_eq!(read.undecodable.len(), COUNTED_ADDRESSES_MAX);
    }
}
