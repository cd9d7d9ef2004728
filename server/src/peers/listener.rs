//! The peer port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::{Service as _, service_fn};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::PeerService;
use crate::listen::Bound;

/// Connections the peer port may hold: a handful per member, and tools.
const CONNECTIONS_MAX: usize = 1024;
/// How long the acceptor rests when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The thread that serves the peer port and carries the traffic to the others.
#[derive(Debug)]
pub struct PeerServer {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl PeerServer {
    /// Starts the thread, on which everything given to `runtime` runs from now on.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(
        runtime: Runtime,
        bounds: Vec<Bound>,
        service: PeerService,
    ) -> io::Result<PeerServer> {
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("peer".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
                let mut loops = JoinSet::new();
                for bound in bounds {
                    loops.spawn(accept(bound, service.clone(), permits.clone()));
                }
                // Dropping the loops ends their connections.
                stopped.wait_for(|stopped| *stopped).await.ok();
            });
        })?;
        Ok(PeerServer { stop, thread })
    }

    /// Ends at once; connections are cut.
    pub fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the peer thread panicked");
        }
    }
}

async fn accept(bound: Bound, service: PeerService, permits: Arc<Semaphore>) {
    let listener = match tokio::net::TcpListener::from_std(bound.socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, address = bound.address, "listener failed");
            return;
        }
    };
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let service = service.clone();
                connections.spawn(async move {
                    if let Err(error) = serve(stream, from, service).await {
                        tracing::debug!(error, "peer connection ended");
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

async fn serve(
    stream: tokio::net::TcpStream,
    from: SocketAddr,
    service: PeerService,
) -> Result<(), String> {
    rafthttp::tune(&stream).map_err(|e| e.to_string())?;
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(from);
        service.call(request)
    });
    rafthttp::serve_connection(stream, service).await.map_err(|e| e.to_string())
}
