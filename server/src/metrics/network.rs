//! The families of what travels: to clients and between members.

use rafthttp::{HistogramStats, PeerStats, ROUND_TRIP_BOUNDS, SNAPSHOT_BOUNDS};

use super::cell::{Counter, Reading};
use super::grpc::Method;
use super::text::{Kind, Page, to_f64};
use super::{Metrics, Scrape};

/// What precedes each message of gRPC: a flag and a length.
const MESSAGE_HEAD_BYTES: u64 = 5;

/// A number of a peer, if there is anything to show.
type Pick = fn(&PeerStats) -> Option<f64>;

fn some(value: u64) -> Option<f64> {
    (value > 0).then(|| to_f64(value))
}

/// One family with a sample per peer.
fn per_peer(
    p: &mut Page,
    s: &Scrape,
    family: (&'static str, &'static str, Kind, &str),
    pick: Pick,
) {
    let (name, help, kind, label) = family;
    p.family(name, kind, help);
    for (id, peer) in &s.peers.peers {
        if let Some(value) = pick(peer) {
            p.sample(&[(label, &format!("{id:x}"))], value);
        }
    }
}

/// One family with both ends as labels.
fn per_pair(
    p: &mut Page,
    s: &Scrape,
    name: &'static str,
    kind: Kind,
    help: &'static str,
    pick: Pick,
) {
    p.family(name, kind, help);
    let local = format!("{:x}", s.member_id);
    // As 0 link heartbeats are counted, which have no sender.
    for (id, peer) in s.peers.peers.iter().filter(|(id, _)| **id != 0) {
        if let Some(value) = pick(peer) {
            p.sample(&[("Local", &local), ("Remote", &format!("{id:x}"))], value);
        }
    }
}

fn reading(stats: &HistogramStats, bounds: &[f64]) -> Reading {
    let mut upto = 0;
    let rows = bounds
        .iter()
        .zip(&stats.counts)
        .map(|(bound, count)| {
            upto += count;
            (*bound, upto)
        })
        .collect();
    Reading { rows, total: stats.counts.iter().sum(), sum: stats.sum }
}

fn times_per_peer(
    p: &mut Page,
    s: &Scrape,
    family: (&'static str, &'static str, &str),
    bounds: &[f64],
    pick: fn(&PeerStats) -> &HistogramStats,
) {
    let (name, help, label) = family;
    p.family(name, Kind::Histogram, help);
    for (id, peer) in &s.peers.peers {
        let reading = reading(pick(peer), bounds);
        if reading.total > 0 {
            p.histogram(&[(label, &format!("{id:x}"))], &reading);
        }
    }
}

pub(super) fn render(p: &mut Page, m: &Metrics, s: &Scrape) {
    per_pair(
        p,
        s,
        "etcd_network_active_peers",
        Kind::Gauge,
        "1 per member there is a connection to.",
        |peer| Some(f64::from(u8::from(peer.active))),
    );
    clients(p, m);
    per_pair(
        p,
        s,
        "etcd_network_disconnected_peers_total",
        Kind::Counter,
        "Times the connection to a member was lost.",
        |peer| some(peer.disconnected),
    );
    p.family("etcd_network_known_peers", Kind::Gauge, "1 per member of the cluster.");
    let local = format!("{:x}", s.member_id);
    for member in &s.members {
        p.sample(&[("Local", &local), ("Remote", &format!("{member:x}"))], 1.0);
    }
    let counter = |name, help, label| (name, help, Kind::Counter, label);
    let received = "etcd_network_peer_received_bytes_total";
    per_peer(p, s, counter(received, "Bytes received.", "From"), |peer| some(peer.received_bytes));
    let failures = "etcd_network_peer_received_failures_total";
    per_peer(p, s, counter(failures, "Failed receives.", "From"), |peer| {
        some(peer.received_failures)
    });
    let round_trip = "etcd_network_peer_round_trip_time_seconds";
    let family = (round_trip, "Time of a probe there and back.", "To");
    times_per_peer(p, s, family, &ROUND_TRIP_BOUNDS, |peer| &peer.round_trip);
    let sent = "etcd_network_peer_sent_bytes_total";
    per_peer(p, s, counter(sent, "Bytes sent.", "To"), |peer| some(peer.sent_bytes));
    let failures = "etcd_network_peer_sent_failures_total";
    per_peer(p, s, counter(failures, "Failed sends.", "To"), |peer| some(peer.sent_failures));
    streams(p, m);
    snapshots(p, s);
}

