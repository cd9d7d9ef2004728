//! Three members that are told of each other.

use integration_tests::{
    Cluster, Kind, MEMBER_COLUMNS, STATUS_COLUMNS, Server, Table, Tool, eventually, own_network,
};
use sha1::{Digest, Sha1};

use crate::{SOON, get, ours, skipped, target};

/// The head of SHA-1 over these bytes, as ids are made.
fn head(bytes: &[u8]) -> u64 {
    let digest = Sha1::digest(bytes);
    u64::from_be_bytes(digest[..8].try_into().expect("8 bytes"))
}

/// Ids of the members in the order of the list, and that of the cluster.
fn ids(endpoints: &str) -> (Vec<u64>, u64) {
    let list: serde_json::Value =
        serde_json::from_str(&ours(endpoints, "member list -w json")).expect("JSON");
    let members = list["members"].as_array().expect("members");
    let ids = members.iter().map(|m| m["ID"].as_u64().expect("an id")).collect();
    (ids, list["header"]["cluster_id"].as_u64().expect("an id"))
}

/// In a network of its own, so that the ports of recorded clusters are free.
#[test]
fn ids_are_those_real_clusters_of_the_same_urls_have() {
    if let Err(error) = own_network() {
        return skipped("recorded ids", &error);
    }
    let recorded = [
        (
            "etcd-cluster-1",
            [12380, 22380, 32380],
            [0x8211_f1d0_f64f_3269, 0x91bc_3c39_8fb3_c146, 0xfd42_2379_fda5_0e48],
            0xef37_ad9d_c622_a7c4,
        ),
        // Leading zeros of the cluster's id.
        (
            "etcd-cluster-0",
            [35001, 35002, 35003],
            [0x15ae_9e1b_9c7f_2f19, 0x6259_c509_f8bd_080f, 0xac1f_978d_b545_5996],
            0x0f5a_8697_00de_b3ef,
        ),
    ];
    for (token, peer_ports, members, cluster) in recorded {
        let dir = tempfile::tempdir().expect("a folder");
        let mut builders: Vec<_> = peer_ports
            .iter()
            .map(|port| {
                let name = format!("m{port}");
                Server::builder(target(), &dir.path().join(&name))
                    .name(&name)
                    .on_ports(port + 1000, *port)
                    .args([format!("--initial-cluster-token={token}")])
            })
            .collect();
        let peers: Vec<String> =
            builders.iter_mut().map(integration_tests::Builder::peer).collect();
        let spawn =
            |builder: integration_tests::Builder| builder.initial_cluster(&peers.join(",")).spawn();
        let mut servers: Vec<Server> = builders.into_iter().map(spawn).collect();
        servers.iter_mut().for_each(Server::await_health);
        assert_eq!(ids(&servers[0].client_authority()), (members.to_vec(), cluster), "{token}");
    }
}

/// Both tools print what an operator's handbook shows; the ids follow from the peer URLs.
#[test]
fn both_tools_print_the_three_members() {
    let mut cluster = Cluster::start(target(), 3, &["--initial-cluster-token=etcd-cluster-0"]);
    let all = cluster.endpoints();
    let mut expected: Vec<(u64, String, String, String)> = cluster
        .members()
        .iter()
        .map(|member| {
            let url = member.peer_url();
            let id = head(format!("{url}etcd-cluster-0").as_bytes());
            (id, member.name().to_owned(), url, member.client_url())
        })
        .collect();
    expected.sort_unstable();
    let bytes: Vec<u8> = expected.iter().flat_map(|(id, ..)| id.to_be_bytes()).collect();
    let wanted: Vec<u64> = expected.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids(&all), (wanted, head(&bytes)));

    let second = cluster.members()[1].client_authority();
    for tool in [Tool::Ours, Tool::Reference] {
        let list = tool.run_at(&second, &["-w", "table", "member", "list"]);
        assert_eq!(list.stdout.lines().count(), 7, "{tool:?}: {}", list.stdout);
        let table = Table::read(&list.stdout);
        assert_eq!(table.header, MEMBER_COLUMNS, "{tool:?}");
        for ((id, name, peer, client), row) in expected.iter().zip(&table.rows) {
            let id = format!("{id:x}");
            let wanted = [id.as_str(), "started", name, peer, client, "false"];
            assert_eq!(row, &wanted, "{tool:?}");
        }
        each_endpoint(tool, &mut cluster, &expected);
    }
    // What is written through one is found through every other.
    ours(&all, "put seen everywhere");
    for member in cluster.members() {
        let found = get(&member.client_authority(), "seen", false);
        assert_eq!(found, Ok(Some("everywhere".to_owned())), "{}", member.name());
    }
    cluster.await_same_data();
    cluster.assert_no_panic();
}

