//! Single promises, by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use base::KeyRange;

use super::store::{MemoryStore, decode};
use crate::change::Changes;
use crate::watch::queue::{STREAM_ANSWERS_MAX, STREAM_RESPONSES_MAX};
use crate::watch::{Body, CreateError, Response, Shard, WatchHub, WatchRequest, WatchStream};

fn idle_hub() -> (MemoryStore, WatchHub) {
    let store = MemoryStore::new();
    let hub = WatchHub::idle(Arc::new(store.clone()), store.revision());
    (store, hub)
}

fn watch(key: &str, start_revision: i64) -> WatchRequest {
    let range = KeyRange::single(key.as_bytes().to_vec());
    WatchRequest { range, start_revision, ..WatchRequest::default() }
}

fn prefix(key: &str, start_revision: i64) -> WatchRequest {
    let range = KeyRange::prefix(key.as_bytes().to_vec());
    WatchRequest { range, start_revision, ..WatchRequest::default() }
}

fn next(stream: &WatchStream) -> Option<Response> {
    match stream.poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(response) => response,
        Poll::Pending => None,
    }
}

fn all(stream: &WatchStream) -> Vec<Response> {
    std::iter::from_fn(|| next(stream)).collect()
}

fn bodies(stream: &WatchStream) -> Vec<(i64, Body)> {
    all(stream).into_iter().map(|r| (r.watch_id, r.body)).collect()
}

/// Revisions of the events in `responses`, one list per response.
fn revisions(responses: &[Response]) -> Vec<Vec<i64>> {
    let events = responses.iter().filter_map(|response| match &response.body {
        Body::Events(bytes, _) => Some(decode(bytes).iter().map(|seen| seen.revision).collect()),
        _ => None,
    });
    events.collect()
}

fn sync(hub: &WatchHub) {
    while hub.inner().sync_round().expect("memory can be read") {}
}

struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn r13_a_future_watcher_gets_nothing_below_its_revision_even_after_an_install() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    let request = WatchRequest { progress_notify: true, ..watch("k", 10) };
    assert_eq!(stream.create(request), Ok(0));
    assert_eq!(bodies(&stream), [(0, Body::Created)]);
    for _ in 0..3 {
        hub.publish(&[store.put("k")]);
    }
    stream.progress_tick();
    stream.request_progress();
    assert_eq!(bodies(&stream), []);
    while store.revision() < 8 {
        store.put("k");
    }
    hub.install(Arc::new(store.clone()), store.revision());
    sync(&hub);
    stream.progress_tick();
    stream.request_progress();
    assert_eq!(bodies(&stream), []);
    for _ in 0..3 {
        hub.publish(&[store.put("k")]);
    }
    assert_eq!(revisions(&all(&stream)), [[10], [11]]);
    stream.request_progress();
    assert_eq!(bodies(&stream), [(-1, Body::Progress)]);
}

#[test]
fn r13_an_install_past_a_future_start_delivers_from_exactly_there() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    stream.create(watch("k", 5)).expect("valid");
    while store.revision() < 9 {
        store.put("k");
    }
    hub.install(Arc::new(store.clone()), store.revision());
    sync(&hub);
    assert_eq!(revisions(&all(&stream)), [[5, 6, 7, 8, 9]]);
}

#[test]
fn r14_progress_waits_until_all_watchers_of_the_stream_are_synced() {
    let (store, hub) = idle_hub();
    hub.publish(&[store.put("k")]);
    let stream = hub.open_stream(None);
    stream.request_progress();
    assert_eq!(bodies(&stream), [], "a stream without watchers has no progress");
    stream.create(watch("a", 0)).expect("valid");
    stream.create(watch("k", 2)).expect("valid");
    assert_eq!(all(&stream).len(), 2);
    stream.request_progress();
    assert_eq!(bodies(&stream), []);
    sync(&hub);
    stream.request_progress();
    let found = all(&stream);
    assert_eq!(revisions(&found), [[2]]);
    let last = found.last().expect("progress follows the events");
    assert_eq!((last.watch_id, last.revision, &last.body), (-1, 2, &Body::Progress));
}

