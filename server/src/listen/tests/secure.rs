//! The same listeners with TLS, on TCP and on unix sockets.

use tls::test_certs::{Authority, Subject};
use tls::{
    Acceptor, Allowed, ClientOptions, Connector, PairFiles, Protocols, ServerOptions, Trust,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Certificates, and a server with TLS.
struct Scene {
    _dir: tempfile::TempDir,
    ca: std::path::PathBuf,
    client: PairFiles,
    address: SocketAddr,
    servers: Servers,
}

fn url(scheme: Scheme) -> Url {
    Url { scheme, host: "127.0.0.1:0".to_owned(), path: String::new() }
}

impl Scene {
    fn start(schemes: &[Scheme], serve: Serve, demand: bool) -> Scene {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::new("ca");
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, authority.pem()).expect("write the CA");
        let pair =
            authority.issue(Subject::named("s").hosts(&["127.0.0.1"])).write(dir.path(), "s");
        let client = authority.issue(Subject::named("root")).write(dir.path(), "c");
        let options = ServerOptions {
            pair,
            trusted_ca: demand.then(|| ca.clone()),
            client_cert_auth: demand,
            allowed: Allowed::All,
            crl: None,
            check_address: false,
            protocols: Protocols::default(),
            alpn: vec![b"h2".to_vec()],
        };
        let acceptor = Arc::new(Acceptor::new(options).expect("good files"));
        let urls: Vec<Url> = schemes.iter().map(|&scheme| url(scheme)).collect();
        let (address, servers) = start_at(&urls, Some(&acceptor), serve, 100);
        Scene { _dir: dir, ca, client, address: address.expect("an address"), servers }
    }

    /// Sends `bytes` over TLS and reads to the end.
    fn talk(
        &self,
        alpn: &[&str],
        pair: Option<&PairFiles>,
        bytes: &[u8],
    ) -> Result<String, String> {
        let connector = Connector::new(ClientOptions {
            trust: Trust::Ca(self.ca.clone()),
            pair: pair.cloned(),
            alpn: alpn.iter().map(|name| name.as_bytes().to_vec()).collect(),
            ..ClientOptions::default()
        })
        .expect("good files");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let stream = tokio::net::TcpStream::connect(self.address).await.expect("a listener");
            let text = |e: std::io::Error| tls::describe(&e);
            let mut stream = connector.connect(stream, "127.0.0.1").await.map_err(text)?;
            stream.write_all(bytes).await.map_err(text)?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.map_err(text)?;
            Ok(String::from_utf8_lossy(&answer).into_owned())
        })
    }
}

/// As [`H2_GET`] with `content-type: application/grpc`.
fn h2_grpc() -> Vec<u8> {
    let head = b"\x82\x84\x87\x5f\x10application/grpc";
    let length = u8::try_from(head.len()).expect("short");
    let headers = [&[0, 0, length, 1, 5, 0, 0, 0, 1], head.as_slice()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", headers.as_slice(), H2_GOAWAY]
        .concat()
}

/// GET of `/health` over HTTP/2, for a host the plain port would refuse.
fn h2_health() -> Vec<u8> {
    let head = b"\x82\x04\x07/health\x87\x41\x01b";
    let length = u8::try_from(head.len()).expect("short");
    let headers = [&[0, 0, length, 1, 5, 0, 0, 0, 1], head.as_slice()].concat();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", headers.as_slice(), H2_GOAWAY]
        .concat()
}

const GET_FOREIGN: &[u8] = b"GET /health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n";

#[test]
fn a_secure_port_serves_grpc_by_content_type_and_http_of_both_kinds() {
    let scene = Scene::start(&[Scheme::Https], Serve::Both, false);
    let grpc = scene.talk(&["h2"], None, &h2_grpc()).expect("an answer");
    assert!(grpc.contains("reached") && !grpc.contains("health"), "{grpc}");
    let page = scene.talk(&["h2"], None, &h2_health()).expect("an answer");
    assert!(page.contains("\"health\"") && !page.contains("reached"), "{page}");
    for alpn in [[].as_slice(), &["http/1.1"]] {
        let page = scene.talk(alpn, None, GET_FOREIGN).expect("an answer");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    }
    // Nothing is served without TLS.
    assert_eq!(talk(scene.address, GET_HEALTH).first(), Some(&0x15), "an alert");
    scene.servers.stop(Duration::from_secs(5));
}

#[test]
fn split_secure_ports_serve_one_kind() {
    let scene = Scene::start(&[Scheme::Https], Serve::Grpc, false);
    assert!(scene.talk(&["h2"], None, &h2_health()).expect("an answer").contains("reached"));
    assert_eq!(scene.talk(&[], None, GET_FOREIGN).unwrap_or_default(), "");
    scene.servers.stop(Duration::from_secs(5));
    let scene = Scene::start(&[Scheme::Https], Serve::Http, false);
    assert!(!scene.talk(&["h2"], None, &h2_grpc()).expect("an answer").contains("reached"));
    assert!(scene.talk(&["h2"], None, &h2_health()).expect("an answer").contains("\"health\""));
    scene.servers.stop(Duration::from_secs(5));
}

#[test]
fn one_socket_serves_both_schemes() {
    let scene = Scene::start(&[Scheme::Http, Scheme::Https], Serve::Both, false);
    assert!(talk(scene.address, GET_HEALTH).starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert!(contains(&talk(scene.address, &[H2_GET, H2_GOAWAY].concat()), b"reached"));
    let page = scene.talk(&[], None, GET_FOREIGN).expect("an answer");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(scene.talk(&["h2"], None, &h2_grpc()).expect("an answer").contains("reached"));
    scene.servers.stop(Duration::from_secs(5));
}

#[test]
fn requests_carry_the_name_of_the_certificate_that_was_demanded() {
    let scene = Scene::start(&[Scheme::Https], Serve::Both, true);
    let answer = scene.talk(&["h2"], Some(&scene.client), &h2_grpc()).expect("an answer");
    assert!(answer.contains("reached by root"), "{answer}");
    let refused = scene.talk(&["h2"], None, &h2_grpc()).expect_err("no certificate");
    assert_eq!(refused, "remote error: tls: certificate required");
    scene.servers.stop(Duration::from_secs(5));
}

#[test]
fn handshakes_under_way_hold_nobody_up() {
    let scene = Scene::start(&[Scheme::Https], Serve::Both, false);
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(scene.address).expect("a listener");
            stream.write_all(b"\x16\x03\x01\x02\x00").expect("room in the socket");
            stream
        })
        .collect();
    let began = std::time::Instant::now();
    assert!(scene.talk(&["h2"], None, &h2_grpc()).expect("an answer").contains("reached"));
    assert!(began.elapsed() < tls::HANDSHAKE_TIMEOUT / 2);
    // A stop does not wait for them either.
    scene.servers.stop(Duration::from_secs(60));
    assert!(began.elapsed() < tls::HANDSHAKE_TIMEOUT);
    drop(silent);
}

#[test]
fn unix_sockets_are_served_and_their_files_removed() {
    use std::os::unix::net::UnixStream;
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("etcd.sock");
    let url = Url { scheme: Scheme::Unix, host: String::new(), path: path.display().to_string() };
    let (_, servers) = start_at(&[url], None, Serve::Both, 100);
    let mut stream = UnixStream::connect(&path).expect("a listener");
    stream.write_all(GET_HEALTH).expect("room in the socket");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    servers.stop(Duration::from_secs(5));
    assert!(!path.exists());
}
