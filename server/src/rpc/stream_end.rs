//! Ends a stream that wants a leader when there has been none for a while.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::node::Board;

/// Election timeouts in a row without a leader after which a stream ends.
const TIMEOUTS_WITHOUT_LEADER_MAX: u32 = 3;

/// Looks for a leader once per election timeout.
pub(super) struct LeaderLoss<N> {
    node: Arc<N>,
    looks: Pin<Box<Interval>>,
    missing: u32,
}

impl<N: Board> LeaderLoss<N> {
    pub(super) fn new(node: Arc<N>, election_timeout: Duration) -> Self {
        let first = tokio::time::Instant::now() + election_timeout;
        let mut looks = Box::pin(tokio::time::interval_at(first, election_timeout));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { node, looks, missing: 0 }
    }

    /// Ready when the stream must end.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.looks.poll_tick(cx).is_ready() {
            self.missing = if self.node.leader() == 0 { self.missing + 1 } else { 0 };
            if self.missing >= TIMEOUTS_WITHOUT_LEADER_MAX {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}
