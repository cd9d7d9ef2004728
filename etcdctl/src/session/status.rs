//! gRPC statuses in the words of etcd's client.

use tonic::{Code, Status};

use crate::failure::{Failure, code};

/// etcd's own errors are told by their text alone.
const ETCD_PREFIX: &str = "etcdserver: ";
const DEADLINE: &str = "context deadline exceeded";

/// What a command prints for `status`.
pub(crate) fn failure(status: &Status) -> Failure {
    let text = match status.code() {
        Code::DeadlineExceeded => DEADLINE.to_owned(),
        _ if status.message().starts_with(ETCD_PREFIX) => status.message().to_owned(),
        _ => go_text(status),
    };
    Failure::new(code::ERROR, text)
}

/// `rpc error: code = NotFound desc = ...`.
pub(super) fn go_text(status: &Status) -> String {
    let code = match status.code() {
        Code::Ok => "OK".to_owned(),
        Code::Cancelled => "Canceled".to_owned(),
        other => format!("{other:?}"),
    };
    format!("rpc error: code = {code} desc = {}", status.message())
}

/// The deadline passed; `dial` tells why no connection was there.
pub(super) fn deadline(dial: Option<String>) -> Status {
    Status::deadline_exceeded(match dial {
        None => DEADLINE.to_owned(),
        Some(reason) => {
            let error = connection_error(&reason);
            format!("latest balancer error: last connection error: {error}")
        }
    })
}

/// No connection within the time for dialling; `dial` tells why.
pub(super) fn unreachable(dial: Option<String>) -> Status {
    let late = || format!("transport: Error while dialing: {DEADLINE}");
    Status::unavailable(connection_error(&dial.unwrap_or_else(late)))
}

fn connection_error(reason: &str) -> String {
    format!("connection error: desc = {}", base::text::quote(reason.as_bytes()))
}

/// A request above the client's own limit.
pub(super) fn sent_too_large(size: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "trying to send message larger than max ({size} vs. {limit})"
    ))
}

/// Statuses the transport made, in the words of Go's.
pub(super) fn as_go(status: Status) -> Status {
    if status.code() == Code::OutOfRange
        && let Some((size, limit)) = too_large(status.message())
    {
        let text = format!("grpc: received message larger than max ({size} vs. {limit})");
        return Status::resource_exhausted(text);
    }
    status
}

/// The two numbers of the transport's complaint about a message that is too large.
fn too_large(text: &str) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter(|word| !word.is_empty())
        .filter_map(|word| word.parse().ok())
        .collect();
    match (text.contains("too large"), numbers.as_slice()) {
        (true, [size, limit]) => Some((*size, *limit)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(status: &Status) -> String {
        failure(status).text().to_owned()
    }

    #[test]
    fn etcd_errors_print_their_text_and_others_their_code_too() {
        let known = Status::not_found("etcdserver: requested lease not found");
        assert_eq!(text(&known), "etcdserver: requested lease not found");
        assert_eq!(
            go_text(&known),
            "rpc error: code = NotFound desc = etcdserver: requested lease not found"
        );
        let other = Status::cancelled("context canceled");
        assert_eq!(text(&other), "rpc error: code = Canceled desc = context canceled");
        assert_eq!(
            text(&sent_too_large(5_242_890, 2_097_152)),
            "rpc error: code = ResourceExhausted desc = \
             trying to send message larger than max (5242890 vs. 2097152)"
        );
    }

    #[test]
    fn a_missed_deadline_prints_alone_whatever_its_reason() {
        let reason = "transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection \
                      refused"
            .to_owned();
        let status = deadline(Some(reason));
        assert_eq!(text(&status), "context deadline exceeded");
        assert_eq!(
            status.message(),
            "latest balancer error: last connection error: connection error: desc = \
             \"transport: Error while dialing: dial tcp 127.0.0.1:1: connect: connection refused\""
        );
    }

    #[test]
    fn an_answer_above_the_limit_is_told_in_the_words_of_go() {
        let status = Status::out_of_range(
            "Error, decoded message length too large: found 12 bytes, the limit is: 10 bytes",
        );
        assert_eq!(
            text(&as_go(status)),
            "rpc error: code = ResourceExhausted desc = \
             grpc: received message larger than max (12 vs. 10)"
        );
    }
}
