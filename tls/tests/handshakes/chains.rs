//! Whose certificates are taken.

use super::*;

const UNKNOWN: &str =
    "tls: failed to verify certificate: x509: certificate signed by unknown authority";

#[tokio::test]
async fn a_server_of_the_ca_is_trusted_by_name_and_by_address() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.open_server());
    let connector = connector(scene.client_with(None));
    for host in ["localhost", "127.0.0.1", "localhost."] {
        assert_eq!(meet_at(&acceptor, &connector, host, None).await.succeeds(), None);
    }
}

#[tokio::test]
async fn a_server_of_another_ca_is_refused() {
    let scene = Scene::new();
    let other = scene.dir.path().join("other.pem");
    // The same name, another key.
    std::fs::write(&other, Authority::new("test-ca").pem()).expect("write a CA");
    let acceptor = acceptor(scene.open_server());
    let foreign = ClientOptions { trust: Trust::Ca(other), ..scene.client_with(None) };
    let (server, client) = meet(&acceptor, &connector(foreign)).await.fails();
    assert_eq!(client, UNKNOWN);
    assert_eq!(server, "remote error: tls: unknown certificate authority");
    let system = ClientOptions { trust: Trust::System, ..scene.client_with(None) };
    assert_eq!(meet(&acceptor, &connector(system)).await.fails().1, UNKNOWN);
    let blind = ClientOptions { trust: Trust::Blind, ..scene.client_with(None) };
    assert_eq!(meet_at(&acceptor, &connector(blind), "-no name-", None).await.succeeds(), None);
}

#[tokio::test]
async fn a_server_under_another_name_is_refused() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.open_server());
    let connector = connector(scene.client_with(None));
    let prefix = "tls: failed to verify certificate: x509: ";
    for (host, text) in [
        ("example.com", "certificate is valid for localhost, not example.com"),
        ("127.0.0.2", "certificate is valid for 127.0.0.1, not 127.0.0.2"),
    ] {
        let (server, client) = meet_at(&acceptor, &connector, host, None).await.fails();
        assert_eq!(client, format!("{prefix}{text}"));
        assert_eq!(server, "remote error: tls: bad certificate");
    }
    let (_, client) = meet_at(&acceptor, &connector, "a b", None).await.fails();
    assert_eq!(client, "tls: \"a b\" is not a name a certificate can be for");
}

#[tokio::test]
async fn a_common_name_is_no_host_name() {
    let scene = Scene::new();
    let prefix = "tls: failed to verify certificate: x509: ";
    for (subject, host, text) in [
        (
            Subject::named("localhost"),
            "localhost",
            "certificate relies on legacy Common Name field, use SANs instead",
        ),
        (
            Subject::named("x"),
            "localhost",
            "certificate is not valid for any names, but wanted to match localhost",
        ),
        (
            Subject::named("x").hosts(&["localhost"]),
            "127.0.0.1",
            "cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs",
        ),
    ] {
        let pair = scene.ca.issue(subject).write(scene.dir.path(), "named");
        let acceptor = acceptor(ServerOptions { pair, ..scene.open_server() });
        let connector = connector(scene.client_with(None));
        let (_, client) = meet_at(&acceptor, &connector, host, None).await.fails();
        assert_eq!(client, format!("{prefix}{text}"));
    }
}

#[tokio::test]
async fn another_server_name_replaces_the_host() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.open_server());
    let options =
        ClientOptions { server_name: Some("localhost".to_owned()), ..scene.client_with(None) };
    assert_eq!(meet_at(&acceptor, &connector(options), "10.0.0.1", None).await.succeeds(), None);
}

#[tokio::test]
async fn certificates_out_of_their_time_are_refused() {
    let scene = Scene::new();
    let text = "tls: failed to verify certificate: x509: certificate has expired or is not yet \
                valid: current time 20";
    for (subject, word) in
        [(server_subject().expired(), " is after 20"), (server_subject().early(), " is before 20")]
    {
        let issued = scene.ca.issue(subject);
        let pair = issued.write(scene.dir.path(), "server");
        let acceptor_of = |pair: &PairFiles, o: ServerOptions| {
            acceptor(ServerOptions { pair: pair.clone(), ..o })
        };
        let (server, client) =
            meet(&acceptor_of(&pair, scene.open_server()), &connector(scene.client_with(None)))
                .await
                .fails();
        assert!(client.starts_with(text) && client.contains(word), "{client}");
        assert_eq!(server, "remote error: tls: expired certificate");
        let good = scene.ca.issue(server_subject()).write(scene.dir.path(), "good");
        let strict = acceptor_of(&good, scene.strict_server());
        let (server, client) =
            meet(&strict, &connector(scene.client_with(Some(pair)))).await.fails();
        assert!(server.starts_with(text) && server.contains(word), "{server}");
        assert_eq!(client, "remote error: tls: expired certificate");
    }
}

