//! Members of ours and of real etcd 3.4 in one cluster.

use std::time::Duration;

use integration_tests::{Cluster, Kind, Plan, Server, Traffic, eventually, put, seed};

use crate::{SOON, conclude, get, lead, ours};

/// Changes of members are accepted at once, not only when all have been connected for 5 s.
const LENIENT: &str = "--strict-reconfig-check=false";

/// The cluster version as a member knows it.
fn cluster_version(member: &Server) -> Option<String> {
    let (_, body) = member.http_get("/version")?;
    let version: serde_json::Value = serde_json::from_str(&body).ok()?;
    Some(version["etcdcluster"].as_str()?.to_owned())
}

fn await_cluster_version(cluster: &Cluster, at: &[usize], wanted: &str) {
    let what = format!("cluster version {wanted}");
    for at in at {
        eventually(&what, SOON, || {
            (cluster_version(&cluster.members()[*at])? == wanted).then_some(())
        });
    }
}

/// Adds a member of this kind by the tool and starts it as the tool says.
fn join(cluster: &mut Cluster, kind: Kind, name: &str) -> usize {
    // A change that meets no leader is lost.
    cluster.await_leader();
    let mut builder = cluster.member(name).kind(kind);
    let endpoints = cluster.endpoints();
    let printed =
        ours(&endpoints, &format!("member add {name} --peer-urls={}", builder.peer_url()));
    let line = printed.lines().find_map(|line| line.strip_prefix("ETCD_INITIAL_CLUSTER="));
    let peers = line.expect("the tool says it").trim_matches('"');
    let builder = builder.initial_cluster(peers).args(["--initial-cluster-state=existing"]);
    cluster.push(builder.spawn());
    cluster.await_health();
    cluster.members().len() - 1
}

/// Every member takes a write, which every member then finds.
fn all_see_all(cluster: &mut Cluster, round: &str) {
    for writer in cluster.members() {
        let value = format!("{round} by {}", writer.name());
        let done = put(&writer.client_authority(), "mixed", &value);
        assert!(done.is_ok(), "{value}: {done:?}");
        for reader in cluster.members() {
            let found = get(&reader.client_authority(), "mixed", false);
            assert_eq!(found, Ok(Some(value.clone())), "through {}", reader.name());
        }
    }
    cluster.await_same_data();
}

/// Under load each kind leads, is killed while it leads, and is started again.
fn each_leads_and_dies(cluster: &mut Cluster) {
    let traffic = Traffic::start(&cluster.endpoints(), Plan::new(seed()));
    for at in 0..cluster.members().len() {
        lead(cluster, at);
        traffic.await_write_after(traffic.now(), SOON);
        cluster.member_mut(at).crash();
        traffic.await_write_after(traffic.now(), SOON);
        cluster.restart(at);
        cluster.await_health();
        cluster.await_leader();
    }
    conclude(cluster, traffic);
}

#[test]
fn one_of_ours_joins_two_of_3_4_and_in_the_end_replaces_them() {
    let mut cluster = Cluster::start(Kind::Reference, 2, &[LENIENT]);
    ours(&cluster.endpoints(), "put before us");
    let us = join(&mut cluster, Kind::Ours, "n2");
    assert_eq!(
        get(&cluster.members()[us].client_authority(), "before", false),
        Ok(Some("us".to_owned()))
    );
    await_cluster_version(&cluster, &[0, 1, 2], "3.4.0");
    all_see_all(&mut cluster, "first");
    for at in [2, 0, 1] {
        lead(&mut cluster, at);
        all_see_all(&mut cluster, &format!("led by n{at}"));
    }
    each_leads_and_dies(&mut cluster);
    for at in 0..3 {
        cluster.member_mut(at).terminate();
        cluster.restart(at);
        cluster.await_health();
    }
    all_see_all(&mut cluster, "restarted");
    await_cluster_version(&cluster, &[0, 1, 2], "3.4.0");

    for name in ["n3", "n4"] {
        // The first in the list is the oldest: one of 3.4.
        let id = cluster.id(0);
        let last = cluster.members().last().expect("members").client_authority();
        ours(&last, &format!("member remove {id:x}"));
        let status = cluster.member_mut(0).wait(SOON);
        assert!(status.success(), "a removed member ended: {status}");
        cluster.assert_no_panic();
        drop(cluster.kill(0));
        cluster.await_leader();
        join(&mut cluster, Kind::Ours, name);
        all_see_all(&mut cluster, name);
    }
    await_cluster_version(&cluster, &[0, 1, 2], "3.7.0");
    all_see_all(&mut cluster, "ours alone");
    cluster.assert_no_panic();
}

#[test]
fn one_of_ours_founds_a_cluster_with_two_of_3_4() {
    let kinds = [Kind::Ours, Kind::Reference, Kind::Reference];
    let mut cluster = Cluster::of(&kinds, &[LENIENT]);
    await_cluster_version(&cluster, &[0, 1, 2], "3.4.0");
    all_see_all(&mut cluster, "first");
    each_leads_and_dies(&mut cluster);
    all_see_all(&mut cluster, "last");
    await_cluster_version(&cluster, &[0, 1, 2], "3.4.0");
    cluster.assert_no_panic();
}

/// A cluster of ours alone has a version that 3.4 does not know: it stays out, by itself, and
/// does no harm.
#[test]
fn one_of_3_4_does_not_join_a_newer_cluster() {
    let mut cluster = Cluster::start(Kind::Ours, 1, &[LENIENT]);
    await_cluster_version(&cluster, &[0], "3.7.0");
    let mut builder = cluster.member("n1").kind(Kind::Reference);
    let endpoints = cluster.endpoints();
    let url = builder.peer_url();
    ours(&endpoints, &format!("member add n1 --learner --peer-urls={url}"));
    let peers = format!("{},n1={url}", cluster.members()[0].again().peer());
    let builder = builder.initial_cluster(&peers).args(["--initial-cluster-state=existing"]);
    let mut server = builder.spawn();
    let status = server.wait(Duration::from_secs(20));
    assert!(!status.success(), "{status}");
    let log = server.log();
    assert!(log.contains("incompatible with current running cluster"), "{log}");
    ours(&endpoints, "put still here");
    cluster.await_same_data();
    cluster.assert_no_panic();
}
