//! From the bytes of an entry to a request.

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleListRequest, AuthUserAddRequest, InternalRaftRequest, RequestHeader,
};
use proto::request::{Kind, encode};

use super::{Rig, op_txn, put, txn};
use crate::request::{Envelope, Request};
use crate::{ApplyError, EntryKind, Error, Reply};

fn bytes(hex: &str) -> Bytes {
    let digits: Vec<_> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    let byte = |pair: &[char]| {
        u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two hex digits")
    };
    digits.chunks(2).map(byte).collect()
}

fn decode(hex: &str) -> Envelope {
    Envelope::decode(&bytes(hex)).expect("the entry is well-formed")
}

#[test]
fn known_entries_decode() {
    let envelope = decode("220a0a03666f6f1203626172a2060a08829cbcaf82b8dfa669");
    assert_eq!(envelope.request_id, 7587859211412770306);
    let Request::Put(put) = envelope.request else { panic!("{envelope:?}") };
    assert_eq!((put.key, put.value), ("foo".into(), "bar".into()));

    let grant = decode("420c083c10869483e68d82d5b432a2060a08011204726f6f741805");
    let Request::LeaseGrant(request) = grant.request else { panic!("{grant:?}") };
    assert_eq!((grant.request_id, request.ttl, request.id), (1, 60, 0x32695410dcc0ca06));

    let version = decode("a206020801a251070a05332e372e30");
    let Request::ClusterVersionSet(set) = version.request else { panic!("{version:?}") };
    assert_eq!(set.ver, "3.7.0");
}

#[test]
fn keys_and_values_are_slices_of_the_entry() {
    let data = encode(Kind::Put, &put("some-key", "some-value"), &RequestHeader::default());
    let Request::Put(request) = Envelope::decode(&data).expect("a put").request else {
        panic!("not a put")
    };
    let span = data.as_ptr_range();
    assert!(span.contains(&request.key.as_ptr()) && span.contains(&request.value.as_ptr()));
}

#[test]
fn every_request_of_the_schema_decodes_to_its_kind() {
    let empty = |kind: Kind| encode(kind, &(), &RequestHeader { id: 1, ..Default::default() });
    let decode = |kind| Envelope::decode(&empty(kind)).expect("an empty message").request;
    assert!(matches!(decode(Kind::Range), Request::Range(_)));
    assert!(matches!(decode(Kind::Put), Request::Put(_)));
    assert!(matches!(decode(Kind::DeleteRange), Request::DeleteRange(_)));
    assert!(matches!(decode(Kind::Txn), Request::Txn(_)));
    assert!(matches!(decode(Kind::Compaction), Request::Compaction(_)));
    assert!(matches!(decode(Kind::LeaseGrant), Request::LeaseGrant(_)));
    assert!(matches!(decode(Kind::LeaseRevoke), Request::LeaseRevoke(_)));
    assert!(matches!(decode(Kind::LeaseCheckpoint), Request::LeaseCheckpoint(_)));
    assert!(matches!(decode(Kind::Alarm), Request::Alarm(_)));
    assert!(matches!(decode(Kind::ClusterVersionSet), Request::ClusterVersionSet(_)));
    assert!(matches!(decode(Kind::ClusterMemberAttrSet), Request::ClusterMemberAttrSet(_)));
    assert!(matches!(decode(Kind::DowngradeInfoSet), Request::DowngradeInfoSet(_)));
    assert!(matches!(decode(Kind::DowngradeVersionTest), Request::DowngradeVersionTest));
    for kind in [
        Kind::AuthEnable,
        Kind::AuthDisable,
        Kind::Authenticate,
        Kind::AuthStatus,
        Kind::AuthUserAdd,
        Kind::AuthUserDelete,
        Kind::AuthUserGet,
        Kind::AuthUserChangePassword,
        Kind::AuthUserGrantRole,
        Kind::AuthUserRevokeRole,
        Kind::AuthUserList,
        Kind::AuthRoleList,
        Kind::AuthRoleAdd,
        Kind::AuthRoleDelete,
        Kind::AuthRoleGet,
        Kind::AuthRoleGrantPermission,
        Kind::AuthRoleRevokePermission,
    ] {
        assert!(matches!(decode(kind), Request::Auth), "{kind:?}");
    }
}

#[test]
fn a_leaders_first_entry_changes_nothing() {
    let mut rig = Rig::new();
    let applied = rig.apply_entry(EntryKind::Normal, Bytes::new()).expect("it is harmless");
    assert_eq!(applied.result, Ok(Reply::Nothing));
    assert_eq!((applied.request_id, applied.revision), (0, 1));
}

