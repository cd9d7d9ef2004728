//! The servers under test: started on a loopback port, watched through `/proc`, killed.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::statfs;

use crate::error::Error;
use crate::load;

/// The kernel counts CPU time in ticks of 10 ms on every platform we run on.
const TICKS_PER_S: u64 = 100;
/// How long a server may take to answer its first read.
const START_PATIENCE: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The server of this workspace.
    Ours,
    /// The distribution's etcd.
    Reference,
    /// The bare echo server.
    Echo,
}

impl Kind {
    /// The name in reports and paths.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Ours => "ours",
            Kind::Reference => "reference",
            Kind::Echo => "bare tonic",
        }
    }
}

/// A running server with a data directory of its own.
pub(crate) struct Server {
    place: Place,
    child: Child,
}

/// What a server is started from, each time.
struct Place {
    kind: Kind,
    binary: PathBuf,
    dir: PathBuf,
    name: String,
    listen: SocketAddr,
    peer: SocketAddr,
    /// All members as `name=url`.
    initial_cluster: String,
}

impl Server {
    /// Starts `binary` with an empty data directory under `base` and waits for its first read.
    ///
    /// # Errors
    /// It cannot be started or does not answer.
    pub(crate) fn start(kind: Kind, binary: &Path, base: &Path) -> Result<Self, Error> {
        let mut members = Server::start_cluster(kind, binary, base, 1)?;
        Ok(members.remove(0))
    }

    /// Starts a cluster of `size` members and waits until each of them answers a read.
    ///
    /// # Errors
    /// One cannot be started or does not answer.
    pub(crate) fn start_cluster(
        kind: Kind,
        binary: &Path,
        base: &Path,
        size: usize,
    ) -> Result<Vec<Self>, Error> {
        let dir = base.join(kind.name().replace(' ', "-"));
        remove(&dir)?;
        let mut places = Vec::new();
        for number in 0..size {
            places.push(Place {
                kind,
                binary: binary.to_owned(),
                dir: dir.join(format!("bench-{number}")),
                name: format!("bench-{number}"),
                listen: free_address()?,
                peer: free_address()?,
                initial_cluster: String::new(),
            });
        }
        let all: Vec<String> =
            places.iter().map(|p| format!("{}=http://{}", p.name, p.peer)).collect();
        let mut servers = Vec::new();
        for mut place in places {
            place.initial_cluster = all.join(",");
            fs::create_dir_all(&place.dir).map_err(|source| Error::File {
                action: "create",
                path: place.dir.clone(),
                source,
            })?;
            let child = spawn(&place)?;
            servers.push(Server { place, child });
        }
        for server in &mut servers {
            server.wait_ready()?;
        }
        Ok(servers)
    }

    /// Where it listens.
    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.place.listen
    }

    /// Whose it is.
    pub(crate) fn kind(&self) -> Kind {
        self.place.kind
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, start again on the same data: the time until the first linearizable read.
    ///
    /// # Errors
    /// It does not come back.
    pub(crate) fn kill_and_restart(&mut self) -> Result<Duration, Error> {
        let killed = Instant::now();
        self.kill()?;
        self.child = spawn(&self.place)?;
        Ok(self.wait_ready()?.duration_since(killed))
    }

    fn wait_ready(&mut self) -> Result<Instant, Error> {
        let child = &mut self.child;
        let mut alive = || matches!(child.try_wait(), Ok(None));
        load::first_read(self.place.listen, START_PATIENCE, &mut alive).map_err(|_| Error::Server {
            name: self.place.kind.name().to_owned(),
            problem: "does not answer",
            log: log_path(&self.place.dir),
        })
    }

    fn kill(&mut self) -> Result<(), Error> {
        let failed = |source| Error::System { action: "kill server", source };
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // At the end of a run nothing more can be done about either failure.
        drop(self.kill());
        drop(remove(&self.place.dir));
    }
}

fn spawn(place: &Place) -> Result<Child, Error> {
    let Place { kind, binary, dir, name, listen, peer, initial_cluster } = place;
    let log_path = log_path(dir);
    let log = File::options().create(true).append(true).open(&log_path);
    let log = log.map_err(|source| Error::File { action: "open", path: log_path, source })?;
    let error_log = log.try_clone().map_err(|source| Error::System { action: "clone", source })?;
    let mut command = Command::new(binary);
    match kind {
        Kind::Echo => {
            command.args(["echo-server", "--listen", &listen.to_string(), "--dir"]).arg(dir);
        }
        Kind::Ours | Kind::Reference => {
            command.args(["--name", name, "--data-dir"]).arg(dir.join("data"));
            command.args(["--listen-client-urls", &format!("http://{listen}")]);
            command.args(["--advertise-client-urls", &format!("http://{listen}")]);
            command.args(["--listen-peer-urls", &format!("http://{peer}")]);
            command.args(["--initial-advertise-peer-urls", &format!("http://{peer}")]);
            command.args(["--initial-cluster", initial_cluster]);
        }
    }
    command
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(error_log)
        .spawn()
        .map_err(|source| Error::File { action: "start", path: binary.clone(), source })
}

