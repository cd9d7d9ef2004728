//! Who waits for the answer to which request.
//!
//! Answers come in batches from the thread that applies, and waking a task of another runtime
//! costs a system call. So the answers for one `rpc` thread are handed over together: one lock,
//! one wake-up, and the thread completes its own tasks.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::hash::{BuildHasherDefault, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

thread_local! {
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The number of the `rpc` thread this is, if it is one.
pub(crate) fn current_shard() -> Option<usize> {
    SHARD.get()
}

/// Says that this thread is the `rpc` thread of this number.
pub(crate) fn enter_shard(number: usize) {
    SHARD.set(Some(number));
}

/// Request ids differ in their low bits, and a multiplication spreads these over the table.
#[derive(Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

type ById<T> = HashMap<u64, Waiting<T>, BuildHasherDefault<IdHasher>>;

#[derive(Debug)]
struct Waiting<T> {
    sender: oneshot::Sender<Outcome<T>>,
    shard: Option<usize>,
    /// The sweep during which it came, see [`Replies::sweep`]; none if it may wait for ever.
    since: Option<u64>,
}

/// How a wait ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome<T> {
    /// With the answer.
    Answer(T),
    /// Nobody answered in time; the request may still be applied later.
    TimedOut,
}

/// Answers on their way to one `rpc` thread.
#[derive(Debug)]
struct Outlet<T> {
    queue: Mutex<Vec<(oneshot::Sender<Outcome<T>>, T)>>,
    wake: Notify,
}

#[derive(Debug)]
struct Table<T> {
    waiting: ById<T>,
    sweep: u64,
    closed: bool,
}

/// The requests under way and those who wait for them.
///
/// Bounded by the callers: everybody who waits holds a stream of a connection.
#[derive(Debug)]
pub(crate) struct Replies<T> {
    table: Mutex<Table<T>>,
    outlets: Vec<Outlet<T>>,
}

impl<T> Replies<T> {
    /// Nobody waits yet; there are `shards` threads to hand answers to.
    pub(crate) fn new(shards: usize) -> Arc<Replies<T>> {
        let outlet = || Outlet { queue: Mutex::new(Vec::new()), wake: Notify::new() };
        let table = Table { waiting: ById::default(), sweep: 0, closed: false };
        let outlets = (0..shards).map(|_| outlet()).collect();
        Arc::new(Replies { table: Mutex::new(table), outlets })
    }

    /// Registers a wait. It must happen before the request can be applied.
    pub(crate) fn wait(self: &Arc<Self>, id: u64) -> Wait<T> {
        self.register(id, true)
    }

    /// Registers a wait that no [sweep](Replies::sweep) ends.
    pub(crate) fn wait_long(self: &Arc<Self>, id: u64) -> Wait<T> {
        self.register(id, false)
    }

    fn register(self: &Arc<Self>, id: u64, timed: bool) -> Wait<T> {
        let (sender, receiver) = oneshot::channel();
        let mut table = self.table.lock();
        if !table.closed {
            let since = timed.then_some(table.sweep);
            table.waiting.insert(id, Waiting { sender, shard: current_shard(), since });
        }
        drop(table);
        Wait { id, receiver, replies: self.clone(), ended: false }
    }

    /// Whether somebody waits for this request.
    pub(crate) fn is_awaited(&self, id: u64) -> bool {
        self.table.lock().waiting.contains_key(&id)
    }

    /// Hands out answers; those nobody waits for are dropped. Leaves `answers` empty.
    pub(crate) fn deliver(&self, answers: &mut Vec<(u64, T)>) {
        let mut found = Vec::with_capacity(answers.len());
        {
            let mut table = self.table.lock();
            for (id, answer) in answers.drain(..) {
                if let Some(waiting) = table.waiting.remove(&id) {
                    found.push((waiting, answer));
                }
            }
        }
        if found.len() == 1 {
            // One answer reaches its task sooner without the detour.
            for (waiting, answer) in found {
                // Whoever waited may have gone.
                waiting.sender.send(Outcome::Answer(answer)).ok();
            }
            return;
        }
        found.sort_by_key(|(waiting, _)| waiting.shard);
        let mut found = found.into_iter().peekable();
        while let Some((waiting, answer)) = found.next() {
            let Some(outlet) = waiting.shard.and_then(|n| self.outlets.get(n)) else {
                waiting.sender.send(Outcome::Answer(answer)).ok();
                continue;
            };
            let mut queue = outlet.queue.lock();
            queue.push((waiting.sender, answer));
            while let Some((next, answer)) = found.next_if(|(w, _)| w.shard == waiting.shard) {
                queue.push((next.sender, answer));
            }
            drop(queue);
            outlet.wake.notify_one();
        }
    }