#[test]
fn r14_a_victim_holds_back_progress_on_its_stream() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    stream.create(WatchRequest { progress_notify: true, ..watch("k", 0) }).expect("valid");
    for _ in 0..STREAM_RESPONSES_MAX + 1 {
        hub.publish(&[store.put("k")]);
    }
    for _ in 0..STREAM_RESPONSES_MAX {
        next(&stream);
        stream.request_progress();
        stream.progress_tick();
    }
    assert!(!all(&stream).iter().any(|response| response.body == Body::Progress));
    sync(&hub);
    stream.request_progress();
    let found = all(&stream);
    assert_eq!(revisions(&found), [[store.revision()]]);
    assert_eq!(found[1].body, Body::Progress);
}

#[test]
fn r15_a_full_queue_loses_and_repeats_nothing() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    stream.create(watch("k", 0)).expect("valid");
    let total = 3 * STREAM_RESPONSES_MAX as i64;
    for _ in 0..total {
        hub.publish(&[store.put("k")]);
    }
    assert_eq!(hub.stats().slow_watchers, 1);
    sync(&hub);
    let mut found: Vec<i64> = Vec::new();
    let mut longest = 0;
    loop {
        let responses = all(&stream);
        if responses.is_empty() {
            break;
        }
        longest = longest.max(responses.len());
        found.extend(revisions(&responses).concat());
        sync(&hub);
    }
    assert_eq!(found, (2..total + 2).collect::<Vec<_>>());
    assert!(longest <= STREAM_RESPONSES_MAX + 1, "the queue is bounded");
    assert_eq!(hub.stats().slow_watchers, 0);
}

#[test]
fn r15_a_deletion_exactly_at_the_compacted_revision_is_delivered() {
    let (store, hub) = idle_hub();
    hub.publish(&[store.put("k"), store.delete("k")]);
    store.compact(3);
    let stream = hub.open_stream(None);
    let request = WatchRequest { prev_kv: true, ..watch("k", 3) };
    stream.create(request).expect("valid");
    sync(&hub);
    assert_eq!(revisions(&all(&stream)), [[3]]);
}

#[test]
fn a_watcher_below_the_compacted_revision_ends_and_its_id_lingers() {
    let (store, hub) = idle_hub();
    for _ in 0..5 {
        hub.publish(&[store.put("k")]);
    }
    store.compact(4);
    let stream = hub.open_stream(None);
    stream.create(watch("k", 3)).expect("valid");
    stream.create(watch("k", 0)).expect("valid");
    sync(&hub);
    let found = all(&stream);
    let end = found.last().expect("an end is said");
    assert_eq!((end.watch_id, end.revision, &end.body), (0, 0, &Body::Compacted(4)));
    assert_eq!(stream.watchers(), 1);
    stream.request_progress();
    assert_eq!(bodies(&stream), [], "the lingering id holds back progress");
    let taken = WatchRequest { watch_id: 7, ..watch("k", 0) };
    stream.create(taken.clone()).expect("valid");
    assert_eq!(stream.create(taken), Err(CreateError::DuplicateId));
    assert!(stream.cancel(0) && !stream.cancel(0));
    stream.request_progress();
    let expected = [(7, Body::Created), (0, Body::Canceled), (-1, Body::Progress)];
    assert_eq!(bodies(&stream), expected);
}

#[test]
fn ids_that_linger_count_until_they_are_cancelled_or_their_stream_ends() {
    let (store, hub) = idle_hub();
    for _ in 0..5 {
        hub.publish(&[store.put("a")]);
    }
    store.compact(4);
    let streams = [hub.open_stream(None), hub.open_stream(None)];
    for stream in &streams {
        stream.create(watch("a", 2)).expect("created");
        stream.create(watch("a", 2)).expect("created");
    }
    sync(&hub);
    let lingering = || hub.inner().state.lock().compacted;
    assert_eq!(lingering(), 4);
    assert!(streams[0].cancel(0));
    assert_eq!(lingering(), 3);
    drop(streams);
    assert_eq!(lingering(), 0);
}

#[test]
fn a_watcher_exactly_at_the_compacted_revision_works() {
    let (store, hub) = idle_hub();
    for _ in 0..5 {
        hub.publish(&[store.put("k")]);
    }
    store.compact(4);
    let stream = hub.open_stream(None);
    stream.create(watch("k", 4)).expect("valid");
    sync(&hub);
    assert_eq!(revisions(&all(&stream)), [[4, 5, 6]]);
}

#[test]
fn a_compaction_while_rows_are_read_ends_the_watcher_it_overtook() {
    let (store, hub) = idle_hub();
    for _ in 0..5 {
        hub.publish(&[store.put("k")]);
    }
    let stream = hub.open_stream(None);
    stream.create(watch("k", 2)).expect("valid");
    let compacting = store.clone();
    store.during_scan(move || compacting.compact(5));
    sync(&hub);
    assert_eq!(bodies(&stream), [(0, Body::Created), (0, Body::Compacted(5))]);
}

