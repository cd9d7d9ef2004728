//! Files that change, are missing, or hold something else.

use super::*;
use tls::Error;

fn refusal<T: std::fmt::Debug>(made: Result<T, Error>) -> String {
    made.expect_err("a refusal").to_string()
}

#[tokio::test]
async fn renewed_certificates_are_shown_without_a_restart() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.strict_server());
    let connector = connector(scene.client_with(Some(scene.client.clone())));
    let identity = meet(&acceptor, &connector).await.succeeds();
    assert_eq!(identity, Some(Identity { common_name: "root".to_owned() }));

    // Both sides get new ones, in the same files.
    scene.ca.issue(Subject::named("renewed")).write(scene.dir.path(), "client");
    scene.ca.issue(Subject::named("x").hosts(&["moved"])).write(scene.dir.path(), "server");
    let identity = meet_at(&acceptor, &connector, "moved", None).await.succeeds();
    assert_eq!(identity, Some(Identity { common_name: "renewed".to_owned() }));
    let (_, client) = meet(&acceptor, &connector).await.fails();
    assert!(client.contains("certificate is valid for moved, not localhost"), "{client}");
}

#[tokio::test]
async fn a_pair_that_breaks_refuses_connections_until_it_is_whole_again() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.strict_server());
    let connector = connector(scene.client_with(Some(scene.client.clone())));
    let good = std::fs::read(&scene.server.cert).expect("the certificate");
    let (cert, path) = (&scene.server.cert, scene.server.cert.display());

    std::fs::remove_file(cert).expect("the certificate");
    let (server, client) = meet(&acceptor, &connector).await.fails();
    assert_eq!(server, format!("open {path}: no such file or directory"));
    assert_eq!(client, "EOF");
    std::fs::copy(&scene.client.cert, cert).expect("another certificate");
    let (server, _) = meet(&acceptor, &connector).await.fails();
    assert_eq!(server, "tls: private key does not match public key");
    std::fs::write(cert, b"junk").expect("junk");
    let (server, _) = meet(&acceptor, &connector).await.fails();
    assert_eq!(server, format!("{path}: no PEM block of type CERTIFICATE"));
    std::fs::write(cert, &good).expect("the certificate");
    meet(&acceptor, &connector).await.succeeds();

    std::fs::remove_file(&scene.client.key).expect("the key");
    let (_, client) = meet(&acceptor, &connector).await.fails();
    let key = scene.client.key.display();
    assert_eq!(client, format!("open {key}: no such file or directory"));
}

#[tokio::test]
async fn the_ca_is_read_once() {
    let scene = Scene::new();
    let acceptor = acceptor(scene.strict_server());
    let connector = connector(scene.client_with(Some(scene.client.clone())));
    std::fs::write(&scene.ca_file, Authority::new("other").pem()).expect("write the CA");
    meet(&acceptor, &connector).await.succeeds();
}

#[tokio::test]
async fn revoked_certificates_are_refused_from_the_next_connection_on() {
    let scene = Scene::new();
    let crl = scene.dir.path().join("list.crl");
    let options = ServerOptions { crl: Some(crl.clone()), ..scene.strict_server() };
    let acceptor = acceptor(options);
    let issued = scene.ca.issue(Subject::named("thief"));
    let thief = connector(scene.client_with(scene.write("thief", &issued)));
    let honest = connector(scene.client_with(Some(scene.client.clone())));

    let (server, client) = meet(&acceptor, &thief).await.fails();
    assert_eq!(server, format!("open {}: no such file or directory", crl.display()));
    assert_eq!(client, "remote error: tls: unknown certificate");
    std::fs::write(&crl, scene.ca.revoke(&[])).expect("write the list");
    meet(&acceptor, &thief).await.succeeds();
    std::fs::write(&crl, scene.ca.revoke(&[&issued])).expect("write the list");
    let (server, _) = meet(&acceptor, &thief).await.fails();
    let serial: String = issued.serial.iter().map(|b| format!("{b:02x}")).collect();
    let serial = serial.trim_start_matches('0');
    assert_eq!(server, format!("transport: certificate serial {serial} revoked"));
    meet(&acceptor, &honest).await.succeeds();

    for (bytes, why) in [
        (b"junk".as_slice(), "not a certificate revocation list"),
        (b"-----BEGIN X509 CRL-----", "the certificate revocation list must be DER, not PEM"),
    ] {
        std::fs::write(&crl, bytes).expect("write the list");
        let (server, _) = meet(&acceptor, &honest).await.fails();
        assert_eq!(server, format!("{}: {why}", crl.display()));
    }
}

