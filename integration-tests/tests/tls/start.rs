//! What a start with TLS says, and what keeps it from starting.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// The fields of the last line of the log of a server that does not start.
fn refused(builder: Builder) -> (String, String) {
    let mut server = builder.spawn();
    let status = server.wait(SOON);
    let log = server.log();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(!server.data_dir().join("member/wal").exists(), "it touched the data");
    let line: serde_json::Value =
        serde_json::from_str(log.lines().last().unwrap_or_default()).expect("JSON");
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    (text("msg"), text("error"))
}

#[test]
fn files_that_are_missing_or_do_not_fit_stop_the_start() {
    let scene = Scene::new();
    let none = scene.path("none");
    let gone = format!("open {none}: no such file or directory");
    let plain = || Server::builder(Kind::Ours, &scene.dir.path().join("member"));
    let cert = format!("--cert-file={}", shown(&scene.server.cert));
    let key = format!("--key-file={}", shown(&scene.server.key));
    let cases: Vec<(&str, Vec<String>, String)> = vec![
        ("https", vec![format!("--cert-file={none}"), key.clone()], gone.clone()),
        ("https", vec![cert.clone(), format!("--key-file={none}")], gone.clone()),
        (
            "https",
            vec![cert.clone(), format!("--key-file={}", shown(&scene.client.key))],
            "tls: private key does not match public key".to_owned(),
        ),
        (
            "https",
            vec![cert.clone()],
            format!(
                "KeyFile and CertFile must both be present[key: , cert: {}]",
                shown(&scene.server.cert)
            ),
        ),
        (
            "https",
            vec![cert.clone(), key.clone(), format!("--trusted-ca-file={none}")],
            gone.clone(),
        ),
        ("http", vec![format!("--peer-trusted-ca-file={none}")], gone),
        (
            "http",
            vec!["--cipher-suites=FOO".to_owned()],
            "unexpected TLS cipher suite \"FOO\"".to_owned(),
        ),
        (
            "http",
            vec!["--peer-client-cert-file=a".to_owned()],
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: , \
             cert: a]"
                .to_owned(),
        ),
        (
            "http",
            vec!["--listen-metrics-urls=https://127.0.0.1:0".to_owned()],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
                .to_owned(),
        ),
        (
            "http",
            vec!["--listen-peer-urls=https://127.0.0.1:1".to_owned()],
            "cannot listen on TLS for 127.0.0.1:1: KeyFile and CertFile are not presented"
                .to_owned(),
        ),
    ];
    for (scheme, args, want) in cases {
        let (message, error) =
            refused(plain().client_schemes(&[scheme]).args(args.iter().cloned()));
        assert_eq!((message.as_str(), error), ("discovery failed", want), "{args:?}");
    }
    let (_, error) = refused(plain().client_schemes(&["https"]));
    let start = "TLS key/cert (--cert-file, --key-file) must be provided for client url https://";
    assert!(error.starts_with(start) && error.ends_with(" with HTTPS scheme"), "{error}");
}

#[test]
fn restrictions_of_peers_by_name_and_by_host_exclude_each_other() {
    let scene = Scene::new();
    let builder = Server::builder(Kind::Ours, &scene.dir.path().join("member")).args([
        "--listen-peer-urls=https://127.0.0.1:0".to_owned(),
        format!("--peer-cert-file={}", shown(&scene.server.cert)),
        format!("--peer-key-file={}", shown(&scene.server.key)),
        "--peer-cert-allowed-cn=a,b".to_owned(),
        "--peer-cert-allowed-hostname=c".to_owned(),
    ]);
    let (_, error) = refused(builder);
    assert_eq!(
        error,
        "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\" \"b\"], \
         hostnames=[\"c\"])"
    );
}

#[test]
fn the_log_tells_how_tls_is_set_up() {
    let scene = Scene::new();
    let server = start(scene.strict_server(&["https"]).args([
        "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_CBC_SHA",
    ]));
    let log = server.log();
    let line = |message: &str| {
        let quoted = format!("\"msg\":\"{message}\"");
        let line = log.lines().find(|line| line.contains(&quoted));
        let line = line.unwrap_or_else(|| panic!("{message} is not in {log}"));
        serde_json::from_str::<serde_json::Value>(line).expect("JSON")
    };
    let told = line("starting with client TLS");
    let (cert, key) = (shown(&scene.server.cert), shown(&scene.server.key));
    let ca = scene.path("ca.pem");
    assert_eq!(
        told["tls-info"],
        format!(
            "cert = {cert}, key = {key}, client-cert=, client-key=, trusted-ca = {ca}, \
             client-cert-auth = true, crl-file = "
        )
    );
    assert_eq!(told["cipher-suites"][0], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    let ignored = line("ignoring TLS cipher suites that are known but not supported for clients");
    assert_eq!(ignored["cipher-suites"][0], "TLS_RSA_WITH_AES_128_CBC_SHA");
    assert!(!log.contains("starting with peer TLS"), "{log}");
}

#[test]
fn certificates_made_at_the_start_serve_and_stay() {
    let scene = Scene::new();
    let of = || {
        Server::builder(Kind::Ours, &scene.dir.path().join("member"))
            .client_schemes(&["https"])
            .args(["--auto-tls", "--peer-auto-tls", "--self-signed-cert-validity=2"])
    };
    let server = start(of());
    let made = server.data_dir().join("fixtures");
    let cert = made.join("client/cert.pem");
    for side in ["client", "peer"] {
        let mode = |name: &str| {
            let file = made.join(side).join(name);
            std::fs::metadata(file).expect("it is there").permissions().mode() & 0o777
        };
        assert_eq!((mode(""), mode("key.pem")), (0o700, 0o600), "{side}");
    }
    let log = server.log();
    let told = log.matches("\"automatically generate certificates\"").count();
    assert_eq!(told, 2, "{log}");
    assert!(log.contains("\"certificate-validity-bound-not-after\":\"20"), "{log}");
    let flags = [format!("--cacert={}", shown(&cert)), "--command-timeout=10s".to_owned()];
    let put = secure(Tool::Reference, &server, &flags, &["put", "k", "v"]);
    assert_eq!(put.stdout, "OK\n", "{}", put.stderr);
    let pem = std::fs::read(&cert).expect("the certificate");
    let (builder, _) = server.stop();
    let server = start(builder);
    assert_eq!(std::fs::read(&cert).expect("the certificate"), pem);
    let get = secure(Tool::Reference, &server, &flags, &["get", "k"]);
    assert_eq!(get.stdout, "k\nv\n", "{}", get.stderr);
    server.stop();
    // The log of the first start would satisfy the wait.
    std::fs::remove_dir_all(scene.dir.path().join("member")).expect("the folder");
    let (message, error) = refused(of().args(["--self-signed-cert-validity=0"]));
    assert_eq!(message, "failed to get peer self-signed certs");
    assert_eq!(error, "selfSignedCertValidity is invalid,it should be greater than 0");
}
