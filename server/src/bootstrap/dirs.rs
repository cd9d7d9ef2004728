//! The folders of a member: made with mode 0700, writable, held by one process.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base::text::io_error;

use super::{Error, refuse};
use crate::config::Config;

/// Mode of the folders.
const DIR_MODE: u32 = 0o700;
/// Made and removed to see whether a folder can be written to.
const PROBE: &str = ".touch";

/// The folders of a member, held until dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// `<data>/member/snap`.
    pub snap: PathBuf,
    /// `<data>/member/wal`, or `--wal-dir`.
    pub wal: PathBuf,
    /// Held, never read: the lock is on the folder itself, so that nothing is added to it.
    _lock: File,
}

impl DataDir {
    /// Makes what is missing, warns about what is odd, and takes the lock.
    ///
    /// # Errors
    /// When a folder cannot be used, or another process has it.
    pub(crate) fn open(config: &Config) -> Result<DataDir, Error> {
        let data = &config.data_dir;
        let kind = |e| Error::Refused(format!("cannot access data directory: {e}"));
        make(data).map_err(kind)?;
        scan(data)?;
        let member = config.member_dir();
        let inside = |e| Error::Refused(format!("cannot access member directory: {e}"));
        make(&member).map_err(inside)?;
        let lock = lock(&member)?;
        let snap = config.snap_dir();
        make(&snap).map_err(inside)?;
        probe(&member)
            .map_err(|e| Error::Refused(format!("cannot write to member directory: {e}")))?;
        let wal = config.wal_path();
        if config.wal_dir.is_some() {
            make(&wal)
                .and_then(|()| probe(&wal))
                .map_err(|e| Error::Refused(format!("cannot write to WAL directory: {e}")))?;
        }
        Ok(DataDir { snap, wal, _lock: lock })
    }
}

/// An error as Go words it, with operation and path.
fn at(operation: &str, path: &Path, error: &io::Error) -> String {
    format!("{operation} {}: {}", path.display(), io_error(error))
}

/// Makes a folder, or warns if the one that is there is open to others.
fn make(dir: &Path) -> Result<(), String> {
    match fs::metadata(dir) {
        Ok(meta) if meta.is_dir() => {
            let mode = meta.permissions().mode() & 0o777;
            if mode != DIR_MODE {
                let error = format!(
                    "directory {} exist, but the permission is \"d{}\". The recommended \
                     permission is \"-rwx------\" to prevent possible unprivileged access to \
                     the data",
                    crate::config::quoted(&dir.display().to_string()),
                    rwx(mode)
                );
                tracing::warn!(error, "check file permission");
            }
            Ok(())
        }
        Ok(_) => Err(format!("{} is not a directory", dir.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
            made.map_err(|e| at("mkdir", dir, &e))
        }
        Err(error) => Err(at("stat", dir, &error)),
    }
}

fn rwx(mode: u32) -> String {
    let letters = "rwxrwxrwx".chars().enumerate();
    letters.map(|(n, c)| if mode & (0o400 >> n) != 0 { c } else { '-' }).collect()
}

/// Warns about what does not belong there; the folder of the old proxy is refused.
fn scan(data: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(data) {
        Ok(entries) => entries,
        Err(e) => return refuse(format!("cannot access data directory: {}", at("open", data, &e))),
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    for name in &names {
        match name.as_str() {
            "member" | "fixtures" => {}
            "proxy" => return refuse("v2 http proxy has already been deprecated in 3.6"),
            "member.restoring" => {
                return refuse(format!(
                    "{} is what an interrupted restore or import left: run it again, or remove it",
                    data.join(name).display()
                ));
            }
            name => tracing::warn!(
                filename = name,
                "data-dir" = %data.display(),
                "found invalid file under data directory"
            ),
        }
    }
    let (dir, kind, text) = match names.iter().any(|n| n == "member") {
        true => (data, "member", "server has already been initialized"),
        false => (data, "empty", "Initialize and start etcd server"),
    };
    tracing::info!("data-dir" = %dir.display(), "dir-type" = kind, "{text}");
    Ok(())
}

fn lock(member: &Path) -> Result<File, Error> {
    let folder = File::open(member)
        .map_err(|e| Error::Refused(format!("cannot access member directory: {e}")))?;
    match folder.try_lock() {
        Ok(()) => Ok(folder),
        Err(TryLockError::WouldBlock) => refuse(format!(
            "data directory {} is used by another etcd process",
            member.parent().unwrap_or(member).display()
        )),
        Err(TryLockError::Error(e)) => {
            refuse(format!("cannot lock member directory: {}", at("flock", member, &e)))
        }
    }
}

fn probe(dir: &Path) -> Result<(), String> {
    let path = dir.join(PROBE);
    let mut options = fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = options.write(true).create(true).truncate(true).open(&path);
    made.map_err(|e| at("open", &path, &e))?;
    fs::remove_file(&path).map_err(|e| at("remove", &path, &e))
}
