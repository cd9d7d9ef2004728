//! The state machine as raft drives it: applies a batch, tells watchers, answers those who wait,
//! and acts on what follows from it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apply::{Applied, Effect, Verdict};
use backend::NextBackend;
use base::version::Version;
use mvcc::{Changes, EventKind, WatchHub};
use prost::Message as _;
use proto::raftpb;
use raftnode::{
    ApplyOutcome, CommittedBatch, ConfChange, ConfVerdict, InstallSnapshot, Leadership,
};
use tokio::sync::mpsc;
use wal::{EntryKind, SnapDir, Snapshot};

use crate::lease_keeper::Keeper;
use crate::logging::RAFT;
use crate::metrics::{Metrics, op_of_entry};
use crate::peers::{Peers, ReceivedImages};
use crate::proposer::Answer;
use crate::replies::Replies;
use crate::signals::End;
use crate::snapshots::SnapshotJob;
use crate::state::{StatusBoard, StoreSlot};

/// What the machine tells the rest of the server.
pub(crate) struct Surroundings {
    /// This member.
    pub member_id: u64,
    /// The cluster.
    pub cluster_id: u64,
    /// Who waits for answers.
    pub replies: Arc<Replies<Answer>>,
    /// Watchers.
    pub hub: WatchHub,
    /// Deadlines of leases.
    pub keeper: Arc<Keeper>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Facts for everybody.
    pub board: Arc<StatusBoard>,
    /// Snapshots to be taken; one may wait.
    pub snapshots: mpsc::Sender<SnapshotJob>,
    /// Told when this member was removed.
    pub end: std::sync::mpsc::SyncSender<End>,
    /// `--snapshot-count`.
    pub snapshot_count: u64,
    /// `--warning-apply-duration`; zero never warns.
    pub slow: Duration,
    /// The store in use, for everybody.
    pub stores: Arc<StoreSlot>,
    /// How stores are opened.
    pub store_options: mvcc::Options,
    /// The other members.
    pub peers: Peers,
    /// Received backends that wait for their installation.
    pub images: Arc<ReceivedImages>,
    /// Where `.snap` files are.
    pub snap_dir: SnapDir,
}

/// The state machine of a running member.
pub(crate) struct Machine {
    inner: apply::StateMachine,
    around: Surroundings,
    outcomes: Vec<Applied>,
    changes: Vec<Changes>,
    answers: Vec<(u64, Answer)>,
}

impl Machine {
    /// Puts `inner` to work.
    pub(crate) fn new(inner: apply::StateMachine, around: Surroundings) -> Machine {
        around.board.applied_term.store(inner.term(), Ordering::Relaxed);
        let machine = Machine {
            inner,
            around,
            outcomes: Vec::new(),
            changes: Vec::new(),
            answers: Vec::new(),
        };
        machine.note_own_vote();
        machine
    }

    fn note_own_vote(&self) {
        let cluster = self.inner.state().cluster.read();
        let learner = cluster.member(self.around.member_id).is_some_and(|m| m.is_learner);
        self.around.board.is_learner.store(learner, Ordering::Relaxed);
    }

    /// Counts and times the batch, and warns if it was slow.
    fn account(&self, batch: &CommittedBatch, took: Duration) {
        let metrics = &self.around.metrics;
        metrics.commit_seconds.observe(took);
        let each = took / u32::try_from(batch.entries.len().max(1)).unwrap_or(u32::MAX);
        for (entry, applied) in batch.entries.iter().zip(&self.outcomes) {
            if let Some(op) = op_of_entry(&entry.data, entry.kind == EntryKind::Normal) {
                metrics.applied(op, each, applied.result.is_ok());
            }
            if let Some(changes) = &applied.changes {
                let puts = changes.events.iter().filter(|e| e.kind == EventKind::Put);
                let (count, bytes) = puts.fold((0, 0), |(count, bytes), event| {
                    (count + 1, bytes + event.key.len() + value_bytes(&event.kv))
                });
                metrics.puts.add(count as u64);
                metrics.put_bytes.add(i64::try_from(bytes).unwrap_or(i64::MAX));
                metrics.deletes.add((changes.events.len() - count) as u64);
                metrics.txns.add(u64::from(changes.events.len() > 1));
            }
        }
        let slow = self.around.slow;
        if !slow.is_zero() && each > slow {
            metrics.slow_applies.add(batch.entries.len() as u64);
            tracing::warn!(
                took = crate::logging::go_duration(took),
                "expected-duration" = crate::logging::go_duration(slow),
                requests = batch.entries.len(),
                "apply request took too long"
            );
        }
    }

