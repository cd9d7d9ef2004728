//! A member that only writes down what its transport tells it, and a raw connection.

use std::collections::HashSet;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::raftpb::{self, MessageType};
use rafthttp::{
    BoxFuture, Host, Local, Options, PlainDial, ReceiveError, SnapshotBody, StepRefused, Transport,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

pub(crate) const CLUSTER: u64 = 0x66982c88970e44f1;
pub(crate) const A: u64 = 0x7a32d137fe8e1fdd;
pub(crate) const B: u64 = 0x26a617247ac73af0;
pub(crate) const C: u64 = 0xcafe;

/// Waits until the condition gives a value; panics after 30 s.
pub(crate) async fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A snapshot's message, and its database or why that broke.
pub(crate) type Received = (raftpb::Message, Result<Vec<u8>, String>);

/// What a transport told its member.
#[derive(Default)]
pub(crate) struct FakeHost {
    pub(crate) messages: Mutex<Vec<raftpb::Message>>,
    pub(crate) refuse: Mutex<Option<StepRefused>>,
    pub(crate) removed: Mutex<HashSet<u64>>,
    pub(crate) unreachable: Mutex<Vec<u64>>,
    pub(crate) reports: Mutex<Vec<(u64, bool)>>,
    pub(crate) expelled: AtomicBool,
    pub(crate) snapshots: Arc<Mutex<Vec<Received>>>,
    pub(crate) refuse_snapshots: Mutex<Option<ReceiveError>>,
}

impl Host for FakeHost {
    fn step(&self, message: raftpb::Message) -> Result<(), StepRefused> {
        match self.refuse.lock().clone() {
            Some(refused) => Err(refused),
            None => {
                self.messages.lock().push(message);
                Ok(())
            }
        }
    }

    fn is_removed(&self, id: u64) -> bool {
        self.removed.lock().contains(&id)
    }

    fn report_unreachable(&self, id: u64) {
        self.unreachable.lock().push(id);
    }

    fn report_snapshot(&self, id: u64, arrived: bool) {
        self.reports.lock().push((id, arrived));
    }

    fn removed_from_cluster(&self) {
        self.expelled.store(true, Ordering::SeqCst);
    }

    fn receive_snapshot(
        &self,
        message: raftpb::Message,
        mut body: SnapshotBody,
    ) -> BoxFuture<'static, Result<(), ReceiveError>> {
        let received = self.snapshots.clone();
        let refused = self.refuse_snapshots.lock().clone();
        Box::pin(async move {
            let mut db = Vec::new();
            let read = loop {
                match body.chunk().await {
                    Ok(Some(chunk)) => db.extend_from_slice(&chunk),
                    Ok(None) => break Ok(db),
                    Err(error) => break Err(error.to_string()),
                }
            };
            let outcome = read.as_ref().map(drop).map_err(|e| ReceiveError::Store(e.clone()));
            received.lock().push((message, read));
            refused.map_or(outcome, Err)
        })
    }
}

impl FakeHost {
    pub(crate) async fn message(&self, what: &str) -> raftpb::Message {
        let take = || {
            let mut messages = self.messages.lock();
            (!messages.is_empty()).then(|| messages.remove(0))
        };
        eventually(what, take).await
    }

    pub(crate) fn was_unreachable(&self, id: u64) -> bool {
        self.unreachable.lock().contains(&id)
    }
}

/// A transport with its listener, as a server runs both.
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) host: Arc<FakeHost>,
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
    /// Paths that were answered with 200.
    pub(crate) opened: Arc<Mutex<Vec<String>>>,
    listening: Option<AbortHandle>,
}

impl Member {
    pub(crate) async fn start(id: u64) -> Member {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Member::start_on(listener, id, CLUSTER)
    }

    pub(crate) fn start_on(listener: TcpListener, id: u64, cluster_id: u64) -> Member {
        Member::start_with(listener, id, cluster_id, rafthttp::IoTimeouts::default())
    }

