//! Members are restarted and replaced, one after the other, while clients go on.

use integration_tests::{Cluster, Plan, Traffic, eventually, members, observe, seed};

use crate::{SOON, ours, target, try_ours};

/// Nothing was given up and nothing is lost.
fn conclude_patient(cluster: &mut Cluster, traffic: Traffic) {
    traffic.await_write_after(traffic.now(), SOON);
    let calls = traffic.finish();
    println!("{} writes, given up: {:?}", calls.writes(), calls.given_up);
    cluster.await_same_data();
    for member in cluster.members() {
        calls.check(&observe(&member.client_authority()));
    }
    cluster.assert_no_panic();
    assert_eq!(calls.given_up, Vec::<String>::new());
}

#[test]
fn a_rolling_restart_fails_no_write_of_a_patient_client() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let traffic = Traffic::start(&cluster.endpoints(), Plan::patient(seed()));
    for at in [0, 1, 2] {
        traffic.await_write_after(traffic.now(), SOON);
        cluster.member_mut(at).terminate();
        cluster.restart(at);
        cluster.await_health();
        cluster.await_leader();
    }
    conclude_patient(&mut cluster, traffic);
}

/// Each member gives way to a new one: added as a learner, promoted, then the old one removed.
#[test]
fn a_rolling_replacement_fails_no_write_of_a_patient_client() {
    let mut cluster = Cluster::start(target(), 3, &[]);
    let mut builders: Vec<_> = ["n3", "n4", "n5"].map(|name| cluster.member(name)).into();
    // The clients know the members to come: their addresses never change.
    let mut endpoints = vec![cluster.endpoints()];
    endpoints.extend(builders.iter_mut().map(integration_tests::Builder::client_authority));
    let traffic = Traffic::start(&endpoints.join(","), Plan::patient(seed()));
    for mut builder in builders {
        traffic.await_write_after(traffic.now(), SOON);
        cluster.await_leader();
        let all = cluster.endpoints();
        let add = format!("member add next --learner --peer-urls={}", builder.peer_url());
        // Only when the members have been connected for 5 s.
        let printed = eventually("a learner is accepted", SOON, || try_ours(&all, &add).ok());
        let id = printed.split_whitespace().nth(1).expect("an id").to_owned();
        // A newcomer asks any of them who the members are.
        for member in cluster.members() {
            eventually("the newcomer is known", SOON, || {
                let known = members(&member.client_authority(), false).ok()?;
                (known.len() == 4).then_some(())
            });
        }
        let line = printed.lines().find_map(|l| l.strip_prefix("ETCD_INITIAL_CLUSTER="));
        let peers = line.expect("the tool says it").trim_matches('"');
        let peers = peers.replace("next=", &format!("{}=", builder.member_name()));
        let new = builder.initial_cluster(&peers).args(["--initial-cluster-state=existing"]);
        cluster.push(new.spawn());
        let promote = format!("member promote {id}");
        eventually("the learner has caught up", SOON, || try_ours(&all, &promote).ok());
        cluster.await_health();

        let old = cluster.id(0);
        let last = cluster.members().last().expect("members").client_authority();
        let remove = format!("member remove {old:x}");
        eventually("the old member is removed", SOON, || try_ours(&last, &remove).ok());
        let status = cluster.member_mut(0).wait(SOON);
        assert!(status.success(), "a removed member ended: {status}");
        drop(cluster.kill(0));
    }
    let list = ours(&cluster.endpoints(), "member list");
    assert_eq!(list.lines().count(), 3, "{list}");
    conclude_patient(&mut cluster, traffic);
}
