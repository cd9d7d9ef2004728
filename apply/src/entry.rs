//! An entry of the log, what applying one gives, and the step between the two.

use base::ConfState;
use bytes::Bytes;

use crate::cluster::{self, Change};
use crate::dispatch::{Dispatch, Reply, Stop};
use crate::effect::Effect;
use crate::error::{ApplyError, Error};
use crate::quota::Quota;
use crate::request::Envelope;
use crate::state::State;
use crate::write::Target;

/// What a member adds of its own: nothing that decides about keys.
#[derive(Debug, Clone)]
pub struct Options {
    /// Changes the answer of a write only.
    pub quota: Quota,
    /// The shortest TTL granted, in seconds: 1.5 election timeouts, rounded up. Members of a
    /// cluster must agree on it.
    pub lease_ttl_min_s: i64,
    /// Learners a cluster may have. Members of a cluster must agree on it.
    pub learners_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { quota: Quota::from_flag(0), lease_ttl_min_s: 2, learners_max: 1 }
    }
}

/// What the data of an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A request, or nothing.
    Normal,
    /// A configuration change.
    ConfChange,
    /// A configuration change of the second form.
    ConfChangeV2,
}

/// A committed entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the log.
    pub index: u64,
    /// The term it was proposed in.
    pub term: u64,
    /// What the data is.
    pub kind: EntryKind,
    /// The bytes as proposed and stored.
    pub data: Bytes,
}

/// What raft must do about a configuration change entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Apply it; this is the configuration that its members make.
    Accept(ConfState),
    /// Treat it as if it were not there.
    Reject,
    /// It is part of the stored configuration already.
    Known,
}

/// The outcome of one entry.
#[derive(Debug)]
pub struct Applied {
    /// The entry's place in the log.
    pub index: u64,
    /// The entry's term.
    pub term: u64,
    /// The number under which the proposer waits; 0 if nobody can.
    pub request_id: u64,
    /// The newest revision after the entry.
    pub revision: i64,
    /// The answer.
    pub result: Result<Reply, ApplyError>,
    /// What the rest of the member must do; almost always nothing.
    pub effects: Vec<Effect>,
    /// The changed keys, if any changed.
    pub changes: Option<mvcc::Changes>,
    /// Set for configuration changes.
    pub verdict: Option<Verdict>,
}

impl Applied {
    /// The outcome of an entry that was applied before.
    pub(crate) fn known(entry: &Entry, revision: i64) -> Self {
        let verdict = match entry.kind {
            EntryKind::Normal => None,
            EntryKind::ConfChange | EntryKind::ConfChangeV2 => Some(Verdict::Known),
        };
        Self { verdict, ..Self::nothing(entry, revision) }
    }

    fn nothing(entry: &Entry, revision: i64) -> Self {
        Self {
            index: entry.index,
            term: entry.term,
            request_id: 0,
            revision,
            result: Ok(Reply::Nothing),
            effects: Vec::new(),
            changes: None,
            verdict: None,
        }
    }
}

/// Applies one entry to `target`; revision and changes are left for the caller to fill in.
pub(crate) fn apply<T: Target>(
    entry: &Entry,
    target: &mut T,
    state: &State,
    options: &Options,
    waits: &mut impl FnMut(u64) -> bool,
) -> Result<Applied, Error> {
    let undecodable = |reason| Error::Undecodable { index: entry.index, reason };
    let mut applied = Applied::nothing(entry, 0);
    let mut effects = Vec::new();
    let mut dispatch = Dispatch {
        index: entry.index,
        target,
        state,
        options,
        want_reply: false,
        effects: &mut effects,
    };
    match entry.kind {
        EntryKind::Normal => {
            let envelope = Envelope::decode(&entry.data).map_err(undecodable)?;
            applied.request_id = envelope.request_id;
            dispatch.want_reply = envelope.request_id != 0 && waits(envelope.request_id);
            applied.result = match dispatch.run(&envelope.request) {
                Ok(reply) => Ok(reply),
                Err(Stop::Refused(error)) => Err(error),
                Err(Stop::Fatal(error)) => return Err(error),
            };
        }
        EntryKind::ConfChange => {
            let (id, change) = cluster::decode_conf_change(&entry.data).map_err(undecodable)?;
            applied.request_id = id;
            decide(&mut dispatch, change, &mut applied);
        }
        EntryKind::ConfChangeV2 => {
            match cluster::decode_conf_change_v2(&entry.data).map_err(undecodable)? {
                Some(change) => decide(&mut dispatch, change, &mut applied),
                None => applied.verdict = Some(Verdict::Reject),
            }
        }
    }
    applied.effects = effects;
    Ok(applied)
}

fn decide<T: Target>(dispatch: &mut Dispatch<'_, T>, change: Change, applied: &mut Applied) {
    match dispatch.conf_change(change) {
        Ok(conf_state) => {
            applied.result = Ok(Reply::ConfChange);
            applied.verdict = Some(Verdict::Accept(conf_state));
        }
        Err(error) => {
            applied.result = Err(error);
            applied.verdict = Some(Verdict::Reject);
        }
    }
}
