//! The life of a server: start in order, serve, stop in the reverse order.

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::config::{self, Command, Config, Notice, Startup};
use crate::logging::{self, FATAL, List, go_duration};
use crate::running::Running;
use crate::signals::{self, End};

/// The exit status of a refusal or a failure.
const FAILURE: u8 = 1;
/// The exit status of Go's panics and of wrong usage.
const PANIC: u8 = 2;
/// How long a removed member stays, so that its last answers leave (etcd: 1 s).
const REMOVED_PAUSE: Duration = Duration::from_secs(1);

/// Runs what the arguments (without the program's name) and the environment ask for.
pub fn main(args: &[OsString], env: impl IntoIterator<Item = (OsString, OsString)>) -> ExitCode {
    match config::read(args, env) {
        Command::Print { stdout, stderr, code } => {
            write(&mut std::io::stdout(), &stdout);
            write(&mut std::io::stderr(), &stderr);
            ExitCode::from(code)
        }
        Command::Fatal { notices, message } => {
            if logging::install(&config::LogConfig::default()).is_ok() {
                logging::notices(&notices);
            }
            let variable = message.fields.first().map(|f| f.1.clone()).unwrap_or_default();
            let text = &message.message;
            tracing::error!(target: FATAL, { "environment-variable" = variable }, "{text}");
            ExitCode::from(FAILURE)
        }
        Command::Run(startup) => start(&startup, args),
    }
}

fn write(to: &mut dyn std::io::Write, text: &str) {
    // Nobody to tell.
    to.write_all(text.as_bytes()).and_then(|()| to.flush()).ok();
}

/// Checks the settings, then serves.
fn start(startup: &Startup, args: &[OsString]) -> ExitCode {
    let log = match startup.logging() {
        Ok(log) => log,
        Err(error) if error.starts_with("unrecognized level: ") => {
            write(&mut std::io::stderr(), &format!("panic: {error}\n"));
            return ExitCode::from(PANIC);
        }
        Err(error) => return refuse_flags(&startup.notices, &error, None),
    };
    if let Err(error) = logging::install(&log) {
        return refuse_flags(&startup.notices, &error, None);
    }
    logging::install_panic_hook();
    logging::notices(&startup.notices);
    let mut warnings = Vec::new();
    let checked = startup.validate(&mut warnings);
    logging::notices(&warnings);
    let program = std::env::args_os().next().unwrap_or_default();
    let all: Vec<String> =
        std::iter::once(&program).chain(args).map(|a| a.to_string_lossy().into_owned()).collect();
    tracing::info!(args = %List(&all), "Running: ");
    let config = match checked {
        Ok(config) => config,
        Err(invalid) => return log_refusal(&invalid.error, invalid.advice),
    };
    match serve(config) {
        Ok(code) => code,
        Err(error) => {
            // etcd's generic message of a start that failed.
            tracing::error!(target: FATAL, error, "discovery failed");
            ExitCode::from(FAILURE)
        }
    }
}

fn refuse_flags(notices: &[Notice], error: &str, advice: Option<&str>) -> ExitCode {
    if logging::install(&config::LogConfig::default()).is_ok() {
        logging::notices(notices);
    }
    log_refusal(error, advice)
}

fn log_refusal(error: &str, advice: Option<&str>) -> ExitCode {
    tracing::warn!(error, "failed to verify flags");
    if let Some(advice) = advice {
        tracing::warn!("{advice}");
    }
    ExitCode::from(FAILURE)
}

fn serve(config: Config) -> Result<ExitCode, String> {
    signals::block().map_err(|e| e.to_string())?;
    let ready = Arc::new(AtomicBool::new(false));
    let (end, ends) = mpsc::sync_channel(1);
    signals::listen(ready.clone(), end.clone()).map_err(|e| e.to_string())?;
    log_start(&config);
    let running = Running::start(config, end)?;
    ready.store(true, Ordering::Release);
    notify();
    match ends.recv().map_err(|e| e.to_string())? {
        End::Signal(stop) => {
            tracing::info!(signal = stop.name(), "received signal; shutting down");
            running.stop();
            stop.die();
            Ok(ExitCode::from(stop.status()))
        }
        End::Removed => {
            std::thread::sleep(REMOVED_PAUSE);
            tracing::warn!(
                error = "the member has been permanently removed from the cluster",
                "server error"
            );
            tracing::warn!("data-dir used by this member must be removed");
            running.stop();
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn notify() {
    tracing::info!("notifying init daemon");
    match crate::notify::ready(std::env::var_os(crate::notify::SOCKET_VARIABLE).as_deref()) {
        Ok(()) => tracing::info!("successfully notified init daemon"),
        Err(error) => {
            tracing::error!(error = %error, "failed to notify systemd for readiness");
        }
    }
}

/// The whole configuration in one line.
fn log_start(config: &Config) {
    let shown =
        |list: &[String]| if list.is_empty() { vec!["*".to_owned()] } else { list.to_vec() };
    let features: Vec<String> =
        config.gates.list().map(|(name, _, on)| format!("{name}={on}")).collect();
    tracing::info!(
        "etcd-version" = base::version::SERVER,
        "go-version" = config::TOOLCHAIN,
        "go-arch" = config::ARCH,
        "max-cpu-available" = std::thread::available_parallelism().map_or(1, |n| n.get()),
        name = config.name,
        "data-dir" = %config.data_dir.display(),
        "wal-dir-dedicated" =
            config.wal_dir.as_deref().map(|d| d.display().to_string()).unwrap_or_default(),
        "member-dir" = %config.member_dir().display(),
        "heartbeat-interval" = go_duration(config.heartbeat),
        "election-timeout" = go_duration(config.election),
        "initial-election-tick-advance" = config.initial_election_tick_advance,
        "snapshot-count" = config.snapshot_count,
        "max-wals" = config.max_wals,
        "max-snapshots" = config.max_snapshots,
        "snapshot-catchup-entries" = config.snapshot_catchup_entries,
        "initial-advertise-peer-urls" = %List(&config.advertise_peer_urls),
        "listen-peer-urls" = %List(&config.listen_peer_urls),
        "advertise-client-urls" = %List(&config.advertise_client_urls),
        "listen-client-urls" = %List(&config.listen_client_urls),
        "listen-metrics-urls" = %List(&config.listen_metrics_urls),
        cors = %List(&shown(&config.cors)),
        "host-whitelist" = %List(&shown(&config.host_whitelist)),
        "initial-cluster" = config.initial_cluster,
        "initial-cluster-state" = if config.join_existing { "existing" } else { "new" },
        "initial-cluster-token" = config.initial_cluster_token,
        "quota-backend-bytes" = config.quota_backend_bytes,
        "max-request-bytes" = config.max_request_bytes,
        "max-concurrent-streams" = config.max_concurrent_streams,
        "pre-vote" = config.pre_vote,
        "feature-gates" = features.join(","),
        "starting an etcd server"
    );
}
