//! Leases: grant, attachment, revoke, checkpoint.

use base::schema::{Bucket, lease_key};
use proto::etcdserverpb::{
    LeaseCheckpoint, LeaseCheckpointRequest, LeaseGrantRequest, LeaseRevokeRequest, PutRequest,
};
use proto::membershippb::ClusterVersionSetRequest;
use proto::request::Kind;

use super::{Rig, delete, op_delete, op_put, put, txn};
use crate::{ApplyError, Effect, LEASE_TTL_MAX_S, Reply};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn row(rig: &Rig, id: i64) -> Option<String> {
    rig.model.rows.get(&(Bucket::Lease, lease_key(id).to_vec())).map(|value| hex(value))
}

fn keys_of(rig: &Rig, id: i64) -> Vec<String> {
    let leases = rig.state.leases.read();
    let lease = leases.get(id).expect("the lease exists");
    lease.keys().map(|key| String::from_utf8(key.to_vec()).expect("ASCII")).collect()
}

fn put_with(rig: &mut Rig, key: &'static str, lease: i64) {
    rig.reply(Kind::Put, &PutRequest { lease, ..put(key, "x") });
}

#[test]
fn a_grant_stores_the_row_and_makes_no_revision() {
    let mut rig = Rig::new();
    let id = 0x150c_a202_8cd4_d80a;
    let applied = rig.apply(Kind::LeaseGrant, &LeaseGrantRequest { id, ttl: 600 });
    assert_eq!(applied.result, Ok(Reply::LeaseGrant { id, ttl_s: 600 }));
    assert_eq!(applied.effects, [Effect::LeaseGranted { id, ttl_s: 600 }]);
    assert_eq!(applied.revision, 1);
    assert_eq!(row(&rig, id).as_deref(), Some("088ab0d3e6a8c0a8861510d804"));
}

#[test]
fn a_short_ttl_is_raised_and_a_huge_one_refused() {
    let mut rig = Rig::new();
    for (id, asked, got) in
        [(1, 0, 2), (2, -1, 2), (3, 1, 2), (4, 3, 3), (5, LEASE_TTL_MAX_S, LEASE_TTL_MAX_S)]
    {
        let reply = rig.reply(Kind::LeaseGrant, &LeaseGrantRequest { id, ttl: asked });
        assert_eq!(reply, Reply::LeaseGrant { id, ttl_s: got });
    }
    let huge = LeaseGrantRequest { id: 1, ttl: LEASE_TTL_MAX_S + 1 };
    assert_eq!(rig.refusal(Kind::LeaseGrant, &huge), ApplyError::LeaseTtlTooLarge);
    let taken = LeaseGrantRequest { id: 1, ttl: 10 };
    assert_eq!(rig.refusal(Kind::LeaseGrant, &taken), ApplyError::LeaseExist);
    let zero = LeaseGrantRequest { id: 0, ttl: 10 };
    assert_eq!(rig.refusal(Kind::LeaseGrant, &zero), ApplyError::LeaseNotFound);
}

#[test]
fn extreme_ids_are_ids() {
    let mut rig = Rig::new();
    for id in [i64::MAX, i64::MIN, -1] {
        rig.grant(id, 60);
        assert!(row(&rig, id).is_some());
        put_with(&mut rig, "a", id);
        assert_eq!(keys_of(&rig, id), ["a"]);
    }
}

#[test]
fn a_key_hangs_on_the_lease_of_its_last_put() {
    let mut rig = Rig::new();
    rig.grant(1, 60);
    rig.grant(2, 60);
    put_with(&mut rig, "a", 1);
    put_with(&mut rig, "b", 1);
    assert_eq!(keys_of(&rig, 1), ["a", "b"]);
    put_with(&mut rig, "a", 2);
    assert_eq!((keys_of(&rig, 1), keys_of(&rig, 2)), (vec!["b".into()], vec!["a".into()]));
    rig.put("a", "without");
    assert!(keys_of(&rig, 2).is_empty());
    rig.reply(Kind::DeleteRange, &delete("a", "c"));
    assert!(keys_of(&rig, 1).is_empty());
    assert_eq!(rig.state.leases.read().lease_of(b"b"), None);
}

