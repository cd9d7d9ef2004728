//! The connection of one command: who answers first is asked, and failures become etcd's texts.
//!
//! ```text
//! endpoints ──dial all──▶ first to answer ──▶ Grpc<Channel> ──▶ answer | Failure
//! ```
//! Calls wait for a connection until their deadline, for ever without one. A call that fails
//! leaves one log line on standard error, as etcd's client does.

mod connect;
mod endpoint;
mod status;

use std::future::Future;
use std::time::Duration;

use prost::Message;
use proto::etcdserverpb as pb;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::failure::{Failure, code};
use crate::output;
use crate::settings::Settings;

pub(crate) use connect::Connection;
use connect::dial_any;
pub(crate) use status::failure;

/// Full name of an RPC, `/package.Service/Method`.
pub(crate) type Method = &'static str;

/// A client of the servers named in the settings.
pub(crate) struct Session {
    settings: Settings,
    token: Option<AsciiMetadataValue>,
    /// The name the client logs under.
    logger: &'static str,
    connection: tokio::sync::Mutex<Option<Connection>>,
}

/// When a call must have ended.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// No bound.
    pub(crate) const NEVER: Deadline = Deadline(None);

    /// `timeout` from now.
    pub(crate) fn after(timeout: Duration) -> Self {
        Deadline(Instant::now().checked_add(timeout))
    }

    async fn bound<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self.0 {
            Some(moment) => tokio::time::timeout_at(moment, work).await.ok(),
            None => Some(work.await),
        }
    }
}

impl Session {
    /// A client; it connects at the first call, or now when it must log in.
    ///
    /// # Errors
    /// No endpoint at all, one that cannot be read, or a login that failed.
    pub(crate) async fn open(settings: Settings) -> Result<Self, Failure> {
        if settings.endpoints.iter().all(String::is_empty) {
            let text = "etcdclient: no available endpoints";
            return Err(Failure::new(code::BAD_CONNECTION, text));
        }
        for endpoint in &settings.endpoints {
            endpoint::parse(endpoint).map_err(|text| Failure::new(code::BAD_CONNECTION, text))?;
        }
        let mut session = Session {
            token: None,
            logger: "etcd-client",
            connection: tokio::sync::Mutex::new(None),
            settings,
        };
        session.log_in().await?;
        Ok(session)
    }

    /// The same, logging under another name.
    pub(crate) fn logging_as(mut self, logger: &'static str) -> Self {
        self.logger = logger;
        self
    }

