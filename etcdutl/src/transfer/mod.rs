//! Moving in and out: a stopped member's data directory, from the form of one etcd to that of the
//! other. Ids, revisions, leases, users, alarms and membership stay what they are, and so does the
//! directory it is made from.
//!
//! ```text
//!   import:  snap/db (bbolt)  ─▶ backend folder     *.wal ─▶ the same files     *.snap ─▶ the same
//!   export:  backend folder ─▶ snap/db (bbolt)      a log that begins at a snapshot of that moment
//! ```

mod catch_up;
mod export;
mod image;
mod import;

use std::path::{Path, PathBuf};
use std::time::Duration;

use wal::Recovered;

use crate::failure::Failure;

pub(crate) use export::export;
pub(crate) use import::import;

/// A stopped member, and where its copy is to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The member's data directory.
    pub(crate) from: PathBuf,
    /// The folder of its log; empty stands for the usual place.
    pub(crate) from_wal: PathBuf,
    /// The data directory to be made.
    pub(crate) to: PathBuf,
    /// The folder of its log; empty stands for the usual place.
    pub(crate) to_wal: PathBuf,
    /// How long to wait for the lock; zero waits for ever.
    pub(crate) timeout: Duration,
}

impl Request {
    /// The member's backend and `.snap` files.
    fn snap_of_source(&self) -> PathBuf {
        self.from.join("member").join("snap")
    }

    /// The member's log.
    fn wal_of_source(&self) -> PathBuf {
        match self.from_wal.as_os_str().is_empty() {
            true => self.from.join("member").join("wal"),
            false => self.from_wal.clone(),
        }
    }
}

/// What a log has behind its newest snapshot.
struct Log {
    /// Index and term of that snapshot.
    mark: (u64, u64),
    recovered: Recovered,
}

impl Log {
    /// Reads it, and changes nothing.
    fn read(dir: &Path) -> Result<Self, Failure> {
        let marks = wal::valid_snapshots(dir)?;
        let mark = marks.last().map_or((0, 0), |mark| (mark.index, mark.term));
        Ok(Self { mark, recovered: wal::read_all(dir, mark)? })
    }

    /// Index of the last entry.
    fn last_index(&self) -> u64 {
        self.recovered.entries.last().map_or(self.mark.0, |entry| entry.index)
    }

    /// The term of an applied entry: as stored beside it, or as the log has it, for backends of
    /// 3.4 do not store it.
    fn term_of(&self, standing: &apply::Standing) -> Result<u64, Failure> {
        let in_log = self.recovered.entries.iter().find(|entry| entry.index == standing.index);
        let in_mark = (standing.index == self.mark.0).then_some(self.mark.1);
        let terms = [Some(standing.term), in_log.map(|entry| entry.term), in_mark];
        terms.into_iter().flatten().find(|term| *term > 0).ok_or_else(|| {
            Failure::Refused(format!("no term is known of entry {}", standing.index))
        })
    }

    /// Refuses a log that ends before what the backend has applied.
    fn check_reach(&self, applied: u64) -> Result<(), Failure> {
        let durable = applied.max(self.recovered.hard_state.commit);
        if self.last_index() >= durable {
            return Ok(());
        }
        Err(Failure::Refused(format!(
            "the log ends at index {}, but index {durable} was committed or applied: entries are \
             lost",
            self.last_index()
        )))
    }

    /// Refuses the data of a member that is none any more, or of another one.
    fn check_member(&self, standing: &apply::Standing) -> Result<(), Failure> {
        let id = self.recovered.metadata.node_id;
        let members = &standing.cluster.members;
        if members.is_removed(id) {
            return Err(Failure::Refused(format!(
                "member {id:x} has been permanently removed from the cluster"
            )));
        }
        if standing.index > 0 && members.get(id).is_none() && !members.is_empty() {
            return Err(Failure::Refused(format!(
                "the log belongs to member {id:x}, which the backend does not know"
            )));
        }
        Ok(())
    }
}
