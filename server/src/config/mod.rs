//! Flags and environment variables: one table, Go's parsing, etcd's checks, a typed [`Config`].

mod flags;
mod gates;
mod number;
mod parse;
mod removed;
mod tls;
mod url;
mod validate;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use self::tls::TlsFlags;
pub(crate) use gates::Gates;
pub(crate) use parse::Notice;
#[cfg(test)]
pub(crate) use url::Scheme;
pub(crate) use url::Url;

use parse::{Refusal, Settings};

/// The long per-flag text of `--help`.
pub(crate) const HELP: &str = include_str!("help.txt");
/// The short usage text.
pub(crate) const USAGE: &str = include_str!("usage.txt");

/// The quota when `--quota-backend-bytes` is 0 (etcd 3.7: 2 GiB).
pub(crate) const QUOTA_DEFAULT_BYTES: i64 = 2 * 1024 * 1024 * 1024;
/// The quota above which etcd warns (8 GiB).
pub(crate) const QUOTA_SUGGESTED_MAX_BYTES: i64 = 8 * 1024 * 1024 * 1024;
/// The request limit above which etcd warns (10 MiB).
pub(crate) const REQUEST_RECOMMENDED_MAX_BYTES: u64 = 10 * 1024 * 1024;

/// The checked configuration of a server.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// `--name`.
    pub name: String,
    /// `--data-dir`, or `<name>.etcd`.
    pub data_dir: PathBuf,
    /// `--wal-dir`, if it is not empty.
    pub wal_dir: Option<PathBuf>,
    /// `--listen-peer-urls`.
    pub listen_peer_urls: Vec<Url>,
    /// `--listen-client-urls`.
    pub listen_client_urls: Vec<Url>,
    /// `--listen-client-http-urls`.
    pub listen_client_http_urls: Vec<Url>,
    /// `--listen-metrics-urls`.
    pub listen_metrics_urls: Vec<Url>,
    /// `--initial-advertise-peer-urls`.
    pub advertise_peer_urls: Vec<Url>,
    /// `--advertise-client-urls`.
    pub advertise_client_urls: Vec<Url>,
    /// TLS towards clients.
    pub client_tls: TlsFlags,
    /// TLS among peers.
    pub peer_tls: TlsFlags,
    /// `--self-signed-cert-validity`, in years.
    pub self_signed_years: u64,
    /// `--cipher-suites`.
    pub cipher_suites: Vec<String>,
    /// `--tls-min-version`; none is the library's.
    pub tls_min_version: Option<::tls::Version>,
    /// `--tls-max-version`; none is the library's.
    pub tls_max_version: Option<::tls::Version>,
    /// `--initial-cluster`, as text.
    pub initial_cluster: String,
    /// Whether `--initial-cluster-state` is `existing`.
    pub join_existing: bool,
    /// `--initial-cluster-token`.
    pub initial_cluster_token: String,
    /// `--max-snapshots`; 0 keeps all.
    pub max_snapshots: u64,
    /// `--max-wals`; 0 keeps all.
    pub max_wals: u64,
    /// `--snapshot-count`.
    pub snapshot_count: u64,
    /// `--snapshot-catchup-entries`.
    pub snapshot_catchup_entries: u64,
    /// `--heartbeat-interval`.
    pub heartbeat: Duration,
    /// `--election-timeout`.
    pub election: Duration,
    /// `--raft-read-timeout` and `--raft-write-timeout`, at least 5 s each.
    pub peer_timeouts: rafthttp::IoTimeouts,
    /// `--initial-election-tick-advance`.
    pub initial_election_tick_advance: bool,
    /// `--pre-vote`.
    pub pre_vote: bool,
    /// `--quota-backend-bytes`, with the default in place of 0; negative switches it off.
    pub quota_backend_bytes: i64,
    /// `--max-txn-ops`.
    pub max_txn_ops: u64,
    /// `--max-request-bytes`.
    pub max_request_bytes: u64,
    /// `--max-concurrent-streams`.
    pub max_concurrent_streams: u32,
    /// `--grpc-keepalive-interval` and `--grpc-keepalive-timeout`, if both are positive.
    pub keepalive: Option<(Duration, Duration)>,
    /// `--grpc-keepalive-min-time`, if it is positive.
    pub ping_spacing: Option<Duration>,
    /// `--socket-reuse-port`.
    pub reuse_port: bool,
    /// `--auto-compaction-mode` and `--auto-compaction-retention`; a bad one fails the start.
    pub auto_compaction: Result<Retention, String>,
    /// `--compaction-batch-limit`, with the default in place of 0.
    pub compaction_batch_limit: usize,
    /// `--compaction-sleep-interval`, with the default in place of 0.
    pub compaction_sleep: Duration,
    /// `--watch-progress-notify-interval`, with the default in place of 0.
    pub watch_progress_interval: Duration,
    /// `--bootstrap-defrag-threshold-megabytes`; 0 switches it off.
    pub bootstrap_defrag_mib: u64,
    /// Allowed origins of `--cors`; empty allows all.
    pub cors: Vec<String>,
    /// Allowed hosts of `--host-whitelist`; empty allows all.
    pub host_whitelist: Vec<String>,
    /// Whether `--metrics` is `extensive`.
    pub extensive_metrics: bool,
    /// `--warning-apply-duration`.
    pub warning_apply: Duration,
    /// `--warning-unary-request-duration`, with the default in place of 0.
    pub warning_unary: Duration,
    /// `--strict-reconfig-check`.
    pub strict_reconfig_check: bool,
    /// `--max-learners`.
    pub max_learners: usize,
    /// `--force-new-cluster`.
    pub force_new_cluster: bool,
    /// `--corrupt-check-time`, if it is positive.
    pub corrupt_check: Option<Duration>,
    /// `--compact-hash-check-time`, if it is positive and its gate is on.
    pub compact_hash_check: Option<Duration>,
    /// `--unsafe-no-fsync`.
    pub unsafe_no_fsync: bool,
    /// `--feature-gates`.
    pub gates: Gates,
}

