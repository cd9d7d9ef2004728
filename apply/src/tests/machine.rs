//! The state machine on a real store: batches, restarts, what is stored with what.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use backend::{Backend, CacheUse, Rows};
use base::schema::{self, Bucket};
use base::{ConfState, Member};
use bytes::Bytes;
use prost::Message;
use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{
    AlarmType, CompactionRequest, LeaseGrantRequest, PutRequest, RequestHeader,
};
use proto::membershippb::{ClusterVersionSetRequest, DowngradeInfoSetRequest};
use proto::raftpb::{ConfChange, ConfChangeType};
use proto::request::{Kind, encode};
use tempfile::TempDir;

use super::{alarm_request, delete, op_put, op_range, pairs, put, range, txn};
use crate::{Applied, Entry, EntryKind, Error, Options, Reply, StateMachine, Verdict, read_txn};

/// A backend's folder.
pub(super) struct Disk {
    dir: TempDir,
}

/// A state machine that numbers its entries itself.
pub(super) struct Running {
    pub(super) machine: StateMachine,
}

impl Disk {
    pub(super) fn new() -> Self {
        Self { dir: TempDir::new().expect("a temporary folder") }
    }

    pub(super) fn backend(&self) -> Backend {
        Backend::open(self.dir.path(), &backend::Options::default()).expect("the backend opens")
    }

    fn try_open(&self) -> Result<Running, Error> {
        let opened = mvcc::Store::open(self.backend(), mvcc::Options::default())?;
        Ok(Running { machine: StateMachine::open(opened, Options::default())? })
    }

    pub(super) fn open(&self) -> Running {
        self.try_open().expect("the store opens")
    }
}

impl Running {
    pub(super) fn apply_data(&mut self, data: impl IntoIterator<Item = Bytes>) -> Vec<Applied> {
        let first = self.machine.consistent_index() + 1;
        let entries = (first..).zip(data).map(|(index, data)| entry(index, data));
        self.apply(entries).expect("the entries are well-formed")
    }

    fn apply(&mut self, entries: impl IntoIterator<Item = Entry>) -> Result<Vec<Applied>, Error> {
        let mut outcomes = Vec::new();
        self.machine.apply_batch(entries, |_id| true, &mut outcomes)?;
        Ok(outcomes)
    }

    fn conf_change(&mut self, change: ConfChangeType, member: &Member) -> Applied {
        let data = ConfChange {
            id: Some(1),
            r#type: Some(change as i32),
            node_id: Some(member.id),
            context: Some(member.to_json().into()),
        };
        let index = self.machine.consistent_index() + 1;
        let data = data.encode_to_vec().into();
        let entry = Entry { index, term: 2, kind: EntryKind::ConfChange, data };
        self.machine.apply_entry(&entry, true).expect("the change is well-formed")
    }

