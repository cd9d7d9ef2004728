//! A second, naive idea of what the log's requests do to the store: lists instead of indexes,
//! nothing shared with the server's code but the messages.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use proto::etcdserverpb::request_op::Request;
use proto::etcdserverpb::{
    Compare, DeleteRangeRequest, InternalRaftRequest, PutRequest, TxnRequest,
};
use proto::mvccpb::KeyValue;
use wal::{Entry, EntryKind};

/// What etcd 3.4 writes for member attributes, the cluster version and its health check: a
/// request of the old API.
#[derive(Clone, PartialEq, prost::Message)]
struct OldRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(string, tag = "3")]
    path: String,
}

/// One row of the history: a revision and what was stored at it.
#[derive(Debug, Clone)]
struct Row {
    main: i64,
    sub: i64,
    is_tombstone: bool,
    pair: KeyValue,
}

/// The store as a list of rows.
#[derive(Debug, Clone)]
pub struct Model {
    /// Revision of the last change, 1 for none.
    revision: i64,
    /// Revision of the last compaction, -1 for none.
    compacted: i64,
    /// All rows that were ever written: compaction only changes which of them count.
    rows: Vec<Row>,
    live: BTreeMap<Bytes, KeyValue>,
    leases: BTreeSet<i64>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: -1,
            rows: Vec::new(),
            live: BTreeMap::new(),
            leases: BTreeSet::new(),
        }
    }
}

impl Model {
    /// Replays a log from its first entry.
    ///
    /// # Panics
    /// When an entry holds no request that this model knows.
    pub fn replay(entries: &[Entry]) -> Self {
        let mut model = Self::default();
        for entry in entries {
            model.apply(entry);
        }
        model
    }

    /// Revision of the last change.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// The pairs that exist now, by key.
    pub fn pairs(&self) -> &BTreeMap<Bytes, KeyValue> {
        &self.live
    }

    fn apply(&mut self, entry: &Entry) {
        if entry.kind != EntryKind::Normal || entry.data.is_empty() {
            return;
        }
        let Ok(request) = InternalRaftRequest::decode(entry.data.clone()) else {
            let old = OldRequest::decode(entry.data.clone());
            let old = old.unwrap_or_else(|e| panic!("entry {}: {e}", entry.index));
            let changes_no_key = old.method == "QGET" || old.path.starts_with("/0/");
            assert!(changes_no_key, "entry {}: {old:?}", entry.index);
            return;
        };
        if let Some(put) = &request.put {
            self.write(|write| write.put(put));
        } else if let Some(delete) = &request.delete_range {
            self.write(|write| write.delete(delete));
        } else if let Some(txn) = &request.txn {
            self.write(|write| write.txn(txn));
        } else if let Some(compaction) = &request.compaction {
            if compaction.revision > self.compacted && compaction.revision <= self.revision {
                self.compacted = compaction.revision;
            }
        } else if let Some(grant) = &request.lease_grant {
            self.leases.insert(grant.id);
        } else if let Some(revoke) = &request.lease_revoke
            && self.leases.remove(&revoke.id)
        {
            let attached = |pair: &&KeyValue| pair.lease == revoke.id;
            let keys: Vec<Bytes> =
                self.live.values().filter(attached).map(|pair| pair.key.clone()).collect();
            self.write(|write| keys.iter().for_each(|key| write.delete_key(key)));
        }
    }

