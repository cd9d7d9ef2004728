//! Headers between members, and the checks on them.

use std::borrow::Cow;
use std::str::FromStr;

use base::version::Version;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::{Body, Local};

pub(crate) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(crate) const MIN_CLUSTER_VERSION: HeaderName = HeaderName::from_static("x-min-cluster-version");
pub(crate) const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");
pub(crate) const RAFT_TO: HeaderName = HeaderName::from_static("x-raft-to");
pub(crate) const SERVER_FROM: HeaderName = HeaderName::from_static("x-server-from");
pub(crate) const SERVER_VERSION: HeaderName = HeaderName::from_static("x-server-version");

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// What a request without the header is taken for; too old to talk to.
const VERSION_MISSING: Version = Version::new(2, 0, 0);

/// Ids and versions in the forms they have in headers.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) cluster_id: HeaderValue,
    member_id: HeaderValue,
    version_text: HeaderValue,
    peer_urls: HeaderValue,
    version: Version,
    version_min: Version,
}

impl Identity {
    pub(crate) fn new(local: &Local, server_version: &str) -> Identity {
        let value = |text: &str| {
            HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
        };
        Identity {
            cluster_id: value(&format!("{:x}", local.cluster_id)),
            member_id: value(&format!("{:x}", local.member_id)),
            version_text: value(server_version),
            peer_urls: value(&local.peer_urls.join(",")),
            version: server_version.parse().unwrap_or(VERSION_MISSING),
            version_min: base::version::CLUSTER_MIN.parse().unwrap_or(VERSION_MISSING),
        }
    }

    /// Adds what every raft request says of its sender.
    pub(crate) fn sign(&self, headers: &mut HeaderMap) {
        headers.insert(CLUSTER_ID, self.cluster_id.clone());
        let min = HeaderValue::from_static(base::version::CLUSTER_MIN);
        headers.insert(MIN_CLUSTER_VERSION, min);
        headers.insert(PEER_URLS, self.peer_urls.clone());
        headers.insert(SERVER_FROM, self.member_id.clone());
        headers.insert(SERVER_VERSION, self.version_text.clone());
    }

    /// Adds what every answer says, and on streams also the version.
    pub(crate) fn stamp(&self, response: &mut Response<Body>, on_stream: bool) {
        response.headers_mut().insert(CLUSTER_ID, self.cluster_id.clone());
        if on_stream {
            response.headers_mut().insert(SERVER_VERSION, self.version_text.clone());
        }
    }

    /// Whether an answer names this cluster. What would end this member for good is believed
    /// of nobody else: a proxy or a stranger at a peer's address must not stop it.
    pub(crate) fn is_of_cluster(&self, headers: &HeaderMap) -> bool {
        headers.get(CLUSTER_ID) == Some(&self.cluster_id)
    }

    /// Checks versions and cluster of a request, in this order.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let version = |name: &HeaderName| match headers.get(name) {
            None => Ok(VERSION_MISSING),
            Some(value) => {
                let malformed = || format!("malformed {name} header");
                parse(value).ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, malformed()))
            }
        };
        let server = version(&SERVER_VERSION)?.to_minor();
        let min_cluster = version(&MIN_CLUSTER_VERSION)?.to_minor();
        if server < self.version_min || min_cluster > self.version.to_minor() {
            tracing::debug!(%server, %min_cluster, "refused a request: incompatible version");
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "incompatible version"));
        }
        if !self.is_of_cluster(headers) {
            tracing::debug!(cluster = ?headers.get(CLUSTER_ID), "refused a request: other cluster");
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch"));
        }
        Ok(())
    }
}

/// The text of a header that is one.
fn parse<T: FromStr>(value: &HeaderValue) -> Option<T> {
    value.to_str().ok()?.parse().ok()
}

/// An id as paths and headers carry it: hexadecimal digits only.
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(text, 16).ok().filter(|_| digits)
}

/// The id in a header.
pub(crate) fn id(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    parse_id(headers.get(name)?.to_str().ok()?)
}

/// The URLs a sender can be answered at, if it names good ones.
pub(crate) fn peer_urls(headers: &HeaderMap) -> Option<Vec<String>> {
    let text = headers.get(PEER_URLS)?.to_str().ok()?;
    let urls: Vec<&str> = text.split(',').collect();
    base::urls::normalize(&urls).ok()
}

/// An error as Go's handlers write it.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: Cow<'static, str>,
    breaks: bool,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Refusal {
        Refusal { status, text: text.into(), breaks: false }
    }

    /// One whose text is a chunk of its own, after which the connection breaks.
    pub(crate) fn breaking(status: StatusCode, text: &'static str) -> Refusal {
        Refusal { status, text: text.into(), breaks: true }
    }
}

impl From<Refusal> for Response<Body> {
    fn from(refusal: Refusal) -> Response<Body> {
        let line = format!("{}\n", refusal.text);
        let body = if refusal.breaks { Body::broken(line) } else { Body::whole(line) };
        let mut response = Response::new(body);
        *response.status_mut() = refusal.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, TEXT);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// 405; `allowed` is the one method there is.
pub(crate) fn method_not_allowed(allowed: &Method) -> Response<Body> {
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let mut response: Response<Body> = refusal.into();
    if let Ok(allowed) = HeaderValue::from_str(allowed.as_str()) {
        response.headers_mut().insert(ALLOW, allowed);
    }
    response
}

/// 200 with plain text.
pub(crate) fn text(body: String) -> Response<Body> {
    let mut response = Response::new(Body::whole(body));
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
    response
}

/// 204.
pub(crate) fn no_content() -> Response<Body> {
    let mut response = Response::new(Body::whole(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
