//! The commands.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use backend::Backend;
use mvcc::Store;

use crate::arguments::Command;
use crate::failure::Failure;
use crate::log::{self, Field};
use crate::print::{self, Format};

/// How long to wait between two attempts at a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Runs a command; gives what standard output owes.
///
/// # Errors
/// However it fails.
pub(crate) fn run(command: &Command) -> Result<String, Failure> {
    match command {
        Command::Version => Ok(version()),
        Command::Later(name) => Err(Failure::Command(name.clone())),
        Command::HashKv { path, revision, timeout, write_out } => {
            hash_kv(path, *revision, *timeout, Format::parse(write_out)?)
        }
        Command::Defrag { data_dir, timeout } => defrag(data_dir, *timeout),
    }
}

fn version() -> String {
    let release = base::version::SERVER;
    let api: Vec<&str> = release.split('.').take(2).collect();
    format!("etcdutl version: {release}\nAPI version: {}\n", api.join("."))
}

fn hash_kv(
    path: &Path,
    revision: i64,
    timeout: Duration,
    format: Format,
) -> Result<String, Failure> {
    let opened = Store::open(open(path, timeout)?, mvcc::Options::default())?;
    let found = opened.store.hash_kv(revision)?;
    Ok(print::hash_kv(format, &found))
}

fn defrag(data_dir: &Path, timeout: Duration) -> Result<String, Failure> {
    let path = data_dir.join("member").join("snap").join("db");
    let failed = |failure: Failure| Failure::Defragment {
        data_dir: data_dir.to_owned(),
        reason: match failure {
            Failure::Backend(backend::Error::Locked { .. }) => "timeout".to_owned(),
            other => other.to_string(),
        },
    };
    defrag_folder(&path, timeout).map_err(failed)?;
    Ok(String::new())
}

fn defrag_folder(path: &Path, timeout: Duration) -> Result<(), Failure> {
    let backend = open(path, timeout)?;
    let before = sizes(&backend)?;
    let size = |name, bytes: i64| (name, Field::Number(bytes));
    let shown = |name, bytes: i64| {
        (name, Field::Text(base::text::humanize_bytes(u64::try_from(bytes).unwrap_or(0))))
    };
    let named = || ("path", Field::Text(path.display().to_string()));
    log::info(
        "backend/backend.rs:1",
        "defragmenting",
        &[
            named(),
            size("current-db-size-bytes", before.0),
            shown("current-db-size", before.0),
            size("current-db-size-in-use-bytes", before.1),
            shown("current-db-size-in-use", before.1),
        ],
    );
    let start = Instant::now();
    backend.compact()?;
    let after = sizes(&backend)?;
    let took = i64::try_from(start.elapsed().as_nanos()).unwrap_or(i64::MAX);
    log::info(
        "backend/backend.rs:1",
        "finished defragmenting directory",
        &[
            named(),
            size("current-db-size-bytes-diff", after.0 - before.0),
            size("current-db-size-bytes", after.0),
            shown("current-db-size", after.0),
            size("current-db-size-in-use-bytes-diff", after.1 - before.1),
            size("current-db-size-in-use-bytes", after.1),
            shown("current-db-size-in-use", after.1),
            ("took", Field::Text(base::text::format_duration(took))),
        ],
    );
    Ok(())
}

/// Allocated and used bytes.
fn sizes(backend: &Backend) -> Result<(i64, i64), Failure> {
    let sizes = backend.sizes()?;
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok((signed(sizes.allocated), signed(sizes.in_use)))
}

/// Opens a member's database, waiting `timeout` for whoever has it open; zero waits for ever.
fn open(path: &Path, timeout: Duration) -> Result<Backend, Failure> {
    if !path.exists() {
        return Err(Failure::Missing(PathBuf::from(path)));
    }
    let end = Instant::now() + timeout;
    loop {
        match Backend::open(path, &backend::Options::default()) {
            Err(backend::Error::Locked { .. }) if timeout.is_zero() || Instant::now() < end => {
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return Ok(opened?),
        }
    }
}
