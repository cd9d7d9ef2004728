//! Every refusal one member of this version can give: its code and its text, byte for byte.

use std::collections::BTreeSet;

use bytes::Bytes;
use integration_tests::Kind;
use prost::Message;
use proto::etcdserverpb::request_op::Request as Op;
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, Compare, DeleteRangeRequest, HashKvRequest, LeaseGrantRequest,
    LeaseRevokeRequest, MemberAddRequest, MemberPromoteRequest, MemberRemoveRequest,
    MemberUpdateRequest, MoveLeaderRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
    WatchRequest,
};
use serde_json::Value;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Status};

use crate::node::{Node, delete_op, only_ours, op, open, put_op, target, txn_op, within};

const ACTIVATE: i32 = 1;
const DEACTIVATE: i32 = 2;
const NO_SPACE: i32 = 1;
const CORRUPT: i32 = 2;

const RANGE: &str = "/etcdserverpb.KV/Range";
const RANGE_STREAM: &str = "/etcdserverpb.KV/RangeStream";
const PUT: &str = "/etcdserverpb.KV/Put";
const DELETE: &str = "/etcdserverpb.KV/DeleteRange";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const GRANT: &str = "/etcdserverpb.Lease/LeaseGrant";
const REVOKE: &str = "/etcdserverpb.Lease/LeaseRevoke";
const HASH_KV: &str = "/etcdserverpb.Maintenance/HashKV";
const MEMBER_ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
const MEMBER_UPDATE: &str = "/etcdserverpb.Cluster/MemberUpdate";
const MEMBER_REMOVE: &str = "/etcdserverpb.Cluster/MemberRemove";
const MEMBER_PROMOTE: &str = "/etcdserverpb.Cluster/MemberPromote";
const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";

/// A lease that exists in the store of [`prepared`].
const LEASE: i64 = 7;
/// Its compacted revision.
const COMPACTED: i64 = 4;
/// Its current revision.
const CURRENT: i64 = 6;

/// Errors no client of this version can be shown, and why.
const OUT_OF_REACH: &[(&str, &[&str])] = &[
    (
        "users and roles are not served",
        &[
            "RootUserNotExist",
            "RootRoleNotExist",
            "UserAlreadyExist",
            "UserEmpty",
            "UserNotFound",
            "RoleAlreadyExist",
            "RoleNotFound",
            "RoleEmpty",
            "AuthFailed",
            "NoPasswordUser",
            "PermissionNotGiven",
            "PermissionDenied",
            "RoleNotGranted",
            "PermissionNotGranted",
            "AuthNotEnabled",
            "InvalidAuthToken",
            "InvalidAuthMgmt",
            "AuthOldRevision",
            "VerifyOnly",
            "BcryptTooLong",
        ],
    ),
    (
        "a cluster of several members provokes them, elsewhere",
        &[
            "MemberExist",
            "PeerURLExist",
            "MemberNotEnoughStarted",
            "MemberNotLearner",
            "LearnerNotReady",
            "TooManyLearners",
            "Unhealthy",
            "NotLeader",
            "LeaderTransferTimeout",
            "NotSupportedForLearner",
            "RaftProposalDropped",
        ],
    ),
    (
        "downgrades are not served",
        &[
            "UnknownMethodAction",
            "WrongDowngradeVersionFormat",
            "InvalidDowngradeTargetVersion",
            "ClusterVersionUnavailable",
            "DowngradeInProcess",
        ],
    ),
    (
        "locks and elections are not served",
        &[
            "MissingLeaderKey",
            "ElectionNoLeader",
            "ElectionNotLeader",
            "SessionExpired",
            "LockElectionWrapped",
        ],
    ),
    (
        "a member alone always leads, and is connected to itself",
        &[
            "NoLeader",
            "LeaderChanged",
            "Timeout",
            "TimeoutDueToLeaderFail",
            "TimeoutDueToConnectionLost",
            "NotPrimary",
        ],
    ),
    (
        "only while the state lags the log, which one member does not",
        &["TooManyRequests", "TimeoutWaitAppliedIndex"],
    ),
    (
        "the client that cancels does not wait for the answer",
        &["WatchCanceled", "Canceled", "ContextCanceled"],
    ),
    ("the connection may end before the answer when the member stops", &["Stopped", "RaftStopped"]),
    ("every cluster version that can be decided has the services", &["NotCapable"]),
    (
        "declared for clients only",
        &["ClusterIDMismatch", "DeadlineDeclared", "NoInflightDowngrade"],
    ),
];

