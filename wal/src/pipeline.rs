//! The next segment, made ready before it is needed so that no append waits for the disk to
//! reserve 64 MB.

use crate::error::{Error, Result};
use crate::fs::{Disk, lock};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// A file of zeros with its lock held, to be renamed into a segment.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

/// The thread `wal-spare` and the one spare it keeps ready. Dropping the pipeline ends the thread
/// and removes the spare.
#[derive(Debug)]
pub(crate) struct Pipeline {
    dir: PathBuf,
    disk: Disk,
    /// Asks for one more spare; bounded to 1, as is `ready`.
    ask: Option<SyncSender<()>>,
    ready: Receiver<Result<Spare>>,
    thread: Option<JoinHandle<()>>,
}

impl Pipeline {
    /// Starts the thread and the making of the first spare, `0.tmp`.
    pub(crate) fn start(dir: &Path, disk: &Disk, segment_bytes: u64) -> Result<Self> {
        let (ask, asked) = sync_channel::<()>(1);
        let (give, ready) = sync_channel(1);
        let (thread_dir, thread_disk) = (dir.to_owned(), disk.clone());
        let work = move || {
            for count in 0u64.. {
                if asked.recv().is_err() {
                    break;
                }
                let path = thread_dir.join(format!("{}.tmp", count % 2));
                if give.send(make(&thread_disk, path, segment_bytes)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("wal-spare".to_owned())
            .spawn(work)
            .map_err(|e| crate::fs::io_error("start thread for", dir, e))?;
        let pipeline = Self {
            dir: dir.to_owned(),
            disk: disk.clone(),
            ask: Some(ask),
            ready,
            thread: Some(thread),
        };
        pipeline.request()?;
        Ok(pipeline)
    }

    fn request(&self) -> Result<()> {
        let sent = self.ask.as_ref().and_then(|ask| ask.send(()).ok());
        sent.ok_or_else(|| Error::Poisoned { dir: self.dir.clone() })
    }

    /// The spare, waiting for it when it is not ready; the next one is begun at once.
    pub(crate) fn take(&mut self) -> Result<Spare> {
        let made = self.ready.recv();
        let spare = made.unwrap_or_else(|_| Err(Error::Poisoned { dir: self.dir.clone() }))?;
        self.request()?;
        Ok(spare)
    }
}

fn make(disk: &Disk, path: PathBuf, segment_bytes: u64) -> Result<Spare> {
    let file = disk.create(&path)?;
    lock(&file, &path)?;
    // What a crash left in it must not be read as records.
    disk.set_len(&file, &path, 0)?;
    disk.allocate(&file, &path, segment_bytes)?;
    Ok(Spare { file, path })
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        self.ask = None;
        let joined = self.thread.take().map(JoinHandle::join);
        debug_assert!(!matches!(joined, Some(Err(_))), "the thread wal-spare does not panic");
        for spare in self.ready.try_iter().flatten() {
            if let Err(e) = self.disk.remove(&spare.path) {
                tracing::warn!(error = %e, "spare segment is left behind");
            }
        }
    }
}
