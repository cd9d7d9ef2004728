//! What a server says has happened, compared with what its clients were promised.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use client::Client;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{HashKvRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use proto::mvccpb::KeyValue;
use proto::mvccpb::event::EventType;
use tokio_stream::StreamExt;

use crate::asked::asked;
use crate::load::{Change, Outcomes};

/// One event of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its kind.
    pub kind: EventType,
    /// The pair after it; of a delete the key and the revision only.
    pub pair: KeyValue,
}

/// All that a server tells about its past and present.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The revision it was read at.
    pub revision: i64,
    /// Every event from revision 1 on, in the order it came.
    pub events: Vec<Event>,
    /// Every pair that exists at that revision.
    pub pairs: Vec<KeyValue>,
}

/// Reads everything: all pairs, then all events up to the same revision.
///
/// # Panics
/// When the server does not answer.
pub fn observe(authority: &str) -> Observed {
    asked(authority, async |client| {
        let everything = RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            ..RangeRequest::default()
        };
        let range = client.kv().range(everything).await.expect("range").into_inner();
        let revision = range.header.expect("every answer has a header").revision;
        let events = events(&client, revision).await;
        Observed { revision, events, pairs: range.kvs }
    })
}

/// HashKV at `revision`, 0 for the present one: the hash and the revision it is of.
///
/// # Panics
/// When the server does not answer.
pub fn hash_kv(authority: &str, revision: i64) -> (u32, i64) {
    asked(authority, async |client| {
        let request = HashKvRequest { revision };
        let answer = client.maintenance().hash_kv(request).await.expect("HashKV").into_inner();
        let now = answer.header.expect("every answer has a header").revision;
        (answer.hash, if revision == 0 { now } else { revision })
    })
}

/// One put; its revision, or why it failed.
///
/// # Errors
/// The server's answer, or that there was none.
pub fn put(authority: &str, key: &str, value: &str) -> Result<i64, String> {
    asked(authority, async |client| {
        let request = proto::etcdserverpb::PutRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::copy_from_slice(value.as_bytes()),
            ..Default::default()
        };
        let answer = client.kv().put(request).await.map_err(|status| status.to_string())?;
        Ok(answer.into_inner().header.expect("every answer has a header").revision)
    })
}

/// Watches from revision 1 until the events of `last` have come.
async fn events(client: &Client, last: i64) -> Vec<Event> {
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        start_revision: 1,
        ..WatchCreateRequest::default()
    };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let requests = tokio_stream::once(create).chain(tokio_stream::pending());
    let mut answers = client.watch().watch(requests).await.expect("watch").into_inner();
    let mut events = Vec::new();
    // Revision 1 is that of the empty store: it has no event.
    let mut seen = 1;
    while seen < last {
        let answer = answers.next().await.expect("the stream goes on").expect("no error");
        assert!(!answer.canceled, "canceled: {}", answer.cancel_reason);
        for event in answer.events {
            let (kind, pair) = (event.r#type(), event.kv.expect("every event has a pair"));
            seen = pair.mod_revision;
            events.push(Event { kind, pair });
        }
    }
    events.retain(|event| event.pair.mod_revision <= last);
    events
}

impl Observed {
    /// Demands that the history is the promised one: every acknowledged request is in it exactly
    /// once, whole and at its revision; unanswered ones are in it whole or not at all; there is
    /// nothing else; and the pairs are what the events add up to.
    ///
    /// # Panics
    /// With the first difference.
    pub fn check(&self, outcomes: &Outcomes) {
        let last = outcomes.last_revision();
        assert!(self.revision >= last, "revision {} after {last} was promised", self.revision);
        let mut promised: HashMap<i64, &Change> = HashMap::new();
        for (change, revision) in &outcomes.acknowledged {
            let other = promised.insert(*revision, change);
            assert!(other.is_none(), "revision {revision}: {change:?} and {other:?}");
        }
        let mut possible: Vec<&Change> = outcomes.unknown.iter().collect();
        let mut expected_revision = 2;
        for group in self.events.chunk_by(|a, b| a.pair.mod_revision == b.pair.mod_revision) {
            let revision = group[0].pair.mod_revision;
            assert_eq!(revision, expected_revision, "revisions follow one another");
            expected_revision += 1;
            match promised.remove(&revision) {
                Some(change) => {
                    assert!(is_whole(change, group), "{revision}: {change:?} is {group:?}");
                }
                None => {
                    let at = possible.iter().position(|change| is_whole(change, group));
                    let at = at.unwrap_or_else(|| panic!("{revision}: nobody asked: {group:?}"));
                    possible.swap_remove(at);
                }
            }
        }
        assert_eq!(expected_revision, self.revision + 1, "events up to the present revision");
        assert!(promised.is_empty(), "acknowledged and lost: {promised:?}");
        self.check_pairs();
    }

    /// Folds the events and compares with the pairs, versions and revisions included.
    fn check_pairs(&self) {
        let mut live: BTreeMap<&Bytes, KeyValue> = BTreeMap::new();
        for Event { kind, pair } in &self.events {
            match kind {
                EventType::Put => {
                    let before = live.get(&pair.key);
                    let version = before.map_or(1, |before| before.version + 1);
                    let created = before.map_or(pair.mod_revision, |b| b.create_revision);
                    assert_eq!(
                        (pair.version, pair.create_revision),
                        (version, created),
                        "{pair:?}"
                    );
                    live.insert(&pair.key, pair.clone());
                }
                EventType::Delete => {
                    assert!(live.remove(&pair.key).is_some(), "{pair:?} did not exist");
                }
            }
        }
        assert!(self.pairs.iter().eq(live.values()), "the pairs are not what the events add up to");
    }