    fn act(&self, effect: Effect) {
        let around = &self.around;
        match effect {
            Effect::LeaseGranted { id, ttl_s } => {
                around.keeper.granted(id, ttl_s);
                around.metrics.lease_granted.inc();
                let ttl = u32::try_from(ttl_s).unwrap_or(u32::MAX);
                around.metrics.lease_ttl.observe_value(ttl);
            }
            Effect::LeaseRevoked { id } => {
                around.keeper.revoked(id);
                around.metrics.lease_revoked.inc();
            }
            // The keeper asks the table when it needs to know, at a promotion.
            Effect::LeaseCheckpointed { .. } => {}
            Effect::MemberAdded(member) => {
                around.peers.set(&member);
                self.log_member("added member", &member);
            }
            Effect::MemberPromoted(member) => self.log_member("promote member", &member),
            Effect::MemberUpdated(member) => {
                around.peers.set(&member);
                self.log_member("updated member", &member);
            }
            Effect::MemberRemoved { id } => {
                tracing::info!(
                    "cluster-id" = format!("{:x}", around.cluster_id),
                    "local-member-id" = format!("{:x}", around.member_id),
                    "removed-remote-peer-id" = format!("{id:x}"),
                    "removed member"
                );
                if id == around.member_id {
                    around.board.removed.store(true, Ordering::Release);
                    // A full channel means that the server is stopping anyway.
                    around.end.try_send(End::Removed).ok();
                } else {
                    around.peers.remove(id);
                }
            }
            Effect::AlarmRaised(alarm) => tracing::warn!(
                alarm = crate::facts::alarm_name(alarm.alarm),
                from = format!("{:x}", alarm.member_id),
                "alarm raised"
            ),
            Effect::AlarmCleared(alarm) => tracing::info!(
                alarm = crate::facts::alarm_name(alarm.alarm),
                from = format!("{:x}", alarm.member_id),
                "alarm disarmed"
            ),
            Effect::ProposeNoSpaceAlarm => around.board.no_space.notify_one(),
            Effect::CompactScheduled { revision } => self.follow_compaction(revision),
            Effect::ClusterVersionSet { version, before } => self.version_set(version, before),
            Effect::DowngradeSet(info) => {
                tracing::info!(?info, "downgrade job changed");
            }
        }
    }

    fn version_set(&self, version: Version, before: Option<Version>) {
        let short = |version: Version| format!("{}.{}", version.major, version.minor);
        let to = short(version);
        match before.map(short) {
            None => tracing::info!("cluster-version" = to, "set initial cluster version"),
            Some(from) => tracing::info!(from, to, "updated cluster version"),
        }
        tracing::info!("cluster-version" = to, "enabled capabilities for version");
        self.around.metrics.cluster_version_set(to);
    }

    /// Tells when the rows below a compaction are gone.
    fn follow_compaction(&self, revision: i64) {
        tracing::info!(revision, "compact tree index");
        let (began, metrics) = (Instant::now(), self.around.metrics.clone());
        self.inner.store().when_compacted(revision, move || {
            let took = began.elapsed();
            metrics.compaction_ms.observe_ms(took);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            metrics.compaction_last.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            tracing::info!(
                "compact-revision" = revision,
                took = crate::logging::go_duration(took),
                "finished scheduled compaction"
            );
        });
    }

    fn log_member(&self, what: &'static str, member: &base::Member) {
        self.note_own_vote();
        tracing::info!(
            "cluster-id" = format!("{:x}", self.around.cluster_id),
            "local-member-id" = format!("{:x}", self.around.member_id),
            "added-peer-id" = format!("{:x}", member.id),
            "added-peer-peer-urls" = %crate::logging::List(&member.peer_urls),
            "added-peer-is-learner" = member.is_learner,
            "{what}"
        );
    }

