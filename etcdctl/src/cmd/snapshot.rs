//! `snapshot save` and `snapshot status`.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base::text::{humanize_bytes, io_error};
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use proto::etcdserverpb as pb;
use snapshot::Reader;
use tonic::codec::Streaming;

use super::endpoint::took;
use super::snapshot_file::{SnapshotFile, SteadyFile};
use crate::cli::Parsed;
use crate::failure::{Failure, code};
use crate::output;
use crate::print::Reply;
use crate::session::{Deadline, Session};
use crate::settings::Settings;

/// Who may read a backup: it holds every value of the store.
const MODE: u32 = 0o600;

/// Runs `snapshot save`.
pub(super) async fn save(parsed: Parsed) -> Result<(), Failure> {
    let path = one_path(&parsed, "snapshot save expects one argument <filename>")?;
    let session = super::open(parsed).await.map_err(|failure| match failure.code {
        code::BAD_CONNECTION => failure.with_code(code::INTERRUPTED),
        _ => failure,
    })?;
    let version =
        save_to(&session, &path).await.map_err(|failure| failure.with_code(code::INTERRUPTED))?;
    output::write(format!("Snapshot saved at {}\n", path.display()).as_bytes())?;
    if version.is_empty() {
        return Ok(());
    }
    output::write(format!("Server version {version}\n").as_bytes())
}

/// Runs `snapshot status`, in the form it had before it moved to etcdutl.
pub(super) fn status(mut parsed: Parsed) -> Result<(), Failure> {
    output::complain("Deprecated: Use `etcdutl snapshot status` instead.\n");
    let path = one_path(&parsed, "snapshot status requires exactly one argument")?;
    let style = Settings::read(&mut parsed, std::env::vars_os())?.style;
    let status = status_of(&path).map_err(|text| Failure::new(code::ERROR, text))?;
    output::print(style, &Reply::SnapshotStatus(&status))
}

fn one_path(parsed: &Parsed, otherwise: &str) -> Result<PathBuf, Failure> {
    let [path] = parsed.arguments.as_slice() else { return Err(Failure::arguments(otherwise)) };
    Ok(std::ffi::OsString::from_vec(path.clone()).into())
}

fn status_of(path: &Path) -> Result<snapshot::Status, String> {
    let failed = |action: &str, error: &io::Error| {
        format!("{action} {}: {}", path.display(), io_error(error))
    };
    let found = std::fs::metadata(path).map_err(|error| failed("stat", &error))?;
    if found.is_dir() {
        return Err(failed("open", &io::ErrorKind::IsADirectory.into()));
    }
    let file = File::open(path).map_err(|error| failed("open", &error))?;
    // A member that runs holds its own database locked.
    file.lock_shared().map_err(|error| failed("lock", &error))?;
    Reader::open(&file).and_then(|reader| reader.status()).map_err(|error| error.to_string())
}

/// Fetches a backup into `path`, by way of a file beside it that is gone afterwards. Gives the
/// version of the store, if the server tells it.
async fn save_to(session: &Session, path: &Path) -> Result<String, Failure> {
    let endpoints = &session.settings().endpoints;
    let [endpoint] = endpoints.as_slice() else {
        return Err(failed(format!(
            "snapshot must be requested to one selected node, not multiple [{}]",
            endpoints.join(" ")
        )));
    };
    let start = Instant::now();
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let shown = part.display();
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(MODE).open(&part);
    let file = file.map_err(|error| {
        failed(format!("could not open {shown} (open {shown}: {})", io_error(&error)))
    })?;
    let fields = [("path", &*part.to_string_lossy())];
    log("snapshot/v3_snapshot.go:83", "created temporary db file", &fields);
    let saved = match fetch(session, endpoint, file, &part, start).await {
        Ok(version) => rename(&part, path).map(|()| version),
        Err(failure) => Err(failure),
    };
    if saved.is_err() {
        // What arrived is of no use; that it cannot be removed is not worth another text.
        drop(std::fs::remove_file(&part));
    }
    saved
}

