//! Three members in one process, each with its threads and its disk.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::raftpb;
use raftnode::{Boot, Config, Founder, Handle, RaftNode, ReadError, Role, Surroundings, Transport};
use support::{Journal, JournalMachine, StoryDisk, block_on};
use wal::Recovered;

const TICK: Duration = Duration::from_millis(100);

/// Hands messages over as they are, and remembers when heartbeats left.
#[derive(Clone, Default)]
struct Wire {
    peers: Arc<Mutex<HashMap<u64, Handle>>>,
    heartbeats: Arc<Mutex<HashMap<u64, Vec<Instant>>>>,
    /// Members cut off.
    cut: Arc<Mutex<Vec<u64>>>,
}

struct Port {
    wire: Wire,
    id: u64,
}

impl Transport for Port {
    fn send(&mut self, messages: Vec<raftpb::Message>) {
        for message in messages {
            let to = message.to.expect("a receiver");
            if message.r#type == Some(raftpb::MessageType::MsgHeartbeat as i32) && to != self.id {
                let mut heartbeats = self.wire.heartbeats.lock().expect("heartbeats");
                heartbeats.entry(self.id).or_default().push(Instant::now());
            }
            let cut = self.wire.cut.lock().expect("cut");
            if cut.contains(&self.id) || cut.contains(&to) {
                continue;
            }
            drop(cut);
            let peer = self.wire.peers.lock().expect("peers").get(&to).cloned();
            if let Some(peer) = peer {
                // A full or stopped peer loses it, as on a network.
                peer.step(message).unwrap_or_default();
            }
        }
    }
}

struct Cluster {
    wire: Wire,
    nodes: Vec<RaftNode>,
    disks: Vec<StoryDisk>,
    journals: Vec<Journal>,
}

impl Cluster {
    fn start() -> Self {
        let founders: Vec<Founder> = (1..=3)
            .map(|id| Founder { id, conf_change: Bytes::copy_from_slice(&[b'+', id as u8]) })
            .collect();
        let wire = Wire::default();
        let boot = Boot { founders, ..Boot::default() };
        let (mut nodes, mut disks, mut journals) = (Vec::new(), Vec::new(), Vec::new());
        for id in 1..=3 {
            let (disk, journal) = (StoryDisk::default(), Journal::default());
            let surroundings = Surroundings {
                disk: Box::new(disk.clone()),
                machine: Box::new(JournalMachine::new(&journal)),
                transport: Box::new(Port { wire: wire.clone(), id }),
                observer: Box::new(()),
            };
            let config = Config { tick: TICK, ..Config::new(id) };
            let node = RaftNode::start(&config, Recovered::default(), &boot, surroundings);
            let node = node.expect("start");
            wire.peers.lock().expect("peers").insert(id, node.handle());
            nodes.push(node);
            disks.push(disk);
            journals.push(journal);
        }
        Self { wire, nodes, disks, journals }
    }

    fn handle(&self, id: u64) -> Handle {
        self.nodes[usize::try_from(id - 1).expect("small")].handle()
    }

    /// Waits until a member other than `not` leads; gives its id.
    fn leader(&self, not: u64) -> u64 {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            for id in (1..=3).filter(|id| *id != not) {
                if self.handle(id).status().role() == Role::Leader {
                    return id;
                }
            }
            assert!(Instant::now() < deadline, "no leader");
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        self.nodes.into_iter().for_each(RaftNode::stop);
    }
}

#[test]
fn three_members_apply_the_same() {
    let cluster = Cluster::start();
    cluster.leader(0);
    for id in 1..=3 {
        let data = Bytes::copy_from_slice(&[id as u8]);
        block_on(cluster.handle(id).propose(data)).expect("taken");
    }
    let three = |entries: &[wal::Entry]| entries.iter().filter(|e| e.data.len() == 1).count() == 3;
    cluster.journals.iter().for_each(|journal| journal.wait(three));
    let first = cluster.journals[0].data();
    assert!(cluster.journals.iter().all(|journal| journal.data() == first));
    cluster.stop();
}

