//! Configuration changes: validation, rows, verdicts.

use base::schema::{self, Bucket};
use base::{ConfState, Member, MemberChange};
use bytes::Bytes;
use prost::Message;
use proto::membershippb::{Attributes, ClusterMemberAttrSetRequest};
use proto::raftpb::{ConfChange, ConfChangeSingle, ConfChangeType, ConfChangeV2};
use proto::request::Kind;

use super::Rig;
use crate::{Applied, ApplyError, Effect, EntryKind, Error, Reply, Verdict};

fn member(id: u64, url: &str) -> Member {
    Member { id, peer_urls: vec![url.to_owned()], ..Member::default() }
}

fn learner(id: u64, url: &str) -> Member {
    Member { is_learner: true, ..member(id, url) }
}

fn encode(kind: ConfChangeType, id: u64, context: String) -> Bytes {
    let change = ConfChange {
        id: Some(42),
        r#type: Some(kind as i32),
        node_id: Some(id),
        context: Some(context.into()),
    };
    change.encode_to_vec().into()
}

fn change(rig: &mut Rig, kind: ConfChangeType, id: u64, context: String) -> Applied {
    let data = encode(kind, id, context);
    rig.apply_entry(EntryKind::ConfChange, data).expect("the change is well-formed")
}

fn add(rig: &mut Rig, member: &Member) -> Applied {
    let kind = if member.is_learner {
        ConfChangeType::ConfChangeAddLearnerNode
    } else {
        ConfChangeType::ConfChangeAddNode
    };
    change(rig, kind, member.id, member.to_json())
}

fn promote(rig: &mut Rig, id: u64) -> Applied {
    let context = MemberChange::promote(id).to_json();
    change(rig, ConfChangeType::ConfChangeAddNode, id, context)
}

fn update(rig: &mut Rig, member: &Member) -> Applied {
    change(rig, ConfChangeType::ConfChangeUpdateNode, member.id, member.to_json())
}

fn remove(rig: &mut Rig, id: u64) -> Applied {
    change(rig, ConfChangeType::ConfChangeRemoveNode, id, String::new())
}

/// Voters 1 and 2.
fn pair() -> Rig {
    let mut rig = Rig::new();
    add(&mut rig, &member(1, "http://a:1"));
    add(&mut rig, &member(2, "http://b:1"));
    rig
}

fn row(rig: &Rig, bucket: Bucket, key: &[u8]) -> Option<String> {
    let value = rig.model.rows.get(&(bucket, key.to_vec()))?;
    Some(String::from_utf8(value.clone()).expect("rows of members are text"))
}

fn refused(rig: &Rig, applied: &Applied, error: ApplyError) {
    assert_eq!(applied.result, Err(error));
    assert_eq!(applied.verdict, Some(Verdict::Reject));
    assert!(applied.effects.is_empty());
    let members: Vec<_> = rig.state.cluster.read().members.iter().map(|m| m.id).collect();
    assert_eq!(members, [1, 2], "nothing changed");
}

