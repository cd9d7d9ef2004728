//! The state machine: batches of entries in, outcomes out, one write between.

use std::sync::Arc;

use base::ConfState;
use base::schema::{self, Bucket};
use bytes::Bytes;
use mvcc::{Opened, Writer};

use crate::cluster::StorageVersionRow;
use crate::entry::{self, Applied, Entry, Options};
use crate::error::Error;
use crate::load::Loaded;
use crate::source::Source;
use crate::state::State;

/// Turns committed entries into rows, answers and effects.
///
/// One owner calls it, in log order. Readers on other threads use [`mvcc::Store`] and the
/// [`State`], which it alone changes.
pub struct StateMachine {
    writer: Writer,
    state: Arc<State>,
    options: Options,
    index: u64,
    term: u64,
}

impl StateMachine {
    /// Takes over a store just opened.
    ///
    /// # Errors
    ///
    /// [`Error::AuthEnabled`], [`Error::BadRow`], or what the backend says.
    pub fn open(opened: Opened, options: Options) -> Result<Self, Error> {
        let state = Arc::new(State::default());
        let writer = opened.writer;
        let mut machine = Self { writer, state, options, index: 0, term: 0 };
        machine.load(opened.leased)?;
        Ok(machine)
    }

    /// Starts over on another store: a snapshot's. Holders of [`state`](Self::state) see the new
    /// content; what was not committed is dropped.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open); the machine must not be used any more then.
    pub fn install(&mut self, opened: Opened) -> Result<(), Error> {
        self.writer = opened.writer;
        self.load(opened.leased)
    }

    fn load(&mut self, leased: Vec<(Bytes, i64)>) -> Result<(), Error> {
        let mut loaded = Loaded::read(self.writer.store().backend())?;
        for (key, lease) in leased {
            loaded.leases.put(&key, lease);
        }
        self.index = loaded.index;
        self.term = loaded.term;
        self.write_missing_rows(&loaded);
        *self.state.leases.write() = loaded.leases;
        *self.state.alarms.write() = loaded.alarms;
        *self.state.cluster.write() = loaded.cluster;
        Ok(())
    }

    /// Rows that every started member has, whatever its log says. They go with the first batch.
    fn write_missing_rows(&mut self, loaded: &Loaded) {
        if loaded.lacks_auth_revision {
            self.writer.row_put(Bucket::Auth, schema::AUTH_REVISION, &1u64.to_be_bytes());
        }
        // A member that stopped between the agreement and the row.
        if let Some(version) = loaded.cluster.version
            && let StorageVersionRow::Set(version) = StorageVersionRow::of(version)
        {
            let text = version.to_string();
            self.writer.row_put(Bucket::Meta, schema::STORAGE_VERSION, text.as_bytes());
        }
    }

    /// Applies entries in order, stores all their rows in one write, and appends their outcomes
    /// to `outcomes` once the rows can be read.
    ///
    /// `waits` says for a request id whether someone here waits for the answer; if not, reads
    /// that only serve the answer are skipped.
    ///
    /// # Errors
    ///
    /// Each is fatal: the member must stop, and nothing of the batch was stored.
    pub fn apply_batch(
        &mut self,
        entries: impl IntoIterator<Item = Entry>,
        mut waits: impl FnMut(u64) -> bool,
        outcomes: &mut Vec<Applied>,
    ) -> Result<(), Error> {
        let before = self.index;
        for entry in entries {
            let outcome = self.apply(&entry, &mut waits)?;
            outcomes.push(outcome);
        }
        self.commit(before)
    }

    /// Applies one entry as a batch of its own.
    ///
    /// # Errors
    ///
    /// As [`apply_batch`](Self::apply_batch).
    pub fn apply_entry(&mut self, entry: &Entry, want_reply: bool) -> Result<Applied, Error> {
        let before = self.index;
        let outcome = self.apply(entry, &mut |_id| want_reply)?;
        self.commit(before)?;
        Ok(outcome)
    }

    /// Stores everything since `before` was the last index.
    fn commit(&mut self, before: u64) -> Result<(), Error> {
        if self.index > before {
            self.writer.set_applied(self.index, self.term);
            self.writer.commit()?;
        }
        Ok(())
    }

    fn apply(
        &mut self,
        entry: &Entry,
        waits: &mut impl FnMut(u64) -> bool,
    ) -> Result<Applied, Error> {
        if entry.index <= self.index {
            return Ok(Applied::known(entry, self.writer.revision()));
        }
        if entry.index != self.index + 1 {
            return Err(Error::IndexGap { index: entry.index, expected: self.index + 1 });
        }
        let mut applied = entry::apply(entry, &mut self.writer, &self.state, &self.options, waits)?;
        applied.changes = self.writer.end_entry();
        applied.revision = Source::revision(&self.writer);
        self.index = entry.index;
        self.term = entry.term;
        Ok(applied)
    }

    /// The index of the last entry applied, which is the one stored.
    pub fn consistent_index(&self) -> u64 {
        self.index
    }

    /// The term of that entry.
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The raft configuration as of that entry, which is that of its members.
    pub fn conf_state(&self) -> ConfState {
        self.state.cluster.read().members.conf_state()
    }

    /// Leases, alarms and cluster, for readers on any thread.
    pub fn state(&self) -> &Arc<State> {
        &self.state
    }

    /// The keys, for readers on any thread.
    pub fn store(&self) -> &mvcc::Store {
        self.writer.store()
    }
}