/// `endpoint health` and `endpoint status`, one call for each endpoint.
fn each_endpoint(tool: Tool, cluster: &mut Cluster, expected: &[(u64, String, String, String)]) {
    cluster.await_leader();
    let rows = eventually("all members have applied everything", SOON, || {
        let mut rows = Vec::new();
        for (.., client) in expected {
            let health = tool.run_at(client, &["endpoint", "health"]);
            let line = format!("{client} is healthy: successfully committed proposal: took = ");
            // Some releases of the tool say it on standard error.
            let text = format!("{}{}", health.stdout, health.stderr);
            assert!(health.code == 0 && text.starts_with(&line), "{tool:?}: {health:?}");
        }
        for (id, _, _, client) in expected {
            let status = tool.run_at(client, &["-w", "table", "endpoint", "status"]);
            assert_eq!((status.code, status.stdout.lines().count()), (0, 5), "{status:?}");
            let table = Table::read(&status.stdout);
            let row = STATUS_COLUMNS.map(|column| table.cell(0, column).to_owned());
            assert_eq!(row[..2], [client.clone(), format!("{id:x}")], "{tool:?}");
            rows.push(row);
        }
        let same = |column: usize| rows.iter().all(|row| row[column] == rows[0][column]);
        (same(6) && same(7) && rows.iter().all(|row| row[7] == row[8])).then_some(rows)
    });
    let version = if target() == Kind::Ours { "3.7." } else { "3.4." };
    for row in &rows {
        assert!(row[2].starts_with(version), "{row:?}");
        assert!([" B", " kB", " MB"].iter().any(|unit| row[3].ends_with(unit)), "{row:?}");
        assert_eq!((row[5].as_str(), row[9].as_str()), ("false", ""), "{row:?}");
    }
    let leaders = rows.iter().filter(|row| row[4] == "true").count();
    assert_eq!(leaders, 1, "{rows:?}");
}

/// A start that must fail: what the member logs.
#[track_caller]
fn refused(mut server: Server) -> String {
    let status = server.wait(SOON);
    assert!(!status.success(), "{status}: {}", server.log());
    server.log()
}

#[test]
fn a_member_that_does_not_fit_the_running_ones_does_not_start() {
    let mut cluster = Cluster::start(target(), 3, &["--strict-reconfig-check=false"]);
    let all = cluster.endpoints();
    let known: Vec<String> = cluster.members().iter().map(|m| m.again().peer()).collect();
    let known = known.join(",");
    let join = |name: &str, cluster: &Cluster, members: &str| {
        let mut builder = cluster.member(name);
        let members = format!("{members},{}", builder.peer());
        refused(
            builder.initial_cluster(&members).args(["--initial-cluster-state=existing"]).spawn(),
        )
    };
    let log = join("nobody-added-it", &cluster, &known);
    assert!(log.contains("error validating peerURLs {ClusterID:"), "{log}");
    assert!(log.contains("}: member count is unequal"), "{log}");
    let log = join("nobody-there", &cluster, "other=http://127.0.0.1:1");
    assert!(log.contains("cannot fetch cluster info from peer urls: could not retrieve"), "{log}");
    ours(&all, "member add added --learner --peer-urls=http://127.0.0.1:1");
    let log = join("added-elsewhere", &cluster, &known);
    assert!(log.contains("PeerURLs: no match found for existing member ("), "{log}");

    // One that has lost its data is no founder any more.
    let id = cluster.id(2);
    cluster.member_mut(2).crash();
    std::fs::remove_dir_all(cluster.members()[2].data_dir()).expect("remove its data");
    cluster.restart(2);
    let status = cluster.member_mut(2).wait(SOON);
    let log = cluster.members()[2].log();
    assert!(!status.success(), "{status}");
    assert!(log.contains(&format!("member {id:x} has already been bootstrapped")), "{log}");
    cluster.await_leader();
    ours(&all, "put the others serve");
    cluster.assert_no_panic();
}
