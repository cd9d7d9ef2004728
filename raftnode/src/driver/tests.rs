//! Which commands an event brings, one member at a time.

use bytes::Bytes;
use wal::EntryKind;

use super::*;
use crate::log_store::LogPosition;
use crate::machine::{CommittedBatch, ConfChange, ConfVerdict};

pub(super) fn conf(voters: &[u64], learners: &[u64]) -> base::ConfState {
    base::ConfState { voters: voters.to_vec(), learners: learners.to_vec(), ..Default::default() }
}

pub(super) fn normal(index: u64, term: u64, data: &'static str) -> Entry {
    Entry { kind: EntryKind::Normal, term, index, data: Bytes::from_static(data.as_bytes()) }
}

fn hard(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit }
}

/// A member whose log holds `entries`.
fn driver_with(
    id: u64,
    members: &base::ConfState,
    entries: Vec<Entry>,
    hard_state: HardState,
    applied: u64,
) -> Driver {
    let store = LogStore::new(LogPosition::default(), entries, hard_state, members.clone())
        .expect("a sound log");
    Driver::new(&Config::new(id), applied, store).expect("settings")
}

/// A member that was founded and has applied its founding.
pub(super) fn founded(id: u64, members: &base::ConfState) -> Driver {
    driver_with(id, members, vec![normal(1, 1, "founding")], hard(1, 0, 1), 1)
}

fn poll(driver: &mut Driver) -> Vec<Command> {
    let mut commands = Vec::new();
    driver.poll(&mut commands);
    commands
}

fn proposal(data: &'static str) -> Proposal {
    Proposal { kind: EntryKind::Normal, data: Bytes::from_static(data.as_bytes()) }
}

fn conf_proposal(data: &'static str) -> Proposal {
    Proposal { kind: EntryKind::ConfChange, data: Bytes::from_static(data.as_bytes()) }
}

fn done(applied: u64) -> ApplyOutcome {
    ApplyOutcome { applied, verdict: None }
}

fn role(role: Role, term: u64, leader: u64) -> Command {
    Command::Role(Leadership { role, term, leader })
}

fn apply(entries: Vec<Entry>) -> Command {
    Command::Apply(CommittedBatch { entries })
}

fn persist(number: u64, entries: Vec<Entry>, hard_state: Option<HardState>) -> Command {
    Command::Persist(Persist { number, snapshot: None, entries, hard_state })
}

/// A lone leader in term 2 with nothing left to do.
fn lone_leader() -> Driver {
    let mut driver = founded(1, &conf(&[1], &[]));
    driver.campaign();
    settle(&mut driver);
    driver
}

/// Does everything at once, accepting nothing but normal entries; gives what was sent.
pub(super) fn settle(driver: &mut Driver) -> Vec<raftpb::Message> {
    let mut sent = Vec::new();
    loop {
        let commands = poll(driver);
        if commands.is_empty() {
            return sent;
        }
        for command in commands {
            match command {
                Command::Persist(write) => driver.persisted(write.number),
                Command::Apply(batch) => {
                    let verdict = batch.ends_with_conf_change().then_some(ConfVerdict::Reject);
                    driver.applied(ApplyOutcome { applied: batch.last_index(), verdict });
                }
                Command::Install(snapshot) => driver.installed(snapshot.record.index),
                Command::Send(messages) => sent.extend(messages),
                Command::Role(_) | Command::Reads(_) => {}
            }
        }
    }
}

pub(super) fn message(kind: raftpb::MessageType, from: u64, to: u64, term: u64) -> raftpb::Message {
    raftpb::Message {
        r#type: Some(kind as i32),
        from: Some(from),
        to: Some(to),
        term: Some(term),
        ..Default::default()
    }
}

pub(super) fn append(
    from: u64,
    to: u64,
    before: (u64, u64),
    commit: u64,
    entries: &[Entry],
) -> raftpb::Message {
    let term = entries.last().map_or(before.1, |entry| entry.term);
    raftpb::Message {
        log_term: Some(before.1),
        index: Some(before.0),
        commit: Some(commit),
        entries: entries
            .iter()
            .map(|e| convert::entry_out(e.kind, e.term, e.index, e.data.clone()))
            .collect(),
        ..message(raftpb::MessageType::MsgApp, from, to, term)
    }
}

