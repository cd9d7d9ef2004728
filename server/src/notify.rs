//! Tells systemd that the server is ready: one datagram, no library.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
pub(crate) const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// Sends `READY=1` to the socket named by `socket`, if there is one; a leading `@` names an
/// abstract socket.
///
/// # Errors
/// When the socket cannot be reached.
pub(crate) fn ready(socket: Option<&OsStr>) -> io::Result<()> {
    let Some(name) = socket.filter(|s| !s.is_empty()) else { return Ok(()) };
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0u8; 64];
        let length = socket.recv(&mut buffer).expect("a datagram");
        buffer[..length].to_vec()
    }

    #[test]
    fn a_path_gets_one_datagram() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        ready(Some(path.as_os_str())).expect("sent");
        assert_eq!(received(&socket), b"READY=1");
    }

    #[test]
    fn an_abstract_name_gets_one_datagram() {
        let name = format!("notify-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = UnixDatagram::bind_addr(&address).expect("a socket");
        ready(Some(OsStr::new(&format!("@{name}")))).expect("sent");
        assert_eq!(received(&socket), b"READY=1");
    }

    #[test]
    fn no_variable_is_no_fault_but_a_dead_socket_is() {
        ready(None).expect("nothing to do");
        ready(Some(OsStr::new(""))).expect("nothing to do");
        ready(Some(OsStr::new("/nonexistent/notify"))).expect_err("nobody listens");
    }
}
