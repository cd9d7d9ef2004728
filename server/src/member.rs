//! The running member as the gRPC services see it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use apply::{RangeAnswer, ReadError, TxnAnswer};
use base::{KeyRange, Member};
use bytes::Bytes;
use mvcc::{KvHash, Shard, WatchStream};
use proto::etcdserverpb::{AlarmType, LeaseTimeToLiveRequest, RangeRequest, TxnRequest};
use proto::request::Kind;
use tonic::Status;

use crate::backup::Chunks;
use crate::facts;
use crate::lease_keeper::Renewal;
use crate::proposer::ProposeError;
use crate::reads::BarrierError;
use crate::rpc::node;
use crate::rpc::{Closing, RpcError};
use crate::state::Shared;

impl From<ProposeError> for RpcError {
    fn from(error: ProposeError) -> Self {
        match error {
            ProposeError::TooManyRequests => RpcError::TooManyRequests,
            ProposeError::TooLarge => RpcError::RequestTooLarge,
            ProposeError::NotTaken => RpcError::ContextDeadline,
            ProposeError::Timeout => RpcError::Timeout,
            ProposeError::Stopped => RpcError::Stopped,
        }
    }
}

impl From<BarrierError> for RpcError {
    fn from(error: BarrierError) -> Self {
        match error {
            BarrierError::LeaderChanged => RpcError::LeaderChanged,
            BarrierError::Timeout => RpcError::Timeout,
            BarrierError::TooMany => RpcError::TooManyRequests,
            BarrierError::Stopped => RpcError::Stopped,
        }
    }
}

/// A store that cannot be read ends the member: going on, it would give wrong answers.
fn store_refusal(error: mvcc::Error) -> Status {
    match error {
        mvcc::Error::Compacted => RpcError::Compacted.into(),
        mvcc::Error::FutureRev => RpcError::FutureRev.into(),
        error if error.is_fatal() => crate::fatal::die("failed to read the store", &error),
        error => Status::unknown(error.to_string()),
    }
}

/// As [`store_refusal`], for errors that are answered elsewhere.
fn end_if_broken(error: ReadError) -> ReadError {
    match error {
        ReadError::Store(error) if error.is_fatal() => {
            crate::fatal::die("failed to read the store", &error)
        }
        ReadError::Store(_) | ReadError::Refused(_) => error,
    }
}

/// Time between two tries to have the leader do something (etcd: 50 ms).
const FORWARD_PAUSE: Duration = Duration::from_millis(50);

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl node::Board for Shared {
    fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    fn member_id(&self) -> u64 {
        self.member_id
    }

    fn applied_term(&self) -> u64 {
        self.board.applied_term.load(Ordering::Relaxed)
    }

    fn leader(&self) -> u64 {
        self.raft.status().leader()
    }

    fn is_learner(&self) -> bool {
        self.board.is_learner.load(Ordering::Relaxed)
    }

    fn revision(&self) -> i64 {
        self.store().current_revision()
    }

    fn members(&self) -> Vec<Member> {
        self.state.cluster.read().members.iter().cloned().collect()
    }

    fn closing(&self) -> Closing {
        self.closing.clone()
    }

    fn status(&self) -> node::Status {
        let raft = self.raft.status();
        // Asked first: what is applied is never above what is committed.
        let applied_index = raft.applied();
        let sizes = self.store().backend().sizes();
        let (allocated, in_use) = sizes.map_or((0, 0), |s| (s.allocated, s.in_use));
        let downgrade = self.state.cluster.read().downgrade.clone();
        node::Status {
            db_bytes: signed(allocated),
            db_used_bytes: signed(in_use),
            db_quota_bytes: self.config.quota_backend_bytes,
            committed_index: raft.commit(),
            applied_index,
            storage_version: facts::storage_version(self).unwrap_or_default(),
            downgrade_target: downgrade.enabled.then_some(downgrade.target_version),
            alarms: self.state.alarms.read().list(AlarmType::None.into()),
        }
    }
}

impl node::Writes for Shared {
    async fn propose<M: prost::Message>(
        &self,
        kind: Kind,
        request: &M,
    ) -> Result<node::Applied, RpcError> {
        let answer = self.proposer.propose(kind, request).await?;
        Ok(node::Applied { reply: answer.result?, revision: answer.revision })
    }

    fn has_room(&self, cost_bytes: i64) -> bool {
        let room = self.quota.allows(self.store().backend().allocated_bytes(), cost_bytes);
        if !room {
            self.board.no_space.notify_one();
        }
        room
    }

