//! Requests of the v2 API, which logs of 3.4 and 3.5 carry for two purposes.
//!
//! Those versions published a member's name and client URLs, and the cluster version, as a PUT
//! below `/0`. Everything else of that API has no meaning any more and changes nothing.

use bytes::{BufMut as _, Bytes, BytesMut};
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

/// The PUT by which 3.4 and 3.5 publish: the value below `path`, as those versions write it.
pub fn v2_put(request_id: u64, path: &str, value: &str) -> Bytes {
    // Field numbers up to 16 without 8: all are written, empty or not.
    const EMPTY_TEXT: [u32; 1] = [6];
    let mut out = BytesMut::with_capacity(64 + path.len() + value.len());
    encoding::uint64::encode(FIELD_ID, &request_id, &mut out);
    for (field, text) in [(FIELD_METHOD, "PUT"), (FIELD_PATH, path), (FIELD_VALUE, value)] {
        encoding::encode_key(field, WireType::LengthDelimited, &mut out);
        encoding::encode_varint(text.len() as u64, &mut out);
        out.put_slice(text.as_bytes());
    }
    for field in (5..=16).filter(|field| *field != 8) {
        let wire = match EMPTY_TEXT.contains(&field) {
            true => WireType::LengthDelimited,
            false => WireType::Varint,
        };
        encoding::encode_key(field, wire, &mut out);
        out.put_u8(0);
    }
    out.freeze()
}

/// Where 3.4 and 3.5 keep a member's name and client URLs, and the JSON they keep there.
pub fn v2_attributes(member_id: u64, name: &str, client_urls: &[String]) -> (String, String) {
    let mut json = String::from("{");
    if !name.is_empty() {
        json.push_str("\"name\":");
        base::json::string(name, &mut json);
    }
    if !client_urls.is_empty() {
        json.push_str(if name.is_empty() { "\"clientURLs\":" } else { ",\"clientURLs\":" });
        base::json::list(client_urls, &mut json, |url, out| base::json::string(url, out));
    }
    json.push('}');
    (format!("/0/members/{member_id:x}/attributes"), json)
}

/// Where 3.4 and 3.5 keep the cluster version.
pub const V2_VERSION_PATH: &str = "/0/version";

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

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).expect("hex digits");
            u8::from_str_radix(text, 16).expect("hex digits")
        };
        digits.chunks(2).map(pair).collect()
    }

    /// As etcd 3.4.23 wrote them into its log.
    #[test]
    fn what_is_published_has_the_bytes_of_3_4() {
        let (path, json) =
            v2_attributes(0x8dda_b735_34be_950c, "default", &["http://127.0.0.1:31379".to_owned()]);
        let mut expected = bytes("0882b0d3e6a8c0a8869501 1203505554 1a26");
        expected.extend(b"/0/members/8ddab73534be950c/attributes\x22\x3a");
        expected.extend(br#"{"name":"default","clientURLs":["http://127.0.0.1:31379"]}"#);
        expected.extend(bytes("2800 3200 3800 4800 5000 5800 6000 6800 7000 7800 800100"));
        let id = bytes("82b0d3e6a8c0a8869501");
        let id = encoding::decode_varint(&mut id.as_slice()).expect("a number");
        let put = v2_put(id, &path, &json);
        assert_eq!(put, expected);
        let read = decode(&put).expect("a v2 request");
        assert!(matches!(read.request, Request::ClusterMemberAttrSet(_)), "{:?}", read.request);
        let version = decode(&v2_put(7, V2_VERSION_PATH, "3.4.0")).expect("a v2 request");
        assert_eq!(version.request_id, 7);
    }
}
