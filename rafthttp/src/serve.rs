//! Connections of the peer port as both kinds of peers expect them.

use std::convert::Infallible;
use std::future::Future;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::IoTimeouts;
use crate::io::{Io, WriteTimeout};
use crate::limits::IO_TIMEOUT;

/// Serves one connection of a peer until it ends: HTTP/1.1, headers in Go's canonical form, 5 s
/// for the head of a request (and between two requests), and as given for a write that makes no
/// progress.
/// Must be polled on a tokio runtime with timers.
///
/// # Errors
/// What broke the connection: the peer, or a body that failed on purpose.
pub async fn serve_connection<I, S, B>(
    io: I,
    service: S,
    timeouts: IoTimeouts,
) -> Result<(), hyper::Error>
where
    I: Io,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Future + Send,
    B: Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    http1::Builder::new()
        .title_case_headers(true)
        .timer(TokioTimer::new())
        .header_read_timeout(IO_TIMEOUT)
        .serve_connection(TokioIo::new(WriteTimeout::new(io, timeouts.write)), service)
        .await
}
