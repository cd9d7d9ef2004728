//! The outermost layer: finds the service of a call, refuses what no service should see, counts,
//! and ends calls at their deadline.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use proto::server::cluster_server::ClusterServer;
use proto::server::health_server::HealthServer;
use proto::server::kv_server::KvServer;
use proto::server::lease_server::LeaseServer;
use proto::server::maintenance_server::MaintenanceServer;
use proto::server::watch_server::WatchServer;
use tokio::time::Sleep;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Status};
use tower_service::Service as _;

use super::Settings;
use super::body::Answer;
use super::cluster::Cluster;
use super::errors::{RpcError, not_served};
use super::health::Health;
use super::kv::Kv;
use super::lease::Leases;
use super::maintenance::Maintenance;
use super::node::Node;
use super::range_call;
use super::routes::{Route, Routes, Service};
use super::transport::{self, Packing};
use super::watch::Watches;
use crate::metrics::{Metrics, Shape};

/// The gRPC side of the client port; cheap to clone.
pub(crate) struct Grpc<N>(Arc<Inner<N>>);

struct Inner<N> {
    node: Arc<N>,
    settings: Settings,
    metrics: Arc<Metrics>,
    routes: Routes,
    /// Where most calls and the largest answers go.
    range: Route,
    kv: Arc<Kv<N>>,
    plain: Servers<N>,
    gzip: Servers<N>,
}

impl<N> Clone for Grpc<N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<N> std::fmt::Debug for Grpc<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grpc").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// The generated servers around our services.
struct Servers<N> {
    kv: KvServer<Kv<N>>,
    watch: WatchServer<Watches<N>>,
    lease: LeaseServer<Leases<N>>,
    cluster: ClusterServer<Cluster<N>>,
    maintenance: MaintenanceServer<Maintenance<N>>,
    health: HealthServer<Health>,
}

/// Applies the limits and, for `gzip`, the compression to a generated server.
macro_rules! server {
    ($server:ident, $service:expr, $settings:expr, $gzip:expr) => {{
        let server = $server::from_arc($service)
            .max_decoding_message_size($settings.message_bytes_max())
            .max_encoding_message_size(i32::MAX as usize);
        match $gzip {
            Packing::Plain => server,
            Packing::Gzip => server
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip),
        }
    }};
}

/// The services themselves, shared by plain and compressed calls.
struct Services<N> {
    kv: Arc<Kv<N>>,
    watch: Arc<Watches<N>>,
    lease: Arc<Leases<N>>,
    cluster: Arc<Cluster<N>>,
    maintenance: Arc<Maintenance<N>>,
    health: Arc<Health>,
}

impl<N: Node> Services<N> {
    fn servers(&self, settings: &Settings, packing: Packing) -> Servers<N> {
        Servers {
            kv: server!(KvServer, self.kv.clone(), settings, packing),
            watch: server!(WatchServer, self.watch.clone(), settings, packing),
            lease: server!(LeaseServer, self.lease.clone(), settings, packing),
            cluster: server!(ClusterServer, self.cluster.clone(), settings, packing),
            maintenance: server!(MaintenanceServer, self.maintenance.clone(), settings, packing),
            health: server!(HealthServer, self.health.clone(), settings, packing),
        }
    }
}

type Handled =
    Pin<Box<dyn Future<Output = Result<Response<tonic::body::Body>, Infallible>> + Send>>;

impl<N: Node> Servers<N> {
    /// Hands the call to its server; `None` if this version has none for it.
    fn call<B>(&self, service: Service, request: Request<B>) -> Option<Handled>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        Some(match service {
            Service::Kv => self.kv.clone().call(request),
            Service::Watch => self.watch.clone().call(request),
            Service::Lease => self.lease.clone().call(request),
            Service::Cluster => self.cluster.clone().call(request),
            Service::Maintenance => self.maintenance.clone().call(request),
            Service::Health => self.health.clone().call(request),
            Service::Auth | Service::Lock | Service::Election => return None,
        })
    }
}