/// A request and the error it provokes.
struct Case {
    id: &'static str,
    path: &'static str,
    message: Bytes,
    metadata: Option<(&'static str, MetadataValue<Ascii>)>,
    /// The text, where the golden one is a template.
    text: Option<&'static str>,
}

fn case(id: &'static str, path: &'static str, message: &impl Message) -> Case {
    Case { id, path, message: message.encode_to_vec().into(), metadata: None, text: None }
}

impl Case {
    fn text(self, text: &'static str) -> Self {
        Self { text: Some(text), ..self }
    }

    fn bytes(self, message: impl Into<Bytes>) -> Self {
        Self { message: message.into(), ..self }
    }

    fn metadata(self, key: &'static str, value: &[u8]) -> Self {
        let value = MetadataValue::try_from(value).expect("a header value");
        Self { metadata: Some((key, value)), ..self }
    }
}

fn range() -> RangeRequest {
    RangeRequest { key: "k".into(), ..RangeRequest::default() }
}

fn put() -> PutRequest {
    PutRequest { key: "k".into(), ..PutRequest::default() }
}

fn txn(success: impl Into<Vec<RequestOp>>) -> TxnRequest {
    TxnRequest { success: success.into(), ..TxnRequest::default() }
}

fn otherwise(failure: impl Into<Vec<RequestOp>>) -> TxnRequest {
    // The branch that is not taken is checked, too.
    TxnRequest { failure: failure.into(), ..TxnRequest::default() }
}

/// Refusals of KV requests that need no store.
fn kv_cases() -> Vec<Case> {
    let no_key = Bytes::new();
    let empty_compare = TxnRequest { compare: vec![Compare::default()], ..TxnRequest::default() };
    let valued = PutRequest { ignore_value: true, value: "v".into(), ..put() };
    let leased = PutRequest { ignore_lease: true, lease: LEASE, ..put() };
    let order = RangeRequest { sort_order: 3, ..range() };
    let target = RangeRequest { sort_target: 5, ..range() };
    let negative_order = RangeRequest { sort_order: -1, ..range() };
    let many = |count| vec![op(Op::RequestRange(range())); count];
    let compares = vec![Compare { key: "k".into(), ..Compare::default() }; 129];
    let nested = txn_op(vec![txn_op(many(127), vec![])], vec![]);
    vec![
        case("EmptyKey", RANGE, &RangeRequest::default()),
        case("EmptyKey", RANGE, &RangeRequest { range_end: "z".into(), ..Default::default() }),
        case("EmptyKey", RANGE_STREAM, &RangeRequest::default()),
        case("EmptyKey", PUT, &PutRequest { value: "v".into(), ..PutRequest::default() }),
        case("EmptyKey", DELETE, &DeleteRangeRequest::default()),
        case("EmptyKey", TXN, &empty_compare),
        case("EmptyKey", TXN, &txn([op(Op::RequestRange(RangeRequest::default()))])),
        case("EmptyKey", TXN, &otherwise([put_op(no_key.clone(), "v")])),
        case("EmptyKey", TXN, &txn([txn_op(vec![], vec![delete_op(no_key.clone(), "z")])])),
        case("ValueProvided", PUT, &valued),
        case("ValueProvided", TXN, &otherwise([op(Op::RequestPut(valued.clone()))])),
        case("LeaseProvided", PUT, &leased),
        case("LeaseProvided", TXN, &txn([op(Op::RequestPut(leased.clone()))])),
        case("InvalidSortOption", RANGE, &order),
        case("InvalidSortOption", RANGE, &target),
        case("InvalidSortOption", RANGE, &negative_order),
        case("InvalidSortOption", RANGE_STREAM, &target),
        case("InvalidSortOption", TXN, &txn([op(Op::RequestRange(order.clone()))])),
        case("KeyNotFound", TXN, &txn([RequestOp { request: None }])),
        case("KeyNotFound", TXN, &otherwise([txn_op(vec![RequestOp { request: None }], vec![])])),
        case("TooManyOps", TXN, &txn(many(129))),
        case("TooManyOps", TXN, &otherwise(many(129))),
        case("TooManyOps", TXN, &TxnRequest { compare: compares, ..TxnRequest::default() }),
        case("TooManyOps", TXN, &txn([nested])),
        case("DuplicateKey", TXN, &txn([put_op("a", "1"), put_op("a", "2")])),
        case("DuplicateKey", TXN, &otherwise([put_op("b", "1"), delete_op("a", "c")])),
        case("DuplicateKey", TXN, &txn([put_op("a", ""), txn_op(vec![], vec![put_op("a", "")])])),
    ]
}

/// Refusals that depend on the store of [`prepared`].
fn store_cases() -> Vec<Case> {
    let at = |revision| RangeRequest { revision, ..range() };
    let in_txn = |revision| txn([op(Op::RequestRange(at(revision)))]);
    let missing = |ignore_value| PutRequest {
        key: "missing".into(),
        ignore_value,
        ignore_lease: !ignore_value,
        ..PutRequest::default()
    };
    let leased = PutRequest { lease: 99, ..put() };
    let compact = |revision| CompactionRequest { revision, physical: false };
    let hash = |revision| HashKvRequest { revision };
    let grant = |id, ttl| LeaseGrantRequest { id, ttl };
    vec![
        case("Compacted", RANGE, &at(COMPACTED - 1)),
        case("Compacted", RANGE, &RangeRequest { serializable: true, ..at(1) }),
        case("Compacted", RANGE_STREAM, &at(COMPACTED - 1)),
        case("Compacted", TXN, &in_txn(COMPACTED - 1)),
        case("Compacted", TXN, &in_txn(-5)),
        case("Compacted", COMPACT, &compact(COMPACTED)),
        case("Compacted", COMPACT, &compact(0)),
        case("Compacted", COMPACT, &compact(-5)),
        case("Compacted", HASH_KV, &hash(COMPACTED - 1)),
        case("FutureRev", RANGE, &at(CURRENT + 1)),
        case("FutureRev", RANGE_STREAM, &at(CURRENT + 1)),
        case("FutureRev", TXN, &in_txn(CURRENT + 1)),
        case("FutureRev", COMPACT, &compact(CURRENT + 1)),
        case("FutureRev", HASH_KV, &hash(i64::MAX)),
        case("KeyNotFound", PUT, &missing(true)),
        case("KeyNotFound", PUT, &missing(false)),
        case("KeyNotFound", TXN, &txn([op(Op::RequestPut(missing(true)))])),
        case("LeaseNotFound", PUT, &leased),
        case("LeaseNotFound", TXN, &txn([op(Op::RequestPut(leased.clone()))])),
        case("LeaseNotFound", REVOKE, &LeaseRevokeRequest { id: 99 }),
        case("LeaseNotFound", REVOKE, &LeaseRevokeRequest { id: 0 }),
        case("LeaseExist", GRANT, &grant(LEASE, 60)),
        case("LeaseTTLTooLarge", GRANT, &grant(0, 9_000_000_001)),
        // The bound is looked at before the id.
        case("LeaseTTLTooLarge", GRANT, &grant(LEASE, i64::MAX)),
        case("RangeStreamSort", RANGE_STREAM, &RangeRequest { sort_order: 2, ..range() }),
        case(
            "RangeStreamSort",
            RANGE_STREAM,
            &RangeRequest { sort_order: 1, sort_target: 2, ..range() },
        ),
        case("RangeStreamFilters", RANGE_STREAM, &RangeRequest { min_mod_revision: 1, ..range() }),
        case(
            "RangeStreamFilters",
            RANGE_STREAM,
            &RangeRequest { max_create_revision: -1, ..range() },
        ),
    ]
}

/// Refusals of what is not a proper request of its service.
fn transport_cases() -> Vec<Case> {
    const MALFORMED: &str =
        "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data";
    const NOT_UTF8: &str = "grpc: error unmarshalling request: string field contains invalid UTF-8";
    let big = |bytes: usize| PutRequest { value: vec![b'v'; bytes].into(), ..put() };
    let member = MemberAddRequest { peer_ur_ls: vec!["ftp://a:1".into()], is_learner: false };
    let unknown = MemberUpdateRequest { id: 7, peer_ur_ls: vec!["http://a:1".into()] };
    let with_path = MemberAddRequest { peer_ur_ls: vec!["http://a:1/x".into()], is_learner: false };
    vec![
        case("RequestTooLarge", PUT, &big(1_572_864)),
        case("RequestTooLarge", TXN, &txn([op(Op::RequestPut(big(1_572_864)))])),
        case(
            "RequestTooLarge",
            DELETE,
            &DeleteRangeRequest {
                key: vec![b'k'; 1_572_864].into(),
                ..DeleteRangeRequest::default()
            },
        ),
        case("GrpcMessageTooLarge", PUT, &put())
            .bytes(vec![0; 2_097_153])
            .text("grpc: received message larger than max (2097153 vs. 2097152)"),
        case("GrpcUnknownMethod", "/etcdserverpb.KV/Nope", &put())
            .text("unknown method Nope for service etcdserverpb.KV"),
        case("GrpcUnknownService", "/etcdserverpb.Nope/Put", &put())
            .text("unknown service etcdserverpb.Nope"),
        case("GrpcUnknownService", "/grpc.reflection.v1.ServerReflection/X", &put())
            .text("unknown service grpc.reflection.v1.ServerReflection"),
        case("GrpcCompression", RANGE, &range())
            .metadata("grpc-encoding", b"deflate")
            .text("grpc: Decompressor is not installed for grpc-encoding \"deflate\""),
        case("GrpcBadMessage", RANGE, &range()).bytes(vec![0x0a, 0x05, b'k']).text(MALFORMED),
        case("GrpcBadMessage", MEMBER_ADD, &range())
            .bytes(vec![0x0a, 0x02, 0xc3, 0x28])
            .text(NOT_UTF8),
        case("InvalidClientAPIVersion", RANGE, &range()).metadata("client-api-version", b"3.\xff"),
        case("MemberBadURLs", MEMBER_ADD, &MemberAddRequest::default()),
        case("MemberBadURLs", MEMBER_ADD, &member),
        case("MemberBadURLs", MEMBER_ADD, &with_path),
        case("MemberBadURLs", MEMBER_UPDATE, &MemberUpdateRequest::default()),
        case("MemberNotFound", MEMBER_UPDATE, &unknown),
        case("MemberNotFound", MEMBER_REMOVE, &MemberRemoveRequest { id: 7 }),
        case("MemberNotFound", MEMBER_PROMOTE, &MemberPromoteRequest { id: 7 }),
        case("BadLeaderTransferee", MOVE_LEADER, &MoveLeaderRequest { target_id: 7 }),
    ]
}

/// What the NOSPACE alarm blocks.
fn no_space_cases() -> Vec<Case> {
    vec![
        case("NoSpace", PUT, &put()),
        case("NoSpace", TXN, &txn([put_op("k", "v")])),
        case("NoSpace", TXN, &otherwise([put_op("k", "v")])),
        case("NoSpace", GRANT, &LeaseGrantRequest { id: 0, ttl: 60 }),
        // Arguments are checked before the alarm is seen.
        case("EmptyKey", PUT, &PutRequest::default()),
    ]
}

/// What the CORRUPT alarm blocks, NOSPACE being on as well.
fn corrupt_cases() -> Vec<Case> {
    let delete = DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() };
    vec![
        case("Corrupt", PUT, &put()),
        case("Corrupt", DELETE, &delete),
        case("Corrupt", TXN, &txn([delete_op("k", "")])),
        case("Corrupt", COMPACT, &CompactionRequest { revision: CURRENT, physical: false }),
        case("Corrupt", GRANT, &LeaseGrantRequest { id: 0, ttl: 60 }),
        case("Corrupt", REVOKE, &LeaseRevokeRequest { id: LEASE }),
    ]
}