#[tokio::test]
async fn a_revoked_intermediate_takes_its_leaves_along() {
    let scene = Scene::new();
    let crl = scene.dir.path().join("list.crl");
    let middle = scene.ca.below("middle");
    let mut issued = middle.issue(Subject::named("leaf"));
    issued.cert_pem.push_str(&middle.pem());
    let client = connector(scene.client_with(scene.write("leaf", &issued)));
    let acceptor = acceptor(ServerOptions { crl: Some(crl.clone()), ..scene.strict_server() });
    std::fs::write(&crl, scene.ca.revoke(&[])).expect("write the list");
    meet(&acceptor, &client).await.succeeds();
    let revoked = Issued { serial: middle.serial(), ..issued };
    std::fs::write(&crl, scene.ca.revoke(&[&revoked])).expect("write the list");
    let (server, _) = meet(&acceptor, &client).await.fails();
    assert!(server.starts_with("transport: certificate serial "), "{server}");
}

#[test]
fn keys_are_not_printed() {
    let scene = Scene::new();
    let shown = format!("{:?}", acceptor(scene.strict_server()));
    let key = std::fs::read(&scene.server.key).expect("the key");
    let start = format!("{:?}", &key[..8]);
    assert!(!shown.contains(start.trim_matches(['[', ']'])), "{shown}");
    assert!(shown.contains("server-key.pem"));
}

#[test]
fn files_that_do_not_serve_are_named_at_the_start() {
    let scene = Scene::new();
    let at = |name: &str| scene.dir.path().join(name);
    std::fs::write(at("junk"), "junk").expect("junk");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(at("broken"), broken).expect("junk");
    let shown = |name: &str| at(name).display().to_string();
    let of = |cert: PathBuf, key: PathBuf| {
        let pair = PairFiles { cert, key };
        refusal(Acceptor::new(ServerOptions { pair, ..scene.open_server() }))
    };
    let (cert, key) = (scene.server.cert.clone(), scene.server.key.clone());
    let gone = |name: &str| format!("open {}: no such file or directory", shown(name));
    assert_eq!(of(at("none"), key.clone()), gone("none"));
    assert_eq!(of(cert.clone(), at("none")), gone("none"));
    let no_cert = format!("{}: no PEM block of type CERTIFICATE", shown("junk"));
    assert_eq!(of(at("junk"), key.clone()), no_cert);
    let no_key = format!("{}: no PEM block of type PRIVATE KEY", shown("junk"));
    assert_eq!(of(cert, at("junk")), no_key);
    assert!(of(at("broken"), key).starts_with(&shown("broken")));
    let ca = |name: &str| {
        let trusted_ca = Some(at(name));
        refusal(Acceptor::new(ServerOptions { trusted_ca, ..scene.open_server() }))
    };
    assert_eq!(ca("none"), gone("none"));
    assert_eq!(ca("junk"), no_cert);
    assert_eq!(ca("broken"), format!("{}: x509: malformed certificate", shown("broken")));
    let trust = Trust::Ca(at("none"));
    let client = ClientOptions { trust, ..ClientOptions::default() };
    assert_eq!(refusal(Connector::new(client)), gone("none"));
}

#[test]
fn half_a_pair_is_refused_in_the_words_of_etcd() {
    assert_eq!(PairFiles::from_flags("", "").expect("none"), None);
    assert_eq!(
        refusal(PairFiles::from_flags("a.pem", "")),
        "KeyFile and CertFile must both be present[key: , cert: a.pem]"
    );
    let names = |names: &[&str]| names.iter().map(|&n| n.to_owned()).collect::<Vec<_>>();
    assert_eq!(
        refusal(Allowed::from_flags(names(&["a", "b"]), names(&["h"]))),
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\" \"b\"], \
         hostnames=[\"h\"])"
    );
}
