//! A store of keys that is too simple to be wrong: the whole history in a list.
//! Tests run the rules of this crate on it, and compare the real store with it.

use std::collections::BTreeMap;

use base::schema::Bucket;
use base::{KeyRange, Revision};
use bytes::Bytes;
use mvcc::{Found, KeyMeta, KeyState};
use prost::Message;
use proto::mvccpb::KeyValue;

use crate::error::ApplyError;
use crate::source::{ReadError, Source};
use crate::write::Target;

/// Every change ever made, and the rows of the other buckets.
#[derive(Debug, Default)]
pub(crate) struct Model {
    /// `None` is a deletion.
    history: Vec<(Revision, Bytes, Option<KeyValue>)>,
    committed: i64,
    compacted: Option<i64>,
    changes: i64,
    pub(crate) rows: BTreeMap<(Bucket, Vec<u8>), Vec<u8>>,
    pub(crate) allocated: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { committed: 1, ..Self::default() }
    }

    /// Ends an entry: its changes become a revision.
    pub(crate) fn commit(&mut self) -> i64 {
        if self.changes > 0 {
            self.committed += 1;
            self.changes = 0;
        }
        self.committed
    }

    /// Everything a request may change.
    pub(crate) fn revision_and_rows(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        (self.history.clone(), self.committed, self.compacted, self.rows.clone())
    }

    /// The keys deleted by a revision, in order.
    pub(crate) fn deleted_at(&self, main: i64) -> Vec<Bytes> {
        let at = self.history.iter().filter(|(rev, _, pair)| rev.main == main && pair.is_none());
        at.map(|(_, key, _)| key.clone()).collect()
    }

    /// The pairs of a range, at a revision or in the newest state.
    fn select(&self, range: &KeyRange, at: i64) -> Result<Vec<(Revision, KeyValue)>, ApplyError> {
        if at > self.committed {
            return Err(ApplyError::FutureRev);
        }
        if at > 0 && self.compacted.is_some_and(|compacted| at < compacted) {
            return Err(ApplyError::Compacted);
        }
        let mut pairs = BTreeMap::new();
        for (revision, key, pair) in &self.history {
            if (at <= 0 || revision.main <= at) && range.contains(key) {
                match pair {
                    Some(pair) => pairs.insert(key.clone(), (*revision, pair.clone())),
                    None => pairs.remove(key),
                };
            }
        }
        Ok(pairs.into_values().collect())
    }

    fn change(&mut self, key: &Bytes, pair: impl FnOnce(Revision) -> Option<KeyValue>) {
        let revision = Revision { main: self.committed + 1, sub: self.changes };
        self.changes += 1;
        self.history.push((revision, key.clone(), pair(revision)));
    }

    fn found<T>(
        &self,
        range: &KeyRange,
        at: i64,
        limit: usize,
        item: impl FnMut((Revision, KeyValue)) -> T,
    ) -> Result<Found<T>, ReadError> {
        let pairs = self.select(range, at)?;
        let count = pairs.len() as i64;
        let items = pairs.into_iter().take(limit).map(item).collect();
        Ok(Found { items, count, revision: self.revision_of_change() })
    }
}

fn encode(pair: &KeyValue) -> Bytes {
    pair.encode_to_vec().into()
}

impl Source for Model {
    fn revision(&self) -> i64 {
        self.committed
    }

    fn compacted_revision(&self) -> i64 {
        self.compacted.unwrap_or(-1)
    }

    fn pairs(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<Bytes>, ReadError> {
        self.found(range, at, limit, |(_, pair)| encode(&pair))
    }

    fn metas(&self, range: &KeyRange, at: i64, limit: usize) -> Result<Found<KeyMeta>, ReadError> {
        self.found(range, at, limit, |(modified, pair)| KeyMeta {
            key: pair.key,
            state: KeyState {
                modified,
                created: Revision::new(pair.create_revision, 0),
                version: pair.version,
            },
        })
    }

    fn count(&self, range: &KeyRange, at: i64) -> Result<Found<()>, ReadError> {
        self.found(range, at, 0, |_| ())
    }

    fn rows(&self, metas: &[KeyMeta]) -> Result<Vec<Bytes>, ReadError> {
        let row = |meta: &KeyMeta| {
            let mut history = self.history.iter();
            let (_, _, pair) = history
                .find(|(revision, _, _)| *revision == meta.state.modified)
                .expect("a meta comes from the history");
            encode(pair.as_ref().expect("a meta is of a pair"))
        };
        Ok(metas.iter().map(row).collect())
    }

    fn stat(&self, key: &Bytes) -> Result<Option<KeyState>, ReadError> {
        let found = self.metas(&KeyRange::single(key.clone()), 0, 1)?;
        Ok(found.items.first().map(|meta| meta.state))
    }

    fn pair(&self, key: &Bytes) -> Result<Option<Bytes>, ReadError> {
        Ok(self.pairs(&KeyRange::single(key.clone()), 0, 1)?.items.pop())
    }
}

impl Target for Model {
    fn revision_of_change(&self) -> i64 {
        self.committed + i64::from(self.changes > 0)
    }

    fn put(
        &mut self,
        key: &Bytes,
        value: &Bytes,
        lease: i64,
        want_prev: bool,
    ) -> Result<Option<Bytes>, ReadError> {
        let prev = self.select(&KeyRange::single(key.clone()), 0)?.pop();
        let (created, version) =
            prev.as_ref().map_or((None, 0), |(_, p)| (Some(p.create_revision), p.version));
        self.change(key, |revision| {
            Some(KeyValue {
                key: key.clone(),
                value: value.clone(),
                lease,
                create_revision: created.unwrap_or(revision.main),
                mod_revision: revision.main,
                version: version + 1,
            })
        });
        Ok(prev.filter(|_| want_prev).map(|(_, pair)| encode(&pair)))
    }

    fn delete_range(
        &mut self,
        range: &KeyRange,
        want_prev: bool,
        mut deleted: impl FnMut(&[u8]),
    ) -> Result<(i64, Vec<Bytes>), ReadError> {
        let pairs = self.select(range, 0)?;
        for (_, pair) in &pairs {
            self.change(&pair.key, |_| None);
            deleted(&pair.key);
        }
        let prev_kvs = pairs.iter().filter(|_| want_prev).map(|(_, p)| encode(p)).collect();
        Ok((pairs.len() as i64, prev_kvs))
    }

    fn compact(&mut self, revision: i64) -> Result<(), ReadError> {
        self.compacted = Some(revision);
        Ok(())
    }

    fn row_put(&mut self, bucket: Bucket, key: &[u8], value: &[u8]) {
        self.rows.insert((bucket, key.to_vec()), value.to_vec());
    }

    fn row_delete(&mut self, bucket: Bucket, key: &[u8]) {
        self.rows.remove(&(bucket, key.to_vec()));
    }

    fn allocated_bytes(&self) -> u64 {
        self.allocated
    }
}