/// Revisions 2 to 6 of one key, the first three compacted away, and a lease.
async fn prepared() -> Node {
    let node = Node::start().await;
    assert_eq!(node.put_all([("k", "v"); 5]).await, CURRENT);
    node.compact(COMPACTED).await;
    let grant = LeaseGrantRequest { id: LEASE, ttl: 60 };
    node.lease().lease_grant(grant).await.expect("a lease");
    node
}

/// The recorded errors.
fn golden() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/src/rpc/errors_golden.json");
    let text = std::fs::read_to_string(path).expect("the recorded errors");
    serde_json::from_str(&text).expect("JSON")
}

async fn refusal(node: &Node, case: &Case) -> Status {
    let mut request = Request::new(case.message.clone());
    if let Some((key, value)) = &case.metadata {
        request.metadata_mut().insert(*key, value.clone());
    }
    let outcome = node.call_bytes(case.path, request).await;
    outcome.err().unwrap_or_else(|| Status::ok("not refused"))
}

/// Whether etcd 3.4 does not know the case.
fn is_newer(case: &Case) -> bool {
    let ids = ["InvalidSortOption", "InvalidClientAPIVersion", "GrpcBadMessage"];
    [RANGE_STREAM, MEMBER_UPDATE].contains(&case.path) || ids.contains(&case.id)
}

