//! Watch streams: ids, starts, events and their order, splitting, slow readers, progress.

mod events;
mod progress;
mod streams;

use std::time::Duration;

use bytes::Bytes;
use proto::etcdserverpb::watch_client::WatchClient;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status};

use crate::node::{Late, Node, PATIENCE, within};

/// Id in answers that are about no watcher, or about one that could not be made.
const NO_WATCHER: i64 = -1;

/// How long an answer to a progress request may take before it is asked again: none comes while
/// a watcher still catches up.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(1);

/// One watch stream.
struct Session {
    requests: Option<mpsc::Sender<WatchRequest>>,
    answers: Late<WatchResponse>,
    /// Progress requests that were given up, and may be answered after all.
    given_up: usize,
}

fn everything() -> WatchCreateRequest {
    WatchCreateRequest { key: "\0".into(), range_end: "\0".into(), ..Default::default() }
}

fn one(key: &'static str) -> WatchCreateRequest {
    WatchCreateRequest { key: key.into(), ..WatchCreateRequest::default() }
}

fn from(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..everything() }
}

fn revision(response: &WatchResponse) -> i64 {
    response.header.as_ref().expect("a header").revision
}

/// What an event is about: `+key=value` or `-key`, and its revision.
fn told(response: &WatchResponse) -> Vec<(String, i64)> {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let events = response.events.iter().map(|event| {
        let kv = event.kv.as_ref().expect("a pair");
        let what = match event.r#type {
            0 => format!("+{}={}", text(&kv.key), text(&kv.value)),
            1 => format!("-{}", text(&kv.key)),
            other => panic!("an event of type {other}"),
        };
        (what, kv.mod_revision)
    });
    events.collect()
}

impl Session {
    async fn open(node: &Node) -> Self {
        Self::on(node.channel()).await
    }

    async fn on(channel: Channel) -> Self {
        let (requests, received) = mpsc::channel(1024);
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        let request = Request::new(ReceiverStream::new(received));
        let answers = Late::open(async move { client.watch(request).await });
        Self { requests: Some(requests), answers, given_up: 0 }
    }

    async fn send(&self, request: Option<RequestUnion>) {
        let requests = self.requests.as_ref().expect("requests are still possible");
        let sent = requests.send(WatchRequest { request_union: request });
        within("the request is sent", sent).await.expect("the stream is open");
    }

    /// Asks for a watcher and gives the answer, which may be a refusal.
    async fn create(&mut self, create: WatchCreateRequest) -> WatchResponse {
        self.send(Some(RequestUnion::CreateRequest(create))).await;
        let answer = self.next().await;
        assert!(answer.created, "{answer:?}");
        assert!(answer.events.is_empty(), "{answer:?}");
        answer
    }

    /// A new watcher's id.
    async fn watch(&mut self, create: WatchCreateRequest) -> i64 {
        let answer = self.create(create).await;
        assert!(!answer.canceled, "{answer:?}");
        answer.watch_id
    }

    async fn cancel(&self, watch_id: i64) {
        let cancel = WatchCancelRequest { watch_id };
        self.send(Some(RequestUnion::CancelRequest(cancel))).await;
    }

    /// Cancels a watcher and waits until that is confirmed.
    async fn end(&mut self, watch_id: i64) {
        self.cancel(watch_id).await;
        let answer = self.next().await;
        assert_eq!((answer.watch_id, answer.canceled), (watch_id, true), "{answer:?}");
        assert_eq!((answer.created, answer.compact_revision), (false, 0), "{answer:?}");
    }

    async fn ask_progress(&self) {
        self.send(Some(RequestUnion::ProgressRequest(WatchProgressRequest {}))).await;
    }

    async fn try_next(&mut self) -> Result<WatchResponse, Status> {
        loop {
            let next = within("a watch response", self.answers.next()).await?;
            let response = next.expect("the stream goes on");
            let is_progress = response.watch_id == NO_WATCHER && !response.created;
            if self.given_up > 0 && is_progress {
                self.given_up -= 1;
                continue;
            }
            return Ok(response);
        }
    }

    async fn next(&mut self) -> WatchResponse {
        self.try_next().await.expect("the stream goes on")
    }

    /// Waits for the end of the stream, with whatever status.
    async fn ended(&mut self) {
        while let Ok(Some(_)) = within("the end of the stream", self.answers.next()).await {}
    }

    /// Waits for the answer to a progress request, before which nothing else may come.
    async fn nothing_else(&mut self) -> i64 {
        let start = std::time::Instant::now();
        while start.elapsed() < PATIENCE {
            self.ask_progress().await;
            match tokio::time::timeout(PROGRESS_PATIENCE, self.next()).await {
                Ok(answer) => {
                    assert_eq!(answer.watch_id, NO_WATCHER, "{answer:?}");
                    assert!(!answer.created && answer.events.is_empty(), "{answer:?}");
                    return revision(&answer);
                }
                Err(_) => self.given_up += 1,
            }
        }
        panic!("progress requests are not answered");
    }

    /// Events until one has this revision; none may come twice or out of order.
    async fn events_to(&mut self, last: i64) -> Vec<(String, i64)> {
        let mut all: Vec<(String, i64)> = vec![];
        while all.last().is_none_or(|(_, revision)| *revision < last) {
            let response = self.next().await;
            assert!(!response.canceled, "{response:?}");
            if let (Some((_, end)), Some((_, begin))) = (all.last(), told(&response).first()) {
                assert!(begin > end, "{begin} after {end}");
            }
            all.extend(told(&response));
        }
        all
    }
}