#[test]
fn negative_starts_empty_ranges_and_used_ids_are_refused() {
    let (_, hub) = idle_hub();
    let stream = hub.open_stream(None);
    assert_eq!(stream.create(watch("k", -1)), Err(CreateError::NegativeStart));
    for (key, end) in [("b", "a"), ("b", "b"), ("", "\0\0")] {
        let range = KeyRange::new(key.as_bytes().to_vec(), end.as_bytes().to_vec());
        let empty = range.is_empty();
        let created = stream.create(WatchRequest { range, ..WatchRequest::default() });
        assert_eq!(created.is_err(), empty);
    }
    let wanted = WatchRequest { watch_id: -1, ..watch("k", 0) };
    assert_eq!(stream.create(wanted.clone()), Ok(-1));
    assert_eq!(stream.create(wanted), Err(CreateError::DuplicateId));
    stream.refuse("why".into());
    let last = all(&stream).pop().expect("a refusal is an answer");
    assert_eq!((last.watch_id, last.body), (-1, Body::Refused("why".into())));
}

#[test]
fn ids_are_chosen_upwards_past_those_in_use() {
    let (_, hub) = idle_hub();
    let stream = hub.open_stream(None);
    let with_id = |watch_id| WatchRequest { watch_id, ..watch("k", 0) };
    assert_eq!(stream.create(with_id(1)), Ok(1));
    assert_eq!(stream.create(with_id(0)), Ok(0));
    assert_eq!(stream.create(with_id(0)), Ok(2));
    assert!(stream.cancel(0));
    assert_eq!(stream.create(with_id(0)), Ok(3), "a lower id is never chosen again");
    assert_eq!(stream.create(with_id(2)), Err(CreateError::DuplicateId));
    assert!(stream.cancel(2));
    assert_eq!(stream.create(with_id(2)), Ok(2), "but may be asked for");
}

#[test]
fn an_empty_key_stands_for_the_zero_byte() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    stream.create(watch("", 0)).expect("valid");
    let everything = KeyRange::new(&b""[..], &b"\0"[..]);
    let request = WatchRequest { range: everything, ..WatchRequest::default() };
    stream.create(request).expect("valid");
    hub.publish(&[store.put("\0"), store.put("k")]);
    let found = all(&stream);
    let of = |id| found.iter().filter(|r| r.watch_id == id).cloned().collect::<Vec<_>>();
    assert_eq!(revisions(&of(0)), [[2]]);
    assert_eq!(revisions(&of(1)), [[2], [3]]);
}

#[test]
fn catching_up_comes_in_batches_of_1000_revisions() {
    let (store, hub) = idle_hub();
    let changes: Vec<Changes> = (0..2500).map(|_| store.put("k")).collect();
    hub.publish(&changes);
    let stream = hub.open_stream(None);
    stream.create(prefix("", 2)).expect("valid");
    sync(&hub);
    let sizes: Vec<usize> = revisions(&all(&stream)).iter().map(Vec::len).collect();
    assert_eq!(sizes, [1000, 1000, 500]);
}

#[test]
fn one_far_behind_does_not_hold_up_those_that_nearly_made_it() {
    let (store, hub) = idle_hub();
    let changes: Vec<Changes> = (0..40_000).map(|_| store.put("k")).collect();
    hub.publish(&changes);
    let (far, near) = (hub.open_stream(None), hub.open_stream(None));
    far.create(watch("other", 2)).expect("valid");
    near.create(watch("k", 40_000)).expect("valid");
    for _ in 0..2 {
        hub.inner().sync_round().expect("memory can be read");
    }
    assert_eq!(revisions(&all(&near)), [[40_000, 40_001]]);
    assert_eq!(hub.stats().slow_watchers, 1);
    sync(&hub);
    assert_eq!(hub.stats().slow_watchers, 0);
}