impl<N: Node> Grpc<N> {
    /// All services of one member.
    pub(crate) fn new(node: Arc<N>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let services = Services {
            kv: Arc::new(Kv::new(node.clone(), settings, metrics.clone())),
            watch: Arc::new(Watches::new(node.clone(), settings, metrics.clone())),
            lease: Arc::new(Leases::new(node.clone(), settings, metrics.clone())),
            cluster: Arc::new(Cluster { node: node.clone() }),
            maintenance: Arc::new(Maintenance { node: node.clone() }),
            health: Arc::new(Health::new(node.closing())),
        };
        let routes = Routes::new(&metrics.grpc);
        let range = routes.find("/etcdserverpb.KV/Range");
        Self(Arc::new(Inner {
            range: range.expect("the method is counted"),
            kv: services.kv.clone(),
            routes,
            plain: services.servers(&settings, Packing::Plain),
            gzip: services.servers(&settings, Packing::Gzip),
            node,
            settings,
            metrics,
        }))
    }

    /// What must hold before a service sees the call, in etcd's order: learners, the client's
    /// version, a leader. Tells how the messages are packed.
    fn admit(&self, route: Route, headers: &HeaderMap) -> Result<Packing, Status> {
        let packing = transport::packing(headers)?;
        let method = &self.0.metrics.grpc.all()[route.method];
        if self.0.node.is_learner() && !is_served_by_learners(method.service, method.name) {
            return Err(RpcError::NotSupportedForLearner.into());
        }
        let version = match headers.get("client-api-version").map(HeaderValue::as_bytes) {
            None => None,
            Some(bytes) => {
                Some(std::str::from_utf8(bytes).map_err(|_| RpcError::InvalidClientAPIVersion)?)
            }
        };
        self.0.metrics.client_requests.count(version, method.shape != Shape::Unary);
        if wants_leader(headers) && self.0.node.leader() == 0 {
            return Err(RpcError::NoLeader.into());
        }
        Ok(packing)
    }

    /// Takes one call.
    pub(crate) fn answer<B>(&self, mut request: Request<B>) -> Pending
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        if let Some(refusal) = not_grpc(&request) {
            return Pending::done(refusal);
        }
        let route = match self.0.routes.find(request.uri().path()) {
            Ok(route) => route,
            Err(lost) => return Pending::refused(&transport::lost(request.uri().path(), &lost)),
        };
        let metrics = &self.0.metrics;
        let method = &metrics.grpc.all()[route.method];
        method.started.inc();
        let timeout = transport::timeout(request.headers());
        let handled = self.admit(route, request.headers()).and_then(|packing| {
            let servers = match packing {
                Packing::Plain => &self.0.plain,
                Packing::Gzip => {
                    let gzip = HeaderValue::from_static("gzip");
                    request.headers_mut().insert("grpc-accept-encoding", gzip);
                    &self.0.gzip
                }
            };
            if packing == Packing::Plain && route == self.0.range {
                return Ok(Box::pin(range_call::call(self.0.kv.clone(), request)) as Handled);
            }
            let handled = servers.call(route.service, request);
            handled.ok_or_else(|| not_served(method.service, method.name))
        });
        let handled = match handled {
            Ok(handled) => handled,
            Err(status) => {
                method.handled(status.code(), metrics.is_extensive().then_some(Duration::ZERO));
                return Pending::refused(&status);
            }
        };
        Pending {
            state: State::Running(handled),
            call: Some(Call {
                metrics: metrics.clone(),
                method: route.method,
                began: Instant::now(),
                slow: self.0.settings.slow_request,
                message_bytes_max: self.0.settings.message_bytes_max(),
            }),
            timeout,
            deadline: None,
        }
    }
}

/// Methods a learner serves; a range only if it is serializable, which its handler checks.
fn is_served_by_learners(service: &str, method: &str) -> bool {
    matches!(
        (service, method),
        ("etcdserverpb.KV", "Range") | ("etcdserverpb.Maintenance", "Status" | "Snapshot")
    )
}

/// Whether the metadata asks for a leader; the first value counts.
pub(super) fn wants_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}

