//! The page against the recorded families of etcd 3.7.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;

/// Families of the recorded page that need a peer transport or the v2 store.
const ABSENT: &[&str] = &[
    "etcd_debugging_store_reads_total",
    "etcd_debugging_store_writes_total",
    "etcd_network_active_peers",
    "etcd_network_disconnected_peers_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_received_failures_total",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_network_snapshot_receive_failures",
    "etcd_network_snapshot_receive_inflights_total",
    "etcd_network_snapshot_receive_success",
    "etcd_network_snapshot_receive_total_duration_seconds",
    "etcd_network_snapshot_send_failures",
    "etcd_network_snapshot_send_inflights_total",
    "etcd_network_snapshot_send_success",
    "etcd_network_snapshot_send_total_duration_seconds",
    "etcd_server_learner_promote_failures",
];

struct Golden {
    kind: String,
    labels: BTreeSet<String>,
    always: bool,
    bounds: Vec<f64>,
}

fn golden() -> BTreeMap<&'static str, Golden> {
    let row = |line: &'static str| {
        let fields: Vec<&str> = line.split('\t').collect();
        let list = |text: &str| match text {
            "-" => Vec::new(),
            text => text.split(',').map(str::to_owned).collect(),
        };
        let golden = Golden {
            kind: fields[1].to_owned(),
            labels: list(fields[2]).into_iter().collect(),
            always: fields[3] == "always",
            bounds: list(fields[4]).iter().map(|b| b.parse().expect("a number")).collect(),
        };
        (fields[0], golden)
    };
    include_str!("families.txt").lines().map(row).collect()
}

/// A page on which everything has happened.
fn busy() -> String {
    let metrics = Metrics::new(true);
    for op in 0..OPS.len() {
        metrics.applied(op, Duration::from_millis(1), true);
    }
    metrics.request_done(RequestType::Put, Duration::from_millis(1), true);
    metrics.range_done(Duration::from_millis(1), true);
    metrics.client_requests.count(Some("3.5"), false);
    metrics.watch_receive_failures.inc();
    metrics.check_done("readyz", "non_learner", true);
    metrics.cluster_version_set("3.6".to_owned());
    metrics.cluster_version_set("3.7".to_owned());
    let scrape = Scrape {
        member_id: 0x8ddab73534be950c,
        members: vec![0x8ddab73534be950c],
        features: vec![("AllAlpha", "ALPHA", false)],
        alarms: vec![(1, "NOSPACE".to_owned())],
        ..Scrape::default()
    };
    metrics.page(scrape)
}

fn families(page: &str) -> Vec<(&str, &str)> {
    let types = page.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    types.filter_map(|t| t.split_once(' ')).collect()
}

#[test]
fn families_have_the_recorded_names_and_types_in_order() {
    let page = busy();
    let golden = golden();
    let found = families(&page);
    assert!(found.windows(2).all(|w| w[0].0 < w[1].0), "sorted by name");
    for (name, kind) in &found {
        assert_eq!(golden[name].kind, *kind, "{name}");
    }
    let found: BTreeSet<&str> = found.iter().map(|f| f.0).collect();
    let missing: Vec<&str> = golden.keys().copied().filter(|n| !found.contains(n)).collect();
    assert_eq!(missing, ABSENT);
}

#[test]
fn a_fresh_page_has_the_families_that_are_always_there() {
    let page = Metrics::new(true)
        .page(Scrape { features: vec![("AllAlpha", "ALPHA", false)], ..Scrape::default() });
    let found: BTreeSet<&str> = families(&page).iter().map(|f| f.0).collect();
    for (name, golden) in golden().iter().filter(|(_, g)| g.always) {
        assert!(found.contains(name), "{name} of type {} is missing", golden.kind);
    }
    for name in ["etcd_cluster_version", "etcd_server_apply_duration_seconds"] {
        assert!(!found.contains(name), "{name} shows before its first event");
    }
}

#[test]
fn samples_have_the_recorded_labels_and_buckets() {
    let page = busy();
    let golden = golden();
    let mut bounds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for line in page.lines().filter(|l| !l.starts_with('#')) {
        let (key, _) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = key.split_once('{').unwrap_or((key, "}"));
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s));
        let (family, golden) = match base.and_then(|b| golden.get_key_value(b)) {
            Some((family, golden)) if golden.kind == "histogram" => (*family, golden),
            _ => (name, &golden[name]),
        };
        let labels = labels.trim_end_matches('}');
        let pairs: Vec<(&str, &str)> =
            labels.split(',').filter_map(|l| l.split_once('=')).collect();
        let names: BTreeSet<String> =
            pairs.iter().map(|p| p.0.to_owned()).filter(|n| n != "le").collect();
        assert_eq!(names, golden.labels, "{line}");
        let sorted: Vec<&str> = pairs.iter().map(|p| p.0).filter(|n| *n != "le").collect();
        assert!(sorted.is_sorted(), "{line}");
        if let Some((_, le)) = pairs.iter().find(|p| p.0 == "le" && p.1 != "\"+Inf\"") {
            let bound: f64 = le.trim_matches('"').parse().expect("a bound");
            let list = bounds.entry(family).or_default();
            if !list.contains(&bound) {
                list.push(bound);
            }
        }
    }
    for (family, found) in bounds {
        let want = &golden[family].bounds;
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= b.abs() * 1e-9;
        assert!(found.len() == want.len() && found.iter().zip(want).all(close), "{family}");
    }
}

