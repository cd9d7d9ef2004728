//! Words of errors that the transport makes, as the Go library says them, and refusals before a
//! request reaches its service.

use http::HeaderMap;
use tonic::{Code, Status};

use super::routes::{Lost, split};
use crate::metrics::Counter;

/// A status that replaces `status` if the transport made it in words of its own.
pub(super) fn reword(status: &Status, message_bytes_max: usize) -> Option<Status> {
    let text = status.message();
    match status.code() {
        Code::OutOfRange => {
            let rest = text.strip_prefix("Error, decoded message length too large: found ")?;
            let found = rest.split(' ').next()?;
            Some(too_large(found, message_bytes_max))
        }
        Code::ResourceExhausted if text.starts_with("Error decompressing: size limit") => {
            // The real size is not known: decompression stopped at the limit.
            Some(too_large(&(message_bytes_max + 1).to_string(), message_bytes_max))
        }
        _ => None,
    }
}

/// The status that ends a stream whose next request could not be received. A client that left is
/// no failure.
pub(super) fn not_received(status: Status, message_bytes_max: usize, failures: &Counter) -> Status {
    let left = matches!(status.code(), Code::Cancelled | Code::Unknown | Code::Unavailable);
    if !left {
        failures.inc();
    }
    reword(&status, message_bytes_max).unwrap_or(status)
}

fn too_large(found: &str, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({found} vs. {limit})"
    ))
}

/// The refusal of a path without a route.
pub(super) fn lost(path: &str, lost: &Lost) -> Status {
    let (service, method) = split(path).unwrap_or((path, ""));
    Status::unimplemented(match lost {
        Lost::Service => format!("unknown service {service}"),
        Lost::Method => format!("unknown method {method} for service {service}"),
        Lost::Malformed => format!("malformed method name: {path:?}"),
    })
}

/// How a request's messages are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    /// As they are.
    Plain,
    /// Compressed by gzip; answers are, too.
    Gzip,
}

/// The packing of a request.
///
/// # Errors
/// Unimplemented for any other compression.
pub(super) fn packing(headers: &HeaderMap) -> Result<Packing, Status> {
    let Some(encoding) = headers.get("grpc-encoding") else { return Ok(Packing::Plain) };
    match encoding.as_bytes() {
        b"identity" => Ok(Packing::Plain),
        b"gzip" => Ok(Packing::Gzip),
        other => Err(Status::unimplemented(format!(
            "grpc: Decompressor is not installed for grpc-encoding {}",
            base::text::quote(other)
        ))),
    }
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Option<std::time::Duration> {
    use std::time::Duration;
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn too_large_messages_are_reported_in_the_known_words() {
        let made = Status::out_of_range(
            "Error, decoded message length too large: found 2097172 bytes, the limit is: \
             2097152 bytes",
        );
        let said = reword(&made, 2097152).expect("reworded");
        assert_eq!(said.code(), Code::ResourceExhausted);
        let words = "grpc: received message larger than max (2097172 vs. 2097152)";
        assert_eq!(said.message(), words);
        let ours = Status::out_of_range("etcdserver: mvcc: required revision has been compacted");
        assert!(reword(&ours, 1).is_none());
    }

    #[test]
    fn paths_without_a_route_are_named() {
        for (path, why, words) in [
            ("/a.B/C", Lost::Service, "unknown service a.B"),
            ("/a.B/C", Lost::Method, "unknown method C for service a.B"),
            ("x", Lost::Malformed, "malformed method name: \"x\""),
        ] {
            assert_eq!(lost(path, &why).message(), words);
        }
    }

    #[test]
    fn only_gzip_is_unpacked() {
        let of = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-encoding", name.parse().expect("a header"));
            packing(&headers)
        };
        assert_eq!(packing(&HeaderMap::new()).expect("plain"), Packing::Plain);
        assert_eq!(of("identity").expect("plain"), Packing::Plain);
        assert_eq!(of("gzip").expect("gzip"), Packing::Gzip);
        let refused = of("deflate").expect_err("unknown");
        assert_eq!(refused.code(), Code::Unimplemented);
        let words = "grpc: Decompressor is not installed for grpc-encoding \"deflate\"";
        assert_eq!(refused.message(), words);
    }

    #[test]
    fn timeouts_have_up_to_eight_digits_and_a_unit() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().expect("a header"));
            timeout(&headers)
        };
        assert_eq!(of("5S"), Some(Duration::from_secs(5)));
        assert_eq!(of("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(of("2H"), Some(Duration::from_secs(7200)));
        for odd in ["", "S", "5", "5x", "-5S", "123456789S", "1.5S"] {
            assert_eq!(of(odd), None, "{odd}");
        }
    }
}
