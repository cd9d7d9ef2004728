//! From a configuration to what a member starts from: folders, log, backend, identity.
//!
//! ```text
//!   Config ─▶ DataDir (folders, lock) ─▶ log? ─ no ──▶ check flags, found a cluster ─┐
//!                                          └─ yes ─▶ open at its last mark ──────────┴▶ Booted
//! ```
//!
//! Each step either returns or names the file at fault.

mod cluster;
mod dirs;
mod force;
mod remote;

use std::sync::Arc;

use apply::{StateMachine, quota::Quota};
use backend::{Backend, Rows as _};
use base::schema::{self, Bucket};
use base::{ConfState, Member};
use bytes::Bytes;
use mvcc::{CompactionStep, Observer, Store};
use prost::Message as _;
use proto::raftpb;
use raftnode::{Boot, Founder, LogPosition};
use wal::{Entry, Metadata, Recovered, SnapDir, Wal};

use crate::config::Config;
use crate::metrics::Metrics;

pub(crate) use cluster::Identity;
pub(crate) use dirs::DataDir;
pub(crate) use remote::{Ask, Told, Versions};

/// Why a member does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A refusal in etcd's words, or in ours where etcd has none.
    #[error("{0}")]
    Refused(String),
    /// The log.
    #[error(transparent)]
    Wal(#[from] wal::Error),
    /// The backend.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The keys.
    #[error(transparent)]
    Store(#[from] mvcc::Error),
    /// The state machine.
    #[error(transparent)]
    Apply(#[from] apply::Error),
}

fn refuse<T>(text: impl Into<String>) -> Result<T, Error> {
    Err(Error::Refused(text.into()))
}

/// A member ready to start.
pub(crate) struct Booted {
    /// Its folders, locked.
    pub dirs: DataDir,
    /// The log, open for appending.
    pub wal: Wal,
    /// What the log holds.
    pub recovered: Recovered,
    /// What raft starts from.
    pub boot: Boot,
    /// The state machine.
    pub machine: StateMachine,
    /// `.snap` files.
    pub snap_dir: SnapDir,
    /// This member.
    pub member_id: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// Members that the state machine does not know yet: of a cluster that is joined or founded.
    pub members: Vec<Member>,
}

impl std::fmt::Debug for Booted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Booted").field("member_id", &self.member_id).finish_non_exhaustive()
    }
}

/// Opens or founds a member.
///
/// # Errors
/// The first thing that stands in the way; nothing that was there is changed then.
pub(crate) fn boot(
    config: &Config,
    store_options: mvcc::Options,
    ask: &dyn Ask,
) -> Result<Booted, Error> {
    let dirs = DataDir::open(config)?;
    let initialized = Wal::exists(&dirs.wal)?;
    // Flags are checked before anything is made; restarts do not look at them.
    let identity = if initialized { None } else { Some(identify(config, ask)?) };
    let snap_dir = SnapDir::open(&dirs.snap, None)?;
    let backend_path = dirs.snap.join("db");
    let known = backend_path.exists();
    let backend = Backend::open(&backend_path, &backend::Options::default())?;
    let backend = take_over_staged(&dirs, backend)?;
    defragment_if_wasteful(config, &backend)?;
    let opened = Store::open(backend, store_options)?;
    let machine = StateMachine::open(opened, machine_options(config))?;
    match identity {
        Some(identity) => found(config, dirs, machine, snap_dir, &identity),
        None => restart(config, dirs, machine, snap_dir, known),
    }
}

/// Installs the received backend that the log names already, if the process ended in between.
fn take_over_staged(dirs: &DataDir, backend: Backend) -> Result<Backend, Error> {
    let Some(staged) = backend.staged()? else { return Ok(backend) };
    let index = |backend: &Backend| -> Result<u64, Error> {
        let row = backend.get(Bucket::Meta, schema::CONSISTENT_INDEX)?;
        Ok(row.and_then(|row| row.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes))
    };
    let mark = match Wal::exists(&dirs.wal)? {
        true => wal::valid_snapshots(&dirs.wal)?.last().map_or(0, |mark| mark.index),
        false => 0,
    };
    let received = index(staged.backend())?;
    if mark > index(&backend)? && received == mark {
        tracing::info!("snapshot-index" = mark, "taking over the received backend");
        return Ok(staged.install()?);
    }
    tracing::info!("snapshot-index" = received, "dropping a received backend");
    Ok(backend)
}

