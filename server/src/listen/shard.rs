//! The `rpc` threads: each owns a single-threaded runtime and the connections given to it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;

use super::door::{Door, Opened, Secured};
use super::frames::Policed;
use super::secure::OverTls;
use super::sniff::Protocol;
use super::socket::Parked;
use super::{Companion, Serve, Settings};
use crate::http::Router;

/// How long an HTTP/1 request may take to show its head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// Name of the threads for what takes long.
const BLOCKING_THREAD: &str = "blocking";
/// Connections that may wait for a shard; the acceptor waits when there are more.
const HANDOVER_MAX: usize = 1024;
/// Bytes a stream may send before it must wait for the handler: one whole default request, so
/// that no put waits for a window update.
const STREAM_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
/// Answer bytes a stream may queue before its handler waits.
const STREAM_SEND_BYTES_MAX: usize = 1024 * 1024;
/// Largest request head, as grpc-go's default.
const HEADER_LIST_BYTES_MAX: u32 = 16 * 1024 * 1024;
/// Streams that were reset by the client and not yet seen by us before the connection is closed
/// (rapid reset).
const PENDING_RESETS_MAX: usize = 1000;

/// What a connection is served with.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) stream: Parked,
    pub(super) remote: Option<SocketAddr>,
    pub(super) door: Door,
    pub(super) serve: Serve,
    /// Returned when the connection ends.
    pub(super) permit: OwnedSemaphorePermit,
}

/// A thread that serves connections.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) inbox: mpsc::Sender<Assigned>,
    /// Connections here and on the way.
    pub(super) load: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Shard {
    /// Starts the thread.
    pub(super) fn start<G: GrpcService>(
        number: usize,
        server: ShardServer<G>,
    ) -> io::Result<Shard> {
        let (inbox, received) = mpsc::channel(HANDOVER_MAX);
        let load = Arc::new(AtomicUsize::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(BLOCKING_THREAD)
            .build()?;
        let held = load.clone();
        let body = move || {
            crate::replies::enter_shard(number);
            runtime.block_on(async {
                let companion = tokio::spawn((server.companion)(number));
                server.run(received, &held).await;
                companion.abort();
            });
        };
        let thread = std::thread::Builder::new().name(format!("rpc-{number}")).spawn(body)?;
        Ok(Shard { inbox, load, thread })
    }

    /// Gives up the inbox; the thread ends after a stop was announced.
    pub(super) fn close(self) -> JoinHandle<()> {
        self.thread
    }
}

/// A gRPC service as a connection needs it.
pub(crate) trait GrpcService:
    Service<
        Request<Incoming>,
        Response = Response<Self::Answer>,
        Error = Infallible,
        Future = Self::Pending,
    > + Clone
    + Send
    + 'static
{
    /// The body of its answers.
    type Answer: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static;
    /// Its future answers.
    type Pending: Future<Output = Result<Response<Self::Answer>, Infallible>> + Send + 'static;
}

impl<S, B, F> GrpcService for S
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible, Future = F>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
{
    type Answer = B;
    type Pending = F;
}

/// What a shard serves connections with.
#[derive(Clone)]
pub(super) struct ShardServer<G> {
    pub(super) grpc: G,
    pub(super) router: Router,
    pub(super) companion: Companion,
    pub(super) settings: Settings,
    pub(super) stop: watch::Receiver<Option<Duration>>,
}

impl<G: GrpcService> ShardServer<G> {
    async fn run(&self, mut received: mpsc::Receiver<Assigned>, load: &AtomicUsize) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                assigned = received.recv() => match assigned {
                    Some(assigned) => {
                        connections.spawn(self.connection(assigned));
                    }
                    None => break,
                },
                Some(_) = connections.join_next() => {
                    load.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        // No more come; those that are here end by themselves or when their time is up.
        let mut stop = self.stop.clone();
        let budget = stop.wait_for(Option::is_some).await.ok().and_then(|b| *b);
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(budget.unwrap_or_default(), all).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn connection(&self, assigned: Assigned) -> impl Future<Output = ()> + Send + 'static {
        let server = self.clone();
        async move {
            let Assigned { stream, remote, door, serve, permit } = assigned;
            if let Err(error) = server.serve(stream, remote, &door, serve).await {
                tracing::debug!(error = %error, "connection ended");
            }
            drop(permit);
        }
    }

    async fn serve(
        mut self,
        stream: Parked,
        remote: Option<SocketAddr>,
        door: &Door,
        serve: Serve,
    ) -> Result<(), Fault> {
        let stream = stream.unpark()?;
        let opened = tokio::select! {
            opened = door.open(stream, remote) => opened?,
            _ = self.stop.wait_for(Option::is_some) => return Ok(()),
        };
        match opened {
            Some(Opened::Plain(Protocol::Http2, stream)) if serve != Serve::Http => {
                serve_grpc(stream, self.grpc, self.settings, &mut self.stop).await
            }
            Some(Opened::Plain(Protocol::Http1, stream)) if serve != Serve::Grpc => {
                serve_http(stream, self.router, &mut self.stop).await
            }
            Some(Opened::Secure(accepted)) => self.serve_secure(accepted, serve).await,
            // The other protocol has a listener of its own.
            Some(Opened::Plain(..)) | None => Ok(()),
        }
    }

    async fn serve_secure(mut self, accepted: Secured, serve: Serve) -> Result<(), Fault> {
        let tls::Accepted { stream, identity } = *accepted;
        let http2 = stream.alpn() == Some(b"h2");
        let router = self.router.over_tls();
        if !http2 {
            return match serve {
                Serve::Both | Serve::Http => serve_http(stream, router, &mut self.stop).await,
                Serve::Grpc => Ok(()),
            };
        }
        // Where HTTP is served too, etcd's gRPC runs inside the HTTP server, which neither pings
        // nor counts pings.
        if serve != Serve::Grpc {
            (self.settings.keepalive, self.settings.ping_spacing) = (None, None);
        }
        let identity = identity.filter(|_| self.settings.name_clients);
        let service = OverTls::new(serve, self.grpc, router, identity);
        serve_grpc(stream, service, self.settings, &mut self.stop).await
    }
}

/// Why a connection ended.
pub(super) type Fault = Box<dyn std::error::Error + Send + Sync>;

async fn serve_grpc<S, G>(
    stream: S,
    grpc: G,
    settings: Settings,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    G: GrpcService,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(settings.max_concurrent_streams)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(STREAM_SEND_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX);
    if let Some((interval, timeout)) = settings.keepalive {
        builder.keep_alive_interval(interval).keep_alive_timeout(timeout);
    }
    let stream = Policed::new(stream, settings.ping_spacing, settings.traffic);
    let drain = stream.drain();
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), grpc));
    tokio::select! {
        ended = poll_fn(|cx| drain.poll_after(connection.as_mut(), cx)) => return ended,
        _ = stop.wait_for(Option::is_some) => {}
    }
    connection.as_mut().graceful_shutdown();
    poll_fn(|cx| drain.poll_after(connection.as_mut(), cx)).await
}

/// Serves HTTP/1 until the peer or a stop ends it.
pub(super) async fn serve_http<S, R, B>(
    stream: S,
    router: R,
    stop: &mut watch::Receiver<Option<Duration>>,
) -> Result<(), Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    R: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: Into<Fault>> + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).title_case_headers(true);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), router));
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        _ = stop.wait_for(Option::is_some) => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}