#[test]
fn events_of_one_request_come_together_and_only_those_watched() {
    let (store, hub) = idle_hub();
    hub.publish(&[store.put("b")]);
    let stream = hub.open_stream(None);
    for key in ["a", "b", "c"] {
        stream.create(WatchRequest { prev_kv: true, ..watch(key, 0) }).expect("valid");
    }
    let ends = KeyRange::new("a", "c");
    stream.create(WatchRequest { range: ends, ..WatchRequest::default() }).expect("valid");
    stream.create(WatchRequest { no_put: true, ..prefix("", 0) }).expect("valid");
    all(&stream);
    let ops = [("a", true), ("b", true), ("b", false), ("c", true)];
    let ops = ops.map(|(key, put)| (key.as_bytes().to_vec(), put));
    hub.publish(&[store.commit(&ops).expect("changes")]);
    let mut found = Vec::new();
    for response in all(&stream) {
        let Body::Events(bytes, _) = response.body else { panic!("only events") };
        let keys: Vec<_> = decode(&bytes).into_iter().map(|s| (s.key, s.prev)).collect();
        found.push((response.watch_id, keys));
    }
    found.sort();
    let key = |key: &str, prev| (key.as_bytes().to_vec(), prev);
    let expected = [
        (0, vec![key("a", None)]),
        (1, vec![key("b", Some(2)), key("b", Some(2))]),
        (2, vec![key("c", None)]),
        (3, vec![key("a", None), key("b", None), key("b", None)]),
        (4, vec![key("b", None)]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn equal_watchers_share_the_encoded_events() {
    let (store, hub) = idle_hub();
    let streams: Vec<WatchStream> = (0..3).map(|_| hub.open_stream(None)).collect();
    for stream in &streams {
        stream.create(watch("k", 0)).expect("valid");
        all(stream);
    }
    hub.publish(&[store.put("k")]);
    let mut places: Vec<*const u8> = Vec::new();
    for stream in &streams {
        let Some(Response { body: Body::Events(bytes, 1), .. }) = next(stream) else {
            panic!("one event")
        };
        places.push(bytes.as_ptr());
    }
    places.dedup();
    assert_eq!(places.len(), 1);
}

#[test]
fn after_a_cancel_nothing_of_the_watcher_follows_not_even_from_a_running_scan() {
    let (store, hub) = idle_hub();
    hub.publish(&[store.put("k")]);
    let stream = Arc::new(hub.open_stream(None));
    stream.create(watch("k", 2)).expect("valid");
    let canceling = stream.clone();
    store.during_scan(move || assert!(canceling.cancel(0)));
    sync(&hub);
    hub.publish(&[store.put("k")]);
    assert_eq!(bodies(&stream), [(0, Body::Created), (0, Body::Canceled)]);
}

#[test]
fn ticks_reach_only_quiet_synced_watchers_that_want_them() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    let quiet = |key| WatchRequest { progress_notify: true, ..watch(key, 0) };
    stream.create(quiet("a")).expect("valid");
    stream.create(quiet("b")).expect("valid");
    stream.create(watch("c", 0)).expect("valid");
    hub.publish(&[store.put("a")]);
    all(&stream);
    stream.progress_tick();
    let found = all(&stream);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].watch_id, found[0].revision), (1, 2));
    stream.progress_tick();
    assert_eq!(bodies(&stream), [(0, Body::Progress), (1, Body::Progress)]);
}

#[test]
fn unread_answers_hold_back_further_requests() {
    let (_, hub) = idle_hub();
    let stream = hub.open_stream(None);
    let waker = Arc::new(CountingWaker(AtomicUsize::new(0)));
    let task = Waker::from(waker.clone());
    let mut cx = Context::from_waker(&task);
    for _ in 0..STREAM_ANSWERS_MAX {
        assert_eq!(stream.poll_room(&mut cx), Poll::Ready(()));
        stream.create(watch("k", 0)).expect("valid");
    }
    assert_eq!(stream.poll_room(&mut cx), Poll::Pending);
    all(&stream);
    assert_eq!(waker.0.load(Ordering::Relaxed), 1);
    assert_eq!(stream.poll_room(&mut cx), Poll::Ready(()));
}