    /// Demands that everything an earlier reading saw is still there, unchanged.
    ///
    /// # Panics
    /// With the first event that differs.
    pub fn check_continues(&self, earlier: &Self) {
        assert!(self.events.len() >= earlier.events.len(), "events are missing");
        for (now, then) in self.events.iter().zip(&earlier.events) {
            assert_eq!(now, then, "the history was rewritten");
        }
    }

    /// How many acknowledged requests are not in the history as promised.
    pub fn lost(&self, outcomes: &Outcomes) -> usize {
        let mut groups: HashMap<i64, Vec<Event>> = HashMap::new();
        for event in &self.events {
            groups.entry(event.pair.mod_revision).or_default().push(event.clone());
        }
        let is_there = |(change, revision): &&(Change, i64)| {
            groups.get(revision).is_some_and(|group| is_whole(change, group))
        };
        outcomes.acknowledged.len() - outcomes.acknowledged.iter().filter(is_there).count()
    }
}

/// Whether the events of one revision are exactly what the request asks for.
fn is_whole(change: &Change, events: &[Event]) -> bool {
    let is_put = |event: &Event, key: &Bytes, value: &Bytes| {
        event.kind == EventType::Put && event.pair.key == key && event.pair.value == value
    };
    match (change, events) {
        (Change::Put { key, value }, [event]) => is_put(event, key, value),
        (Change::PutBoth { keys, value }, [first, second]) => {
            is_put(first, &keys[0], value) && is_put(second, &keys[1], value)
        }
        (Change::Delete { key }, [event]) => {
            event.kind == EventType::Delete && event.pair.key == key
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(key: &str, value: &str, created: i64, revision: i64, version: i64) -> KeyValue {
        KeyValue {
            key: key.to_owned().into(),
            value: value.to_owned().into(),
            create_revision: created,
            mod_revision: revision,
            version,
            lease: 0,
        }
    }

    fn put_event(pair: KeyValue) -> Event {
        Event { kind: EventType::Put, pair }
    }

    fn put_change(key: &str, value: &str) -> Change {
        Change::Put { key: key.to_owned().into(), value: value.to_owned().into() }
    }

    fn both() -> Change {
        Change::PutBoth { keys: ["a".into(), "b".into()], value: "2".into() }
    }

    /// A put at revision 2, two puts of a transaction at 3.
    fn observed() -> Observed {
        let events = vec![
            put_event(pair("k", "1", 2, 2, 1)),
            put_event(pair("a", "2", 3, 3, 1)),
            put_event(pair("b", "2", 3, 3, 1)),
        ];
        let pairs = vec![events[1].pair.clone(), events[2].pair.clone(), events[0].pair.clone()];
        Observed { revision: 3, events, pairs }
    }

    fn outcomes() -> Outcomes {
        Outcomes {
            acknowledged: vec![(put_change("k", "1"), 2)],
            unknown: vec![both(), put_change("k", "9")],
        }
    }

    #[test]
    fn a_history_as_promised_passes() {
        observed().check(&outcomes());
        assert_eq!(observed().lost(&outcomes()), 0);
    }

    /// What the check says after `change` was made to the history or to what was promised.
    fn complaint(change: impl FnOnce(&mut Observed, &mut Outcomes)) -> String {
        let (mut observed, mut outcomes) = (observed(), outcomes());
        change(&mut observed, &mut outcomes);
        let checked = std::panic::catch_unwind(|| observed.check(&outcomes));
        let panic = checked.expect_err("the check finds it");
        match panic.downcast::<String>() {
            Ok(text) => *text,
            Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
        }
    }

    #[test]
    fn each_broken_promise_is_found() {
        let lost = complaint(|_, outcomes| outcomes.acknowledged.push((put_change("k", "5"), 4)));
        assert!(lost.starts_with("revision 3 after 4 was promised"), "{lost}");

        let replaced = complaint(|_, outcomes| outcomes.acknowledged[0].0 = put_change("k", "5"));
        assert!(replaced.starts_with("2: Put"), "{replaced}");

        let twice = complaint(|_, outcomes| outcomes.acknowledged.push((both(), 2)));
        assert!(twice.starts_with("revision 2: "), "{twice}");

        let half = complaint(|observed, _| drop(observed.events.pop()));
        assert!(half.starts_with("3: nobody asked"), "{half}");

        let gap = complaint(|observed, _| observed.events.truncate(1));
        assert!(gap.contains("events up to the present revision"), "{gap}");

        let repeated = complaint(|observed, _| {
            for (revision, version) in [(4, 2), (5, 3)] {
                observed.events.push(put_event(pair("k", "9", 2, revision, version)));
            }
            observed.revision = 5;
        });
        assert!(repeated.starts_with("5: nobody asked"), "{repeated}");

        let stale = complaint(|observed, _| observed.pairs[2].value = "0".into());
        assert!(stale.starts_with("the pairs are not"), "{stale}");

        let version = complaint(|observed, _| observed.events[0].pair.version = 2);
        assert!(version.contains("left == right"), "{version}");
    }

    #[test]
    #[should_panic(expected = "the history was rewritten")]
    fn a_rewritten_history_is_found() {
        let mut now = observed();
        now.events[0].pair.value = "other".into();
        now.check_continues(&observed());
    }
}
