//! Keeping an index file, so that a restart need not read all rows.
//!
//! A file is written in the background when enough has changed since the last one. It is valid
//! together with the rows above its stamp and the notes of tombstones compacted since.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

use crate::error::Error;
use crate::index_file;
use crate::private;
use crate::store::{Shared, Store};

const THREAD: &str = "index-file";

/// What is on disk, and what is wanted.
pub(crate) struct IndexFileState {
    state: Mutex<State>,
    wanted: Condvar,
    /// Held while a file is written: one at a time.
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    /// Stamp of the file there is.
    durable: Option<i64>,
    /// Stamp of the file being written.
    growing: Option<i64>,
    wanted: bool,
    stop: bool,
}

impl IndexFileState {
    pub(crate) fn new(durable: Option<i64>) -> IndexFileState {
        let state = State { durable, ..State::default() };
        IndexFileState { state: Mutex::new(state), wanted: Condvar::new(), writing: Mutex::new(()) }
    }

    /// Tombstones above this main revision must be noted when they are compacted away; `None`:
    /// there is no file that would need it.
    pub(crate) fn notes_above(&self) -> Option<i64> {
        let state = self.state.lock();
        match (state.durable, state.growing) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    pub(crate) fn want(&self) {
        self.state.lock().wanted = true;
        self.wanted.notify_all();
    }

    fn stop(&self) {
        self.state.lock().stop = true;
        self.wanted.notify_all();
    }

    fn stopped(&self) -> bool {
        self.state.lock().stop
    }

    /// Waits until a file is wanted; `false` is the end.
    fn next(&self) -> bool {
        let mut state = self.state.lock();
        while !state.wanted && !state.stop {
            self.wanted.wait(&mut state);
        }
        state.wanted = false;
        !state.stop
    }
}

impl Shared {
    /// Writes an index file of the present; `false` if the store is being closed.
    pub(crate) fn write_index_file(&self) -> Result<bool, Error> {
        let files = &self.files;
        let _one_at_a_time = files.writing.lock();
        let stamp = {
            // From here on compactions note tombstones above the stamp.
            let _index = self.index.read();
            let stamp = self.current();
            files.state.lock().growing = Some(stamp);
            stamp
        };
        let written = self.write_stamped(stamp);
        let mut state = files.state.lock();
        state.growing = None;
        if !matches!(written, Ok(true)) {
            return written;
        }
        state.durable = Some(stamp);
        drop(state);
        let mut batch = self.backend.batch();
        private::delete_tombstones(&mut batch, stamp);
        self.backend.write(batch)?;
        Ok(true)
    }

    fn write_stamped(&self, stamp: i64) -> Result<bool, Error> {
        let folder = self.backend.path();
        let go_on = || !self.files.stopped();
        let Some(tmp) = index_file::write_tmp(folder, &self.index, stamp, go_on)? else {
            return Ok(false);
        };
        // The rows must not fall back behind what the file knows.
        self.backend.flush()?;
        tmp.install()?;
        Ok(true)
    }
}

impl Store {
    /// Writes an index file now, in addition to those written in the background: a restart then
    /// replays only what comes after. Takes about a second per five million keys; reads and
    /// writes go on meanwhile.
    ///
    /// # Errors
    /// [`Error::IndexFile`], not fatal, or a fatal one.
    pub fn write_index_file(&self) -> Result<(), Error> {
        self.shared.write_index_file().map(drop)
    }
}

/// The thread that writes index files; dropped, it stops at once.
pub(crate) struct IndexFileWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl IndexFileWriter {
    pub(crate) fn start(shared: &Arc<Shared>) -> Result<IndexFileWriter, Error> {
        let worker = Arc::clone(shared);
        let thread = thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || {
                while worker.files.next() {
                    match worker.write_index_file() {
                        Ok(_) => {}
                        Err(error) if error.is_fatal() => {
                            return worker.progress.fail("write index file", error);
                        }
                        // The next attempt comes with as many changes again.
                        Err(error) => tracing::warn!(
                            %error,
                            "no index file: the next start takes longer; check the disk"
                        ),
                    }
                }
            })
            .map_err(|source| Error::Thread { name: THREAD, source })?;
        Ok(IndexFileWriter { shared: Arc::clone(shared), thread: Some(thread) })
    }
}

impl Drop for IndexFileWriter {
    fn drop(&mut self) {
        self.shared.files.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("index file thread panicked");
        }
    }
}
