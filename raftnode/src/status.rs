//! Facts of a running node as plain atomics: read by anybody, written by their owner.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use crate::driver::Facts;
use crate::machine::{Leadership, Role};

/// The board of one node.
#[derive(Debug, Default)]
pub struct Status {
    term: AtomicU64,
    leader: AtomicU64,
    role: AtomicU8,
    commit: AtomicU64,
    applied: AtomicU64,
    alone: AtomicBool,
    local_reads: AtomicBool,
    leader_changes: AtomicU64,
    last_sync_ns: AtomicU64,
    slow_syncs: AtomicU64,
    late_ticks: AtomicU64,
    /// Proposals taken and not answered yet; kept by the proposer.
    pub proposals_pending: AtomicU64,
    /// Proposals that failed; kept by the proposer.
    pub proposals_failed: AtomicU64,
}

impl Status {
    /// The current term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term.load(Ordering::Relaxed)
    }

    /// Member id of the leader, 0 when none is known.
    #[must_use]
    pub fn leader(&self) -> u64 {
        self.leader.load(Ordering::Relaxed)
    }

    /// This member's role.
    #[must_use]
    pub fn role(&self) -> Role {
        match self.role.load(Ordering::Relaxed) {
            1 => Role::PreCandidate,
            2 => Role::Candidate,
            3 => Role::Leader,
            _ => Role::Follower,
        }
    }

    /// Whether this member leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role() == Role::Leader
    }

    /// Highest index known to be committed.
    #[must_use]
    pub fn commit(&self) -> u64 {
        self.commit.load(Ordering::Relaxed)
    }

    /// Highest index applied.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Relaxed)
    }

    /// Whether this member is the whole membership.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.alone.load(Ordering::Relaxed)
    }

    /// Whether the published state is linearizable as it stands.
    #[must_use]
    pub fn local_reads(&self) -> bool {
        self.local_reads.load(Ordering::Acquire)
    }

    /// Times a leader other than the one before was seen.
    #[must_use]
    pub fn leader_changes(&self) -> u64 {
        self.leader_changes.load(Ordering::Relaxed)
    }

    /// Duration of the last sync of the log.
    #[must_use]
    pub fn last_sync(&self) -> Duration {
        Duration::from_nanos(self.last_sync_ns.load(Ordering::Relaxed))
    }

    /// Syncs of the log that took more than a second.
    #[must_use]
    pub fn slow_syncs(&self) -> u64 {
        self.slow_syncs.load(Ordering::Relaxed)
    }

    /// Heartbeats a leader sent later than twice their interval after the one before.
    #[must_use]
    pub fn late_ticks(&self) -> u64 {
        self.late_ticks.load(Ordering::Relaxed)
    }

    pub(crate) fn set_facts(&self, facts: &Facts) {
        self.local_reads.store(facts.local_reads, Ordering::Release);
        self.commit.store(facts.commit, Ordering::Relaxed);
        self.applied.store(facts.applied, Ordering::Relaxed);
        self.alone.store(facts.alone, Ordering::Relaxed);
    }

    pub(crate) fn withdraw_local_reads(&self) {
        self.local_reads.store(false, Ordering::Release);
    }

    /// Notes role, term and leader; tells whether there is a leader other than the one before.
    ///
    /// A leader elected again counts: what was asked of it before is void.
    pub(crate) fn set_leadership(&self, now: Leadership) -> bool {
        let leader = self.leader.swap(now.leader, Ordering::Relaxed);
        let term = self.term.swap(now.term, Ordering::Relaxed);
        let role = match now.role {
            Role::Follower => 0,
            Role::PreCandidate => 1,
            Role::Candidate => 2,
            Role::Leader => 3,
        };
        self.role.store(role, Ordering::Relaxed);
        let changed = now.leader != 0 && (now.leader, now.term) != (leader, term);
        if changed {
            self.leader_changes.fetch_add(1, Ordering::Relaxed);
        }
        changed
    }

    pub(crate) fn note_sync(&self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.last_sync_ns.store(ns, Ordering::Relaxed);
        if duration > Duration::from_secs(1) {
            self.slow_syncs.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn note_late_tick(&self) {
        self.late_ticks.fetch_add(1, Ordering::Relaxed);
    }
}