fn kinds(messages: &[raftpb::Message]) -> Vec<raftpb::MessageType> {
    let kind = |m: &raftpb::Message| m.r#type.and_then(|k| k.try_into().ok()).expect("known");
    messages.iter().map(kind).collect()
}

#[test]
fn a_lone_voter_leads_in_one_step_and_commits_when_its_entry_is_durable() {
    let mut driver = founded(1, &conf(&[1], &[]));
    driver.campaign();
    assert_eq!(
        poll(&mut driver),
        [role(Role::Leader, 2, 1), persist(1, vec![normal(2, 2, "")], Some(hard(2, 1, 1))),]
    );
    assert_eq!(poll(&mut driver), []);
    driver.persisted(1);
    assert_eq!(poll(&mut driver), [apply(vec![normal(2, 2, "")])]);
    assert!(!driver.facts().local_reads, "nothing of this term is applied");
    driver.applied(done(2));
    assert!(driver.facts().local_reads);
    assert_eq!(driver.take_unsaved_commit(), Some(hard(2, 1, 2)));
    assert_eq!(driver.take_unsaved_commit(), None);
}

#[test]
fn all_proposals_of_a_drain_are_one_write_and_the_commit_index_rides_along() {
    let mut driver = lone_leader();
    let mut proposals = vec![proposal("a"), proposal("b"), proposal("c")];
    assert!(driver.propose(&mut proposals));
    assert!(proposals.is_empty());
    let entries = vec![normal(3, 2, "a"), normal(4, 2, "b"), normal(5, 2, "c")];
    assert_eq!(poll(&mut driver), [persist(2 + 1, entries.clone(), Some(hard(2, 1, 2)))]);
    driver.persisted(3);
    assert_eq!(poll(&mut driver), [apply(entries)]);
}

#[test]
fn nothing_is_applied_before_it_is_durable_and_later_writes_cover_earlier_ones() {
    let mut driver = lone_leader();
    let numbers: Vec<u64> = ["a", "b", "c"]
        .into_iter()
        .map(|data| {
            driver.propose(&mut vec![proposal(data)]);
            let commands = poll(&mut driver);
            let [Command::Persist(write)] = &commands[..] else { panic!("{commands:?}") };
            write.number
        })
        .collect();
    assert_eq!(poll(&mut driver), []);
    driver.persisted(numbers[1]);
    assert_eq!(poll(&mut driver), [apply(vec![normal(3, 2, "a"), normal(4, 2, "b")])]);
    driver.persisted(numbers[2]);
    assert_eq!(poll(&mut driver), [apply(vec![normal(5, 2, "c")])]);
}

#[test]
fn without_a_leader_a_proposal_stays_with_the_proposer() {
    let mut driver = founded(1, &conf(&[1, 2, 3], &[]));
    let mut proposals = vec![proposal("a")];
    assert!(!driver.propose(&mut proposals));
    assert_eq!(proposals, [proposal("a")]);
}

/// Member 1 of 3 as leader in term 2; its entry of the term is committed and applied.
pub(super) fn leader_of_three() -> Driver {
    let mut driver = founded(1, &conf(&[1, 2, 3], &[]));
    driver.campaign();
    settle(&mut driver);
    let answers = [raftpb::MessageType::MsgPreVoteResp, raftpb::MessageType::MsgVoteResp];
    for kind in answers {
        driver.step(message(kind, 2, 1, 2)).expect("vote");
        settle(&mut driver);
    }
    assert_eq!(driver.leadership().role, Role::Leader);
    let ack =
        raftpb::Message { index: Some(2), ..message(raftpb::MessageType::MsgAppResp, 2, 1, 2) };
    driver.step(ack).expect("ack");
    settle(&mut driver);
    driver
}

#[test]
fn a_leader_sends_its_entries_before_they_are_durable_here() {
    let mut driver = leader_of_three();
    driver.propose(&mut vec![proposal("a")]);
    let commands = poll(&mut driver);
    let [Command::Send(messages), Command::Persist(_)] = &commands[..] else {
        panic!("{commands:?}")
    };
    assert_eq!(kinds(messages), [raftpb::MessageType::MsgApp]);
    assert_eq!(messages[0].entries[0].data, Some(Bytes::from_static(b"a")));
}

