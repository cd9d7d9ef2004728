//! The loops beside requests: leadership, leases, compaction, alarms, versions, health of the disk.
//!
//! All run on one thread of their own, so that none competes with requests; each waits for
//! something and proposes, none holds state that others need.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use apply::ApplyError;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType, CompactionRequest, LeaseRevokeRequest};
use proto::request::Kind;
use raftnode::Role;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::compactor::Schedule;
use crate::config::Retention;
use crate::corruption;
use crate::lease_keeper::{CHECK_INTERVAL, REVOKES_IN_FLIGHT_MAX};
use crate::logging::{List, go_duration};
use crate::proposer::SWEEP_INTERVAL;
use crate::state::Shared;
use crate::versions;

/// How long after its start a member hastens its first election (etcd: 5 s).
const MEET_WITHIN: Duration = Duration::from_secs(5);
/// Time between two looks at who is connected by then.
const MEET_LOOK: Duration = Duration::from_millis(20);
/// Time between two looks at the background jobs of the storage engine.
const STORE_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two looks at the number of open descriptors (etcd: 10 min).
const DESCRIPTOR_INTERVAL: Duration = Duration::from_secs(600);

/// Starts every loop on the current runtime; dropping the set ends them. `published` is told
/// when the cluster knows this member.
pub(crate) fn start(
    shared: &Arc<Shared>,
    retention: Retention,
    published: mpsc::SyncSender<()>,
) -> JoinSet<()> {
    let mut loops = JoinSet::new();
    loops.spawn(sweep(shared.clone()));
    loops.spawn(lead(shared.clone()));
    loops.spawn(expire_leases(shared.clone()));
    loops.spawn(compact(shared.clone(), retention));
    loops.spawn(raise_no_space(shared.clone()));
    loops.spawn(versions::run(shared.clone(), published));
    loops.spawn(watch_store(shared.clone()));
    loops.spawn(watch_descriptors());
    loops.spawn(hasten_election(shared.clone()));
    loops.spawn(corruption::run(shared.clone()));
    loops
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Spares members that have met the wait for a first election.
async fn hasten_election(shared: Arc<Shared>) {
    let config = &shared.config;
    let id = format!("{:x}", shared.member_id);
    if shared.is_alone() {
        return;
    }
    if !config.initial_election_tick_advance {
        tracing::info!("local-member-id" = id, "skipping initial election tick advance");
        return;
    }
    let give_up = Instant::now() + MEET_WITHIN;
    while Instant::now() < give_up && shared.raft.status().leader() == 0 {
        let members: Vec<u64> =
            shared.state.cluster.read().members.iter().map(|member| member.id).collect();
        let active = members.iter().filter(|id| shared.peers.active_since(**id).is_some()).count();
        if active > 1 || (active == 1 && members.len() == 2) {
            let ticks = u32::try_from(config.election_ticks()).unwrap_or(u32::MAX);
            let ticks = ticks.saturating_sub(2);
            tracing::info!(
                "local-member-id" = id,
                "forward-ticks" = ticks,
                "active-remote-members" = active,
                "initialized peer connections; fast-forwarding election ticks"
            );
            shared.raft.advance_ticks(ticks);
            return;
        }
        tokio::time::sleep(MEET_LOOK).await;
    }
}

/// Ends waits that took too long.
async fn sweep(shared: Arc<Shared>) {
    let mut ticks = every(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        shared.proposer.sweep();
    }
}

/// Starts and stops the counting of lease time as leadership comes and goes.
async fn lead(shared: Arc<Shared>) {
    let mut leadership = shared.raft.leadership();
    loop {
        let now = *leadership.borrow_and_update();
        if now.role == Role::Leader {
            // Behind the barrier an entry of this term is applied, so all grants are known.
            if shared.raft.read_barrier().await.is_ok() && *leadership.borrow() == now {
                let leases = shared.state.leases.read();
                // Held until the keeper has them: a grant in between would be lost.
                shared.keeper.promote(
                    leases.iter().map(|(id, lease)| (id, lease.ttl_s, lease.remaining_ttl_s)),
                    shared.config.election,
                );
            }
        } else {
            shared.keeper.demote();
        }
        if leadership.changed().await.is_err() {
            return;
        }
    }
}

/// Proposes the revocation of leases whose time is over.
async fn expire_leases(shared: Arc<Shared>) {
    let mut ticks = every(CHECK_INTERVAL);
    let slots = Arc::new(Semaphore::new(REVOKES_IN_FLIGHT_MAX));
    loop {
        ticks.tick().await;
        let retry = shared.config.request_timeout();
        let leadership = shared.leadership();
        let due = shared.keeper.expired(retry);
        if due.is_empty() {
            continue;
        }
        // Only who still leads may decide that time is over.
        if !matches!(shared.leads_since(leadership).await, Ok(true)) {
            continue;
        }
        for id in due {
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            // A new leader gives all leases their time again: what was decided here is void.
            if shared.leadership() != leadership {
                break;
            }
            let shared = shared.clone();
            drop(tokio::spawn(async move {
                revoke_expired(&shared, id).await;
                drop(slot);
            }));
        }
    }
}

async fn revoke_expired(shared: &Shared, id: i64) {
    let answer = shared.proposer.propose(Kind::LeaseRevoke, &LeaseRevokeRequest { id }).await;
    let failed = match answer {
        Ok(answer) => match answer.result {
            Ok(_) => {
                shared.metrics.lease_expired.inc();
                return;
            }
            // Somebody was faster.
            Err(ApplyError::LeaseNotFound) => return,
            Err(error) => error.to_string(),
        },
        Err(error) => error.to_string(),
    };
    let lease = format!("{id:016x}");
    tracing::warn!("lease-id" = lease, error = failed, "failed to revoke lease");
}

/// Proposes compactions as `--auto-compaction-*` ask for.
async fn compact(shared: Arc<Shared>, retention: Retention) {
    let revision = shared.store().current_revision();
    let Some(mut schedule) = Schedule::new(retention, revision) else { return };
    let mut ticks = every(schedule.tick());
    // The first tick is due at once; the schedule counts from now.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let leading = shared.raft.status().is_leader();
        let Some(revision) = schedule.due(shared.store().current_revision(), leading) else {
            continue;
        };
        if compact_at(&shared, retention, &schedule, revision).await {
            schedule.done(revision);
        }
    }
}