#[tokio::test]
async fn an_expired_ca_vouches_for_nobody() {
    let scene = Scene::new();
    let old = Authority::of(Subject::named("old").for_any_use(false).ca().expired());
    std::fs::write(&scene.ca_file, old.pem()).expect("write the CA");
    let pair = old.issue(server_subject()).write(scene.dir.path(), "server");
    let acceptor = acceptor(ServerOptions { pair, ..scene.open_server() });
    let (_, client) = meet(&acceptor, &connector(scene.client_with(None))).await.fails();
    assert_eq!(client, UNKNOWN);
}

#[tokio::test]
async fn a_client_certificate_is_demanded_as_soon_as_a_ca_is_named() {
    let scene = Scene::new();
    let system = ServerOptions { client_cert_auth: true, ..scene.open_server() };
    let shown = connector(scene.client_with(Some(scene.client.clone())));
    let identity = meet(&acceptor(scene.strict_server()), &shown).await.succeeds();
    assert_eq!(identity, Some(Identity { common_name: "root".to_owned() }));
    for options in [scene.strict_server(), system] {
        let acceptor = acceptor(options);
        let (server, client) = meet(&acceptor, &connector(scene.client_with(None))).await.fails();
        assert_eq!(server, "tls: client didn't provide a certificate");
        assert_eq!(client, "remote error: tls: certificate required");
    }
    // Without a CA file the system decides, and it does not know ours.
    let system = ServerOptions { client_cert_auth: true, ..scene.open_server() };
    let (server, client) = meet(&acceptor(system), &shown).await.fails();
    assert_eq!(
        (server.as_str(), client.as_str()),
        (UNKNOWN, "remote error: tls: unknown certificate authority",)
    );
    // A server that demands none is shown none.
    assert_eq!(meet(&acceptor(scene.open_server()), &shown).await.succeeds(), None);
}

#[tokio::test]
async fn a_client_of_another_ca_is_refused() {
    let scene = Scene::new();
    let pair = scene.write("other", &Authority::new("test-ca").issue(Subject::named("root")));
    let acceptor = acceptor(scene.strict_server());
    let (server, client) = meet(&acceptor, &connector(scene.client_with(pair))).await.fails();
    assert_eq!(server, UNKNOWN);
    assert_eq!(client, "remote error: tls: unknown certificate authority");
}

#[tokio::test]
async fn what_a_certificate_is_for_counts() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.strict_server());
    for (subject, good) in [
        (Subject::named("a").only_for_servers(), false),
        (Subject::named("a").for_any_use(true), true),
        (Subject::named("a").for_any_use(false), true),
    ] {
        let pair = scene.write("used", &scene.ca.issue(subject));
        let meeting = meet(&acceptor, &connector(scene.client_with(pair))).await;
        if good {
            meeting.succeeds();
        } else {
            let (server, _) = meeting.fails();
            let text = "certificate specifies an incompatible key usage";
            assert_eq!(server, format!("tls: failed to verify certificate: x509: {text}"));
        }
    }
}

#[tokio::test]
async fn a_chain_leads_over_intermediates_to_the_ca() {
    let scene = Scene::new();
    let middle = scene.ca.below("middle");
    let mut issued = middle.issue(server_subject());
    let alone = scene.write("alone", &issued).expect("files");
    issued.cert_pem.push_str(&middle.pem());
    let whole = scene.write("whole", &issued).expect("files");
    let connector = connector(scene.client_with(None));
    let of = |pair| acceptor(ServerOptions { pair, ..scene.open_server() });
    meet(&of(whole), &connector).await.succeeds();
    assert_eq!(meet(&of(alone), &connector).await.fails().1, UNKNOWN);
}