    /// Runs `work` as one change: the revision rises if any row was written.
    fn write(&mut self, work: impl FnOnce(&mut Write<'_>)) {
        let mut write = Write { main: self.revision + 1, sub: 0, model: self };
        work(&mut write);
        if write.sub > 0 {
            self.revision += 1;
        }
    }

    /// etcd's HashKV at `revision`: CRC-32C over the name of the bucket, then key and value of
    /// each row that counts.
    pub fn hash_kv(&self, revision: i64) -> u32 {
        let keep = self.keep(revision);
        let mut crc = crc32c::crc32c(b"key");
        for row in &self.rows {
            let at = (row.main, row.sub);
            let compacted_away =
                row.main <= self.compacted && !keep.is_empty() && !keep.contains(&at);
            let boundary_tombstone = row.main == self.compacted && row.is_tombstone;
            if row.main > revision || compacted_away || boundary_tombstone {
                continue;
            }
            crc = crc32c::crc32c_append(crc, &row.key());
            crc = crc32c::crc32c_append(crc, &row.pair.encode_to_vec());
        }
        crc
    }

    /// The rows that can be seen at `revision`: of each key the newest one, unless it is the
    /// tombstone that ended its last but not newest life.
    fn keep(&self, revision: i64) -> BTreeSet<(i64, i64)> {
        let mut by_key: BTreeMap<&Bytes, Vec<&Row>> = BTreeMap::new();
        for row in &self.rows {
            by_key.entry(&row.pair.key).or_default().push(row);
        }
        let mut keep = BTreeSet::new();
        for rows in by_key.values() {
            // A life of a key ends with its tombstone; the last one may still be going on, or be
            // empty when the key does not exist.
            let mut lives: Vec<&[&Row]> = rows.split_inclusive(|row| row.is_tombstone).collect();
            if rows.last().is_some_and(|row| row.is_tombstone) {
                lives.push(&[]);
            }
            let last = lives.len() - 1;
            let ended = |life: &&[&Row]| {
                life.last().is_some_and(|row| row.is_tombstone && row.main >= revision)
            };
            let at = lives.iter().position(ended).unwrap_or(last);
            let newest = lives[at].iter().rev().find(|row| row.main <= revision);
            if let Some(row) = newest
                && (!row.is_tombstone || at == last)
            {
                keep.insert((row.main, row.sub));
            }
        }
        keep
    }
}

impl Row {
    /// Its key in the bucket.
    fn key(&self) -> Vec<u8> {
        let mut key = self.main.to_be_bytes().to_vec();
        key.push(b'_');
        key.extend(self.sub.to_be_bytes());
        if self.is_tombstone {
            key.push(b't');
        }
        key
    }
}

/// One change being made.
struct Write<'a> {
    model: &'a mut Model,
    main: i64,
    sub: i64,
}

impl Write<'_> {
    fn row(&mut self, is_tombstone: bool, pair: KeyValue) {
        self.model.rows.push(Row { main: self.main, sub: self.sub, is_tombstone, pair });
        self.sub += 1;
    }

    fn put(&mut self, put: &PutRequest) {
        let before = self.model.live.get(&put.key);
        if put.lease != 0 && !self.model.leases.contains(&put.lease) {
            return;
        }
        if (put.ignore_value || put.ignore_lease) && before.is_none() {
            return;
        }
        let mut pair = KeyValue {
            key: put.key.clone(),
            create_revision: before.map_or(self.main, |pair| pair.create_revision),
            mod_revision: self.main,
            version: before.map_or(1, |pair| pair.version + 1),
            value: put.value.clone(),
            lease: put.lease,
        };
        if let Some(before) = before {
            if put.ignore_value {
                pair.value = before.value.clone();
            }
            if put.ignore_lease {
                pair.lease = before.lease;
            }
        }
        self.model.live.insert(put.key.clone(), pair.clone());
        self.row(false, pair);
    }

    fn delete(&mut self, delete: &DeleteRangeRequest) {
        let keys: Vec<Bytes> = self
            .model
            .live
            .keys()
            .filter(|key| in_range(key, &delete.key, &delete.range_end))
            .cloned()
            .collect();
        keys.iter().for_each(|key| self.delete_key(key));
    }

    fn delete_key(&mut self, key: &Bytes) {
        if self.model.live.remove(key).is_some() {
            self.row(true, KeyValue { key: key.clone(), ..KeyValue::default() });
        }
    }

    fn txn(&mut self, txn: &TxnRequest) {
        let holds = txn.compare.iter().all(|compare| self.compare(compare));
        for op in if holds { &txn.success } else { &txn.failure } {
            match &op.request {
                Some(Request::RequestPut(put)) => self.put(put),
                Some(Request::RequestDeleteRange(delete)) => self.delete(delete),
                Some(Request::RequestTxn(txn)) => self.txn(txn),
                Some(Request::RequestRange(_)) | None => {}
            }
        }
    }

    /// A comparison holds when it holds for every pair in its range; for a single key that does
    /// not exist numbers count as 0 and a value never compares.
    fn compare(&self, compare: &Compare) -> bool {
        let absent = KeyValue::default();
        let mut pairs: Vec<&KeyValue> = self
            .model
            .live
            .values()
            .filter(|pair| in_range(&pair.key, &compare.key, &compare.range_end))
            .collect();
        if pairs.is_empty() {
            if compare.target() == CompareTarget::Value {
                return false;
            }
            pairs.push(&absent);
        }
        pairs.into_iter().all(|pair| {
            let order = match (compare.target(), &compare.target_union) {
                (CompareTarget::Version, Some(TargetUnion::Version(n))) => pair.version.cmp(n),
                (CompareTarget::Create, Some(TargetUnion::CreateRevision(n))) => {
                    pair.create_revision.cmp(n)
                }
                (CompareTarget::Mod, Some(TargetUnion::ModRevision(n))) => pair.mod_revision.cmp(n),
                (CompareTarget::Value, Some(TargetUnion::Value(v))) => pair.value.cmp(v),
                (CompareTarget::Lease, Some(TargetUnion::Lease(n))) => pair.lease.cmp(n),
                (target, _) => panic!("compare by {target:?} without its operand"),
            };
            match compare.result() {
                CompareResult::Equal => order.is_eq(),
                CompareResult::NotEqual => order.is_ne(),
                CompareResult::Greater => order.is_gt(),
                CompareResult::Less => order.is_lt(),
            }
        })
    }
}