impl Config {
    /// The time a request may take: 5 s and two election timeouts.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election
    }

    /// Where the member keeps its state.
    pub(crate) fn member_dir(&self) -> PathBuf {
        self.data_dir.join("member")
    }

    /// Where snapshots and the backend are.
    pub(crate) fn snap_dir(&self) -> PathBuf {
        self.member_dir().join("snap")
    }

    /// Where the WAL is.
    pub(crate) fn wal_path(&self) -> PathBuf {
        self.wal_dir.as_deref().map_or_else(|| self.member_dir().join("wal"), Path::to_path_buf)
    }

    /// Raft ticks per election timeout.
    pub(crate) fn election_ticks(&self) -> usize {
        let ticks = self.election.as_millis() / self.heartbeat.as_millis().max(1);
        usize::try_from(ticks).unwrap_or(usize::MAX)
    }

    /// The smallest lease TTL in seconds: one and a half election timeouts, rounded up.
    pub(crate) fn min_lease_ttl(&self) -> i64 {
        let ms = (self.election.as_millis() * 3).div_ceil(2);
        i64::try_from(ms.div_ceil(1000)).unwrap_or(i64::MAX)
    }
}

/// What `--auto-compaction-retention` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// Nothing is compacted.
    Off,
    /// History of this duration is kept.
    Periodic(Duration),
    /// This many revisions are kept.
    Revisions(i64),
}

impl Retention {
    /// Reads a retention: a whole number of hours or revisions, else a Go duration.
    ///
    /// # Errors
    /// etcd's start-up text.
    pub(crate) fn parse(mode: &str, text: &str) -> Result<Retention, String> {
        let digits = text.strip_prefix('+').unwrap_or(text);
        let whole = match digits.bytes().all(|b| b.is_ascii_digit()) {
            true => digits.parse::<i64>().ok(),
            false => None,
        };
        let fail = |e| format!("error parsing CompactionRetention: {e}");
        let hour = 3_600_000_000_000;
        Ok(if mode == "revision" {
            let kept = match whole {
                Some(n) => n,
                None => base::text::parse_duration(text).map_err(|e| fail(e.to_string()))?,
            };
            if kept == 0 { Retention::Off } else { Retention::Revisions(kept) }
        } else {
            let nanos = match whole {
                Some(hours) => hours.saturating_mul(hour),
                None => base::text::parse_duration(text).map_err(|e| fail(e.to_string()))?,
            };
            match u64::try_from(nanos) {
                Ok(nanos) if nanos > 0 => Retention::Periodic(Duration::from_nanos(nanos)),
                Ok(_) | Err(_) => Retention::Off,
            }
        })
    }
}