#[test]
fn a_read_on_any_member_sees_what_was_applied_before_it() {
    let cluster = Cluster::start();
    let leader = cluster.leader(0);
    block_on(cluster.handle(leader).read_barrier()).expect("confirmed");
    for round in 0..20_u64 {
        let data = Bytes::copy_from_slice(&round.to_be_bytes());
        block_on(cluster.handle(leader).propose(data)).expect("taken");
        let at = usize::try_from(leader - 1).expect("small");
        let count = usize::try_from(round + 1).expect("small");
        let eight = |entries: &[wal::Entry]| entries.iter().filter(|e| e.data.len() == 8).count();
        cluster.journals[at].wait(|entries| eight(entries) == count);
        for id in 1..=3 {
            block_on(cluster.handle(id).read_barrier()).expect("confirmed");
            let seen = cluster.journals[usize::try_from(id - 1).expect("small")].data();
            assert!(seen.iter().filter(|data| data.len() == 8).count() >= count);
        }
    }
    cluster.stop();
}

#[test]
fn a_new_leader_fails_the_reads_asked_of_the_old_one() {
    let cluster = Cluster::start();
    let leader = cluster.leader(0);
    block_on(cluster.handle(leader).read_barrier()).expect("confirmed");
    cluster.wire.cut.lock().expect("cut").push(leader);
    let handle = cluster.handle(leader);
    let (asked, was_asked) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        asked.send(()).expect("awaited");
        block_on(handle.read_barrier())
    });
    was_asked.recv().expect("asked");
    let next = cluster.leader(leader);
    assert_ne!(next, leader);
    cluster.wire.cut.lock().expect("cut").clear();
    assert_eq!(reader.join().expect("reader"), Err(ReadError::LeaderChanged));
    cluster.stop();
}

#[test]
fn heartbeats_go_on_while_the_leaders_disk_takes_its_time() {
    let cluster = Cluster::start();
    let leader = cluster.leader(0);
    let at = usize::try_from(leader - 1).expect("small");
    block_on(cluster.handle(leader).read_barrier()).expect("confirmed");
    let slow = Duration::from_secs(3);
    *cluster.disks[at].sync_takes.lock().expect("duration") = slow;
    let before = cluster.disks[at].story().len();
    let began = Instant::now();
    block_on(cluster.handle(leader).propose(Bytes::from_static(b"slow"))).expect("taken");
    cluster.journals[at].wait(|entries| entries.iter().any(|e| &e.data[..] == b"slow"));
    let ended = Instant::now();
    assert!(cluster.disks[at].story().len() > before);
    assert!(ended - began >= slow, "applied before it was durable here");
    let heartbeats = cluster.wire.heartbeats.lock().expect("heartbeats")[&leader].clone();
    let mut last = began;
    let mut longest = Duration::ZERO;
    for sent in heartbeats.into_iter().filter(|sent| (began..ended).contains(sent)) {
        longest = longest.max(sent - last);
        last = sent;
    }
    longest = longest.max(ended - last);
    assert!(longest < slow / 2, "{longest:?} without a heartbeat during a sync of {slow:?}");
    assert_eq!(cluster.handle(leader).status().role(), Role::Leader);
    cluster.stop();
}

#[test]
fn others_commit_while_one_disk_stands_still() {
    let cluster = Cluster::start();
    let leader = cluster.leader(0);
    let slow = usize::try_from(leader % 3).expect("small"); // a follower
    *cluster.disks[slow].sync_takes.lock().expect("duration") = Duration::from_secs(5);
    let began = Instant::now();
    block_on(cluster.handle(leader).propose(Bytes::from_static(b"quick"))).expect("taken");
    let at = usize::try_from(leader - 1).expect("small");
    cluster.journals[at].wait(|entries| entries.iter().any(|e| &e.data[..] == b"quick"));
    assert!(began.elapsed() < Duration::from_secs(4));
    cluster.journals[slow].wait(|entries| entries.iter().any(|e| &e.data[..] == b"quick"));
    cluster.stop();
}

#[test]
fn leadership_moves_when_asked() {
    let cluster = Cluster::start();
    let leader = cluster.leader(0);
    block_on(cluster.handle(leader).read_barrier()).expect("confirmed");
    let to = leader % 3 + 1;
    let mut leadership = cluster.handle(to).leadership();
    let moved = block_on(async {
        for _ in 0..20 {
            // Given up after an election timeout.
            cluster.handle(leader).transfer_leader(to);
            let moved = leadership.wait_for(|now| now.role == Role::Leader);
            if tokio::time::timeout(Duration::from_secs(1), moved).await.is_ok() {
                return true;
            }
        }
        false
    });
    assert!(moved);
    cluster.stop();
}
