use bytes::Bytes;
use wal::{Entry, HardState};

use super::*;
use crate::driver::{Command, Driver};
use crate::log_store::{LogPosition, LogStore};
use crate::machine::ApplyOutcome;
use crate::start::Config;

fn member_of(voters: &[u64]) -> Driver {
    let founding = Entry { term: 1, index: 1, data: Bytes::from_static(b"f"), ..Entry::default() };
    let hard_state = HardState { term: 1, vote: 0, commit: 1 };
    let conf_state = base::ConfState { voters: voters.to_vec(), ..Default::default() };
    let store = LogStore::new(LogPosition::default(), vec![founding], hard_state, conf_state)
        .expect("a sound log");
    Driver::new(&Config::new(1), 1, store).expect("settings")
}

/// Does everything at once; gives the reads that were confirmed.
fn settle(driver: &mut Driver) -> Vec<ReadState> {
    let mut reads = Vec::new();
    loop {
        let mut commands = Vec::new();
        driver.poll(&mut commands);
        if commands.is_empty() {
            return reads;
        }
        for command in commands {
            match command {
                Command::Persist(write) => driver.persisted(write.number),
                Command::Apply(batch) => {
                    driver.applied(ApplyOutcome { applied: batch.last_index(), verdict: None });
                }
                Command::Reads(states) => reads.extend(states),
                Command::Send(_) | Command::Role(_) | Command::Install(_) => {}
            }
        }
    }
}

fn lone_leader() -> Driver {
    let mut driver = member_of(&[1]);
    driver.campaign();
    settle(&mut driver);
    driver
}

/// Ids that count up from 1, and how many were given out.
fn counter(count: &mut u64) -> impl FnMut() -> u64 + '_ {
    || {
        *count += 1;
        *count
    }
}

#[test]
fn readers_of_one_moment_share_a_round_and_later_ones_wait_for_the_next() {
    let mut driver = lone_leader();
    let mut reads = ReadIndex::new(5);
    let mut ids = 0;
    reads.add(&mut vec!["a", "b"]);
    reads.start(&mut driver, counter(&mut ids));
    reads.add(&mut vec!["c"]);
    reads.start(&mut driver, counter(&mut ids));
    assert_eq!(ids, 1, "one round at a time");
    settle(&mut driver).iter().for_each(|state| reads.confirm(state));
    assert_eq!(reads.next_ready(1), None, "confirmed at 2, applied 1");
    assert_eq!(reads.next_ready(2), Some(vec!["a", "b"]));
    reads.start(&mut driver, counter(&mut ids));
    assert_eq!(ids, 2);
    settle(&mut driver).iter().for_each(|state| reads.confirm(state));
    assert_eq!(reads.next_ready(2), Some(vec!["c"]));
    assert_eq!(reads.next_ready(2), None);
}

#[test]
fn a_retry_has_an_id_of_its_own_and_any_id_of_the_round_answers_it() {
    let mut driver = member_of(&[1, 2, 3]);
    let mut reads = ReadIndex::new(3);
    let mut ids = 10;
    reads.add(&mut vec!["a"]);
    reads.start(&mut driver, counter(&mut ids));
    for _ in 0..3 {
        reads.tick(&mut driver, counter(&mut ids));
    }
    assert_eq!(ids, 12, "asked at once and after three ticks");
    reads.confirm(&ReadState { id: 10, index: 5 });
    assert_eq!(reads.next_ready(9), None, "an id of no round of ours");
    reads.confirm(&ReadState { id: 11, index: 5 });
    assert_eq!(reads.next_ready(9), Some(vec!["a"]));
    reads.add(&mut vec!["later"]);
    reads.start(&mut driver, counter(&mut ids));
    reads.confirm(&ReadState { id: 12, index: 5 });
    assert_eq!(reads.next_ready(9), None, "an answer to the round before serves nobody later");
}

#[test]
fn a_dropped_question_is_asked_again_when_the_leader_can_answer() {
    let mut driver = member_of(&[1]);
    let mut reads = ReadIndex::new(1_000);
    let mut ids = 0;
    reads.add(&mut vec!["early"]);
    reads.start(&mut driver, counter(&mut ids));
    driver.campaign();
    assert!(settle(&mut driver).is_empty(), "raft dropped it");
    reads.retry_dropped(&mut driver, counter(&mut ids));
    assert_eq!(ids, 2);
    settle(&mut driver).iter().for_each(|state| reads.confirm(state));
    assert_eq!(reads.next_ready(2), Some(vec!["early"]));
    reads.retry_dropped(&mut driver, counter(&mut ids));
    assert_eq!(ids, 2, "nobody waits");
}

#[test]
fn a_new_leader_fails_the_round_under_way_and_not_those_who_wait() {
    let mut driver = member_of(&[1, 2, 3]);
    let mut reads = ReadIndex::new(5);
    let mut ids = 0;
    reads.add(&mut vec!["asked"]);
    reads.start(&mut driver, counter(&mut ids));
    reads.add(&mut vec!["waiting"]);
    assert_eq!(reads.leader_changed(), vec!["asked"]);
    reads.start(&mut driver, counter(&mut ids));
    reads.confirm(&ReadState { id: 1, index: 1 });
    assert_eq!(reads.next_ready(9), None);
    reads.confirm(&ReadState { id: 2, index: 1 });
    assert_eq!(reads.next_ready(9), Some(vec!["waiting"]));
}