#[test]
fn a_quorum_of_others_commits_but_apply_waits_for_the_own_disk() {
    let mut driver = leader_of_three();
    driver.propose(&mut vec![proposal("a")]);
    let commands = poll(&mut driver);
    let Some(Command::Persist(write)) = commands.last() else { panic!("{commands:?}") };
    let kind = raftpb::MessageType::MsgAppResp;
    for peer in [2, 3] {
        let ack = raftpb::Message { index: Some(3), ..message(kind, peer, 1, 2) };
        driver.step(ack).expect("ack");
    }
    let applies = |commands: &[Command]| commands.iter().any(|c| matches!(c, Command::Apply(_)));
    assert!(!applies(&poll(&mut driver)));
    assert_eq!(driver.facts().commit, 3);
    driver.persisted(write.number);
    assert!(applies(&poll(&mut driver)));
}

#[test]
fn a_followers_acknowledgement_waits_for_its_disk() {
    let mut driver = founded(2, &conf(&[1, 2, 3], &[]));
    driver.step(append(1, 2, (1, 1), 1, &[normal(2, 2, "a")])).expect("append");
    let entries = vec![normal(2, 2, "a")];
    assert_eq!(
        poll(&mut driver),
        [role(Role::Follower, 2, 1), persist(1, entries, Some(hard(2, 0, 1)))]
    );
    assert_eq!(poll(&mut driver), []);
    driver.persisted(1);
    let commands = poll(&mut driver);
    let [Command::Send(messages)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(kinds(messages), [raftpb::MessageType::MsgAppResp]);
    assert_eq!(messages[0].index, Some(2));
}

#[test]
fn a_vote_waits_for_the_disk() {
    let mut driver = founded(2, &conf(&[1, 2, 3], &[]));
    let vote = raftpb::Message {
        index: Some(5),
        log_term: Some(2),
        ..message(raftpb::MessageType::MsgVote, 1, 2, 3)
    };
    driver.step(vote).expect("vote");
    let commands = poll(&mut driver);
    assert!(matches!(&commands[..], [Command::Role(_), Command::Persist(_)]), "{commands:?}");
    driver.persisted(1);
    let commands = poll(&mut driver);
    let [Command::Send(messages)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(kinds(messages), [raftpb::MessageType::MsgVoteResp]);
}

#[test]
fn heartbeats_are_answered_during_a_slow_sync_unless_a_term_is_being_written() {
    let mut driver = founded(2, &conf(&[1, 2, 3], &[]));
    let heartbeat = || message(raftpb::MessageType::MsgHeartbeat, 1, 2, 2);
    driver.step(append(1, 2, (1, 1), 1, &[normal(2, 2, "a")])).expect("append");
    poll(&mut driver);
    driver.step(heartbeat()).expect("heartbeat");
    assert_eq!(poll(&mut driver), [], "term 2 is not durable");
    driver.persisted(1);
    poll(&mut driver);
    driver.step(append(1, 2, (2, 2), 1, &[normal(3, 2, "b")])).expect("append");
    poll(&mut driver);
    driver.step(heartbeat()).expect("heartbeat");
    let commands = poll(&mut driver);
    let [Command::Send(messages)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(kinds(messages), [raftpb::MessageType::MsgHeartbeatResp]);
}

#[test]
fn entries_behind_a_conf_change_wait_for_its_verdict() {
    let mut driver = lone_leader();
    let mut proposals = vec![proposal("a"), conf_proposal("add 2"), proposal("b")];
    driver.propose(&mut proposals);
    poll(&mut driver);
    driver.persisted(3);
    let conf_entry = Entry { kind: EntryKind::ConfChange, ..normal(4, 2, "add 2") };
    assert_eq!(poll(&mut driver), [apply(vec![normal(3, 2, "a"), conf_entry])]);
    assert_eq!(poll(&mut driver), []);
    let verdict =
        ConfVerdict::Apply { change: ConfChange::AddLearner(2), conf_state: conf(&[1], &[2]) };
    driver.applied(ApplyOutcome { applied: 4, verdict: Some(verdict) });
    let commands = poll(&mut driver);
    assert!(commands.contains(&apply(vec![normal(5, 2, "b")])), "{commands:?}");
    assert_eq!(driver.conf_state(), &conf(&[1], &[2]));
    assert!(!driver.facts().alone);
    assert!(!driver.facts().local_reads);
}

#[test]
fn a_rejected_conf_change_leaves_the_membership_and_later_ones_free() {
    let mut driver = lone_leader();
    driver.propose(&mut vec![conf_proposal("no")]);
    assert!(!driver.facts().local_reads, "a conf change is pending");
    settle(&mut driver);
    assert_eq!(driver.conf_state(), &conf(&[1], &[]));
    assert!(driver.facts().local_reads);
    driver.propose(&mut vec![conf_proposal("again")]);
    assert_eq!(driver.log().get(4), None);
    settle(&mut driver);
    assert_eq!(driver.log().get(4).map(|e| e.kind), Some(EntryKind::ConfChange));
}

#[test]
fn a_conf_change_beside_a_pending_one_becomes_an_empty_entry() {
    let mut driver = lone_leader();
    driver.propose(&mut vec![conf_proposal("first"), conf_proposal("second")]);
    let commands = poll(&mut driver);
    let [Command::Persist(write)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(write.entries[0].kind, EntryKind::ConfChange);
    assert_eq!(write.entries[1], normal(4, 2, ""));
}

#[test]
#[should_panic(expected = "membership after")]
fn a_membership_other_than_the_machines_ends_the_node() {
    let mut driver = lone_leader();
    driver.propose(&mut vec![conf_proposal("add 2")]);
    poll(&mut driver);
    driver.persisted(3);
    poll(&mut driver);
    let change = ConfChange::AddLearner(2);
    let verdict = ConfVerdict::Apply { change, conf_state: conf(&[1, 2], &[]) };
    driver.applied(ApplyOutcome { applied: 3, verdict: Some(verdict) });
}

#[test]
fn a_followers_messages_wait_for_the_verdict_on_what_was_committed_with_them() {
    let mut driver = founded(2, &conf(&[1, 2, 3], &[]));
    let change = Entry { kind: EntryKind::ConfChange, ..normal(2, 2, "add 4") };
    driver.step(append(1, 2, (1, 1), 1, std::slice::from_ref(&change))).expect("append");
    settle(&mut driver);
    // The next append commits the change and wants an acknowledgement of its own.
    driver.step(append(1, 2, (2, 2), 2, &[normal(3, 2, "b")])).expect("append");
    let commands = poll(&mut driver);
    let number = commands.iter().find_map(|c| match c {
        Command::Persist(write) => Some(write.number),
        _ => None,
    });
    assert_eq!(commands.last(), Some(&apply(vec![change])));
    driver.persisted(number.expect("a write"));
    assert_eq!(poll(&mut driver), [], "durable, but the verdict is missing");
    let verdict = ConfVerdict::Apply {
        change: ConfChange::AddLearner(4),
        conf_state: conf(&[1, 2, 3], &[4]),
    };
    driver.applied(ApplyOutcome { applied: 2, verdict: Some(verdict) });
    let commands = poll(&mut driver);
    let [Command::Send(messages)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!(kinds(messages), [raftpb::MessageType::MsgAppResp]);
}

#[test]
fn a_leader_that_removes_itself_leads_on_without_a_vote() {
    let mut driver = leader_of_three();
    driver.propose(&mut vec![conf_proposal("remove 1")]);
    settle_without_applying(&mut driver);
    let ack =
        raftpb::Message { index: Some(3), ..message(raftpb::MessageType::MsgAppResp, 2, 1, 2) };
    driver.step(ack).expect("ack");
    let commands = poll(&mut driver);
    let committed_3 = commands.iter().any(|command| match command {
        Command::Send(messages) => messages.iter().any(|m| m.commit == Some(3) && m.to == Some(2)),
        _ => false,
    });
    assert!(committed_3, "{commands:?}");
    let verdict =
        ConfVerdict::Apply { change: ConfChange::Remove(1), conf_state: conf(&[2, 3], &[]) };
    driver.applied(ApplyOutcome { applied: 3, verdict: Some(verdict) });
    settle(&mut driver);
    assert_eq!(driver.conf_state(), &conf(&[2, 3], &[]));
    assert!(!driver.propose(&mut vec![proposal("late")]));
    assert!(!driver.read_index(1));
    // It leads on: its last entry commits by the others' votes alone.
    assert_eq!(driver.leadership().role, Role::Leader);
    let facts = driver.facts();
    assert!(!facts.alone && !facts.local_reads);
    driver.tick();
    let kind = raftpb::MessageType::MsgHeartbeat;
    assert!(kinds(&settle(&mut driver)).contains(&kind));
    // Once another leads, it stands for nothing any more.
    driver.step(message(kind, 2, 1, 3)).expect("heartbeat");
    for _ in 0..100 {
        driver.tick();
        settle(&mut driver);
    }
    assert_eq!(driver.leadership().role, Role::Follower);
    assert_eq!(driver.leadership().term, 3);
}

fn settle_without_applying(driver: &mut Driver) {
    for command in poll(driver) {
        match command {
            Command::Persist(write) => driver.persisted(write.number),
            Command::Send(_) | Command::Role(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_read_asked_before_the_term_has_an_entry_is_dropped_and_said_to_be() {
    let mut driver = founded(1, &conf(&[1], &[]));
    assert!(!driver.read_index(7), "no leader");
    driver.campaign();
    assert!(!driver.read_index(8), "nothing committed in the term");
    settle(&mut driver);
    assert!(driver.read_index(9));
    assert_eq!(poll(&mut driver), [Command::Reads(vec![ReadState { id: 9, index: 2 }])]);
}

#[test]
fn a_backend_ahead_of_the_commit_index_starts_where_it_stands() {
    // The commit index is not synced: after a crash it may be older than what was applied. The
    // caller raises it (see `start`); raft then accepts the applied index.
    let entries = vec![normal(1, 1, "a"), normal(2, 1, "b"), normal(3, 1, "c")];
    let mut driver = driver_with(1, &conf(&[1], &[]), entries, hard(1, 1, 2), 2);
    assert_eq!(poll(&mut driver), []);
    driver.campaign();
    assert_eq!(
        poll(&mut driver),
        [role(Role::Leader, 2, 1), persist(1, vec![normal(4, 2, "")], Some(hard(2, 1, 2)))]
    );
    driver.persisted(1);
    assert_eq!(poll(&mut driver), [apply(vec![normal(3, 1, "c"), normal(4, 2, "")])]);
}

#[test]
fn an_overlapping_append_is_taken_with_the_data_of_its_own_term() {
    let mut driver = founded(2, &conf(&[1, 2, 3], &[]));
    driver.step(append(1, 2, (1, 1), 1, &[normal(2, 2, "old"), normal(3, 2, "old")])).expect("old");
    driver.step(append(3, 2, (1, 1), 1, &[normal(2, 3, "new")])).expect("new");
    let commands = poll(&mut driver);
    let Some(Command::Persist(write)) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(write.entries, [normal(2, 3, "new")]);
    assert_eq!(driver.log().last(), LogPosition { index: 2, term: 3 });
}

#[test]
fn an_append_too_big_for_one_message_is_sent_as_several() {
    let mut driver = leader_of_three();
    let big = || Proposal { kind: EntryKind::Normal, data: Bytes::from(vec![1; 700_000]) };
    driver.propose(&mut vec![big(), big(), big()]);
    let commands = poll(&mut driver);
    let Some(Command::Send(messages)) = commands.first() else { panic!("{commands:?}") };
    let to_2: Vec<_> = messages.iter().filter(|m| m.to == Some(2)).collect();
    let shape: Vec<_> = to_2.iter().map(|m| (m.index, m.log_term, m.entries.len())).collect();
    assert_eq!(
        shape,
        [(Some(2), Some(2), 1), (Some(3), Some(2), 1), (Some(4), Some(2), 1)],
        "each follows the one before"
    );
}

#[test]
fn a_follower_forwards_whole_proposals_and_the_leader_takes_them_apart() {
    let mut follower = founded(2, &conf(&[1, 2, 3], &[]));
    follower.step(append(1, 2, (1, 1), 1, &[normal(2, 2, "")])).expect("append");
    settle(&mut follower);
    assert!(follower.propose(&mut vec![proposal("a")]));
    let forwarded = settle(&mut follower).pop().expect("a message");
    assert_eq!(forwarded.to, Some(1));
    let mut leader = leader_of_three();
    leader.step(forwarded).expect("taken");
    let commands = poll(&mut leader);
    let Some(Command::Persist(write)) = commands.last() else { panic!("{commands:?}") };
    assert_eq!(write.entries, [normal(3, 2, "a")]);
}

#[test]
fn messages_raft_must_not_see_are_refused() {
    let mut driver = founded(1, &conf(&[1, 2, 3], &[]));
    let kind = raftpb::MessageType::MsgHup;
    assert_eq!(driver.step(message(kind, 2, 1, 2)), Err(StepError::Kind { kind: 0 }));
    let kind = raftpb::MessageType::MsgHeartbeat;
    assert_eq!(driver.step(message(kind, 2, 3, 2)), Err(StepError::Misdirected { to: 3 }));
    let kind = raftpb::MessageType::MsgHeartbeatResp;
    assert_eq!(driver.step(message(kind, 9, 1, 1)), Err(StepError::UnknownPeer { from: 9 }));
    let kind = raftpb::MessageType::MsgProp;
    let empty = StepError::Impossible { what: "no proposal in it" };
    assert_eq!(driver.step(message(kind, 2, 1, 0)), Err(empty));
}

#[test]
fn a_received_snapshot_is_written_then_installed_then_followed() {
    let mut driver = founded(2, &conf(&[1, 2, 3], &[]));
    let snapshot = raftpb::Snapshot {
        data: Some(Bytes::from_static(b"state")),
        metadata: Some(raftpb::SnapshotMetadata {
            conf_state: Some(raftpb::ConfState { voters: vec![1, 2], ..Default::default() }),
            index: Some(100),
            term: Some(2),
        }),
    };
    let offer = raftpb::Message {
        snapshot: Some(snapshot),
        ..message(raftpb::MessageType::MsgSnap, 1, 2, 2)
    };
    driver.step(offer).expect("snapshot");
    let commands = poll(&mut driver);
    let Some(Command::Persist(write)) = commands.last() else { panic!("{commands:?}") };
    let record = SnapshotRecord { index: 100, term: 2, conf_state: Some(conf(&[1, 2], &[])) };
    assert_eq!(write.snapshot, Some(record.clone()));
    assert!(!commands.iter().any(|c| matches!(c, Command::Install(_))));
    driver.persisted(write.number);
    let commands = poll(&mut driver);
    let data = Bytes::from_static(b"state");
    assert!(commands.contains(&Command::Install(InstallSnapshot { record, data })));
    driver.installed(100);
    driver.step(append(1, 2, (100, 2), 101, &[normal(101, 2, "next")])).expect("append");
    let commands = poll(&mut driver);
    let Some(Command::Persist(write)) = commands.last() else { panic!("{commands:?}") };
    driver.persisted(write.number);
    assert!(poll(&mut driver).contains(&apply(vec![normal(101, 2, "next")])));
}

#[test]
fn the_log_in_memory_is_shortened_as_entries_are_applied() {
    let store = LogStore::new(
        LogPosition::default(),
        vec![normal(1, 1, "founding")],
        hard(1, 0, 1),
        conf(&[1], &[]),
    );
    let config = Config { catch_up_entries: 10, ..Config::new(1) };
    let mut driver = Driver::new(&config, 1, store.expect("sound")).expect("settings");
    driver.campaign();
    settle(&mut driver);
    for _ in 0..300 {
        driver.propose(&mut vec![proposal("x")]);
        settle(&mut driver);
    }
    let held = driver.log().last().index - driver.log().first_index();
    assert!((10..=10 + COMPACT_STEP_ENTRIES).contains(&held), "{held} held");
}