#[test]
fn an_added_voter_is_stored_with_the_configuration() {
    let mut rig = Rig::new();
    let applied = add(&mut rig, &member(0xbcaa_ec20_33fb_cb01, "http://127.0.0.1:38611"));
    assert_eq!(applied.request_id, 42);
    assert_eq!(applied.result, Ok(Reply::ConfChange));
    let state = ConfState::of_voters(vec![0xbcaa_ec20_33fb_cb01]);
    assert_eq!(applied.verdict, Some(Verdict::Accept(state)));
    assert_eq!(
        row(&rig, Bucket::Members, b"bcaaec2033fbcb01").as_deref(),
        Some(r#"{"id":13594938048226511617,"peerURLs":["http://127.0.0.1:38611"]}"#)
    );
    assert_eq!(
        row(&rig, Bucket::Meta, schema::CONF_STATE).as_deref(),
        Some(r#"{"voters":[13594938048226511617],"auto_leave":false}"#)
    );
}

#[test]
fn a_learner_is_added_then_promoted() {
    let mut rig = pair();
    let applied = add(&mut rig, &learner(3, "http://c:1"));
    let state = ConfState { voters: vec![1, 2], learners: vec![3], ..ConfState::default() };
    assert_eq!(applied.verdict, Some(Verdict::Accept(state)));
    assert_eq!(applied.effects, [Effect::MemberAdded(learner(3, "http://c:1"))]);
    let json = row(&rig, Bucket::Members, b"3").expect("it was added");
    assert_eq!(json, r#"{"id":3,"peerURLs":["http://c:1"],"isLearner":true}"#);

    let attributes = Attributes { name: "c".into(), client_urls: vec!["http://c:2".into()] };
    let publish = ClusterMemberAttrSetRequest { member_id: 3, member_attributes: Some(attributes) };
    rig.reply(Kind::ClusterMemberAttrSet, &publish);
    let applied = promote(&mut rig, 3);
    let state = ConfState::of_voters(vec![1, 2, 3]);
    assert_eq!(applied.verdict, Some(Verdict::Accept(state)));
    let json = row(&rig, Bucket::Members, b"3").expect("it was promoted");
    assert_eq!(
        json,
        r#"{"id":3,"peerURLs":["http://c:1"],"name":"c","clientURLs":["http://c:2"]}"#
    );
}

#[test]
fn only_learners_are_promoted() {
    let mut rig = pair();
    let applied = promote(&mut rig, 2);
    refused(&rig, &applied, ApplyError::MemberNotLearner);
    let applied = promote(&mut rig, 9);
    refused(&rig, &applied, ApplyError::MemberNotFound);
}

#[test]
fn the_last_voter_stays() {
    let mut rig = Rig::new();
    add(&mut rig, &member(1, "http://a:1"));
    add(&mut rig, &learner(2, "http://b:1"));
    let applied = remove(&mut rig, 1);
    refused(&rig, &applied, ApplyError::LastVoter);
    assert_eq!(remove(&mut rig, 2).result, Ok(Reply::ConfChange), "learners may go");
}

#[test]
fn taken_ids_and_urls_are_refused() {
    let mut rig = pair();
    let applied = add(&mut rig, &member(2, "http://c:1"));
    refused(&rig, &applied, ApplyError::MemberExist);
    for url in ["http://a:1", "http://b:1"] {
        let applied = add(&mut rig, &member(3, url));
        refused(&rig, &applied, ApplyError::PeerUrlExist);
    }
    let applied = update(&mut rig, &member(2, "http://a:1"));
    refused(&rig, &applied, ApplyError::PeerUrlExist);
}

#[test]
fn too_many_learners_are_refused() {
    let mut rig = pair();
    rig.options.learners_max = 0;
    let applied = add(&mut rig, &learner(3, "http://c:1"));
    refused(&rig, &applied, ApplyError::TooManyLearners);
}

#[test]
fn an_update_replaces_peer_urls_only() {
    let mut rig = pair();
    let attributes = Attributes { name: "b".into(), client_urls: vec!["http://b:2".into()] };
    let publish = ClusterMemberAttrSetRequest { member_id: 2, member_attributes: Some(attributes) };
    let applied = rig.apply(Kind::ClusterMemberAttrSet, &publish);
    assert!(matches!(&applied.effects[..], [Effect::MemberUpdated(m)] if m.name == "b"));
    let applied = update(&mut rig, &member(2, "http://b:9"));
    let state = ConfState::of_voters(vec![1, 2]);
    assert_eq!(applied.verdict, Some(Verdict::Accept(state)));
    assert_eq!(
        row(&rig, Bucket::Members, b"2").as_deref(),
        Some(r#"{"id":2,"peerURLs":["http://b:9"],"name":"b","clientURLs":["http://b:2"]}"#)
    );
    let applied = update(&mut rig, &member(9, "http://z:1"));
    refused(&rig, &applied, ApplyError::MemberNotFound);
}

#[test]
fn an_update_to_no_or_odd_urls_is_survived() {
    let mut rig = pair();
    for urls in [vec![], vec!["not a url".to_owned()], vec![String::new()]] {
        let odd = Member { id: 2, peer_urls: urls.clone(), ..Member::default() };
        assert_eq!(update(&mut rig, &odd).result, Ok(Reply::ConfChange));
        let stored = rig.state.cluster.read().member(2).map(|m| m.peer_urls.clone());
        assert_eq!(stored, Some(urls));
    }
}

#[test]
fn a_removed_member_never_returns() {
    let mut rig = pair();
    add(&mut rig, &member(3, "http://c:1"));
    let applied = remove(&mut rig, 3);
    assert_eq!(applied.effects, [Effect::MemberRemoved { id: 3 }]);
    assert_eq!(row(&rig, Bucket::Members, b"3"), None);
    assert_eq!(row(&rig, Bucket::MembersRemoved, b"3").as_deref(), Some("removed"));
    let applied = add(&mut rig, &member(3, "http://d:1"));
    refused(&rig, &applied, ApplyError::MemberNotFound);
    for id in [3, 9] {
        let applied = remove(&mut rig, id);
        refused(&rig, &applied, ApplyError::MemberNotFound);
    }
    let applied = promote(&mut rig, 3);
    refused(&rig, &applied, ApplyError::MemberNotFound);
}

#[test]
fn attributes_of_strangers_are_passed_over() {
    let mut rig = pair();
    for member_attributes in [None, Some(Attributes::default())] {
        let publish = ClusterMemberAttrSetRequest { member_id: 9, member_attributes };
        let applied = rig.apply(Kind::ClusterMemberAttrSet, &publish);
        assert_eq!(applied.result, Ok(Reply::Nothing));
        assert!(applied.effects.is_empty());
    }
}

#[test]
fn the_second_form_carries_one_change_or_none() {
    let mut rig = pair();
    let single = |id| ConfChangeSingle {
        r#type: Some(ConfChangeType::ConfChangeRemoveNode as i32),
        node_id: Some(id),
    };
    let encode = |changes| -> Bytes {
        ConfChangeV2 { changes, ..ConfChangeV2::default() }.encode_to_vec().into()
    };
    let empty = rig.apply_entry(EntryKind::ConfChangeV2, encode(vec![])).expect("harmless");
    assert_eq!(empty.verdict, Some(Verdict::Reject));
    let two = rig.apply_entry(EntryKind::ConfChangeV2, encode(vec![single(1), single(2)]));
    assert!(matches!(two, Err(Error::Undecodable { .. })));
    let one = rig.apply_entry(EntryKind::ConfChangeV2, encode(vec![single(2)])).expect("simple");
    assert_eq!(one.verdict, Some(Verdict::Accept(ConfState::of_voters(vec![1]))));
}

#[test]
fn a_change_that_is_none_stops_the_member() {
    let mut rig = pair();
    let add = ConfChangeType::ConfChangeAddNode;
    for data in [
        Bytes::from_static(b"\xff"),
        encode(add, 3, String::new()),
        encode(add, 3, member(4, "http://c:1").to_json()),
    ] {
        let outcome = rig.apply_entry(EntryKind::ConfChange, data);
        assert!(matches!(outcome, Err(Error::Undecodable { .. })), "{outcome:?}");
    }
}
