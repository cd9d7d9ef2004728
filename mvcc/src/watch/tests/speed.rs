//! What delivery costs; run with `--nocapture` for the figures.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Instant;

use base::KeyRange;

use super::store::MemoryStore;
use crate::change::Changes;
use crate::watch::{Shard, WatchHub, WatchRequest, WatchStream};

/// Prints the hub's share of an event for 1000 streams that watch one key; the bound is far
/// above it, for loaded machines.
#[test]
fn an_event_for_one_of_1000_streams_costs_well_below_a_microsecond_or_two() {
    const STREAMS: usize = 1000;
    const EVENTS: usize = 100;
    let store = MemoryStore::new();
    let hub = WatchHub::idle(Arc::new(store.clone()), store.revision());
    let shard = Shard::new();
    let mut pump = Box::pin(shard.pump());
    let mut cx = Context::from_waker(Waker::noop());
    let streams: Vec<WatchStream> = (0..STREAMS).map(|_| hub.open_stream(Some(&shard))).collect();
    for stream in &streams {
        let range = KeyRange::single("k");
        let request = WatchRequest { range, ..WatchRequest::default() };
        stream.create(request).expect("valid");
        while stream.poll_next(&mut cx).is_ready() {}
    }
    let changes: Vec<Changes> = (0..EVENTS).map(|_| store.put("k")).collect();
    // The shortest: a machine that is busy only makes it longer.
    let (mut publishing, mut reading) = (u128::MAX, 0);
    for change in changes {
        let begin = Instant::now();
        hub.publish(&[change]);
        let published = Instant::now();
        assert!(pump.as_mut().poll(&mut cx).is_pending());
        for stream in &streams {
            while stream.poll_next(&mut cx).is_ready() {}
        }
        publishing = publishing.min((published - begin).as_nanos());
        reading += published.elapsed().as_nanos();
    }
    let reading = reading / (STREAMS * EVENTS) as u128;
    let publishing = publishing / STREAMS as u128;
    eprintln!("per event: {publishing} ns publishing, {reading} ns reading");
    assert!(publishing < 5_000);
}
