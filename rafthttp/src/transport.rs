//! The transport: who the peers are, and the way of a message from the raft thread to them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use parking_lot::{Mutex, RwLock};
use proto::raftpb::{self, MessageType};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};

use crate::codec::{self, StreamKind, weight};
use crate::headers::Identity;
use crate::limits::{
    DIAL_BASE, INBOX_BYTES_MAX, INBOX_MESSAGES_MAX, PIPELINE_WORKERS, REMOTES_MAX,
    SNAPSHOT_SENDS_MAX,
};
use crate::link::{RequestError, Times, ask};
use crate::peer::Peer;
use crate::stats::{Counters, Stats};
use crate::{
    Body, BoxFuture, Dial, Host, IoTimeouts, SnapshotSource, StepRefused, pipeline, probe, reader,
    receive, snapshot,
};

/// This member, as its peers know it.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its id.
    pub member_id: u64,
    /// The cluster it belongs to.
    pub cluster_id: u64,
    /// Where it can be reached, as published.
    pub peer_urls: Vec<String>,
}

/// What a transport is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// This member.
    pub local: Local,
    /// raft's election timeout; a dial may take a second more.
    pub election_timeout: Duration,
    /// The version this member says it has, `major.minor.patch`.
    pub server_version: String,
    /// How long reads and writes may take.
    pub io_timeouts: IoTimeouts,
}

/// Why a received message was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undelivered {
    #[error("cannot process message from removed member")]
    RemovedSender,
    #[error("cannot process message to mismatch member")]
    Misdirected,
    #[error("a snapshot came without its database")]
    BareSnapshot,
    #[error("{0}")]
    Refused(String),
}

/// What all tasks of a transport share.
pub(crate) struct Shared {
    pub(crate) local: Local,
    pub(crate) identity: Identity,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) dial: Arc<dyn Dial>,
    pub(crate) times: Times,
    pub(crate) io_timeouts: IoTimeouts,
    pub(crate) counters: Counters,
    /// Bytes of posted messages being received.
    pub(crate) posted_bytes: AtomicUsize,
    /// Snapshots being received.
    pub(crate) snapshots_received: AtomicUsize,
    /// Snapshots being sent.
    snapshots_sent: AtomicUsize,
    runtime: Handle,
    inbox: Mutex<Inbox>,
    filled: Notify,
    table: RwLock<Table>,
    stopped: watch::Sender<bool>,
}

/// Messages on their way from the raft thread to the peer thread.
#[derive(Debug, Default)]
struct Inbox {
    messages: Vec<raftpb::Message>,
    bytes: usize,
}

/// Receivers by id.
#[derive(Debug, Default)]
struct Table {
    members: HashMap<u64, Arc<Peer>>,
    /// Senders that are no members yet, the oldest first.
    remotes: VecDeque<Arc<Peer>>,
    stopped: bool,
}

impl Table {
    fn remote(&self, id: u64) -> Option<&Arc<Peer>> {
        self.remotes.iter().find(|peer| peer.id == id)
    }
}

/// Carries messages between this member and its peers. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").field("local", &self.0.local).finish_non_exhaustive()
    }
}

impl Transport {
    /// Starts a transport without peers. All its tasks run on `runtime`, which needs I/O and
    /// timers; [`Transport::stop`] ends them.
    pub fn start(
        options: Options,
        host: Arc<dyn Host>,
        dial: Arc<dyn Dial>,
        runtime: &Handle,
    ) -> Transport {
        let identity = Identity::new(&options.local, &options.server_version);
        let dial_time = DIAL_BASE + options.election_timeout;
        let shared = Arc::new(Shared {
            local: options.local,
            identity,
            host,
            dial,
            times: Times { dial: dial_time, write: options.io_timeouts.write },
            io_timeouts: options.io_timeouts,
            counters: Counters::new(),
            posted_bytes: AtomicUsize::new(0),
            snapshots_received: AtomicUsize::new(0),
            snapshots_sent: AtomicUsize::new(0),
            runtime: runtime.clone(),
            inbox: Mutex::default(),
            filled: Notify::new(),
            table: RwLock::default(),
            stopped: watch::Sender::new(false),
        });
        runtime.spawn(dispatch(shared.clone()));
        Transport(shared)
    }

    /// Sends messages, each to the peer in `to`. Never waits, may be called from any thread and
    /// costs it one lock and at most one wake-up. What cannot be queued is dropped and its
    /// receiver reported to the host; what is for nobody known is dropped silently. Snapshots
    /// go through [`Transport::send_snapshot`]; here they are reported as failed.
    pub fn send(&self, messages: Vec<raftpb::Message>) {
        if messages.is_empty() {
            return;
        }
        let shared = &*self.0;
        let bytes = messages.iter().map(weight).sum();
        let refused = shared.inbox.lock().push(messages, bytes);
        match refused {
            None => shared.filled.notify_one(),
            Some(messages) => {
                let mut ids: Vec<u64> = messages.iter().filter_map(|m| m.to).collect();
                ids.sort_unstable();
                ids.dedup();
                ids.into_iter().for_each(|id| shared.host.report_unreachable(id));
            }
        }
    }

