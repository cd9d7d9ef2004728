//! The other members: raft's messages to and from them, and requests that only one of them can
//! answer.
//!
//! ```text
//!   raft thread ─▶ Outbox ─┬─ messages ──▶ rafthttp ─▶ peers
//!                          └─ snapshots ─▶ a thread each: image of the backend ─▶ rafthttp
//!   peers ─▶ rafthttp ─▶ MemberHost ─┬─ messages ──▶ raft thread
//!                                    └─ images ───▶ a backend of its own, staged, then its message
//! ```

mod calls;
mod dial;
mod host;
mod images;
mod listener;
mod service;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use base::Member;
use parking_lot::Mutex;
use proto::raftpb;
use rafthttp::Transport;

#[cfg(test)]
pub(crate) use calls::PeerHeader;
pub(crate) use calls::{BootAsk, PeerHash};
pub(crate) use dial::PeerDial;
pub(crate) use host::MemberHost;
pub(crate) use images::{ImageSender, ReceivedImages};
pub(crate) use listener::PeerServer;
pub(crate) use service::PeerService;

/// The connections to the other members.
#[derive(Clone)]
pub(crate) struct Peers {
    transport: Transport,
    member_id: u64,
    /// Ids the transport has been told of.
    known: Arc<Mutex<BTreeSet<u64>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("member_id", &self.member_id).finish_non_exhaustive()
    }
}

impl Peers {
    /// Over `transport`, as seen from member `member_id`.
    pub(crate) fn new(transport: Transport, member_id: u64) -> Peers {
        Peers { transport, member_id, known: Arc::default() }
    }

    /// Since when there is a connection to this member.
    pub(crate) fn active_since(&self, id: u64) -> Option<Instant> {
        self.transport.active_since(id)
    }

    /// Connects to a new member, or to one that has other URLs now.
    pub(crate) fn set(&self, member: &Member) {
        if member.id == self.member_id {
            return;
        }
        if self.known.lock().insert(member.id) {
            self.transport.add_peer(member.id, &member.peer_urls);
        } else {
            self.transport.update_peer(member.id, &member.peer_urls);
        }
    }

    /// Lets go of a member that was removed.
    pub(crate) fn remove(&self, id: u64) {
        if self.known.lock().remove(&id) {
            self.transport.remove_peer(id);
        }
    }

    /// Makes answers possible to a member that this one does not know from its own data yet.
    pub(crate) fn introduce(&self, member: &Member) {
        if member.id != self.member_id {
            self.transport.add_remote(member.id, &member.peer_urls);
        }
    }

    /// Connects to these members and to no other.
    pub(crate) fn set_all<'a>(&self, members: impl Iterator<Item = &'a Member>) {
        let members: Vec<&Member> = members.collect();
        let known = self.known.lock().clone();
        for id in known {
            if members.iter().all(|member| member.id != id) {
                self.remove(id);
            }
        }
        members.into_iter().for_each(|member| self.set(member));
    }

    /// The transport below.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }
}

/// Raft's way out.
pub(crate) struct Outbox {
    transport: Transport,
    images: Arc<ImageSender>,
}

impl Outbox {
    /// Messages go to `transport`, snapshots to `images`.
    pub(crate) fn new(transport: Transport, images: Arc<ImageSender>) -> Outbox {
        Outbox { transport, images }
    }
}

impl raftnode::Transport for Outbox {
    fn send(&mut self, messages: Vec<raftpb::Message>) {
        let is_snapshot =
            |message: &raftpb::Message| message.r#type() == raftpb::MessageType::MsgSnap;
        if !messages.iter().any(is_snapshot) {
            self.transport.send(messages);
            return;
        }
        let (snapshots, others): (Vec<_>, Vec<_>) = messages.into_iter().partition(is_snapshot);
        self.transport.send(others);
        for snapshot in snapshots {
            self.images.send(snapshot);
        }
    }
}
