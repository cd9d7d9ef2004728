//! Listeners: accept, hand over to an `rpc` thread, which shakes hands if TLS is spoken and tells
//! the protocol by its first bytes, or by what was agreed on.
//!
//! ```text
//!   client port ─▶ [accept] ─permit─▶ least loaded [rpc-n] ─▶ Door ─┬─ HTTP/2 ─▶ gRPC
//!   metrics port ────────────────────────────────────▶ Door         └─ HTTP/1 ─▶ Router
//! ```
//!
//! A connection stays on its thread for life, so nothing about it is ever shared.

mod authority;
mod bind;
mod door;
mod frames;
mod gather;
mod secure;
mod shard;
mod sniff;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(crate) use bind::{Bound, Listener, SocketOptions, bind_all};
pub(crate) use door::{Door, Opened};
pub(crate) use frames::Traffic;
#[cfg(test)]
pub(crate) use secure::ClientName;
pub(crate) use shard::GrpcService;
pub(crate) use sniff::Protocol;
pub(crate) use socket::Stream;

use crate::http::Router;
use shard::{Assigned, Shard, ShardServer};

/// File descriptors kept for files, when connections take the rest (etcd: 150).
const RESERVED_DESCRIPTORS: u64 = 150;
/// How long the acceptor rests when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serve {
    /// gRPC and HTTP/1.
    Both,
    /// gRPC alone.
    Grpc,
    /// HTTP/1 alone.
    Http,
}

/// What connections need to know of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Streams a client may have open on one connection.
    pub max_concurrent_streams: u32,
    /// Idle time before a ping, and the wait for its answer.
    pub keepalive: Option<(Duration, Duration)>,
    /// Time between two pings of a client, if it must keep one.
    pub ping_spacing: Option<Duration>,
    /// Whether requests carry the names of client certificates.
    pub name_clients: bool,
    /// Where gRPC traffic is counted.
    pub traffic: Arc<Traffic>,
}

/// Threads that serve connections: half the cores, since the raft thread, the storage engine
/// and the kernel's network work need the other half; with fewer, larger owners more requests
/// share one wake-up and one system call.
pub(crate) fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}

/// How many connections a client listener may hold, by the limit of file descriptors.
///
/// # Errors
/// etcd's text when too few are left.
pub(crate) fn connection_limit() -> Result<usize, String> {
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)
        .map_err(|e| format!("getrlimit: {e}"))?;
    if soft <= RESERVED_DESCRIPTORS {
        return Err(
            "file descriptor limit of etcd process is too low; please set higher".to_owned()
        );
    }
    let limit = usize::try_from(soft - RESERVED_DESCRIPTORS).unwrap_or(usize::MAX);
    Ok(limit.min(Semaphore::MAX_PERMITS))
}

/// A client listener, its entrance and what it serves.
pub(crate) type Entrance = (Bound, Door, Serve);

/// Makes what else runs on an `rpc` thread, given its number; it is dropped at the end.
pub(crate) type Companion = Arc<dyn Fn(usize) -> crate::http::BoxFuture<'static, ()> + Send + Sync>;

/// Every thread that serves clients.
#[derive(Debug)]
pub(crate) struct Servers {
    stop: watch::Sender<Option<Duration>>,
    accept: JoinHandle<()>,
    shards: Vec<Shard>,
}

impl Servers {
    /// Starts the `rpc` threads and the acceptor.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub(crate) fn start<G: GrpcService>(
        listeners: Vec<Entrance>,
        limit: usize,
        shards: usize,
        grpc: &G,
        router: &Router,
        companion: &Companion,
        settings: &Settings,
    ) -> io::Result<Servers> {
        let (stop, stopped) = watch::channel(None);
        let start = |number| {
            let server = ShardServer {
                grpc: grpc.clone(),
                router: router.clone(),
                companion: companion.clone(),
                settings: settings.clone(),
                stop: stopped.clone(),
            };
            Shard::start(number, server)
        };
        let shards = (0..shards.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        let targets: Vec<_> = shards.iter().map(|s| (s.inbox.clone(), s.load.clone())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let accept = std::thread::Builder::new().name("accept".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let targets = Arc::new(targets);
                let mut loops = tokio::task::JoinSet::new();
                for entrance in listeners {
                    let permits = Arc::new(Semaphore::new(limit));
                    let (targets, stopped) = (targets.clone(), stopped.clone());
                    loops.spawn(accept_loop(entrance, permits, targets, stopped));
                }
                while loops.join_next().await.is_some() {}
            });
        })?;
        Ok(Servers { stop, accept, shards })
    }

    /// Stops accepting, lets requests end within `budget`, then cuts what is left.
    pub(crate) fn stop(self, budget: Duration) {
        self.stop.send_replace(Some(budget));
        if self.accept.join().is_err() {
            tracing::error!("the accept thread panicked");
        }
        let threads: Vec<_> = self.shards.into_iter().map(Shard::close).collect();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("an rpc thread panicked");
            }
        }
    }
}

