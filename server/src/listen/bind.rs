//! Listening sockets: bound before any data is touched, so that a port conflict changes nothing.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::sockopt::{ReuseAddr, ReusePort};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket,
};

use super::socket::Stream;
use crate::config::Url;

/// Connections the kernel may hold before they are accepted (Go: what the kernel allows).
const BACKLOG: i32 = 4096;

/// How to bind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    /// `--socket-reuse-port`.
    pub reuse_port: bool,
}

/// A bound socket and the URLs it serves.
#[derive(Debug)]
pub(crate) struct Bound {
    /// The address as configured: `host:port`, or the path of a unix socket.
    pub address: String,
    /// The URLs on it.
    pub urls: Vec<Url>,
    socket: Socket,
}

/// A listening socket outside of any runtime.
#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// The file of a unix socket; removed when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have been quicker.
        std::fs::remove_file(&self.0).ok();
    }
}

/// A socket that accepts connections.
#[derive(Debug)]
pub(crate) struct Listener(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener, #[expect(dead_code, reason = "removes the file")] SocketFile),
}

impl Bound {
    /// Whether connections without TLS are served.
    pub(crate) fn is_plain(&self) -> bool {
        self.urls.iter().any(|url| !url.scheme.is_tls())
    }

    /// Whether connections with TLS are served.
    pub(crate) fn is_secure(&self) -> bool {
        self.urls.iter().any(|url| url.scheme.is_tls())
    }

    /// Where it listens, if it has an address; a port chosen by the system shows here.
    #[cfg(test)]
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(socket) => socket.local_addr().ok(),
            Socket::Unix(..) => None,
        }
    }

    /// Begins to accept in this runtime.
    ///
    /// # Errors
    /// The runtime cannot take the socket.
    pub(crate) fn listen(self) -> io::Result<Listener> {
        Ok(Listener(match self.socket {
            Socket::Tcp(socket) => Listening::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Socket::Unix(socket, file) => {
                Listening::Unix(tokio::net::UnixListener::from_std(socket)?, file)
            }
        }))
    }
}

impl Listener {
    /// The next connection and where it comes from, if it has an address.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// Out of descriptors, or a connection that was gone before it was taken.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match &self.0 {
            Listening::Tcp(listener) => {
                let (stream, remote) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(remote)))
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), None))
            }
        }
    }
}

/// Binds the addresses of `urls`, each once.
///
/// # Errors
/// Go's words: `listen tcp 127.0.0.1:2379: bind: address already in use`.
pub(crate) fn bind_all(urls: &[Url], options: SocketOptions) -> Result<Vec<Bound>, String> {
    let mut bounds: Vec<Bound> = Vec::new();
    for url in urls {
        let address = url.socket_file().unwrap_or_else(|| url.host.clone());
        if let Some(bound) = bounds.iter_mut().find(|b| b.address == address) {
            bound.urls.push(url.clone());
            continue;
        }
        let socket = bind_url(url, options)?;
        bounds.push(Bound { address, urls: vec![url.clone()], socket });
    }
    Ok(bounds)
}

fn bind_url(url: &Url, options: SocketOptions) -> Result<Socket, String> {
    let at = |step: &str, e: &io::Error| format!("{step}: {}", base::text::io_error(e));
    if let Some(file) = url.socket_file() {
        let bound = bind_file(Path::new(&file));
        let bound = bound.map_err(|e| format!("listen unix {file}: {}", at("bind", &e)))?;
        return Ok(Socket::Unix(bound, SocketFile(file.into())));
    }
    let fail = |why: String| format!("listen tcp {}: {why}", url.host);
    let address = url.bind_address().ok_or_else(|| fail("no such address".to_owned()))?;
    let socket = bind_one(address, options).map_err(|(step, e)| fail(at(step, &e)))?;
    Ok(Socket::Tcp(socket))
}

/// Binds a unix socket; the file of an earlier one gives way, any other file does not.
fn bind_file(path: &Path) -> io::Result<UnixListener> {
    if std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
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
        assert!(bounds[0].is_plain() && bounds[0].is_secure());
    }

    #[test]
    fn a_taken_port_is_refused_in_the_words_of_go() {
        let options = SocketOptions { reuse_port: false };
        let first = bind_all(&[url(Scheme::Http, "127.0.0.1:0")], options).expect("a free port");
        let taken = first[0].local_address().expect("an address").to_string();
        let error = bind_all(&[url(Scheme::Http, &taken)], options).expect_err("a conflict");
        assert_eq!(error, format!("listen tcp {taken}: bind: address already in use"));
    }

    #[test]
    fn a_port_can_be_shared_on_request() {
        let options = SocketOptions { reuse_port: true };
        let first = bind_all(&[url(Scheme::Http, "127.0.0.1:0")], options).expect("a free port");
        let taken = first[0].local_address().expect("an address").to_string();
        bind_all(&[url(Scheme::Http, &taken)], options).expect("a shared port");
    }

    #[test]
    fn a_unix_socket_replaces_its_predecessor_and_nothing_else() {
        let options = SocketOptions { reuse_port: false };
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("etcd.sock");
        let of = |scheme| Url { scheme, host: String::new(), path: path.display().to_string() };
        // Left behind by a process that was killed.
        drop(UnixListener::bind(&path).expect("a socket"));
        let bounds = bind_all(&[of(Scheme::Unix), of(Scheme::Unixs)], options).expect("a socket");
        assert_eq!((bounds.len(), bounds[0].urls.len()), (1, 2));
        assert_eq!(bounds[0].address, path.display().to_string());
        std::os::unix::net::UnixStream::connect(&path).expect("it listens");
        drop(bounds);
        assert!(!path.exists());

        std::fs::write(&path, "precious").expect("a file");
        let error = bind_all(&[of(Scheme::Unix)], options).expect_err("a conflict");
        let path_text = path.display();
        assert_eq!(error, format!("listen unix {path_text}: bind: address already in use"));
        assert_eq!(std::fs::read(&path).expect("the file"), b"precious");
    }
}
