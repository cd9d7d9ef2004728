//! The HTTP/1 side: health, version, metrics and variables; host check and CORS around them.
//!
//! Handlers see the server through [`Facts`], so they can be tested without one.

mod answer;
mod health;
mod vars;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{HOST, LOCATION, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;

use answer::{Answer, html, method_not_allowed, not_found, text};

/// A boxed future.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What handlers ask of the server.
pub(crate) trait Facts: Send + Sync + 'static {
    /// Names of the raised alarms, each kind once: `NOSPACE`, `CORRUPT`, or any other text.
    fn alarms(&self) -> Vec<String>;
    /// Whether a leader is known.
    fn has_leader(&self) -> bool;
    /// Whether this member has no vote.
    fn is_learner(&self) -> bool;
    /// Reads a key, behind the read barrier unless `serializable`; the error is its text.
    fn read(&self, serializable: bool) -> BoxFuture<'_, Result<(), String>>;
    /// The cluster version, once there is one.
    fn cluster_version(&self) -> Option<String>;
    /// The storage version, if it is known.
    fn storage_version(&self) -> Option<String>;
    /// The page of metrics.
    fn metrics(&self) -> String;
    /// The page at `/members` of the peer port.
    fn members(&self) -> String;
    /// The raft variables as JSON.
    fn raft_status(&self) -> String;
    /// The cluster's id.
    fn cluster_id(&self) -> u64;
    /// Notes the outcome of a `/health` request.
    fn count_health(&self, success: bool);
    /// Notes the outcome of one check of `/livez` or `/readyz`.
    fn count_check(&self, group: &'static str, check: &'static str, success: bool);
}

/// Which endpoints a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Everything, behind host check and CORS.
    Client,
    /// Metrics and health.
    Metrics,
    /// Members and version.
    Peer,
}

/// Answers HTTP requests.
#[derive(Clone)]
pub(crate) struct Router(Arc<Inner>);

struct Inner {
    side: Side,
    facts: Arc<dyn Facts>,
    cors: Vec<String>,
    hosts: Vec<String>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("side", &self.0.side).finish_non_exhaustive()
    }
}

impl Router {
    /// A router without host check and CORS.
    pub(crate) fn new(side: Side, facts: Arc<dyn Facts>) -> Router {
        Router(Arc::new(Inner { side, facts, cors: Vec::new(), hosts: Vec::new() }))
    }

    /// The router of the client port; empty lists allow all.
    pub(crate) fn client(facts: Arc<dyn Facts>, cors: Vec<String>, hosts: Vec<String>) -> Router {
        Router(Arc::new(Inner { side: Side::Client, facts, cors, hosts }))
    }

    /// The same for connections with TLS, to which the host check does not apply: a page of
    /// another site cannot speak for us there.
    #[must_use]
    pub(crate) fn over_tls(&self) -> Router {
        if self.0.hosts.is_empty() {
            return self.clone();
        }
        let Inner { side, facts, cors, .. } = &*self.0;
        let (side, facts, cors) = (*side, facts.clone(), cors.clone());
        Router(Arc::new(Inner { side, facts, cors, hosts: Vec::new() }))
    }

    /// Answers one request; its body is not read.
    pub(crate) async fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let inner = &*self.0;
        match request.headers().get_all(HOST).iter().count() {
            0 if request.version() == Version::HTTP_11 => {
                return answer::bad_request(": missing required Host header");
            }
            0 | 1 => {}
            _ => return answer::bad_request(""),
        }
        let mut cors = None;
        if inner.side == Side::Client {
            if let Some(host) = inner.foreign_host(request.headers()) {
                tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
                return answer::foreign_host(&host).into();
            }
            cors = inner.allowed_origin(request.headers());
            if request.method() == Method::OPTIONS {
                let mut response = Response::new(Full::default());
                add_cors(response.headers_mut(), cors);
                return response;
            }
        }
        let mut response: Response<Full<Bytes>> = inner.route(request).await.into();
        add_cors(response.headers_mut(), cors);
        response
    }
}

impl hyper::service::Service<Request<Incoming>> for Router {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let router = self.clone();
        Box::pin(async move { Ok(router.answer(&request).await) })
    }
}

