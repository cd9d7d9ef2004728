//! Servers that are members of one cluster.

use tempfile::TempDir;

use crate::{Builder, Kind, Server};

/// Members `n0`, `n1`, … of one cluster, each in a folder of its own; killed when dropped.
#[derive(Debug)]
pub struct Cluster {
    // Killed before their folders go.
    members: Vec<Server>,
    dir: TempDir,
    kind: Kind,
}

impl Cluster {
    /// Starts `size` members with these further arguments, and waits until each is healthy.
    pub fn start(kind: Kind, size: usize, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let mut cluster = Self { members: Vec::new(), dir, kind };
        let mut builders: Vec<Builder> =
            (0..size).map(|at| cluster.member(&format!("n{at}")).args(args.to_vec())).collect();
        let peers: Vec<String> = builders.iter_mut().map(Builder::peer).collect();
        let peers = peers.join(",");
        // No member is healthy before a majority runs, so none is waited for before all run.
        cluster.members =
            builders.into_iter().map(|builder| builder.initial_cluster(&peers).spawn()).collect();
        cluster.members.iter_mut().for_each(Server::await_health);
        cluster
    }

    /// A member to be, of the same kind and with a folder beside the others.
    pub fn member(&self, name: &str) -> Builder {
        Server::builder(self.kind, &self.dir.path().join(name)).name(name)
    }

    /// Takes in a server that was started by other means.
    pub fn push(&mut self, member: Server) {
        self.members.push(member);
    }

    /// The members, in the order they were started.
    pub fn members(&self) -> &[Server] {
        &self.members
    }

    /// Kills a member.
    pub fn kill(&mut self, at: usize) -> Builder {
        self.members.remove(at).kill()
    }

    /// `host:port` of every client listener, parted by commas.
    pub fn endpoints(&self) -> String {
        let all: Vec<String> = self.members.iter().map(Server::client_authority).collect();
        all.join(",")
    }
}
