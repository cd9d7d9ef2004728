//! The peer port: raft's paths go to the transport, questions of other members are answered
//! here, and the rest is what every port tells.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveResponse, ResponseHeader,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use rafthttp::{BoxFuture, Transport};
use serde::Deserialize;

use crate::http::Router;
use crate::lease_keeper::Renewal;
use crate::rpc::RpcError;
use crate::rpc::node::Reads as _;
use crate::state::Shared;

/// Bytes of a request to one of the endpoints here (etcd 3.7: 64 KiB for leases).
const BODY_BYTES_MAX: usize = 64 << 10;

/// The body of an answer.
type Body = UnsyncBoxBody<Bytes, rafthttp::BodyError>;

/// Answers on the peer port.
#[derive(Clone)]
pub(crate) struct PeerService {
    transport: Transport,
    router: Router,
    shared: Arc<Shared>,
}

/// `/members/hashkv`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HashQuestion {
    revision: i64,
}

impl PeerService {
    /// For a running member; `router` has the pages every member shows.
    pub(crate) fn new(transport: Transport, router: Router, shared: Arc<Shared>) -> PeerService {
        PeerService { transport, router, shared }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path();
        if path == "/raft/probing" {
            return whole(self.router.answer(&request).await);
        }
        if path == "/raft" || path.starts_with("/raft/") {
            return self.transport.answer(request).await.map(http_body_util::BodyExt::boxed_unsync);
        }
        let endpoint = Endpoint::of(path);
        let Some(endpoint) = endpoint else {
            return whole(self.router.answer(&request).await);
        };
        if request.method() != endpoint.method() {
            return whole(endpoint.wrong_method());
        }
        let (head, body) = request.into_parts();
        let mut answer = match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => self.ask(&endpoint, &head, body.to_bytes()).await,
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                text(StatusCode::PAYLOAD_TOO_LARGE, "request body too large")
            }
            Err(_) => text(StatusCode::BAD_REQUEST, "error reading body"),
        };
        let cluster = format!("{:x}", self.shared.cluster_id);
        if let Ok(cluster) = HeaderValue::from_str(&cluster) {
            answer.headers_mut().insert("x-etcd-cluster-id", cluster);
        }
        whole(answer)
    }

    async fn ask(
        &self,
        endpoint: &Endpoint,
        head: &http::request::Parts,
        body: Bytes,
    ) -> Response<Full<Bytes>> {
        match endpoint {
            Endpoint::Promote(id) => self.promote(id).await,
            Endpoint::HashKv => self.hash_kv(head, &body).await,
            Endpoint::Renew => self.renew(body).await,
            Endpoint::TimeToLive => self.time_to_live(body).await,
            Endpoint::Downgrade => self.downgrade().await,
        }
    }

    async fn promote(&self, id: &str) -> Response<Full<Bytes>> {
        let Ok(id) = id.parse() else {
            let why = format!("member {id} not found in cluster");
            return text(StatusCode::NOT_FOUND, &why);
        };
        let outcome = match self.shared.raft.status().is_leader() {
            true => self.shared.promote_here(id).await,
            // Whoever asks looks for the leader again.
            false => Err(RpcError::NotLeader),
        };
        match outcome {
            Ok(()) => json(crate::facts::members_json(&self.shared)),
            Err(RpcError::MemberNotFound) => {
                text(StatusCode::NOT_FOUND, "membership: ID not found")
            }
            Err(RpcError::MemberNotLearner) => text(
                StatusCode::PRECONDITION_FAILED,
                "membership: can only promote a learner member",
            ),
            Err(RpcError::LearnerNotReady) => {
                text(StatusCode::PRECONDITION_FAILED, RpcError::LearnerNotReady.text())
            }
            Err(_) => {
                let mut answer = json("{\"message\":\"Internal Server Error\"}".to_owned());
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                answer
            }
        }
    }

    async fn hash_kv(&self, head: &http::request::Parts, body: &Bytes) -> Response<Full<Bytes>> {
        let asked = head.headers.get("x-etcd-cluster-id").and_then(|id| id.to_str().ok());
        let own = format!("{:x}", self.shared.cluster_id);
        if asked.is_some_and(|asked| !asked.is_empty() && asked != own) {
            return text(StatusCode::PRECONDITION_FAILED, "cluster ID mismatch");
        }
        let Ok(question) = serde_json::from_slice::<HashQuestion>(body) else {
            return text(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        match self.shared.hash_kv(question.revision).await {
            Ok(hash) => {
                let revision = self.shared.store().current_revision();
                // Go leaves out what is zero.
                let field = |name: &str, value: i64| match value {
                    0 => String::new(),
                    value => format!(",\"{name}\":{value}"),
                };
                let body = format!(
                    "{{\"header\":{{\"revision\":{revision}}}{}{}{}}}",
                    field("hash", i64::from(hash.hash)),
                    field("compact_revision", hash.compact_revision),
                    field("hash_revision", hash.revision),
                );
                json(body)
            }
            Err(status) => {
                let message = status.message();
                let message = message.strip_prefix("etcdserver: ").unwrap_or(message);
                text(StatusCode::BAD_REQUEST, message)
            }
        }
    }

    async fn renew(&self, body: Bytes) -> Response<Full<Bytes>> {
        let Ok(request) = LeaseKeepAliveRequest::decode(body) else {
            return text(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        let shared = &self.shared;
        let leadership = shared.leadership();
        let mut renewal = shared.keeper.renew(request.id);
        if renewal == Renewal::Unknown {
            if shared.caught_up().await.is_err() {
                return behind();
            }
            renewal = shared.keeper.renew(request.id);
        }
        if !matches!(shared.leads_since(leadership).await, Ok(true)) {
            // Somebody else may lead by now, and know of leases and renewals that are not here.
            return text(StatusCode::BAD_REQUEST, RpcError::NotPrimary.text());
        }
        match renewal {
            Renewal::Renewed { ttl_s } => {
                shared.metrics.lease_renewed.inc();
                let answer = LeaseKeepAliveResponse { header: None, id: request.id, ttl: ttl_s };
                protobuf(&answer)
            }
            Renewal::Unknown => text(StatusCode::NOT_FOUND, "lease not found"),
            Renewal::Expired => behind(),
            Renewal::NotPrimary => text(StatusCode::BAD_REQUEST, RpcError::NotPrimary.text()),
        }
    }

    async fn time_to_live(&self, body: Bytes) -> Response<Full<Bytes>> {
        let asked = LeaseInternalRequest::decode(body).ok();
        let Some(asked) = asked.and_then(|request| request.lease_time_to_live_request) else {
            return text(StatusCode::BAD_REQUEST, "error unmarshalling request");
        };
        if self.shared.caught_up().await.is_err() {
            return behind();
        }
        if !self.shared.raft.status().is_leader() || !self.shared.keeper.counts() {
            let why = RpcError::NotPrimary.text();
            return text(StatusCode::INTERNAL_SERVER_ERROR, why);
        }
        let Some(left) = self.shared.time_to_live_here(&asked) else {
            return text(StatusCode::NOT_FOUND, "lease not found");
        };
        let told = LeaseTimeToLiveResponse {
            header: Some(ResponseHeader::default()),
            id: asked.id,
            ttl: left.remaining_s,
            granted_ttl: left.granted_s,
            keys: left.keys,
        };
        protobuf(&LeaseInternalResponse { lease_time_to_live_response: Some(told) })
    }

    async fn downgrade(&self) -> Response<Full<Bytes>> {
        if let Err(error) = self.shared.read_barrier().await {
            let why = format!("failed linearized read: {error}");
            return text(StatusCode::INTERNAL_SERVER_ERROR, &why);
        }
        let enabled = self.shared.state.cluster.read().downgrade.enabled;
        plain(StatusCode::OK, enabled.to_string())
    }
}

impl hyper::service::Service<Request<Incoming>> for PeerService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

/// What only members ask.
#[derive(Debug, PartialEq, Eq)]
enum Endpoint {
    Promote(String),
    HashKv,
    Renew,
    TimeToLive,
    Downgrade,
}

impl Endpoint {
    fn of(path: &str) -> Option<Endpoint> {
        Some(match path {
            "/members/hashkv" => Endpoint::HashKv,
            "/leases" => Endpoint::Renew,
            "/leases/internal" => Endpoint::TimeToLive,
            "/downgrade/enabled" => Endpoint::Downgrade,
            path => Endpoint::Promote(path.strip_prefix("/members/promote/")?.to_owned()),
        })
    }

    fn method(&self) -> Method {
        match self {
            Endpoint::HashKv | Endpoint::Downgrade => Method::GET,
            Endpoint::Promote(_) | Endpoint::Renew | Endpoint::TimeToLive => Method::POST,
        }
    }

    fn wrong_method(&self) -> Response<Full<Bytes>> {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        if !matches!(self, Endpoint::Renew | Endpoint::TimeToLive) {
            let allowed = if self.method() == Method::GET { "GET" } else { "POST" };
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        }
        answer
    }
}

fn whole(answer: Response<Full<Bytes>>) -> Response<Body> {
    answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}

fn plain(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// An error as Go's handlers write it.
fn text(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut answer = plain(status, format!("{why}\n"));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

fn behind() -> Response<Full<Bytes>> {
    let why = "waiting for node to catch up its applied index has timed out";
    text(StatusCode::REQUEST_TIMEOUT, why)
}

fn json(body: String) -> Response<Full<Bytes>> {
    typed("application/json", body)
}

fn protobuf(message: &impl prost::Message) -> Response<Full<Bytes>> {
    typed("application/protobuf", message.encode_to_vec())
}

fn typed(kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(body.into()));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_by_their_path_and_want_their_method() {
        assert_eq!(Endpoint::of("/members"), None);
        assert_eq!(Endpoint::of("/members/hashkv").map(|e| e.method()), Some(Method::GET));
        assert_eq!(Endpoint::of("/members/promote/7"), Some(Endpoint::Promote("7".into())));
        let refused = Endpoint::Promote("7".into()).wrong_method();
        assert_eq!(refused.headers()[ALLOW], "POST");
        assert!(!Endpoint::Renew.wrong_method().headers().contains_key(ALLOW));
    }
}