/// Fetches the backup, checks it and makes it durable. Gives the version of the store.
async fn fetch(
    session: &Session,
    endpoint: &str,
    file: File,
    part: &Path,
    start: Instant,
) -> Result<String, Failure> {
    let deadline = session.settings().explicit_timeout.map_or(Deadline::NEVER, Deadline::after);
    let mut pieces = open(session, deadline).await?;
    let from_client = [("logger", "client")];
    log("v3/maintenance.go:236", "opened snapshot stream; downloading", &from_client);
    let mut next = session.next(&mut pieces, deadline).await?;
    log("snapshot/v3_snapshot.go:96", "fetching snapshot", &[("endpoint", endpoint)]);
    let io_failed = |action: &str, error: &io::Error| {
        failed(format!("{action} {}: {}", part.display(), io_error(error)))
    };
    let mut arriving = SnapshotFile::new(SteadyFile::new(file));
    let bar = progress(next.as_ref());
    let mut version = String::new();
    while let Some(pb::SnapshotResponse { blob, version: of_store, .. }) = next {
        arriving.push(&blob).map_err(|error| io_failed("write", &error))?;
        bar.inc(blob.len() as u64);
        version = of_store;
        next = session.next(&mut pieces, deadline).await?;
    }
    drop(bar);
    log("v3/maintenance.go:302", "completed snapshot read; closing", &from_client);
    let (file, bytes) = arriving.finish().map_err(|error| match error {
        snapshot::Error::Io { action, source, .. } => io_failed(action, &source),
        other => failed(other.to_string()),
    })?;
    file.sync().map_err(|error| io_failed("fsync", &error))?;
    let fields = [
        ("endpoint", endpoint),
        ("size", &humanize_bytes(bytes)),
        ("took", &took(start)),
        ("etcd-version", &version),
    ];
    log("snapshot/v3_snapshot.go:111", "fetched snapshot", &fields);
    Ok(version)
}

/// Opens the stream. Without a deadline only the connection is bounded: a backup takes as long as
/// it takes, but where nobody listens there is none.
async fn open(
    session: &Session,
    deadline: Deadline,
) -> Result<Streaming<pb::SnapshotResponse>, Failure> {
    if session.settings().explicit_timeout.is_none() {
        session.connected().await?;
    }
    let method = "/etcdserverpb.Maintenance/Snapshot";
    session.server_stream(method, deadline, pb::SnapshotRequest {}).await
}

/// A bar on standard error, if that is a terminal; gone when dropped.
fn progress(first: Option<&pb::SnapshotResponse>) -> ProgressBar {
    let total = first.map_or(0, |piece| piece.remaining_bytes + piece.blob.len() as u64);
    let template = "{bar:40} {decimal_bytes} / {decimal_total_bytes} {decimal_bytes_per_sec}";
    let style = ProgressStyle::with_template(template).expect("the template is well formed");
    ProgressBar::new(total).with_style(style).with_finish(ProgressFinish::AndClear)
}

fn rename(part: &Path, path: &Path) -> Result<(), Failure> {
    let (from, to) = (part.display(), path.display());
    std::fs::rename(part, path).map_err(|error| {
        let reason = if path.is_dir() { "file exists".to_owned() } else { io_error(&error) };
        failed(format!("could not rename {from} to {to} (rename {from} {to}: {reason})"))
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Not every file system can sync a folder, and the contents are safe already.
    drop(File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all()));
    log("snapshot/v3_snapshot.go:121", "saved", &[("path", &*path.to_string_lossy())]);
    Ok(())
}

fn failed(text: String) -> Failure {
    Failure::new(code::INTERRUPTED, text)
}

fn log(caller: &str, message: &str, fields: &[(&str, &str)]) {
    output::log("info", caller, message, fields);
}