#[tokio::test]
async fn a_self_signed_leaf_in_the_ca_file_vouches_for_itself_alone() {
    let scene = Scene::new();
    for subject in [server_subject(), server_subject().ca()] {
        let own = subject.self_signed();
        let pair = own.write(scene.dir.path(), "own");
        std::fs::write(&scene.ca_file, &own.cert_pem).expect("write the CA");
        let acceptor = acceptor(ServerOptions { pair: pair.clone(), ..scene.strict_server() });
        meet(&acceptor, &connector(scene.client_with(Some(pair)))).await.succeeds();
    }
    // Trusted for itself and no CA: what it signs is not trusted.
    let pinned = Authority::of(server_subject());
    std::fs::write(&scene.ca_file, pinned.pem()).expect("write the CA");
    let pair = scene.write("minted", &pinned.issue(Subject::named("root")));
    let (server, _) = meet(
        &acceptor(scene.strict_server()),
        &connector(ClientOptions { trust: Trust::Blind, ..scene.client_with(pair) }),
    )
    .await
    .fails();
    assert_eq!(server, UNKNOWN);
}

#[tokio::test]
async fn a_trusted_leaf_must_still_be_valid_and_for_the_host() {
    let scene = Scene::new();
    for (subject, text) in [
        (server_subject().expired(), "certificate has expired"),
        (Subject::named("x").hosts(&["example.com"]), "certificate is valid for example.com, not"),
    ] {
        let own = subject.self_signed();
        let pair = own.write(scene.dir.path(), "own");
        std::fs::write(&scene.ca_file, &own.cert_pem).expect("write the CA");
        let acceptor = acceptor(ServerOptions { pair, ..scene.open_server() });
        let (_, client) = meet(&acceptor, &connector(scene.client_with(None))).await.fails();
        assert!(client.contains(text), "{client}");
    }
}

#[tokio::test]
async fn a_leaf_marked_as_ca_is_taken_from_a_ca_and_from_nobody_else() {
    let scene = Scene::new();
    let pair = scene.ca.issue(server_subject().ca()).write(scene.dir.path(), "marked");
    let strict = ServerOptions { pair: pair.clone(), ..scene.strict_server() };
    let acceptor = acceptor(strict);
    meet(&acceptor, &connector(scene.client_with(Some(pair)))).await.succeeds();
    let other = scene.write("other", &Authority::new("test-ca").issue(server_subject().ca()));
    let (server, _) = meet(&acceptor, &connector(scene.client_with(other))).await.fails();
    assert_eq!(server, UNKNOWN);
    let expired = scene.write("expired", &scene.ca.issue(server_subject().ca().expired()));
    let (server, _) = meet(&acceptor, &connector(scene.client_with(expired))).await.fails();
    assert!(server.contains("certificate has expired"), "{server}");
    let servers = scene.ca.issue(server_subject().ca().only_for_servers());
    let servers = scene.write("servers", &servers);
    let (server, _) = meet(&acceptor, &connector(scene.client_with(servers))).await.fails();
    assert!(server.contains("incompatible key usage"), "{server}");
}

#[tokio::test]
async fn a_client_certificate_of_version_1_is_taken() {
    let scene = Scene::new();
    // Made by openssl without extensions; valid from 2020 to 2120.
    let (ca, cert, key) = (
        include_str!("../data/v1-ca.pem"),
        include_str!("../data/v1-client.pem"),
        include_str!("../data/v1-client-key.pem"),
    );
    let issued = Issued { cert_pem: cert.to_owned(), key_pem: key.to_owned(), serial: Vec::new() };
    let pair = scene.write("v1", &issued);
    let client = connector(ClientOptions { trust: Trust::Blind, ..scene.client_with(pair) });
    let (server, _) = meet(&acceptor(scene.strict_server()), &client).await.fails();
    assert_eq!(server, UNKNOWN);
    std::fs::write(&scene.ca_file, ca).expect("write the CA");
    for version in [tls::Version::Tls12, tls::Version::Tls13] {
        let protocols = Protocols::new(None, Some(version), &[]).expect("a version");
        let options = ServerOptions { protocols, ..scene.strict_server() };
        let identity = meet(&acceptor(options), &client).await.succeeds();
        assert_eq!(identity, Some(Identity { common_name: "old".to_owned() }));
    }
}