/// Who a member is that was never started.
fn identify(config: &Config, ask: &dyn Ask) -> Result<Identity, Error> {
    if config.join_existing {
        return remote::join(config, ask);
    }
    let identity = Identity::from_flags(config)?;
    remote::check_not_started(&identity, ask)?;
    Ok(identity)
}

/// How a store is opened; what its compactions do is counted.
pub(crate) fn store_options(config: &Config, metrics: &Arc<Metrics>) -> mvcc::Options {
    let metrics = metrics.clone();
    mvcc::Options {
        compaction_batch_rows: config.compaction_batch_limit,
        compaction_pause: config.compaction_sleep,
        compaction_observer: Observer::new(move |step| match step {
            CompactionStep::Index(took) => metrics.index_pause_ms.observe_ms(took),
            CompactionStep::Batch { rows, took } => {
                metrics.compaction_keys.add(u64::try_from(rows).unwrap_or(u64::MAX));
                metrics.compaction_pause_ms.observe_ms(took);
            }
        }),
        ..mvcc::Options::default()
    }
}

fn machine_options(config: &Config) -> apply::Options {
    apply::Options {
        quota: Quota::from_flag(config.quota_backend_bytes),
        lease_ttl_min_s: config.min_lease_ttl(),
        learners_max: config.max_learners,
    }
}

fn wal_options(config: &Config, (durable_index, durable_term): (u64, u64)) -> wal::Options {
    wal::Options {
        unsafe_no_fsync: config.unsafe_no_fsync,
        durable_index,
        durable_term,
        ..wal::Options::default()
    }
}

/// A new member: its log says whose it is before anything else is written to it.
fn found(
    config: &Config,
    dirs: DataDir,
    machine: StateMachine,
    snap_dir: SnapDir,
    identity: &Identity,
) -> Result<Booted, Error> {
    let index = machine.consistent_index();
    if index > 0 {
        return refuse(format!(
            "the backend {} holds data up to index {index}, but there is no log in {}: bring \
             the log back, or restore from a snapshot into a new data directory",
            dirs.snap.join("db").display(),
            dirs.wal.display(),
        ));
    }
    let metadata = Metadata { node_id: identity.member_id, cluster_id: identity.cluster_id };
    let wal = Wal::create(&dirs.wal, &metadata, &wal_options(config, (0, 0)))?;
    tracing::info!(
        "local-member-id" = format!("{:x}", metadata.node_id),
        "cluster-id" = format!("{:x}", metadata.cluster_id),
        "starting local member"
    );
    let recovered = Recovered { metadata, ..Recovered::default() };
    let boot = Boot { founders: identity.founders(), ..Boot::default() };
    Ok(Booted {
        dirs,
        wal,
        recovered,
        boot,
        machine,
        snap_dir,
        member_id: metadata.node_id,
        cluster_id: metadata.cluster_id,
        members: identity.members.clone(),
    })
}