    async fn compacted(&self, revision: i64) -> Result<(), RpcError> {
        let (done, is_done) = tokio::sync::oneshot::channel();
        self.store().when_compacted(revision, move || {
            // Whoever waited may have gone.
            done.send(()).ok();
        });
        is_done.await.map_err(|_| RpcError::Stopped)
    }

    fn next_lease_id(&self) -> i64 {
        self.proposer.lease_id()
    }
}

/// Compacts all rows, and tells what became of their size.
fn defragment(backend: &backend::Backend) -> Result<(), backend::Error> {
    let path = backend.path().display().to_string();
    let size = |bytes: u64| base::text::humanize_bytes(bytes);
    let before = backend.sizes()?;
    tracing::info!(
        path,
        "current-db-size-bytes" = before.allocated,
        "current-db-size" = size(before.allocated),
        "current-db-size-in-use-bytes" = before.in_use,
        "current-db-size-in-use" = size(before.in_use),
        "defragmenting"
    );
    let began = Instant::now();
    backend.compact()?;
    let after = backend.sizes()?;
    tracing::info!(
        path,
        "current-db-size-bytes-diff" = signed(after.allocated) - signed(before.allocated),
        "current-db-size-bytes" = after.allocated,
        "current-db-size" = size(after.allocated),
        "current-db-size-in-use-bytes-diff" = signed(after.in_use) - signed(before.in_use),
        "current-db-size-in-use-bytes" = after.in_use,
        "current-db-size-in-use" = size(after.in_use),
        took = crate::logging::go_duration(began.elapsed()),
        "finished defragmenting directory"
    );
    Ok(())
}

/// Runs what takes long on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work).await.map_err(|_| RpcError::Stopped.into())
}

impl node::Reads for Shared {
    async fn barrier(&self) -> Result<(), RpcError> {
        Ok(self.read_barrier().await?)
    }

    fn range(&self, request: &RangeRequest) -> Result<RangeAnswer, ReadError> {
        let began = Instant::now();
        let answer = apply::range(&self.store(), request);
        self.metrics.ranges.inc();
        self.metrics.range_done(began.elapsed(), answer.is_ok());
        answer.map_err(end_if_broken)
    }

    fn keys_in(&self, range: &KeyRange) -> i64 {
        self.store().count(range, 0).map_or(0, |found| found.count)
    }

    fn read_txn(&self, request: &TxnRequest) -> Result<TxnAnswer, ReadError> {
        apply::read_txn(&self.store(), request).map_err(end_if_broken)
    }

    async fn hash(&self) -> Result<u32, Status> {
        let (store, began) = (self.store(), Instant::now());
        let hash = blocking(move || store.hash()).await?;
        self.metrics.hash_seconds.observe(began.elapsed());
        hash.map_err(store_refusal)
    }

    async fn hash_kv(&self, revision: i64) -> Result<KvHash, Status> {
        let (store, began) = (self.store(), Instant::now());
        let hash = blocking(move || store.hash_kv(revision)).await?;
        self.metrics.hash_rev_seconds.observe(began.elapsed());
        hash.map_err(store_refusal)
    }

    async fn backup(&self) -> Result<Chunks, Status> {
        let version = facts::storage_version(self).unwrap_or_default();
        // Data of 3.5 says nothing.
        let version = if version == "3.5.0" { String::new() } else { version };
        self.backups.start(self.store(), version).await
    }

    async fn defragment(&self) -> Result<(), Status> {
        tracing::info!("starting defragment");
        let began = Instant::now();
        let (backend, metrics) = (self.store().backend().clone(), self.metrics.clone());
        // It goes on when nobody waits for it any more, and is counted all the same.
        let compacted = blocking(move || {
            metrics.defrag_inflight.add(1);
            let compacted = defragment(&backend);
            metrics.defrag_inflight.add(-1);
            metrics.defrag_seconds.observe(began.elapsed());
            compacted
        });
        if let Err(error) = compacted.await? {
            crate::fatal::die("failed to defragment", &error);
        }
        tracing::info!(took = crate::logging::go_duration(began.elapsed()), "finished defragment");
        Ok(())
    }
}

impl node::Leases for Shared {
    async fn renew(&self, id: i64) -> Result<Option<i64>, RpcError> {
        let deadline = tokio::time::Instant::now() + self.config.request_timeout();
        let renewed = async {
            loop {
                if self.raft.status().is_leader() {
                    if let Some(outcome) = self.renew_here(id).await {
                        return outcome;
                    }
                } else if let Some(outcome) = self.peers.renew(self, id, deadline).await {
                    return Ok(outcome);
                }
                tokio::time::sleep(FORWARD_PAUSE).await;
            }
        };
        self.until(deadline, renewed).await
    }

