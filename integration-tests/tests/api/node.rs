//! A member under test, the stubs to talk to it, and calls made of bare bytes.

use std::future::Future;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use http::uri::PathAndQuery;
use integration_tests::{Builder, Kind, Server};
use prost::Message;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::lease_client::LeaseClient;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest,
    RangeResponse, RequestOp, StatusRequest, TxnRequest, request_op,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_stream::{Stream, StreamExt as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// Longest wait for anything that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes a client lets a stream send ahead: little, so that a reader that pauses is noticed.
const SMALL_WINDOW_BYTES: u32 = 64 * 1024;

/// Whose server is tested.
pub(crate) fn target() -> Kind {
    match std::env::var("API_TARGET").as_deref() {
        Ok("reference") => Kind::Reference,
        _ => Kind::Ours,
    }
}

/// Says that the target cannot run the test, and whether that is so.
pub(crate) fn only_ours(id: &str) -> bool {
    let skipped = target() == Kind::Reference;
    if skipped {
        println!("SKIPPED {id}: etcd 3.4 differs");
    }
    skipped
}

/// The outcome of `future`, or a panic that names what did not come in time.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(outcome) => outcome,
        Err(_) => panic!("not within {PATIENCE:?}: {what}"),
    }
}

/// Asks again until `condition` gives a value.
pub(crate) async fn until<T, F>(what: &str, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    within(what, async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// One running member and a connection to it.
pub(crate) struct Node {
    server: Server,
    channel: Channel,
    dir: TempDir,
}

async fn connect(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(server.client_url()).expect("a URL");
    endpoint.connect().await.expect("the member accepts connections")
}

impl Node {
    /// A new member with no data.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, started with more flags.
    pub(crate) async fn start_with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let builder = Server::builder(target(), dir.path()).args(flags.iter().copied());
        Self::run(builder, dir).await
    }

    /// Not by its health, which alarms spoil.
    async fn run(builder: Builder, dir: TempDir) -> Self {
        let server = builder.spawn();
        let channel = until("the member accepts connections", || async {
            Endpoint::from_shared(server.client_url()).expect("a URL").connect().await.ok()
        })
        .await;
        let node = Self { server, channel, dir };
        until("the member leads", || async {
            let status = node.maintenance().status(StatusRequest {}).await.ok()?.into_inner();
            (status.leader != 0).then_some(())
        })
        .await;
        node
    }

    /// SIGKILL, then the same member again.
    pub(crate) async fn restart_after_kill(self) -> Self {
        let Self { server, channel, dir } = self;
        drop(channel);
        Self::run(server.kill(), dir).await
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn wait(&mut self) {
        let server = &mut self.server;
        within("the member ends", async {
            while server.ended().is_none() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// The process.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The connection all stubs of this node share.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Another connection.
    pub(crate) async fn new_channel(&self) -> Channel {
        connect(&self.server).await
    }

    /// Another connection, on which the member may not send much ahead of the reader.
    pub(crate) async fn narrow_channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(self.server.client_url()).expect("a URL");
        let endpoint = endpoint
            .initial_stream_window_size(SMALL_WINDOW_BYTES)
            .initial_connection_window_size(SMALL_WINDOW_BYTES);
        endpoint.connect().await.expect("the member accepts connections")
    }

    pub(crate) fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    pub(crate) fn lease(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.channel())
    }

    pub(crate) fn maintenance(&self) -> MaintenanceClient<Channel> {
        MaintenanceClient::new(self.channel())
    }

    /// Writes a pair and gives its revision.
    pub(crate) async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> i64 {
        let request = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
        self.put_request(request).await
    }

    /// Writes a pair attached to a lease and gives its revision.
    pub(crate) async fn put_leased(&self, key: impl Into<Bytes>, lease: i64) -> i64 {
        let value = Bytes::from_static(b"leased");
        let request = PutRequest { key: key.into(), value, lease, ..PutRequest::default() };
        self.put_request(request).await
    }

    async fn put_request(&self, request: PutRequest) -> i64 {
        let response = self.kv().put(request).await.expect("a put");
        response.into_inner().header.expect("a header").revision
    }

    /// Writes `values` in this order, each as revision of its own; gives the last revision.
    pub(crate) async fn put_all<K, V>(&self, pairs: impl IntoIterator<Item = (K, V)>) -> i64
    where
        K: Into<Bytes>,
        V: Into<Bytes>,
    {
        let mut last = 0;
        for (key, value) in pairs {
            last = self.put(key, value).await;
        }
        last
    }

    /// Deletes one key and gives the revision.
    pub(crate) async fn delete(&self, key: impl Into<Bytes>) -> i64 {
        self.delete_range(key, Bytes::new()).await
    }

    /// Deletes a range and gives the revision.
    pub(crate) async fn delete_range(
        &self,
        key: impl Into<Bytes>,
        range_end: impl Into<Bytes>,
    ) -> i64 {
        let (key, range_end) = (key.into(), range_end.into());
        let request = DeleteRangeRequest { key, range_end, ..DeleteRangeRequest::default() };
        let response = self.kv().delete_range(request).await.expect("a delete");
        response.into_inner().header.expect("a header").revision
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> RangeResponse {
        self.kv().range(request).await.expect("a range").into_inner()
    }

    /// The pair of a key, if there is one.
    pub(crate) async fn get(&self, key: impl Into<Bytes>) -> Option<proto::mvccpb::KeyValue> {
        let request = RangeRequest { key: key.into(), ..RangeRequest::default() };
        self.range(request).await.kvs.pop()
    }

    /// The revision of the store.
    pub(crate) async fn revision(&self) -> i64 {
        let request = RangeRequest { key: "any".into(), ..RangeRequest::default() };
        self.range(request).await.header.expect("a header").revision
    }

    pub(crate) async fn compact(&self, revision: i64) {
        let request = CompactionRequest { revision, physical: true };
        self.kv().compact(request).await.expect("a compaction");
    }

    pub(crate) async fn txn(&self, success: Vec<RequestOp>) -> i64 {
        let request = TxnRequest { success, ..TxnRequest::default() };
        let response = self.kv().txn(request).await.expect("a transaction");
        response.into_inner().header.expect("a header").revision
    }

    pub(crate) async fn alarm(&self, action: i32, member_id: u64, alarm: i32) -> AlarmResponse {
        let request = AlarmRequest { action, member_id, alarm };
        self.maintenance().alarm(request).await.expect("an alarm request").into_inner()
    }

    /// A write and a linearizable read of it, on a new connection: the member serves.
    pub(crate) async fn assert_serves(&self) {
        within("the member serves", async {
            let mut kv = KvClient::new(self.new_channel().await);
            let put = PutRequest { key: "alive".into(), ..PutRequest::default() };
            let header = kv.put(put).await.expect("a put").into_inner().header;
            let range = RangeRequest { key: "alive".into(), ..RangeRequest::default() };
            let pairs = kv.range(range).await.expect("a range").into_inner().kvs;
            assert!(pairs[0].mod_revision >= header.expect("a header").revision);
        })
        .await;
    }

    /// Calls a method with bytes as they are and gives the first message it answers.
    pub(crate) async fn call_bytes(
        &self,
        path: &str,
        request: Request<Bytes>,
    ) -> Result<Bytes, Status> {
        let request = request.map(tokio_stream::once);
        let mut answers = open(self.channel(), path, request).await?;
        let first = within("an answer", answers.message()).await?;
        Ok(first.unwrap_or_default())
    }

    /// Calls a method and gives all messages of its answer, and how it ended.
    pub(crate) async fn call_all<M: Message>(
        &self,
        path: &'static str,
        message: &M,
    ) -> Result<Vec<Bytes>, Status> {
        let request = Request::new(tokio_stream::once(message.encode_to_vec().into()));
        let answers = open(self.channel(), path, request).await?;
        within("the end of the answers", answers.collect()).await
    }
}

/// Opens a stream of bare messages in both directions. On the wire, unary calls are the same.
pub(crate) async fn open<S>(
    channel: Channel,
    path: &str,
    request: Request<S>,
) -> Result<Streaming<Bytes>, Status>
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel).max_decoding_message_size(usize::MAX);
    grpc.ready().await.expect("the connection stands");
    let path: PathAndQuery = path.parse().expect("a path");
    let opened = within("an answer", grpc.streaming(request, path, BareCodec)).await?;
    Ok(opened.into_inner())
}

/// The answers of a stream. Go's servers send no header before the first answer, so the requests
/// that provoke it must be sent while the stream opens.
pub(crate) struct Late<T> {
    opening: Option<JoinHandle<Result<Response<Streaming<T>>, Status>>>,
    answers: Option<Streaming<T>>,
}

impl<T: Send + 'static> Late<T> {
    /// Opens the stream in the background.
    pub(crate) fn open<F>(opening: F) -> Self
    where
        F: Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static,
    {
        Self { opening: Some(tokio::spawn(opening)), answers: None }
    }

    /// The next answer; `None` at an end with status OK.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Status> {
        // Cancel safe: the task is given up only when it is done.
        if let Some(opening) = &mut self.opening {
            let opened = opening.await.expect("the stream opens without a panic");
            self.opening = None;
            self.answers = Some(opened?.into_inner());
        }
        self.answers.as_mut().expect("open").message().await
    }
}

