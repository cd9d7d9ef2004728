use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::{DescriptorProto, FileDescriptorSet, field_descriptor_proto};

use super::*;
use crate::etcdserverpb::{PutRequest, RequestOp, TxnRequest, request_op};
use crate::scan::{GROUP_DEPTH_MAX, MESSAGE_DEPTH_MAX, TXN_DEPTH_MAX};

/// `depth` transactions, each in the success branch of the one before; built without recursion.
fn chain(depth: usize) -> Bytes {
    let mut body = Vec::new();
    for _ in 1..depth {
        let mut op = BytesMut::new();
        encode_key(4, WireType::LengthDelimited, &mut op);
        encode_varint(body.len() as u64, &mut op);
        op.extend_from_slice(&body);
        let mut txn = BytesMut::new();
        encode_key(2, WireType::LengthDelimited, &mut txn);
        encode_varint(op.len() as u64, &mut txn);
        txn.extend_from_slice(&op);
        body = txn.to_vec();
    }
    body.into()
}

fn depth_of(txn: &TxnRequest) -> usize {
    let (mut depth, mut at) = (1, txn);
    while let Some(RequestOp { request: Some(request_op::Request::RequestTxn(inner)) }) =
        at.success.first()
    {
        depth += 1;
        at = inner;
    }
    depth
}

fn refused<D: Message + Default + 'static>(bytes: impl Into<Bytes>) -> (Code, String) {
    let status = decode::<D>(bytes.into()).err().expect("refused");
    (status.code(), status.message().to_owned())
}

fn malformed() -> (Code, String) {
    (Code::Internal, MALFORMED.to_owned())
}

#[test]
fn chains_that_a_budget_could_pass_are_decoded_on_a_small_stack() {
    let work = || {
        for depth in [1, 2, 128, 129, 130, TXN_DEPTH_MAX] {
            let txn: TxnRequest = decode(chain(depth)).expect("decodes");
            assert_eq!(depth_of(&txn), depth);
            assert_eq!(txn.clone(), txn);
            assert_eq!(txn.encode_to_vec(), chain(depth));
        }
    };
    let small = std::thread::Builder::new().stack_size(1 << 20).spawn(work).expect("spawns");
    small.join().expect("the stack was enough");
}

#[test]
fn chains_past_every_budget_have_too_many_operations() {
    let too_many = (Code::InvalidArgument, TOO_MANY_OPS.to_owned());
    for depth in [TXN_DEPTH_MAX + 1, 1000, MESSAGE_DEPTH_MAX / 2] {
        assert_eq!(refused::<TxnRequest>(chain(depth)), too_many, "{depth}");
    }
}

#[test]
fn messages_nested_ten_thousand_deep_do_not_decode() {
    for depth in [MESSAGE_DEPTH_MAX / 2 + 1, 20_000] {
        assert_eq!(refused::<TxnRequest>(chain(depth)), malformed(), "{depth}");
    }
}

#[test]
fn a_damaged_deep_chain_is_malformed_not_too_long() {
    let mut bytes = chain(1000).to_vec();
    bytes.extend_from_slice(b"\xff");
    assert_eq!(refused::<TxnRequest>(bytes), malformed());
}

#[test]
fn unknown_groups_are_skipped_only_to_a_bound() {
    let nested = |depth: usize| [vec![0x7b; depth], vec![0x7c; depth]].concat();
    let put = PutRequest { key: "k".into(), ..Default::default() };
    for depth in [1, GROUP_DEPTH_MAX] {
        let bytes = [put.encode_to_vec(), nested(depth)].concat();
        assert_eq!(decode::<PutRequest>(bytes.into()).expect("skipped"), put);
    }
    assert_eq!(refused::<PutRequest>(nested(GROUP_DEPTH_MAX + 1)), malformed());
    assert_eq!(refused::<PutRequest>(vec![0x7b; 2 << 20]), malformed());
    // Inside a message field as well.
    let mut inner = BytesMut::new();
    encode_key(1, WireType::LengthDelimited, &mut inner);
    encode_varint(100_000, &mut inner);
    inner.extend_from_slice(&[0x7b; 100_000]);
    assert_eq!(refused::<pb::WatchRequest>(inner.freeze()), malformed());
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    for bytes in [
        &b"\x80"[..],                                        // key cut short
        b"\x08",                                             // varint missing
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", // varint too long
        b"\x0a\x05ab",                                       // length beyond the end
        b"\x09\x01",                                         // eight bytes cut short
        b"\x0d\x01",                                         // four bytes cut short
        b"\x00\x00",                                         // field 0
        b"\x0e\x00",                                         // wire type 6
        b"\x0c",                                             // group end without start
        b"\x7b\x74",                                         // group closed by another number
        b"\x7b",                                             // group left open
        b"\x08\x01",                                         // a varint where bytes belong
    ] {
        assert_eq!(refused::<PutRequest>(bytes), malformed(), "{bytes:02x?}");
    }
}

