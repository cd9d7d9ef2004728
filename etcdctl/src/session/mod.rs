//! The connection of one command: who answers first is asked, and failures become etcd's texts.
//!
//! ```text
//! endpoints ──▶ client::Connection (dials in turn) ──▶ Grpc ──▶ answer | Failure
//! ```
//! Calls wait for a connection until their deadline, for ever without one. A call that fails
//! leaves one log line on standard error, as etcd's client does.

mod status;

use std::future::Future;
use std::time::Duration;

use client::{Client, Connection};
use prost::Message;
use proto::etcdserverpb as pb;
use tokio::time::Instant;
use tonic::client::Grpc;
use tonic::codec::Streaming;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::failure::{Failure, code};
use crate::output;
use crate::settings::Settings;

pub(crate) use status::failure;

/// Full name of an RPC, `/package.Service/Method`.
pub(crate) type Method = &'static str;

/// A client of the servers named in the settings.
pub(crate) struct Session {
    settings: Settings,
    /// The name the client logs under.
    logger: &'static str,
    connection: Connection,
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
            // Nothing is sent any more: who is told of a timeout does not expect it.
            Some(moment) if moment <= Instant::now() => None,
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
        let token = Some(settings.token.clone()).filter(|token| !token.is_empty());
        let session =
            Session { connection: connection(&settings, token)?, logger: "etcd-client", settings };
        match session.authenticate().await? {
            None => Ok(session),
            Some(token) => {
                Ok(Session { connection: connection(&session.settings, Some(token))?, ..session })
            }
        }
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

    /// The deadline of a connection that is begun now.
    fn dial_deadline(&self) -> Deadline {
        match self.settings.dial_timeout {
            Duration::ZERO => Deadline::NEVER,
            timeout => Deadline::after(timeout),
        }
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
            None => status::deadline(self.connection.dial_error()),
        };
        self.log_failure(method, &status);
        Err(failure(&status))
    }

    /// Waits for a connection for as long as `--dial-timeout` says.
    ///
    /// # Errors
    /// No endpoint could be reached.
    pub(crate) async fn connected(&self) -> Result<(), Failure> {
        let deadline = self.dial_deadline();
        let connected = deadline.bound(self.connection.connected()).await;
        connected.ok_or_else(|| failure(&status::unreachable(self.connection.dial_error())))
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
            let request = Request::new(request);
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
        let mut request = Request::new(requests);
        request.metadata_mut().insert("hasleader", AsciiMetadataValue::from_static("true"));
        let codec = ProstCodec::<Q, A>::default();
        Ok(grpc.streaming(request, path(method), codec).await?.into_inner())
    }

    /// Leaves the connection, so that the next call dials again.
    pub(crate) async fn disconnect(&self) {
        self.connection.move_on().await;
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
            let answer = grpc.unary(Request::new(request.clone()), path(method), codec).await;
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

    async fn ready(&self) -> Result<Grpc<Connection>, Status> {
        let mut grpc = Grpc::new(self.connection.clone())
            .max_decoding_message_size(self.settings.response_bytes_max);
        grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(grpc)
    }

    async fn authenticate(&self) -> Result<Option<String>, Failure> {
        let Some((name, Some(password))) = self.settings.user.clone() else { return Ok(None) };
        let request = pb::AuthenticateRequest { name, password };
        let deadline = self.dial_deadline();
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

    /// The line etcd's client logs when a call fails.
    fn log_failure(&self, method: Method, status: &Status) {
        let endpoint = self.settings.endpoints.first().map_or("", String::as_str);
        let target = format!("etcd-endpoints://{:#x}/{endpoint}", std::process::id());
        let peer = match self.connection.peer() {
            Some(client::Peer { remote, local, secure }) => {
                let auth = if secure { "tls" } else { "insecure" };
                format!("Peer{{Addr: '{remote}', LocalAddr: '{local}', AuthInfo: '{auth}'}}")
            }
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

/// Stands for no bound on connecting.
const CONNECT_UNBOUNDED: Duration = Duration::from_secs(24 * 60 * 60);

/// gRPC servers end connections that ping more often than this.
const KEEPALIVE_TIME_MIN: Duration = Duration::from_secs(10);

fn connection(settings: &Settings, token: Option<String>) -> Result<Connection, Failure> {
    let options = client::Options {
        connect_timeout: match settings.dial_timeout {
            Duration::ZERO => CONNECT_UNBOUNDED,
            timeout => timeout,
        },
        keepalive_interval: Some(settings.keepalive_time.max(KEEPALIVE_TIME_MIN)),
        keepalive_timeout: settings.keepalive_timeout,
        send_bytes_max: settings.request_bytes_max,
        receive_bytes_max: settings.response_bytes_max,
        token,
        tls: settings.tls.clone(),
    };
    let client = Client::new(&settings.endpoints, options)
        .map_err(|error| Failure::new(code::BAD_CONNECTION, error.to_string()))?;
    Ok(client.connection())
}

fn is_read(method: Method) -> bool {
    let reads = ["/Range", "/MemberList", "/Status", "/Hash", "/HashKV", "/LeaseLeases"];
    reads.iter().any(|name| method.ends_with(name))
}

fn path(method: Method) -> tonic::codegen::http::uri::PathAndQuery {
    tonic::codegen::http::uri::PathAndQuery::from_static(method)
}