fn log_path(dir: &Path) -> PathBuf {
    dir.join("server.log")
}

/// Removes a directory and what is in it, if it is there.
///
/// # Errors
/// The system refuses.
pub(crate) fn remove(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File { action: "remove", path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A loopback address nobody listens on.
fn free_address() -> Result<SocketAddr, Error> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|source| Error::System { action: "find a free port", source })
}

/// Makes the directory for what is measured: the one given, or one beside the own binary.
///
/// # Errors
/// It cannot be made, or lies in memory.
pub(crate) fn data_dir(given: Option<&Path>) -> Result<PathBuf, Error> {
    let own = std::env::current_exe()
        .map_err(|source| Error::System { action: "find the own binary", source })?;
    let base = match (given, own.parent()) {
        (Some(dir), _) => dir.to_owned(),
        (None, Some(parent)) => parent.join("bench-data"),
        (None, None) => PathBuf::from("bench-data"),
    };
    let failed = |source| Error::File { action: "create", path: base.clone(), source };
    fs::create_dir_all(&base).map_err(failed)?;
    require_disk(&base)?;
    Ok(base)
}

/// Refuses a directory that lies in memory.
fn require_disk(dir: &Path) -> Result<(), Error> {
    let kind = statfs::statfs(dir).map_err(|errno| Error::File {
        action: "look up the file system of",
        path: dir.to_owned(),
        source: errno.into(),
    })?;
    if kind.filesystem_type() == statfs::TMPFS_MAGIC {
        return Err(Error::NotADisk(dir.to_owned()));
    }
    Ok(())
}

/// CPU time of a process up to now, user and system, all threads.
///
/// # Errors
/// There is no such process.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration, Error> {
    let stat = read_proc(pid, "stat")?;
    let ticks = parse_ticks(&stat).ok_or(Error::Answer("/proc/<pid>/stat in another form"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_S))
}

/// `utime + stime`: the fields 14 and 15, counted after the name, which may hold blanks.
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Resident memory of a process.
///
/// # Errors
/// There is no such process.
pub(crate) fn rss_mib(pid: u32) -> Result<f64, Error> {
    status_mib(pid, "VmRSS:")
}

/// Resident memory of a process at its highest since [`forget_peak_rss`], or its start.
///
/// # Errors
/// There is no such process.
pub(crate) fn peak_rss_mib(pid: u32) -> Result<f64, Error> {
    status_mib(pid, "VmHWM:")
}

/// From now on the highest is what is resident now.
///
/// # Errors
/// There is no such process, or it is not ours.
pub(crate) fn forget_peak_rss(pid: u32) -> Result<(), Error> {
    let path = PathBuf::from(format!("/proc/{pid}/clear_refs"));
    fs::write(&path, "5").map_err(|source| Error::File { action: "write", path, source })
}

fn status_mib(pid: u32, name: &str) -> Result<f64, Error> {
    let status = read_proc(pid, "status")?;
    let kib = parse_kib(&status, name);
    let kib = kib.ok_or(Error::Answer("/proc/<pid>/status in another form"))?;
    Ok(f64::from(kib) / 1024.0)
}

fn parse_kib(status: &str, name: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn read_proc(pid: u32, file: &str) -> Result<String, Error> {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    fs::read_to_string(&path).map_err(|source| Error::File { action: "read", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_ticks_are_found_behind_a_name_with_blanks() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 123 45 0 0 20 0 8 0 99 1 2";
        assert_eq!(parse_ticks(stat), Some(168));
        assert_eq!(parse_ticks("garbage"), None);
    }

    #[test]
    fn resident_memory_is_read_from_its_line() {
        let status = "Name:\tx\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\nThreads: 1\n";
        assert_eq!(parse_kib(status, "VmRSS:"), Some(2048));
        assert_eq!(parse_kib(status, "VmHWM:"), Some(4096));
    }

    #[test]
    fn this_process_has_cpu_time_and_memory() {
        let pid = std::process::id();
        assert!(cpu_time(pid).is_ok());
        assert!(rss_mib(pid).is_ok_and(|mib| mib > 0.0));
        forget_peak_rss(pid).expect("our own process");
        assert!(peak_rss_mib(pid).is_ok_and(|mib| mib > 0.0));
    }
}