    /// Every row of every bucket.
    pub(super) fn rows(&self) -> BTreeMap<(Bucket, Vec<u8>), Vec<u8>> {
        let mut rows = BTreeMap::new();
        for bucket in Bucket::ALL {
            let backend = self.machine.store().backend();
            let scan = backend.scan(bucket, &[], None, CacheUse::Fill, |key, value| {
                rows.insert((bucket, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            });
            scan.expect("the rows can be read");
        }
        rows
    }

    fn row(&self, bucket: Bucket, key: &[u8]) -> Option<Bytes> {
        self.machine.store().backend().get(bucket, key).expect("the row can be read")
    }
}

fn entry(index: u64, data: Bytes) -> Entry {
    Entry { index, term: 2, kind: EntryKind::Normal, data }
}

fn encoded<M: Message>(kind: Kind, request: &M) -> Bytes {
    encode(kind, request, &RequestHeader { id: 7, ..RequestHeader::default() })
}

fn put_data(key: &'static str, value: &'static str) -> Bytes {
    encoded(Kind::Put, &put(key, value))
}

fn number(value: Option<Bytes>) -> Option<u64> {
    value.map(|bytes| u64::from_be_bytes(bytes[..].try_into().expect("eight bytes")))
}

#[test]
fn a_batch_stores_its_rows_with_its_last_index_and_term() {
    let disk = Disk::new();
    let mut running = disk.open();
    let outcomes = running.apply_data([put_data("a", "1"), Bytes::new(), put_data("b", "2")]);
    let revisions: Vec<_> = outcomes.iter().map(|applied| applied.revision).collect();
    assert_eq!(revisions, [2, 2, 3]);
    assert_eq!(number(running.row(Bucket::Meta, schema::CONSISTENT_INDEX)), Some(3));
    assert_eq!(number(running.row(Bucket::Meta, schema::TERM)), Some(2));
    assert_eq!(number(running.row(Bucket::Auth, schema::AUTH_REVISION)), Some(1));
    let events: Vec<_> = outcomes.iter().map(|a| a.changes.as_ref().map(|c| c.revision)).collect();
    assert_eq!(events, [Some(2), None, Some(3)]);
    drop(running);
    let running = disk.open();
    assert_eq!(running.machine.consistent_index(), 3);
    assert_eq!(running.machine.term(), 2);
    assert_eq!(running.machine.store().current_revision(), 3);
}

#[test]
fn entries_of_a_batch_see_the_ones_before_them() {
    let disk = Disk::new();
    let mut running = disk.open();
    let keep = PutRequest { ignore_value: true, ..put("a", "") };
    let prev = PutRequest { prev_kv: true, ..put("a", "2") };
    let mut gone = delete("a", "");
    gone.prev_kv = true;
    let outcomes = running.apply_data([
        put_data("a", "1"),
        encoded(Kind::Put, &keep),
        encoded(Kind::Put, &prev),
        encoded(Kind::Txn, &txn(vec![op_put(put("b", "1")), op_range(range("a", "z"))])),
        encoded(Kind::DeleteRange, &gone),
        encoded(Kind::Put, &keep),
    ]);
    let Ok(Reply::Put(response)) = &outcomes[2].result else { panic!("{:?}", outcomes[2]) };
    let former = &pairs(response.prev_kv.clone())[0];
    assert_eq!((&former.value[..], former.version), (&b"1"[..], 2));
    let Ok(Reply::DeleteRange(response)) = &outcomes[4].result else { panic!("no delete") };
    assert_eq!(pairs(response.prev_kvs.iter().cloned())[0].value, "2");
    assert_eq!(outcomes[5].result, Err(crate::ApplyError::KeyNotFound));
}

#[test]
fn entries_up_to_the_stored_index_change_nothing() {
    let disk = Disk::new();
    let mut running = disk.open();
    let member = Member { id: 5, peer_urls: vec!["http://a:1".into()], ..Member::default() };
    running.conf_change(ConfChangeType::ConfChangeAddNode, &member);
    let grant = encoded(Kind::LeaseGrant, &LeaseGrantRequest { id: 1, ttl: 60 });
    let alarm = encoded(Kind::Alarm, &alarm_request(AlarmAction::Activate, 5, AlarmType::Corrupt));
    running.apply_data([put_data("a", "1"), grant.clone(), alarm.clone()]);
    let before = running.rows();
    drop(running);

    let mut running = disk.open();
    let conf_change = Entry { kind: EntryKind::ConfChange, ..entry(1, Bytes::new()) };
    let known = [conf_change, entry(2, put_data("a", "9")), entry(3, grant), entry(4, alarm)];
    let outcomes = running.apply(known).expect("known entries are not even decoded");
    assert_eq!(outcomes[0].verdict, Some(Verdict::Known));
    for applied in &outcomes {
        assert!(applied.effects.is_empty() && applied.changes.is_none());
        assert_eq!(applied.request_id, 0);
    }
    assert_eq!(running.rows(), before);
}

#[test]
fn a_gap_in_the_log_stops_the_member() {
    let disk = Disk::new();
    let mut running = disk.open();
    running.apply_data([put_data("a", "1")]);
    let outcome = running.apply([entry(3, put_data("a", "2"))]);
    assert!(matches!(outcome, Err(Error::IndexGap { index: 3, expected: 2 })), "{outcome:?}");
}

#[test]
fn an_undecodable_entry_leaves_nothing_of_its_batch() {
    let disk = Disk::new();
    let mut running = disk.open();
    let before = running.rows();
    let outcome = running.apply([entry(1, put_data("a", "1")), entry(2, Bytes::from("\u{7f}"))]);
    assert!(matches!(outcome, Err(Error::Undecodable { index: 2, .. })), "{outcome:?}");
    assert_eq!(running.rows(), before);
    drop(running);
    assert_eq!(disk.open().machine.consistent_index(), 0);
}

#[test]
fn everything_but_keys_survives_a_restart() {
    let disk = Disk::new();
    let mut running = disk.open();
    let voter = Member { id: 5, peer_urls: vec!["http://a:1".into()], ..Member::default() };
    let other = Member { id: 6, peer_urls: vec!["http://b:1".into()], ..Member::default() };
    running.conf_change(ConfChangeType::ConfChangeAddNode, &voter);
    running.conf_change(ConfChangeType::ConfChangeAddNode, &other);
    running.conf_change(ConfChangeType::ConfChangeRemoveNode, &other);
    let leased = PutRequest { lease: -3, ..put("a", "1") };
    let downgrade = DowngradeInfoSetRequest { enabled: true, ver: "3.6.0".into() };
    running.apply_data([
        encoded(Kind::LeaseGrant, &LeaseGrantRequest { id: -3, ttl: 60 }),
        encoded(Kind::Put, &leased),
        encoded(Kind::Alarm, &alarm_request(AlarmAction::Activate, 5, AlarmType::Nospace)),
        encoded(Kind::ClusterVersionSet, &ClusterVersionSetRequest { ver: "3.7.0".into() }),
        encoded(Kind::DowngradeInfoSet, &downgrade),
    ]);
    let shown = |running: &Running| {
        let state = running.machine.state();
        let leases: Vec<_> =
            state.leases.read().iter().map(|(id, lease)| (id, lease.clone())).collect();
        let alarms = state.alarms.read().list(0);
        let conf_state = running.machine.conf_state();
        (leases, alarms, state.cluster.read().clone(), conf_state)
    };
    let before = shown(&running);
    drop(running);
    let running = disk.open();
    assert_eq!(shown(&running), before);
    assert_eq!(running.machine.conf_state(), ConfState::of_voters(vec![5]));
    assert!(running.machine.state().cluster.read().members.is_removed(6));
    assert_eq!(running.machine.state().leases.read().lease_of(b"a"), Some(-3));
}

#[test]
fn an_installed_snapshot_replaces_what_holders_of_the_state_see() {
    let (old, new) = (Disk::new(), Disk::new());
    let mut source = new.open();
    source.apply_data([
        encoded(Kind::LeaseGrant, &LeaseGrantRequest { id: 9, ttl: 60 }),
        put_data("new", "1"),
    ]);
    drop(source);
    let mut running = old.open();
    let grant = encoded(Kind::LeaseGrant, &LeaseGrantRequest { id: 1, ttl: 60 });
    running.apply_data([grant]);
    let state = running.machine.state().clone();
    let opened = mvcc::Store::open(new.backend(), mvcc::Options::default()).expect("it opens");
    running.machine.install(opened).expect("it is sound");
    assert_eq!(running.machine.consistent_index(), 2);
    let ids: Vec<_> = state.leases.read().iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [9]);
    running.apply_data([put_data("newer", "1")]);
    assert_eq!(running.machine.store().current_revision(), 3);
}

#[test]
fn data_with_authentication_on_is_refused() {
    let disk = Disk::new();
    for (flag, refused) in [(0u8, false), (1, true)] {
        let backend = disk.backend();
        let mut batch = backend.batch();
        batch.put(Bucket::Auth, schema::AUTH_ENABLED, &[flag]);
        backend.write(batch).expect("it is written");
        drop(backend);
        let outcome = disk.try_open();
        assert_eq!(matches!(outcome, Err(Error::AuthEnabled { .. })), refused);
    }
}

#[test]
fn a_damaged_row_is_named() {
    for (bucket, key, value) in [
        (Bucket::Meta, schema::CONSISTENT_INDEX, &b"short"[..]),
        (Bucket::Lease, b"12345678", b"\xff"),
        (Bucket::Alarm, b"\xff", b""),
        (Bucket::Members, b"5", b"{"),
        (Bucket::MembersRemoved, b"xyz", b"removed"),
        (Bucket::Cluster, schema::CLUSTER_VERSION, b"new"),
        (Bucket::Cluster, schema::DOWNGRADE, b""),
    ] {
        let disk = Disk::new();
        let backend = disk.backend();
        let mut batch = backend.batch();
        batch.put(bucket, key, value);
        backend.write(batch).expect("it is written");
        drop(backend);
        match disk.try_open().map(|_| ()) {
            Err(Error::BadRow { bucket: named, key: at, .. }) => {
                assert_eq!((named, &at[..]), (bucket.name(), key));
            }
            other => panic!("{bucket:?}: {other:?}"),
        }
    }
}

#[test]
fn a_missing_storage_version_is_written_with_the_next_batch() {
    let disk = Disk::new();
    let backend = disk.backend();
    let mut batch = backend.batch();
    batch.put(Bucket::Cluster, schema::CLUSTER_VERSION, b"3.7.0");
    backend.write(batch).expect("it is written");
    drop(backend);
    let mut running = disk.open();
    running.apply_data([Bytes::new()]);
    let version = running.row(Bucket::Meta, schema::STORAGE_VERSION);
    assert_eq!(version, Some(Bytes::from("3.7.0")));
}

#[test]
fn a_read_only_txn_reads_the_committed_state() {
    let disk = Disk::new();
    let mut running = disk.open();
    running.apply_data([put_data("a", "1"), put_data("b", "2")]);
    let request = txn(vec![op_range(range("a", "")), op_range(range("a", "z"))]);
    let answer = read_txn(running.machine.store(), &request).expect("it is fine");
    assert_eq!(answer.revision, 3);
    assert_eq!(answer.response.responses.len(), 2);
}

#[test]
fn a_compaction_of_zero_is_taken_once_across_restarts() {
    let disk = Disk::new();
    let compact = || encoded(Kind::Compaction, &CompactionRequest::default());
    let mut running = disk.open();
    assert_eq!(running.apply_data([compact()])[0].result, Ok(Reply::Compaction));
    drop(running);
    let mut running = disk.open();
    let again = running.apply_data([compact()]);
    assert_eq!(again[0].result, Err(crate::ApplyError::Compacted));
}
