//! Known bytes: examples recorded from real members, and the raw twins against the plain messages.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;
use proto::etcdserverpb::{
    self as pb, InternalRaftRequest, LeaseGrantRequest, PutRequest, RequestHeader, ResponseHeader,
    response_op,
};
use proto::membershippb::ClusterVersionSetRequest;
use proto::mvccpb::{Event, KeyValue};
use proto::{raftpb, raw, walpb};
use serde_json::Value;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Messages of the recorded examples, in the order of the golden file.
fn examples() -> Vec<Vec<u8>> {
    let header = |id| Some(RequestHeader { id, ..Default::default() });
    vec![
        walpb::Record { r#type: Some(4), crc: Some(0), data: None }.encode_to_vec(),
        pb::Metadata { node_id: Some(0x8e9e05c52164694d), cluster_id: Some(0xcdf818194e3a8c32) }
            .encode_to_vec(),
        walpb::Snapshot { index: Some(0), term: Some(0), conf_state: None }.encode_to_vec(),
        walpb::Snapshot {
            index: Some(5),
            term: Some(2),
            conf_state: Some(raftpb::ConfState {
                voters: vec![1],
                auto_leave: Some(false),
                ..Default::default()
            }),
        }
        .encode_to_vec(),
        raftpb::HardState { term: Some(1), vote: Some(0), commit: Some(1) }.encode_to_vec(),
        raftpb::Entry { term: Some(2), index: Some(4), ..Default::default() }.encode_to_vec(),
        raftpb::Entry { r#type: Some(0), term: Some(2), index: Some(4), data: None }
            .encode_to_vec(),
        raftpb::Entry { r#type: Some(1), term: Some(1), index: Some(1), data: Some("x".into()) }
            .encode_to_vec(),
        InternalRaftRequest {
            put: Some(PutRequest { key: "foo".into(), value: "bar".into(), ..Default::default() }),
            header: header(7587859211412770306),
            ..Default::default()
        }
        .encode_to_vec(),
        InternalRaftRequest {
            lease_grant: Some(LeaseGrantRequest { ttl: 60, id: 0x32695410dcc0ca06 }),
            header: Some(RequestHeader { id: 1, username: "root".into(), auth_revision: 5 }),
            ..Default::default()
        }
        .encode_to_vec(),
        InternalRaftRequest {
            cluster_version_set: Some(Box::new(ClusterVersionSetRequest { ver: "3.7.0".into() })),
            header: header(1),
            ..Default::default()
        }
        .encode_to_vec(),
        raftpb::ConfChange { id: Some(9), r#type: Some(1), node_id: Some(2), context: None }
            .encode_to_vec(),
        raftpb::Message {
            r#type: Some(8),
            to: Some(2),
            from: Some(1),
            term: Some(3),
            commit: Some(10),
            ..Default::default()
        }
        .encode_to_vec(),
        heartbeat(None).encode_to_vec(),
        heartbeat(Some(empty_snapshot())).encode_to_vec(),
        KeyValue {
            key: "foo".into(),
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            value: "bar".into(),
            lease: 0,
        }
        .encode_to_vec(),
        KeyValue { key: "foo".into(), ..Default::default() }.encode_to_vec(),
    ]
}

/// With every scalar explicit; 3.6 knows one more field than 3.5 with its snapshot.
fn heartbeat(snapshot: Option<raftpb::Snapshot>) -> raftpb::Message {
    raftpb::Message {
        r#type: Some(8),
        to: Some(2),
        from: Some(1),
        term: Some(3),
        log_term: Some(0),
        index: Some(0),
        commit: Some(10),
        reject: Some(false),
        reject_hint: Some(0),
        vote: snapshot.is_none().then_some(0),
        snapshot,
        ..Default::default()
    }
}

fn empty_snapshot() -> raftpb::Snapshot {
    raftpb::Snapshot {
        data: None,
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(raftpb::ConfState { auto_leave: Some(false), ..Default::default() }),
            index: Some(0),
            term: Some(0),
        }),
    }
}

#[test]
fn messages_have_the_recorded_bytes() {
    let golden: Value =
        serde_json::from_str(include_str!("golden/api.json")).expect("the golden file is JSON");
    let recorded = golden["wire_examples"].as_array().expect("a list");
    let made = examples();
    assert_eq!(made.len(), recorded.len());
    for (bytes, example) in made.iter().zip(recorded) {
        assert_eq!(hex(bytes), example["hex"], "{}", example["what"]);
    }
}

fn key_value() -> impl Strategy<Value = KeyValue> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    (bytes(), any::<i64>(), 0..3i64, any::<i64>(), bytes(), any::<i64>()).prop_map(
        |(key, create_revision, mod_revision, version, value, lease)| KeyValue {
            key,
            create_revision,
            mod_revision,
            version,
            value,
            lease,
        },
    )
}

fn header() -> impl Strategy<Value = Option<ResponseHeader>> {
    proptest::option::of((any::<u64>(), any::<u64>(), any::<i64>(), any::<u64>()).prop_map(
        |(cluster_id, member_id, revision, raft_term)| ResponseHeader {
            cluster_id,
            member_id,
            revision,
            raft_term,
        },
    ))
}

fn range() -> impl Strategy<Value = pb::RangeResponse> {
    (header(), proptest::collection::vec(key_value(), 0..4), any::<bool>(), any::<i64>())
        .prop_map(|(header, kvs, more, count)| pb::RangeResponse { header, kvs, more, count })
}

fn put() -> impl Strategy<Value = pb::PutResponse> {
    (header(), proptest::option::of(key_value()))
        .prop_map(|(header, prev_kv)| pb::PutResponse { header, prev_kv })
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeResponse> {
    (header(), any::<i64>(), proptest::collection::vec(key_value(), 0..4)).prop_map(
        |(header, deleted, prev_kvs)| pb::DeleteRangeResponse { header, deleted, prev_kvs },
    )
}

fn txn() -> impl Strategy<Value = pb::TxnResponse> {
    let op = |response| pb::ResponseOp { response: Some(response) };
    let flat = prop_oneof![
        range().prop_map(move |it| op(response_op::Response::ResponseRange(it))),
        put().prop_map(move |it| op(response_op::Response::ResponsePut(it))),
        delete().prop_map(move |it| op(response_op::Response::ResponseDeleteRange(it))),
        Just(pb::ResponseOp { response: None }),
    ];
    let ops = flat.prop_recursive(3, 12, 3, move |inner| {
        (header(), any::<bool>(), proptest::collection::vec(inner, 0..3)).prop_map(
            move |(header, succeeded, responses)| {
                let txn = pb::TxnResponse { header, succeeded, responses };
                op(response_op::Response::ResponseTxn(txn))
            },
        )
    });
    (header(), any::<bool>(), proptest::collection::vec(ops, 0..4))
        .prop_map(|(header, succeeded, responses)| pb::TxnResponse { header, succeeded, responses })
}

/// A watch answer with any subset of its fields, and its events.
fn watch() -> impl Strategy<Value = pb::WatchResponse> {
    let event = (0..3i32, key_value(), proptest::option::of(key_value()))
        .prop_map(|(r#type, kv, prev_kv)| Event { r#type, kv: Some(kv), prev_kv });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let events = proptest::collection::vec(event, 0..4);
    (header(), any::<i64>(), flags, 0..3i64, "[a-z]{0,3}", events).prop_map(
        |(header, watch_id, (created, canceled, fragment), compact_revision, text, events)| {
            pb::WatchResponse {
                header,
                watch_id,
                created,
                canceled,
                compact_revision,
                cancel_reason: text,
                fragment,
                events,
            }
        },
    )
}

fn raw_kv(kv: &KeyValue) -> Bytes {
    kv.encode_to_vec().into()
}

fn raw_range(plain: &pb::RangeResponse) -> raw::RangeResponse {
    raw::RangeResponse {
        header: plain.header,
        kvs: plain.kvs.iter().map(raw_kv).collect(),
        more: plain.more,
        count: plain.count,
    }
}

fn raw_txn(plain: &pb::TxnResponse) -> raw::TxnResponse {
    use response_op::Response;
    let one = |response: &Response| match response {
        Response::ResponseRange(it) => raw::Response::ResponseRange(raw_range(it)),
        Response::ResponsePut(it) => raw::Response::ResponsePut(raw::PutResponse {
            header: it.header,
            prev_kv: it.prev_kv.as_ref().map(raw_kv),
        }),
        Response::ResponseDeleteRange(it) => {
            raw::Response::ResponseDeleteRange(raw::DeleteRangeResponse {
                header: it.header,
                deleted: it.deleted,
                prev_kvs: it.prev_kvs.iter().map(raw_kv).collect(),
            })
        }
        Response::ResponseTxn(it) => raw::Response::ResponseTxn(raw_txn(it)),
    };
    raw::TxnResponse {
        header: plain.header,
        succeeded: plain.succeeded,
        responses: plain
            .responses
            .iter()
            .map(|op| raw::ResponseOp { response: op.response.as_ref().map(one) })
            .collect(),
    }
}

/// The twin encodes to the plain message's bytes, knows its length, and decodes back.
fn assert_twins<R: Message + Default + PartialEq>(plain: &impl Message, raw: &R) {
    let bytes = plain.encode_to_vec();
    assert_eq!(raw.encode_to_vec(), bytes);
    assert_eq!(raw.encoded_len(), bytes.len());
    assert!(R::decode(&bytes[..]).expect("decodes") == *raw);
}

proptest! {
    #[test]
    fn raw_txn_answers_have_the_plain_bytes(plain in txn()) {
        assert_twins(&plain, &raw_txn(&plain));
    }

    #[test]
    fn raw_stream_answers_have_the_plain_bytes(plain in range()) {
        let twin = raw::RangeStreamResponse { range_response: Some(raw_range(&plain)) };
        assert_twins(&pb::RangeStreamResponse { range_response: Some(plain) }, &twin);
    }

    #[test]
    fn raw_watch_answers_have_the_plain_bytes(plain in watch()) {
        let mut events = BytesMut::new();
        for event in &plain.events {
            let kv = event.kv.as_ref().expect("made with one").encode_to_vec();
            let prev = event.prev_kv.as_ref().map(KeyValue::encode_to_vec);
            raw::encode_event(event.r#type, &kv, prev.as_deref(), &mut events);
        }
        let twin = raw::WatchResponse {
            header: plain.header,
            watch_id: plain.watch_id,
            created: plain.created,
            canceled: plain.canceled,
            compact_revision: plain.compact_revision,
            cancel_reason: plain.cancel_reason.clone(),
            fragment: plain.fragment,
            events: events.freeze(),
        };
        assert_twins(&plain, &twin);
    }
}
