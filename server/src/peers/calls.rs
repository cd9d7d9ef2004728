//! Requests that only another member can answer.

use std::sync::Arc;
use std::time::Duration;

use base::Member;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use prost::Message as _;
use proto::etcdserverpb::{
    LeaseKeepAliveRequest, LeaseKeepAliveResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use proto::leasepb::{LeaseInternalRequest, LeaseInternalResponse};
use rafthttp::Dial;
use serde::Deserialize;
use tokio::time::Instant;

use super::Peers;
use crate::bootstrap::{Ask, Told, Versions};
use crate::rpc::RpcError;
use crate::state::Shared;

/// How long a member's versions are waited for (etcd: 1 s to connect and to answer).
const VERSION_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a joining member waits to learn of a downgrade (etcd: the request timeout, 7 s).
const DOWNGRADE_TIMEOUT: Duration = Duration::from_secs(7);
/// Content type of the protobuf endpoints.
const PROTOBUF: &str = "application/protobuf";

/// What a member hashed; see `/members/hashkv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct PeerHash {
    /// Its header.
    pub header: PeerHeader,
    /// The hash.
    pub hash: u32,
    /// Its compacted revision.
    pub compact_revision: i64,
    /// The revision hashed; older versions do not say.
    pub hash_revision: i64,
}

/// The header of such an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct PeerHeader {
    /// The member's newest revision.
    pub revision: i64,
}

/// The JSON of `/version`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct VersionsJson {
    etcdserver: String,
    etcdcluster: String,
}

fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::new(body.into());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().expect("our own paths are valid");
    request
}

fn protobuf(path: &str, message: &impl prost::Message) -> Request<Bytes> {
    let mut request = request(Method::POST, path, message.encode_to_vec());
    let kind = http::HeaderValue::from_static(PROTOBUF);
    request.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    request
}

fn versions(answer: &Response<Bytes>) -> Option<Versions> {
    if answer.status() != StatusCode::OK {
        return None;
    }
    let json: VersionsJson = serde_json::from_slice(answer.body()).ok()?;
    // `not_decided` is no version.
    Some(Versions { server: json.etcdserver.parse().ok(), cluster: json.etcdcluster.parse().ok() })
}

fn told(answer: &Response<Bytes>) -> Option<Told> {
    if answer.status() != StatusCode::OK {
        return None;
    }
    let id = answer.headers().get("x-etcd-cluster-id")?.to_str().ok()?;
    let members: Vec<Member> = serde_json::from_slice(answer.body()).ok()?;
    Some(Told { cluster_id: u64::from_str_radix(id, 16).ok()?, members })
}

impl Peers {
    /// Asks a member at each of its URLs until one answers.
    async fn ask(
        &self,
        urls: &[String],
        request: &Request<Bytes>,
        timeout: Duration,
    ) -> Option<Response<Bytes>> {
        for url in urls {
            match self.transport.request(url, request.clone(), timeout).await {
                Ok(answer) => return Some(answer),
                Err(error) => {
                    let path = request.uri().path();
                    tracing::debug!(url, path, error = %error, "a member did not answer");
                }
            }
        }
        None
    }

    /// The versions of a member.
    pub(crate) async fn versions(&self, member: &Member) -> Option<Versions> {
        let request = request(Method::GET, "/version", Bytes::new());
        versions(&self.ask(&member.peer_urls, &request, VERSION_TIMEOUT).await?)
    }

    /// A member's hash of the keys at a revision.
    ///
    /// # Errors
    /// The text of its refusal, or that it cannot be reached.
    pub(crate) async fn hash_kv(
        &self,
        shared: &Shared,
        member: &Member,
        revision: i64,
    ) -> Result<PeerHash, String> {
        let body = format!("{{\"revision\":{revision}}}");
        let mut request = request(Method::GET, "/members/hashkv", body);
        let cluster = format!("{:x}", shared.cluster_id);
        if let Ok(cluster) = cluster.parse() {
            request.headers_mut().insert("x-etcd-cluster-id", cluster);
        }
        let timeout = shared.config.request_timeout();
        let answer = self.ask(&member.peer_urls, &request, timeout).await;
        let answer = answer.ok_or_else(|| "the member does not answer".to_owned())?;
        if answer.status() != StatusCode::OK {
            return Err(String::from_utf8_lossy(answer.body()).trim().to_owned());
        }
        serde_json::from_slice(answer.body()).map_err(|e| e.to_string())
    }

    /// Peer URLs of the leader, if there is one other than this member.
    fn leader_urls(&self, shared: &Shared) -> Option<Vec<String>> {
        let leader = shared.raft.status().leader();
        if leader == 0 || leader == self.member_id {
            return None;
        }
        shared.state.cluster.read().members.get(leader).map(|member| member.peer_urls.clone())
    }

    async fn ask_leader(
        &self,
        shared: &Shared,
        request: &Request<Bytes>,
        deadline: Instant,
    ) -> Option<Response<Bytes>> {
        let urls = self.leader_urls(shared)?;
        self.ask(&urls, request, deadline.saturating_duration_since(Instant::now())).await
    }

    /// Asks the leader to promote a learner; `None` to try again.
    pub(crate) async fn promote(
        &self,
        shared: &Shared,
        id: u64,
        deadline: Instant,
    ) -> Option<Result<(), RpcError>> {
        let request = request(Method::POST, &format!("/members/promote/{id}"), Bytes::new());
        let answer = self.ask_leader(shared, &request, deadline).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        let not_ready = RpcError::LearnerNotReady.text();
        match answer.status() {
            StatusCode::OK => Some(Ok(())),
            StatusCode::NOT_FOUND => Some(Err(RpcError::MemberNotFound)),
            StatusCode::PRECONDITION_FAILED if text.contains(not_ready) => {
                Some(Err(RpcError::LearnerNotReady))
            }
            StatusCode::PRECONDITION_FAILED => Some(Err(RpcError::MemberNotLearner)),
            _ => None,
        }
    }