    pub(crate) fn start_with(
        listener: TcpListener,
        id: u64,
        cluster_id: u64,
        io_timeouts: rafthttp::IoTimeouts,
    ) -> Member {
        let address = listener.local_addr().expect("bound");
        let local =
            Local { member_id: id, cluster_id, peer_urls: vec![format!("http://{address}")] };
        let options = Options {
            local,
            election_timeout: Duration::from_secs(1),
            server_version: "3.7.1".to_owned(),
            io_timeouts,
        };
        let host = Arc::new(FakeHost::default());
        let transport =
            Transport::start(options, host.clone(), Arc::new(PlainDial), &Handle::current());
        let opened = Arc::default();
        let mut member = Member { id, host, transport, address, opened, listening: None };
        member.listen(listener);
        member
    }

    /// Serves connections, each on a task of its own that ends with [`Member::hang_up`].
    fn listen(&mut self, listener: TcpListener) {
        let (transport, opened) = (self.transport.clone(), self.opened.clone());
        let serve = async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, remote)) = listener.accept().await else { return };
                rafthttp::tune(&stream).expect("tune");
                let (transport, opened) = (transport.clone(), opened.clone());
                let service = hyper::service::service_fn(move |mut request| {
                    http::Request::extensions_mut(&mut request).insert(remote);
                    let (opened, path) = (opened.clone(), request.uri().path().to_owned());
                    let answer = transport.answer(request);
                    async move {
                        let answer = answer.await;
                        if answer.status() == 200 {
                            opened.lock().push(path);
                        }
                        Ok::<_, Infallible>(answer)
                    }
                });
                connections.spawn(rafthttp::serve_connection(
                    stream,
                    service,
                    rafthttp::IoTimeouts::default(),
                ));
            }
        };
        self.listening = Some(tokio::spawn(serve).abort_handle());
    }

    /// Breaks all incoming connections and stops listening.
    pub(crate) fn hang_up(&mut self) {
        self.listening.take().expect("listening").abort();
        self.opened.lock().clear();
    }

    pub(crate) async fn listen_again(&mut self) {
        let start = Instant::now();
        let listener = loop {
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(error) => assert!(start.elapsed() < Duration::from_secs(10), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        self.listen(listener);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn knows(&self, other: &Member) {
        self.transport.add_peer(other.id, &[other.url()]);
    }

    /// A message from this member.
    pub(crate) fn message(&self, kind: MessageType, to: u64, index: u64) -> raftpb::Message {
        raftpb::Message {
            r#type: Some(kind as i32),
            to: Some(to),
            from: Some(self.id),
            term: Some(2),
            index: Some(index),
            ..Default::default()
        }
    }

    /// An append of one entry of this size, which follows on the one at `index`.
    pub(crate) fn append(&self, to: u64, index: u64, bytes: usize) -> raftpb::Message {
        let entry = raftpb::Entry {
            r#type: Some(0),
            term: Some(2),
            index: Some(index + 1),
            data: Some(vec![index as u8; bytes].into()),
        };
        raftpb::Message {
            log_term: Some(2),
            entries: vec![entry],
            commit: Some(index),
            ..self.message(MessageType::MsgApp, to, index)
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.transport.stop();
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
    }
}

/// Two members that know each other, both kinds of streams attached in both directions.
pub(crate) async fn pair() -> (Member, Member) {
    let (a, b) = (Member::start(A).await, Member::start(B).await);
    a.knows(&b);
    b.knows(&a);
    streams_open(&a, &b).await;
    streams_open(&b, &a).await;
    (a, b)
}

/// Waits until one has given the other both kinds of streams.
pub(crate) async fn streams_open(from: &Member, to: &Member) {
    for kind in ["message", "msgapp"] {
        let path = format!("/raft/stream/{kind}/{:x}", to.id);
        let opened = || from.opened.lock().contains(&path).then_some(());
        eventually("a stream opens", opened).await;
    }
}

/// A connection spoken over by hand.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(stream: TcpStream) -> Raw {
        Raw { stream, buffer: Vec::new() }
    }

    pub(crate) async fn connect(address: SocketAddr) -> Raw {
        Raw::new(TcpStream::connect(address).await.expect("connect"))
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.expect("write");
    }

    /// More bytes; `false` at the end or when the connection broke.
    async fn fill(&mut self) -> bool {
        let read = self.stream.read_buf(&mut self.buffer);
        let read = tokio::time::timeout(Duration::from_secs(30), read).await;
        matches!(read.expect("bytes within 30 s"), Ok(1..))
    }

    /// The head of a message, without its empty line; `None` if the connection ended.
    pub(crate) async fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let rest = self.buffer.split_off(at + 4);
                let mut head = std::mem::replace(&mut self.buffer, rest);
                head.truncate(at);
                return Some(String::from_utf8(head).expect("ASCII"));
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    pub(crate) async fn head(&mut self) -> String {
        self.try_head().await.expect("the connection lives")
    }

    pub(crate) async fn exactly(&mut self, len: usize) -> Vec<u8> {
        while self.buffer.len() < len {
            assert!(self.fill().await, "the connection ended: {:?}", self.buffer);
        }
        let rest = self.buffer.split_off(len);
        std::mem::replace(&mut self.buffer, rest)
    }

    /// The next chunk of a chunked body; empty at its end.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.exactly(1).await);
        }
        let len = std::str::from_utf8(&line).expect("ASCII").trim();
        let len = usize::from_str_radix(len, 16).expect("a length");
        let chunk = self.exactly(len).await;
        assert_eq!(self.exactly(2).await, b"\r\n");
        chunk
    }

    /// What is left until the connection ends.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await {}
        std::mem::take(&mut self.buffer)
    }

    /// Status line and headers, sorted and without the date, and the body by its length.
    pub(crate) async fn answer(&mut self) -> (String, Vec<String>, Vec<u8>) {
        let head = self.head().await;
        let mut lines = head.split("\r\n").map(str::to_owned);
        let status = lines.next().expect("a status");
        let mut headers: Vec<String> = lines.filter(|l| !l.starts_with("Date: ")).collect();
        headers.sort();
        let len = headers.iter().find_map(|h| h.strip_prefix("Content-Length: "));
        let body = self.exactly(len.map_or(0, |len| len.parse().expect("a length"))).await;
        (status, headers, body)
    }
}