/// Whether the compaction is done, or was done already.
async fn compact_at(
    shared: &Shared,
    retention: Retention,
    schedule: &Schedule,
    revision: i64,
) -> bool {
    let mode = match schedule {
        Schedule::Periodic(_) => "periodic",
        Schedule::Revision(_) => "revision",
    };
    // The one that is not kept by leaves no field.
    let (period, kept) = match retention {
        Retention::Off => (None, None),
        Retention::Periodic(period) => (Some(go_duration(period)), None),
        Retention::Revisions(kept) => (None, Some(kept)),
    };
    tracing::info!(
        revision,
        "compact-period" = period,
        "revision-compaction-retention" = kept,
        "starting auto {mode} compaction"
    );
    let began = Instant::now();
    let request = CompactionRequest { revision, physical: false };
    let failed = match shared.proposer.propose(Kind::Compaction, &request).await {
        Ok(answer) => match answer.result {
            Ok(_) | Err(ApplyError::Compacted) => None,
            Err(error) => Some(error.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    match failed {
        None => {
            let took = go_duration(began.elapsed());
            tracing::info!(
                revision,
                "compact-period" = period,
                "revision-compaction-retention" = kept,
                took,
                "completed auto {mode} compaction"
            );
            true
        }
        Some(error) => {
            let retry = go_duration(schedule.tick());
            tracing::warn!(
                revision,
                "compact-period" = period,
                "revision-compaction-retention" = kept,
                "retry-interval" = retry,
                error,
                "failed auto {mode} compaction"
            );
            false
        }
    }
}

/// Raises this member's NOSPACE alarm when a write has exceeded its quota.
async fn raise_no_space(shared: Arc<Shared>) {
    loop {
        shared.board.no_space.notified().await;
        if shared.state.alarms.read().is_raised(AlarmType::Nospace) {
            continue;
        }
        tracing::warn!(
            "quota-size-bytes" = shared.config.quota_backend_bytes,
            "message exceeded backend quota; raising alarm"
        );
        let request = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: shared.member_id,
            alarm: AlarmType::Nospace.into(),
        };
        if let Err(error) = shared.proposer.propose(Kind::Alarm, &request).await {
            tracing::warn!(error = %error, "failed to raise alarm");
        }
    }
}

/// Ends the member when a job of the storage engine has failed.
async fn watch_store(shared: Arc<Shared>) {
    let mut ticks = every(STORE_CHECK_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = shared.store().background_error() {
            crate::fatal::die("storage engine failed", &error);
        }
    }
}

/// Warns when descriptors run out.
async fn watch_descriptors() {
    let mut ticks = every(DESCRIPTOR_INTERVAL);
    loop {
        ticks.tick().await;
        let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
        let used = std::fs::read_dir("/proc/self/fd").map(Iterator::count);
        if let (Ok((limit, _)), Ok(used)) = (limit, used) {
            let used = u64::try_from(used).unwrap_or(u64::MAX);
            if used.saturating_mul(5) > limit.saturating_mul(4) {
                tracing::warn!(used, limit, "80% of file descriptors are used");
            }
        }
    }
}

/// Fields of the line that says that the server is up.
pub(crate) fn log_serving(shared: &Shared) {
    let config = &shared.config;
    tracing::info!(
        "local-member-id" = format!("{:x}", shared.member_id),
        "initial-advertise-peer-urls" = %List(&config.advertise_peer_urls),
        "listen-peer-urls" = %List(&config.listen_peer_urls),
        "advertise-client-urls" = %List(&config.advertise_client_urls),
        "listen-client-urls" = %List(&config.listen_client_urls),
        "listen-metrics-urls" = %List(&config.listen_metrics_urls),
        "now serving peer/client/metrics"
    );
}
