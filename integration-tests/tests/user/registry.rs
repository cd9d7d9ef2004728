//! What a Kubernetes cluster keeps in the store, as an operator's handbook shows it.

/// Keys of a Kubernetes cluster, in the order of the keys.
const PODS: [&str; 10] = [
    "/registry/pods/kube-system/calico-kube-controllers-6f8794d6c4-6hjzq",
    "/registry/pods/kube-system/calico-node-22pk5",
    "/registry/pods/kube-system/calico-node-8lzw4",
    "/registry/pods/kube-system/calico-node-c2f2q",
    "/registry/pods/kube-system/calico-node-pbfcs",
    "/registry/pods/kube-system/calico-node-qmn6j",
    "/registry/pods/kube-system/calico-node-smw9x",
    "/registry/pods/kube-system/coredns-8568fcb45d-ghnrd",
    "/registry/pods/kubernetes-dashboard/dashboard-metrics-scraper-c5f49cc44-lhr2n",
    "/registry/pods/kubernetes-dashboard/kubernetes-dashboard-688994654d-mt7nl",
];

const NAMESPACES: [&str; 5] = [
    "/registry/namespaces/default",
    "/registry/namespaces/kube-node-lease",
    "/registry/namespaces/kube-public",
    "/registry/namespaces/kube-system",
    "/registry/namespaces/kubernetes-dashboard",
];

const DEPLOYMENTS: [&str; 4] = [
    "/registry/deployments/kube-system/calico-kube-controllers",
    "/registry/deployments/kube-system/coredns",
    "/registry/deployments/kubernetes-dashboard/dashboard-metrics-scraper",
    "/registry/deployments/kubernetes-dashboard/kubernetes-dashboard",
];

pub(crate) const CALICO: [&str; 12] = [
    "/calico/ipam/v2/assignment/ipv4/block/10.200.151.128-26",
    "/calico/ipam/v2/assignment/ipv4/block/10.200.154.192-26",
    "/calico/ipam/v2/assignment/ipv4/block/10.200.183.128-26",
    "/calico/ipam/v2/assignment/ipv4/block/10.200.44.192-26",
    "/calico/ipam/v2/assignment/ipv4/block/10.200.89.128-26",
    "/calico/ipam/v2/assignment/ipv4/block/10.200.95.0-26",
    "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-master-01",
    "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-master-02",
    "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-master-03",
    "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-node-01",
    "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-node-02",
    "/calico/ipam/v2/handle/ipip-tunnel-addr-k8s-node-03",
];

/// A block of addresses as calico keeps it: one line, 64 places.
pub(crate) fn address_block() -> String {
    let unallocated: Vec<String> = (1..64).map(|place| place.to_string()).collect();
    format!(
        r#"{{"cidr":"10.200.151.128/26","affinity":"host:k8s-master-01","allocations":[0{}],"unallocated":[{}],"attributes":[{{"handle_id":"ipip-tunnel-addr-k8s-master-01","secondary":{{"node":"k8s-master-01","type":"ipipTunnelAddress"}}}}],"deleted":false}}"#,
        ",null".repeat(63),
        unallocated.join(",")
    )
}

/// All of them, in the order of the keys.
pub(crate) fn all_keys() -> Vec<&'static str> {
    [&CALICO[..], &DEPLOYMENTS, &NAMESPACES, &PODS].concat()
}

/// Demands that `get / --prefix --keys-only` has listed them all, and that `grep` finds in it what
/// the handbook shows.
#[track_caller]
pub(crate) fn check_listing(listed: &str) {
    let expected: String = all_keys().iter().map(|key| format!("{key}\n\n")).collect();
    assert_eq!(listed, expected);
    let grep = |found: fn(&str) -> bool| -> Vec<&str> {
        listed.lines().filter(|line| found(line)).collect()
    };
    assert_eq!(grep(|key| key.contains("pods")), PODS);
    assert_eq!(grep(|key| key.contains("namespaces")), NAMESPACES);
    assert_eq!(grep(|key| key.contains("deployments")), DEPLOYMENTS);
    assert_eq!(grep(|key| key.starts_with("/calico")), CALICO);
}
