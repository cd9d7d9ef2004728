//! Listening sockets: bound before any data is touched, so that a port conflict changes nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};

use crate::config::Url;

/// Connections the kernel may hold before they are accepted (Go: what the kernel allows).
const BACKLOG: i32 = 4096;

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// `--socket-reuse-port`.
    pub reuse_port: bool,
}

/// A bound socket and the URLs it serves.
#[derive(Debug)]
pub struct Bound {
    /// The address as configured.
    pub address: String,
    /// The URLs on it.
    pub urls: Vec<Url>,
    /// The socket.
    pub socket: TcpListener,
}

/// Binds the addresses of `urls`, each once.
///
/// # Errors
/// Go's words: `listen tcp 127.0.0.1:2379: bind: address already in use`.
pub fn bind_all(urls: &[Url], options: SocketOptions) -> Result<Vec<Bound>, String> {
    let mut bounds: Vec<Bound> = Vec::new();
    for url in urls {
        if let Some(bound) = bounds.iter_mut().find(|b| b.address == url.host) {
            bound.urls.push(url.clone());
            continue;
        }
        let fail = |why: String| format!("listen tcp {}: {why}", url.host);
        let address = url.bind_address().ok_or_else(|| fail("no such address".to_owned()))?;
        let socket = bind_one(address, options)
            .map_err(|(step, e)| fail(format!("{step}: {}", base::text::io_error(&e))))?;
        bounds.push(Bound { address: url.host.clone(), urls: vec![url.clone()], socket });
    }
    Ok(bounds)
}

fn bind_one(
    address: SocketAddr,
    options: SocketOptions,
) -> Result<TcpListener, (&'static str, io::Error)> {
    let at = |step: &'static str| move |e: nix::Error| (step, io::Error::from(e));
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Stream, flags, None).map_err(at("socket"))?;
    // Go always sets SO_REUSEADDR, so --socket-reuse-address adds nothing.
    setsockopt(&fd, ReuseAddr, &true).map_err(at("setsockopt"))?;
    if options.reuse_port {
        setsockopt(&fd, ReusePort, &true).map_err(at("setsockopt"))?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address)).map_err(at("bind"))?;
    let backlog = Backlog::new(BACKLOG).map_err(at("listen"))?;
    listen(&fd, backlog).map_err(at("listen"))?;
    Ok(TcpListener::from(fd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scheme;

    fn url(scheme: Scheme, host: &str) -> Url {
        Url { scheme, host: host.to_owned(), path: String::new() }
    }

    #[test]
    fn urls_of_one_address_share_a_socket() {
        let options = SocketOptions { reuse_port: false };
        let urls = [url(Scheme::Http, "127.0.0.1:0"), url(Scheme::Https, "127.0.0.1:0")];
        let bounds = bind_all(&urls, options).expect("a free port");
        assert_eq!((bounds.len(), bounds[0].urls.len()), (1, 2));
    }

    #[test]
    fn a_taken_port_is_refused_in_the_words_of_go() {
        let options = SocketOptions { reuse_port: false };
        let first = bind_all(&[url(Scheme::Http, "127.0.0.1:0")], options).expect("a free port");
        let taken = first[0].socket.local_addr().expect("an address").to_string();
        let error = bind_all(&[url(Scheme::Http, &taken)], options).expect_err("a conflict");
        assert_eq!(error, format!("listen tcp {taken}: bind: address already in use"));
    }

    #[test]
    fn a_port_can_be_shared_on_request() {
        let options = SocketOptions { reuse_port: true };
        let first = bind_all(&[url(Scheme::Http, "127.0.0.1:0")], options).expect("a free port");
        let taken = first[0].socket.local_addr().expect("an address").to_string();
        bind_all(&[url(Scheme::Http, &taken)], options).expect("a shared port");
    }
}
