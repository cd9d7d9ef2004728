//! Reads what the rows say at open: everything but the keys themselves.

use std::ops::ControlFlow;

use backend::{Backend, CacheUse, Rows};
use base::Member;
use base::schema::{self, Bucket};
use base::version::Version;

use crate::alarm::Alarms;
use crate::cluster::{DowngradeInfo, Members};
use crate::error::Error;
use crate::lease::{self, LeaseTable};
use crate::state::Cluster;

/// The rows in memory.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) index: u64,
    pub(crate) term: u64,
    pub(crate) leases: LeaseTable,
    pub(crate) alarms: Alarms,
    pub(crate) cluster: Cluster,
    /// The store was never written to by a version that keeps users.
    pub(crate) lacks_auth_revision: bool,
}

impl Loaded {
    /// Reads all buckets but the keys'.
    ///
    /// # Errors
    ///
    /// [`Error::AuthEnabled`], [`Error::BadRow`], or what the backend says.
    pub(crate) fn read(backend: &Backend) -> Result<Self, Error> {
        if backend.get(Bucket::Auth, schema::AUTH_ENABLED)?.is_some_and(|on| on[..] == [1]) {
            return Err(Error::AuthEnabled { path: backend.path().to_owned() });
        }
        let lacks_auth_revision = backend.get(Bucket::Auth, schema::AUTH_REVISION)?.is_none();
        Ok(Self {
            index: number(backend, schema::CONSISTENT_INDEX)?,
            term: number(backend, schema::TERM)?,
            leases: leases(backend)?,
            alarms: alarms(backend)?,
            cluster: cluster(backend)?,
            lacks_auth_revision,
        })
    }
}

/// Where a database stands in the log, and the cluster at that entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// Raft index of the last entry in it.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// Members and versions.
    pub cluster: Cluster,
}

impl Standing {
    /// Reads it from the rows.
    ///
    /// # Errors
    ///
    /// [`Error::BadRow`], or what the backend says.
    pub fn read(rows: &impl Rows) -> Result<Self, Error> {
        Ok(Self {
            index: number(rows, schema::CONSISTENT_INDEX)?,
            term: number(rows, schema::TERM)?,
            cluster: cluster(rows)?,
        })
    }
}

fn leases(backend: &impl Rows) -> Result<LeaseTable, Error> {
    let mut table = LeaseTable::default();
    each_row(backend, Bucket::Lease, |_key, value| {
        let (id, lease) = lease::decode_row(value)?;
        table.load(id, lease);
        Ok::<_, prost::DecodeError>(())
    })?;
    Ok(table)
}

fn alarms(backend: &impl Rows) -> Result<Alarms, Error> {
    let mut alarms = Alarms::default();
    each_row(backend, Bucket::Alarm, |key, _value| alarms.load(key))?;
    Ok(alarms)
}

fn cluster(backend: &impl Rows) -> Result<Cluster, Error> {
    let mut members = Members::default();
    each_row(backend, Bucket::Members, |_key, value| {
        members.load(Member::from_json(value)?);
        Ok::<_, base::Error>(())
    })?;
    each_row(backend, Bucket::MembersRemoved, |key, _value| {
        members.load_removed(member_id(key)?);
        Ok::<_, String>(())
    })?;
    let mut version = None;
    let mut downgrade = DowngradeInfo::default();
    each_row(backend, Bucket::Cluster, |key, value| {
        if key == schema::CLUSTER_VERSION {
            let text = std::str::from_utf8(value).map_err(|e| e.to_string())?;
            version = Some(text.parse::<Version>().map_err(|e| e.to_string())?);
        } else if key == schema::DOWNGRADE {
            downgrade = DowngradeInfo::from_json(value).map_err(|e| e.to_string())?;
        }
        Ok::<_, String>(())
    })?;
    Ok(Cluster { members, version, downgrade })
}

/// The id in the key of a member's row: hex without padding.
fn member_id(key: &[u8]) -> Result<u64, String> {
    let text = std::str::from_utf8(key).map_err(|e| e.to_string())?;
    u64::from_str_radix(text, 16).map_err(|e| e.to_string())
}

/// A big-endian number of bucket `meta`; 0 if it was never written.
fn number(backend: &impl Rows, key: &[u8]) -> Result<u64, Error> {
    let Some(value) = backend.get(Bucket::Meta, key)? else { return Ok(0) };
    match <[u8; 8]>::try_from(&value[..]) {
        Ok(bytes) => Ok(u64::from_be_bytes(bytes)),
        Err(_) => Err(bad(Bucket::Meta, key, format!("{} bytes", value.len()))),
    }
}

fn each_row<E: std::fmt::Display>(
    backend: &impl Rows,
    bucket: Bucket,
    mut visit: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    backend.scan(bucket, &[], None, CacheUse::Bypass, |key, value| match visit(key, value) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            outcome = Err(bad(bucket, key, error));
            ControlFlow::Break(())
        }
    })?;
    outcome
}

fn bad(bucket: Bucket, key: &[u8], reason: impl std::fmt::Display) -> Error {
    Error::BadRow { bucket: bucket.name(), key: key.to_vec(), reason: reason.to_string() }
}