#[test]
fn an_id_outside_of_the_header_is_taken_without_one() {
    let put = put("a", "1");
    let request = InternalRaftRequest { id: 5, put: Some(put), ..Default::default() };
    let mut rig = Rig::new();
    let data: Bytes = request.encode_to_vec().into();
    let applied = rig.apply_entry(EntryKind::Normal, data).expect("a put");
    assert_eq!(applied.request_id, 5);
}

#[test]
fn unknown_fields_are_skipped() {
    // Field 500 as number, as message and as fixed 64, around a put.
    let data = "a01f05 a21f020801 a11f0102030405060708 220a0a03666f6f1203626172 a206020801";
    assert!(matches!(decode(data).request, Request::Put(_)));
}

#[test]
fn bytes_that_are_no_request_stop_the_member() {
    let chain = (0..600).fold(txn(vec![]), |inner, _| txn(vec![op_txn(inner)]));
    let too_deep = encode(Kind::Txn, &chain, &RequestHeader::default());
    for data in [
        Bytes::from_static(b"\xff\xff"),
        bytes("220a0a"),                 // a put cut short
        bytes("22030a05ff"),             // a key longer than its put
        bytes("a251030a01ff"),           // a version that is not UTF-8
        bytes("22ffffffffffffffffff01"), // an absurd length
        too_deep,
    ] {
        let outcome = Rig::new().apply_entry(EntryKind::Normal, data.clone());
        let Err(Error::Undecodable { index, .. }) = outcome else { panic!("{data:?} {outcome:?}") };
        assert_eq!(index, 1);
    }
}

#[test]
fn requests_about_users_are_refused_and_write_nothing() {
    let mut rig = Rig::new();
    let user = AuthUserAddRequest { name: "root".into(), ..Default::default() };
    let not_supported = ApplyError::AuthNotSupported;
    assert_eq!(rig.refusal(Kind::AuthUserAdd, &user), not_supported);
    assert_eq!(rig.refusal(Kind::AuthEnable, &AuthEnableRequest::default()), not_supported);
    assert_eq!(rig.refusal(Kind::AuthRoleList, &AuthRoleListRequest::default()), not_supported);
}

/// A request of the v2 API as 3.4 writes it: all fields but two are always there.
fn v2(method: &str, path: &str, value: &str) -> Vec<u8> {
    let mut data = vec![0x08, 0x05];
    for (tag, text) in [(0x12, method), (0x1a, path), (0x22, value)] {
        data.extend([tag, u8::try_from(text.len()).expect("short")]);
        data.extend(text.as_bytes());
    }
    data.extend([0x28, 0, 0x32, 0, 0x38, 0, 0x48, 0, 0x50, 0, 0x58, 0, 0x60, 0, 0x68, 0]);
    data.extend([0x70, 0, 0x78, 0, 0x80, 1, 0]);
    data
}

/// The same inside an `InternalRaftRequest`.
fn nested(data: &[u8]) -> Vec<u8> {
    let mut outer = vec![0x12, u8::try_from(data.len()).expect("short")];
    outer.extend(data);
    outer
}

#[test]
fn requests_of_the_old_api_mean_attributes_and_versions() {
    let attributes = r#"{"name":"m1","clientURLs":["http://127.0.0.1:2379"]}"#;
    let publish = v2("PUT", "/0/members/8e9e05c52164694d/attributes", attributes);
    let version = v2("PUT", "/0/version", "3.4.0");
    for (publish, version) in
        [(publish.clone(), version.clone()), (nested(&publish), nested(&version))]
    {
        let envelope = Envelope::decode(&publish.into()).expect("a v2 request");
        assert_eq!(envelope.request_id, 5);
        let Request::ClusterMemberAttrSet(set) = envelope.request else { panic!("{envelope:?}") };
        assert_eq!(set.member_id, 0x8e9e05c52164694d);
        let attributes = set.member_attributes.expect("they were sent");
        assert_eq!(attributes.name, "m1");
        assert_eq!(attributes.client_urls, ["http://127.0.0.1:2379"]);
        let envelope = Envelope::decode(&version.into()).expect("a v2 request");
        let Request::ClusterVersionSet(set) = envelope.request else { panic!("{envelope:?}") };
        assert_eq!(set.ver, "3.4.0");
    }
}

#[test]
fn other_requests_of_the_old_api_mean_nothing() {
    for data in [
        v2("PUT", "/1/foo", "bar"),
        v2("SYNC", "", ""),
        v2("DELETE", "/0/members/1", ""),
        v2("GET", "/0/version", "9.9.9"),
        nested(&v2("QGET", "/1/foo", "")),
        nested(&[]),
    ] {
        let envelope = Envelope::decode(&data.into()).expect("a v2 request");
        assert_eq!(envelope.request, Request::Nothing);
    }
}
