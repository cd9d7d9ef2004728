//! One link at a time to one of several endpoints.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use crate::Error;
use crate::connector::{Connector, Peer, SharedNotes, Target};

/// Pause after all endpoints were tried in vain.
const ROUND_PAUSE: Duration = Duration::from_millis(100);

/// How long a server may take for its first word where dialling has no bound.
const FIRST_WORD_TIMEOUT: Duration = Duration::from_secs(20);

/// There is no link; the notes say why.
#[derive(Debug)]
struct NotReached;

/// Whether dialling took too long.
fn is_timeout(error: &tonic::transport::Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::TimedOut) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A connection that dials when there is something to send, and moves on when the link breaks.
#[derive(Debug, Clone)]
pub struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoints: Vec<(Target, Endpoint)>,
    /// How the latest dialling went.
    notes: SharedNotes,
    token: Option<HeaderValue>,
    /// Held across dialling, so that waiting calls share one attempt.
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    /// Tells a broken link from the one that replaced it.
    generation: u64,
    /// The endpoint in use, or the next to dial.
    at: usize,
    channel: Option<Channel>,
}

impl Connection {
    pub(crate) fn new(
        endpoints: Vec<(Target, Endpoint)>,
        token: Option<&str>,
    ) -> Result<Self, Error> {
        if endpoints.is_empty() {
            return Err(Error::NoEndpoints);
        }
        let token = match token {
            Some(token) => Some(HeaderValue::try_from(token).map_err(|_| Error::Token)?),
            None => None,
        };
        let (notes, link) = (SharedNotes::default(), Mutex::default());
        Ok(Self(Arc::new(Shared { endpoints, notes, token, link })))
    }

    /// The link in use, dialled if there is none; goes round the endpoints until one answers.
    pub(crate) async fn channel(&self) -> (u64, Channel) {
        let mut link = self.0.link.lock().await;
        if let Some(channel) = &link.channel {
            return (link.generation, channel.clone());
        }
        let count = self.0.endpoints.len();
        loop {
            for _ in 0..count {
                match self.dial(link.at).await {
                    Ok(channel) => {
                        link.generation += 1;
                        link.channel = Some(channel.clone());
                        return (link.generation, channel);
                    }
                    Err(NotReached) => link.at = (link.at + 1) % count,
                }
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    /// Dials until an endpoint answers.
    ///
    /// Cancel safe: dropping the future stops the dialling.
    pub async fn connected(&self) {
        self.channel().await;
    }

    /// Makes a link on which the server has spoken.
    async fn dial(&self, at: usize) -> Result<Channel, NotReached> {
        let (target, endpoint) = &self.0.endpoints[at];
        let notes = &self.0.notes;
        let (connector, heard) = Connector::new(target.clone(), notes.clone());
        let channel = match endpoint.connect_with_connector(connector).await {
            Ok(channel) => channel,
            Err(error) => {
                // Given up from outside, so the connector could not say why.
                if is_timeout(&error) {
                    let place = &target.place;
                    notes
                        .fail(format!("transport: Error while dialing: dial {place}: i/o timeout"));
                }
                return Err(NotReached);
            }
        };
        let wait = endpoint.get_connect_timeout().unwrap_or(FIRST_WORD_TIMEOUT);
        let told = match tokio::time::timeout(wait, heard).await {
            Ok(Ok(Ok(()))) => {
                notes.succeed();
                return Ok(channel);
            }
            Ok(Ok(Err(why))) => why,
            Ok(Err(_)) => "EOF".to_owned(),
            Err(_) => "i/o timeout".to_owned(),
        };
        notes.fail(format!("error reading server preface: {told}"));
        Err(NotReached)
    }

    /// The two ends of the link in use, if there is one.
    pub fn peer(&self) -> Option<Peer> {
        self.0.notes.peer()
    }

    /// Why the endpoint dialled last could not be reached, as gRPC tells it: `transport: Error
    /// while dialing: …`, `transport: authentication handshake failed: …`, `error reading server
    /// preface: …`.
    pub fn dial_error(&self) -> Option<String> {
        self.0.notes.error()
    }

    /// Leaves the endpoint in use: the next call dials the one after it. Calls under way on the
    /// old link go on.
    pub async fn move_on(&self) {
        let generation = self.0.link.lock().await.generation;
        self.broken(generation).await;
    }

    /// Forgets the link of this generation, so that the next call dials another endpoint.
    async fn broken(&self, generation: u64) {
        let mut link = self.0.link.lock().await;
        if link.generation == generation && link.channel.take().is_some() {
            link.at = (link.at + 1) % self.0.endpoints.len();
        }
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let connection = self.clone();
        Box::pin(async move {
            let headers = request.headers_mut();
            let api = HeaderValue::from_static(base::version::API);
            headers.insert("client-api-version", api);
            if let Some(token) = &connection.0.token {
                headers.insert("token", token.clone());
            }
            let (generation, mut channel) = connection.channel().await;
            let answer = match std::future::poll_fn(|cx| channel.poll_ready(cx)).await {
                Ok(()) => channel.call(request).await,
                Err(error) => Err(error),
            };
            if answer.is_err() {
                connection.broken(generation).await;
            }
            Ok(answer?)
        })
    }
}