#[test]
fn counters_of_all_methods_exist_before_the_first_call() {
    let metrics = Metrics::new(false);
    let page = metrics.page(Scrape::default());
    let put = "grpc_method=\"Put\",grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 0";
    assert!(page.contains(&format!("grpc_server_started_total{{{put}")));
    assert!(page.contains(&format!("grpc_server_handled_total{{grpc_code=\"DataLoss\",{put}")));
    assert!(!page.contains("v3lockpb") && !page.contains("grpc_server_handling_seconds"));
    let lock = metrics.grpc.get("v3lockpb.Lock", "Lock").expect("a method");
    lock.started.inc();
    lock.handled(tonic::Code::Unauthenticated, None);
    let page = metrics.page(Scrape::default());
    let labels = "grpc_method=\"Lock\",grpc_service=\"v3lockpb.Lock\",grpc_type=\"unary\"} 1";
    assert!(page.contains(&format!("grpc_server_started_total{{{labels}")));
    let code = "grpc_code=\"Unauthenticated\"";
    assert!(page.contains(&format!("grpc_server_handled_total{{{code},{labels}")));
}

#[test]
fn methods_are_those_of_the_descriptors() {
    use prost::Message as _;
    let set = prost_types::FileDescriptorSet::decode(proto::DESCRIPTORS).expect("descriptors");
    let mut compiled = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let shape = match (method.client_streaming(), method.server_streaming()) {
                    (false, false) => Shape::Unary,
                    (false, true) => Shape::ServerStream,
                    (true, _) => Shape::BidiStream,
                };
                let service = format!("{}.{}", file.package(), service.name());
                compiled.push((service, method.name().to_owned(), shape));
            }
        }
    }
    compiled.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
    let metrics = Metrics::new(false);
    let ours =
        metrics.grpc.all().iter().map(|m| (m.service.to_owned(), m.name.to_owned(), m.shape));
    assert_eq!(ours.collect::<Vec<_>>(), compiled);
}

#[test]
fn unknown_client_versions_share_a_label() {
    let requests = ClientRequests::default();
    requests.count(None, false);
    requests.count(Some("3.5"), true);
    requests.count(Some("evil"), false);
    requests.count(Some("eviler"), false);
    let want = [("3.5", "stream", 1), ("other", "unary", 2), ("unknown", "unary", 1)];
    let want: Vec<_> = want.iter().map(|&(v, k, n)| (v.to_owned(), k, n)).collect();
    assert_eq!(requests.list(), want);
}

#[test]
fn a_previous_cluster_version_stays_at_zero() {
    let page = busy();
    assert!(page.contains("etcd_cluster_version{cluster_version=\"3.6\"} 0\n"));
    assert!(page.contains("etcd_cluster_version{cluster_version=\"3.7\"} 1\n"));
}

#[test]
fn the_kind_of_an_entry_is_told_by_its_first_field() {
    use proto::etcdserverpb as pb;
    use proto::request::{Kind, encode};
    let header = pb::RequestHeader { id: u64::MAX, ..Default::default() };
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    let version = proto::membershippb::ClusterVersionSetRequest { ver: "3.7.0".into() };
    let attributes = proto::membershippb::ClusterMemberAttrSetRequest::default();
    let cases = [
        (encode(Kind::Put, &put, &header), "Put"),
        (encode(Kind::Range, &pb::RangeRequest::default(), &header), "Range"),
        (encode(Kind::DeleteRange, &pb::DeleteRangeRequest::default(), &header), "DeleteRange"),
        (encode(Kind::Txn, &pb::TxnRequest::default(), &header), "Txn"),
        (encode(Kind::Compaction, &pb::CompactionRequest::default(), &header), "Compaction"),
        (encode(Kind::LeaseGrant, &pb::LeaseGrantRequest::default(), &header), "LeaseGrant"),
        (encode(Kind::LeaseRevoke, &pb::LeaseRevokeRequest::default(), &header), "LeaseRevoke"),
        (encode(Kind::Alarm, &pb::AlarmRequest::default(), &header), "Alarm"),
        (encode(Kind::ClusterVersionSet, &version, &header), "ClusterVersionSet"),
        (encode(Kind::ClusterMemberAttrSet, &attributes, &header), "ClusterMemberAttrSet"),
    ];
    for (data, name) in cases {
        assert_eq!(op_of_entry(&data, true).map(|op| OPS[op]), Some(name));
    }
    assert_eq!(op_of_entry(b"", true), None);
    assert_eq!(op_of_entry(b"", false).map(|op| OPS[op]), Some("ConfChange"));
}
