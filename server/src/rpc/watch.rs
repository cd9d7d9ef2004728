//! The Watch service: one stream carries many watchers.
//!
//! ```text
//!   client ─ create, cancel, progress ─▶ WatchAnswers ─▶ WatchStream (the hub's queue)
//!          ◀─ raw::WatchResponse ──────────╯  ◀──────────────╯
//! ```
//!
//! One task does both directions: no answer waits for another thread than the hub's.

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base::KeyRange;
use bytes::Bytes;
use mvcc::{Body, CreateError, Shard, WatchStream};
use prost::Message;
use proto::etcdserverpb::watch_create_request::FilterType;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use proto::raw::WatchResponse;
use proto::server::watch_server;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::errors::RpcError;
use super::header;
use super::node::Node;
use super::stream_end::LeaderLoss;
use super::{Settings, serve, transport};
use crate::metrics::Metrics;

/// Requests taken from a stream before its answers get a turn.
const REQUESTS_PER_TURN: usize = 128;

/// Watchers of keys.
pub(super) struct Watches<N> {
    node: Arc<N>,
    settings: Settings,
    metrics: Arc<Metrics>,
    /// Place of Watch in the counters of methods.
    method: usize,
}

impl<N: Node> Watches<N> {
    pub(super) fn new(node: Arc<N>, settings: Settings, metrics: Arc<Metrics>) -> Self {
        let is_watch = |method: &crate::metrics::Method| method.service == "etcdserverpb.Watch";
        let place = metrics.grpc.all().iter().position(is_watch);
        let method = place.expect("the method is counted");
        Self { node, settings, metrics, method }
    }
}

thread_local! {
    /// The streams of this thread are woken together.
    static SHARD: OnceCell<Shard> = const { OnceCell::new() };
}

/// The shard of the calling thread; its pump runs on the thread's runtime.
fn shard() -> Shard {
    SHARD.with(|shard| {
        let shard = shard.get_or_init(|| {
            let shard = Shard::new();
            drop(tokio::spawn(shard.pump()));
            shard
        });
        shard.clone()
    })
}

#[tonic::async_trait]
impl<N: Node> watch_server::Watch for Watches<N> {
    type WatchStream = WatchAnswers<N>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<WatchAnswers<N>>, Status> {
        let loss = serve::wants_leader(request.metadata().as_ref())
            .then(|| LeaderLoss::new(self.node.clone(), self.settings.election_timeout));
        Ok(Response::new(WatchAnswers {
            stream: self.node.watch(&shard()),
            node: self.node.clone(),
            settings: self.settings,
            metrics: self.metrics.clone(),
            method: self.method,
            requests: Some(request.into_inner()),
            parts: VecDeque::new(),
            ticks: None,
            loss,
            ended: false,
        }))
    }
}

/// Both directions of one stream.
pub(super) struct WatchAnswers<N> {
    stream: WatchStream,
    node: Arc<N>,
    settings: Settings,
    metrics: Arc<Metrics>,
    method: usize,
    /// `None` once the client has nothing more to ask; its watchers go on.
    requests: Option<Streaming<WatchRequest>>,
    /// What is left of a split response.
    parts: VecDeque<WatchResponse>,
    /// Runs from the first watcher that wants progress.
    ticks: Option<Pin<Box<Interval>>>,
    loss: Option<LeaderLoss<N>>,
    ended: bool,
}

