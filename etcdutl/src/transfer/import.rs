//! Moving in: from a bbolt file and a log to a backend folder and the same log.

use std::fs::{self, File};
use std::path::Path;

use apply::Standing;
use backend::{Backend, image};
use base::version::{SERVER, Version};
use snapshot::Reader;

use super::{Log, Request};
use crate::aside::{Aside, Target, sync_dir};
use crate::failure::Failure;
use crate::files;
use crate::log::{self, Field};
use crate::progress::Progress;

/// Runs `import`.
///
/// # Errors
/// However it fails; nothing new is there then.
pub(crate) fn import(request: &Request) -> Result<(), Failure> {
    let target = Target::new(&request.to, &request.to_wal);
    target.check_absent()?;
    let db = request.snap_of_source().join("db");
    let found = fs::metadata(&db).map_err(Failure::io("stat", &db))?;
    if found.is_dir() {
        let db = db.display();
        return Err(Failure::Refused(format!("{db} is a folder: this member needs no import")));
    }
    // Held until the end: no etcd starts on it meanwhile.
    let held = files::open_shared(&db, request.timeout).map_err(|failure| match failure {
        Failure::Timeout => {
            Failure::Refused(format!("{} is in use by another process (timeout)", db.display()))
        }
        other => other,
    })?;
    let fields = [
        ("from-data-dir", Field::Text(request.from.display().to_string())),
        ("data-dir", Field::Text(target.data_dir.display().to_string())),
        ("wal-dir", Field::Text(target.wal_dir.display().to_string())),
    ];
    log::info("importing member", &fields);
    let aside = Aside::begin(target)?;
    copy_log(&request.wal_of_source(), &aside.wal_dir())?;
    // What is checked is what will be started from.
    let log = Log::read(&aside.wal_dir())?;
    let standing = backend(request, &held, &aside, &log)?;
    check(&log, &standing)?;
    copy_files(&request.snap_of_source(), &aside.snap_dir(), ".snap")?;
    sync_dir(&aside.snap_dir())?;
    aside.commit()?;
    log::info("imported member", &summary(&log, &standing));
    Ok(())
}

/// Makes the backend, from the file in use or from the one that was to replace it.
fn backend(request: &Request, db: &File, aside: &Aside, log: &Log) -> Result<Standing, Failure> {
    let path = aside.snap_dir().join("db");
    let standing = load(db, &path)?;
    if standing.index >= log.mark.0 {
        return Ok(standing);
    }
    let db = request.snap_of_source().join(format!("{:016x}.snap.db", log.mark.0));
    if !db.exists() {
        return Err(Failure::Refused(format!(
            "database file ({} index {}) does not match with snapshot (index {})",
            request.snap_of_source().join("db").display(),
            standing.index,
            log.mark.0
        )));
    }
    // The member stopped between receiving its leader's snapshot and installing it.
    fs::remove_dir_all(&path).map_err(Failure::io("remove", &path))?;
    load(&files::open(&db)?, &path)
}

fn load(file: &File, path: &Path) -> Result<Standing, Failure> {
    let backend = Backend::open(path, &backend::Options::default())?;
    let reader = Reader::open(file)?;
    let mut progress = Progress::new("importing", reader.size_bytes());
    image::load_rows(&reader, &backend, |_, key, value| {
        progress.add(key.len() + value.len());
        true
    })?;
    Ok(Standing::read(&backend)?)
}

fn check(log: &Log, standing: &Standing) -> Result<(), Failure> {
    log.check_reach(standing.index)?;
    log.check_member(standing)?;
    let ours: Version = SERVER.parse().expect("our version is one");
    match standing.cluster.version {
        Some(version) if version > ours => Err(Failure::Refused(format!(
            "invalid downgrade; server version is lower than determined cluster version \
             (current-server-version {ours}, determined-cluster-version {version})"
        ))),
        _ => Ok(()),
    }
}

fn summary(log: &Log, standing: &Standing) -> [(&'static str, Field); 4] {
    let metadata = log.recovered.metadata;
    let number = |of: u64| Field::Number(i64::try_from(of).unwrap_or(i64::MAX));
    [
        ("member-id", Field::Text(format!("{:x}", metadata.node_id))),
        ("cluster-id", Field::Text(format!("{:x}", metadata.cluster_id))),
        ("consistent-index", number(standing.index)),
        ("last-index", number(log.last_index())),
    ]
}

/// Copies a log file by file: its bytes are read by us as they are.
fn copy_log(from: &Path, to: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().mode(0o700).create(to);
    made.map_err(Failure::io("mkdir", to))?;
    copy_files(from, to, ".wal")?;
    sync_dir(to)
}

/// Copies the files whose names end so, durably but for their names.
fn copy_files(from: &Path, to: &Path, suffix: &str) -> Result<(), Failure> {
    let listed = fs::read_dir(from).map_err(Failure::io("open", from))?;
    for entry in listed {
        let entry = entry.map_err(Failure::io("read", from))?;
        let name = entry.file_name();
        if !name.to_string_lossy().ends_with(suffix) {
            continue;
        }
        let (source, copy) = (entry.path(), to.join(&name));
        // Opened to refuse what is no file.
        drop(files::open(&source)?);
        fs::copy(&source, &copy).map_err(Failure::io("copy", &source))?;
        let synced = File::open(&copy).and_then(|copy| copy.sync_all());
        synced.map_err(Failure::io("sync", &copy))?;
    }
    Ok(())
}