fn clients(p: &mut Page, m: &Metrics) {
    let messages = |pick: fn(&Method) -> &Counter| -> u64 {
        m.grpc.all().iter().map(|method| pick(method).get()).sum()
    };
    let bare = |bytes: &Counter, messages: u64| {
        to_f64(bytes.get().saturating_sub(messages * MESSAGE_HEAD_BYTES))
    };
    p.number(
        "etcd_network_client_grpc_received_bytes_total",
        Kind::Counter,
        "Bytes of gRPC requests.",
        bare(&m.traffic.received, messages(|method| &method.received)),
    );
    p.number(
        "etcd_network_client_grpc_sent_bytes_total",
        Kind::Counter,
        "Bytes of gRPC answers.",
        bare(&m.traffic.sent, messages(|method| &method.sent)),
    );
}

fn streams(p: &mut Page, m: &Metrics) {
    p.family(
        "etcd_network_server_stream_failures_total",
        Kind::Counter,
        "Requests on server streams that could not be received.",
    );
    let failures =
        [("lease-keepalive", &m.keepalive_receive_failures), ("watch", &m.watch_receive_failures)];
    for (api, counter) in failures.iter().filter(|(_, counter)| counter.get() > 0) {
        p.sample(&[("API", api), ("Type", "receive")], to_f64(counter.get()));
    }
}

fn snapshots(p: &mut Page, s: &Scrape) {
    let name = "etcd_network_snapshot_receive_failures";
    let family = (name, "Snapshots that failed to arrive.", Kind::Counter, "From");
    per_peer(p, s, family, |peer| some(peer.snapshots_received.failures));
    let name = "etcd_network_snapshot_receive_inflights_total";
    let family = (name, "Snapshots being received.", Kind::Gauge, "From");
    per_peer(p, s, family, |peer| in_flight(&peer.snapshots_received));
    let name = "etcd_network_snapshot_receive_success";
    let family = (name, "Snapshots that arrived.", Kind::Counter, "From");
    per_peer(p, s, family, |peer| some(peer.snapshots_received.successes));
    let name = "etcd_network_snapshot_receive_total_duration_seconds";
    let family = (name, "Time to receive a snapshot.", "From");
    times_per_peer(p, s, family, &SNAPSHOT_BOUNDS, |peer| &peer.snapshots_received.seconds);
    let name = "etcd_network_snapshot_send_failures";
    let family = (name, "Snapshots that could not be sent.", Kind::Counter, "To");
    per_peer(p, s, family, |peer| some(peer.snapshots_sent.failures));
    let name = "etcd_network_snapshot_send_inflights_total";
    let family = (name, "Snapshots being sent.", Kind::Gauge, "To");
    per_peer(p, s, family, |peer| in_flight(&peer.snapshots_sent));
    let name = "etcd_network_snapshot_send_success";
    let family = (name, "Snapshots that were sent.", Kind::Counter, "To");
    per_peer(p, s, family, |peer| some(peer.snapshots_sent.successes));
    let name = "etcd_network_snapshot_send_total_duration_seconds";
    let family = (name, "Time to send a snapshot.", "To");
    times_per_peer(p, s, family, &SNAPSHOT_BOUNDS, |peer| &peer.snapshots_sent.seconds);
}

/// Shown once there was a snapshot at all.
fn in_flight(stats: &rafthttp::SnapshotStats) -> Option<f64> {
    let now = u64::try_from(stats.in_flight).unwrap_or(0);
    (now + stats.successes + stats.failures > 0).then(|| to_f64(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_shows_what_happened_with_it() {
        let mut scrape = Scrape { member_id: 1, ..Scrape::default() };
        let peer = PeerStats {
            active: true,
            sent_bytes: 70,
            round_trip: HistogramStats { counts: vec![0, 2, 1], sum: 0.5 },
            ..PeerStats::default()
        };
        scrape.peers.peers.insert(0xab, peer);
        let mut page = Page::default();
        render(&mut page, &Metrics::new(false), &scrape);
        let text = page.finish();
        for line in [
            "etcd_network_active_peers{Local=\"1\",Remote=\"ab\"} 1\n",
            "etcd_network_peer_sent_bytes_total{To=\"ab\"} 70\n",
            "etcd_network_peer_round_trip_time_seconds_bucket{To=\"ab\",le=\"0.0002\"} 2\n",
            "etcd_network_peer_round_trip_time_seconds_count{To=\"ab\"} 3\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("etcd_network_peer_received_bytes_total"), "{text}");
        assert!(!text.contains("etcd_network_snapshot_send"), "{text}");
    }
}