/// Where and how to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogConfig {
    /// The targets: `stderr`, `stdout` or paths.
    pub outputs: Vec<String>,
    /// The least severe level to log.
    pub level: tracing::Level,
    /// Only lines of dpanic and above.
    pub fatal_only: bool,
    /// Tab separated text instead of JSON.
    pub console: bool,
}

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run a server.
    Run(Box<Startup>),
    /// Print these texts on stdout and stderr and exit with this code.
    Print {
        /// For stdout.
        stdout: String,
        /// For stderr.
        stderr: String,
        /// The exit code.
        code: u8,
    },
    /// Log these lines, then this one as fatal, and exit 1.
    Fatal {
        /// Lines to log first.
        notices: Vec<Notice>,
        /// The fatal message and its field.
        message: Notice,
    },
}

/// Settings that are syntactically sound; checked by [`Startup::validate`] once logging works.
#[derive(Debug)]
pub(crate) struct Startup {
    /// Lines gathered while parsing, to be logged first.
    pub notices: Vec<Notice>,
    settings: Result<Settings, String>,
}

/// A refusal of [`Startup::validate`]: etcd logs it as `failed to verify flags` and exits 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// The text of field `error`.
    pub error: String,
    /// A second warning, if there is one.
    pub advice: Option<&'static str>,
}

impl Startup {
    /// How to log; the settings refused so far are logged in the default way.
    ///
    /// # Errors
    /// etcd's text for `failed to verify flags`.
    pub(crate) fn logging(&self) -> Result<LogConfig, String> {
        match &self.settings {
            Ok(settings) => validate::logging(settings),
            Err(_) => Ok(LogConfig::default()),
        }
    }

    /// Checks everything, in etcd's order; warnings are added to `notices`.
    ///
    /// # Errors
    /// The first fault.
    pub(crate) fn validate(&self, notices: &mut Vec<Notice>) -> Result<Config, Invalid> {
        match &self.settings {
            Ok(settings) => validate::config(settings, notices),
            Err(error) => Err(Invalid { error: error.clone(), advice: None }),
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            outputs: vec!["stderr".to_owned()],
            level: tracing::Level::INFO,
            fatal_only: false,
            console: false,
        }
    }
}

/// Reads the arguments (without the program's name) and the environment.
pub(crate) fn read(
    args: &[OsString],
    env: impl IntoIterator<Item = (OsString, OsString)>,
) -> Command {
    let print = |stdout: &str, stderr: String, code| Command::Print {
        stdout: stdout.to_owned(),
        stderr,
        code,
    };
    if let Some(sub) = args.first().filter(|a| *a == "gateway" || *a == "grpc-proxy") {
        let text = format!("etcd {} is not available in this version\n", sub.display());
        return print("", text, 1);
    }
    let mut settings = Settings::defaults();
    let mut notices = Vec::new();
    let mut outcome = settings.arguments(args, &mut notices);
    if outcome.is_ok() && settings.bool("version") {
        return print(&version_text(), String::new(), 0);
    }
    if outcome.is_ok() {
        outcome = settings.environment(env, &mut notices);
    }
    match outcome {
        Ok(()) => Command::Run(Box::new(Startup { notices, settings: Ok(settings) })),
        Err(Refusal::Help) => print(HELP, USAGE.to_owned(), 0),
        Err(Refusal::Syntax(text)) => print("", format!("{text}\n{USAGE}"), 2),
        Err(Refusal::Verify(error)) => {
            Command::Run(Box::new(Startup { notices, settings: Err(error) }))
        }
        Err(Refusal::Conflict(variable)) => {
            let text = "conflicting environment variable is shadowed by corresponding \
                        command-line flag (either unset environment variable or disable flag))";
            let message = Notice::warn(text).with("environment-variable", variable);
            Command::Fatal { notices, message }
        }
    }
}

/// The four lines of `--version`; "Go Version" names our toolchain.
fn version_text() -> String {
    format!(
        "etcd Version: {}\nGit SHA: {GIT_SHA}\nGo Version: {TOOLCHAIN}\nGo OS/Arch: {OS}/{ARCH}\n",
        base::version::SERVER
    )
}

/// The commit this was built from, if the build said so.
pub(crate) const GIT_SHA: &str = match option_env!("ETCD_BUILD_GIT_SHA") {
    Some(sha) => sha,
    None => "Not provided",
};
/// The toolchain, where etcd names Go's.
pub(crate) const TOOLCHAIN: &str = concat!("rust", env!("CARGO_PKG_RUST_VERSION"));
/// The operating system.
pub(crate) const OS: &str = std::env::consts::OS;
/// The architecture, in Go's words.
pub(crate) const ARCH: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

/// A text in Go's quotes.
pub(crate) fn quoted(text: &str) -> String {
    base::text::quote(text.as_bytes())
}

#[cfg(test)]
mod tests;
