//! The hub with its thread, under real concurrency.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use base::KeyRange;

use super::store::{MemoryStore, decode};
use crate::watch::{Body, Shard, WatchHub, WatchRequest, WatchStream};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Reads events until revision `last` is seen; returns all revisions.
fn read_until(stream: &WatchStream, last: i64) -> Vec<i64> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut found = Vec::new();
    while found.last() != Some(&last) {
        match stream.poll_next(&mut cx) {
            Poll::Ready(Some(response)) => {
                if let Body::Events(bytes, _) = response.body {
                    found.extend(decode(&bytes).iter().map(|seen| seen.revision));
                }
            }
            Poll::Ready(None) => panic!("the hub was closed"),
            Poll::Pending => thread::park(),
        }
    }
    found
}

#[test]
fn watchers_that_come_while_writes_go_on_get_a_gapless_history() {
    const WRITES: i64 = 4_000;
    let store = MemoryStore::new();
    let hub = WatchHub::start(Arc::new(store.clone()), store.revision()).expect("a thread");
    thread::scope(|scope| {
        for reader in 0..4 {
            let hub = hub.clone();
            scope.spawn(move || {
                for round in 0..6 {
                    let shard = Shard::new();
                    let stream = hub.open_stream(if reader == 0 { Some(&shard) } else { None });
                    let request = WatchRequest {
                        range: KeyRange::prefix("k"),
                        start_revision: 2 + round * 100,
                        ..WatchRequest::default()
                    };
                    stream.create(request).expect("valid");
                    let found = read_until(&stream, WRITES + 1);
                    assert_eq!(found, (2 + round * 100..WRITES + 2).collect::<Vec<_>>());
                }
            });
        }
        for _ in 0..WRITES {
            hub.publish(&[store.put("k")]);
        }
    });
    assert_eq!(hub.stats().streams, 0);
}

#[test]
fn dropping_the_last_handle_ends_the_sync_thread() {
    let store = MemoryStore::new();
    let history: Arc<MemoryStore> = Arc::new(store);
    let weak = Arc::downgrade(&history);
    let hub = WatchHub::start(history, 1).expect("a thread");
    drop(hub);
    while weak.strong_count() > 0 {
        thread::yield_now();
    }
}
