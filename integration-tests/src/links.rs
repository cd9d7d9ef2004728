//! A network between members that a test can break: every byte one member sends to another passes
//! through this process.
//!
//! ```text
//!   member 0 ──▶ port of 1 ──▶ queue 0→1 ──▶ listener of 1
//!            ◀── queue 1→0 ◀─────────────────
//! ```
//!
//! All members reach member 1 at the same port. Who it is that has dialled is told by the first
//! request, which names the peer URL of its sender; the few that do not are looked up in `/proc`:
//! the socket's other end belongs to one of the processes.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, tcp};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// What becomes of the bytes that go from one member to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// They arrive, each after this time.
    Open(Duration),
    /// They wait, as behind a router that drops packets: nobody is told. When the line opens
    /// again, they arrive.
    Held,
    /// Connections break, and new ones do too.
    Cut,
}

impl Line {
    /// The normal state.
    pub const OPEN: Self = Self::Open(Duration::ZERO);
}

/// Bytes read at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Longest head of a request that is looked at.
const HEAD_BYTES_MAX: usize = 4 << 10;

/// Chunks under way on one line; a full line is not read from.
const CHUNKS_MAX: usize = 64;

/// The network: ends with its last connection when dropped.
#[derive(Debug)]
pub struct Links {
    shared: Arc<Shared>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    members: Mutex<Vec<Known>>,
    /// By sender and receiver; a line not in it is open.
    lines: Mutex<HashMap<(usize, usize), watch::Sender<State>>>,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    /// 0 before its first start.
    pid: u32,
    /// Where the others reach it.
    port: u16,
}

/// A line and how often the connections over it were broken: who looks late sees that too.
#[derive(Debug, Clone)]
struct State {
    line: Line,
    breaks: u64,
    /// Bytes on their way and what becomes of them.
    garble: Option<Arc<Garble>>,
}

#[derive(Debug)]
struct Garble {
    sent: Vec<u8>,
    received: Vec<u8>,
}

impl Garble {
    /// Changes every occurrence within a chunk.
    fn change(&self, chunk: &mut [u8]) {
        let length = self.sent.len();
        let mut at = 0;
        while at + length <= chunk.len() {
            if chunk[at..at + length] == self.sent {
                chunk[at..at + length].copy_from_slice(&self.received);
            }
            at += 1;
        }
    }
}

