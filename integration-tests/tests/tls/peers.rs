//! Members that speak TLS with each other.

use super::*;

/// Members to be, `n0` and so on, all of one cluster with https among them.
fn members(scene: &Scene, kinds: &[Kind], args: impl Fn(usize) -> Vec<String>) -> Vec<Builder> {
    let mut builders: Vec<Builder> = kinds
        .iter()
        .enumerate()
        .map(|(at, &kind)| {
            let name = format!("n{at}");
            let dir = scene.dir.path().join(&name);
            Server::builder(kind, &dir).name(&name).peer_scheme("https").args(args(at))
        })
        .collect();
    let peers: Vec<String> = builders.iter_mut().map(Builder::peer).collect();
    let peers = peers.join(",");
    builders.into_iter().map(|builder| builder.initial_cluster(&peers)).collect()
}

/// Starts all before any of them is waited for.
fn start_all(builders: Vec<Builder>) -> Vec<Server> {
    let mut servers: Vec<Server> = builders.into_iter().map(Builder::spawn).collect();
    servers.iter_mut().for_each(Server::await_health);
    servers
}

/// Flags of a member that shows this pair and demands certificates of the CA.
fn peer_flags(scene: &Scene, pair: &PairFiles) -> Vec<String> {
    vec![
        format!("--peer-cert-file={}", shown(&pair.cert)),
        format!("--peer-key-file={}", shown(&pair.key)),
        format!("--peer-trusted-ca-file={}", scene.path("ca.pem")),
        "--peer-client-cert-auth".to_owned(),
    ]
}

/// What is put on one member is read from all.
fn agree(servers: &[Server], value: &str) {
    Tool::Reference.ok(&servers[0], &["put", "k", value]);
    for server in servers {
        assert_eq!(Tool::Reference.ok(server, &["get", "k"]), format!("k\n{value}\n"));
    }
}

#[test]
fn members_with_certificates_of_one_ca_form_a_cluster() {
    let scene = Scene::new();
    let flags = |_| peer_flags(&scene, &scene.server);
    let mut servers = start_all(members(&scene, &[Kind::Ours; 3], flags));
    agree(&servers, "first");
    let restarted = servers.remove(1).kill().start();
    servers.push(restarted);
    agree(&servers, "second");
    let log = servers[0].log();
    assert!(log.contains("\"starting with peer TLS\""), "{log}");
    let members = Tool::Reference.ok(&servers[0], &["member", "list"]);
    assert_eq!(members.matches("https://127.0.0.1:").count(), 3, "{members}");
}

#[test]
fn members_of_real_etcd_and_ours_meet_over_tls() {
    let scene = Scene::new();
    let flags = |_| peer_flags(&scene, &scene.server);
    let kinds = [Kind::Ours, Kind::Reference, Kind::Ours];
    let servers = start_all(members(&scene, &kinds, flags));
    agree(&servers, "first");
}

#[test]
fn members_with_self_made_certificates_trust_each_other() {
    let scene = Scene::new();
    let servers =
        start_all(members(&scene, &[Kind::Ours; 2], |_| vec!["--peer-auto-tls".to_owned()]));
    agree(&servers, "first");
    assert!(servers[1].data_dir().join("fixtures/peer/key.pem").exists());
}

/// Two members of which the second shows `intruder` when it dials; the first looks at it with
/// these further flags. The first server, both running.
fn with_intruder(scene: &Scene, intruder: &Issued, further: &[&str]) -> Vec<Server> {
    let intruder = scene.write("intruder", intruder);
    let builders = members(scene, &[Kind::Ours; 2], |at| {
        let mut flags = peer_flags(scene, &scene.server);
        if at == 0 {
            flags.extend(further.iter().map(|&flag| flag.to_owned()));
        } else {
            flags.push(format!("--peer-client-cert-file={}", shown(&intruder.cert)));
            flags.push(format!("--peer-client-key-file={}", shown(&intruder.key)));
        }
        flags
    });
    builders.into_iter().map(Builder::spawn).collect()
}

#[test]
fn peers_with_a_wrong_certificate_are_turned_away() {
    let other = Authority::new("test-ca").issue(Subject::named("n1"));
    let scene = Scene::new();
    let servers = with_intruder(&scene, &other, &[]);
    rejected_on("peer", &servers[0], "x509: certificate signed by unknown authority");
    drop(servers);

    let scene = Scene::new();
    let elsewhere = scene.ca.issue(Subject::named("n1").hosts(&["10.9.9.9"]));
    let servers = with_intruder(&scene, &elsewhere, &[]);
    rejected_on("peer", &servers[0], "x509: certificate is valid for 10.9.9.9, not 127.0.0.1");
    drop(servers);

    let scene = Scene::new();
    let named = scene.ca.issue(Subject::named("n1"));
    let servers = with_intruder(&scene, &named, &["--peer-cert-allowed-cn=n2,n3"]);
    rejected_on("peer", &servers[0], "client certificate authentication failed");
}

#[test]
fn peers_are_chosen_by_host_name_and_by_what_is_revoked() {
    let anywhere = "--peer-skip-client-san-verification";
    let scene = Scene::new();
    let other = scene.ca.issue(Subject::named("n1").hosts(&["n2.example"]));
    let only = "--peer-cert-allowed-hostname=n1.example,n3.example";
    let servers = with_intruder(&scene, &other, &[anywhere, only]);
    rejected_on("peer", &servers[0], "client certificate authentication failed");
    drop(servers);

    let scene = Scene::new();
    let named = scene.ca.issue(Subject::named("n1").hosts(&["n1.example"]));
    let mut servers = with_intruder(&scene, &named, &[anywhere, only]);
    servers.iter_mut().for_each(Server::await_health);
    drop(servers);

    let scene = Scene::new();
    let revoked = scene.ca.issue(Subject::named("n1"));
    let list = file(&scene, "list.crl");
    std::fs::write(&list, scene.ca.revoke(&[&revoked])).expect("write the list");
    let crl = format!("--peer-crl-file={}", shown(&list));
    let mut servers = with_intruder(&scene, &revoked, &[&crl]);
    rejected_on("peer", &servers[0], "revoked");
    // The list is read at every connection.
    std::fs::write(&list, scene.ca.revoke(&[])).expect("write the list");
    servers.iter_mut().for_each(Server::await_health);
    agree(&servers, "pardoned");
}

/// Members that stay show what is on disk now to one that comes back, and so does it to them.
#[test]
fn members_take_up_renewed_certificates_without_a_restart() {
    let scene = Scene::new();
    let flags = |_| peer_flags(&scene, &scene.server);
    let mut servers = start_all(members(&scene, &[Kind::Ours; 3], flags));
    agree(&servers, "first");
    let away = servers.pop().expect("three").kill();
    scene.write("server", &scene.ca.issue(server_subject().expired()));
    let mut away = away.spawn();
    for server in [&away, &servers[0], &servers[1]] {
        rejected_on("peer", server, "remote error: tls: expired certificate");
    }
    scene.write("server", &scene.ca.issue(server_subject()));
    away.await_health();
    servers.push(away);
    agree(&servers, "renewed");
}

#[test]
fn peers_from_elsewhere_get_in_when_their_address_does_not_matter() {
    let scene = Scene::new();
    let elsewhere = scene.ca.issue(Subject::named("n1").hosts(&["10.9.9.9"]));
    let further = ["--peer-skip-client-san-verification", "--peer-cert-allowed-cn=n1"];
    let mut servers = with_intruder(&scene, &elsewhere, &further);
    servers.iter_mut().for_each(Server::await_health);
    agree(&servers, "first");
}
