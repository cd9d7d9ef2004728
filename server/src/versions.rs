//! What members tell each other of themselves: names, client URLs, versions.
//!
//! A cluster may hold members of 3.4, which end at an entry they cannot decode and meet it again
//! at every start. What is published while such a member can be there has the form of 3.4.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use apply::legacy;
use base::Member;
use base::version::{self, Version};
use proto::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use proto::request::Kind;
use tokio::time::Instant;

use crate::logging::go_duration;
use crate::proposer::{Answer, ProposeError};
use crate::state::Shared;

/// Time between two decisions about the cluster version (etcd: 4 s).
const VERSION_INTERVAL: Duration = Duration::from_secs(4);
/// Time between two looks while a decision is wanted soon.
const EAGER_INTERVAL: Duration = Duration::from_millis(100);
/// The first version that reads what 3.7 writes; those before read what 3.4 writes.
const FIRST_WITH_NEW_FORM: Version = Version::new(3, 5, 0);
/// The version of a cluster some of whose members were never reached (etcd's choice).
const UNKNOWN: Version = Version::new(3, 0, 0);

/// What is known of the versions of all members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Survey {
    /// The oldest program among those that answered; this member's own is one of them.
    oldest: Version,
    /// Whether all have answered.
    complete: bool,
}

impl Survey {
    fn new(own: Version, others: impl IntoIterator<Item = Option<Version>>) -> Survey {
        let mut survey = Survey { oldest: own, complete: true };
        for other in others {
            match other {
                Some(version) => survey.oldest = survey.oldest.min(version),
                None => survey.complete = false,
            }
        }
        survey
    }

    /// The version the leader is to set, if any. `patient` waits for those that did not answer.
    fn decide(self, current: Option<Version>, patient: bool) -> Option<Version> {
        let oldest = self.oldest.to_minor();
        match current {
            None if self.complete => Some(oldest),
            None if patient => None,
            // An old member that is known is not given a version it would not understand.
            None => Some(UNKNOWN),
            // Raised only when everybody runs it; never lowered here.
            Some(current) => (self.complete && oldest > current).then_some(oldest),
        }
    }

    /// Whether a member may be there that reads the form of 3.4 only; `None` if nobody knows yet.
    fn wants_old_form(self, current: Option<Version>) -> Option<bool> {
        if self.oldest < FIRST_WITH_NEW_FORM {
            return Some(true);
        }
        match current {
            Some(version) if version >= FIRST_WITH_NEW_FORM => Some(false),
            // A placeholder says nothing; a real one was set because of such a member.
            Some(version) if version != UNKNOWN => Some(true),
            _ => self.complete.then_some(false),
        }
    }
}

fn server_version() -> Version {
    version::SERVER.parse().expect("our own version is one")
}

/// The other members as applied here.
fn others(shared: &Shared) -> Vec<Member> {
    let cluster = shared.state.cluster.read();
    cluster.members.iter().filter(|m| m.id != shared.member_id).cloned().collect()
}

/// Asks every other member for its version; nobody counts as complete while the log tells of
/// members that are not applied yet.
async fn survey(shared: &Shared) -> Survey {
    let status = shared.raft.status();
    let is_whole = status.applied() >= status.commit();
    let others = others(shared);
    let asked = survey_of(shared, &others).await;
    let unchanged = self::others(shared).len() == others.len();
    Survey { complete: asked.complete && is_whole && unchanged, ..asked }
}

async fn survey_of(shared: &Shared, others: &[Member]) -> Survey {
    let mut asked = tokio::task::JoinSet::new();
    for member in others {
        let (peers, member) = (shared.peers.clone(), member.clone());
        asked.spawn(async move { peers.versions(&member).await.and_then(|v| v.server) });
    }
    let mut answers = Vec::new();
    while let Some(answer) = asked.join_next().await {
        answers.push(answer.ok().flatten());
    }
    Survey::new(server_version(), answers)
}

fn cluster_version(shared: &Shared) -> Option<Version> {
    shared.state.cluster.read().version
}

/// Makes this member known, then sees to the cluster version: in this order, so that the head of
/// a new log is the one etcd writes. `published` is told in between.
pub(crate) async fn run(shared: Arc<Shared>, published: mpsc::SyncSender<()>) {
    if shared.is_alone() {
        publish(&shared).await;
        published.try_send(()).ok();
        agree_on_version(shared).await;
    } else {
        // Who publishes in which form may hang on the version, so neither waits for the other.
        let publish = async {
            publish(&shared).await;
            // The start that waits for it may have been given up.
            published.try_send(()).ok();
        };
        tokio::join!(publish, agree_on_version(shared.clone()));
    }
}