    /// Asks the leader to renew a lease; `None` to try again.
    pub(crate) async fn renew(
        &self,
        shared: &Shared,
        id: i64,
        deadline: Instant,
    ) -> Option<Option<i64>> {
        let request = protobuf("/leases", &LeaseKeepAliveRequest { id });
        let answer = self.ask_leader(shared, &request, deadline).await?;
        match answer.status() {
            StatusCode::OK => {
                let renewed = LeaseKeepAliveResponse::decode(answer.into_body()).ok()?;
                Some(Some(renewed.ttl))
            }
            StatusCode::NOT_FOUND => Some(None),
            _ => None,
        }
    }

    /// Asks the leader what is left of a lease; `None` to try again.
    pub(crate) async fn time_to_live(
        &self,
        shared: &Shared,
        asked: &LeaseTimeToLiveRequest,
        deadline: Instant,
    ) -> Option<Option<LeaseTimeToLiveResponse>> {
        let message = LeaseInternalRequest { lease_time_to_live_request: Some(*asked) };
        let request = protobuf("/leases/internal", &message);
        let answer = self.ask_leader(shared, &request, deadline).await?;
        match answer.status() {
            StatusCode::OK => {
                let told = LeaseInternalResponse::decode(answer.into_body()).ok()?;
                Some(told.lease_time_to_live_response)
            }
            StatusCode::NOT_FOUND => Some(None),
            _ => None,
        }
    }
}

/// Asks members before there is a transport.
pub(crate) struct BootAsk<'a> {
    /// Opens connections.
    pub dial: Arc<dyn Dial>,
    /// Where to wait.
    pub runtime: &'a tokio::runtime::Runtime,
}

impl BootAsk<'_> {
    fn get(&self, url: &str, path: &str, timeout: Duration) -> Option<Response<Bytes>> {
        self.runtime.block_on(get(self.dial.clone(), url.to_owned(), path.to_owned(), timeout))
    }
}

async fn get(
    dial: Arc<dyn Dial>,
    url: String,
    path: String,
    timeout: Duration,
) -> Option<Response<Bytes>> {
    let request = request(Method::GET, &path, Bytes::new());
    match rafthttp::ask(&*dial, &url, request, timeout).await {
        Ok(answer) => Some(answer),
        Err(error) => {
            tracing::warn!(url, path, error = %error, "failed to ask another member");
            None
        }
    }
}

impl Ask for BootAsk<'_> {
    fn members(&self, urls: &[String], timeout: Duration) -> Option<Told> {
        self.runtime.block_on(async {
            let mut asked = tokio::task::JoinSet::new();
            for url in urls {
                asked.spawn(get(self.dial.clone(), url.clone(), "/members".to_owned(), timeout));
            }
            while let Some(answer) = asked.join_next().await {
                if let Some(told) = answer.ok().flatten().and_then(|answer| told(&answer)) {
                    return Some(told);
                }
            }
            None
        })
    }

    fn versions(&self, url: &str) -> Option<Versions> {
        versions(&self.get(url, "/version", VERSION_TIMEOUT)?)
    }

    fn downgrade_enabled(&self, url: &str) -> bool {
        let answer = self.get(url, "/downgrade/enabled", DOWNGRADE_TIMEOUT);
        answer.is_some_and(|a| a.status() == StatusCode::OK && a.body().as_ref() == b"true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::version::Version;

    fn answer(
        status: u16,
        headers: &[(&'static str, &'static str)],
        body: &str,
    ) -> Response<Bytes> {
        let mut answer = Response::builder().status(status);
        for (name, value) in headers {
            answer = answer.header(*name, *value);
        }
        answer.body(Bytes::copy_from_slice(body.as_bytes())).expect("an answer")
    }

    #[test]
    fn versions_are_read_as_far_as_they_are_decided() {
        let body = r#"{"etcdserver":"3.4.23","etcdcluster":"3.4.0"}"#;
        let told = versions(&answer(200, &[], body)).expect("versions");
        assert_eq!(told.cluster, Some(Version::new(3, 4, 0)));
        let body = r#"{"etcdserver":"3.7.1","etcdcluster":"not_decided","storage":"unknown"}"#;
        let told = versions(&answer(200, &[], body)).expect("versions");
        assert_eq!((told.server, told.cluster), (Some(Version::new(3, 7, 1)), None));
        assert_eq!(versions(&answer(404, &[], body)), None);
        assert_eq!(versions(&answer(200, &[], "<html>")), None);
    }

    #[test]
    fn members_come_with_the_id_of_their_cluster() {
        let body = r#"[{"id":7,"peerURLs":["http://127.0.0.1:1"],"name":"m"}]"#;
        let heard = told(&answer(200, &[("x-etcd-cluster-id", "c0")], body)).expect("members");
        assert_eq!((heard.cluster_id, heard.members[0].id), (0xc0, 7));
        assert_eq!(told(&answer(200, &[], body)), None);
        assert_eq!(told(&answer(200, &[("x-etcd-cluster-id", "xyz")], body)), None);
        assert_eq!(told(&answer(200, &[("x-etcd-cluster-id", "c0")], "{}")), None);
    }
}