#[test]
fn txns_attach_and_detach_too() {
    let mut rig = Rig::new();
    rig.grant(1, 60);
    put_with(&mut rig, "a", 1);
    rig.txn(&txn(vec![
        op_delete(delete("a", "")),
        op_put(PutRequest { lease: 1, ..put("b", "x") }),
    ]));
    assert_eq!(keys_of(&rig, 1), ["b"]);
}

#[test]
fn a_put_on_an_unknown_lease_is_refused() {
    let mut rig = Rig::new();
    let request = PutRequest { lease: 77, ..put("a", "1") };
    assert_eq!(rig.refusal(Kind::Put, &request), ApplyError::LeaseNotFound);
}

#[test]
fn a_revoke_deletes_its_keys_in_one_revision() {
    let mut rig = Rig::new();
    rig.grant(1, 60);
    for key in ["c", "a", "b"] {
        put_with(&mut rig, key, 1);
    }
    rig.put("d", "stays");
    let applied = rig.apply(Kind::LeaseRevoke, &LeaseRevokeRequest { id: 1 });
    assert_eq!(applied.result, Ok(Reply::LeaseRevoke));
    assert_eq!(applied.revision, 6);
    assert_eq!(applied.effects, [Effect::LeaseRevoked { id: 1 }]);
    assert_eq!(row(&rig, 1), None);
    assert!(rig.get("a").is_none() && rig.get("d").is_some());
    assert_eq!(rig.model.deleted_at(6), ["a", "b", "c"]);
    assert_eq!(rig.state.leases.read().lease_of(b"a"), None);
    rig.grant(1, 60);
    assert!(keys_of(&rig, 1).is_empty(), "the id is free and clean again");
}

#[test]
fn a_revoke_without_keys_makes_no_revision() {
    let mut rig = Rig::new();
    rig.grant(1, 60);
    assert_eq!(rig.apply(Kind::LeaseRevoke, &LeaseRevokeRequest { id: 1 }).revision, 1);
    for id in [1, 0] {
        let again = LeaseRevokeRequest { id };
        assert_eq!(rig.refusal(Kind::LeaseRevoke, &again), ApplyError::LeaseNotFound);
    }
}

fn checkpoint(id: i64, remaining_ttl: i64) -> LeaseCheckpointRequest {
    LeaseCheckpointRequest { checkpoints: vec![LeaseCheckpoint { id, remaining_ttl }] }
}

#[test]
fn a_checkpoint_is_stored_from_cluster_version_3_6_on() {
    for (ver, stored) in [("3.5.0", false), ("3.6.0", true), ("3.7.0", true)] {
        let mut rig = Rig::new();
        rig.grant(1, 600);
        let before = row(&rig, 1);
        rig.reply(Kind::ClusterVersionSet, &ClusterVersionSetRequest { ver: ver.into() });
        let applied = rig.apply(Kind::LeaseCheckpoint, &checkpoint(1, 300));
        assert_eq!(applied.effects, [Effect::LeaseCheckpointed { id: 1, remaining_ttl_s: 300 }]);
        assert_eq!(rig.state.leases.read().get(1).map(|l| l.remaining_ttl_s), Some(300));
        assert_eq!(row(&rig, 1) != before, stored, "{ver}");
        rig.reply(Kind::LeaseCheckpoint, &checkpoint(1, 0));
        assert_eq!(row(&rig, 1), before);
    }
}

#[test]
fn a_checkpoint_of_an_unknown_lease_is_passed_over() {
    let mut rig = Rig::new();
    let applied = rig.apply(Kind::LeaseCheckpoint, &checkpoint(5, 300));
    assert_eq!(applied.result, Ok(Reply::LeaseCheckpoint));
    assert!(applied.effects.is_empty());
}