/// Tells the cluster this member's name and client URLs, again and again until it knows.
async fn publish(shared: &Shared) {
    let config = &shared.config;
    let urls: Vec<String> = config.advertise_client_urls.iter().map(ToString::to_string).collect();
    let id = format!("{:x}", shared.member_id);
    let timeout = go_duration(config.request_timeout());
    loop {
        let answer = publish_once(shared, &urls).await;
        let failed = match answer {
            Ok(answer) => answer.result.err().map(|e| e.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let Some(error) = failed else { break };
        tracing::warn!(
            "local-member-id" = id,
            "publish-timeout" = timeout,
            error,
            "failed to publish local member to cluster through raft"
        );
        // A refusal comes at once; a busy loop would not help.
        tokio::time::sleep(EAGER_INTERVAL).await;
    }
    tracing::info!(
        "local-member-id" = id,
        "local-member-attributes" =
            format!("{{Name:{} ClientURLs:[{}]}}", config.name, urls.join(" ")),
        "cluster-id" = format!("{:x}", shared.cluster_id),
        "publish-timeout" = timeout,
        "published local member to cluster through raft"
    );
}

async fn publish_once(shared: &Shared, urls: &[String]) -> Result<Answer, ProposeError> {
    let name = shared.config.name.clone();
    if old_form(shared).await {
        let (path, json) = legacy::v2_attributes(shared.member_id, &name, urls);
        return shared.proposer.propose_encoded(|id| legacy::v2_put(id, &path, &json)).await;
    }
    let request = ClusterMemberAttrSetRequest {
        member_id: shared.member_id,
        member_attributes: Some(Attributes { name, client_urls: urls.to_vec() }),
    };
    shared.proposer.propose(Kind::ClusterMemberAttrSet, &request).await
}

/// Whether to publish in the form of 3.4: waits, within reason, until that can be known.
async fn old_form(shared: &Shared) -> bool {
    let give_up = Instant::now() + VERSION_INTERVAL;
    loop {
        let current = cluster_version(shared);
        if shared.is_alone() || current.is_some_and(|v| v >= FIRST_WITH_NEW_FORM) {
            return false;
        }
        // A member that joins learns from the log who the others are.
        let joined = shared.state.cluster.read().members.get(shared.member_id).is_some();
        let wanted = survey(shared).await.wants_old_form(current);
        match wanted {
            Some(wanted) if joined => return wanted,
            _ if joined && Instant::now() >= give_up => return false,
            _ => tokio::time::sleep(EAGER_INTERVAL).await,
        }
    }
}

/// Raises the cluster version to what all members run, on the leader.
async fn agree_on_version(shared: Arc<Shared>) {
    let mut leadership = shared.raft.leadership();
    loop {
        let mut wait = VERSION_INTERVAL;
        if shared.raft.status().is_leader() && shared.read_barrier().await.is_ok() {
            let began = Instant::now();
            while !settle(&shared, began.elapsed() < VERSION_INTERVAL).await {
                tokio::time::sleep(EAGER_INTERVAL).await;
            }
            wait = wait.saturating_sub(began.elapsed()).max(EAGER_INTERVAL);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// One decision; false to try again soon.
async fn settle(shared: &Shared, patient: bool) -> bool {
    let current = cluster_version(shared);
    let survey = survey(shared).await;
    let Some(version) = survey.decide(current, patient) else {
        return current.is_some() || !shared.raft.status().is_leader();
    };
    let what = match current {
        None => "setting up initial cluster version using v3 API",
        Some(_) => "updating cluster version using v3 API",
    };
    tracing::info!("cluster-version" = %version, "{what}");
    let text = version.to_string();
    let answer = if survey.wants_old_form(current) == Some(true) {
        let path = legacy::V2_VERSION_PATH;
        shared.proposer.propose_encoded(|id| legacy::v2_put(id, path, &text)).await
    } else {
        let request = ClusterVersionSetRequest { ver: text };
        shared.proposer.propose(Kind::ClusterVersionSet, &request).await
    };
    match answer {
        Ok(_) => tracing::info!("cluster-version" = %version, "cluster version is updated"),
        Err(error) => tracing::warn!(error = %error, "failed to update cluster version"),
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Version = Version::new(3, 7, 1);
    const OLD: Version = Version::new(3, 4, 23);

    fn survey(others: &[Option<Version>]) -> Survey {
        Survey::new(OURS, others.iter().copied())
    }

    #[test]
    fn the_cluster_runs_at_the_version_of_its_oldest_member() {
        assert_eq!(survey(&[]).decide(None, true), Some(Version::new(3, 7, 0)));
        let mixed = survey(&[Some(OURS), Some(OLD)]);
        assert_eq!(mixed.decide(None, true), Some(Version::new(3, 4, 0)));
        assert_eq!(mixed.decide(Some(Version::new(3, 4, 0)), true), None);
        // The last old member was replaced.
        let new = survey(&[Some(OURS), Some(OURS)]);
        assert_eq!(new.decide(Some(Version::new(3, 4, 0)), true), Some(Version::new(3, 7, 0)));
        assert_eq!(new.decide(Some(Version::new(3, 7, 0)), true), None);
    }

    #[test]
    fn members_out_of_reach_are_waited_for_and_change_nothing() {
        let lacking = survey(&[Some(OURS), None]);
        assert_eq!(lacking.decide(None, true), None);
        assert_eq!(lacking.decide(None, false), Some(UNKNOWN));
        assert_eq!(lacking.decide(Some(UNKNOWN), false), None);
    }

    #[test]
    fn the_old_form_is_written_while_an_old_member_may_read_it() {
        let (new, old) = (survey(&[Some(OURS)]), survey(&[Some(OLD), None]));
        assert_eq!(new.wants_old_form(None), Some(false));
        assert_eq!(new.wants_old_form(Some(UNKNOWN)), Some(false));
        assert_eq!(new.wants_old_form(Some(Version::new(3, 7, 0))), Some(false));
        assert_eq!(old.wants_old_form(None), Some(true));
        // The old member does not answer, but the cluster has its version.
        let silent = survey(&[None]);
        assert_eq!(silent.wants_old_form(Some(Version::new(3, 4, 0))), Some(true));
        assert_eq!(silent.wants_old_form(Some(UNKNOWN)), None);
        assert_eq!(silent.wants_old_form(None), None);
    }
}
