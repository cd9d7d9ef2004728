//! Restrictions beyond the chain: names, and the address a client comes from.

use std::io;
use std::sync::Arc;

use super::*;
use tls::Names;

#[tokio::test]
async fn only_the_listed_common_names_get_in() {
    let scene = Scene::new();
    let allowed = Allowed::CommonNames(vec!["m1".to_owned(), "m2".to_owned()]);
    let acceptor = acceptor(ServerOptions { allowed, ..scene.strict_server() });
    for (name, good) in [("m1", true), ("m2", true), ("m", false), ("", false)] {
        let pair = scene.write("named", &scene.ca.issue(Subject::named(name)));
        let meeting = meet(&acceptor, &connector(scene.client_with(pair))).await;
        if good {
            meeting.succeeds();
        } else {
            let (server, client) = meeting.fails();
            assert_eq!(server, "client certificate authentication failed");
            assert_eq!(client, "remote error: tls: access denied");
        }
    }
}

#[tokio::test]
async fn only_certificates_for_a_listed_host_get_in() {
    let scene = Scene::new();
    let allowed = Allowed::Hostnames(vec!["a.example.com".to_owned(), "10.1.1.1".to_owned()]);
    let acceptor = acceptor(ServerOptions { allowed, ..scene.strict_server() });
    for (hosts, good) in [
        (["x", "a.example.com"].as_slice(), true),
        (&["*.example.com"], true),
        (&["10.1.1.1"], true),
        (&["b.example.com"], false),
        (&[], false),
    ] {
        let subject = Subject::named("a.example.com").hosts(hosts);
        let pair = scene.write("named", &scene.ca.issue(subject));
        let meeting = meet(&acceptor, &connector(scene.client_with(pair))).await;
        match good {
            true => drop(meeting.succeeds()),
            false => assert_eq!(meeting.fails().0, "client certificate authentication failed"),
        }
    }
}

/// Knows one host: `here.test` is 10.0.0.1.
#[derive(Debug)]
struct OneHost;

impl Names for OneHost {
    fn of_address(&self, address: IpAddr) -> io::Result<Vec<String>> {
        match address.to_string().as_str() {
            "10.0.0.1" => Ok(vec!["here.test.".to_owned()]),
            _ => Err(io::Error::other("no such host")),
        }
    }
    fn addresses_of(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        match name {
            "here.test" => Ok(vec!["10.0.0.1".parse().expect("an address")]),
            _ => Err(io::Error::other("no such host")),
        }
    }
}

#[tokio::test]
async fn a_peer_must_come_from_where_its_certificate_is_for() {
    let scene = Scene::new();
    let acceptor = acceptor(ServerOptions { check_address: true, ..scene.strict_server() })
        .with_names(Arc::new(OneHost));
    let from = |hosts: &[&str]| {
        let issued = scene.ca.issue(Subject::named("peer").hosts(hosts));
        connector(scene.client_with(scene.write("peer", &issued)))
    };
    let ip: IpAddr = "10.0.0.1".parse().expect("an address");
    for hosts in [[].as_slice(), &["10.0.0.1"], &["here.test"], &["*.test"]] {
        meet_at(&acceptor, &from(hosts), "localhost", Some(ip)).await.succeeds();
    }
    // Without an address (a unix socket) there is nothing to compare.
    meet_at(&acceptor, &from(&["10.9.9.9"]), "localhost", None).await.succeeds();

    let meeting = meet_at(&acceptor, &from(&["10.9.9.9"]), "localhost", Some(ip)).await;
    let rejected = meeting.server.expect_err("another address");
    assert_eq!(rejected.error, "x509: certificate is valid for 10.9.9.9, not 10.0.0.1");
    assert_eq!(rejected.server_name, "localhost");
    let shown = Some((vec!["10.9.9.9".parse().expect("an address")], Vec::new()));
    assert_eq!(rejected.shown, shown);
    let meeting = meet_at(&acceptor, &from(&["there.test"]), "localhost", Some(ip)).await;
    assert_eq!(
        meeting.server.expect_err("another host").error,
        "tls: \"10.0.0.1\" does not match any of DNSNames [\"there.test\"] \
         (lookup there.test: no such host)"
    );
}