    /// Asks for a snapshot when enough entries were applied since the last.
    fn consider_snapshot(&self) {
        let index = self.inner.consistent_index();
        let last = self.around.board.snapshot_index.load(Ordering::Relaxed);
        if index <= last.saturating_add(self.around.snapshot_count) {
            return;
        }
        let Ok(permit) = self.around.snapshots.try_reserve() else { return };
        let cluster = self.inner.state().cluster.read();
        permit.send(SnapshotJob {
            index,
            term: self.inner.term(),
            conf_state: cluster.members.conf_state(),
            members: cluster.members.iter().cloned().collect(),
            removed: cluster.members.removed().collect(),
            version: cluster.version.map(|v| v.to_string()),
        });
        self.around.board.snapshot_index.store(index, Ordering::Relaxed);
    }
}

/// Logs what becomes of leadership, as operators know it.
#[derive(Debug)]
pub(crate) struct LeadershipLog {
    member_id: u64,
    leader: u64,
}

impl LeadershipLog {
    /// Of this member; no leader is known yet.
    pub(crate) fn new(member_id: u64) -> LeadershipLog {
        LeadershipLog { member_id, leader: 0 }
    }
}

impl raftnode::Observer for LeadershipLog {
    fn leadership_changed(&mut self, now: Leadership) {
        let (id, before, term) = (self.member_id, self.leader, now.term);
        match (before, now.leader) {
            (before, leader) if before == leader => {}
            (0, leader) => tracing::info!(
                target: RAFT,
                "raft.node: {id:x} elected leader {leader:x} at term {term}"
            ),
            (before, 0) => tracing::info!(
                target: RAFT,
                "raft.node: {id:x} lost leader {before:x} at term {term}"
            ),
            (before, leader) => tracing::info!(
                target: RAFT,
                "raft.node: {id:x} changed leader from {before:x} to {leader:x} at term {term}"
            ),
        }
        self.leader = now.leader;
    }
}

impl raftnode::StateMachine for Machine {
    fn apply(&mut self, batch: CommittedBatch) -> ApplyOutcome {
        let began = Instant::now();
        self.outcomes.clear();
        let entries = batch.entries.iter().map(|entry| apply::Entry {
            index: entry.index,
            term: entry.term,
            kind: match entry.kind {
                EntryKind::Normal => apply::EntryKind::Normal,
                EntryKind::ConfChange => apply::EntryKind::ConfChange,
                EntryKind::ConfChangeV2 => apply::EntryKind::ConfChangeV2,
            },
            data: entry.data.clone(),
        });
        let replies = &self.around.replies;
        let applied =
            self.inner.apply_batch(entries, |id| replies.is_awaited(id), &mut self.outcomes);
        if let Err(error) = applied {
            crate::fatal::die("failed to apply committed entries", &error);
        }
        self.account(&batch, began.elapsed());
        self.around.board.applied_term.store(self.inner.term(), Ordering::Relaxed);
        let verdict = match self.outcomes.last().and_then(|last| last.verdict.as_ref()) {
            Some(verdict) => batch.entries.last().map(|entry| conf_verdict(verdict, &entry.data)),
            None => None,
        };
        let mut outcomes = std::mem::take(&mut self.outcomes);
        // Before the watchers: who sees the keys of a lease go does not find it listed after that.
        for effect in outcomes.iter_mut().flat_map(|applied| std::mem::take(&mut applied.effects)) {
            self.act(effect);
        }
        // Before the answers: who reads an answer and then asks for progress must see the event.
        self.changes.extend(outcomes.iter_mut().filter_map(|applied| applied.changes.take()));
        if !self.changes.is_empty() {
            self.around.hub.publish(&self.changes);
            self.changes.clear();
        }
        for applied in outcomes.drain(..) {
            if applied.request_id != 0 {
                let answer = Answer {
                    result: applied.result,
                    revision: applied.revision,
                    index: applied.index,
                };
                self.answers.push((applied.request_id, answer));
            }
        }
        self.outcomes = outcomes;
        self.around.replies.deliver(&mut self.answers);
        self.consider_snapshot();
        ApplyOutcome { applied: batch.last_index(), verdict }
    }

