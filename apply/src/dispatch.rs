//! One request in, one answer out: the match over everything a log entry can ask for.

// A new kind of request must not compile until someone has decided about it.
#![deny(clippy::wildcard_enum_match_arm)]

use base::schema::{self, Bucket};
use base::version::{self, Version};
use base::{ConfState, KeyRange, Member};
use prost::Message;
use proto::etcdserverpb::{
    AlarmMember, AlarmRequest, CompactionRequest, DeleteRangeRequest, LeaseCheckpointRequest,
    LeaseGrantRequest, LeaseRevokeRequest, PutRequest, RangeRequest, TxnRequest,
};
use proto::membershippb::{
    ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
};
use proto::raw;

use crate::alarm::AlarmChange;
use crate::cluster::{Accepted, Change, DowngradeInfo, StorageVersionRow, stores_checkpoints};
use crate::effect::Effect;
use crate::entry::Options;
use crate::error::{ApplyError, Error};
use crate::guard::{self, Facts};
use crate::lease;
use crate::quota;
use crate::range;
use crate::request::Request;
use crate::source::ReadError;
use crate::state::State;
use crate::txn;
use crate::write::{self, Target};

/// The answer to a request, without header.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Reply {
    /// There is nothing to say, or nobody to say it to.
    #[default]
    Nothing,
    /// Of a range.
    Range(raw::RangeResponse),
    /// Of a put.
    Put(raw::PutResponse),
    /// Of a delete.
    DeleteRange(raw::DeleteRangeResponse),
    /// Of a txn.
    Txn(raw::TxnResponse),
    /// Of a compaction. With `physical` the server answers when the rows are gone.
    Compaction,
    /// Of a lease grant.
    LeaseGrant {
        /// The lease.
        id: i64,
        /// The TTL it got.
        ttl_s: i64,
    },
    /// Of a lease revoke.
    LeaseRevoke,
    /// Of a lease checkpoint.
    LeaseCheckpoint,
    /// Of an alarm request.
    Alarm(Vec<AlarmMember>),
    /// Of a configuration change; the member list is read from the cluster state.
    ConfChange,
}

/// Why a request has no reply.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The request is answered with this error.
    Refused(ApplyError),
    /// The member stops.
    Fatal(Error),
}

impl From<ApplyError> for Stop {
    fn from(error: ApplyError) -> Self {
        Self::Refused(error)
    }
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(error) => Self::Refused(error),
            ReadError::Store(error) => Self::Fatal(error.into()),
        }
    }
}

/// Everything a request may touch.
pub(crate) struct Dispatch<'a, T> {
    /// Raft index of the entry, for fatal errors.
    pub(crate) index: u64,
    pub(crate) target: &'a mut T,
    pub(crate) state: &'a State,
    pub(crate) options: &'a Options,
    /// Someone waits for the answer.
    pub(crate) want_reply: bool,
    pub(crate) effects: &'a mut Vec<Effect>,
}

