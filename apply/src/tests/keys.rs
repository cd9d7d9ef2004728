//! Puts and deletes outside of txns.

use proto::etcdserverpb::{CompactionRequest, PutRequest};
use proto::request::Kind;

use super::{Rig, delete, pairs, put, range};
use crate::{ApplyError, Effect, Reply};

#[test]
fn the_first_put_makes_revision_two() {
    let mut rig = Rig::new();
    let applied = rig.apply(Kind::Put, &put("a", "1"));
    assert_eq!((applied.revision, applied.request_id), (2, 7));
    let pair = rig.get("a").expect("it was put");
    assert_eq!((pair.create_revision, pair.mod_revision, pair.version), (2, 2, 1));
}

#[test]
fn a_put_answers_the_former_pair_only_when_asked() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let asked = PutRequest { prev_kv: true, ..put("a", "2") };
    let Reply::Put(response) = rig.reply(Kind::Put, &asked) else { panic!("not a put") };
    assert_eq!(response.prev_kv.map(|kv| pairs([kv])[0].value.clone()), Some("1".into()));
    let Reply::Put(response) = rig.reply(Kind::Put, &put("a", "3")) else { panic!("not a put") };
    assert_eq!(response.prev_kv, None);
    let fresh = PutRequest { prev_kv: true, ..put("b", "1") };
    let Reply::Put(response) = rig.reply(Kind::Put, &fresh) else { panic!("not a put") };
    assert_eq!(response.prev_kv, None);
}

#[test]
fn ignored_parts_keep_what_was_there_and_make_a_revision() {
    let mut rig = Rig::new();
    rig.grant(9, 60);
    rig.reply(Kind::Put, &PutRequest { lease: 9, ..put("a", "1") });
    let keep_value = PutRequest { ignore_value: true, ..put("a", "") };
    let applied = rig.apply(Kind::Put, &keep_value);
    assert_eq!(applied.revision, 3);
    let pair = rig.get("a").expect("it was put");
    assert_eq!((&pair.value[..], pair.lease, pair.version), (&b"1"[..], 0, 2));

    rig.reply(Kind::Put, &PutRequest { lease: 9, ..put("a", "2") });
    let keep_lease = PutRequest { ignore_lease: true, ..put("a", "3") };
    rig.reply(Kind::Put, &keep_lease);
    let pair = rig.get("a").expect("it was put");
    assert_eq!((&pair.value[..], pair.lease), (&b"3"[..], 9));
    assert_eq!(rig.state.leases.read().lease_of(b"a"), Some(9));
}

#[test]
fn a_put_that_ignores_parts_of_nothing_is_refused() {
    let mut rig = Rig::new();
    for request in [
        PutRequest { ignore_value: true, ..put("a", "") },
        PutRequest { ignore_lease: true, ..put("a", "1") },
    ] {
        assert_eq!(rig.refusal(Kind::Put, &request), ApplyError::KeyNotFound);
    }
}

#[test]
fn a_put_without_key_is_refused() {
    let mut rig = Rig::new();
    assert_eq!(rig.refusal(Kind::Put, &put("", "1")), ApplyError::EmptyKey);
}

#[test]
fn a_missing_lease_is_noticed_before_a_missing_key() {
    let mut rig = Rig::new();
    let request = PutRequest { lease: 5, ignore_value: true, ..put("a", "") };
    assert_eq!(rig.refusal(Kind::Put, &request), ApplyError::LeaseNotFound);
}

#[test]
fn a_delete_counts_keys_and_shares_one_revision() {
    let mut rig = Rig::new();
    for key in ["a", "b", "c"] {
        rig.put(key, "x");
    }
    let mut request = delete("a", "c");
    request.prev_kv = true;
    let applied = rig.apply(Kind::DeleteRange, &request);
    assert_eq!(applied.revision, 5);
    let Ok(Reply::DeleteRange(response)) = applied.result else { panic!("not a delete") };
    assert_eq!(response.deleted, 2);
    let keys: Vec<_> =
        pairs(response.prev_kvs.iter().cloned()).into_iter().map(|pair| pair.key).collect();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!(rig.range(&range("a", "z")).2, 1);
}

#[test]
fn a_delete_of_nothing_makes_no_revision() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    let applied = rig.apply(Kind::DeleteRange, &delete("x", "z"));
    assert_eq!(applied.revision, 2);
    let Ok(Reply::DeleteRange(response)) = applied.result else { panic!("not a delete") };
    assert_eq!(response.deleted, 0);
}

#[test]
fn a_put_after_a_delete_starts_again() {
    let mut rig = Rig::new();
    rig.put("a", "1");
    rig.put("a", "2");
    rig.reply(Kind::DeleteRange, &delete("a", ""));
    rig.put("a", "3");
    let pair = rig.get("a").expect("it was put");
    assert_eq!((pair.create_revision, pair.mod_revision, pair.version), (5, 5, 1));
}

fn compact(revision: i64) -> CompactionRequest {
    CompactionRequest { revision, physical: false }
}

#[test]
fn compaction_takes_revisions_between_the_compacted_and_the_current() {
    let mut rig = Rig::new();
    assert_eq!(rig.refusal(Kind::Compaction, &compact(-1)), ApplyError::Compacted);
    assert_eq!(rig.refusal(Kind::Compaction, &compact(-5)), ApplyError::Compacted);
    assert_eq!(rig.refusal(Kind::Compaction, &compact(2)), ApplyError::FutureRev);
    assert_eq!(rig.reply(Kind::Compaction, &compact(0)), Reply::Compaction);
    assert_eq!(rig.refusal(Kind::Compaction, &compact(0)), ApplyError::Compacted);
    rig.put("a", "1");
    let applied = rig.apply(Kind::Compaction, &compact(2));
    assert_eq!(applied.result, Ok(Reply::Compaction));
    assert_eq!(applied.revision, 2);
    assert_eq!(applied.effects, [Effect::CompactScheduled { revision: 2 }]);
    assert_eq!(rig.refusal(Kind::Compaction, &compact(2)), ApplyError::Compacted);
}