/// Messages as the bytes they are.
#[derive(Debug, Clone, Copy, Default)]
struct BareCodec;

impl Codec for BareCodec {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for BareCodec {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.put(item);
        Ok(())
    }
}

impl Decoder for BareCodec {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buf.copy_to_bytes(buf.remaining())))
    }
}

/// The operation of a transaction.
pub(crate) fn op(request: impl Into<request_op::Request>) -> RequestOp {
    RequestOp { request: Some(request.into()) }
}

/// A put as an operation of a transaction.
pub(crate) fn put_op(key: impl Into<Bytes>, value: impl Into<Bytes>) -> RequestOp {
    let put = PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() };
    op(request_op::Request::RequestPut(put))
}

/// A delete of `[key, range_end)` as an operation of a transaction.
pub(crate) fn delete_op(key: impl Into<Bytes>, range_end: impl Into<Bytes>) -> RequestOp {
    let (key, range_end) = (key.into(), range_end.into());
    op(request_op::Request::RequestDeleteRange(DeleteRangeRequest {
        key,
        range_end,
        ..DeleteRangeRequest::default()
    }))
}

/// A transaction inside a transaction.
pub(crate) fn txn_op(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    let nested = TxnRequest { success, failure, ..TxnRequest::default() };
    op(request_op::Request::RequestTxn(nested))
}