    /// Posts a snapshot to the peer in `to` and reports the outcome to the host, once. At most
    /// 16 are on their way; more fail at once.
    pub fn send_snapshot(&self, message: raftpb::Message, db: SnapshotSource) {
        let shared = self.0.clone();
        let id = message.to.unwrap_or_default();
        let full = shared.snapshots_sent.fetch_add(1, Ordering::Relaxed) >= SNAPSHOT_SENDS_MAX;
        match shared.peer(id).filter(|_| !full) {
            Some(peer) => {
                self.0.runtime.spawn(async move {
                    snapshot::send(shared.clone(), peer, message, db).await;
                    shared.snapshots_sent.fetch_sub(1, Ordering::Relaxed);
                });
            }
            None => {
                shared.snapshots_sent.fetch_sub(1, Ordering::Relaxed);
                shared.host.report_snapshot(id, false);
            }
        }
    }

    /// Starts to speak with a member; one that is known gets these addresses.
    pub fn add_peer(&self, id: u64, urls: &[String]) {
        let shared = &self.0;
        if id == shared.local.member_id || id == 0 {
            return;
        }
        let mut table = shared.table.write();
        if let Some(known) = table.members.get(&id) {
            known.urls.replace(urls.to_vec());
            return;
        }
        if table.stopped {
            return;
        }
        if let Some(at) = table.remotes.iter().position(|remote| remote.id == id)
            && let Some(remote) = table.remotes.remove(at)
        {
            remote.stop();
        }
        let peer = Arc::new(Peer::new(id, urls.to_vec(), shared.counters.of(id)));
        table.members.insert(id, peer.clone());
        drop(table);
        for kind in StreamKind::ALL {
            shared.spawn(&peer, reader::run(shared.clone(), peer.clone(), kind));
        }
        shared.spawn(&peer, probe::run(shared.clone(), peer.clone()));
        shared.spawn_posts(&peer);
        let urls = urls.join(",");
        let id = format!("{id:x}");
        tracing::info!("remote-peer-id" = id, "remote-peer-urls" = urls, "added remote peer");
    }

    /// Gives a member other addresses. Streams that work go on.
    pub fn update_peer(&self, id: u64, urls: &[String]) {
        if let Some(peer) = self.0.peer(id) {
            peer.urls.replace(urls.to_vec());
            let (id, urls) = (format!("{id:x}"), urls.join(","));
            tracing::info!("remote-peer-id" = id, "remote-peer-urls" = urls, "updated remote peer");
        }
    }

    /// Ends all traffic with a member.
    pub fn remove_peer(&self, id: u64) {
        let removed = self.0.table.write().members.remove(&id);
        if let Some(peer) = removed {
            peer.stop();
            let id = format!("{id:x}");
            tracing::info!("removed-remote-peer-id" = id, "removed remote peer");
        }
    }

    /// Makes a sender that is no member yet reachable by POST.
    pub fn add_remote(&self, id: u64, urls: &[String]) {
        self.0.add_remote(id, urls.to_vec());
    }

    /// Since when something works between this member and that one.
    pub fn active_since(&self, id: u64) -> Option<Instant> {
        self.0.peer(id)?.active_since()
    }

    /// Answers a request to `/raft` or below; others get 404. The extension
    /// [`std::net::SocketAddr`] of the request, if there is one, names the sender in the counters.
    /// Must run on the runtime the transport was started with.
    pub fn answer(&self, request: Request<Incoming>) -> BoxFuture<'static, Response<Body>> {
        Box::pin(receive::answer(self.0.clone(), request))
    }

    /// Asks another member once, on a connection of its own: `request` has a path only and the
    /// headers that belong to it; `timeout` covers all. May run on any tokio runtime.
    ///
    /// # Errors
    /// [`RequestError`]; any status is an answer, not an error.
    pub async fn request(
        &self,
        url_base: &str,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Bytes>, RequestError> {
        ask(&*self.0.dial, url_base, request, timeout).await
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.counters.read();
        for (id, peer) in &self.0.table.read().members {
            if let Some(numbers) = stats.peers.get_mut(id) {
                numbers.active = peer.active_since().is_some();
            }
        }
        stats
    }

    /// Ends all tasks and streams for good. Snapshots on their way are reported as failed.
    pub fn stop(&self) {
        self.0.stopped.send_replace(true);
        let mut table = self.0.table.write();
        table.stopped = true;
        let members = std::mem::take(&mut table.members);
        let remotes = std::mem::take(&mut table.remotes);
        drop(table);
        members.into_values().chain(remotes).for_each(|peer| peer.stop());
    }
}

impl Inbox {
    /// Takes a call's messages, or gives them back if they do not fit. An empty inbox takes
    /// any: raft bounds what one call can hold.
    fn push(
        &mut self,
        messages: Vec<raftpb::Message>,
        bytes: usize,
    ) -> Option<Vec<raftpb::Message>> {
        if self.messages.is_empty() {
            self.messages = messages;
        } else {
            let full = self.messages.len() + messages.len() > INBOX_MESSAGES_MAX
                || self.bytes + bytes > INBOX_BYTES_MAX;
            if full {
                return Some(messages);
            }
            self.messages.extend(messages);
        }
        self.bytes += bytes;
        None
    }
}

