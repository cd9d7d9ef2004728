//! Ends streams: one that wants a leader when there has been none for a while, and those that
//! would wait for their clients when the member ends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::watch;
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

/// Tells streams that the member ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closing(watch::Sender<bool>);

/// Ready when the member ends.
pub(super) type Waiting = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Closing {
    /// Ends all streams that wait for their clients, now and from now on.
    pub(crate) fn close(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) fn wait(&self) -> Waiting {
        let mut closed = self.0.subscribe();
        // Without a sender nobody serves any more.
        Box::pin(async move { drop(closed.wait_for(|closed| *closed).await) })
    }
}