    fn install(&mut self, snapshot: InstallSnapshot) {
        let InstallSnapshot { record, data } = snapshot;
        tracing::info!("incoming-leader-snapshot-index" = record.index, "applying snapshot");
        let Some(next) = self.around.images.claim(record.index) else {
            crate::fatal::stop(&format!(
                "the log names a snapshot at index {}, but its backend is not there",
                record.index
            ));
        };
        if let Err(error) = self.take_over(next) {
            crate::fatal::die("failed to install a snapshot", &*error);
        }
        // Not needed here again: older versions look for it when they take over this directory.
        let saved = Snapshot {
            index: record.index,
            term: record.term,
            conf_state: record.conf_state.unwrap_or_default(),
            data,
        };
        if let Err(error) = self.around.snap_dir.save(&saved) {
            crate::fatal::die("failed to save snapshot", &error);
        }
        self.around.board.snapshot_index.store(record.index, Ordering::Relaxed);
        tracing::info!("incoming-leader-snapshot-index" = record.index, "applied snapshot");
    }
}

impl Machine {
    /// Makes a received backend the state of this member, and tells everybody.
    fn take_over(&mut self, next: NextBackend) -> Result<(), Box<dyn std::error::Error>> {
        let backend = next.install()?;
        let opened = mvcc::Store::open(backend, self.around.store_options.clone())?;
        self.inner.install(opened)?;
        let (around, store) = (&self.around, self.inner.store().clone());
        around.stores.replace(store.clone());
        let revision = store.current_revision();
        around.hub.install(Arc::new(store), revision);
        around.board.applied_term.store(self.inner.term(), Ordering::Relaxed);
        {
            let state = self.inner.state();
            let leases = state.leases.read();
            around.keeper.replace(leases.iter().map(|(id, lease)| (id, lease.ttl_s)));
            let cluster = state.cluster.read();
            around.peers.set_all(cluster.members.iter());
            if let Some(version) = cluster.version {
                let short = format!("{}.{}", version.major, version.minor);
                around.metrics.cluster_version_set(short);
            }
        }
        self.note_own_vote();
        Ok(())
    }
}

/// Length of the value inside an encoded pair: its fields come in ascending order, key and value
/// with a length, numbers between them.
fn value_bytes(pair: &[u8]) -> usize {
    const KEY_TAG: u64 = 0x0a;
    const VALUE_TAG: u64 = 0x2a;
    let mut rest = pair;
    let read = |rest: &mut &[u8]| prost::encoding::decode_varint(rest).ok();
    while let (Some(tag), Some(number)) = (read(&mut rest), read(&mut rest)) {
        let length = usize::try_from(number).unwrap_or(usize::MAX);
        match tag {
            VALUE_TAG => return length,
            KEY_TAG => rest = rest.get(length..).unwrap_or_default(),
            _ => {}
        }
    }
    0
}

/// The verdict in raft's words.
fn conf_verdict(verdict: &Verdict, data: &[u8]) -> ConfVerdict {
    let conf_state = match verdict {
        Verdict::Accept(conf_state) => conf_state.clone(),
        Verdict::Reject | Verdict::Known => return ConfVerdict::Reject,
    };
    let Ok(change) = raftpb::ConfChange::decode(data) else { return ConfVerdict::Reject };
    let id = change.node_id();
    let change = match change.r#type() {
        raftpb::ConfChangeType::ConfChangeAddNode => ConfChange::AddVoter(id),
        raftpb::ConfChangeType::ConfChangeAddLearnerNode => ConfChange::AddLearner(id),
        raftpb::ConfChangeType::ConfChangeRemoveNode => ConfChange::Remove(id),
        raftpb::ConfChangeType::ConfChangeUpdateNode => return ConfVerdict::Reject,
    };
    ConfVerdict::Apply { change, conf_state }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::mvccpb::KeyValue;

    #[test]
    fn the_value_of_a_pair_is_found_without_decoding() {
        for (key, value, lease) in [("k", "value", 7), ("", "", 0), ("k", "", -1), ("kk", "v", 0)] {
            let pair = KeyValue {
                key: key.into(),
                value: value.into(),
                create_revision: 300,
                mod_revision: 1 << 40,
                version: 1,
                lease,
            };
            assert_eq!(value_bytes(&pair.encode_to_vec()), value.len());
        }
        assert_eq!(value_bytes(b"\x0a\xff\xff\xff\xff\x0f"), 0);
    }
}
