//! Requests of the v2 API, which logs of 3.4 and 3.5 carry for two purposes.
//!
//! Those versions published a member's name and client URLs, and the cluster version, as a PUT
//! below `/0`. Everything else of that API has no meaning any more and changes nothing.

use bytes::Bytes;
use prost::encoding::{self, DecodeContext, WireType};
use proto::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};

use crate::request::{Envelope, Request};

const FIELD_ID: u32 = 1;
const FIELD_METHOD: u32 = 2;
const FIELD_PATH: u32 = 3;
const FIELD_VALUE: u32 = 4;

/// Tag of a v2 request's first field, which its writers never leave out.
const ID_TAG: u8 = 0x08;

/// Whether these bytes are a whole v2 request rather than the method text of one.
///
/// Field 2 of an entry is a nested v2 request in an `InternalRaftRequest`, but the text `PUT` or
/// another method when the entry itself is a v2 request.
pub(crate) fn is_nested_request(field_two: &[u8]) -> bool {
    field_two.first().is_none_or(|&first| first == ID_TAG)
}

/// The name and client URLs as the v2 API stored them.
#[derive(serde::Deserialize)]
struct AttributesJson {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "clientURLs")]
    client_urls: Option<Vec<String>>,
}

/// Decodes a v2 request into what it means today.
pub(crate) fn decode(data: &Bytes) -> Result<Envelope, String> {
    let mut rest: &[u8] = data;
    let (mut request_id, mut method, mut path, mut value) = (0, &[][..], &[][..], &[][..]);
    while !rest.is_empty() {
        let (field, wire) = encoding::decode_key(&mut rest).map_err(text)?;
        match (field, wire) {
            (FIELD_ID, WireType::Varint) => {
                request_id = encoding::decode_varint(&mut rest).map_err(text)?;
            }
            (FIELD_METHOD, WireType::LengthDelimited) => method = field_bytes(&mut rest)?,
            (FIELD_PATH, WireType::LengthDelimited) => path = field_bytes(&mut rest)?,
            (FIELD_VALUE, WireType::LengthDelimited) => value = field_bytes(&mut rest)?,
            (_, wire) => {
                encoding::skip_field(wire, field, &mut rest, DecodeContext::default())
                    .map_err(text)?;
            }
        }
    }
    let request = if method == b"PUT" { meaning(path, value)? } else { Request::Nothing };
    Ok(Envelope { request_id, request })
}

fn meaning(path: &[u8], value: &[u8]) -> Result<Request, String> {
    if path == b"/0/version" {
        let ver = std::str::from_utf8(value).map_err(text)?.to_owned();
        return Ok(Request::ClusterVersionSet(ClusterVersionSetRequest { ver }));
    }
    let Some(id) = path.strip_prefix(b"/0/members/").and_then(|p| p.strip_suffix(b"/attributes"))
    else {
        return Ok(Request::Nothing);
    };
    let id = std::str::from_utf8(id).map_err(text)?;
    let member_id = u64::from_str_radix(id, 16).map_err(text)?;
    let stored: AttributesJson = serde_json::from_slice(value).map_err(text)?;
    let attributes =
        Attributes { name: stored.name, client_urls: stored.client_urls.unwrap_or_default() };
    Ok(Request::ClusterMemberAttrSet(ClusterMemberAttrSetRequest {
        member_id,
        member_attributes: Some(attributes),
    }))
}

fn field_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = usize::try_from(encoding::decode_varint(rest).map_err(text)?).map_err(text)?;
    let Some((head, tail)) = rest.split_at_checked(len) else {
        return Err(format!("a field of {len} bytes in the last {} bytes", rest.len()));
    };
    *rest = tail;
    Ok(head)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
