//! Waking many streams of one thread with one wake-up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// The streams that live on one executor thread.
///
/// Waking a task from another thread costs a system call. Streams opened with a shard are
/// therefore collected per publication and handed to the shard's [`Pump`], one wake-up for all;
/// the pump wakes them from its own thread. Until a pump runs, streams are woken directly.
#[derive(Clone, Debug, Default)]
pub struct Shard {
    state: Arc<Mutex<ShardState>>,
}

#[derive(Debug, Default)]
struct ShardState {
    /// Streams to wake.
    ready: Vec<Waker>,
    /// The waiting pump.
    pump: Option<Waker>,
    pumped: bool,
}

impl Shard {
    /// A shard without a pump.
    pub fn new() -> Shard {
        Shard::default()
    }

    /// The task to run on the streams' own thread for as long as they live there. It never ends
    /// by itself; dropping it makes the shard wake directly again. At most one at a time.
    pub fn pump(&self) -> Pump {
        self.state.lock().pumped = true;
        Pump { shard: self.clone() }
    }
}

/// See [`Shard::pump`].
#[derive(Debug)]
pub struct Pump {
    shard: Shard,
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let ready = {
            let mut state = self.shard.state.lock();
            if !state.pump.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.pump = Some(cx.waker().clone());
            }
            std::mem::take(&mut state.ready)
        };
        for waker in ready {
            waker.wake();
        }
        Poll::Pending
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        let mut state = self.shard.state.lock();
        state.pumped = false;
        state.pump = None;
        let ready = std::mem::take(&mut state.ready);
        drop(state);
        ready.into_iter().for_each(Waker::wake);
    }
}

/// Wake-ups gathered while locks are held, delivered after.
#[derive(Debug, Default)]
pub(super) struct Wakes {
    direct: Vec<Waker>,
    shards: Vec<(Shard, Vec<Waker>)>,
}

impl Wakes {
    pub(super) fn add(&mut self, shard: Option<&Shard>, waker: Waker) {
        let Some(shard) = shard else {
            self.direct.push(waker);
            return;
        };
        let same = |known: &&mut (Shard, Vec<Waker>)| Arc::ptr_eq(&known.0.state, &shard.state);
        match self.shards.iter_mut().find(same) {
            Some((_, wakers)) => wakers.push(waker),
            None => self.shards.push((shard.clone(), vec![waker])),
        }
    }

    /// Delivers all and is empty again.
    pub(super) fn deliver(&mut self) {
        for waker in self.direct.drain(..) {
            waker.wake();
        }
        for (shard, wakers) in self.shards.drain(..) {
            let pump = {
                let mut state = shard.state.lock();
                if !state.pumped {
                    drop(state);
                    wakers.into_iter().for_each(Waker::wake);
                    continue;
                }
                // Only the first to find the list empty need wake the pump.
                let asleep = state.ready.is_empty();
                state.ready.extend(wakers);
                if asleep { state.pump.clone() } else { None }
            };
            if let Some(pump) = pump {
                pump.wake();
            }
        }
    }
}
