//! HTTP over TLS, on client and metrics ports, and over unix sockets.

use super::*;

#[test]
fn health_and_version_are_served_over_both_versions_of_http() {
    let scene = Scene::new();
    // The host check is for plain text alone.
    let server = start(scene.server(&["https", "http"]).args(["--host-whitelist=example.com"]));
    let ca = scene.path("ca.pem");
    let url = |page: &str| format!("https://{}{page}", server.client_authority());
    for (version, word) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let (ok, text) =
            curl(&["--cacert", &ca, version, "-w", " over %{http_version}", &url("/health")]);
        assert!(ok, "{text}");
        assert_eq!(text, format!("{{\"health\":\"true\",\"reason\":\"\"}} over {word}"));
    }
    let (_, text) = curl(&["--cacert", &ca, &url("/version")]);
    assert!(text.contains("\"etcdserver\":\"3.7.1\""), "{text}");
    let (_, text) = curl(&["--cacert", &ca, "-w", "%{http_code}", "-o", "/dev/null", &url("/x")]);
    assert_eq!(text, "404");
    let plain = format!("http://{}/health", server.client_authority());
    let (_, text) = curl(&["-w", "%{http_code}", "-o", "/dev/null", &plain]);
    assert_eq!(text, "421");
}

#[test]
fn secure_metrics_look_at_the_address_of_the_scraper() {
    let scene = Scene::new();
    let port = free_port();
    let server = start(
        scene
            .strict_server(&["https"])
            .args([format!("--listen-metrics-urls=https://127.0.0.1:{port}")]),
    );
    let here = scene.write("here", &scene.ca.issue(Subject::named("a").hosts(&["127.0.0.1"])));
    let there = scene.write("there", &scene.ca.issue(Subject::named("a").hosts(&["10.9.9.9"])));
    let url = format!("https://127.0.0.1:{port}/metrics");
    let ca = scene.path("ca.pem");
    let scrape = |pair: &PairFiles| {
        let (cert, key) = (shown(&pair.cert), shown(&pair.key));
        curl(&["--cacert", &ca, "--cert", &cert, "--key", &key, &url])
    };
    for pair in [&here, &scene.client] {
        let (ok, text) = scrape(pair);
        assert!(ok && text.contains("etcd_server_has_leader 1"), "{text}");
    }
    assert!(!scrape(&there).0);
    rejected(&server, "x509: certificate is valid for 10.9.9.9, not 127.0.0.1");
    let line = server.log();
    let line = line.lines().find(|line| line.contains("valid for 10.9.9.9")).expect("the line");
    assert!(line.contains("\"ip-addresses\":[\"10.9.9.9\"],\"dns-names\":[]"), "{line}");
    assert!(!curl(&["--cacert", &ca, &url]).0);
    rejected(&server, "tls: client didn't provide a certificate");
    // The client port asks for no address.
    let (cert, key) = (shown(&there.cert), shown(&there.key));
    let health = format!("https://{}/health", server.client_authority());
    let (ok, text) = curl(&["--cacert", &ca, "--cert", &cert, "--key", &key, &health]);
    assert!(ok, "{text}");
}

#[test]
fn unix_sockets_serve_plain_and_secure_and_go_with_the_server() {
    let scene = Scene::new();
    let (plain, secret) = (file(&scene, "plain.sock"), file(&scene, "secret.sock"));
    let listen =
        format!("--listen-client-urls=unix://{},unixs://{}", shown(&plain), shown(&secret));
    let server = start(scene.server(&["https"]).args([listen]));
    let (plain_path, secret_path) = (shown(&plain), shown(&secret));
    let (ok, text) = curl(&["--unix-socket", &plain_path, "http://localhost/health"]);
    assert!(ok && text.contains("true"), "{text}");
    let ca = scene.path("ca.pem");
    let (ok, text) =
        curl(&["--unix-socket", &secret_path, "--cacert", &ca, "https://localhost/health"]);
    assert!(ok && text.contains("true"), "{text}");
    assert!(!curl(&["--unix-socket", &secret_path, "http://localhost/health"]).0);
    server.stop();
    assert!(!plain.exists() && !secret.exists());
}

#[test]
fn versions_and_suites_are_those_of_the_flags() {
    let scene = Scene::new();
    let ca = scene.path("ca.pem");
    let reached = |server: &Server, flags: &[&str]| {
        let url = format!("https://{}/health", server.client_authority());
        curl(&[&["--cacert", &ca], flags, &[url.as_str()]].concat()).0
    };
    let suite = "--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    let older = start(scene.server(&["https"]).args(["--tls-max-version=TLS1.2", suite]));
    let newer = Server::builder(Kind::Ours, &scene.dir.path().join("newer"));
    let newer = start(newer.client_schemes(&["https"]).args([
        format!("--cert-file={}", shown(&scene.server.cert)),
        format!("--key-file={}", shown(&scene.server.key)),
        "--tls-min-version=TLS1.3".to_owned(),
    ]));
    assert!(reached(&older, &["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"]));
    assert!(!reached(&older, &["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"]));
    rejected(&older, "tls: no cipher suite supported by both client and server");
    assert!(!reached(&older, &["--tlsv1.3"]));
    assert!(reached(&newer, &["--tlsv1.3"]));
    assert!(!reached(&newer, &["--tls-max", "1.2"]));
    for server in [&older, &newer] {
        rejected(server, "tls: client offered only unsupported versions");
        for tool in [Tool::Ours, Tool::Reference] {
            let put = secure(tool, server, &scene.trusting(), &["put", "k", "v"]);
            assert_eq!(put.stdout, "OK\n", "{}", put.stderr);
        }
    }
}
