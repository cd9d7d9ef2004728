//! An HTTP/1.1 connection to a peer, driven by the task that uses it: no task of its own, and
//! dropping it closes it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;

use crate::io::{Dial, Io, WriteTimeout};
use crate::{Body, limits};

/// Why a request to a peer came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The address is no URL with a host, or the request does not fit behind it.
    #[error("{0} is not a URL that can be asked")]
    Url(String),
    /// There is no connection.
    #[error("dial {url}: {source}")]
    Dial {
        /// The peer's URL.
        url: String,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke, or what came back is not HTTP.
    #[error("ask {url}: {}", root(.source))]
    Http {
        /// The peer's URL.
        url: String,
        /// What happened.
        source: hyper::Error,
    },
    /// No whole answer in time.
    #[error("ask {url}: no answer in time")]
    Timeout {
        /// The peer's URL.
        url: String,
    },
    /// The answer is longer than 64 MiB.
    #[error("ask {url}: the answer is too long")]
    TooLong {
        /// The peer's URL.
        url: String,
    },
}

impl RequestError {
    /// Whether nothing of the request has left.
    pub(crate) fn is_unsent(&self) -> bool {
        match self {
            RequestError::Url(_) | RequestError::Dial { .. } => true,
            RequestError::Http { source, .. } => source.is_canceled(),
            RequestError::Timeout { .. } | RequestError::TooLong { .. } => false,
        }
    }
}

/// The cause at the end of the chain, which is the one that says something.
fn root(error: &hyper::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

type Wire = TokioIo<WriteTimeout<Box<dyn Io>>>;

/// What the parts of a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// The connection.
    pub(crate) dial: Duration,
    /// A write that makes no progress.
    pub(crate) write: Duration,
}

/// A connection to one URL.
pub(crate) struct Link {
    url: String,
    host: HeaderValue,
    sender: SendRequest<Body>,
    /// `None` once it has ended.
    connection: Option<Pin<Box<Connection<Wire, Body>>>>,
    /// Whether a request was answered on it before.
    pub(crate) used: bool,
}

impl Link {
    /// Connects to `url`.
    pub(crate) async fn open(
        dial: &dyn Dial,
        url: &str,
        times: Times,
    ) -> Result<Link, RequestError> {
        let host = host(url).ok_or_else(|| RequestError::Url(url.to_owned()))?;
        let dialed = tokio::time::timeout(times.dial, dial.dial(url)).await;
        let io = dialed.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let io = io.map_err(|source| RequestError::Dial { url: url.to_owned(), source })?;
        let io = TokioIo::new(WriteTimeout::new(io, times.write));
        let shaken = http1::Builder::new().title_case_headers(true).handshake(io).await;
        let (sender, connection) =
            shaken.map_err(|source| RequestError::Http { url: url.to_owned(), source })?;
        let connection = Some(Box::pin(connection));
        Ok(Link { url: url.to_owned(), host, sender, connection, used: false })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request and waits for the head of its answer.
    pub(crate) async fn ask(
        &mut self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, RequestError> {
        request.headers_mut().insert(HOST, self.host.clone());
        let answer = self.sender.send_request(request);
        let response = drive(&mut self.connection, answer).await;
        let response = response.map_err(|source| self.broke(source))?;
        self.used = true;
        Ok(response)
    }

    /// The next bytes of an answer's body; `None` at its end.
    pub(crate) async fn chunk(
        &mut self,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, RequestError> {
        loop {
            match drive(&mut self.connection, body.frame()).await {
                None => return Ok(None),
                Some(Err(source)) => return Err(self.broke(source)),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }

    /// A whole body of at most `bytes_max`.
    pub(crate) async fn whole(
        &mut self,
        body: &mut Incoming,
        bytes_max: usize,
    ) -> Result<Bytes, RequestError> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk(body).await? {
            if whole.len() + chunk.len() > bytes_max {
                return Err(RequestError::TooLong { url: self.url.clone() });
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// The error text of an answer, as far as it comes at once.
    pub(crate) async fn error_text(&mut self, body: &mut Incoming) -> String {
        let mut text = Vec::new();
        let read = async {
            while let Ok(Some(chunk)) = self.chunk(body).await {
                let room = limits::ERROR_TEXT_BYTES_MAX - text.len();
                text.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if text.len() == limits::ERROR_TEXT_BYTES_MAX || text.ends_with(b"\n") {
                    break;
                }
            }
        };
        // A failed answer may never end; its text comes with its head or not at all.
        let _late = tokio::time::timeout(Duration::from_millis(100), read).await.is_err();
        String::from_utf8_lossy(&text).trim_end().to_owned()
    }

    fn broke(&self, source: hyper::Error) -> RequestError {
        RequestError::Http { url: self.url.clone(), source }
    }
}

/// Runs the connection until `work`, which waits for it, is done.
async fn drive<F: Future>(
    connection: &mut Option<Pin<Box<Connection<Wire, Body>>>>,
    work: F,
) -> F::Output {
    let mut work = pin!(work);
    poll_fn(|cx| {
        if let Some(running) = connection
            && running.as_mut().poll(cx).is_ready()
        {
            // `work` learns of it through its own channel.
            *connection = None;
        }
        match work.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// The value of the Host header for a URL.
fn host(url: &str) -> Option<HeaderValue> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next().filter(|a| !a.is_empty());
    HeaderValue::from_str(authority.unwrap_or("localhost")).ok()
}

/// Sends one request on a connection of its own and reads the whole answer.
pub async fn ask(
    dial: &dyn Dial,
    url: &str,
    request: Request<Bytes>,
    timeout: Duration,
) -> Result<Response<Bytes>, RequestError> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map(|p| p.as_str().to_owned()).unwrap_or_default();
    let uri: Result<Uri, _> = path.parse();
    head.uri = uri.map_err(|_| RequestError::Url(format!("{url}{path}")))?;
    let request = Request::from_parts(head, Body::whole(body));
    let asked = async {
        let mut link = Link::open(dial, url, Times { dial: timeout, write: timeout }).await?;
        let (head, mut body) = link.ask(request).await?.into_parts();
        let whole = link.whole(&mut body, limits::ANSWER_BYTES_MAX).await?;
        Ok(Response::from_parts(head, whole))
    };
    tokio::time::timeout(timeout, asked)
        .await
        .unwrap_or_else(|_| Err(RequestError::Timeout { url: url.to_owned() }))
}