#[test]
fn a_shard_is_woken_once_for_all_its_streams() {
    let (store, hub) = idle_hub();
    let shard = Shard::new();
    let mut pump = Box::pin(shard.pump());
    let pump_waker = Arc::new(CountingWaker(AtomicUsize::new(0)));
    let pump_task = Waker::from(pump_waker.clone());
    let mut pump_cx = Context::from_waker(&pump_task);
    assert!(pump.as_mut().poll(&mut pump_cx).is_pending());
    let reader = Arc::new(CountingWaker(AtomicUsize::new(0)));
    let task = Waker::from(reader.clone());
    let streams: Vec<WatchStream> = (0..50).map(|_| hub.open_stream(Some(&shard))).collect();
    for stream in &streams {
        stream.create(watch("k", 0)).expect("valid");
        all(stream);
        assert!(stream.poll_next(&mut Context::from_waker(&task)).is_pending());
    }
    let changes = [store.put("k"), store.put("k")];
    hub.publish(&changes);
    assert_eq!(pump_waker.0.load(Ordering::Relaxed), 1);
    assert_eq!(reader.0.load(Ordering::Relaxed), 0);
    assert!(pump.as_mut().poll(&mut pump_cx).is_pending());
    assert_eq!(reader.0.load(Ordering::Relaxed), 50);
    assert!(streams.iter().all(|stream| all(stream).len() == 2));
    drop(pump);
    for stream in &streams {
        assert!(stream.poll_next(&mut Context::from_waker(&task)).is_pending());
    }
    hub.publish(&[store.put("k")]);
    assert_eq!(reader.0.load(Ordering::Relaxed), 100, "without a pump readers are woken directly");
}

#[test]
fn a_closed_hub_ends_streams_once_they_are_read() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    stream.create(watch("k", 0)).expect("valid");
    hub.publish(&[store.put("k")]);
    hub.close();
    assert_eq!(all(&stream).len(), 2);
    let end = stream.poll_next(&mut Context::from_waker(Waker::noop()));
    assert_eq!(end, Poll::Ready(None));
}

#[test]
fn a_response_larger_than_the_bound_is_taken_by_an_empty_queue_only() {
    use crate::watch::queue::{STREAM_BYTES_MAX, StreamQueue};
    use crate::watch::shard::Wakes;
    let queue = StreamQueue::new(1, None);
    let mut wakes = Wakes::default();
    let body = Body::Events(vec![0; STREAM_BYTES_MAX + 1].into(), 1);
    let big = Response { revision: 2, watch_id: 0, fragment: false, body };
    assert!(queue.offer(big.clone(), &mut wakes));
    assert!(!queue.offer(big.clone(), &mut wakes) && !queue.await_room());
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(popped)) = queue.poll_next(&mut cx) else { panic!("one is queued") };
    assert!(popped.room && queue.await_room());
    assert!(queue.offer(big, &mut wakes));
}

#[test]
fn victims_of_a_stream_all_get_their_turn_whatever_becomes_of_the_others() {
    let (store, hub) = idle_hub();
    let stream = hub.open_stream(None);
    let count = 5 * STREAM_RESPONSES_MAX as i64;
    for _ in 0..count {
        stream.create(watch("k", 0)).expect("valid");
    }
    all(&stream);
    hub.publish(&[store.put("k")]);
    // The first in line are cancelled while they wait for their turn.
    let found = all(&stream);
    let mut seen: Vec<i64> = found.iter().map(|response| response.watch_id).collect();
    let victims: Vec<i64> = (0..count).filter(|id| !seen.contains(id)).collect();
    let canceled = &victims[..STREAM_RESPONSES_MAX];
    assert!(canceled.iter().all(|&id| stream.cancel(id)));
    loop {
        sync(&hub);
        let found = all(&stream);
        if found.is_empty() {
            break;
        }
        assert!(found.len() <= STREAM_RESPONSES_MAX * 2 + 1);
        let events = found.iter().filter(|r| matches!(r.body, Body::Events(..)));
        seen.extend(events.map(|response| response.watch_id));
    }
    seen.sort_unstable();
    let expected: Vec<i64> = (0..count).filter(|id| !canceled.contains(id)).collect();
    assert_eq!(seen, expected);
    assert_eq!(hub.stats().slow_watchers, 0);
}

#[test]
fn a_burst_while_rows_are_read_is_read_from_rows_too() {
    let (store, hub) = idle_hub();
    hub.publish(&[store.put("k")]);
    let stream = hub.open_stream(None);
    stream.create(watch("k", 2)).expect("valid");
    let (writing, publishing) = (store.clone(), hub.clone());
    store.during_scan(move || {
        for _ in 0..1000 {
            publishing.publish(&[writing.put("k")]);
        }
    });
    hub.inner().sync_round().expect("memory can be read");
    assert_eq!(hub.stats().slow_watchers, 1, "too much came to be kept in memory");
    sync(&hub);
    assert_eq!(revisions(&all(&stream)).concat(), (2..1003).collect::<Vec<_>>());
}
