//! Answers as Go's handlers write them.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;

/// The content type of the page of metrics.
pub(super) const METRICS_TYPE: &str =
    "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
const TEXT_TYPE: &str = "text/plain; charset=utf-8";
const NOSNIFF: HeaderName = http::header::X_CONTENT_TYPE_OPTIONS;

/// An answer before its common headers are added.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

impl From<Answer> for Response<Full<Bytes>> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(Full::new(answer.body));
        *response.status_mut() = answer.status;
        response.headers_mut().extend(answer.headers.into_iter().map(|(k, v)| (Some(k), v)));
        response
    }
}

impl Answer {
    /// The same, compressed if the client says that it can read that.
    pub(super) fn compressed_for(mut self, request: &HeaderMap) -> Answer {
        let accepted =
            request.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let mut codings = accepted.flat_map(|value| value.split(',')).map(str::trim);
        if codings.any(|coding| {
            coding == "gzip" || coding.starts_with("gzip;") && !coding.ends_with("=0")
        }) {
            let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
            // Writing to memory does not fail.
            if let Ok(body) = gzip.write_all(&self.body).and_then(|()| gzip.finish()) {
                self.body = body.into();
                self.headers.push((CONTENT_ENCODING, HeaderValue::from_static("gzip")));
            }
        }
        self
    }
}

/// 200 with this content type.
pub(super) fn plain(content_type: &'static str, body: String) -> Answer {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(content_type))];
    Answer { status: StatusCode::OK, headers, body: body.into() }
}

/// Plain text.
pub(super) fn text(status: StatusCode, body: String) -> Answer {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static(TEXT_TYPE))];
    Answer { status, headers, body: body.into() }
}

/// A page.
pub(super) fn html(status: StatusCode, body: String) -> Answer {
    let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))];
    Answer { status, headers, body: body.into() }
}

/// Plain text that a browser must not take for anything else; Go adds this to every error.
pub(super) fn error(status: StatusCode, body: impl Into<String>) -> Answer {
    let mut answer = text(status, body.into());
    answer.headers.push((NOSNIFF, HeaderValue::from_static("nosniff")));
    answer
}

/// 404.
pub(super) fn not_found() -> Answer {
    error(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// 405 of an endpoint that can only be read.
pub(super) fn method_not_allowed() -> Answer {
    let mut answer = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n");
    answer.headers.push((ALLOW, HeaderValue::from_static("GET")));
    answer
}

/// 400 before any handler, with this after the words; the connection ends.
pub(super) fn bad_request(detail: &'static str) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::BAD_REQUEST, format!("400 Bad Request{detail}"));
    answer.headers.push((CONNECTION, HeaderValue::from_static("close")));
    let mut response: Response<Full<Bytes>> = answer.into();
    let reason = Bytes::from(format!("Bad Request{detail}"));
    if let Ok(reason) = ReasonPhrase::try_from(reason) {
        response.extensions_mut().insert(reason);
    }
    response
}

/// 421 of a host that is not in the whitelist.
pub(super) fn foreign_host(host: &str) -> Answer {
    let quoted = base::text::quote(host.as_bytes());
    let body = format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n\
         \x20 - e.g. etcd --host-whitelist {quoted}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks \
         (CVE-2018-5702).\n\n"
    );
    error(StatusCode::MISDIRECTED_REQUEST, body)
}

/// Text made safe inside HTML.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}
