//! What request handlers and background loops share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use mvcc::WatchHub;
use parking_lot::RwLock;
use raftnode::{Leadership, Role};
use tokio::sync::Notify;

use crate::backup::Backups;
use crate::config::Config;
use crate::lease_keeper::Keeper;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::proposer::Proposer;
use crate::reads::{self, BarrierError};
use crate::rpc::Closing;

/// Facts the state machine's thread writes and everybody reads.
#[derive(Debug, Default)]
pub(crate) struct StatusBoard {
    /// Term of the last applied entry: what headers name.
    pub applied_term: AtomicU64,
    /// Whether this member has no vote.
    pub is_learner: AtomicBool,
    /// The cluster has removed this member.
    pub removed: AtomicBool,
    /// Index of the entry at the last `.snap` file.
    pub snapshot_index: AtomicU64,
    /// A write exceeded the quota: the member's alarm is to be proposed.
    pub no_space: Notify,
}

/// The store in use. A snapshot from the leader puts another one in its place; reads under way
/// go on with the one they have.
pub(crate) struct StoreSlot(RwLock<mvcc::Store>);

impl StoreSlot {
    /// With the store of the start.
    pub(crate) fn new(store: mvcc::Store) -> Arc<StoreSlot> {
        Arc::new(StoreSlot(RwLock::new(store)))
    }

    /// The store as of now.
    pub(crate) fn get(&self) -> mvcc::Store {
        self.0.read().clone()
    }

    /// Puts another store in its place.
    pub(crate) fn replace(&self, store: mvcc::Store) {
        *self.0.write() = store;
    }
}

impl std::fmt::Debug for StoreSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreSlot")
    }
}

/// The server as its handlers see it.
pub(crate) struct Shared {
    /// The configuration.
    pub config: Config,
    /// The cluster.
    pub cluster_id: u64,
    /// This member.
    pub member_id: u64,
    /// The keys; see [`Shared::store`].
    pub stores: Arc<StoreSlot>,
    /// Leases, alarms and members.
    pub state: Arc<apply::State>,
    /// Raft.
    pub raft: raftnode::Handle,
    /// The way into the log.
    pub proposer: Proposer,
    /// The other members.
    pub peers: Peers,
    /// Backups under way.
    pub backups: Backups,
    /// Deadlines of leases.
    pub keeper: Arc<Keeper>,
    /// Watchers.
    pub hub: WatchHub,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What was applied.
    pub board: Arc<StatusBoard>,
    /// The quota, for the check before proposing.
    pub quota: apply::quota::Quota,
    /// Ends the streams of clients.
    pub closing: Closing,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("member_id", &self.member_id).finish_non_exhaustive()
    }
}

impl Shared {
    /// The keys as of now: to be taken anew for every request.
    pub(crate) fn store(&self) -> mvcc::Store {
        self.stores.get()
    }

    /// Whether this member is the whole cluster.
    pub(crate) fn is_alone(&self) -> bool {
        self.raft.status().is_alone()
    }

    /// Waits until the applied state contains every acknowledged write.
    ///
    /// # Errors
    /// See [`reads::barrier`].
    pub(crate) async fn read_barrier(&self) -> Result<(), BarrierError> {
        reads::barrier(&self.raft, self.config.request_timeout(), &self.metrics).await
    }

    /// Whether this member leads, without a break since it was seen to at `before`, as a quorum
    /// confirms after the call. A read barrier alone does not tell: behind another leader it
    /// passes, too.
    ///
    /// # Errors
    /// See [`reads::barrier`].
    pub(crate) async fn leads_since(&self, before: Leadership) -> Result<bool, BarrierError> {
        if before.role != Role::Leader {
            return Ok(false);
        }
        self.read_barrier().await?;
        // Terms only rise: who leads in the same one has led all the time.
        Ok(*self.raft.leadership().borrow() == before)
    }

    /// Role, term and leader, for [`Shared::leads_since`].
    pub(crate) fn leadership(&self) -> Leadership {
        *self.raft.leadership().borrow()
    }
}
