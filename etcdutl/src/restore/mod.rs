//! `snapshot restore`: a member of a new cluster from a snapshot.
//!
//! ```text
//!   flags ─▶ founders (ids) ─▶ target (absent?) ─▶ file ─▶ aside ─▶ rows ─▶ raft files ─▶ commit
//! ```

mod founders;
mod raft_files;
mod rows;

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::aside::{Aside, Target};
use crate::failure::Failure;
use crate::files;
use crate::log::{self, Field};
use founders::Founders;

/// `--initial-memory-map-size` unless given.
const MEMORY_MAP_BYTES: u64 = 10 << 30;

/// What the flags say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// The snapshots named; one is right.
    pub(crate) files: Vec<PathBuf>,
    /// `--name`.
    pub(crate) name: String,
    /// `--initial-cluster`.
    pub(crate) initial_cluster: String,
    /// `--initial-cluster-token`.
    pub(crate) token: String,
    /// `--initial-advertise-peer-urls`.
    pub(crate) peer_urls: String,
    /// `--data-dir`; empty stands for `<name>.etcd`.
    pub(crate) data_dir: PathBuf,
    /// `--wal-dir`; empty stands for the usual place.
    pub(crate) wal_dir: PathBuf,
    /// `--skip-hash-check`.
    pub(crate) skip_hash_check: bool,
    /// `--bump-revision`.
    pub(crate) bump_revision: u64,
    /// `--mark-compacted`.
    pub(crate) mark_compacted: bool,
    /// `--initial-memory-map-size`, which has no meaning here but in the log.
    pub(crate) memory_map_bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// However it fails; nothing new is there then.
pub(crate) fn run(request: &Request) -> Result<(), Failure> {
    let [path] = request.files.as_slice() else {
        let text = "snapshot restore requires exactly one argument";
        return Err(Failure::Arguments(text.to_owned()));
    };
    if (request.bump_revision > 0) != request.mark_compacted {
        let text = "--mark-compacted required if --revision-bump > 0";
        return Err(Failure::Arguments(text.to_owned()));
    }
    let founders = Founders::of_flags(
        &request.name,
        &request.initial_cluster,
        &request.peer_urls,
        &request.token,
    )?;
    let target = target(request);
    target.check_absent()?;
    let fields = || fields(request, path.as_os_str(), &target);
    log::info("restoring snapshot", &fields());
    let image = rows::Image::open(path, files::open(path)?, request.skip_hash_check)?;
    let aside = Aside::begin(target.clone())?;
    rows::restore(&image, &aside.snap_dir().join("db"), &founders, request.bump_revision)?;
    for member in &founders.members {
        log::info("added member", &added(&founders, member));
    }
    raft_files::write(&aside, &founders)?;
    if verify_asked() {
        raft_files::verify(&aside, &founders)?;
    }
    aside.commit()?;
    log::info("restored snapshot", &fields());
    Ok(())
}

/// Where the member is to stand.
fn target(request: &Request) -> Target {
    match request.data_dir.as_os_str().is_empty() {
        true => Target::new(&PathBuf::from(format!("{}.etcd", request.name)), &request.wal_dir),
        false => Target::new(&request.data_dir, &request.wal_dir),
    }
}

fn fields(request: &Request, path: &OsStr, target: &Target) -> [(&'static str, Field); 5] {
    let text = |path: &OsStr| Field::Text(path.to_string_lossy().into_owned());
    let memory_map = match request.memory_map_bytes {
        0 => MEMORY_MAP_BYTES,
        given => given,
    };
    [
        ("path", text(path)),
        ("wal-dir", text(target.wal_dir.as_os_str())),
        ("data-dir", text(target.data_dir.as_os_str())),
        ("snap-dir", text(target.snap_dir().as_os_str())),
        ("initial-memory-map-size", Field::Number(i64::try_from(memory_map).unwrap_or(i64::MAX))),
    ]
}

fn added(founders: &Founders, member: &base::Member) -> [(&'static str, Field); 5] {
    [
        ("cluster-id", Field::Text(format!("{:x}", founders.cluster_id))),
        ("local-member-id", Field::Text("0".to_owned())),
        ("added-peer-id", Field::Text(format!("{:x}", member.id))),
        ("added-peer-peer-urls", Field::List(member.peer_urls.clone())),
        ("added-peer-is-learner", Field::Bool(false)),
    ]
}

/// `ETCD_VERIFY`, as etcd's tools read it.
fn verify_asked() -> bool {
    std::env::var("ETCD_VERIFY").is_ok_and(|what| what == "all" || what == "storage_wal")
}

#[cfg(test)]
mod tests;
