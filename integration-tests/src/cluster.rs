//! Servers that are members of one cluster.

use std::time::Duration;

use proto::etcdserverpb::StatusResponse;
use tempfile::TempDir;

use crate::asked::{asked_within, status};
use crate::links::Links;
use crate::{Builder, Kind, Server, eventually};

/// Longest wait for a leader, or for followers to catch up.
const SOON: Duration = Duration::from_secs(30);

/// Members `n0`, `n1`, … of one cluster, each in a folder of its own; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    // Killed before their folders go.
    members: Vec<Server>,
    dir: TempDir,
    kind: Kind,
    links: Option<Links>,
    /// Arguments of every member.
    args: Vec<String>,
}

impl Cluster {
    /// Starts `size` members with these further arguments, and waits until each is healthy.
    pub fn start(kind: Kind, size: usize, args: &[&str]) -> Self {
        Self::found(&vec![kind; size], args, None)
    }

    /// As [`Self::start`], but what members send one another passes through [`Self::links`].
    pub fn linked(kind: Kind, size: usize, args: &[&str]) -> Self {
        Self::found(&vec![kind; size], args, Some(Links::start()))
    }

    /// Starts members of these kinds together.
    pub fn of(kinds: &[Kind], args: &[&str]) -> Self {
        Self::found(kinds, args, None)
    }

    fn found(kinds: &[Kind], args: &[&str], links: Option<Links>) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut cluster = Self { members: Vec::new(), dir, kind: kinds[0], links, args };
        let builder = |(at, kind): (usize, &Kind)| cluster.member(&format!("n{at}")).kind(*kind);
        let mut builders: Vec<Builder> = kinds.iter().enumerate().map(builder).collect();
        let peers: Vec<String> = builders.iter_mut().map(Builder::peer).collect();
        let peers = peers.join(",");
        // No member is healthy before a majority runs, so none is waited for before all run.
        for builder in builders {
            cluster.push(builder.initial_cluster(&peers).spawn());
        }
        cluster.await_health();
        cluster
    }

    /// A member to be, of the same kind and with a folder beside the others. With links, members
    /// must be started in the order in which they were made here.
    pub fn member(&self, name: &str) -> Builder {
        let mut builder = Server::builder(self.kind, &self.dir.path().join(name))
            .name(name)
            .args(self.args.clone());
        match &self.links {
            Some(links) => {
                let port = links.add(builder.peer_port());
                builder.advertise(port)
            }
            None => builder,
        }
    }

    /// Takes in a server that was started by other means.
    pub fn push(&mut self, member: Server) {
        self.members.push(member);
        self.tell_links(self.members.len() - 1);
    }

    fn tell_links(&self, at: usize) {
        if let Some(links) = &self.links {
            links.is_process(at, self.members[at].pid());
        }
    }

    /// The members, in the order they were started; some may have been killed.
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// One member, to be changed: restart it by [`Self::restart`].
    pub fn member_mut(&mut self, at: usize) -> &mut Server {
        &mut self.members[at]
    }

    /// The network between the members.
    ///
    /// # Panics
    /// When the cluster was started without.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("started with links")
    }

    /// Kills a member for good: those behind it move up.
    pub fn kill(&mut self, at: usize) -> Builder {
        assert!(self.links.is_none(), "links know members by their place");
        self.members.remove(at).kill()
    }

    /// Starts a member once more, after its end, without waiting for it to serve.
    pub fn restart(&mut self, at: usize) {
        self.restart_as(at, self.members[at].again());
    }

    /// Starts a member once more, after its end, by another recipe.
    pub fn restart_as(&mut self, at: usize, builder: Builder) {
        self.members[at].restart_as(builder);
        self.tell_links(at);
    }

    /// Waits until every member that runs is healthy.
    pub fn await_health(&mut self) {
        self.members.iter_mut().filter_map(running).for_each(Server::await_health);
    }

    /// `host:port` of every client listener, parted by commas.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Server::client_authority).collect();
        all.join(",")
    }

    /// What each running member says of itself, by its place; those that do not answer are left
    /// out.
    pub fn statuses(&mut self) -> Vec<(usize, StatusResponse)> {
        let running: Vec<(usize, String)> = self
            .members
            .iter_mut()
            .enumerate()
            .filter_map(|(at, member)| Some((at, running(member)?.client_authority())))
            .collect();
        running.into_iter().filter_map(|(at, member)| Some((at, status(&member)?))).collect()
    }

    /// The place of the member that all running members call their leader, once they do.
    pub fn await_leader(&mut self) -> usize {
        self.await_leader_of(&(0..self.members.len()).collect::<Vec<_>>())
    }

    /// As [`Self::await_leader`], asking these members only; it must be one of them.
    pub fn await_leader_of(&mut self, asked: &[usize]) -> usize {
        eventually("the members agree on a leader", SOON, || {
            let running = asked.iter().filter(|at| self.members[**at].ended().is_none()).count();
            let mut statuses = self.statuses();
            statuses.retain(|(at, _)| asked.contains(at));
            let (_, first) = statuses.first()?;
            let (leader, term) = (first.leader, first.raft_term);
            let agreed = statuses.iter().all(|(_, s)| (s.leader, s.raft_term) == (leader, term));
            let is_leader = |status: &StatusResponse| member_id(status) == leader;
            let at = statuses.iter().find(|(_, status)| is_leader(status))?.0;
            (agreed && statuses.len() == running).then_some(at)
        })
    }

    /// The id of a member that answers.
    pub fn id(&self, at: usize) -> u64 {
        let authority = self.members[at].client_authority();
        eventually("the member answers", SOON, || status(&authority).map(|s| member_id(&s)))
    }

    /// Waits until all running members are at the same revision and compaction, and demands that
    /// they then hold the same data. Nothing may be written meanwhile. Gives the revision.
    pub fn await_same_data(&mut self) -> i64 {
        let members: Vec<String> = self
            .members
            .iter_mut()
            .filter_map(|member| running(member).map(|member| member.client_authority()))
            .collect();
        let hash = |authority: &String| {
            let request = proto::etcdserverpb::HashKvRequest { revision: 0 };
            let ask = async |client: client::Client| client.maintenance().hash_kv(request).await;
            let answer = asked_within(authority, Duration::from_secs(10), ask)?.ok()?.into_inner();
            let revision = answer.header.as_ref()?.revision;
            Some((revision, answer.compact_revision, answer.hash))
        };
        let mut last = Vec::new();
        let deadline = std::time::Instant::now() + SOON;
        while std::time::Instant::now() < deadline {
            last = members.iter().map(hash).collect();
            if let Some(Some(first)) = last.first()
                && last.iter().all(|other| *other == Some(*first))
            {
                return first.0;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("(revision, compacted, hash) of {members:?} stay {last:?}");
    }

    /// Demands that no member that still runs, nor any that was started again, has panicked.
    pub fn assert_no_panic(&self) {
        for member in &self.members {
            let log = member.log();
            let bad = log.lines().find(|line| {
                line.contains("panicked at")
                    || line.starts_with("panic:")
                    || line.contains("\"level\":\"panic\"")
            });
            assert!(bad.is_none(), "{}: {}", member.name(), bad.unwrap_or_default());
        }
    }
}

/// The member an answer comes from.
pub(crate) fn member_id(status: &StatusResponse) -> u64 {
    status.header.as_ref().map_or(0, |header| header.member_id)
}

fn running(member: &mut Server) -> Option<&mut Server> {
    member.ended().is_none().then_some(member)
}