/// etcd's ranges: no end is one key, the end `\0` is all keys from the first one on.
fn in_range(key: &[u8], from: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == from,
        [0] => key >= from,
        end => key >= from && key < end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::path::Path;

    fn put(key: &str, value: &str) -> InternalRaftRequest {
        let (key, value) = (key.to_owned().into(), value.to_owned().into());
        let put = PutRequest { key, value, ..PutRequest::default() };
        InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }
    }

    fn model(requests: &[InternalRaftRequest]) -> Model {
        let mut model = Model::default();
        for (request, index) in requests.iter().zip(1..) {
            let data = request.encode_to_vec().into();
            model.apply(&Entry { index, term: 1, data, ..Entry::default() });
        }
        model
    }

    /// The worked example whose hashes real servers gave.
    #[test]
    fn hashes_of_a_small_history_are_those_of_etcd() {
        let delete = DeleteRangeRequest { key: "foo".into(), ..DeleteRangeRequest::default() };
        let requests = [
            put("foo", "bar"),
            put("foo", "bar2"),
            put("hello", "world"),
            InternalRaftRequest { delete_range: Some(delete), ..InternalRaftRequest::default() },
            put("k2", "v2"),
        ];
        let mut model = model(&requests);
        assert_eq!(model.revision(), 6);
        for (compacted, hash) in [(-1, 4_191_077_807), (3, 1_806_268_877), (5, 2_830_346_191)] {
            model.compacted = compacted;
            assert_eq!(model.hash_kv(6), hash, "compacted at {compacted}");
        }
        assert_eq!(Model::default().hash_kv(1), 1_084_519_789);
    }

    fn fixture(name: &str) -> Model {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("workspace root")
            .join(format!("wal/tests/fixtures/{name}.wal.gz"));
        let mut data = Vec::new();
        let zipped = std::fs::File::open(file).expect("the fixture");
        flate2::read::GzDecoder::new(zipped).read_to_end(&mut data).expect("gzip");
        let dir = tempfile::tempdir().expect("a folder");
        let segment = dir.path().join("0000000000000000-0000000000000000.wal");
        std::fs::write(segment, data).expect("write");
        Model::replay(&wal::read_all(dir.path(), (0, 0)).expect("a sound log").entries)
    }

    #[test]
    fn replaying_logs_of_real_servers_gives_the_hashes_they_gave() {
        for (name, revision, compacted, hash) in [
            ("etcd-3.4.23", 69, 20, 1_044_277_136),
            ("etcd-3.7.1", 69, 20, 3_866_940_726),
            ("cluster-m1", 231, 150, 2_117_252_056),
            ("cluster-m3", 201, -1, 3_473_406_160),
        ] {
            let model = fixture(name);
            assert_eq!((model.revision, model.compacted), (revision, compacted), "{name}");
            assert_eq!(model.hash_kv(revision), hash, "{name}");
        }
    }
}
