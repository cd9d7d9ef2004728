//! Moving out: from a backend folder and a log to a bbolt file and a log that another etcd reads.

use apply::Standing;
use backend::Backend;
use base::version::{SERVER, Version};
use wal::{HardState, SnapDir, Snapshot, SnapshotRecord, Wal};

use super::{Log, Request, catch_up::catch_up, image};
use crate::aside::{Aside, Target, sync_dir};
use crate::commands;
use crate::failure::Failure;
use crate::log::{self, Field};
use crate::needs;

/// The oldest version there is an export for.
const MIN: Version = Version::new(3, 4, 0);

/// Runs `export` for an etcd of the version `target`, `X.Y`.
///
/// # Errors
/// However it fails; nothing new is there then.
pub(crate) fn export(request: &Request, target: &str) -> Result<(), Failure> {
    let version = parse(target)?;
    let place = Target::new(&request.to, &request.to_wal);
    place.check_absent()?;
    let db = request.snap_of_source().join("db");
    let backend = commands::open(&db, request.timeout).map_err(|failure| match failure {
        Failure::Timeout => {
            Failure::Refused(format!("{} is in use by another process (timeout)", db.display()))
        }
        other => other,
    })?;
    log::info(
        "exporting member",
        &[
            ("data-dir", Field::Text(request.from.display().to_string())),
            ("to-data-dir", Field::Text(place.data_dir.display().to_string())),
            ("to-wal-dir", Field::Text(place.wal_dir.display().to_string())),
            ("target-version", Field::Text(version.to_string())),
        ],
    );
    let log = Log::read(&request.wal_of_source())?;
    let backend = take_over_staged(backend, &log)?;
    log.check_reach(Standing::read(&backend)?.index)?;
    let mut standing = catch_up(&backend, &log)?;
    if standing.index == 0 {
        return Err(Failure::Refused("the member has applied nothing yet".to_owned()));
    }
    standing.term = log.term_of(&standing)?;
    log.check_member(&standing)?;
    check_rest(&log, &standing, version)?;
    let aside = Aside::begin(place)?;
    image::write(&backend, &standing, version, &aside.snap_dir().join("db"))?;
    write_raft_files(&aside, &log, &standing, version)?;
    sync_dir(&aside.snap_dir())?;
    aside.commit()?;
    let number = |of: u64| Field::Number(i64::try_from(of).unwrap_or(i64::MAX));
    let fields = [("index", number(standing.index)), ("term", number(standing.term))];
    log::info("exported member", &fields);
    Ok(())
}

/// The backend a leader sent, if the member stopped before it could be installed.
fn take_over_staged(backend: Backend, log: &Log) -> Result<Backend, Failure> {
    let index = Standing::read(&backend)?.index;
    if index >= log.mark.0 {
        return Ok(backend);
    }
    if let Some(staged) = backend.staged()?
        && Standing::read(staged.backend())?.index == log.mark.0
    {
        return Ok(staged.install()?);
    }
    Err(Failure::Refused(format!(
        "database file ({} index {index}) does not match with snapshot (index {})",
        backend.path().display(),
        log.mark.0
    )))
}

/// `X.Y`, from 3.4 to ours.
fn parse(text: &str) -> Result<Version, Failure> {
    let ours: Version = SERVER.parse().expect("our version is one");
    let parts = text
        .split_once('.')
        .and_then(|(major, minor)| Some(Version::new(major.parse().ok()?, minor.parse().ok()?, 0)));
    match parts {
        Some(version) if (MIN..=ours).contains(&version) => Ok(version),
        _ => Err(Failure::Arguments(format!(
            "target version {} not supported: \"3.4\" to \"{}.{}\" are",
            base::text::quote(text.as_bytes()),
            ours.major,
            ours.minor
        ))),
    }
}

/// What is not applied yet goes along, and must be readable there.
fn check_rest(log: &Log, standing: &Standing, target: Version) -> Result<(), Failure> {
    let rest = log.recovered.entries.iter().filter(|entry| entry.index > standing.index);
    for entry in rest {
        let needed = needs::version_of(entry);
        if needed > target {
            return Err(Failure::Refused(format!(
                "entry {} is not committed yet and needs etcd {}.{}: let the cluster agree on it \
                 first",
                entry.index, needed.major, needed.minor
            )));
        }
    }
    Ok(())
}

/// A log that begins with a snapshot of where the backend stands, and the `.snap` file of it.
fn write_raft_files(
    aside: &Aside,
    log: &Log,
    standing: &Standing,
    target: Version,
) -> Result<(), Failure> {
    let (index, term) = (standing.index, standing.term);
    let conf_state = standing.cluster.members.conf_state();
    let members: Vec<base::Member> = standing.cluster.members.iter().cloned().collect();
    let removed: Vec<u64> = standing.cluster.members.removed().collect();
    let version = image::cluster_version(standing, target).map(|version| version.to_string());
    let document = wal::store_document(&members, &removed, version.as_deref());
    SnapDir::open(&aside.snap_dir(), None)?.save(&Snapshot {
        index,
        term,
        conf_state: conf_state.clone(),
        data: document.into(),
    })?;
    let recovered = &log.recovered;
    let state = HardState {
        term: recovered.hard_state.term.max(term),
        vote: recovered.hard_state.vote,
        commit: recovered.hard_state.commit.max(index),
    };
    let rest: Vec<wal::Entry> =
        recovered.entries.iter().filter(|entry| entry.index > index).cloned().collect();
    let mut wal = Wal::create(&aside.wal_dir(), &recovered.metadata, &wal::Options::default())?;
    wal.save_snapshot(&SnapshotRecord { index, term, conf_state: Some(conf_state) })?;
    wal.save(&rest, Some(&state))?;
    Ok(wal.close()?)
}
