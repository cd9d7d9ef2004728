//! The read barrier with the server's deadline.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use raftnode::{Handle, ReadError};

use crate::metrics::Metrics;

/// Why a linearizable read cannot be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarrierError {
    /// The leader changed while the read waited.
    #[error("etcdserver: leader changed")]
    LeaderChanged,
    /// Nobody confirmed the read in time.
    #[error("etcdserver: request timed out")]
    Timeout,
    /// More readers wait than the member admits.
    #[error("etcdserver: too many requests")]
    TooMany,
    /// The server is stopping.
    #[error("etcdserver: server stopped")]
    Stopped,
}

/// Waits until the applied state contains every write acknowledged before the call.
///
/// At once for a member that is alone; cancel safe.
///
/// # Errors
/// Each variant of [`BarrierError`].
pub(crate) async fn barrier(
    raft: &Handle,
    timeout: Duration,
    metrics: &Metrics,
) -> Result<(), BarrierError> {
    let mut barrier = pin!(raft.read_barrier());
    let first = std::future::poll_fn(|cx| Poll::Ready(barrier.as_mut().poll(cx))).await;
    let outcome = match first {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => match tokio::time::timeout(timeout, barrier).await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::warn!(
                    timeout = crate::logging::go_duration(timeout),
                    "timed out waiting for read index response (local node might have slow \
                     network)"
                );
                metrics.slow_read_indexes.inc();
                return Err(BarrierError::Timeout);
            }
        },
    };
    outcome.map_err(|error| {
        metrics.read_index_failures.inc();
        match error {
            ReadError::LeaderChanged => BarrierError::LeaderChanged,
            ReadError::TooMany => BarrierError::TooMany,
            ReadError::Stopped => BarrierError::Stopped,
        }
    })
}