    /// Completes the tasks of one `rpc` thread; runs on that thread, forever.
    pub(crate) async fn run_outlet(self: Arc<Self>, shard: usize) {
        let Some(outlet) = self.outlets.get(shard) else { return };
        let mut batch = Vec::new();
        loop {
            outlet.wake.notified().await;
            std::mem::swap(&mut batch, &mut *outlet.queue.lock());
            for (sender, answer) in batch.drain(..) {
                // Whoever waited may have gone.
                sender.send(Outcome::Answer(answer)).ok();
            }
        }
    }

    /// To be called at a steady pace: ends the waits that have seen `sweeps_max` calls. So no
    /// wait needs a timer of its own.
    pub(crate) fn sweep(&self, sweeps_max: u64) -> usize {
        let mut late = Vec::new();
        {
            let mut table = self.table.lock();
            table.sweep += 1;
            let now = table.sweep;
            let ids: Vec<u64> = table
                .waiting
                .iter()
                .filter(|(_, w)| w.since.is_some_and(|since| now - since > sweeps_max))
                .map(|(id, _)| *id)
                .collect();
            late.extend(ids.iter().filter_map(|id| table.waiting.remove(id)));
        }
        let count = late.len();
        for waiting in late {
            waiting.sender.send(Outcome::TimedOut).ok();
        }
        count
    }

    /// Ends all waits, and those to come, without an answer.
    pub(crate) fn close(&self) {
        let mut table = self.table.lock();
        table.closed = true;
        let waiting = std::mem::take(&mut table.waiting);
        drop(table);
        drop(waiting);
    }
}

/// A registered wait; dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Wait<T> {
    id: u64,
    receiver: oneshot::Receiver<Outcome<T>>,
    replies: Arc<Replies<T>>,
    ended: bool,
}

/// The server stopped before there was an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Closed;

impl<T> Future for Wait<T> {
    type Output = Result<Outcome<T>, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.receiver).poll(cx);
        if polled.is_ready() {
            self.ended = true;
        }
        polled.map(|outcome| outcome.map_err(|_| Closed))
    }
}

impl<T> Drop for Wait<T> {
    fn drop(&mut self) {
        if !self.ended {
            self.replies.table.lock().waiting.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered<T>(answer: T) -> Result<Outcome<T>, Closed> {
        Ok(Outcome::Answer(answer))
    }

    #[tokio::test]
    async fn answers_reach_those_who_wait_and_nobody_else() {
        let replies = Replies::new(0);
        let (one, two) = (replies.wait(1), replies.wait(2));
        assert!(replies.is_awaited(1) && !replies.is_awaited(3));
        let mut answers = vec![(3, "c"), (2, "b"), (1, "a")];
        replies.deliver(&mut answers);
        assert!(answers.is_empty() && !replies.is_awaited(1));
        assert_eq!((one.await, two.await), (answered("a"), answered("b")));
    }

    #[tokio::test]
    async fn a_dropped_wait_is_forgotten() {
        let replies: Arc<Replies<()>> = Replies::new(0);
        drop(replies.wait(7));
        assert!(!replies.is_awaited(7));
    }

    #[tokio::test]
    async fn a_wait_ends_after_so_many_sweeps() {
        let replies: Arc<Replies<()>> = Replies::new(0);
        replies.sweep(2);
        let late = replies.wait(1);
        assert_eq!((replies.sweep(2), replies.sweep(2)), (0, 0));
        let young = replies.wait(2);
        assert_eq!(replies.sweep(2), 1);
        assert_eq!(late.await, Ok(Outcome::TimedOut));
        assert!(replies.is_awaited(2));
        drop(young);
    }

    #[tokio::test]
    async fn a_close_ends_present_and_future_waits() {
        let replies: Arc<Replies<()>> = Replies::new(0);
        let before = replies.wait(1);
        replies.close();
        assert_eq!((before.await, replies.wait(2).await), (Err(Closed), Err(Closed)));
    }

    #[test]
    fn a_batch_is_completed_by_the_threads_that_wait() {
        let replies = Replies::new(2);
        let (ready, go) = std::sync::mpsc::channel();
        let threads: Vec<_> = (0..2)
            .map(|shard| {
                let (replies, ready) = (replies.clone(), ready.clone());
                std::thread::spawn(move || {
                    enter_shard(shard);
                    let runtime =
                        tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    runtime.block_on(async {
                        let outlet = tokio::spawn(replies.clone().run_outlet(shard));
                        let ids = [shard as u64 * 10, shard as u64 * 10 + 1];
                        let waits = ids.map(|id| replies.wait(id));
                        ready.send(()).expect("a listener");
                        for (wait, id) in waits.into_iter().zip(ids) {
                            assert_eq!(wait.await, answered(id));
                        }
                        outlet.abort();
                    });
                })
            })
            .collect();
        go.recv().expect("a thread");
        go.recv().expect("a thread");
        replies.deliver(&mut vec![(11, 11), (0, 0), (10, 10), (1, 1)]);
        for thread in threads {
            thread.join().expect("no panic");
        }
    }
}
