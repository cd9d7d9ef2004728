//! Builds the request of a log entry without going through the wide generated struct.

use bytes::{Bytes, BytesMut};
use prost::Message;
use prost::encoding;

use crate::etcdserverpb::RequestHeader;

/// Field numbers of `InternalRaftRequest`: which request the log entry carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "each names the field of its request")]
pub enum Kind {
    Range = 3,
    Put = 4,
    DeleteRange = 5,
    Txn = 6,
    Compaction = 7,
    LeaseGrant = 8,
    LeaseRevoke = 9,
    Alarm = 10,
    LeaseCheckpoint = 11,
    AuthEnable = 1000,
    AuthDisable = 1011,
    Authenticate = 1012,
    AuthStatus = 1013,
    AuthUserAdd = 1100,
    AuthUserDelete = 1101,
    AuthUserGet = 1102,
    AuthUserChangePassword = 1103,
    AuthUserGrantRole = 1104,
    AuthUserRevokeRole = 1105,
    AuthUserList = 1106,
    AuthRoleList = 1107,
    AuthRoleAdd = 1200,
    AuthRoleDelete = 1201,
    AuthRoleGet = 1202,
    AuthRoleGrantPermission = 1203,
    AuthRoleRevokePermission = 1204,
    ClusterVersionSet = 1300,
    ClusterMemberAttrSet = 1301,
    DowngradeInfoSet = 1302,
    DowngradeVersionTest = 9900,
}

/// Field number of the header inside `InternalRaftRequest`.
const HEADER_FIELD: u32 = 100;

/// Encodes an `InternalRaftRequest` holding `request` under its field and `header`, in ascending
/// field order: the exact bytes the generated struct would give.
pub fn encode<M: Message>(kind: Kind, request: &M, header: &RequestHeader) -> Bytes {
    let field = kind as u32;
    let len = encoding::message::encoded_len(field, request)
        + encoding::message::encoded_len(HEADER_FIELD, header);
    let mut buf = BytesMut::with_capacity(len);
    if field < HEADER_FIELD {
        encoding::message::encode(field, request, &mut buf);
        encoding::message::encode(HEADER_FIELD, header, &mut buf);
    } else {
        encoding::message::encode(HEADER_FIELD, header, &mut buf);
        encoding::message::encode(field, request, &mut buf);
    }
    buf.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcdserverpb::{InternalRaftRequest, PutRequest};
    use crate::membershippb::ClusterVersionSetRequest;

    #[test]
    fn put_equals_the_generated_encoding() {
        let put = PutRequest { key: "foo".into(), value: "bar".into(), ..Default::default() };
        let header = RequestHeader { id: 7587859211412770306, ..Default::default() };
        let bytes = encode(Kind::Put, &put, &header);
        let whole =
            InternalRaftRequest { put: Some(put), header: Some(header), ..Default::default() };
        assert_eq!(bytes, whole.encode_to_vec());
    }

    #[test]
    fn fields_above_the_header_follow_it() {
        let set = ClusterVersionSetRequest { ver: "3.7.0".into() };
        let header = RequestHeader { id: 1, ..Default::default() };
        let bytes = encode(Kind::ClusterVersionSet, &set, &header);
        let whole = InternalRaftRequest {
            cluster_version_set: Some(Box::new(set)),
            header: Some(header),
            ..Default::default()
        };
        assert_eq!(bytes, whole.encode_to_vec());
    }
}
