//! What the HTTP endpoints ask of a running member.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use backend::Rows as _;
use base::schema::{self, Bucket};
use proto::etcdserverpb::{AlarmType, RangeRequest};
use raftnode::Role;

use crate::http::{BoxFuture, Facts};
use crate::metrics::Scrape;
use crate::state::Shared;

/// A member behind the HTTP endpoints.
#[derive(Debug)]
pub(crate) struct MemberFacts(pub Arc<Shared>);

/// The name of an alarm, or its number if it has none.
pub(crate) fn alarm_name(number: i32) -> String {
    match AlarmType::try_from(number) {
        Ok(alarm) => alarm.as_str_name().to_owned(),
        Err(_) => number.to_string(),
    }
}

/// The recorded storage version; data of 3.5 records none.
pub(crate) fn storage_version(shared: &Shared) -> Option<String> {
    match shared.store().backend().get(Bucket::Meta, schema::STORAGE_VERSION) {
        Ok(Some(row)) => String::from_utf8(row.to_vec()).ok(),
        Ok(None) => Some("3.5.0".to_owned()),
        Err(_) => None,
    }
}

/// All members as `/members` lists them.
pub(crate) fn members_json(shared: &Shared) -> String {
    let cluster = shared.state.cluster.read();
    let members: Vec<String> = cluster.members.iter().map(base::Member::to_json).collect();
    format!("[{}]\n", members.join(","))
}

impl Facts for MemberFacts {
    fn alarms(&self) -> Vec<String> {
        let list = self.0.state.alarms.read().list(AlarmType::None.into());
        let mut names: Vec<String> = list.iter().map(|a| alarm_name(a.alarm)).collect();
        names.sort();
        names.dedup();
        names
    }

    fn has_leader(&self) -> bool {
        self.0.raft.status().leader() != 0
    }

    fn is_learner(&self) -> bool {
        self.0.board.is_learner.load(Ordering::Relaxed)
    }

    fn read(&self, serializable: bool) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            if !serializable {
                self.0.read_barrier().await.map_err(|e| e.to_string())?;
            }
            let request = RangeRequest {
                key: bytes::Bytes::from_static(b"\0"),
                limit: 1,
                keys_only: true,
                ..RangeRequest::default()
            };
            apply::range(&self.0.store(), &request).map(drop).map_err(|e| e.to_string())
        })
    }

    fn cluster_version(&self) -> Option<String> {
        self.0.state.cluster.read().version.map(|v| v.to_string())
    }

    fn storage_version(&self) -> Option<String> {
        storage_version(&self.0)
    }

    fn metrics(&self) -> String {
        self.0.metrics.page(scrape(&self.0))
    }

    fn members(&self) -> String {
        members_json(&self.0)
    }

    fn raft_status(&self) -> String {
        let shared = &self.0;
        let status = shared.raft.status();
        let id = format!("{:x}", shared.member_id);
        let (state, progress) = match status.role() {
            Role::Follower => ("StateFollower", String::new()),
            Role::PreCandidate => ("StatePreCandidate", String::new()),
            Role::Candidate => ("StateCandidate", String::new()),
            Role::Leader => {
                let commit = status.commit();
                let row = format!(
                    "\"{id}\":{{\"match\":{commit},\"next\":{},\"state\":\"StateReplicate\"}}",
                    commit + 1
                );
                ("StateLeader", row)
            }
        };
        format!(
            "{{\"id\":\"{id}\",\"term\":{},\"vote\":\"{:x}\",\"commit\":{},\"lead\":\"{:x}\",\
             \"raftState\":\"{state}\",\"applied\":{},\"progress\":{{{progress}}},\
             \"leadtransferee\":\"0\"}}",
            status.term(),
            status.leader(),
            status.commit(),
            status.leader(),
            status.applied(),
        )
    }

    fn cluster_id(&self) -> u64 {
        self.0.cluster_id
    }

    fn count_health(&self, success: bool) {
        self.0.metrics.health_answered(success);
    }

    fn count_check(&self, group: &'static str, check: &'static str, success: bool) {
        self.0.metrics.check_done(group, check, success);
    }
}

/// What the page of metrics asks of others.
fn scrape(shared: &Shared) -> Scrape {
    let status = shared.raft.status();
    let hub = shared.hub.stats();
    let sizes = shared.store().backend().sizes().ok();
    let cluster = shared.state.cluster.read();
    let alarms = shared.state.alarms.read().list(AlarmType::None.into());
    let features = shared.config.gates.list();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Scrape {
        member_id: shared.member_id,
        members: cluster.members.iter().map(|m| m.id).collect(),
        features: features.map(|(name, stage, on)| (name, stage.as_str(), on)).collect(),
        alarms: alarms.iter().map(|a| (a.member_id, alarm_name(a.alarm))).collect(),
        compact_revision: shared.store().compacted_revision(),
        current_revision: shared.store().current_revision(),
        keys: shared.store().index_keys(),
        watch_events: hub.events,
        pending_events: hub.pending_events,
        slow_watchers: count(hub.slow_watchers),
        watch_streams: count(hub.streams),
        watchers: count(hub.watchers),
        open_views: 0,
        db_bytes: sizes.map_or(0, |s| s.allocated),
        db_used_bytes: sizes.map_or(0, |s| s.in_use),
        has_leader: status.leader() != 0,
        is_leader: status.is_leader(),
        is_learner: shared.board.is_learner.load(Ordering::Relaxed),
        late_heartbeats: status.late_ticks(),
        leader_changes: status.leader_changes(),
        applied_index: status.applied(),
        committed_index: status.commit(),
        quota_bytes: shared.config.quota_backend_bytes,
        cluster_versions: Vec::new(),
        peers: shared.peers.transport().stats(),
    }
}
