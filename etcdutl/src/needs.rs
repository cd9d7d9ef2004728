//! Which etcd an entry of the log needs to be read by.

use std::path::Path;

use base::version::Version;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use wal::{Entry, EntryKind};

use crate::failure::Failure;

/// Field of an entry's request that holds the v2 request, and of a v2 request its method.
const V2: u32 = 2;
/// Fields of an entry's request that came with 3.4 and with 3.5.
const LEASE_CHECKPOINT: u32 = 11;
const AUTH_STATUS: u32 = 1013;
const SINCE_3_5: std::ops::RangeInclusive<u32> = 1300..=1302;
/// The request that names the version itself; only tests of etcd make it.
const DOWNGRADE_VERSION_TEST: u32 = 9900;

const V3_0: Version = Version::new(3, 0, 0);
const V3_4: Version = Version::new(3, 4, 0);
const V3_5: Version = Version::new(3, 5, 0);

/// The oldest etcd that reads what stands behind the newest snapshot of a log.
///
/// # Errors
/// What is wrong with the log.
pub(crate) fn version_of_log(wal_dir: &Path) -> Result<Version, Failure> {
    let marks = wal::valid_snapshots(wal_dir)?;
    let at = marks.last().map_or((0, 0), |mark| (mark.index, mark.term));
    let found = wal::read_all(wal_dir, at)?;
    Ok(found.entries.iter().map(version_of).max().unwrap_or(V3_0))
}

/// The oldest etcd that reads an entry.
pub(crate) fn version_of(entry: &Entry) -> Version {
    match entry.kind {
        EntryKind::ConfChange => V3_0,
        EntryKind::ConfChangeV2 => V3_4,
        // What is not a request at all is no later than those that are.
        EntryKind::Normal => version_of_request(&entry.data).unwrap_or(V3_0),
    }
}

/// Of the fields that are set, the one that came last. Nothing for what is not a request.
fn version_of_request(data: &[u8]) -> Option<Version> {
    let mut rest = data;
    let mut newest = V3_0;
    while !rest.is_empty() {
        let (field, wire) = decode_key(&mut rest).ok()?;
        let content = rest;
        skip_field(wire, field, &mut rest, DecodeContext::default()).ok()?;
        let since = match field {
            // The method's text: this is a v2 request, whose fields mean something else.
            V2 if !is_nested_request(content) => return Some(V3_0),
            LEASE_CHECKPOINT => V3_4,
            AUTH_STATUS => V3_5,
            DOWNGRADE_VERSION_TEST => named_version(content).unwrap_or(V3_5),
            field if SINCE_3_5.contains(&field) => V3_5,
            _ => V3_0,
        };
        newest = newest.max(since);
    }
    Some(newest)
}

/// Whether the field whose length stands at the head of `content` holds a whole v2 request, which
/// begins with its id, rather than the method of one.
fn is_nested_request(content: &[u8]) -> bool {
    let mut rest = content;
    decode_varint(&mut rest).is_ok() && rest.first().is_none_or(|first| *first == 0x08)
}

/// The text in the first field of the message whose length stands at the head of `content`.
fn named_version(content: &[u8]) -> Option<Version> {
    let mut rest = content;
    let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    let mut message = rest.get(..len)?;
    let (_, wire) = decode_key(&mut message).ok()?;
    (wire == WireType::LengthDelimited).then_some(())?;
    let len = usize::try_from(decode_varint(&mut message).ok()?).ok()?;
    std::str::from_utf8(message.get(..len)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::etcdserverpb::InternalRaftRequest;
    use proto::membershippb::ClusterVersionSetRequest;

    use super::*;

    fn normal(data: impl Into<bytes::Bytes>) -> Version {
        let data = data.into();
        version_of(&Entry { kind: EntryKind::Normal, term: 1, index: 1, data })
    }

    #[test]
    fn entries_need_what_their_newest_field_needs() {
        let conf_change = Entry { kind: EntryKind::ConfChange, ..Entry::default() };
        assert_eq!(version_of(&conf_change), V3_0);
        let put = proto::etcdserverpb::PutRequest { key: "a".into(), ..Default::default() };
        let put = InternalRaftRequest { put: Some(put), ..Default::default() };
        assert_eq!(normal(put.encode_to_vec()), V3_0);
        let version = ClusterVersionSetRequest { ver: "3.7.0".to_owned() };
        let version =
            InternalRaftRequest { cluster_version_set: Some(version.into()), ..Default::default() };
        assert_eq!(normal(version.encode_to_vec()), V3_5);
        assert_eq!(normal(""), V3_0);
    }

    #[test]
    fn requests_of_the_v2_api_are_old_whatever_their_fields_look_like() {
        let value = "x".repeat(200);
        let put = apply::legacy::v2_put(7, apply::legacy::V2_VERSION_PATH, &value);
        assert_eq!(normal(put), V3_0);
    }

    #[test]
    fn a_request_may_name_the_version_itself() {
        // Field 9900 with a message whose first field is the text `3.6.0`.
        let data = [&[0xe2, 0xea, 0x04, 7, 0x0a, 5][..], b"3.6.0"].concat();
        assert_eq!(normal(data), Version::new(3, 6, 0));
        assert_eq!(normal(vec![0xe2, 0xea, 0x04, 7, 0x0a, 5]), V3_0);
    }
}