async fn check(node: &Node, golden: &[Value], cases: &[Case]) {
    let mut wrong = vec![];
    for case in cases.iter().filter(|case| target() == Kind::Ours || !is_newer(case)) {
        let fact = golden.iter().find(|fact| fact["id"] == case.id).expect(case.id);
        let text = case.text.or(fact["message"].as_str()).expect("a text");
        let status = refusal(node, case).await;
        let code = i64::from(i32::from(status.code()));
        if (Some(code), text) != (fact["code"].as_i64(), status.message()) {
            wrong.push(format!("{} to {}: {status:?}", case.id, case.path));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[tokio::test]
async fn refusals_have_the_recorded_code_and_text() {
    let golden = golden();
    let node = prepared().await;
    let before = node.range(range()).await;
    check(&node, &golden, &kv_cases()).await;
    check(&node, &golden, &store_cases()).await;
    check(&node, &golden, &transport_cases()).await;
    let member = before.header.expect("a header").member_id;
    node.alarm(ACTIVATE, member, NO_SPACE).await;
    check(&node, &golden, &no_space_cases()).await;
    node.alarm(ACTIVATE, member, CORRUPT).await;
    check(&node, &golden, &corrupt_cases()).await;
    node.alarm(DEACTIVATE, member, NO_SPACE).await;
    node.alarm(DEACTIVATE, member, CORRUPT).await;
    assert_eq!(node.range(range()).await, before, "refused requests change nothing");
    assert_eq!(node.put("k", "again").await, CURRENT + 1);
}

#[tokio::test]
async fn a_stream_ends_with_its_deadline() {
    // Real servers answer without a header before, so that the client's own clock may be first.
    if only_ours("ContextDeadline") {
        return;
    }
    let node = Node::start().await;
    let message: Bytes = WatchRequest::default().encode_to_vec().into();
    // The request stays open: only the deadline can end the call.
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(message),
        tokio_stream::pending::<Bytes>(),
    );
    let mut request = Request::new(requests);
    request.metadata_mut().insert("grpc-timeout", MetadataValue::from_static("3000m"));
    let opened = open(node.channel(), "/etcdserverpb.Watch/Watch", request).await;
    let mut answers = opened.expect("a watch stream");
    let ended = within("the deadline", answers.message()).await.expect_err("no answer is due");
    assert_eq!(ended.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(ended.message(), "context deadline exceeded");
}

#[test]
fn every_recorded_error_is_provoked_or_out_of_reach() {
    let mut provoked: BTreeSet<&str> = BTreeSet::from(["ContextDeadline"]);
    for cases in [kv_cases(), store_cases(), transport_cases(), no_space_cases(), corrupt_cases()] {
        provoked.extend(cases.iter().map(|case| case.id));
    }
    let out_of_reach: BTreeSet<&str> =
        OUT_OF_REACH.iter().flat_map(|(_, ids)| ids.iter().copied()).collect();
    let both: Vec<_> = provoked.intersection(&out_of_reach).collect();
    assert!(both.is_empty(), "provoked, yet out of reach: {both:?}");
    let golden = golden();
    let all: BTreeSet<&str> = golden.iter().filter_map(|fact| fact["id"].as_str()).collect();
    assert_eq!(&provoked | &out_of_reach, all);
}

#[tokio::test]
async fn alarms_let_through_what_they_must() {
    let node = prepared().await;
    let member = node.range(range()).await.header.expect("a header").member_id;
    node.alarm(ACTIVATE, member, NO_SPACE).await;
    for (path, message) in [
        (DELETE, DeleteRangeRequest { key: "x".into(), ..Default::default() }.encode_to_vec()),
        (TXN, txn([delete_op("x", "")]).encode_to_vec()),
        (COMPACT, CompactionRequest { revision: 5, physical: false }.encode_to_vec()),
        (RANGE, range().encode_to_vec()),
    ] {
        let outcome = node.call_bytes(path, Request::new(message.into())).await;
        assert_eq!(outcome.err().map(|e| e.code()), None, "{path} under NOSPACE");
    }
    node.alarm(ACTIVATE, member, CORRUPT).await;
    for (path, message) in [
        (RANGE, range().encode_to_vec()),
        (TXN, txn([op(Op::RequestRange(range()))]).encode_to_vec()),
        ("/etcdserverpb.Maintenance/Alarm", AlarmRequest::default().encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseKeepAlive", LeaseRevokeRequest { id: LEASE }.encode_to_vec()),
    ] {
        let outcome = node.call_bytes(path, Request::new(message.into())).await;
        assert_eq!(outcome.err().map(|e| e.code()), None, "{path} under CORRUPT");
    }
    node.alarm(DEACTIVATE, member, CORRUPT).await;
    node.alarm(DEACTIVATE, member, NO_SPACE).await;
    node.assert_serves().await;
}
