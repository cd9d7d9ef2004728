//! The member list, and the rules of changing it.

use std::collections::{BTreeMap, BTreeSet};

use base::{ConfState, Member};

use super::conf_change::Change;
use crate::error::ApplyError;

/// The members by id, and the ids that may never return.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Members {
    by_id: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
}

/// An accepted change of the member list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Accepted {
    Added(Member),
    Promoted(Member),
    Updated(Member),
    Removed(u64),
}

impl Members {
    /// The member of this id.
    pub fn get(&self, id: u64) -> Option<&Member> {
        self.by_id.get(&id)
    }

    /// All members, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.by_id.values()
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether there is no member, as before the first entry of a new cluster.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Whether this id was a member once.
    pub fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// The ids that may never return.
    pub fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// Voters and learners, ascending, as raft is configured with them.
    pub fn conf_state(&self) -> ConfState {
        let mut state = ConfState::default();
        for member in self.by_id.values() {
            let list = if member.is_learner { &mut state.learners } else { &mut state.voters };
            list.push(member.id);
        }
        state
    }

    pub(crate) fn load(&mut self, member: Member) {
        self.by_id.insert(member.id, member);
    }

    pub(crate) fn load_removed(&mut self, id: u64) {
        self.removed.insert(id);
    }

    /// Validates a configuration change and takes it over.
    pub(crate) fn apply(
        &mut self,
        change: Change,
        learners_max: usize,
    ) -> Result<Accepted, ApplyError> {
        if self.removed.contains(&change.id()) {
            return Err(ApplyError::MemberNotFound);
        }
        match change {
            Change::Add(member) => self.add(member, learners_max),
            Change::Promote(id) => {
                let member = self.by_id.get_mut(&id).ok_or(ApplyError::MemberNotFound)?;
                if !member.is_learner {
                    return Err(ApplyError::MemberNotLearner);
                }
                member.is_learner = false;
                Ok(Accepted::Promoted(member.clone()))
            }
            Change::Update(update) => {
                if !self.by_id.contains_key(&update.id) {
                    return Err(ApplyError::MemberNotFound);
                }
                self.check_urls_free(update.id, &update.peer_urls)?;
                let member = self.by_id.get_mut(&update.id).expect("checked two lines above");
                member.peer_urls = update.peer_urls;
                Ok(Accepted::Updated(member.clone()))
            }
            Change::Remove(id) => {
                let member = self.by_id.get(&id).ok_or(ApplyError::MemberNotFound)?;
                let other_voters = self.by_id.values().any(|m| !m.is_learner && m.id != id);
                if !member.is_learner && !other_voters {
                    return Err(ApplyError::LastVoter);
                }
                self.by_id.remove(&id);
                self.removed.insert(id);
                Ok(Accepted::Removed(id))
            }
        }
    }

    fn add(&mut self, member: Member, learners_max: usize) -> Result<Accepted, ApplyError> {
        if self.by_id.contains_key(&member.id) {
            return Err(ApplyError::MemberExist);
        }
        self.check_urls_free(member.id, &member.peer_urls)?;
        if member.is_learner {
            let learners = self.by_id.values().filter(|m| m.is_learner).count();
            if learners + 1 > learners_max {
                return Err(ApplyError::TooManyLearners);
            }
        }
        self.by_id.insert(member.id, member.clone());
        Ok(Accepted::Added(member))
    }

    /// Refuses peer URLs that another member has, compared as text.
    fn check_urls_free(&self, id: u64, urls: &[String]) -> Result<(), ApplyError> {
        let mut others = self.by_id.values().filter(|other| other.id != id);
        let taken = others.any(|other| other.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(ApplyError::PeerUrlExist) } else { Ok(()) }
    }

    /// Sets name and client URLs of a member, unless it is unknown or was removed.
    pub(crate) fn set_attributes(
        &mut self,
        id: u64,
        name: String,
        client_urls: Vec<String>,
    ) -> Option<&Member> {
        let member = self.by_id.get_mut(&id)?;
        member.name = name;
        member.client_urls = client_urls;
        Some(member)
    }
}
