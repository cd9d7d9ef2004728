//! Listeners: accept, tell the protocol by its first bytes, hand over to an `rpc` thread.
//!
//! ```text
//!   client port ─▶ [accept] ─permit─▶ least loaded [rpc-n] ─▶ sniff ─┬─ HTTP/2 ─▶ gRPC
//!   metrics port ──────────────────────────────────────▶ [accept]   └─ HTTP/1 ─▶ Router
//! ```
//!
//! A connection stays on its thread for life, so nothing about it is ever shared.

mod authority;
mod bind;
mod frames;
mod gather;
mod shard;
mod sniff;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

pub use bind::{Bound, SocketOptions, bind_all};
pub use frames::Traffic;
pub use shard::GrpcService;

use crate::http::Router;
use shard::{Assigned, Shard, ShardServer};

/// File descriptors kept for files, when connections take the rest (etcd: 150).
const RESERVED_DESCRIPTORS: u64 = 150;
/// How long the acceptor rests when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// gRPC and HTTP/1.
    Both,
    /// gRPC alone.
    Grpc,
    /// HTTP/1 alone.
    Http,
}

/// What connections need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Streams a client may have open on one connection.
    pub max_concurrent_streams: u32,
    /// Idle time before a ping, and the wait for its answer.
    pub keepalive: Option<(Duration, Duration)>,
    /// Time between two pings of a client, if it must keep one.
    pub ping_spacing: Option<Duration>,
    /// Where gRPC traffic is counted.
    pub traffic: Arc<Traffic>,
}

/// Threads that serve connections: half the cores, since the raft thread, the storage engine
/// and the kernel's network work need the other half; with fewer, larger owners more requests
/// share one wake-up and one system call.
pub fn default_shards() -> usize {
    std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1))
}

/// How many connections a client listener may hold, by the limit of file descriptors.
///
/// # Errors
/// etcd's text when too few are left.
pub fn connection_limit() -> Result<usize, String> {
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

/// Makes what else runs on an `rpc` thread, given its number; it is dropped at the end.
pub type Companion = Arc<dyn Fn(usize) -> crate::http::BoxFuture<'static, ()> + Send + Sync>;

/// Every thread that serves clients.
#[derive(Debug)]
pub struct Servers {
    stop: watch::Sender<Option<Duration>>,
    accept: JoinHandle<()>,
    shards: Vec<Shard>,
}

impl Servers {
    /// Starts the `rpc` threads and the acceptor.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start<G: GrpcService>(
        listeners: Vec<(Bound, Serve)>,
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
                for (bound, serve) in listeners {
                    let permits = Arc::new(Semaphore::new(limit));
                    loops.spawn(accept_loop(
                        bound,
                        serve,
                        permits,
                        targets.clone(),
                        stopped.clone(),
                    ));
                }
                while loops.join_next().await.is_some() {}
            });
        })?;
        Ok(Servers { stop, accept, shards })
    }

    /// Stops accepting, lets requests end within `budget`, then cuts what is left.
    pub fn stop(self, budget: Duration) {
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
    bound: Bound,
    serve: Serve,
    permits: Arc<Semaphore>,
    targets: Arc<Vec<Target>>,
    mut stop: watch::Receiver<Option<Duration>>,
) {
    let listener = match tokio::net::TcpListener::from_std(bound.socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, address = bound.address, "listener failed");
            return;
        }
    };
    loop {
        let accepted = tokio::select! {
            accepted = accept_one(&listener, &permits) => accepted,
            _ = stop.wait_for(Option::is_some) => return,
        };
        let (stream, permit) = match accepted {
            Ok(pair) => pair,
            Err(error) => {
                // Out of descriptors, or a connection that was gone before we took it.
                tracing::warn!(error = %error, address = bound.address, "cannot accept");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        let (inbox, load) = targets
            .iter()
            .min_by_key(|(_, load)| load.load(Ordering::Relaxed))
            .expect("there is at least one shard");
        load.fetch_add(1, Ordering::Relaxed);
        if inbox.send(Assigned { stream, serve, permit }).await.is_err() {
            return;
        }
    }
}

async fn accept_one(
    listener: &tokio::net::TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(std::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = permits.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // The stream changes its runtime, so it leaves the reactor of this one.
    Ok((stream.into_std()?, permit))
}

/// A listener that serves HTTP/1 alone on a thread of its own: metrics and peers.
#[derive(Debug)]
pub struct SideServer {
    stop: watch::Sender<Option<Duration>>,
    thread: JoinHandle<()>,
}

impl SideServer {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(name: &str, bounds: Vec<Bound>, router: &Router) -> io::Result<SideServer> {
        let (stop, stopped) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let router = router.clone();
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async move {
                let mut loops = tokio::task::JoinSet::new();
                for bound in bounds {
                    loops.spawn(side_loop(bound, router.clone(), stopped.clone()));
                }
                while loops.join_next().await.is_some() {}
            });
        })?;
        Ok(SideServer { stop, thread })
    }

    /// Ends at once; connections are cut.
    pub fn stop(self) {
        self.stop.send_replace(Some(Duration::ZERO));
        if self.thread.join().is_err() {
            tracing::error!("a listener thread panicked");
        }
    }
}

/// Connections a metrics or peer listener may hold.
const SIDE_CONNECTIONS_MAX: usize = 256;

async fn side_loop(bound: Bound, router: Router, mut stop: watch::Receiver<Option<Duration>>) {
    let listener = match tokio::net::TcpListener::from_std(bound.socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, address = bound.address, "listener failed");
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
            Ok((stream, permit)) => {
                let router = router.clone();
                let mut stop = stop.clone();
                connections.spawn(async move {
                    let served = async {
                        let stream = tokio::net::TcpStream::from_std(stream)?;
                        shard::serve_http(stream, router, &mut stop).await
                    };
                    if let Err(error) = served.await {
                        tracing::debug!(error = %error, "connection ended");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(error = %error, address = bound.address, "cannot accept");
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;