    async fn time_to_live(
        &self,
        request: &LeaseTimeToLiveRequest,
    ) -> Result<Option<node::TimeToLive>, RpcError> {
        let deadline = tokio::time::Instant::now() + self.config.request_timeout();
        let told = async {
            loop {
                if self.raft.status().is_leader() {
                    let mut changes = self.keeper.changes();
                    self.caught_up().await?;
                    self.read_barrier().await?;
                    if self.keeper.counts() {
                        return Ok(self.time_to_live_here(request));
                    }
                    // Leadership is about to be taken up, or lost.
                    changes.changed().await.map_err(|_| RpcError::Stopped)?;
                    continue;
                }
                if let Some(told) = self.peers.time_to_live(self, request, deadline).await {
                    return Ok(told.map(|told| node::TimeToLive {
                        remaining_s: told.ttl,
                        granted_s: told.granted_ttl,
                        keys: told.keys,
                    }));
                }
                tokio::time::sleep(FORWARD_PAUSE).await;
            }
        };
        self.until(deadline, told).await
    }

    fn leases(&self) -> Vec<i64> {
        // Right after an election it has not taken them up yet.
        if self.raft.status().is_leader() && self.keeper.counts() {
            return self.keeper.ids();
        }
        self.state.leases.read().iter().map(|(id, _)| id).collect()
    }
}

impl Shared {
    /// Ends what waits for a leader at `deadline`.
    async fn until<T>(
        &self,
        deadline: tokio::time::Instant,
        work: impl Future<Output = Result<T, RpcError>>,
    ) -> Result<T, RpcError> {
        match tokio::time::timeout_at(deadline, work).await {
            Ok(outcome) => outcome,
            Err(_) if self.raft.status().leader() == 0 => Err(RpcError::NoLeader),
            Err(_) => Err(RpcError::Timeout),
        }
    }

    /// Renews a lease as soon as this member may: it must lead, and know what its log says.
    /// `None` when it does not lead any more.
    async fn renew_here(&self, id: i64) -> Option<Result<Option<i64>, RpcError>> {
        // Subscribed before the first look, so that no change is missed.
        let mut changes = self.keeper.changes();
        loop {
            match self.leads_since(self.leadership()).await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error.into())),
            }
            match self.keeper.renew(id) {
                Renewal::Renewed { ttl_s } => {
                    self.metrics.lease_renewed.inc();
                    return Some(Ok(Some(ttl_s)));
                }
                Renewal::Unknown => return Some(Ok(None)),
                // It is about to be revoked, or leadership is about to be taken up.
                Renewal::Expired | Renewal::NotPrimary => {
                    if changes.changed().await.is_err() {
                        return Some(Err(RpcError::Stopped));
                    }
                    if !self.raft.status().is_leader() {
                        return None;
                    }
                }
            }
        }
    }

    /// What is left of a lease by this member's clock, which counts while it leads.
    pub(crate) fn time_to_live_here(
        &self,
        request: &LeaseTimeToLiveRequest,
    ) -> Option<node::TimeToLive> {
        let remaining_s = self.keeper.remaining_s(request.id)?;
        let leases = self.state.leases.read();
        leases.get(request.id).map(|lease| node::TimeToLive {
            remaining_s,
            granted_s: lease.ttl_s,
            keys: match request.keys {
                true => lease.keys().cloned().collect::<Vec<Bytes>>(),
                false => Vec::new(),
            },
        })
    }
}

impl node::Changes for Shared {
    async fn add_member(&self, urls: &[String], is_learner: bool) -> Result<Member, RpcError> {
        Shared::add_member(self, urls, is_learner).await
    }

    async fn remove_member(&self, id: u64) -> Result<(), RpcError> {
        Shared::remove_member(self, id).await
    }

    async fn update_member(&self, id: u64, urls: &[String]) -> Result<(), RpcError> {
        Shared::update_member(self, id, urls).await
    }

    async fn promote_member(&self, id: u64) -> Result<(), RpcError> {
        Shared::promote_member(self, id).await
    }

    async fn move_leader(&self, to: u64) -> Result<(), RpcError> {
        Shared::move_leader(self, to).await
    }
}

impl node::Watching for Shared {
    fn watch(&self, shard: &Shard) -> WatchStream {
        self.hub.open_stream(Some(shard))
    }
}