#[test]
fn text_that_is_not_utf8_is_refused_by_name() {
    let (code, text) = refused::<pb::AuthUserAddRequest>(&b"\x0a\x02\xff\xfe"[..]);
    assert_eq!(code, Code::Internal);
    assert!(text.contains("invalid UTF-8"), "{text}");
}

#[test]
fn every_request_with_message_fields_has_its_shape() {
    let files = FileDescriptorSet::decode(crate::DESCRIPTORS).expect("decodes").file;
    let mut messages = BTreeMap::new();
    for file in &files {
        for message in &file.message_type {
            messages.insert(format!(".{}.{}", file.package(), message.name()), message);
        }
    }
    let shapes: BTreeMap<&str, Shape> = [
        (".etcdserverpb.TxnRequest", shape_of::<TxnRequest>()),
        (".etcdserverpb.WatchRequest", shape_of::<pb::WatchRequest>()),
        (".etcdserverpb.AuthUserAddRequest", shape_of::<pb::AuthUserAddRequest>()),
        (
            ".etcdserverpb.AuthRoleGrantPermissionRequest",
            shape_of::<pb::AuthRoleGrantPermissionRequest>(),
        ),
        (".v3electionpb.ProclaimRequest", shape_of::<v3electionpb::ProclaimRequest>()),
        (".v3electionpb.ResignRequest", shape_of::<v3electionpb::ResignRequest>()),
    ]
    .into();
    let methods = files.iter().flat_map(|file| &file.service).flat_map(|service| &service.method);
    let mut checked = 0;
    for method in methods {
        let shape = shapes.get(method.input_type()).copied().unwrap_or(Shape::Leaf);
        check_shape(method.input_type(), shape, &messages, 4);
        checked += 1;
    }
    assert_eq!(checked, 52);
}

/// The shape descends exactly into the message fields, `levels` deep.
fn check_shape(
    name: &str,
    shape: Shape,
    messages: &BTreeMap<String, &DescriptorProto>,
    levels: usize,
) {
    for field in &messages[name].field {
        let is_message = field.r#type() == field_descriptor_proto::Type::Message;
        let child = shape.child(u32::try_from(field.number()).expect("positive"));
        assert_eq!(child.is_some(), is_message, "{name}.{}", field.name());
        if let (Some(child), 1..) = (child, levels) {
            check_shape(field.type_name(), child, messages, levels - 1);
        }
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        drop(decode::<TxnRequest>(bytes.clone().into()));
        drop(decode::<pb::AuthUserAddRequest>(bytes.into()));
    }

    #[test]
    fn what_prost_decodes_the_scan_lets_through(
        bytes in proptest::collection::vec(prop_oneof![0u8..6, 8u8..0x30, Just(0x12)], 0..48),
    ) {
        let plain = PutRequest::decode(&bytes[..]).ok();
        let ours = decode::<PutRequest>(bytes.into()).ok();
        prop_assert_eq!(ours, plain);
    }
}

#[test]
fn a_framed_range_is_a_prefix_and_the_message_however_long() {
    let header = Some(pb::ResponseHeader { cluster_id: 1, revision: 7, ..Default::default() });
    for (pairs, pieces) in [(0, 1), (3, 1), (500, 3)] {
        let kv = |i| crate::mvccpb::KeyValue {
            key: format!("k{i}").into(),
            value: vec![b'v'; 100].into(),
            ..Default::default()
        };
        let kvs: Vec<_> = (0..pairs).map(kv).collect();
        let answer = raw::RangeResponse {
            header,
            kvs: kvs.iter().map(Message::encode_to_vec).collect(),
            more: true,
            count: 1000,
        };
        let plain = pb::RangeResponse { header, kvs, more: true, count: 1000 }.encode_to_vec();
        let framed = frame_range(answer).expect("not too long");
        assert_eq!(framed.len(), pieces);
        let framed: Vec<u8> = framed.into_iter().flatten().collect();
        let length = u32::try_from(plain.len()).expect("short").to_be_bytes();
        assert_eq!(framed, [&[0], &length[..], &plain].concat());
    }
}