type Target = (tokio::sync::mpsc::Sender<Assigned>, Arc<std::sync::atomic::AtomicUsize>);

async fn accept_loop(
    (bound, door, serve): Entrance,
    permits: Arc<Semaphore>,
    targets: Arc<Vec<Target>>,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let address = bound.address.clone();
    let listener = match bound.listen() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, address, "listener failed");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, &permits) => accepted,
            _ = stop.wait_for(Option::is_some) => return,
        };
        // The stream changes its runtime, so it leaves the reactor of this one.
        let parked = accepted.and_then(|(stream, from, permit)| Ok((stream.park()?, from, permit)));
        let (stream, remote, permit) = match parked {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a connection that was gone before we took it.
                tracing::warn!(error = %error, address, "cannot accept");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let (inbox, load) = targets
            .iter()
            .min_by_key(|(_, load)| load.load(Ordering::Relaxed))
            .expect("there is at least one shard");
        load.fetch_add(1, Ordering::Relaxed);
        let assigned = Assigned { stream, remote, door: door.clone(), serve, permit };
        if inbox.send(assigned).await.is_err() {
            return;
        }
    }
}

async fn accept_one(
    listener: &Listener,
    permits: &Arc<Semaphore>,
) -> io::Result<(Stream, Option<SocketAddr>, OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, remote) = listener.accept().await?;
    Ok((stream, remote, permit))
}

/// A listener that serves HTTP/1 alone on a thread of its own: metrics and peers.
#[derive(Debug)]
pub(crate) struct SideServer {
    stop: watch::Sender<Option<Duration>>,
    thread: JoinHandle<()>,
}

impl SideServer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub(crate) fn start(
        name: &str,
        listeners: Vec<(Bound, Door)>,
        router: &Router,
    ) -> io::Result<SideServer> {
        let (stop, stopped) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let router = router.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut loops = tokio::task::JoinSet::new();
                for (bound, door) in listeners {
                    loops.spawn(side_loop(bound, door, router.clone(), stopped.clone()));
                }
                while loops.join_next().await.is_some() {}
            });
        })?;
        Ok(SideServer { stop, thread })
    }

    /// Ends at once; connections are cut.
    pub(crate) fn stop(self) {
        self.stop.send_replace(Some(Duration::ZERO));
        if self.thread.join().is_err() {
            tracing::error!("a listener thread panicked");
        }
    }
}

/// Connections a metrics or peer listener may hold.
const SIDE_CONNECTIONS_MAX: usize = 256;

async fn side_loop(
    bound: Bound,
    door: Door,
    router: Router,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let address = bound.address.clone();
    let listener = match bound.listen() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, address, "listener failed");
            return;
        }
    };
    let permits = Arc::new(Semaphore::new(SIDE_CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, &permits) => accepted,
            _ = stop.wait_for(Option::is_some) => return,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, remote, permit)) => {
                let (door, router, stop) = (door.clone(), router.clone(), stop.clone());
                connections.spawn(async move {
                    if let Err(error) = serve_side(&door, stream, remote, router, stop).await {
                        tracing::debug!(error = %error, "connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, address, "cannot accept");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

async fn serve_side(
    door: &Door,
    stream: Stream,
    remote: Option<SocketAddr>,
    router: Router,
    mut stop: watch::Receiver<Option<Duration>>,
) -> Result<(), shard::Fault> {
    match door.open(stream, remote).await? {
        Some(Opened::Plain(Protocol::Http1, stream)) => {
            shard::serve_http(stream, router, &mut stop).await
        }
        Some(Opened::Secure(accepted)) => {
            shard::serve_http(accepted.stream, router, &mut stop).await
        }
        Some(Opened::Plain(Protocol::Http2, _)) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