/// A member that was started before.
fn restart(
    config: &Config,
    dirs: DataDir,
    machine: StateMachine,
    snap_dir: SnapDir,
    backend_known: bool,
) -> Result<Booted, Error> {
    let marks = wal::valid_snapshots(&dirs.wal)?;
    let mark = marks.last().map_or((0, 0), |mark| (mark.index, mark.term));
    let applied = machine.consistent_index();
    if !backend_known && mark.0 > 0 {
        let path = dirs.snap.join("db");
        return refuse(format!("database file ({}) of the backend is missing", path.display()));
    }
    if applied < mark.0 {
        return refuse(format!(
            "database file ({} index {applied}) does not match with snapshot (index {})",
            dirs.snap.join("db").display(),
            mark.0
        ));
    }
    let (mut wal, mut recovered) =
        Wal::open(&dirs.wal, mark, &wal_options(config, (applied, machine.term())))?;
    if recovered.repaired.is_some() {
        tracing::info!(path = %dirs.wal.display(), "repaired WAL");
    }
    let metadata = recovered.metadata;
    let (member_id, cluster_id) = (metadata.node_id, metadata.cluster_id);
    let conf_state = machine.conf_state();
    check_membership(&dirs, &machine, member_id)?;
    let conf_state = match mark.0 {
        0 => with_founders(conf_state, applied, &recovered.entries),
        _ => conf_state,
    };
    let mut boot = Boot {
        snapshot: LogPosition { index: mark.0, term: mark.1 },
        applied,
        conf_state,
        founders: Vec::new(),
    };
    let mut members = Vec::new();
    let unfounded = recovered.hard_state.is_empty() && mark.0 == 0 && applied == 0;
    if unfounded && !config.join_existing {
        // The process ended before the founding entries and their hard state were whole.
        let identity = Identity::from_flags(config)?;
        if (identity.member_id, identity.cluster_id) != (member_id, cluster_id) {
            return refuse(format!(
                "the log in {} belongs to member {member_id:x} of cluster {cluster_id:x}, the \
                 flags describe member {:x} of cluster {:x}",
                dirs.wal.display(),
                identity.member_id,
                identity.cluster_id
            ));
        }
        boot.founders = identity.founders();
        members = identity.members;
    }
    if config.force_new_cluster {
        force::alone(&mut wal, &mut recovered, &machine)?;
    }
    tracing::info!(
        "cluster-id" = format!("{cluster_id:x}"),
        "local-member-id" = format!("{member_id:x}"),
        "commit-index" = recovered.hard_state.commit,
        "restarting local member"
    );
    Ok(Booted { dirs, wal, recovered, boot, machine, snap_dir, member_id, cluster_id, members })
}

/// Raft starts with all founders, also when the state machine was stopped amid taking them in.
fn with_founders(mut stored: ConfState, applied: u64, entries: &[Entry]) -> ConfState {
    let end = raftnode::founding_end(entries);
    if applied >= end {
        return stored;
    }
    let founding = entries.iter().filter(|entry| entry.index <= end);
    for change in founding.filter_map(|e| raftpb::ConfChange::decode(e.data.clone()).ok()) {
        stored.voters.push(change.node_id());
    }
    stored.voters.sort_unstable();
    stored.voters.dedup();
    stored
}

/// Refuses data of another member.
fn check_membership(dirs: &DataDir, machine: &StateMachine, member_id: u64) -> Result<(), Error> {
    let cluster = machine.state().cluster.read();
    let known = cluster.members.get(member_id).is_some();
    // One that was removed learns it from the others, and stops in the proper way.
    let removed = cluster.members.is_removed(member_id);
    if machine.consistent_index() > 0 && !known && !removed && !cluster.members.is_empty() {
        return refuse(format!(
            "the log in {} belongs to member {member_id:x}, which the backend {} does not know",
            dirs.wal.display(),
            dirs.snap.join("db").display()
        ));
    }
    Ok(())
}

/// `--bootstrap-defrag-threshold-megabytes`.
fn defragment_if_wasteful(config: &Config, backend: &Backend) -> Result<(), Error> {
    if config.bootstrap_defrag_mib == 0 {
        return Ok(());
    }
    let sizes = backend.sizes()?;
    let free = sizes.allocated.saturating_sub(sizes.in_use);
    let threshold = config.bootstrap_defrag_mib.saturating_mul(1024 * 1024);
    if free < threshold {
        tracing::info!(
            "current-db-size-bytes" = sizes.allocated,
            "current-db-size-in-use-bytes" = sizes.in_use,
            "free-up-bytes" = free,
            "threshold-bytes" = threshold,
            "Skipping defragmentation"
        );
        return Ok(());
    }
    Ok(backend.compact()?)
}

impl Identity {
    /// The entries that found the cluster; none for a member that joins.
    fn founders(&self) -> Vec<Founder> {
        if !self.founding {
            return Vec::new();
        }
        self.members.iter().map(founder).collect()
    }
}

fn founder(member: &Member) -> Founder {
    let change = raftpb::ConfChange {
        r#type: Some(raftpb::ConfChangeType::ConfChangeAddNode.into()),
        node_id: Some(member.id),
        context: Some(Bytes::from(member.to_json())),
        ..raftpb::ConfChange::default()
    };
    Founder { id: member.id, conf_change: change.encode_to_vec().into() }
}
