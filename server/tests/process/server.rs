//! Starting and stopping the program.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Long enough for a busy machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn etcd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_etcd"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// A URL on a port that nobody listens on right now and that was given to nobody else. Below the
/// range the kernel takes for outgoing connections (32768 up).
pub(crate) fn free_url() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = std::process::id().wrapping_mul(7919).wrapping_add(step) % 22_000;
        let port = 10_000 + u16::try_from(offset).expect("small");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return format!("http://127.0.0.1:{port}");
        }
    }
}

/// Flags of a single member.
#[derive(Clone)]
pub(crate) struct Flags {
    pub(crate) data: PathBuf,
    pub(crate) client: String,
    pub(crate) peer: String,
}

impl Flags {
    pub(crate) fn new(data: &Path) -> Flags {
        Flags { data: data.to_path_buf(), client: free_url(), peer: free_url() }
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = etcd();
        command
            .arg("--name=m1")
            .arg(format!("--data-dir={}", self.data.display()))
            .arg(format!("--listen-client-urls={}", self.client))
            .arg(format!("--advertise-client-urls={}", self.client))
            .arg(format!("--listen-peer-urls={}", self.peer))
            .arg(format!("--initial-advertise-peer-urls={}", self.peer));
        command
    }
}

/// A server that has said that it is ready; killed when dropped.
pub(crate) struct Server {
    pub(crate) child: Child,
    pub(crate) log: PathBuf,
    pub(crate) flags: Flags,
}

impl Server {
    pub(crate) fn start(dir: &Path, flags: &Flags, adjust: impl FnOnce(&mut Command)) -> Server {
        let name = format!("notify-{}", flags.client.rsplit(':').next().unwrap_or_default());
        let socket_path = dir.join(name);
        std::fs::remove_file(&socket_path).ok();
        let socket = UnixDatagram::bind(&socket_path).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let log = dir.join("log");
        let file = std::fs::File::create(&log).expect("a log file");
        let mut command = flags.command();
        command.env("NOTIFY_SOCKET", &socket_path).stdout(Stdio::null()).stderr(file);
        adjust(&mut command);
        let child = command.spawn().expect("the program");
        let server = Server { child, log, flags: flags.clone() };
        let mut datagram = [0u8; 64];
        let length = socket.recv(&mut datagram);
        let length = length.unwrap_or_else(|e| panic!("not ready: {e}\n{}", server.logged()));
        assert_eq!(&datagram[..length], b"READY=1");
        server
    }

    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn stop(mut self, signal: Signal) -> (ExitStatus, String) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(pid), signal).expect("the process is there");
        let status = self.child.wait().expect("the process ends");
        (status, self.logged())
    }

    pub(crate) fn get(&self, path: &str) -> String {
        get(&self.flags.client, path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The answer to a GET, head and body.
pub(crate) fn get(url: &str, path: &str) -> String {
    let address = url.strip_prefix("http://").expect("a plain URL");
    let mut stream = TcpStream::connect(address).expect("a listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("room in the socket");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
