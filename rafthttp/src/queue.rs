//! A bounded queue of messages for one channel to a peer.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use proto::raftpb;

use crate::codec::weight;

/// Messages in order, bounded in number and bytes. Any number of tasks may take from it.
#[derive(Debug)]
pub(crate) struct Queue {
    messages_max: usize,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<raftpb::Message>,
    bytes: usize,
    closed: bool,
    /// The last to wait is the first to be woken: its connection is the warmest.
    waiting: Vec<Waker>,
}

/// The queue takes no more; the message is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused;

impl Queue {
    pub(crate) fn new(messages_max: usize, bytes_max: usize) -> Queue {
        Queue { messages_max, bytes_max, state: Mutex::default() }
    }

    /// Appends a message; an empty queue takes one of any size.
    pub(crate) fn push(&self, message: raftpb::Message) -> Result<(), Refused> {
        let bytes = weight(&message);
        let mut state = self.state.lock();
        let fits = state.messages.is_empty()
            || (state.messages.len() < self.messages_max && state.bytes + bytes <= self.bytes_max);
        if state.closed || !fits {
            return Err(Refused);
        }
        state.bytes += bytes;
        state.messages.push_back(message);
        let waker = state.waiting.pop();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Takes the oldest message.
    #[cfg(test)]
    pub(crate) fn pop(&self) -> Option<raftpb::Message> {
        self.state.lock().pop()
    }

    /// Takes the oldest message or waits for one; `None` once the queue is closed.
    pub(crate) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Option<raftpb::Message>> {
        let mut state = self.state.lock();
        if state.closed {
            return Poll::Ready(None);
        }
        match state.pop() {
            Some(message) => {
                // A taker that has something to do must not be woken in the place of one that
                // waits.
                state.waiting.retain(|w| !w.will_wake(cx.waker()));
                Poll::Ready(Some(message))
            }
            None => {
                if !state.waiting.iter().any(|w| w.will_wake(cx.waker())) {
                    state.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Gives up what waits and wakes the takers; whether anything waited.
    pub(crate) fn close(&self) -> bool {
        let mut state = self.state.lock();
        state.closed = true;
        state.bytes = 0;
        let messages = std::mem::take(&mut state.messages);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
        !messages.is_empty()
    }
}

impl State {
    fn pop(&mut self) -> Option<raftpb::Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= weight(&message);
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    fn message(index: u64, bytes: usize) -> raftpb::Message {
        let context = Some(Bytes::from(vec![0; bytes]));
        raftpb::Message { index: Some(index), context, ..Default::default() }
    }

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn bounds_hold_in_messages_and_in_bytes() {
        let queue = Queue::new(2, usize::MAX);
        assert_eq!(queue.push(message(1, 0)), Ok(()));
        assert_eq!(queue.push(message(2, 0)), Ok(()));
        assert_eq!(queue.push(message(3, 0)), Err(Refused));
        assert_eq!(queue.pop().and_then(|m| m.index), Some(1));
        assert_eq!(queue.push(message(4, 0)), Ok(()));

        let queue = Queue::new(9, 1000);
        assert_eq!(queue.push(message(1, 5000)), Ok(()), "an empty queue takes any message");
        assert_eq!(queue.push(message(2, 0)), Err(Refused));
        assert!(queue.pop().is_some());
        assert_eq!(queue.push(message(3, 100)), Ok(()), "taken bytes are free again");
    }

    #[test]
    fn a_push_wakes_one_taker_and_a_close_all() {
        let queue = Queue::new(9, usize::MAX);
        let takers = [Arc::new(Woken::default()), Arc::new(Woken::default())];
        let counts = || takers.each_ref().map(|t| t.0.load(Ordering::Relaxed));
        let poll = |n: usize| {
            let waker = Waker::from(takers[n].clone());
            queue.poll_pop(&mut Context::from_waker(&waker))
        };
        assert!(poll(0).is_pending());
        assert!(poll(0).is_pending(), "asking twice registers once");
        assert!(poll(1).is_pending());
        assert_eq!(queue.push(message(1, 0)), Ok(()));
        assert_eq!(counts(), [0, 1], "the last to wait");
        assert!(poll(0).is_ready(), "one that comes by itself is no longer waiting");
        assert!(poll(1).is_pending());
        assert_eq!(queue.push(message(2, 0)), Ok(()));
        assert_eq!(counts(), [0, 2]);
        assert!(poll(1).is_ready());
        assert!(poll(0).is_pending() && poll(1).is_pending());
        assert!(!queue.close());
        assert_eq!(counts(), [1, 3]);
        assert_eq!(poll(1), Poll::Ready(None));
        assert_eq!(queue.push(message(2, 0)), Err(Refused));
    }

    #[test]
    fn a_close_says_whether_messages_were_lost() {
        let queue = Queue::new(9, usize::MAX);
        assert_eq!(queue.push(message(1, 0)), Ok(()));
        assert!(queue.close());
        assert!(queue.pop().is_none());
    }
}
