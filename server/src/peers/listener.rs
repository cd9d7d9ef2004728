//! The peer port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::service::{Service as _, service_fn};
use rafthttp::IoTimeouts;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::PeerService;
use crate::listen::{Bound, Door, Opened, Stream};

/// Connections the peer port may hold: a handful per member, and tools.
const CONNECTIONS_MAX: usize = 1024;
/// How long the acceptor rests when the process has no descriptor left.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// The thread that serves the peer port and carries the traffic to the others.
#[derive(Debug)]
pub(crate) struct PeerServer {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl PeerServer {
    /// Starts the thread, on which everything given to `runtime` runs from now on.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub(crate) fn start(
        runtime: Runtime,
        listeners: Vec<(Bound, Door)>,
        service: PeerService,
        timeouts: IoTimeouts,
    ) -> io::Result<PeerServer> {
        let (stop, mut stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("peer".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
                let mut loops = JoinSet::new();
                for listener in listeners {
                    loops.spawn(accept(listener, service.clone(), timeouts, permits.clone()));
                }
                // Dropping the loops ends their connections.
                stopped.wait_for(|stopped| *stopped).await.ok();
            });
        })?;
        Ok(PeerServer { stop, thread })
    }

    /// Ends at once; connections are cut.
    pub(crate) fn stop(self) {
        self.stop.send_replace(true);
        if self.thread.join().is_err() {
            tracing::error!("the peer thread panicked");
        }
    }
}

async fn accept(
    (bound, door): (Bound, Door),
    service: PeerService,
    timeouts: IoTimeouts,
    permits: Arc<Semaphore>,
) {
    let address = bound.address.clone();
    let listener = match bound.listen() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(error = %error, address, "listener failed");
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
                let (door, service) = (door.clone(), service.clone());
                connections.spawn(async move {
                    if let Err(error) = serve(&door, stream, from, service, timeouts).await {
                        tracing::debug!(error, "peer connection ended");
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

async fn serve(
    door: &Door,
    stream: Stream,
    from: Option<SocketAddr>,
    service: PeerService,
    timeouts: IoTimeouts,
) -> Result<(), String> {
    let opened = door.open(stream, from).await.map_err(|e| e.to_string())?;
    let service = service_fn(move |mut request: http::Request<hyper::body::Incoming>| {
        if let Some(from) = from {
            request.extensions_mut().insert(from);
        }
        service.call(request)
    });
    let served = match opened {
        Some(Opened::Plain(_, stream)) => {
            rafthttp::serve_connection(stream, service, timeouts).await
        }
        Some(Opened::Secure(accepted)) => {
            rafthttp::serve_connection(accepted.stream, service, timeouts).await
        }
        None => return Ok(()),
    };
    served.map_err(|e| e.to_string())
}
