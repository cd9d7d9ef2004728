//! Which leases exist and which keys hang on them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;

use super::LEASE_TTL_MAX_S;
use crate::error::ApplyError;

/// A lease as replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The granted TTL in seconds.
    pub ttl_s: i64,
    /// The recorded remaining TTL in seconds; 0 if none was recorded since the last renewal.
    pub remaining_ttl_s: i64,
    keys: BTreeSet<Bytes>,
}

impl Lease {
    pub(super) fn new(ttl_s: i64, remaining_ttl_s: i64) -> Self {
        Self { ttl_s, remaining_ttl_s, keys: BTreeSet::new() }
    }

    /// The attached keys, ascending.
    pub fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter()
    }

    /// The number of attached keys.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }
}

/// All leases by id, and for each attached key its lease.
///
/// Invariant: `lease_of[k] == id` exactly if `leases[id].keys` contains `k`.
#[derive(Debug, Default)]
pub struct LeaseTable {
    leases: BTreeMap<i64, Lease>,
    // Looked up only, never walked: its order must not matter.
    lease_of: HashMap<Bytes, i64>,
}

impl LeaseTable {
    /// The lease of this id.
    pub fn get(&self, id: i64) -> Option<&Lease> {
        self.leases.get(&id)
    }

    /// Whether the lease exists.
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// All leases, by id.
    pub fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.leases.iter().map(|(&id, lease)| (id, lease))
    }

    /// The number of leases.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether there is no lease.
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The lease a key hangs on.
    pub fn lease_of(&self, key: &[u8]) -> Option<i64> {
        self.lease_of.get(key).copied()
    }

    /// Takes in a stored lease.
    pub(crate) fn load(&mut self, id: i64, lease: Lease) {
        self.leases.insert(id, lease);
    }

    /// Creates a lease; its TTL is raised to `ttl_min_s`.
    pub(crate) fn grant(
        &mut self,
        id: i64,
        ttl_s: i64,
        ttl_min_s: i64,
    ) -> Result<&Lease, ApplyError> {
        if id == 0 {
            return Err(ApplyError::LeaseNotFound);
        }
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(ApplyError::LeaseTtlTooLarge);
        }
        match self.leases.entry(id) {
            std::collections::btree_map::Entry::Occupied(_) => Err(ApplyError::LeaseExist),
            std::collections::btree_map::Entry::Vacant(slot) => {
                Ok(slot.insert(Lease::new(ttl_s.max(ttl_min_s), 0)))
            }
        }
    }

    /// Removes a lease and returns the keys that hung on it, ascending.
    pub(crate) fn revoke(&mut self, id: i64) -> Result<BTreeSet<Bytes>, ApplyError> {
        let lease = self.leases.remove(&id).ok_or(ApplyError::LeaseNotFound)?;
        for key in &lease.keys {
            self.lease_of.remove(key);
        }
        Ok(lease.keys)
    }

    /// Records the remaining TTL of a lease. Unknown leases are passed over.
    pub(crate) fn checkpoint(&mut self, id: i64, remaining_ttl_s: i64) -> Option<&Lease> {
        let lease = self.leases.get_mut(&id)?;
        lease.remaining_ttl_s = remaining_ttl_s;
        Some(lease)
    }

    /// Notes that `key` was put with `lease`; 0 takes it off its lease.
    ///
    /// A lease that does not exist leaves the key without one: only a log that lost its grant
    /// can ask for it.
    pub(crate) fn put(&mut self, key: &[u8], lease: i64) {
        if lease == 0 && self.lease_of.is_empty() {
            return;
        }
        if self.lease_of(key) == (lease != 0).then_some(lease) {
            return;
        }
        self.delete(key);
        if let Some(holder) = self.leases.get_mut(&lease) {
            // A copy: the given bytes would keep the whole entry alive.
            let key = Bytes::copy_from_slice(key);
            holder.keys.insert(key.clone());
            self.lease_of.insert(key, lease);
        }
    }

    /// Notes that `key` was deleted.
    pub(crate) fn delete(&mut self, key: &[u8]) {
        if let Some(lease) = self.lease_of.remove(key) {
            let holder = self.leases.get_mut(&lease).expect("lease_of names existing leases only");
            holder.keys.remove(key);
        }
    }
}