    /// The settings it was opened with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The deadline of a command that starts now.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::after(self.settings.command_timeout)
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// What the server answered, or that it did not in time.
    pub(crate) async fn unary<Q, A>(
        &self,
        method: Method,
        deadline: Deadline,
        request: Q,
    ) -> Result<A, Failure>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let answer = deadline.bound(self.attempts(method, &request)).await;
        let status = match answer {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(status)) => status,
            None => self.deadline_status().await,
        };
        self.log_failure(method, &status).await;
        Err(failure(&status))
    }

    /// One request, a stream of answers.
    ///
    /// # Errors
    /// The stream could not be opened.
    pub(crate) async fn server_stream<Q, A>(
        &self,
        method: Method,
        deadline: Deadline,
        request: Q,
    ) -> Result<Streaming<A>, Failure>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let open = async {
            let mut grpc = self.ready().await?;
            let request = self.request(request);
            grpc.server_streaming(request, path(method), ProstCodec::<Q, A>::default()).await
        };
        match deadline.bound(open).await {
            Some(Ok(response)) => Ok(response.into_inner()),
            Some(Err(status)) => Err(failure(&status)),
            None => Err(failure(&status::deadline(None))),
        }
    }

    /// The next piece of a stream, within `deadline`.
    ///
    /// # Errors
    /// The stream broke or the piece did not come in time.
    pub(crate) async fn next<A>(
        &self,
        stream: &mut Streaming<A>,
        deadline: Deadline,
    ) -> Result<Option<A>, Failure> {
        match deadline.bound(stream.message()).await {
            Some(Ok(piece)) => Ok(piece),
            Some(Err(status)) => Err(failure(&status)),
            None => Err(failure(&status::deadline(None))),
        }
    }

    /// A stream in both directions; it carries `hasleader`, so that a server without a leader
    /// ends it.
    ///
    /// # Errors
    /// The stream could not be opened.
    pub(crate) async fn stream<Q, A>(
        &self,
        method: Method,
        requests: tokio_stream::wrappers::ReceiverStream<Q>,
    ) -> Result<Streaming<A>, Status>
    where
        Q: Message + Default + 'static,
        A: Message + Default + 'static,
    {
        let mut grpc = self.ready().await?;
        let mut request = self.request(requests);
        request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.streaming(request, path(method), codec).await?.into_inner())
    }

    /// Forgets the connection, so that the next call dials again.
    pub(crate) async fn disconnect(&self) {
        *self.connection.lock().await = None;
    }

    async fn attempts<Q, A>(&self, method: Method, request: &Q) -> Result<A, Status>
    where
        Q: Message + Clone + Default + 'static,
        A: Message + Default + 'static,
    {
        let size = request.encoded_len();
        if size > self.settings.request_bytes_max {
            let limit = self.settings.request_bytes_max;
            return Err(status::sent_too_large(size, limit));
        }
        let mut attempt = 0;
        loop {
            let mut grpc = self.ready().await?;
            let codec = ProstCodec::<Q, A>::default();
            let answer = grpc.unary(self.request(request.clone()), path(method), codec).await;
            match answer {
                Ok(answer) => return Ok(answer.into_inner()),
                // Another server may answer a read; a write may have happened.
                Err(status) if status.code() == Code::Unavailable && is_read(method) => {
                    attempt += 1;
                    if attempt > READ_ATTEMPTS_MAX {
                        return Err(status);
                    }
                    self.disconnect().await;
                    tokio::time::sleep(READ_RETRY_PAUSE).await;
                }
                Err(status) => return Err(status::as_go(status)),
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("token", token.clone());
        }
        request
    }

    /// A client ready to send, connecting first where needed.
    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut slot = self.connection.lock().await;
        let connection = match &*slot {
            Some(connection) => connection.clone(),
            None => slot.insert(dial_any(&self.settings).await).clone(),
        };
        drop(slot);
        let mut grpc = Grpc::new(connection.channel)
            .max_decoding_message_size(self.settings.response_bytes_max);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }

    async fn log_in(&mut self) -> Result<(), Failure> {
        let fixed = self.settings.token.clone();
        let token = if fixed.is_empty() { self.authenticate().await? } else { Some(fixed) };
        self.token = match token {
            None => None,
            Some(token) => Some(token.parse().map_err(|_| {
                Failure::new(code::BAD_CONNECTION, "the token holds characters no header may")
            })?),
        };
        Ok(())
    }

    async fn authenticate(&self) -> Result<Option<String>, Failure> {
        let Some((name, Some(password))) = self.settings.user.clone() else { return Ok(None) };
        let request = pb::AuthenticateRequest { name, password };
        let deadline = Deadline::after(self.settings.dial_timeout);
        let call = self.attempts("/etcdserverpb.Auth/Authenticate", &request);
        let answer: Result<pb::AuthenticateResponse, Status> = match deadline.bound(call).await {
            Some(answer) => answer,
            None => Err(status::deadline(None)),
        };
        match answer {
            Ok(answer) => Ok(Some(answer.token)),
            Err(status) if status.message() == AUTH_NOT_ENABLED => Ok(None),
            Err(status) => Err(failure(&status).with_code(code::BAD_CONNECTION)),
        }
    }

    async fn deadline_status(&self) -> Status {
        let refused = match &*self.connection.lock().await {
            Some(_) => None,
            None => connect::last_error(&self.settings).await,
        };
        status::deadline(refused)
    }

    /// The line etcd's client logs when a call fails.
    async fn log_failure(&self, method: Method, status: &Status) {
        let endpoint = self.settings.endpoints.first().map_or("", String::as_str);
        let target = format!("etcd-endpoints://{:#x}/{endpoint}", std::process::id());
        let peer = match &*self.connection.lock().await {
            Some(connection) => connection.peer(),
            None => "Peer{Addr: <nil>, LocalAddr: <nil>, AuthInfo: <nil>}".to_owned(),
        };
        let fields = [
            ("logger", self.logger),
            ("target", target.as_str()),
            ("peer", peer.as_str()),
            ("method", method),
            ("attempt", "0"),
            ("error", &status::go_text(status)),
        ];
        let message = "retrying of unary invoker failed";
        output::log("warn", "v3/retry_interceptor.go:68", message, &fields);
    }
}

const AUTH_NOT_ENABLED: &str = "etcdserver: authentication is not enabled";
/// How often a read is tried again on another connection.
const READ_ATTEMPTS_MAX: u32 = 100;
const READ_RETRY_PAUSE: Duration = Duration::from_millis(25);

fn is_read(method: Method) -> bool {
    let reads = ["/Range", "/MemberList", "/Status", "/Hash", "/HashKV", "/LeaseLeases"];
    reads.iter().any(|name| method.ends_with(name))
}

fn path(method: Method) -> tonic::codegen::http::uri::PathAndQuery {
    tonic::codegen::http::uri::PathAndQuery::from_static(method)
}
