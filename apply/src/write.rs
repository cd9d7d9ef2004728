//! Puts and deletes, alone or as operations of a txn, and the leases that follow them.

use base::schema::Bucket;
use base::{KeyRange, Member};
use bytes::Bytes;
use proto::etcdserverpb::{DeleteRangeRequest, PutRequest};
use proto::raw;

use crate::error::ApplyError;
use crate::lease::LeaseTable;
use crate::range::decode_pair;
use crate::source::{ReadError, Source};

/// A write in progress: later calls see what earlier ones changed.
pub(crate) trait Target: Source {
    /// The revision an operation's header names: the one being made if something changed
    /// already, else the one before.
    fn revision_of_change(&self) -> i64;

    /// Puts a pair; gives back the encoded former one if asked for.
    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
        want_prev: bool,
    ) -> Result<Option<Bytes>, ReadError>;

    /// Deletes a range: names each deleted key, in order, and gives back the number of keys and,
    /// if asked for, the encoded pairs.
    fn delete_range(
        &mut self,
        range: &KeyRange,
        want_prev: bool,
        deleted: impl FnMut(&[u8]),
    ) -> Result<(i64, Vec<Bytes>), ReadError>;

    /// Lets a compaction take effect; its rows go away later.
    fn compact(&mut self, revision: i64) -> Result<(), ReadError>;

    /// Writes a row of a bucket other than the keys'.
    fn row_put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]);

    /// Deletes a row of a bucket other than the keys'.
    fn row_delete(&mut self, bucket: Bucket, key: &[u8]);

    /// The bytes the backend takes on disk, roughly and at no cost.
    fn allocated_bytes(&self) -> u64;
}

/// Refuses a put without key, one that names a lease which is not there, and one that leans on a
/// pair which is not there.
pub(crate) fn check_put(
    source: &impl Source,
    leases: &LeaseTable,
    put: &PutRequest,
) -> Result<(), ReadError> {
    if put.key.is_empty() {
        return Err(ApplyError::EmptyKey.into());
    }
    if put.lease != 0 && !leases.contains(put.lease) {
        return Err(ApplyError::LeaseNotFound.into());
    }
    if (put.ignore_value || put.ignore_lease) && source.stat(&put.key)?.is_none() {
        return Err(ApplyError::KeyNotFound.into());
    }
    Ok(())
}

/// Runs a put that passed [`check_put`].
pub(crate) fn put<T: Target>(
    target: &mut T,
    leases: &mut LeaseTable,
    request: &PutRequest,
    want_reply: bool,
) -> Result<raw::PutResponse, ReadError> {
    let want_prev = request.prev_kv && want_reply;
    let (value, lease) = if request.ignore_value || request.ignore_lease {
        // Within a txn the pair may have gone since the check: an earlier operation deleted it.
        let row = target.pair(&request.key)?;
        let former = row.as_ref().map(decode_pair).transpose()?.unwrap_or_default();
        let value = if request.ignore_value { former.value } else { request.value.clone() };
        (Some(value), if request.ignore_lease { former.lease } else { request.lease })
    } else {
        (None, request.lease)
    };
    let value = value.as_ref().unwrap_or(&request.value);
    let prev_kv = target.put(&request.key, value, lease, want_prev)?;
    leases.put(&request.key, lease);
    Ok(raw::PutResponse { header: None, prev_kv })
}

/// Runs a delete.
pub(crate) fn delete_range<T: Target>(
    target: &mut T,
    leases: &mut LeaseTable,
    request: &DeleteRangeRequest,
    want_reply: bool,
) -> Result<raw::DeleteRangeResponse, ReadError> {
    let range = KeyRange { key: request.key.clone(), end: request.range_end.clone() };
    let want_prev = request.prev_kv && want_reply;
    let (deleted, prev_kvs) = target.delete_range(&range, want_prev, |key| leases.delete(key))?;
    Ok(raw::DeleteRangeResponse { header: None, deleted, prev_kvs })
}

/// Writes a member's row.
pub(crate) fn member_row<T: Target>(target: &mut T, member: &Member) {
    let key = Member::row_key(member.id);
    target.row_put(Bucket::Members, key.as_bytes(), member.to_json().as_bytes());
}