impl Links {
    /// A network without members.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        // An error is the sender's end: also a reason to stop.
        let work = move || runtime.block_on(async { drop(stopped.await) });
        let thread = std::thread::Builder::new().name("links".to_owned()).spawn(work);
        let thread = Some(thread.expect("a thread"));
        Self { shared: Arc::default(), handle, stop: Some(stop), thread }
    }

    /// Adds a member that listens at `port`: the port at which the others shall reach it.
    pub(crate) fn add(&self, port: u16) -> u16 {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("nonblocking");
        let address = listener.local_addr().expect("bound");
        let mut members = locked(&self.shared.members);
        let to = members.len();
        members.push(Known { pid: 0, port: address.port() });
        let shared = self.shared.clone();
        self.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, origin)) = listener.accept().await {
                tokio::spawn(shared.clone().carry(stream, origin, address, to, port));
            }
        });
        address.port()
    }

    /// Says which process a member is now.
    pub(crate) fn is_process(&self, member: usize, pid: u32) {
        locked(&self.shared.members)[member].pid = pid;
    }

    /// Sets what becomes of bytes from one member to another; the other direction stays.
    pub fn set(&self, from: usize, to: usize, line: Line) {
        self.shared.line(from, to).send_modify(|state| {
            state.line = line;
            state.breaks += u64::from(line == Line::Cut);
        });
    }

    /// Sets both directions between two members.
    pub fn set_both(&self, one: usize, other: usize, line: Line) {
        self.set(one, other, line);
        self.set(other, one, line);
    }

    /// Sets both directions between one member and all others.
    pub fn isolate(&self, member: usize, line: Line) {
        let count = locked(&self.shared.members).len();
        (0..count).filter(|other| *other != member).for_each(|o| self.set_both(member, o, line));
    }

    /// Breaks the connections between two members once; new ones are made at will.
    pub fn drop_connections(&self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            self.shared.line(from, to).send_modify(|state| state.breaks += 1);
        }
    }

    /// Changes bytes on their way from one member to another, as a bad cable would that checksums
    /// do not notice. Both byte strings have the same length.
    pub fn garble(&self, from: usize, to: usize, sent: &str, received: &str) {
        assert_eq!(sent.len(), received.len(), "the same length");
        let garble = Garble { sent: sent.into(), received: received.into() };
        self.shared.line(from, to).send_modify(|state| state.garble = Some(Arc::new(garble)));
    }

    /// Opens every line, and changes nothing any more.
    pub fn heal(&self) {
        for line in locked(&self.shared.lines).values() {
            line.send_modify(|state| (state.line, state.garble) = (Line::OPEN, None));
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn line(&self, from: usize, to: usize) -> watch::Sender<State> {
        let open = || watch::Sender::new(State { line: Line::OPEN, breaks: 0, garble: None });
        locked(&self.lines).entry((from, to)).or_insert_with(open).clone()
    }

    /// Carries one connection, made at `address` to reach `to`, until an end of it closes.
    async fn carry(
        self: Arc<Self>,
        stream: TcpStream,
        origin: SocketAddr,
        address: SocketAddr,
        to: usize,
        port: u16,
    ) {
        let Some(from) = self.clone().sender(&stream, origin, address).await else { return };
        let (mut there, mut back) =
            (self.line(from, to).subscribe(), self.line(to, from).subscribe());
        // No connection is made over a line that does not carry both ways.
        if !(opened(&mut there).await && opened(&mut back).await) {
            return;
        }
        let Ok(onward) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
        for stream in [&stream, &onward] {
            // Only speed depends on it.
            drop(stream.set_nodelay(true));
        }
        let (from_read, from_write) = stream.into_split();
        let (to_read, to_write) = onward.into_split();
        tokio::join!(pump(from_read, to_write, there), pump(to_read, from_write, back));
    }

    /// The member that has dialled.
    async fn sender(
        self: Arc<Self>,
        stream: &TcpStream,
        origin: SocketAddr,
        address: SocketAddr,
    ) -> Option<usize> {
        let mut head = vec![0; HEAD_BYTES_MAX];
        let count = loop {
            let count = stream.peek(&mut head).await.ok()?;
            if count == 0 {
                return None;
            }
            if count == head.len() || head[..count].windows(4).any(|end| end == b"\r\n\r\n") {
                break count;
            }
            // The rest of the head is on its way; `peek` would not wait for it.
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let head = String::from_utf8_lossy(&head[..count]).to_ascii_lowercase();
        let urls = head.lines().find_map(|line| line.strip_prefix("x-peerurls:"));
        if let Some(port) =
            urls.and_then(|urls| urls.trim().rsplit(':').next()?.parse::<u16>().ok())
        {
            return locked(&self.members).iter().position(|known: &Known| known.port == port);
        }
        // A long table, read while others wait.
        let look = tokio::task::spawn_blocking(move || self.member_at(origin, address));
        look.await.ok().flatten()
    }

    /// The member whose process holds the socket from `origin` to `address`.
    fn member_at(&self, origin: SocketAddr, address: SocketAddr) -> Option<usize> {
        let inode = socket_inode(origin, address)?;
        let wanted = format!("socket:[{inode}]");
        let members = locked(&self.members).clone();
        members.iter().position(|Known { pid, .. }| {
            *pid != 0
                && std::fs::read_dir(format!("/proc/{pid}/fd")).is_ok_and(|descriptors| {
                    descriptors.flatten().any(|descriptor| {
                        std::fs::read_link(descriptor.path())
                            .is_ok_and(|link| link.as_os_str().as_bytes() == wanted.as_bytes())
                    })
                })
        })
    }
}

/// The inode of the TCP socket with these ends.
fn socket_inode(local: SocketAddr, remote: SocketAddr) -> Option<String> {
    let hex = |address: SocketAddr| match address {
        SocketAddr::V4(v4) => {
            format!("{:08X}:{:04X}", u32::from_le_bytes(v4.ip().octets()), v4.port())
        }
        SocketAddr::V6(_) => String::new(),
    };
    let (local, remote) = (hex(local), hex(remote));
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").ok()?;
    table.lines().find_map(|row| {
        // sl local remote state tx:rx timer retransmits uid timeout inode …
        let mut fields = row.split_whitespace();
        (fields.nth(1) == Some(local.as_str()) && fields.next() == Some(remote.as_str()))
            .then(|| fields.nth(6).map(str::to_owned))
            .flatten()
    })
}

/// Waits until the line carries; false if it is cut.
async fn opened(line: &mut watch::Receiver<State>) -> bool {
    match line.wait_for(|state| state.line != Line::Held).await {
        Ok(state) => state.line != Line::Cut,
        Err(_) => false,
    }
}

/// Carries one direction until its end, or until the line is cut.
async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    line: watch::Receiver<State>,
) {
    let (sender, mut queue) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let (mut cut, mut held) = (line.clone(), line);
    let breaks = cut.borrow().breaks;
    let state = cut.clone();
    let read = async move {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let count = from.read(&mut buffer).await.unwrap_or(0);
            let mut chunk = buffer[..count].to_vec();
            if let Some(garble) = &state.borrow().garble {
                garble.change(&mut chunk);
            }
            if count == 0 || sender.send((Instant::now(), chunk)).await.is_err() {
                return;
            }
        }
    };
    let write = async {
        while let Some((read_at, chunk)) = queue.recv().await {
            loop {
                if !opened(&mut held).await {
                    return;
                }
                let Line::Open(delay) = held.borrow().line else { continue };
                tokio::time::sleep_until(read_at + delay).await;
                // It may have been closed meanwhile.
                if matches!(held.borrow().line, Line::Open(_)) {
                    break;
                }
            }
            if to.write_all(&chunk).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = async { tokio::join!(read, write); } => {}
        _ = cut.wait_for(|state| state.line == Line::Cut || state.breaks != breaks) => {}
    }
    // Both halves are dropped with this future: the ends see that nothing more comes.
}
