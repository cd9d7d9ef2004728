//! What systemd is told, and what it asks: readiness and stopping.

use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use integration_tests::{Kind, Load, Server, eventually, observe, put, seed};
use nix::sys::signal::Signal;

use crate::target;

/// `Type=notify`: one datagram, and only when requests are served.
#[test]
fn readiness_is_told_once_the_server_serves() {
    seed();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("notify.socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let server = Server::builder(target(), dir.path())
        .env("NOTIFY_SOCKET", path.to_str().expect("plain"))
        .spawn();
    let mut buffer = [0; 256];
    let length = socket.recv(&mut buffer).expect("a datagram");
    assert_eq!(buffer.get(..length), Some(&b"READY=1"[..]));
    put(&server.client_authority(), "k", "v").expect("a server that is ready takes a put");
}

/// D-18: SIGTERM ends it by that signal, soon, and loses nothing.
#[test]
fn a_stop_under_load_loses_nothing() {
    seed();
    let dir = tempfile::tempdir().expect("a folder");
    let server = Server::builder(target(), dir.path()).start();
    let load = Load::start(&server.client_authority(), 0, 32, 64);
    eventually("the load makes progress", Duration::from_secs(120), || {
        (load.answered() >= 500).then_some(())
    });
    server.signal(Signal::SIGTERM);
    let mut server = server;
    let status = server.wait(Duration::from_secs(30));
    let promised = load.finish();
    assert_eq!(status.signal(), Some(15), "{status}: {}", server.log());
    let log = server.log();
    assert!(!log.contains("panic"), "{log}");
    if target() == Kind::Ours {
        assert!(!log.contains("\"level\":\"error\""), "{log}");
    }
    let server = server.again().start();
    observe(&server.client_authority()).check(&promised);
}
