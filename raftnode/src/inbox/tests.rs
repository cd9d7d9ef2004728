use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use wal::EntryKind;

use super::*;

fn proposal(bytes: usize) -> Proposal {
    Proposal { kind: EntryKind::Normal, data: Bytes::from(vec![0; bytes]) }
}

fn drain(inbox: &Inbox) -> Drained {
    let mut drained = Drained::default();
    inbox.drain(&mut drained, Instant::now());
    drained
}

/// Polls once.
fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

#[test]
fn proposals_wait_for_room_and_go_on_when_it_is_given_back() {
    let inbox = Inbox::new();
    for _ in 0..crate::limits::INBOX_PROPOSALS_MAX {
        assert_eq!(now(inbox.propose(proposal(1))), Some(Ok(())));
    }
    let mut waiting = pin!(inbox.propose(proposal(1)));
    assert_eq!(now(waiting.as_mut()), None);
    let drained = drain(&inbox);
    assert_eq!(drained.proposals.len(), crate::limits::INBOX_PROPOSALS_MAX);
    assert_eq!(now(waiting.as_mut()), None, "raft has not taken them yet");
    inbox.release(drained.proposals.iter().map(|p| weight(p) as usize).sum());
    assert_eq!(now(waiting.as_mut()), Some(Ok(())));
}

#[test]
fn big_proposals_count_by_their_bytes_and_a_giant_one_still_fits() {
    let inbox = Inbox::new();
    for _ in 0..4 {
        assert_eq!(now(inbox.propose(proposal(15 << 20))), Some(Ok(())));
    }
    assert_eq!(now(inbox.propose(proposal(15 << 20))), None, "60 of 64 MiB are taken");
    let empty = Inbox::new();
    assert_eq!(now(empty.propose(proposal(100 << 20))), Some(Ok(())));
    assert_eq!(now(empty.propose(proposal(1))), None);
}

#[test]
fn a_proposal_given_up_while_it_waits_is_not_made() {
    let inbox = Inbox::new();
    assert_eq!(now(inbox.propose(proposal(64 << 20))), Some(Ok(())));
    assert_eq!(now(inbox.propose(proposal(7))), None); // and dropped
    let drained = drain(&inbox);
    inbox.release(drained.proposals.iter().map(|p| weight(p) as usize).sum());
    assert!(drain(&inbox).proposals.is_empty());
    assert_eq!(now(inbox.propose(proposal(64 << 20))), Some(Ok(())), "its room is free");
}

#[test]
fn peer_messages_beyond_the_bounds_are_refused() {
    let inbox = Inbox::new();
    let message = |bytes: usize| raftpb::Message {
        entries: vec![raftpb::Entry {
            data: Some(Bytes::from(vec![0; bytes])),
            ..Default::default()
        }],
        ..Default::default()
    };
    for _ in 0..INBOX_MESSAGES_MAX {
        assert_eq!(inbox.step(message(0)), Ok(()));
    }
    assert_eq!(inbox.step(message(0)), Err(StepError::Full));
    drain(&inbox);
    assert_eq!(inbox.step(message(80 << 20)), Ok(()), "one is always taken");
    assert_eq!(inbox.step(message(0)), Err(StepError::Full));
    drain(&inbox);
    assert_eq!(inbox.step(message(0)), Ok(()));
}

#[test]
fn readers_beyond_the_bound_are_refused_until_others_are_answered() {
    let inbox = Inbox::new();
    let mut answers = Vec::new();
    for _ in 0..READ_WAITERS_MAX {
        let (reader, answer) = oneshot::channel();
        assert_eq!(inbox.read(reader), Ok(()));
        answers.push(answer);
    }
    let refused = || inbox.read(oneshot::channel().0);
    assert_eq!(refused(), Err(ReadError::TooMany));
    drain(&inbox);
    assert_eq!(refused(), Err(ReadError::TooMany), "taken and not answered");
    inbox.readers_done(1);
    assert_eq!(refused(), Ok(()));
}

#[test]
fn a_closed_inbox_refuses_and_ends_who_waits() {
    let inbox = Inbox::new();
    assert_eq!(now(inbox.propose(proposal(64 << 20))), Some(Ok(())));
    let mut waiting = pin!(inbox.propose(proposal(1)));
    assert_eq!(now(waiting.as_mut()), None);
    inbox.close();
    assert_eq!(now(waiting.as_mut()), Some(Err(ProposeError::Stopped)));
    assert_eq!(now(inbox.propose(proposal(1))), Some(Err(ProposeError::Stopped)));
    assert_eq!(inbox.step(raftpb::Message::default()), Err(StepError::Stopped));
    assert_eq!(inbox.read(oneshot::channel().0), Err(ReadError::Stopped));
    assert!(!inbox.control(Control::Ticks(1)));
    assert!(drain(&inbox).stop);
    assert!(drain(&inbox).stop, "for good");
}

#[test]
fn the_owner_wakes_for_a_push_and_for_a_nudge_and_at_its_deadline() {
    let inbox = std::sync::Arc::new(Inbox::new());
    let far = Instant::now() + Duration::from_secs(60);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let owner = std::thread::spawn({
        let inbox = std::sync::Arc::clone(&inbox);
        move || {
            inbox.adopt();
            ready.send(()).expect("the test waits");
            let mut drained = Drained::default();
            inbox.drain(&mut drained, far);
            let pushed = drained.proposals.len();
            ready.send(()).expect("the test waits");
            inbox.drain(&mut Drained::default(), far); // for the nudge
            pushed
        }
    });
    is_ready.recv().expect("adopted");
    assert_eq!(now(inbox.propose(proposal(1))), Some(Ok(())));
    is_ready.recv().expect("pushed");
    inbox.nudge();
    assert_eq!(owner.join().expect("owner"), 1);
    assert!(Instant::now() < far);
    inbox.adopt();
    let soon = Instant::now() + Duration::from_millis(5);
    inbox.drain(&mut Drained::default(), soon);
    assert!(Instant::now() >= soon);
}
