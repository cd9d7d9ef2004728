//! The way of a request into the log, and of its answer back.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apply::{ApplyError, Reply};
use base::ids::RequestIdGen;
use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::RequestHeader;
use proto::raftpb;
use proto::request::{Kind, encode};

use crate::metrics::{Metrics, RequestType};
use crate::replies::{Closed, Outcome, Replies};

/// Entries committed and not yet applied beyond which requests are refused (etcd 3.7: 5,000).
pub(crate) const APPLY_LAG_ENTRIES_MAX: u64 = 5_000;
/// The same for revokes under the gate `PriorityRequest`: they must pass when puts are refused.
pub(crate) const APPLY_LAG_PRIORITY_ENTRIES_MAX: u64 = 10_000;
const _: () = assert!(APPLY_LAG_PRIORITY_ENTRIES_MAX > APPLY_LAG_ENTRIES_MAX);

/// Time between two looks for requests that were not answered in time.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_millis(500);

/// What the state machine answered to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The reply, or the refusal.
    pub result: Result<Reply, ApplyError>,
    /// The newest revision after the request.
    pub revision: i64,
    /// Raft index of its entry.
    pub index: u64,
}

/// Why a request has no answer of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too many entries wait to be applied: `etcdserver: too many requests`.
    #[error("too many requests")]
    TooManyRequests,
    /// The entry would be longer than allowed: `etcdserver: request is too large`.
    #[error("request is too large")]
    TooLarge,
    /// It could not be handed to raft in time, so it surely is not applied: the context's
    /// `context deadline exceeded`.
    #[error("no leader took the request in time")]
    NotTaken,
    /// It was handed to raft and not answered in time: `etcdserver: request timed out`.
    #[error("request timed out")]
    Timeout,
    /// The server is stopping: `etcdserver: server stopped`.
    #[error("server stopped")]
    Stopped,
}

/// Proposes requests and waits for their answers.
#[derive(Debug)]
pub(crate) struct Proposer {
    raft: raftnode::Handle,
    replies: Arc<Replies<Answer>>,
    ids: RequestIdGen,
    metrics: Arc<Metrics>,
    request_bytes_max: usize,
    timeout: Duration,
    prefer_revokes: bool,
}

/// Limits of a [`Proposer`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// `--max-request-bytes`.
    pub request_bytes_max: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// The gate `PriorityRequest`.
    pub prefer_revokes: bool,
}

/// Counts a proposal while somebody waits for it; one that is given up has failed, too.
struct Pending<'a> {
    metrics: &'a Metrics,
    answered: bool,
}

impl<'a> Pending<'a> {
    fn new(metrics: &'a Metrics) -> Pending<'a> {
        metrics.proposals_pending.add(1);
        Pending { metrics, answered: false }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.metrics.proposals_pending.add(-1);
        if !self.answered {
            self.metrics.proposals_failed.inc();
        }
    }
}

impl Proposer {
    /// A proposer of `member_id`.
    pub(crate) fn new(
        raft: raftnode::Handle,
        replies: Arc<Replies<Answer>>,
        metrics: Arc<Metrics>,
        member_id: u64,
        limits: Limits,
    ) -> Proposer {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Proposer {
            raft,
            replies,
            ids: RequestIdGen::new(member_id, unix_ms),
            metrics,
            request_bytes_max: limits.request_bytes_max,
            timeout: limits.timeout,
            prefer_revokes: limits.prefer_revokes,
        }
    }

    /// An id for a lease whose client chose none.
    pub(crate) fn lease_id(&self) -> i64 {
        self.ids.next_lease()
    }

