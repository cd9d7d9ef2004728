//! The only place that touches files: each call names what it does and can be made to fail by a
//! test through a [`DiskHook`].

use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, FcntlArg, fallocate, fcntl};
use nix::libc;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// Mode of segments.
const SEGMENT_MODE: u32 = 0o600;

/// An operation that a [`DiskHook`] is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DiskOp {
    /// Create or open a file for writing.
    Open,
    /// Write bytes.
    Write {
        /// How many.
        bytes: usize,
    },
    /// Make a file's bytes durable.
    SyncData,
    /// Make a directory's names durable.
    SyncDir,
    /// Set a file's length.
    SetLen,
    /// Reserve room for a file.
    Allocate,
    /// Give a file or directory another name.
    Rename,
    /// Remove a file.
    Remove,
}

/// Sees every operation that changes the disk before it is done; an error is returned in its
/// stead. Tests count, delay and fail operations with it.
pub trait DiskHook: Send + Sync + std::fmt::Debug {
    /// Called before `op` is done on `path`.
    ///
    /// # Errors
    /// What the operation shall fail with.
    fn before(&self, op: DiskOp, path: &Path) -> io::Result<()>;
}

/// The disk, perhaps with a hook before it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    hook: Option<Arc<dyn DiskHook>>,
}

impl Disk {
    pub(crate) fn new(hook: Option<Arc<dyn DiskHook>>) -> Self {
        Self { hook }
    }

    /// Does one operation: hook first, then the call, with the failure told by action and path.
    fn run<T>(
        &self,
        op: DiskOp,
        action: &'static str,
        path: &Path,
        call: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        let asked = self.hook.as_ref().map_or(Ok(()), |hook| hook.before(op, path));
        asked.and_then(|()| call()).map_err(|source| io_error(action, path, source))
    }

    /// Opens a segment for reading and writing, creating it when it is not there.
    pub(crate) fn create(&self, path: &Path) -> Result<File> {
        self.create_with_mode(path, SEGMENT_MODE)
    }

    /// Opens a file for reading and writing, creating it when it is not there; the process' mask
    /// applies to `mode`.
    pub(crate) fn create_with_mode(&self, path: &Path, mode: u32) -> Result<File> {
        self.run(DiskOp::Open, "create file", path, || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(mode).open(path)
        })
    }

    /// Opens an existing file for reading and writing.
    pub(crate) fn open(&self, path: &Path) -> Result<File> {
        self.run(DiskOp::Open, "open file", path, || {
            OpenOptions::new().read(true).write(true).open(path)
        })
    }

    /// Writes all of `bytes` at `offset`, with one system call unless the disk takes less.
    pub(crate) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<()> {
        let op = DiskOp::Write { bytes: bytes.len() };
        self.run(op, "write file", path, || file.write_all_at(bytes, offset))
    }

    /// fdatasync.
    pub(crate) fn sync_data(&self, file: &File, path: &Path) -> Result<()> {
        self.run(DiskOp::SyncData, "sync file", path, || file.sync_data())
    }

    /// Makes the names in a directory durable.
    pub(crate) fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.run(DiskOp::SyncDir, "sync directory", dir, || File::open(dir)?.sync_all())
    }

    pub(crate) fn set_len(&self, file: &File, path: &Path, bytes: u64) -> Result<()> {
        self.run(DiskOp::SetLen, "set length of file", path, || file.set_len(bytes))
    }

    /// Makes the file at least `bytes` long with room reserved on the disk; where the file system
    /// cannot reserve, the file is only made longer.
    pub(crate) fn allocate(&self, file: &File, path: &Path, bytes: u64) -> Result<()> {
        self.run(DiskOp::Allocate, "allocate file", path, || {
            let len = i64::try_from(bytes).map_err(io::Error::other)?;
            match fallocate(file, FallocateFlags::empty(), 0, len) {
                Ok(()) => Ok(()),
                Err(Errno::EOPNOTSUPP | Errno::ENOSYS | Errno::EINTR) => {
                    if file.metadata()?.len() < bytes { file.set_len(bytes) } else { Ok(()) }
                }
                Err(errno) => Err(errno.into()),
            }
        })
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.run(DiskOp::Rename, "rename file", from, || std::fs::rename(from, to))
    }

    pub(crate) fn remove(&self, path: &Path) -> Result<()> {
        self.run(DiskOp::Remove, "remove file", path, || std::fs::remove_file(path))
    }
}

/// An [`Error::Io`].
pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}

/// Takes the exclusive lock of a whole file, as etcd does: an open-file-description lock, or
/// `flock` where the kernel has none. It lasts until `file` is closed.
///
/// # Errors
/// [`Error::Locked`] when another open file holds it.
pub(crate) fn lock(file: &File, path: &Path) -> Result<()> {
    let whole = libc::flock {
        l_type: LOCK_EXCLUSIVE,
        l_whence: FROM_START,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole)) {
        Ok(_) => Ok(()),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(Error::Locked { path: path.to_owned() }),
        Err(Errno::EINVAL) => match file.try_lock() {
            Ok(()) => Ok(()),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(io_error("lock file", path, source)),
        },
        Err(errno) => Err(io_error("lock file", path, errno.into())),
    }
}

#[allow(clippy::cast_possible_truncation, reason = "both constants are 0 or 1")]
const LOCK_EXCLUSIVE: libc::c_short = libc::F_WRLCK as libc::c_short;
#[allow(clippy::cast_possible_truncation, reason = "both constants are 0 or 1")]
const FROM_START: libc::c_short = libc::SEEK_SET as libc::c_short;
