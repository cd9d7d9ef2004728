//! Changes of the member list: what strict reconfiguration allows, and their way into the log.
//!
//! The state machine decides about ids and URLs; here is only what depends on who is running and
//! connected at the moment, which the log cannot know.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use apply::{ApplyError, Members};
use base::{Member, MemberChange, ids};
use proto::raftpb::ConfChangeType;

use crate::proposer::ProposeError;
use crate::rpc::RpcError;
use crate::state::Shared;

/// How long a peer must have been connected to count (etcd: 5 s).
const CONNECTED_FOR: Duration = Duration::from_secs(5);
/// How much of the leader's log a learner must have to be promoted, in hundredths (etcd: 0.9).
const LEARNER_READY_PERCENT: u128 = 90;

/// The voters as the rules see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Voters {
    /// All of them.
    all: usize,
    /// Those that have published their name.
    started: usize,
    /// Those this member is connected to for long enough, itself included.
    connected: usize,
}

const fn quorum(members: usize) -> usize {
    members / 2 + 1
}

impl Voters {
    fn of(members: &Members, is_connected: impl Fn(u64) -> bool) -> Voters {
        let voters = || members.iter().filter(|m| !m.is_learner);
        Voters {
            all: voters().count(),
            started: voters().filter(|m| !m.name.is_empty()).count(),
            connected: voters().filter(|m| is_connected(m.id)).count(),
        }
    }

    /// Whether another member may be added.
    fn may_add(self, is_learner: bool) -> Result<(), RpcError> {
        let lone = self.all == 1 && self.started == 1;
        if !is_learner && !lone && self.started < quorum(self.all + 1) {
            tracing::warn!("rejecting member add request; not enough healthy members");
            return Err(RpcError::MemberNotEnoughStarted);
        }
        if self.all > 1 && self.connected < quorum(self.all + 1) {
            tracing::warn!(
                "rejecting member add request; local member has not been connected to majority \
                 peers, reconfigure breaks active quorum"
            );
            return Err(RpcError::Unhealthy);
        }
        Ok(())
    }

    /// Whether a voter may leave: one that has `started` or not, and is within `reach` or not.
    fn may_remove(self, started: bool, reachable: bool) -> Result<(), RpcError> {
        let left = self.started - usize::from(started);
        if left < quorum(self.all.saturating_sub(1)) {
            tracing::warn!("rejecting member remove request; not enough healthy members");
            return Err(RpcError::MemberNotEnoughStarted);
        }
        if reachable && self.connected.saturating_sub(1) < 1 + self.all.saturating_sub(1) / 2 {
            tracing::warn!(
                "rejecting member remove request; local member has not been connected to all \
                 peers, reconfigure breaks active quorum"
            );
            return Err(RpcError::Unhealthy);
        }
        Ok(())
    }

    /// Whether a learner may vote.
    fn may_promote(self) -> Result<(), RpcError> {
        if self.started + 1 < quorum(self.all + 1) {
            tracing::warn!("rejecting member promote request; not enough healthy members");
            return Err(RpcError::MemberNotEnoughStarted);
        }
        Ok(())
    }
}

/// Whether a learner has enough of the leader's log.
fn is_ready(learner: u64, leader: u64) -> bool {
    u128::from(learner) * 100 >= u128::from(leader) * LEARNER_READY_PERCENT
}

/// The refusal of a change in the words of the services.
fn refusal(error: ApplyError) -> RpcError {
    match error {
        ApplyError::MemberExist => RpcError::MemberExist,
        ApplyError::PeerUrlExist => RpcError::PeerURLExist,
        ApplyError::TooManyLearners => RpcError::TooManyLearners,
        ApplyError::MemberNotLearner => RpcError::MemberNotLearner,
        ApplyError::LastVoter => RpcError::MemberNotEnoughStarted,
        _ => RpcError::MemberNotFound,
    }
}

impl Shared {
    fn voters(&self) -> Voters {
        let cluster = self.state.cluster.read();
        Voters::of(&cluster.members, |id| self.is_connected(id))
    }

    /// Whether the peer is connected for long enough to be counted on.
    fn is_connected(&self, id: u64) -> bool {
        let since = |since: Instant| since.elapsed() >= CONNECTED_FOR;
        id == self.member_id || self.peers.active_since(id).is_some_and(since)
    }

