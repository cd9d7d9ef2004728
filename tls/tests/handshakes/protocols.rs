//! Versions, suites, application protocols, and sides that do not speak TLS at all.

use std::time::Duration;

use super::*;
use tls::Version;

fn up_to(max: Version) -> Protocols {
    Protocols::new(None, Some(max), &[]).expect("a version")
}

#[tokio::test]
async fn both_versions_are_spoken_and_a_version_too_old_is_refused() {
    let scene = Scene::new();
    let newest = Protocols::new(Some(Version::Tls13), None, &[]).expect("a version");
    let strict = acceptor(ServerOptions { protocols: newest, ..scene.strict_server() });
    let any = acceptor(scene.strict_server());
    let shown = || scene.client_with(Some(scene.client.clone()));
    let old = connector(ClientOptions { protocols: up_to(Version::Tls12), ..shown() });
    meet(&any, &old).await.succeeds();
    meet(&any, &connector(shown())).await.succeeds();
    meet(&strict, &connector(shown())).await.succeeds();
    let (server, client) = meet(&strict, &old).await.fails();
    assert_eq!(server, "tls: client offered only unsupported versions");
    assert_eq!(client, "remote error: tls: protocol version not supported");
}

#[tokio::test]
async fn suites_must_overlap() {
    let scene = Scene::new();
    let with = |suite: &str| {
        let suites = [suite.to_owned()];
        Protocols::new(None, Some(Version::Tls12), &suites).expect("a suite")
    };
    let rsa = with("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    let ecdsa = with("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    let acceptor = acceptor(ServerOptions { protocols: ecdsa.clone(), ..scene.open_server() });
    let client = |protocols| connector(ClientOptions { protocols, ..scene.client_with(None) });
    meet(&acceptor, &client(ecdsa)).await.succeeds();
    let (server, client) = meet(&acceptor, &client(rsa)).await.fails();
    assert_eq!(server, "tls: no cipher suite supported by both client and server");
    assert_eq!(client, "remote error: tls: handshake failure");
}

#[tokio::test]
async fn http_1_clients_are_served_where_only_h2_is_offered() {
    let scene = Scene::new();
    let list = |names: &[&str]| names.iter().map(|n| n.as_bytes().to_vec()).collect::<Vec<_>>();
    let acceptor = acceptor(ServerOptions { alpn: list(&["h2"]), ..scene.open_server() });
    for (offered, agreed) in [
        (["h2"].as_slice(), Some(b"h2".as_slice())),
        (&["http/1.1", "h2"], Some(b"h2")),
        (&["http/1.1"], None),
        (&["http/1.1", "foo"], None),
        (&[], None),
    ] {
        let options = ClientOptions { alpn: list(offered), ..scene.client_with(None) };
        let (near, far) = tokio::io::duplex(64 * 1024);
        let connector = connector(options);
        let (accepted, connected) =
            tokio::join!(acceptor.accept(far, None), connector.connect(near, "localhost"));
        assert_eq!(accepted.expect("accepted").stream.alpn(), agreed, "{offered:?}");
        assert_eq!(connected.expect("connected").alpn(), agreed);
    }
    let foreign = ClientOptions { alpn: list(&["foo"]), ..scene.client_with(None) };
    let (server, client) = meet(&acceptor, &connector(foreign)).await.fails();
    assert_eq!(server, "tls: client requested unsupported application protocols");
    assert_eq!(client, "remote error: tls: no application protocol");
}

/// What the acceptor says of a client that sends these bytes and reads.
async fn sends(bytes: &[u8]) -> Rejected {
    let scene = Scene::new();
    let acceptor = acceptor(scene.open_server());
    let (mut near, far) = tokio::io::duplex(64 * 1024);
    let client = async {
        near.write_all(bytes).await.expect("room in the pipe");
        near.shutdown().await.expect("a pipe");
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.ok();
    };
    let (accepted, ()) = tokio::join!(acceptor.accept(far, None), client);
    accepted.expect_err("a refusal")
}

#[tokio::test]
async fn plain_text_and_junk_on_a_tls_port_are_refused() {
    let text = "tls: first record does not look like a TLS handshake";
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 4096],
        b"junkjunkjunk",
    ] {
        let rejected = sends(bytes).await;
        assert_eq!((rejected.error.as_str(), rejected.is_end), (text, false));
    }
    // A hello that promises more than it brings, and one that is none.
    assert!(sends(b"\x16\x03\x01\x00\x10\x01\x00").await.is_end);
    assert!(sends(b"").await.is_end);
    let hello = [b"\x16\x03\x01\x00\x20\x01\x00\x00\x1c".as_slice(), &[0x41; 28]].concat();
    assert!(sends(&hello).await.error.starts_with("tls: "));
}

#[tokio::test]
async fn a_client_is_told_when_the_port_is_plain() {
    let scene = Scene::new();
    let connector = connector(scene.client_with(None));
    for (answer, text) in [
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".as_slice(),
            "tls: first record does not look like a TLS handshake",
        ),
        (b"", "EOF"),
    ] {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let server = async {
            far.write_all(answer).await.expect("room in the pipe");
            far.shutdown().await.expect("a pipe");
            far
        };
        let (connected, _far) = tokio::join!(connector.connect(near, "localhost"), server);
        assert_eq!(tls::describe(&connected.expect_err("no TLS")), text);
    }
}

#[tokio::test(start_paused = true)]
async fn handshakes_that_do_not_end_are_given_up() {
    let scene = Scene::new();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let began = tokio::time::Instant::now();
    let rejected = acceptor(scene.open_server()).accept(far, None).await.expect_err("silence");
    assert_eq!(rejected.error, "tls: handshake timeout");
    let error = connector(scene.client_with(None)).connect(near, "localhost").await;
    // The other end of the pipe is gone by now; a silent one is waited for as long.
    assert!(error.is_err());
    let (near, _far) = tokio::io::duplex(64 * 1024);
    let error = connector(scene.client_with(None)).connect(near, "localhost").await;
    assert_eq!(tls::describe(&error.expect_err("silence")), "tls: handshake timeout");
    assert_eq!(began.elapsed().as_secs(), 2 * tls::HANDSHAKE_TIMEOUT.as_secs());
    assert_eq!(tls::HANDSHAKE_TIMEOUT, Duration::from_secs(10));
}

#[tokio::test]
async fn a_connection_that_ends_without_a_farewell_has_just_ended() {
    let scene = Scene::new();
    let (acceptor, connector) = (acceptor(scene.open_server()), connector(scene.client_with(None)));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let server = async { drop(acceptor.accept(far, None).await.expect("in")) };
    let client = async {
        let mut stream = connector.connect(near, "localhost").await.expect("connected");
        stream.read_to_end(&mut Vec::new()).await.expect_err("an end")
    };
    let ((), error) = tokio::join!(server, client);
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    assert_eq!(error.to_string(), "EOF");
}
