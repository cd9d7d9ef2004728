//! Opening what is only read: a file, and not something else of that name.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How long to wait between two attempts at a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// `O_NONBLOCK`, so that opening a pipe does not wait for its other end.
const NONBLOCK: i32 = 0o4000;

/// Opens a regular file for reading.
///
/// # Errors
/// The system's words, and ours for what is no file.
pub(crate) fn open(path: &Path) -> Result<File, Failure> {
    let file = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(path);
    let file = file.map_err(Failure::io("open", path))?;
    let found = file.metadata().map_err(Failure::io("stat", path))?;
    if found.is_dir() {
        let is_dir = std::io::Error::from(std::io::ErrorKind::IsADirectory);
        return Err(Failure::io("read", path)(is_dir));
    }
    if !found.is_file() {
        return Err(Failure::Refused(format!("open {}: not a regular file", path.display())));
    }
    Ok(file)
}

/// As [`open`], and waits for a process that has the file open as its database; it keeps others
/// from opening it as theirs.
///
/// # Errors
/// [`Failure::Timeout`]; as [`open`].
pub(crate) fn open_shared(path: &Path, timeout: Duration) -> Result<File, Failure> {
    let file = open(path)?;
    let shared = with_patience(timeout, || match file.try_lock_shared() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Failure::io("flock", path)(error)),
    })?;
    shared.map(|()| file).ok_or(Failure::Timeout)
}

/// Tries until there is a result or `timeout` is over; zero tries for ever.
pub(crate) fn with_patience<T>(
    timeout: Duration,
    mut attempt: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let start = Instant::now();
    loop {
        if let Some(got) = attempt()? {
            return Ok(Some(got));
        }
        if !timeout.is_zero() && start.elapsed() >= timeout {
            return Ok(None);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
}