    /// Adds a member, which is given its id here.
    ///
    /// # Errors
    /// [`RpcError::MemberBadURLs`], what strict reconfiguration or the state machine refuses with.
    pub(crate) async fn add_member(
        &self,
        urls: &[String],
        is_learner: bool,
    ) -> Result<Member, RpcError> {
        let peer_urls = base::urls::normalize(urls).map_err(|_| RpcError::MemberBadURLs)?;
        if self.config.strict_reconfig_check {
            self.voters().may_add(is_learner)?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let id = ids::member_id(&peer_urls, "", Some(seconds));
        let member = Member { id, peer_urls, is_learner, ..Member::default() };
        let kind = match is_learner {
            true => ConfChangeType::ConfChangeAddLearnerNode,
            false => ConfChangeType::ConfChangeAddNode,
        };
        self.change(kind, id, member.to_json()).await?;
        Ok(member)
    }

    /// Removes a member for good.
    ///
    /// # Errors
    /// What strict reconfiguration or the state machine refuses with.
    pub(crate) async fn remove_member(&self, id: u64) -> Result<(), RpcError> {
        if self.config.strict_reconfig_check {
            let target = self.state.cluster.read().members.get(id).cloned();
            if target.as_ref().is_none_or(|member| !member.is_learner) {
                let started = target.is_some_and(|member| !member.name.is_empty());
                let reachable = id == self.member_id || self.peers.active_since(id).is_some();
                self.voters().may_remove(started, reachable)?;
            }
        }
        self.change(ConfChangeType::ConfChangeRemoveNode, id, String::new()).await
    }

    /// Gives a member other peer URLs.
    ///
    /// # Errors
    /// [`RpcError::MemberBadURLs`], which etcd does not check and then crashes on; what the state
    /// machine refuses with.
    pub(crate) async fn update_member(&self, id: u64, urls: &[String]) -> Result<(), RpcError> {
        let peer_urls = base::urls::normalize(urls).map_err(|_| RpcError::MemberBadURLs)?;
        let member = Member { id, peer_urls, ..Member::default() };
        self.change(ConfChangeType::ConfChangeUpdateNode, id, member.to_json()).await
    }

    /// Makes a learner a voter, here if this member leads, else through the leader.
    ///
    /// # Errors
    /// [`RpcError::LearnerNotReady`] and [`RpcError::MemberNotFound`]; [`RpcError::NoLeader`]
    /// when nobody led for the whole request timeout; what strict reconfiguration or the state
    /// machine refuses with.
    pub(crate) async fn promote_member(&self, id: u64) -> Result<(), RpcError> {
        let deadline = tokio::time::Instant::now() + self.config.request_timeout();
        loop {
            if self.raft.status().is_leader() {
                return self.promote_here(id).await;
            }
            if let Some(outcome) = self.peers.promote(self, id, deadline).await {
                return outcome;
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(match self.raft.status().leader() {
                    0 => RpcError::NoLeader,
                    _ => RpcError::Timeout,
                });
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Makes a learner a voter; only the leader knows how far the learner is.
    ///
    /// # Errors
    /// As [`Shared::promote_member`].
    pub(crate) async fn promote_here(&self, id: u64) -> Result<(), RpcError> {
        self.caught_up().await?;
        let progress = self.raft.progress().await.map_err(|_| RpcError::Stopped)?;
        let matched = |id| progress.iter().find(|p| p.id == id).map(|p| p.matched);
        let learner = matched(id).ok_or(RpcError::MemberNotFound)?;
        if !is_ready(learner, matched(self.member_id).unwrap_or(u64::MAX)) {
            return Err(RpcError::LearnerNotReady);
        }
        if self.config.strict_reconfig_check {
            self.voters().may_promote()?;
        }
        let context = MemberChange::promote(id).to_json();
        self.change(ConfChangeType::ConfChangeAddNode, id, context).await
    }

    async fn change(&self, kind: ConfChangeType, id: u64, json: String) -> Result<(), RpcError> {
        match self.proposer.change_members(kind, id, json).await {
            Ok(applied) => applied.map_err(refusal),
            Err(error) => Err(match error {
                ProposeError::Stopped => RpcError::Stopped,
                _ => RpcError::Timeout,
            }),
        }
    }

    /// Hands leadership to a voter and returns when it leads.
    ///
    /// # Errors
    /// [`RpcError::NotLeader`], [`RpcError::BadLeaderTransferee`], and
    /// [`RpcError::LeaderTransferTimeout`] when it does not lead within the request timeout.
    pub(crate) async fn move_leader(&self, to: u64) -> Result<(), RpcError> {
        if !self.raft.status().is_leader() {
            return Err(RpcError::NotLeader);
        }
        let votes = |member: &Member| !member.is_learner;
        if !self.state.cluster.read().members.get(to).is_some_and(votes) {
            return Err(RpcError::BadLeaderTransferee);
        }
        if to == self.member_id {
            return Ok(());
        }
        self.transfer(to).await
    }

    async fn transfer(&self, to: u64) -> Result<(), RpcError> {
        let began = Instant::now();
        let id = |id: u64| format!("{id:x}");
        tracing::info!(
            "local-member-id" = id(self.member_id),
            "current-leader-member-id" = id(self.member_id),
            "transferee-member-id" = id(to),
            "leadership transfer starting"
        );
        let mut leadership = self.raft.leadership();
        self.raft.transfer_leader(to);
        let led = leadership.wait_for(|now| now.leader == to);
        match tokio::time::timeout(self.config.request_timeout(), led).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) => return Err(RpcError::Stopped),
            Err(_) => return Err(RpcError::LeaderTransferTimeout),
        }
        tracing::info!(
            "local-member-id" = id(self.member_id),
            "old-leader-member-id" = id(self.member_id),
            "new-leader-member-id" = id(to),
            took = crate::logging::go_duration(began.elapsed()),
            "leadership transfer finished"
        );
        Ok(())
    }

    /// Before a stop: hands leadership to the voter that is connected longest.
    pub(crate) async fn leave_leadership(&self) {
        let id = format!("{:x}", self.member_id);
        if !self.raft.status().is_leader() {
            tracing::info!(
                "local-member-id" = id,
                "skipped leadership transfer; local server is not leader"
            );
            return;
        }
        let voters: Vec<u64> = {
            let cluster = self.state.cluster.read();
            cluster.members.iter().filter(|m| !m.is_learner).map(|m| m.id).collect()
        };
        if voters.len() < 2 {
            tracing::info!(
                "local-member-id" = id,
                "skipped leadership transfer for single voting member cluster"
            );
            return;
        }
        let connected = voters
            .into_iter()
            .filter(|voter| *voter != self.member_id)
            .filter_map(|voter| Some((self.peers.active_since(voter)?, voter)));
        let outcome = match connected.min() {
            Some((_, to)) => self.transfer(to).await,
            None => Err(RpcError::Unhealthy),
        };
        if let Err(error) = outcome {
            tracing::warn!(
                "local-member-id" = id,
                error = error.text(),
                "leadership transfer failed"
            );
        }
    }

    /// Waits until everything committed is applied, for a short while.
    ///
    /// # Errors
    /// [`RpcError::TimeoutWaitAppliedIndex`].
    pub(crate) async fn caught_up(&self) -> Result<(), RpcError> {
        let status = self.raft.status();
        let committed = status.commit();
        let began = Instant::now();
        while status.applied() < committed {
            if began.elapsed() >= APPLY_WAIT {
                return Err(RpcError::TimeoutWaitAppliedIndex);
            }
            tokio::time::sleep(APPLY_LOOK).await;
        }
        Ok(())
    }
}

/// How long a request waits for the state to catch up with the log (etcd: 1 s).
const APPLY_WAIT: Duration = Duration::from_secs(1);
/// Time between two looks at it.
const APPLY_LOOK: Duration = Duration::from_millis(2);
/// Time between two tries to reach a leader (etcd: 50 ms).
const RETRY_PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(all: usize, started: usize, connected: usize) -> Voters {
        Voters { all, started, connected }
    }

    #[test]
    fn a_voter_is_added_only_if_the_started_ones_stay_a_quorum() {
        // Three started voters take a fourth and a fifth that were never started, not a sixth.
        assert_eq!(voters(3, 3, 3).may_add(false), Ok(()));
        assert_eq!(voters(4, 3, 3).may_add(false), Ok(()));
        let refused = Err(RpcError::MemberNotEnoughStarted);
        assert_eq!(voters(5, 3, 3).may_add(false), refused);
        assert_eq!(voters(2, 1, 1).may_add(false), refused);
        // A lone voter needs nobody.
        assert_eq!(voters(1, 1, 1).may_add(false), Ok(()));
    }

    #[test]
    fn nobody_is_added_while_too_few_are_connected() {
        assert_eq!(voters(3, 3, 2).may_add(false), Err(RpcError::Unhealthy));
        assert_eq!(voters(3, 3, 2).may_add(true), Err(RpcError::Unhealthy));
        assert_eq!(voters(2, 2, 2).may_add(true), Ok(()));
    }

    #[test]
    fn a_voter_leaves_only_if_a_quorum_of_the_others_runs() {
        assert_eq!(voters(1, 1, 1).may_remove(true, true), Err(RpcError::MemberNotEnoughStarted));
        assert_eq!(voters(2, 2, 2).may_remove(true, true), Ok(()));
        assert_eq!(voters(3, 3, 3).may_remove(true, true), Ok(()));
        // One of three is down: another may not go, the one that is down may.
        assert_eq!(voters(3, 3, 2).may_remove(true, true), Err(RpcError::Unhealthy));
        assert_eq!(voters(3, 3, 2).may_remove(true, false), Ok(()));
        assert_eq!(voters(3, 2, 2).may_remove(true, true), Err(RpcError::MemberNotEnoughStarted));
    }

    #[test]
    fn a_learner_is_ready_at_nine_tenths_of_the_leader() {
        assert!(is_ready(90, 100) && is_ready(u64::MAX, u64::MAX));
        assert!(!is_ready(89, 100) && !is_ready(0, 10));
    }
}