impl<T: Target> Dispatch<'_, T> {
    /// Guards, then executes. The one place that knows every kind of request.
    pub(crate) fn run(&mut self, request: &Request) -> Result<Reply, Stop> {
        guard::check(request, &Facts { alarms: &self.state.alarms.read() })?;
        match request {
            Request::Nothing | Request::DowngradeVersionTest => Ok(Reply::Nothing),
            Request::Range(range) => self.range(range),
            Request::Put(put) => self.put(put),
            Request::DeleteRange(delete) => self.delete_range(delete),
            Request::Txn(txn) => self.txn(txn),
            Request::Compaction(compaction) => self.compaction(compaction),
            Request::LeaseGrant(grant) => self.lease_grant(grant),
            Request::LeaseRevoke(revoke) => self.lease_revoke(revoke),
            Request::LeaseCheckpoint(checkpoint) => self.lease_checkpoint(checkpoint),
            Request::Alarm(alarm) => self.alarm(alarm),
            Request::Auth => Err(ApplyError::AuthNotSupported.into()),
            Request::ClusterVersionSet(set) => self.cluster_version_set(set),
            Request::ClusterMemberAttrSet(set) => self.member_attributes_set(set),
            Request::DowngradeInfoSet(set) => self.downgrade_info_set(set),
        }
    }

    fn range(&mut self, request: &RangeRequest) -> Result<Reply, Stop> {
        if !self.want_reply {
            return Ok(Reply::Nothing);
        }
        Ok(Reply::Range(range::range(self.target, request)?.response))
    }

    fn put(&mut self, request: &PutRequest) -> Result<Reply, Stop> {
        let room = self.has_room(quota::put_cost(request));
        let mut leases = self.state.leases.write();
        write::check_put(self.target, &leases, request)?;
        let response = write::put(self.target, &mut leases, request, self.want_reply)?;
        drop(leases);
        self.quota_verdict(room)?;
        Ok(Reply::Put(response))
    }

    fn delete_range(&mut self, request: &DeleteRangeRequest) -> Result<Reply, Stop> {
        let mut leases = self.state.leases.write();
        let response = write::delete_range(self.target, &mut leases, request, self.want_reply)?;
        Ok(Reply::DeleteRange(response))
    }

    fn txn(&mut self, request: &TxnRequest) -> Result<Reply, Stop> {
        let room = self.has_room(quota::txn_cost(request));
        let mut leases = self.state.leases.write();
        let response = txn::execute(self.target, &mut leases, request, self.want_reply)?;
        drop(leases);
        self.quota_verdict(room)?;
        Ok(Reply::Txn(response))
    }

    /// Whether the quota has room for a request, as of before it runs.
    fn has_room(&self, cost: i64) -> bool {
        self.options.quota.allows(self.target.allocated_bytes(), cost)
    }

    /// The quota never undoes a write: it is each member's own, and all members must write alike.
    ///
    /// Once the alarm is on, the guard refuses whatever costs anything, so it is asked for only
    /// until then.
    fn quota_verdict(&mut self, room: bool) -> Result<(), ApplyError> {
        if room {
            return Ok(());
        }
        self.effects.push(Effect::ProposeNoSpaceAlarm);
        Err(ApplyError::NoSpace)
    }

    fn compaction(&mut self, request: &CompactionRequest) -> Result<Reply, Stop> {
        let revision = request.revision;
        if revision <= self.target.compacted_revision() {
            return Err(ApplyError::Compacted.into());
        }
        if revision > self.target.revision() {
            return Err(ApplyError::FutureRev.into());
        }
        self.target.compact(revision)?;
        self.effects.push(Effect::CompactScheduled { revision });
        Ok(Reply::Compaction)
    }

    fn lease_grant(&mut self, request: &LeaseGrantRequest) -> Result<Reply, Stop> {
        let room = self.has_room(quota::LEASE_GRANT_COST);
        let ttl_s = {
            let mut leases = self.state.leases.write();
            let granted = leases.grant(request.id, request.ttl, self.options.lease_ttl_min_s)?;
            let row = lease::encode_row(request.id, granted);
            self.target.row_put(Bucket::Lease, &schema::lease_key(request.id), &row);
            granted.ttl_s
        };
        self.effects.push(Effect::LeaseGranted { id: request.id, ttl_s });
        self.quota_verdict(room)?;
        Ok(Reply::LeaseGrant { id: request.id, ttl_s })
    }

    fn lease_revoke(&mut self, request: &LeaseRevokeRequest) -> Result<Reply, Stop> {
        let keys = self.state.leases.write().revoke(request.id)?;
        for key in keys {
            self.target.delete_range(&KeyRange::single(key), false, |_key| {})?;
        }
        self.target.row_delete(Bucket::Lease, &schema::lease_key(request.id));
        self.effects.push(Effect::LeaseRevoked { id: request.id });
        Ok(Reply::LeaseRevoke)
    }

    fn lease_checkpoint(&mut self, request: &LeaseCheckpointRequest) -> Result<Reply, Stop> {
        let stored = stores_checkpoints(self.state.cluster.read().version);
        let mut leases = self.state.leases.write();
        for checkpoint in &request.checkpoints {
            let (id, remaining_ttl_s) = (checkpoint.id, checkpoint.remaining_ttl);
            let Some(lease) = leases.checkpoint(id, remaining_ttl_s) else { continue };
            if stored {
                let row = lease::encode_row(id, lease);
                self.target.row_put(Bucket::Lease, &schema::lease_key(id), &row);
            }
            self.effects.push(Effect::LeaseCheckpointed { id, remaining_ttl_s });
        }
        Ok(Reply::LeaseCheckpoint)
    }

    fn alarm(&mut self, request: &AlarmRequest) -> Result<Reply, Stop> {
        let (answer, change) = self.state.alarms.write().execute(request);
        match change {
            AlarmChange::None => {}
            AlarmChange::Raised(alarm) => {
                self.target.row_put(Bucket::Alarm, &alarm.encode_to_vec(), &[]);
                self.effects.push(Effect::AlarmRaised(alarm));
            }
            AlarmChange::Cleared(alarm) => {
                self.target.row_delete(Bucket::Alarm, &alarm.encode_to_vec());
                self.effects.push(Effect::AlarmCleared(alarm));
            }
        }
        Ok(Reply::Alarm(answer))
    }

    fn cluster_version_set(&mut self, request: &ClusterVersionSetRequest) -> Result<Reply, Stop> {
        let undecodable = |error: base::Error| {
            Stop::Fatal(Error::Undecodable { index: self.index, reason: error.to_string() })
        };
        let agreed: Version = request.ver.parse().map_err(undecodable)?;
        let own: Version = version::CLUSTER.parse().map_err(undecodable)?;
        if agreed.to_minor() > own {
            return Err(Stop::Fatal(Error::ClusterVersionTooNew {
                index: self.index,
                version: request.ver.clone(),
                server: version::SERVER,
            }));
        }
        let text = agreed.to_string();
        self.target.row_put(Bucket::Cluster, schema::CLUSTER_VERSION, text.as_bytes());
        self.follow_with_storage_version(agreed);
        let before = self.state.cluster.write().version.replace(agreed);
        self.effects.push(Effect::ClusterVersionSet { version: agreed, before });
        Ok(Reply::Nothing)
    }

    /// Writes the storage version that belongs to the agreed version, in the same batch.
    ///
    /// etcd 3.7 does it some seconds later, from a timer; the row is in no hash.
    fn follow_with_storage_version(&mut self, agreed: Version) {
        match StorageVersionRow::of(agreed) {
            StorageVersionRow::Keep => {}
            StorageVersionRow::Absent => {
                self.target.row_delete(Bucket::Meta, schema::STORAGE_VERSION);
            }
            StorageVersionRow::Set(version) => {
                let text = version.to_string();
                self.target.row_put(Bucket::Meta, schema::STORAGE_VERSION, text.as_bytes());
            }
        }
    }

    fn member_attributes_set(
        &mut self,
        request: &ClusterMemberAttrSetRequest,
    ) -> Result<Reply, Stop> {
        let Some(attributes) = request.member_attributes.clone() else {
            return Ok(Reply::Nothing);
        };
        let mut cluster = self.state.cluster.write();
        let updated = cluster.members.set_attributes(
            request.member_id,
            attributes.name,
            attributes.client_urls,
        );
        // Unknown or removed: it published itself too late.
        if let Some(member) = updated {
            write::member_row(self.target, member);
            self.effects.push(Effect::MemberUpdated(member.clone()));
        }
        Ok(Reply::Nothing)
    }

    fn downgrade_info_set(&mut self, request: &DowngradeInfoSetRequest) -> Result<Reply, Stop> {
        let info = if request.enabled {
            DowngradeInfo { target_version: request.ver.clone(), enabled: true }
        } else {
            DowngradeInfo::default()
        };
        self.target.row_put(Bucket::Cluster, schema::DOWNGRADE, info.to_json().as_bytes());
        self.state.cluster.write().downgrade = info.clone();
        self.effects.push(Effect::DowngradeSet(info));
        Ok(Reply::Nothing)
    }
}

impl<T: Target> Dispatch<'_, T> {
    /// Validates a configuration change, takes it over, and gives the configuration it leads to.
    pub(crate) fn conf_change(&mut self, change: Change) -> Result<ConfState, ApplyError> {
        let mut cluster = self.state.cluster.write();
        let effect = match cluster.members.apply(change, self.options.learners_max)? {
            Accepted::Added(member) => {
                write::member_row(self.target, &member);
                Effect::MemberAdded(member)
            }
            Accepted::Promoted(member) => {
                write::member_row(self.target, &member);
                Effect::MemberPromoted(member)
            }
            Accepted::Updated(member) => {
                write::member_row(self.target, &member);
                Effect::MemberUpdated(member)
            }
            Accepted::Removed(id) => {
                let key = Member::row_key(id);
                self.target.row_delete(Bucket::Members, key.as_bytes());
                self.target.row_put(Bucket::MembersRemoved, key.as_bytes(), schema::REMOVED);
                Effect::MemberRemoved { id }
            }
        };
        let conf_state = cluster.members.conf_state();
        let json = conf_state.to_json();
        self.target.row_put(Bucket::Meta, schema::CONF_STATE, json.as_bytes());
        self.effects.push(effect);
        Ok(conf_state)
    }
}
