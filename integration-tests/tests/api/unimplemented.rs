//! What this version does not serve says so, with code Unimplemented; everything else answers.

use std::collections::BTreeSet;

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use serde_json::Value;
use tonic::{Code, Request};

use crate::node::{Node, only_ours};

/// Methods without an implementation; where a name ends in `/`, the whole service.
const NOT_SERVED: &[&str] = &[
    "/etcdserverpb.Auth/",
    "/etcdserverpb.Maintenance/Downgrade",
    "/v3electionpb.Election/",
    "/v3lockpb.Lock/",
];

/// The standard health service, which is not among the recorded ones.
const HEALTH: [&str; 3] =
    ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch"];

/// The path of every recorded method.
fn methods() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/tests/golden/api.json");
    let text = std::fs::read_to_string(path).expect("the recorded services");
    let api: Value = serde_json::from_str(&text).expect("JSON");
    let packages = api["packages"].as_object().expect("packages").values();
    let services = packages.filter_map(|package| package["services"].as_object()).flatten();
    services
        .flat_map(|(service, methods)| {
            let names = methods.as_object().expect("methods").keys();
            names.map(move |name| format!("/{service}/{name}"))
        })
        .collect()
}

fn is_served(path: &str) -> bool {
    !NOT_SERVED
        .iter()
        .any(|known| path == *known || known.ends_with('/') && path.starts_with(known))
}

/// A request that the checks before the handler let pass.
fn request(path: &str) -> Bytes {
    match path {
        // An empty request on a watch stream is ignored.
        "/etcdserverpb.Watch/Watch" => {
            let create = RequestUnion::CreateRequest(WatchCreateRequest::default());
            WatchRequest { request_union: Some(create) }.encode_to_vec()
        }
        _ => Vec::new(),
    }
    .into()
}

#[tokio::test]
async fn methods_answer_or_are_unimplemented() {
    if only_ours("Unimplemented") {
        return;
    }
    let node = Node::start().await;
    let methods = methods();
    assert_eq!(methods.len(), 49, "recorded methods");
    let mut wrong = BTreeSet::new();
    for path in methods.iter().map(String::as_str).chain(HEALTH) {
        let outcome = node.call_bytes(path, Request::new(request(path))).await;
        let code = outcome.as_ref().map_or_else(|status| status.code(), |_| Code::Ok);
        if is_served(path) == (code == Code::Unimplemented) {
            wrong.insert(format!("{path}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    node.assert_serves().await;
}

#[tokio::test]
async fn paths_without_a_method_are_named_as_by_the_go_library() {
    if only_ours("the code of malformed paths") {
        return;
    }
    let node = Node::start().await;
    for (path, text) in [
        ("/etcdserverpb.KV/Nope", "unknown method Nope for service etcdserverpb.KV"),
        ("/etcdserverpb.KV/range", "unknown method range for service etcdserverpb.KV"),
        ("/etcdserverpb.KV/", "unknown method  for service etcdserverpb.KV"),
        ("/v3lockpb.Lock/Steal", "unknown method Steal for service v3lockpb.Lock"),
        ("/etcdserverpb.kv/Range", "unknown service etcdserverpb.kv"),
        ("/a/b/c", "unknown service a/b"),
        ("/Range", "malformed method name: \"/Range\""),
    ] {
        let refused = node.call_bytes(path, Request::new(Bytes::new())).await;
        let status = refused.expect_err(path);
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, text), "{path}");
    }
}

#[tokio::test]
async fn health_is_told_for_the_member_alone() {
    use proto::healthpb::health_client::HealthClient;
    use proto::healthpb::{HealthCheckRequest, HealthListRequest};
    let node = Node::start().await;
    let mut health = HealthClient::new(node.channel());
    let check = |name: &str| HealthCheckRequest { service: name.to_owned() };
    let answer = health.check(check("")).await.expect("an answer").into_inner();
    assert_eq!(answer.status, 1, "SERVING");
    let unknown = health.check(check("etcdserverpb.KV")).await.expect_err("one name is known");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "unknown service"));
    let mut watch = health.watch(check("")).await.expect("a stream").into_inner();
    assert_eq!(watch.message().await.expect("open").expect("a status").status, 1);
    if only_ours("health list") {
        return;
    }
    let all = health.list(HealthListRequest {}).await.expect("a list").into_inner().statuses;
    let all: Vec<_> = all.iter().map(|(name, is)| (name.as_str(), is.status)).collect();
    assert_eq!(all, [("", 1)]);
}