/// A peer that is a listener and nothing more: what it answers is up to the test.
pub(crate) struct FakePeer {
    pub(crate) address: SocketAddr,
    requests: mpsc::UnboundedReceiver<(String, Raw)>,
    /// Requests nobody has asked for yet; kept so that their connections live.
    others: Vec<(String, Raw)>,
    listening: AbortHandle,
}

impl FakePeer {
    pub(crate) async fn start() -> FakePeer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, requests) = mpsc::unbounded_channel();
        let accept = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let mut raw = Raw::new(stream);
                    if let Some(head) = raw.try_head().await {
                        drop(sender.send((head, raw)));
                    }
                });
            }
        };
        let listening = tokio::spawn(accept).abort_handle();
        FakePeer { address, requests, others: Vec::new(), listening }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The head and the connection of the next request that starts so.
    pub(crate) async fn expect(&mut self, start: &str) -> (String, Raw) {
        if let Some(at) = self.others.iter().position(|(head, _)| head.starts_with(start)) {
            return self.others.remove(at);
        }
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.requests.recv()).await;
            let request = next.expect("a request within 30 s").expect("listening");
            if request.0.starts_with(start) {
                return request;
            }
            self.others.push(request);
        }
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Bytes as one chunk of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Bytes from hexadecimal digits; blanks are for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(text, 16).expect("digits")
    };
    digits.chunks(2).map(byte).collect()
}
