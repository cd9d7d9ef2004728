//! A member's folders made aside, so that no half result can be taken for a whole one.
//!
//! ```text
//!   DATA/member.restoring/snap/…        everything is made here
//!   DATA/member.restoring/wal/…         and the log here, or in WAL.restoring
//!   DATA/member                         one rename
//!   WAL                                 and another when the log has a folder of its own
//! ```
//! Invariants:
//! - The log appears last. A server finds no log without the backend it belongs to, and refuses a
//!   backend without its log.
//! - What an interrupted run left is known by its names and removed by the next one; anything else
//!   in the way is refused.
//! - Between the two renames `DATA/member` holds the file [`PENDING`], which names the folder of
//!   the log.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base::text::quote;

use crate::failure::Failure;

/// Added to the name of a folder while it is made.
const SUFFIX: &str = ".restoring";
/// The folder of a member in its data directory.
const MEMBER: &str = "member";
/// In a member's folder whose log is about to appear elsewhere: the path of that folder.
const PENDING: &str = "WAL-PENDING";

/// Where a member is to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The data directory.
    pub(crate) data_dir: PathBuf,
    /// The folder of the log.
    pub(crate) wal_dir: PathBuf,
}

impl Target {
    /// The log is below the data directory unless `wal_dir` is given, that is, not empty.
    pub(crate) fn new(data_dir: &Path, wal_dir: &Path) -> Self {
        let inside = data_dir.join(MEMBER).join("wal");
        let given = !wal_dir.as_os_str().is_empty();
        let wal_dir = if given { wal_dir.to_owned() } else { inside };
        Self { data_dir: data_dir.to_owned(), wal_dir }
    }

    /// The folder of the backend and the `.snap` files.
    pub(crate) fn snap_dir(&self) -> PathBuf {
        self.data_dir.join(MEMBER).join("snap")
    }

    /// Whether the log stands where it does unless told otherwise.
    fn is_wal_inside(&self) -> bool {
        self.wal_dir == self.data_dir.join(MEMBER).join("wal")
    }

    fn member(&self) -> PathBuf {
        self.data_dir.join(MEMBER)
    }

    /// Refuses what is there already, unless an interrupted run left it.
    ///
    /// # Errors
    /// etcd's texts for a data directory that is not empty and a log's folder that exists.
    pub(crate) fn check_absent(&self) -> Result<(), Failure> {
        let refuse = |reason: &str, dir: &Path| {
            Failure::Refused(reason.replace("{}", &quote(dir.as_os_str().as_bytes())))
        };
        let in_the_way = || refuse("data-dir {} not empty or could not be read", &self.data_dir);
        match fs::read_dir(&self.data_dir) {
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(|_| in_the_way())?;
                    if !self.is_leftover(&entry.file_name()) {
                        return Err(in_the_way());
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Err(in_the_way()),
        }
        if !self.is_wal_inside() && fs::symlink_metadata(&self.wal_dir).is_ok() {
            return Err(refuse("wal-dir {} exists", &self.wal_dir));
        }
        Ok(())
    }

    /// Whether an entry of the data directory is what an interrupted run left.
    fn is_leftover(&self, name: &OsStr) -> bool {
        if name == MEMBER {
            return self.pending_wal().is_some();
        }
        let ours = [self.member_aside(), self.wal_aside()];
        let path = self.data_dir.join(name);
        ours.contains(&path) && fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir())
    }

    /// The folder of the log that was about to appear, if the member waits for it.
    fn pending_wal(&self) -> Option<PathBuf> {
        let log = fs::read(self.member().join(PENDING)).ok()?;
        let log = PathBuf::from(OsString::from_vec(log));
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        (!is_there(&log) && is_there(&with_suffix(&log))).then_some(log)
    }

    fn member_aside(&self) -> PathBuf {
        with_suffix(&self.member())
    }

    fn wal_aside(&self) -> PathBuf {
        match self.is_wal_inside() {
            true => self.member_aside().join("wal"),
            false => with_suffix(&self.wal_dir),
        }
    }
}

/// The folders in the making. Dropped before [`commit`](Aside::commit), it removes them.
#[derive(Debug)]
pub(crate) struct Aside {
    target: Target,
    /// The outermost folder that was made for this.
    made: Option<PathBuf>,
    /// Held, never read: keeps other runs out.
    _lock: File,
    committed: bool,
}