/// The answer to what is HTTP/2 but not gRPC.
fn not_grpc<B>(request: &Request<B>) -> Option<Response<Answer>> {
    let kind = request.headers().get(http::header::CONTENT_TYPE);
    let kind = kind.map(http::HeaderValue::as_bytes).unwrap_or_default();
    let is_grpc = kind.starts_with(b"application/grpc");
    if is_grpc && request.method() == http::Method::POST {
        return None;
    }
    let mut response = Response::new(Answer::unary(tonic::body::Body::empty()));
    if is_grpc {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        return Some(response);
    }
    let kind = base::text::quote(kind);
    let status = Status::invalid_argument(format!("invalid gRPC request content-type {kind}"));
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let grpc = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(http::header::CONTENT_TYPE, grpc);
    // Cannot fail: the text holds no metadata.
    status.add_header(response.headers_mut()).ok();
    Some(response)
}

/// What is needed when a call's answer is there.
struct Call {
    metrics: Arc<Metrics>,
    method: usize,
    began: Instant,
    slow: Duration,
    message_bytes_max: usize,
}

/// An answer under way.
pub(crate) struct Pending {
    state: State,
    /// Taken when the answer is there.
    call: Option<Call>,
    timeout: Option<Duration>,
    /// Set when the answer did not come at once.
    deadline: Option<Pin<Box<Sleep>>>,
}

enum State {
    Running(Handled),
    Done(Option<Response<Answer>>),
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Pending {
    fn done(response: Response<Answer>) -> Self {
        let state = State::Done(Some(response));
        Self { state, call: None, timeout: None, deadline: None }
    }

    fn refused(status: &Status) -> Self {
        Self::done(status.clone().into_http::<tonic::body::Body>().map(Answer::unary))
    }

    /// The deadline of the call, counted from its begin.
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Some(timeout), Some(call)) = (self.timeout, &self.call) else { return Poll::Pending };
        let deadline = self.deadline.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until((call.began + timeout).into()))
        });
        deadline.as_mut().poll(cx)
    }
}

impl Future for Pending {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let handled = match &mut this.state {
            State::Running(handled) => handled.as_mut().poll(cx),
            State::Done(response) => {
                return Poll::Ready(Ok(response.take().expect("polled once after it was ready")));
            }
        };
        let response = match handled {
            Poll::Ready(Ok(response)) => response,
            Poll::Pending => match this.poll_deadline(cx) {
                Poll::Ready(()) => Status::from(RpcError::ContextDeadline).into_http(),
                Poll::Pending => return Poll::Pending,
            },
        };
        let call = this.call.take().expect("a call has one answer");
        let deadline = this.deadline.take().or_else(|| {
            let timeout = this.timeout?;
            Some(Box::pin(tokio::time::sleep_until((call.began + timeout).into())))
        });
        Poll::Ready(Ok(call.finish(response, deadline)))
    }
}

impl Call {
    fn finish(
        self,
        mut response: Response<tonic::body::Body>,
        deadline: Option<Pin<Box<Sleep>>>,
    ) -> Response<Answer> {
        let method = &self.metrics.grpc.all()[self.method];
        let mut code = Code::Ok;
        if let Some(status) = response.extensions().get::<Status>() {
            code = status.code();
            if let Some(status) = transport::reword(status, self.message_bytes_max) {
                code = status.code();
                response = status.into_http();
            }
        } else if method.shape != Shape::Unary {
            let Self { metrics, method, began, .. } = self;
            return response.map(|body| Answer::stream(body, metrics, method, began, deadline));
        }
        let took = self.began.elapsed();
        method.received.inc();
        if code == Code::Ok {
            method.sent.inc();
        }
        method.handled(code, self.metrics.is_extensive().then_some(took));
        if took > self.slow && !self.slow.is_zero() {
            tracing::warn!(
                "time spent" =
                    base::text::format_duration(i64::try_from(took.as_nanos()).unwrap_or(i64::MAX)),
                "response type" = format!("/{}/{}", method.service, method.name),
                "request stats"
            );
        }
        response.map(Answer::unary)
    }
}

impl<N, B> hyper::service::Service<Request<B>> for Grpc<N>
where
    N: Node,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pending;

    fn call(&self, request: Request<B>) -> Pending {
        self.answer(request)
    }
}
