//! Real sockets on loopback, with a gRPC service that only tells that it was reached.

use std::convert::Infallible;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;

use super::*;
use crate::config::{Scheme, Url};
use crate::http::{BoxFuture, Facts};

mod secure;

struct Idle;

impl Facts for Idle {
    fn alarms(&self) -> Vec<String> {
        Vec::new()
    }
    fn has_leader(&self) -> bool {
        true
    }
    fn is_learner(&self) -> bool {
        false
    }
    fn read(&self, _serializable: bool) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    fn cluster_version(&self) -> Option<String> {
        None
    }
    fn storage_version(&self) -> Option<String> {
        None
    }
    fn metrics(&self) -> String {
        String::new()
    }
    fn members(&self) -> String {
        String::new()
    }
    fn raft_status(&self) -> String {
        "{}".to_owned()
    }
    fn cluster_id(&self) -> u64 {
        1
    }
    fn count_health(&self, _success: bool) {}
    fn count_check(&self, _group: &'static str, _check: &'static str, _success: bool) {}
}

fn start(serve: Serve, limit: usize) -> (SocketAddr, Servers) {
    let url = Url { scheme: Scheme::Http, host: "127.0.0.1:0".to_owned(), path: String::new() };
    let (address, servers) = start_at(&[url], None, serve, limit);
    (address.expect("an address"), servers)
}

/// Serves the URLs, which are all of one socket; the service tells who the client is.
fn start_at(
    urls: &[Url],
    tls: Option<&Arc<tls::Acceptor>>,
    serve: Serve,
    limit: usize,
) -> (Option<SocketAddr>, Servers) {
    let mut bounds = bind_all(urls, SocketOptions { reuse_port: false }).expect("a free port");
    let bound = bounds.remove(0);
    let address = bound.local_address();
    let door = Door::new(&bound, tls, "client");
    let grpc = service_fn(|request: Request<Incoming>| async move {
        let client = request.extensions().get::<ClientName>();
        let name = client.map_or_else(String::new, |client| format!(" by {}", client.0));
        let body = Bytes::from(format!("reached{name}"));
        Ok::<_, Infallible>(Response::new(Full::new(body)))
    });
    let hosts = vec!["only.this".to_owned(), "a".to_owned()];
    let router = Router::client(Arc::new(Idle), Vec::new(), hosts);
    let settings = Settings {
        max_concurrent_streams: 10,
        keepalive: None,
        ping_spacing: Some(Duration::from_secs(60)),
        name_clients: true,
        traffic: Arc::default(),
    };
    let companion: Companion = Arc::new(|_| Box::pin(std::future::pending()));
    let listeners = vec![(bound, door, serve)];
    let servers = Servers::start(listeners, limit, 2, &grpc, &router, &companion, &settings);
    (address, servers.expect("threads"))
}

/// Sends `bytes` and reads until the other side closes or falls silent.
fn talk(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    stream.write_all(bytes).expect("room in the socket");
    let mut answer = Vec::new();
    // A reset is as good an end as any.
    stream.read_to_end(&mut answer).ok();
    answer
}

const GET_HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// Preface, empty SETTINGS, and HEADERS of `GET / http` on stream 1, ending it.
const H2_GET: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x03\x01\x05\0\0\0\x01\x82\x84\x86";
/// GOAWAY without error, so that the server closes.
const H2_GOAWAY: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0";

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

#[test]
fn one_port_speaks_http_1_and_http_2_and_closes_on_the_rest() {
    let (address, servers) = start(Serve::Both, 100);
    let answer = talk(address, GET_HEALTH);
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    let foreign = talk(address, b"GET /health HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n");
    assert!(foreign.starts_with(b"HTTP/1.1 421 "));
    assert!(contains(&talk(address, &[H2_GET, H2_GOAWAY].concat()), b"reached"));
    for junk in [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc".as_slice(), b"junk\r\n\r\n", b"\0\0\0"] {
        assert_eq!(talk(address, junk), b"");
    }
    let answer = talk(address, b"GET /health HTTP/1.1\r\n\r\n");
    let want = b"HTTP/1.1 400 Bad Request: missing required Host header\r\n";
    assert!(answer.starts_with(want), "{}", String::from_utf8_lossy(&answer));
    servers.stop(Duration::from_secs(5));
}

#[test]
fn split_listeners_refuse_the_other_protocol() {
    let (address, servers) = start(Serve::Grpc, 100);
    assert_eq!(talk(address, GET_HEALTH), b"");
    assert!(contains(&talk(address, &[H2_GET, H2_GOAWAY].concat()), b"reached"));
    servers.stop(Duration::from_secs(5));
    let (address, servers) = start(Serve::Http, 100);
    assert!(talk(address, GET_HEALTH).starts_with(b"HTTP/1.1 200 OK\r\n"));
    assert_eq!(talk(address, H2_GET), b"");
    servers.stop(Duration::from_secs(5));
}

#[test]
fn connections_beyond_the_limit_wait_for_one_to_end() {
    let (address, servers) = start(Serve::Both, 1);
    let first = TcpStream::connect(address).expect("a listener");
    let second = std::thread::spawn(move || talk(address, GET_HEALTH));
    // The second answer can only come after the first connection has gone.
    drop(first);
    let answer = second.join().expect("no panic");
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
    servers.stop(Duration::from_secs(5));
}

#[test]
fn a_stop_closes_idle_connections_at_once() {
    let (address, servers) = start(Serve::Both, 100);
    let mut silent = TcpStream::connect(address).expect("a listener");
    let mut idle = TcpStream::connect(address).expect("a listener");
    idle.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").expect("room in the socket");
    let mut first = [0u8; 15];
    idle.read_exact(&mut first).expect("an answer");
    let began = std::time::Instant::now();
    servers.stop(Duration::from_secs(60));
    assert!(began.elapsed() < Duration::from_secs(30));
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).ok();
    assert!(rest.is_empty());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_stop_cuts_connections_that_do_not_end_in_time() {
    let (address, servers) = start(Serve::Both, 100);
    // This client never answers the ping that asks whether it has seen the GOAWAY.
    let mut deaf = TcpStream::connect(address).expect("a listener");
    deaf.write_all(H2_GET).expect("room in the socket");
    let mut first = [0u8; 9];
    deaf.read_exact(&mut first).expect("an answer");
    servers.stop(Duration::from_millis(100));
    let mut rest = Vec::new();
    deaf.read_to_end(&mut rest).ok();
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_client_that_pings_too_often_is_told_and_cut_off() {
    let (address, servers) = start(Serve::Both, 100);
    let ping = b"\0\0\x08\x06\0\0\0\0\0........".as_slice();
    // The headers of the answer may wipe out a strike, so a few more than needed.
    let answer = talk(address, &[H2_GET, &ping.repeat(8)].concat());
    assert!(contains(&answer, b"\0\0\0\x0btoo_many_pings"));
    servers.stop(Duration::from_secs(5));
}
