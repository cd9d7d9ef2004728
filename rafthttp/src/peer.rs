//! Another member, or a sender that is not one yet: its channels, addresses and state.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use parking_lot::Mutex;
use proto::raftpb::{self, MessageType};
use tokio::sync::watch;

use crate::codec::{self, StreamKind};
use crate::limits::{
    PIPELINE_BYTES_MAX, PIPELINE_MESSAGES_MAX, STREAM_BYTES_MAX, STREAM_MESSAGES_MAX, WARN_INTERVAL,
};
use crate::queue::{Queue, Refused};
use crate::stats::PeerCounters;

/// A receiver of messages.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) id: u64,
    pub(crate) urls: Urls,
    pub(crate) counters: Arc<PeerCounters>,
    /// Messages to be posted.
    pub(crate) pipeline: Queue,
    /// The queue of the attached stream of each kind.
    streams: Mutex<[Option<Arc<Queue>>; 2]>,
    active_since: Mutex<Option<Instant>>,
    /// When a failure was last told to the operator.
    warned: Mutex<Option<Instant>>,
    stopped: watch::Sender<bool>,
}

impl Peer {
    pub(crate) fn new(id: u64, urls: Vec<String>, counters: Arc<PeerCounters>) -> Peer {
        Peer {
            id,
            urls: Urls::new(urls),
            counters,
            pipeline: Queue::new(PIPELINE_MESSAGES_MAX, PIPELINE_BYTES_MAX),
            streams: Mutex::default(),
            active_since: Mutex::default(),
            warned: Mutex::default(),
            stopped: watch::Sender::new(false),
        }
    }

    /// Queues a message on the best channel there is: appends on the msgapp stream, else on
    /// the message stream like all others, else as a post.
    pub(crate) fn send(&self, message: raftpb::Message) -> Result<(), Refused> {
        let channel = {
            let streams = self.streams.lock();
            let [any, appends] = &*streams;
            let append = codec::is(&message, MessageType::MsgApp);
            appends.as_ref().filter(|_| append).or(any.as_ref()).cloned()
        };
        let sent = channel.as_deref().unwrap_or(&self.pipeline).push(message);
        if sent.is_err() {
            self.counters.sent_failures.fetch_add(1, Relaxed);
        }
        sent
    }

    /// Makes a new queue the one of this kind of stream; whether the one before had messages,
    /// which are lost.
    pub(crate) fn attach(&self, kind: StreamKind) -> (Arc<Queue>, bool) {
        let queue = Arc::new(Queue::new(STREAM_MESSAGES_MAX, STREAM_BYTES_MAX));
        let before = self.streams.lock()[kind as usize].replace(queue.clone());
        // A peer that was stopped meanwhile takes nothing.
        if *self.stopped.borrow() {
            self.stop();
        }
        (queue, before.is_some_and(|queue| queue.close()))
    }

    /// Takes the queue of a stream that ended off the peer; whether it was still attached.
    pub(crate) fn detach(&self, kind: StreamKind, queue: &Arc<Queue>) -> bool {
        let mut streams = self.streams.lock();
        let attached = &mut streams[kind as usize];
        let ours = attached.as_ref().is_some_and(|a| Arc::ptr_eq(a, queue));
        if ours {
            *attached = None;
        }
        ours
    }

    pub(crate) fn active_since(&self) -> Option<Instant> {
        *self.active_since.lock()
    }

    /// Something works.
    pub(crate) fn activate(&self) {
        let mut since = self.active_since.lock();
        if since.is_none() {
            *since = Some(Instant::now());
            drop(since);
            let peer = format!("{:x}", self.id);
            tracing::info!("peer-id" = peer, "peer became active");
        }
    }

    /// Something failed. A peer that stays away is told of every 30 s.
    pub(crate) fn deactivate(&self, what: &str, why: &dyn std::fmt::Display) {
        let was_active = self.active_since.lock().take().is_some();
        if was_active {
            self.counters.disconnected.fetch_add(1, Relaxed);
        }
        let mut warned = self.warned.lock();
        let due = was_active || warned.is_none_or(|at| at.elapsed() >= WARN_INTERVAL);
        if due {
            *warned = Some(Instant::now());
        }
        drop(warned);
        let peer = format!("{:x}", self.id);
        match (was_active, due) {
            (true, _) => {
                let why = format!("{what} ({why})");
                let message = "peer became inactive (message send to peer failed)";
                tracing::warn!("peer-id" = peer, error = why, "{message}");
            }
            (false, true) => tracing::warn!("peer-id" = peer, error = %why, "{what}"),
            (false, false) => tracing::debug!("peer-id" = peer, error = %why, "{what}"),
        }
    }