/// Moves messages from the inbox to the queues of their receivers.
async fn dispatch(shared: Arc<Shared>) {
    let mut stopped = shared.stopped.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => return,
            () = shared.filled.notified() => {}
        }
        let messages = std::mem::take(&mut *shared.inbox.lock()).messages;
        shared.route(messages);
    }
}

impl Shared {
    /// The member with this id.
    pub(crate) fn peer(&self, id: u64) -> Option<Arc<Peer>> {
        self.table.read().members.get(&id).cloned()
    }

    /// Makes a sender reachable by POST, unless it is a member, this one, or removed. One that
    /// is known keeps its addresses.
    pub(crate) fn add_remote(self: &Arc<Self>, id: u64, urls: Vec<String>) {
        let known = |table: &Table| table.members.contains_key(&id) || table.remote(id).is_some();
        let ours = id == self.local.member_id || id == 0;
        // No lock is held while the host is asked.
        let new = !ours && !known(&self.table.read());
        if !new || self.host.is_removed(id) {
            return;
        }
        let mut table = self.table.write();
        if known(&table) || table.stopped {
            return;
        }
        let peer = Arc::new(Peer::new(id, urls, self.counters.of(id)));
        table.remotes.push_back(peer.clone());
        let oldest =
            if table.remotes.len() > REMOTES_MAX { table.remotes.pop_front() } else { None };
        drop(table);
        if let Some(oldest) = oldest {
            oldest.stop();
        }
        self.spawn_posts(&peer);
    }

    fn spawn_posts(self: &Arc<Self>, peer: &Arc<Peer>) {
        for _ in 0..PIPELINE_WORKERS {
            self.spawn(peer, pipeline::run(self.clone(), peer.clone()));
        }
    }

    /// Runs a task until its peer is stopped.
    fn spawn(&self, peer: &Arc<Peer>, task: impl Future<Output = ()> + Send + 'static) {
        let peer = peer.clone();
        self.runtime.spawn(async move {
            peer.until_stopped(task).await;
        });
    }

    /// Gives each message to the queue of its receiver.
    fn route(&self, messages: Vec<raftpb::Message>) {
        // An acknowledgement tells all that earlier ones told: only the last to each receiver
        // is sent.
        let mut last_acks: Vec<(u64, usize)> = Vec::new();
        for (at, message) in messages.iter().enumerate() {
            if codec::is(message, MessageType::MsgAppResp) {
                let to = message.to.unwrap_or_default();
                match last_acks.iter_mut().find(|(id, _)| *id == to) {
                    Some((_, last)) => *last = at,
                    None => last_acks.push((to, at)),
                }
            }
        }
        let mut unreachable: Vec<u64> = Vec::new();
        let mut bare_snapshots: Vec<u64> = Vec::new();
        let table = self.table.read();
        for (at, message) in messages.into_iter().enumerate() {
            let to = message.to.unwrap_or_default();
            let stale =
                codec::is(&message, MessageType::MsgAppResp) && !last_acks.contains(&(to, at));
            if stale || !codec::travels(&message) {
                continue;
            }
            if codec::is(&message, MessageType::MsgSnap) {
                bare_snapshots.push(to);
                continue;
            }
            let Some(peer) = table.members.get(&to).or_else(|| table.remote(to)) else { continue };
            if peer.send(message).is_err() && !unreachable.contains(&to) {
                unreachable.push(to);
            }
        }
        // The host is told when no lock is held: it may call back.
        drop(table);
        for id in bare_snapshots {
            self.host.report_snapshot(id, false);
        }
        for id in unreachable {
            tracing::debug!("remote-peer-id" = format!("{id:x}"), "dropped messages: queue full");
            self.host.report_unreachable(id);
        }
    }

    /// Whether a message comes from a member and is for this one.
    pub(crate) fn check_addresses(&self, message: &raftpb::Message) -> Result<(), Undelivered> {
        if self.host.is_removed(message.from.unwrap_or_default()) {
            return Err(Undelivered::RemovedSender);
        }
        if message.to.unwrap_or_default() != self.local.member_id {
            return Err(Undelivered::Misdirected);
        }
        Ok(())
    }

    /// Checks a received message and gives it to the host. What only a full host refuses, and
    /// what never travels between members, is dropped without an error.
    pub(crate) fn deliver(
        &self,
        message: raftpb::Message,
        sender: Option<&Peer>,
    ) -> Result<(), Undelivered> {
        self.check_addresses(&message)?;
        if !codec::travels(&message) {
            return Ok(());
        }
        if codec::is(&message, MessageType::MsgSnap) {
            return Err(Undelivered::BareSnapshot);
        }
        match self.host.step(message) {
            Ok(()) => Ok(()),
            Err(StepRefused::Full) => {
                if let Some(sender) = sender {
                    sender.counters.received_failures.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Err(StepRefused::Invalid(why)) => Err(Undelivered::Refused(why)),
        }
    }
}