impl<N: Node> WatchAnswers<N> {
    /// Takes requests while there is room for their answers.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<(), Status> {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(requests) = &mut self.requests else { return Ok(()) };
            if self.stream.poll_room(cx).is_pending() {
                return Ok(());
            }
            match Pin::new(requests).poll_next(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.requests = None,
                Poll::Ready(Some(request)) => {
                    self.metrics.grpc.all()[self.method].received.inc();
                    let bytes_max = self.settings.message_bytes_max();
                    let failures = &self.metrics.watch_receive_failures;
                    let lost = |status| transport::not_received(status, bytes_max, failures);
                    let request = request.map_err(lost)?;
                    self.take(request)?;
                }
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take(&mut self, request: WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => {
                self.stream.cancel(cancel.watch_id);
                Ok(())
            }
            Some(RequestUnion::ProgressRequest(_)) => {
                self.stream.request_progress();
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn create(&mut self, create: WatchCreateRequest) -> Result<(), Status> {
        if create.progress_notify {
            let period = self.settings.watch_progress_interval;
            self.ticks.get_or_insert_with(|| Box::pin(ticks(period)));
        }
        let reason = match self.stream.create(wish(&create)) {
            Ok(_) => return Ok(()),
            Err(CreateError::EmptyRange) => "mvcc: watcher range is empty",
            Err(CreateError::NegativeStart) => RpcError::Compacted.text(),
            Err(CreateError::DuplicateId) => "mvcc: duplicate watch ID provided on the WatchStream",
            Err(CreateError::TooMany) => {
                return Err(Status::resource_exhausted("etcdserver: too many watchers"));
            }
        };
        self.stream.refuse(reason.to_owned());
        Ok(())
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<WatchResponse, Status>> {
        if let Some(part) = self.parts.pop_front() {
            return Poll::Ready(Ok(part));
        }
        self.poll_requests(cx)?;
        if let Some(ticks) = &mut self.ticks {
            // Polled until it waits, so that the next tick wakes this task.
            while ticks.poll_tick(cx).is_ready() {
                let began = Instant::now();
                self.stream.progress_tick();
                self.metrics.watch_progress_seconds.observe(began.elapsed());
            }
        }
        match self.stream.poll_next(cx) {
            Poll::Ready(Some(response)) => Poll::Ready(Ok(self.timed_answer(response))),
            Poll::Ready(None) => Poll::Ready(Err(RpcError::Stopped.into())),
            Poll::Pending => match self.loss.as_mut().map(|loss| loss.poll_lost(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(RpcError::NoLeader.into())),
                Some(Poll::Pending) | None => Poll::Pending,
            },
        }
    }

    /// The response to send; how long it took to make is counted.
    fn timed_answer(&mut self, response: mvcc::Response) -> WatchResponse {
        let count = match response.body {
            Body::Events(_, count) => Some(count),
            Body::Progress => None,
            Body::Created | Body::Refused(_) | Body::Canceled | Body::Compacted(_) => Some(0),
        };
        let began = Instant::now();
        let answer = self.answer(response);
        let took = began.elapsed();
        match count {
            None => {}
            Some(0) => self.metrics.watch_control_seconds.observe(took),
            Some(count) => {
                self.metrics.watch_batch_seconds.observe(took);
                self.metrics.watch_event_seconds.observe(took / count);
            }
        }
        answer
    }

    fn answer(&mut self, response: mvcc::Response) -> WatchResponse {
        let fragment = response.fragment;
        let mut answer = WatchResponse {
            header: header::full(&*self.node, response.revision),
            watch_id: response.watch_id,
            ..WatchResponse::default()
        };
        match response.body {
            Body::Created => answer.created = true,
            Body::Refused(reason) => {
                answer.created = true;
                answer.canceled = true;
                answer.cancel_reason = reason;
            }
            Body::Progress => {}
            Body::Canceled => answer.canceled = true,
            Body::Compacted(revision) => {
                answer.canceled = true;
                answer.compact_revision = revision;
            }
            Body::Events(events, count) => {
                answer.events = events;
                let bytes_max = self.settings.message_bytes_max();
                if fragment && count > 1 && answer.encoded_len() >= bytes_max {
                    self.parts = split(&answer, bytes_max);
                    return self.parts.pop_front().unwrap_or(answer);
                }
            }
        }
        answer
    }
}

/// Ticks of a period up to a tenth longer, so that streams do not all tick at once.
fn ticks(period: Duration) -> Interval {
    let random = RandomState::new().hash_one(0) % 1024;
    let extra = period / 10 * u32::try_from(random).unwrap_or(0) / 1024;
    let period = period + extra;
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// What the hub is asked for. Keys are copied: a slice would keep the received buffer alive.
fn wish(create: &WatchCreateRequest) -> mvcc::WatchRequest {
    let drops = |kind: FilterType| create.filters.contains(&i32::from(kind));
    mvcc::WatchRequest {
        watch_id: create.watch_id,
        range: KeyRange::new(
            Bytes::copy_from_slice(&create.key),
            Bytes::copy_from_slice(&create.range_end),
        ),
        start_revision: create.start_revision,
        no_put: drops(FilterType::Noput),
        no_delete: drops(FilterType::Nodelete),
        prev_kv: create.prev_kv,
        progress_notify: create.progress_notify,
        fragment: create.fragment,
    }
}

/// Splits a response into parts of fewer than `bytes_max` bytes, or of one event each.
fn split(whole: &WatchResponse, bytes_max: usize) -> VecDeque<WatchResponse> {
    let part_of = |events: Bytes| WatchResponse { events, fragment: true, ..whole.clone() };
    let overhead = part_of(Bytes::new()).encoded_len();
    let mut parts = VecDeque::new();
    let (mut begin, mut end) = (0, 0);
    for length in mvcc::event_lengths(&whole.events) {
        let next = end + length;
        if end > begin && overhead + (next - begin) >= bytes_max {
            parts.push_back(part_of(whole.events.slice(begin..end)));
            begin = end;
        }
        end = next;
    }
    let last = WatchResponse { fragment: false, ..part_of(whole.events.slice(begin..)) };
    parts.push_back(last);
    parts
}

impl<N: Node> Stream for WatchAnswers<N> {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(answer) = this.poll_answer(cx) else { return Poll::Pending };
        match &answer {
            Ok(_) => this.metrics.grpc.all()[this.method].sent.inc(),
            Err(_) => this.ended = true,
        }
        Poll::Ready(Some(answer))
    }
}

#[cfg(test)]
mod tests;
