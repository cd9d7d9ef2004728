//! Backups: how long it takes to save, to look at and to restore one, and what a save costs the
//! server and those who write meanwhile. Both servers run beside one another, filled once; each
//! round asks one after the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::Error;
use crate::load;
use crate::open_loop::{self, Pace};
use crate::report;
use crate::server::{self, Kind, Server};

/// Keys of 256 bytes that are saved.
const KEYS: u64 = 1_000_000;
/// Puts per second while a backup is saved, whatever the server makes of them.
const PUTS_PER_S: u32 = 1_000;
/// How long they go on before the backup begins.
const PUTS_BEFORE: Duration = Duration::from_secs(2);

/// Flags of `backup`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Folder of this workspace's etcd, etcdctl and etcdutl.
    #[arg(long, default_value = "target/release")]
    ours: PathBuf,
    /// Folder of the etcd and etcdctl to compare with.
    #[arg(long, default_value = "/usr/bin")]
    reference: PathBuf,
    /// How often each of them does everything.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Keys in the store.
    #[arg(long, default_value_t = KEYS)]
    keys: u64,
    /// Where servers and backups lie; must be on a disk. The binary's directory by default.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the figures go as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What one round found of one server and its tools.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Round {
    /// Seconds of a save without other load.
    pub(crate) save_s: f64,
    /// Seconds to look at it.
    pub(crate) status_s: f64,
    /// Seconds to restore it.
    pub(crate) restore_s: f64,
    /// Resident memory at its highest during that save, above what it was before.
    pub(crate) rss_growth_mib: f64,
    /// 99 of 100 puts took at most this long before a save, from when each was due.
    pub(crate) put_p99_before_us: f64,
    /// The same during a save.
    pub(crate) put_p99_during_us: f64,
    /// Seconds of that save.
    pub(crate) save_under_load_s: f64,
}

/// By server: a round each.
pub(crate) type Figures = BTreeMap<&'static str, Vec<Round>>;

/// A server with its tools.
struct Contestant {
    server: Server,
    etcdctl: PathBuf,
    /// What looks at backups and restores them.
    offline: PathBuf,
    /// Where backups and restored members lie.
    dir: PathBuf,
}

/// Runs the comparison and prints its table.
///
/// # Errors
/// A server or a tool that fails, a directory that is not on a disk.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let base = server::data_dir(options.dir.as_deref())?;
    let mut contestants = Vec::new();
    for (kind, folder, offline) in
        [(Kind::Ours, &options.ours, "etcdutl"), (Kind::Reference, &options.reference, "etcdctl")]
    {
        let dir = base.join(format!("{}-backups", kind.name()));
        server::remove(&dir)?;
        std::fs::create_dir_all(&dir).map_err(|source| Error::File {
            action: "create",
            path: dir.clone(),
            source,
        })?;
        let server = Server::start(kind, &folder.join("etcd"), &base)?;
        report::note(&format!("{}: writes {} keys", kind.name(), options.keys));
        load::fill(server.endpoint(), options.keys)?;
        let (etcdctl, offline) = (folder.join("etcdctl"), folder.join(offline));
        contestants.push(Contestant { server, etcdctl, offline, dir });
    }
    let mut figures = Figures::new();
    for round in 0..options.rounds {
        for contestant in &contestants {
            let name = contestant.server.kind().name();
            let found = contestant.round(options.keys)?;
            let number = round + 1;
            report::note(&format!("round {number} of {}: {name}: {found:?}", options.rounds));
            figures.entry(name).or_default().push(found);
        }
        // Nobody always follows the same one.
        contestants.rotate_left(1);
    }
    contestants.iter().try_for_each(|contestant| server::remove(&contestant.dir))?;
    drop(contestants);
    // The directory is empty by now; if it is not, it is not ours to clear.
    drop(std::fs::remove_dir(&base));
    report::print_backups(&figures);
    match &options.json {
        Some(path) => report::write_json(&figures, path),
        None => Ok(()),
    }
}

impl Contestant {
    fn round(&self, keys: u64) -> Result<Round, Error> {
        let pid = self.server.pid();
        let (backup, restored) = (self.dir.join("backup.db"), self.dir.join("restored"));
        let before = server::rss_mib(pid)?;
        server::forget_peak_rss(pid)?;
        let save = timed(&mut self.save(&backup))?;
        let rss_growth_mib = server::peak_rss_mib(pid)? - before;
        let status = timed(self.offline(&["status"], &backup))?;
        let data_dir = format!("--data-dir={}", restored.display());
        let restore = timed(self.offline(&["restore", &data_dir], &backup))?;
        server::remove(&restored)?;
        let pace = Pace { puts_per_s: PUTS_PER_S, before: PUTS_BEFORE, keys };
        // Each backup has a name of its own, as a job's have: to replace one costs the disk more.
        let second = self.dir.join("second.db");
        let mut save_again = self.save(&second);
        let puts = open_loop::puts(self.server.endpoint(), pace, move || timed(&mut save_again))?;
        for path in [backup, second] {
            let failed = |source| Error::File { action: "remove", path: path.clone(), source };
            std::fs::remove_file(&path).map_err(failed)?;
        }
        Ok(Round {
            save_s: save.as_secs_f64(),
            status_s: status.as_secs_f64(),
            restore_s: restore.as_secs_f64(),
            rss_growth_mib,
            put_p99_before_us: puts.p99_before_us,
            put_p99_during_us: puts.p99_during_us,
            save_under_load_s: puts.during.as_secs_f64(),
        })
    }

    /// `snapshot save`, as an operator runs it.
    fn save(&self, path: &Path) -> Command {
        let mut command = tool(&self.etcdctl);
        let endpoints = format!("--endpoints={}", self.server.endpoint());
        command.args(["snapshot", "save", &endpoints]).arg(path);
        command
    }

    /// A command on a backup.
    fn offline(&self, args: &[&str], path: &Path) -> Command {
        let mut command = tool(&self.offline);
        command.arg("snapshot").args(args).arg(path);
        command
    }
}

fn tool(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env_clear().env("ETCDCTL_API", "3").stdin(Stdio::null());
    command
}

/// Runs it to its end; gives how long that took.
fn timed(mut command: impl std::borrow::BorrowMut<Command>) -> Result<Duration, Error> {
    let command = command.borrow_mut();
    let failed =
        |source, program: &Path| Error::File { action: "start", path: program.to_owned(), source };
    let start = Instant::now();
    let output = command.output();
    let took = start.elapsed();
    let program = Path::new(command.get_program());
    let output = output.map_err(|source| failed(source, program))?;
    if output.status.success() {
        return Ok(took);
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr.lines().last().unwrap_or_default().to_owned();
    Err(Error::Tool { program: program.to_owned(), reason })
}
