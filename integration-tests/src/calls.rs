//! What clients called, when, and what they were answered; and the demands on it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use proto::mvccpb::event::EventType;

use crate::history::Observed;
use crate::linear::{Step, Timed, is_linearizable};
use crate::load::{Change, Outcomes};

/// What a call asked for, and of a read what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Sets the value.
    Put(Bytes),
    /// Sets the second value if the first is found.
    Swap(Bytes, Bytes),
    /// Found this value, or none; also a swap that was refused because of it.
    Read(Option<Bytes>),
}

/// One call on one key. Values are unique in a test.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its key.
    pub key: Bytes,
    /// What it did, or was to do.
    pub action: Action,
    /// When it was sent, on the clock of the test.
    pub called: Duration,
    /// When the answer came and which revision it named; `None` when it is unknown whether it
    /// was done.
    pub answer: Option<(Duration, i64)>,
}

impl Call {
    fn is_write(&self) -> bool {
        !matches!(self.action, Action::Read(_))
    }

    fn change(&self) -> Option<Change> {
        let key = self.key.clone();
        match &self.action {
            Action::Put(value) | Action::Swap(_, value) => {
                Some(Change::Put { key, value: value.clone() })
            }
            Action::Read(_) => None,
        }
    }
}

/// The calls of some clients.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// All calls but reads that failed.
    pub all: Vec<Call>,
    /// What patient clients gave up on, and why.
    pub given_up: Vec<String>,
}

impl Calls {
    /// Adds those of another client.
    pub fn extend(&mut self, other: Self) {
        self.all.extend(other.all);
        self.given_up.extend(other.given_up);
    }

    /// How many writes were acknowledged.
    pub fn writes(&self) -> usize {
        self.all.iter().filter(|call| call.is_write() && call.answer.is_some()).count()
    }

    /// When the first write was acknowledged that was called after `moment`.
    pub fn first_write_after(&self, moment: Duration) -> Option<Duration> {
        let after = |call: &&Call| call.is_write() && call.called > moment;
        let answers = self.all.iter().filter(after).filter_map(|call| call.answer);
        answers.map(|(at, _)| at).min()
    }

    /// The writes, for [`Observed::check`].
    pub fn outcomes(&self) -> Outcomes {
        let mut outcomes = Outcomes::default();
        for call in &self.all {
            match (call.change(), call.answer) {
                (Some(change), Some((_, revision))) => {
                    outcomes.acknowledged.push((change, revision));
                }
                (Some(change), None) => outcomes.unknown.push(change),
                (None, _) => {}
            }
        }
        outcomes
    }

    /// Demands that nothing acknowledged is lost and that the calls are linearizable: by the
    /// server's history, and, without believing it, for each key by a search.
    ///
    /// # Panics
    /// With the first difference.
    pub fn check(&self, observed: &Observed) {
        observed.check(&self.outcomes());
        self.check_answers(observed);
    }

    /// As [`Self::check`] for a history in which others have a part: only answers are looked at.
    ///
    /// # Panics
    /// With the first difference.
    pub fn check_answers(&self, observed: &Observed) {
        self.check_order();
        self.check_reads(observed);
        self.check_each_key();
    }

    /// Revisions rise with time: an answer names none below one answered before the call, and a
    /// write names a higher one.
    fn check_order(&self) {
        let mut answered: Vec<&Call> =
            self.all.iter().filter(|call| call.answer.is_some()).collect();
        answered.sort_by_key(|call| call.answer);
        let mut called = answered.clone();
        called.sort_by_key(|call| call.called);
        let mut earlier = answered.into_iter().peekable();
        let mut highest = 0;
        for call in called {
            while let Some((at, revision)) = earlier.peek().and_then(|call| call.answer)
                && at < call.called
            {
                highest = highest.max(revision);
                earlier.next();
            }
            let (_, revision) = call.answer.expect("answered");
            let least = highest + i64::from(call.is_write());
            assert!(revision >= least, "after revision {highest} was answered: {call:?}");
        }
    }

    /// A read found what the history says was there at its revision.
    fn check_reads(&self, observed: &Observed) {
        let mut by_key: HashMap<&Bytes, BTreeMap<i64, Option<&Bytes>>> = HashMap::new();
        for event in &observed.events {
            let value = (event.kind == EventType::Put).then_some(&event.pair.value);
            by_key.entry(&event.pair.key).or_default().insert(event.pair.mod_revision, value);
        }
        for call in &self.all {
            let (Action::Read(found), Some((_, revision))) = (&call.action, call.answer) else {
                continue;
            };
            let there = by_key.get(&call.key).and_then(|past| past.range(..=revision).next_back());
            let there = there.and_then(|(_, value)| *value);
            assert_eq!(found.as_ref(), there, "at revision {revision}: {call:?}");
        }
    }

    fn check_each_key(&self) {
        let mut numbers: HashMap<&Bytes, u64> = HashMap::new();
        let mut by_key: BTreeMap<&Bytes, Vec<Timed>> = BTreeMap::new();
        for call in &self.all {
            let mut number = |value| {
                let next = numbers.len() as u64;
                *numbers.entry(value).or_insert(next)
            };
            let step = match &call.action {
                Action::Put(value) => Step::Write(number(value)),
                Action::Swap(from, to) => Step::Swap(number(from), number(to)),
                Action::Read(found) => Step::Read(found.as_ref().map(number)),
            };
            let returned = call.answer.map(|(at, _)| at);
            let timed = Timed { step, called: call.called, returned };
            by_key.entry(&call.key).or_default().push(timed);
        }
        for (key, steps) in by_key {
            assert!(is_linearizable(&steps), "key {key:?}: no order explains {steps:#?}");
        }
    }
}
