//! The cheapest gRPC client that is still one: messages framed by hand over an HTTP/2
//! connection, so that the generator takes as little as possible of the processor it shares with
//! the server.

use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, Uri};
use tokio::net::TcpStream;

use crate::error::Error;

/// Length of the prefix of a gRPC message: compression flag and length.
const PREFIX_BYTES: usize = 5;
/// Flow control windows: large enough that no answer of these loads waits for one.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// A method ready to be called.
#[derive(Clone)]
pub(crate) struct Call {
    request: Request<()>,
}

impl Call {
    /// The method at `path`, `/package.Service/Method`.
    pub(crate) fn new(path: &'static str) -> Self {
        let uri = Uri::builder().scheme("http").authority("bench").path_and_query(path);
        let request = Request::builder()
            .method(Method::POST)
            .uri(uri.build().expect("the path is a constant"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            // What clients in use send besides.
            .header("user-agent", concat!("etcd-bench/", env!("CARGO_PKG_VERSION")))
            .header("client-api-version", env!("CARGO_PKG_VERSION"))
            .body(())
            .expect("the headers are constants");
        Call { request }
    }

    fn path(&self) -> String {
        self.request.uri().path().to_owned()
    }
}

/// One HTTP/2 connection; clones share it.
#[derive(Clone)]
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
}

impl Connection {
    /// Connects and serves the connection in the background.
    ///
    /// # Errors
    /// The server cannot be reached or speaks something else.
    pub(crate) async fn open(endpoint: SocketAddr) -> Result<Self, Error> {
        let failed = |source| Error::System { action: "connect", source };
        let stream = TcpStream::connect(endpoint).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (sender, connection) = h2::client::Builder::new()
            .initial_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(stream)
            .await?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// One framed request, one answer.
    ///
    /// # Errors
    /// The connection broke or the server refused.
    pub(crate) async fn unary(&self, method: &Call, message: Bytes) -> Result<Bytes, Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(method.request.clone(), false)?;
        stream.send_data(message, true)?;
        let response = response.await?;
        if let Some(status) = response.headers().get("grpc-status")
            && status != "0"
        {
            return Err(refusal(method, response.headers()));
        }
        let mut body = response.into_body();
        let answer = collect(&mut body).await?;
        match body.trailers().await? {
            Some(trailers) if trailers.get("grpc-status").is_some_and(|status| status != "0") => {
                Err(refusal(method, &trailers))
            }
            _ => Ok(answer),
        }
    }

    /// Opens a stream and sends its first message.
    ///
    /// # Errors
    /// The connection broke or the server refused.
    pub(crate) async fn stream(&self, method: &Call, message: Bytes) -> Result<Messages, Error> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut requests) = sender.send_request(method.request.clone(), false)?;
        requests.send_data(message, false)?;
        let response = response.await?;
        if response.headers().contains_key("grpc-status") {
            return Err(refusal(method, response.headers()));
        }
        Ok(Messages { _requests: requests, body: response.into_body(), pending: BytesMut::new() })
    }
}

fn refusal(method: &Call, headers: &HeaderMap) -> Error {
    let text = |name| {
        headers.get(name).map_or_else(String::new, |value| {
            String::from_utf8_lossy(value.as_bytes()).into_owned()
        })
    };
    let (status, message) = (text("grpc-status"), text("grpc-message"));
    Error::Refused { path: method.path(), status, message }
}

/// The message of an answer that has only one.
async fn collect(body: &mut RecvStream) -> Result<Bytes, Error> {
    let mut whole = next_chunk(body).await?.unwrap_or_default();
    let mut rest: Option<BytesMut> = None;
    while let Some(chunk) = next_chunk(body).await? {
        rest.get_or_insert_with(|| BytesMut::from(&whole[..])).extend_from_slice(&chunk);
    }
    if let Some(rest) = rest {
        whole = rest.freeze();
    }
    if whole.len() < PREFIX_BYTES {
        return Err(Error::Answer("no message"));
    }
    whole.advance(PREFIX_BYTES);
    Ok(whole)
}

async fn next_chunk(body: &mut RecvStream) -> Result<Option<Bytes>, Error> {
    match body.data().await {
        None => Ok(None),
        Some(chunk) => {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            Ok(Some(chunk))
        }
    }
}

/// The answers of a stream; the sending half stays open as long as this lives.
pub(crate) struct Messages {
    _requests: SendStream<Bytes>,
    body: RecvStream,
    pending: BytesMut,
}

impl Messages {
    /// The next message.
    ///
    /// # Errors
    /// The stream broke or ended.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Error> {
        loop {
            if let Some(prefix) = self.pending.first_chunk::<PREFIX_BYTES>() {
                let [_, length @ ..] = *prefix;
                let length = usize::try_from(u32::from_be_bytes(length))
                    .map_err(|_| Error::Answer("message above the address space"))?;
                if self.pending.len() >= PREFIX_BYTES + length {
                    self.pending.advance(PREFIX_BYTES);
                    return Ok(self.pending.split_to(length).freeze());
                }
            }
            match next_chunk(&mut self.body).await? {
                Some(chunk) => self.pending.extend_from_slice(&chunk),
                None => return Err(Error::Answer("the stream ended")),
            }
        }
    }
}

/// Frames a message.
pub(crate) fn framed(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("requests of these loads are small"));
    message.encode(&mut frame).expect("the buffer grows as needed");
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_flag_a_length_and_the_message() {
        let put = proto::etcdserverpb::PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"vv"),
            ..Default::default()
        };
        assert_eq!(&framed(&put)[..], b"\0\0\0\0\x07\x0a\x01k\x12\x02vv");
    }
}