impl Aside {
    /// Makes empty folders for what is to stand at `target`, which was found
    /// [absent](Target::check_absent).
    ///
    /// # Errors
    /// When another process is at the same, or the disk refuses.
    pub(crate) fn begin(target: Target) -> Result<Self, Failure> {
        let made = make_dir(&target.data_dir)?;
        let lock = File::open(&target.data_dir).map_err(Failure::io("open", &target.data_dir))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let dir = quote(target.data_dir.as_os_str().as_bytes());
                return Err(Failure::Refused(format!("data-dir {dir} is being made already")));
            }
            Err(TryLockError::Error(source)) => {
                return Err(Failure::io("flock", &target.data_dir)(source));
            }
        }
        // What was absent a moment ago may have been made before the lock was ours.
        target.check_absent()?;
        let aside = Self { target, made, _lock: lock, committed: false };
        aside.clear()?;
        make_dir(&aside.snap_dir())?;
        if let Some(parent) = aside.target.wal_dir.parent()
            && !aside.target.is_wal_inside()
        {
            make_dir(parent)?;
        }
        Ok(aside)
    }

    /// The folder for the backend and the `.snap` files.
    pub(crate) fn snap_dir(&self) -> PathBuf {
        self.target.member_aside().join("snap")
    }

    /// The folder for the log; not there yet.
    pub(crate) fn wal_dir(&self) -> PathBuf {
        self.target.wal_aside()
    }

    /// Puts everything in its place, durably. Whoever wrote into the folders has synced files and
    /// names in them.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn commit(mut self) -> Result<(), Failure> {
        let (member, aside) = (self.target.member(), self.target.member_aside());
        let pending = aside.join(PENDING);
        if !self.target.is_wal_inside() {
            let wal_dir = std::path::absolute(&self.target.wal_dir);
            let wal_dir = wal_dir.map_err(Failure::io("resolve", &self.target.wal_dir))?;
            write_synced(&pending, wal_dir.as_os_str().as_bytes())?;
        }
        sync_dir(&aside)?;
        rename(&aside, &member)?;
        sync_dir(&self.target.data_dir)?;
        // From here on a crash leaves a member without its log, which the next run may replace.
        if !self.target.is_wal_inside() {
            rename(&self.target.wal_aside(), &self.target.wal_dir)?;
            sync_dir(parent_of(&self.target.wal_dir))?;
            self.committed = true;
            let pending = member.join(PENDING);
            fs::remove_file(&pending).map_err(Failure::io("remove", &pending))?;
            sync_dir(&member)?;
        }
        self.committed = true;
        sync_dir(parent_of(&self.target.data_dir))
    }

    /// Removes what this or an earlier run made.
    fn clear(&self) -> Result<(), Failure> {
        let (member, aside) = (self.target.member(), self.target.member_aside());
        remove_dir(&aside)?;
        if let Some(log) = self.target.pending_wal() {
            // Out of sight first: what is removed in part must not look like a member.
            rename(&member, &aside)?;
            sync_dir(&self.target.data_dir)?;
            remove_dir(&aside)?;
            remove_dir(&with_suffix(&log))?;
        }
        remove_dir(&self.target.wal_aside())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let cleared = self.clear();
        // Only empty folders go, so that nothing of anybody else can.
        let gone = match &self.made {
            Some(outermost) => remove_empty(&self.target.data_dir, outermost),
            None => Ok(()),
        };
        if let Err(failure) = cleared.and(gone) {
            crate::complain(&format!("Warning: what was made is left behind: {failure}"));
        }
    }
}

/// Makes a folder and those above it, with mode 0700 and durable names. Gives the outermost one
/// that was not there.
fn make_dir(dir: &Path) -> Result<Option<PathBuf>, Failure> {
    let missing: Vec<&Path> = dir
        .ancestors()
        .take_while(|above| !above.as_os_str().is_empty() && !above.exists())
        .collect();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(Failure::io("mkdir", dir))?;
    missing.iter().try_for_each(|made| sync_dir(parent_of(made)))?;
    Ok(missing.last().map(|outermost| (*outermost).to_owned()))
}

fn remove_empty(innermost: &Path, outermost: &Path) -> Result<(), Failure> {
    for dir in innermost.ancestors() {
        fs::remove_dir(dir).map_err(Failure::io("remove", dir))?;
        if dir == outermost {
            break;
        }
    }
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Failure::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// The folder a name stands in.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(Failure::io("rename", from))
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(Failure::io("write", path))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), Failure> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(Failure::io("sync", dir))
}

fn with_suffix(dir: &Path) -> PathBuf {
    // Without a slash at the end, behind which the suffix would name a file inside.
    let mut name = dir.components().as_path().as_os_str().to_owned();
    name.push(SUFFIX);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