    /// Ends all that runs for this peer; what is queued is gone.
    pub(crate) fn stop(&self) {
        self.stopped.send_replace(true);
        self.pipeline.close();
        let streams = std::mem::take(&mut *self.streams.lock());
        for queue in streams.into_iter().flatten() {
            queue.close();
        }
        if self.active_since.lock().take().is_some() {
            self.counters.disconnected.fetch_add(1, Relaxed);
        }
    }

    /// Runs `work` until the peer is stopped; `None` if it was.
    pub(crate) async fn until_stopped<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => None,
            done = work => Some(done),
        }
    }
}

/// The addresses of a peer, one of which is used until it fails.
#[derive(Debug)]
pub(crate) struct Urls(Mutex<Rotation>);

#[derive(Debug)]
struct Rotation {
    urls: Vec<String>,
    at: usize,
}

impl Urls {
    fn new(urls: Vec<String>) -> Urls {
        Urls(Mutex::new(Rotation { urls, at: 0 }))
    }

    /// The address to use; empty if the peer has none.
    pub(crate) fn pick(&self) -> String {
        let rotation = self.0.lock();
        rotation.urls.get(rotation.at).cloned().unwrap_or_default()
    }

    /// Goes on to the next address if `url` is still the one in use.
    pub(crate) fn failed(&self, url: &str) {
        let mut rotation = self.0.lock();
        if rotation.urls.get(rotation.at).is_some_and(|used| used == url) {
            rotation.at = (rotation.at + 1) % rotation.urls.len();
        }
    }

    pub(crate) fn replace(&self, urls: Vec<String>) {
        *self.0.lock() = Rotation { urls, at: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Counters;

    fn peer() -> Peer {
        Peer::new(2, vec!["http://a:1".to_owned()], Counters::new().of(2))
    }

    fn message(kind: MessageType) -> raftpb::Message {
        raftpb::Message { r#type: Some(kind as i32), ..Default::default() }
    }

    #[test]
    fn addresses_rotate_on_failures_of_the_one_in_use() {
        let urls = Urls::new(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(urls.pick(), "a");
        urls.failed("b");
        assert_eq!(urls.pick(), "a");
        urls.failed("a");
        urls.failed("a");
        assert_eq!(urls.pick(), "b");
        urls.failed("b");
        assert_eq!(urls.pick(), "a");
        urls.replace(vec!["c".to_owned()]);
        assert_eq!(urls.pick(), "c");
        urls.replace(vec![]);
        urls.failed("");
        assert_eq!(urls.pick(), "");
    }

    #[test]
    fn each_message_takes_the_best_channel() {
        let peer = peer();
        let send = |kind| peer.send(message(kind)).expect("room");
        send(MessageType::MsgApp);
        send(MessageType::MsgVote);
        assert!(peer.pipeline.pop().is_some() && peer.pipeline.pop().is_some());
        let (any, _) = peer.attach(StreamKind::Message);
        send(MessageType::MsgApp);
        send(MessageType::MsgVote);
        assert!(any.pop().is_some() && any.pop().is_some());
        let (appends, _) = peer.attach(StreamKind::MsgApp);
        send(MessageType::MsgApp);
        send(MessageType::MsgVote);
        assert!(appends.pop().is_some_and(|m| codec::is(&m, MessageType::MsgApp)));
        assert!(any.pop().is_some_and(|m| codec::is(&m, MessageType::MsgVote)));
        assert!(peer.detach(StreamKind::Message, &any));
        send(MessageType::MsgVote);
        assert!(peer.pipeline.pop().is_some());
    }

    #[test]
    fn a_new_stream_replaces_the_old_one() {
        let peer = peer();
        let (old, lost) = peer.attach(StreamKind::Message);
        assert!(!lost);
        peer.send(message(MessageType::MsgVote)).expect("room");
        let (new, lost) = peer.attach(StreamKind::Message);
        assert!(lost, "the message on the old one");
        assert_eq!(old.push(message(MessageType::MsgVote)), Err(Refused));
        assert!(!peer.detach(StreamKind::Message, &old));
        peer.send(message(MessageType::MsgVote)).expect("room");
        assert!(new.pop().is_some());
    }

    #[test]
    fn a_stopped_peer_takes_nothing() {
        let peer = peer();
        peer.activate();
        peer.stop();
        let (late, _) = peer.attach(StreamKind::Message);
        assert_eq!(late.push(message(MessageType::MsgVote)), Err(Refused));
        assert_eq!(peer.send(message(MessageType::MsgVote)), Err(Refused));
        assert_eq!(peer.active_since(), None);
    }
}
