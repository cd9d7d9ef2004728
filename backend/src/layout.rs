//! The folder around RocksDB's own: a lock, and `CURRENT` naming the numbered sub-folder in use.
//!
//! ```text
//! member/snap/db/
//!   LOCK      held by the process that has the folder open
//!   CURRENT   "000002\n"
//!   STAGED    "000003\n", while a loaded sub-folder waits for its turn
//!   000002/   RocksDB's folder
//!   000003/   loaded, or being loaded; named by neither file, it is removed at the next open
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Name of the file that names the sub-folder in use.
const CURRENT: &str = "CURRENT";

/// Name of the file that names the loaded sub-folder which may take over.
const STAGED: &str = "STAGED";

/// Added to a file's name while it is written.
const TMP: &str = ".tmp";

/// Name of the lock file.
const LOCK: &str = "LOCK";

/// Digits of a sub-folder's name.
const NAME_DIGITS: usize = 6;

/// An exclusively locked folder.
#[derive(Debug)]
pub(crate) struct Layout {
    dir: PathBuf,
    /// Held, never read: the lock lasts as long as the file is open.
    _lock: File,
}

impl Layout {
    /// Creates the folder if it is missing, and locks it.
    pub(crate) fn lock(dir: &Path) -> Result<Layout, Error> {
        match fs::metadata(dir) {
            Ok(m) if m.is_dir() => {}
            Ok(_) => return Err(Error::BoltFile { path: dir.to_owned() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => create_dir(dir)?,
            Err(e) => return Err(io_error("look at", dir, e)),
        }
        let path = dir.join(LOCK);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|e| io_error("open", &path, e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Layout { dir: dir.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(Error::Locked { path: dir.to_owned() }),
            Err(TryLockError::Error(e)) => Err(io_error("lock", &path, e)),
        }
    }

    /// The number in `CURRENT`, or `None` in a new folder.
    pub(crate) fn current(&self) -> Result<Option<u64>, Error> {
        self.read_name(CURRENT)
    }

    /// The number of the sub-folder that was loaded and did not take over yet.
    pub(crate) fn staged(&self) -> Result<Option<u64>, Error> {
        self.read_name(STAGED)
    }

    fn read_name(&self, file: &str) -> Result<Option<u64>, Error> {
        let path = self.dir.join(file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error("read", &path, e)),
        };
        match text.strip_suffix('\n').and_then(parse_name) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::Damaged {
                path,
                detail: format!("it holds {text:?}, not the name of a sub-folder"),
            }),
        }
    }

    /// Where the sub-folder with this number is.
    pub(crate) fn folder(&self, number: u64) -> PathBuf {
        self.dir.join(format!("{number:0NAME_DIGITS$}"))
    }

    /// Makes `number` the sub-folder in use, durably: a crash leaves the old or the new name.
    pub(crate) fn switch(&self, number: u64) -> Result<(), Error> {
        self.write_name(CURRENT, number)?;
        self.unstage()
    }

    /// Notes durably that `number` is loaded, so that it outlives the process.
    pub(crate) fn stage(&self, number: u64) -> Result<(), Error> {
        self.write_name(STAGED, number)
    }

    /// Forgets what was staged.
    pub(crate) fn unstage(&self) -> Result<(), Error> {
        self.remove_file(STAGED)
    }

    fn write_name(&self, name: &str, number: u64) -> Result<(), Error> {
        let tmp = self.dir.join(format!("{name}{TMP}"));
        let path = self.dir.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&tmp)
            .map_err(|e| io_error("create", &tmp, e))?;
        file.write_all(format!("{number:0NAME_DIGITS$}\n").as_bytes())
            .map_err(|e| io_error("write", &tmp, e))?;
        file.sync_all().map_err(|e| io_error("sync", &tmp, e))?;
        fs::rename(&tmp, &path).map_err(|e| io_error("rename", &tmp, e))?;
        sync_dir(&self.dir)
    }

    fn remove_file(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path, e)),
            _ => Ok(()),
        }
    }

    /// Removes every numbered sub-folder but those of `keep`, and half-written files.
    pub(crate) fn remove_stale(&self, keep: &[u64]) -> Result<(), Error> {
        for number in self.numbers()? {
            if !keep.contains(&number) {
                let path = self.folder(number);
                tracing::info!(path = %path.display(), "remove stale backend folder");
                fs::remove_dir_all(&path).map_err(|e| io_error("remove", &path, e))?;
            }
        }
        [CURRENT, STAGED].iter().try_for_each(|name| self.remove_file(&format!("{name}{TMP}")))
    }

    /// A number above those of all sub-folders there are, and of a staged one that was removed.
    pub(crate) fn next(&self) -> Result<u64, Error> {
        Ok(self.numbers()?.into_iter().chain(self.staged()?).max().unwrap_or(0) + 1)
    }

    fn numbers(&self) -> Result<Vec<u64>, Error> {
        let failed = |e| io_error("list", &self.dir, e);
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(parse_name));
        }
        Ok(numbers)
    }
}

/// Creates a folder only its owner may enter, and makes its name durable.
pub(crate) fn create_dir(dir: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| io_error("create", dir, e))?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| io_error("sync", dir, e))
}

fn parse_name(name: &str) -> Option<u64> {
    let digits = name.len() >= NAME_DIGITS && name.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = if digits { name.parse().ok()? } else { return None };
    // One spelling per number, so that the name read is the name written.
    (format!("{number:0NAME_DIGITS$}") == name).then_some(number)
}

pub(crate) fn io_error(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, path: path.to_owned(), source }
}