fn add_cors(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    let Some(origin) = origin else { return };
    headers.insert("access-control-allow-origin", origin);
    headers.insert(
        "access-control-allow-methods",
        HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"),
    );
    headers.insert(
        "access-control-allow-headers",
        HeaderValue::from_static("accept, content-type, authorization"),
    );
}

impl Inner {
    /// The host of the request, if the whitelist lacks it.
    fn foreign_host(&self, headers: &HeaderMap) -> Option<String> {
        if self.hosts.is_empty() {
            return None;
        }
        let host = headers.get(HOST).map(|h| String::from_utf8_lossy(h.as_bytes()).into_owned());
        let host = host.unwrap_or_default();
        let bare = split_port(&host).to_owned();
        (!self.hosts.contains(&bare)).then_some(bare)
    }

    /// The value of `Access-Control-Allow-Origin`, if the request may have one.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.cors.is_empty() {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = headers.get(ORIGIN)?;
        self.cors.iter().any(|o| o.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }

    async fn route<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if let Some(clean) = cleaned(path) {
            let body =
                format!("<a href=\"{}\">Temporary Redirect</a>.\n\n", answer::escape(&clean));
            let mut answer = html(StatusCode::TEMPORARY_REDIRECT, body);
            if let Ok(location) = HeaderValue::from_str(&clean) {
                answer.headers.push((LOCATION, location));
            }
            return answer;
        }
        match self.side {
            Side::Peer => self.route_peer(request, path),
            Side::Client | Side::Metrics => self.route_client(request, path).await,
        }
    }

    async fn route_client<B>(&self, request: &Request<B>, path: &str) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        let get = request.method() == Method::GET;
        let only_client = self.side == Side::Client;
        match path {
            "/metrics" => answer::plain(answer::METRICS_TYPE, self.facts.metrics())
                .compressed_for(request.headers()),
            "/health" if get => health::health(&*self.facts, query).await,
            "/version" if only_client && get => self.version(),
            "/debug/vars" if only_client && get => vars::page(&*self.facts),
            "/health" => method_not_allowed(),
            "/version" | "/debug/vars" if only_client => method_not_allowed(),
            _ => match health::Probe::find(path) {
                Some(probe) if get => probe.run(&*self.facts, query).await,
                Some(_) => {
                    tracing::warn!(path, "Health request error");
                    method_not_allowed()
                }
                None => not_found(),
            },
        }
    }

    fn route_peer<B>(&self, request: &Request<B>, path: &str) -> Answer {
        let get = request.method() == Method::GET;
        let mut answer = match path {
            "/version" if get => return self.version(),
            "/members" if get => answer::plain("application/json", self.facts.members()),
            "/raft/probing" if get => {
                let now = crate::logging::Timestamp(std::time::SystemTime::now());
                let body = format!("{{\"OK\":true,\"Now\":\"{now}\"}}\n");
                return text(StatusCode::OK, body);
            }
            "/version" | "/members" | "/raft/probing" => return method_not_allowed(),
            _ => return not_found(),
        };
        let id = format!("{:x}", self.facts.cluster_id());
        if let Ok(id) = HeaderValue::from_str(&id) {
            answer.headers.push((http::HeaderName::from_static("x-etcd-cluster-id"), id));
        }
        answer
    }

    fn version(&self) -> Answer {
        let cluster = self.facts.cluster_version();
        let storage = self.facts.storage_version();
        let body = format!(
            "{{\"etcdserver\":\"{}\",\"etcdcluster\":\"{}\",\"storage\":\"{}\"}}",
            base::version::SERVER,
            cluster.as_deref().unwrap_or("not_decided"),
            storage.as_deref().unwrap_or("unknown"),
        );
        answer::plain("application/json", body)
    }
}

/// The host without its port, or all of it when it does not split.
fn split_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
            match bare {
                Some(bare) => bare,
                None if name.contains(':') => host,
                None => name,
            }
        }
        Some(_) | None => host,
    }
}

/// The clean form of a path with empty, `.` or `..` elements; `None` if it is clean.
fn cleaned(path: &str) -> Option<String> {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let mut clean = format!("/{}", parts.join("/"));
    if path.ends_with('/') && clean != "/" {
        clean.push('/');
    }
    (clean != path).then_some(clean)
}

#[cfg(test)]
mod tests;