    /// Proposes a request and waits for the state machine's answer.
    ///
    /// Dropping the future gives up the wait; a proposal that raft has taken goes on.
    ///
    /// # Errors
    /// Each variant of [`ProposeError`].
    pub(crate) async fn propose<M: Message>(
        &self,
        kind: Kind,
        request: &M,
    ) -> Result<Answer, ProposeError> {
        let lag_max = match kind {
            Kind::LeaseRevoke if self.prefer_revokes => APPLY_LAG_PRIORITY_ENTRIES_MAX,
            _ => APPLY_LAG_ENTRIES_MAX,
        };
        let status = self.raft.status();
        if status.commit() > status.applied().saturating_add(lag_max) {
            return Err(ProposeError::TooManyRequests);
        }
        let id = self.ids.next();
        let header = RequestHeader { id, ..RequestHeader::default() };
        let entry = encode(kind, request, &header);
        if entry.len() > self.request_bytes_max {
            return Err(ProposeError::TooLarge);
        }
        let began = Instant::now();
        let mut pending = Pending::new(&self.metrics);
        let answer = self.hand_over(id, entry).await;
        pending.answered = answer.is_ok();
        if let Some(kind) = RequestType::of(kind) {
            let success = answer.as_ref().is_ok_and(|answer| answer.result.is_ok());
            self.metrics.request_done(kind, began.elapsed(), success);
        }
        answer
    }

    /// Proposes an entry that `encode` makes for a request id, of whatever form.
    ///
    /// # Errors
    /// As [`Proposer::propose`].
    pub(crate) async fn propose_encoded(
        &self,
        encode: impl FnOnce(u64) -> Bytes,
    ) -> Result<Answer, ProposeError> {
        let id = self.ids.next();
        let mut pending = Pending::new(&self.metrics);
        let answer = self.hand_over(id, encode(id)).await;
        pending.answered = answer.is_ok();
        answer
    }

    /// Proposes a configuration change and waits, as long as the caller does, until it is applied
    /// and raft has followed: only then the next one finds no other under way.
    ///
    /// `context` is the JSON that goes with the change.
    ///
    /// # Errors
    /// What the state machine refuses with, or that the server stops.
    pub(crate) async fn change_members(
        &self,
        kind: raftpb::ConfChangeType,
        member_id: u64,
        context: String,
    ) -> Result<Result<(), ApplyError>, ProposeError> {
        let id = self.ids.next();
        let change = raftpb::ConfChange {
            id: Some(id),
            r#type: Some(kind.into()),
            node_id: Some(member_id),
            context: (!context.is_empty()).then(|| Bytes::from(context)),
        };
        let stopped = |raftnode::ProposeError::Stopped| ProposeError::Stopped;
        let wait = self.replies.wait_long(id);
        let mut pending = Pending::new(&self.metrics);
        let entry = Bytes::from(change.encode_to_vec());
        self.raft.propose_conf_change(entry).await.map_err(stopped)?;
        let answer = match wait.await {
            Ok(Outcome::Answer(answer)) => answer,
            Ok(Outcome::TimedOut) => return Err(ProposeError::Timeout),
            Err(Closed) => return Err(ProposeError::Stopped),
        };
        pending.answered = true;
        self.raft.configured(answer.index).await.map_err(stopped)?;
        Ok(answer.result.map(drop))
    }

    async fn hand_over(&self, id: u64, entry: Bytes) -> Result<Answer, ProposeError> {
        let wait = self.replies.wait(id);
        let mut taken = pin!(self.raft.propose(entry));
        // Nearly always raft takes the entry at once; only else is a timer worth its price.
        let first = std::future::poll_fn(|cx| Poll::Ready(taken.as_mut().poll(cx))).await;
        let taken = match first {
            Poll::Ready(taken) => taken,
            Poll::Pending => tokio::time::timeout(self.timeout, taken)
                .await
                .map_err(|_| ProposeError::NotTaken)?,
        };
        taken.map_err(|raftnode::ProposeError::Stopped| ProposeError::Stopped)?;
        match wait.await {
            Ok(Outcome::Answer(answer)) => Ok(answer),
            Ok(Outcome::TimedOut) => Err(ProposeError::Timeout),
            Err(Closed) => Err(ProposeError::Stopped),
        }
    }

    /// Ends the waits that have taken the request timeout; to be called every
    /// [`SWEEP_INTERVAL`].
    pub(crate) fn sweep(&self) {
        let sweeps = self.timeout.as_millis().div_ceil(SWEEP_INTERVAL.as_millis());
        self.replies.sweep(u64::try_from(sweeps).unwrap_or(u64::MAX));
    }

    /// Who waits.
    pub(crate) fn replies(&self) -> Arc<Replies<Answer>> {
        self.replies.clone()
    }

    /// Ends all waits; nothing proposed from now on is answered.
    pub(crate) fn close(&self) {
        self.replies.close();
    }
}
