//! From [`Settings`] to [`Config`]: etcd's checks in etcd's order, then ours.

use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use super::flags::{Effect, FLAGS, Kind};
use super::gates::Gates;
use super::number::{parse_bool, parse_int, parse_uint};
use super::parse::{Notice, Settings, Source};
use super::tls::{TlsFlags, version};
use super::url::{Scheme, Url};
use super::{
    Config, Invalid, LogConfig, QUOTA_DEFAULT_BYTES, QUOTA_SUGGESTED_MAX_BYTES,
    REQUEST_RECOMMENDED_MAX_BYTES, Retention,
};

/// The default of `--snapshot-count`, also in place of 0.
const SNAPSHOT_COUNT_DEFAULT: u64 = 10_000;
/// The default of `--snapshot-catchup-entries`, also in place of 0.
const SNAPSHOT_CATCHUP_DEFAULT: u64 = 5_000;
/// The longest election timeout (etcd: 50 s).
const ELECTION_MAX_MS: u64 = 50_000;
/// The shortest period of progress notifications.
const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);

fn invalid(error: impl Into<String>) -> Invalid {
    Invalid { error: error.into(), advice: None }
}

/// The logger's part of the settings.
pub(super) fn logging(settings: &Settings) -> Result<LogConfig, String> {
    let quoted = |text: &str| crate::config::quoted(text);
    match settings.text("logger") {
        "zap" => {}
        "capnslog" => return Err("--logger=capnslog is removed in v3.5".to_owned()),
        other => return Err(format!("unknown logger option {}", quoted(other))),
    }
    let mut outputs = settings.list("log-outputs");
    outputs.sort();
    outputs.dedup();
    if outputs.iter().any(|o| o == "default") && outputs.len() > 1 {
        if outputs.iter().any(|o| o == "systemd/journal") {
            return Err(format!(
                "running with systemd/journal but other '--log-outputs' values ([{}]) are \
                 configured with 'default'; override 'default' value with something else",
                outputs.join(" ")
            ));
        }
        return Err("multi logoutput for \"default\" is not supported yet".to_owned());
    }
    if outputs.iter().any(|o| o == "systemd/journal") {
        return Err("--log-outputs=systemd/journal is refused: writing to the journal is not \
                    available in this version"
            .to_owned());
    }
    if outputs.iter().any(String::is_empty) {
        return Err("open sink \"\": open : no such file or directory".to_owned());
    }
    if outputs.iter().any(|o| o == "/dev/null") {
        outputs = vec!["/dev/null".to_owned()];
    }
    for output in &mut outputs {
        if output == "default" {
            *output = "stderr".to_owned();
        }
    }
    let console = match settings.text("log-format") {
        "json" | "" => false,
        "console" => true,
        other => {
            return Err(format!("unknown log format: {other}, supported values json, console"));
        }
    };
    let (level, fatal_only) = match settings.text("log-level").to_ascii_lowercase().as_str() {
        "debug" => (tracing::Level::DEBUG, false),
        "info" | "" => (tracing::Level::INFO, false),
        "warn" => (tracing::Level::WARN, false),
        "error" => (tracing::Level::ERROR, false),
        "dpanic" | "panic" | "fatal" => (tracing::Level::ERROR, true),
        // etcd panics here, which ends with status 2; the caller does the same.
        _ => return Err(format!("unrecognized level: {}", quoted(settings.text("log-level")))),
    };
    Ok(LogConfig { outputs, level, fatal_only, console })
}

/// All checks.
pub(super) fn config(settings: &Settings, notices: &mut Vec<Notice>) -> Result<Config, Invalid> {
    if settings.text("discovery-fallback") == "proxy" {
        return Err(invalid(
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"",
        ));
    }
    check_bindable(settings, notices)?;
    check_bootstrap_sources(settings)?;
    check_timing(settings)?;
    let explicit = |name| settings.source(name) != Source::Default;
    if explicit("listen-client-urls") && !explicit("advertise-client-urls") {
        let error =
            "--advertise-client-urls is required when --listen-client-urls is set explicitly";
        let advice = Some("advertise client URLs are not set");
        return Err(Invalid { error: error.to_owned(), advice });
    }
    check_modes(settings)?;
    if settings.text("name") == "default" {
        notices.push(Notice::warn(
            "it isn't recommended to use default name, please set a value for --name. Note that \
             etcd might run into issue when multiple members have the same default name",
        ));
    }
    check_tls_versions(settings)?;
    refuse_unavailable(settings, notices)?;
    build(settings, notices)
}

/// Listen URLs need an address, not a name.
fn check_bindable(settings: &Settings, notices: &mut Vec<Notice>) -> Result<(), Invalid> {
    let check = |name| {
        for url in settings.urls(name) {
            let tcp = matches!(url.scheme, Scheme::Http | Scheme::Https);
            if tcp && url.bind_address().is_none() {
                return Err(invalid(format!("expected IP in URL for binding ({url})")));
            }
        }
        Ok(())
    };
    check("listen-peer-urls")?;
    check("listen-client-urls")?;
    check("listen-client-http-urls")?;
    if settings.urls("listen-client-http-urls").is_empty() {
        notices.push(Notice::warn(
            "Running http and grpc server on single port. This is not recommended for production.",
        ));
    }
    check("listen-metrics-urls")
}

fn check_bootstrap_sources(settings: &Settings) -> Result<(), Invalid> {
    let endpoints = settings.list("discovery-endpoints");
    let sources = [
        settings.source("initial-cluster") != Source::Default,
        !endpoints.is_empty(),
        !settings.text("discovery-srv").is_empty(),
    ];
    if sources.iter().filter(|&&set| set).count() > 1 {
        return Err(invalid(
            "multiple discovery or bootstrap flags are set. Choose one of \"initial-cluster\", \
             \"discovery-endpoints\" or \"discovery-srv\"",
        ));
    }
    if endpoints.is_empty() != settings.text("discovery-token").is_empty() {
        return Err(invalid("both --discovery-token and --discovery-endpoints must be set"));
    }
    if endpoints.iter().any(String::is_empty) {
        return Err(invalid("--discovery-endpoints must not contain empty endpoints"));
    }
    Ok(())
}

fn check_timing(settings: &Settings) -> Result<(), Invalid> {
    let heartbeat = settings.uint("heartbeat-interval");
    let election = settings.uint("election-timeout");
    if heartbeat == 0 {
        return Err(invalid("--heartbeat-interval must be >0 (set to 0ms)"));
    }
    if election == 0 {
        return Err(invalid("--election-timeout must be >0 (set to 0ms)"));
    }
    if heartbeat.saturating_mul(5) > election {
        return Err(invalid(format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        )));
    }
    if election > ELECTION_MAX_MS {
        return Err(invalid(format!(
            "--election-timeout[{election}ms] is too long, and should be set less than \
             {ELECTION_MAX_MS}ms"
        )));
    }
    Ok(())
}

fn check_modes(settings: &Settings) -> Result<(), Invalid> {
    match settings.text("auto-compaction-mode") {
        "periodic" | "revision" => {}
        "" => return Err(invalid("undefined auto-compaction-mode")),
        other => {
            let quoted = crate::config::quoted(other);
            return Err(invalid(format!("unknown auto-compaction-mode {quoted}")));
        }
    }
    if settings.bool("enable-distributed-tracing") {
        let rate = settings.int("distributed-tracing-sampling-rate");
        let broken =
            |why| invalid(format!("distributed tracing configurition is not valid: ({why})"));
        if rate < 0 {
            return Err(broken("tracing sampling rate must be positive"));
        }
        if rate > 1_000_000 {
            return Err(broken("tracing sampling rate must be less than 1000000"));
        }
    }
    let gates = Gates::parse(settings.text("feature-gates")).map_err(invalid)?;
    if gates.enabled("LeaseCheckpointPersist") && !gates.enabled("LeaseCheckpoint") {
        return Err(invalid(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate \
             LeaseCheckpoint",
        ));
    }
    let check_time = settings.nanos("compact-hash-check-time");
    if check_time <= 0 {
        let text = base::text::format_duration(check_time);
        return Err(invalid(format!("--compact-hash-check-time must be >0 (set to {text})")));
    }
    Ok(())
}

fn check_tls_versions(settings: &Settings) -> Result<(), Invalid> {
    let (min, max) = (settings.text("tls-min-version"), settings.text("tls-max-version"));
    for version in [min, max] {
        if !matches!(version, "" | "TLS1.2" | "TLS1.3") {
            return Err(invalid(format!(
                "unexpected TLS version {} (must be one of: TLS1.2, TLS1.3)",
                crate::config::quoted(version)
            )));
        }
    }
    if min == "TLS1.3" && max == "TLS1.2" {
        return Err(invalid(format!("min version ({min}) is greater than max version ({max})")));
    }
    if min == "TLS1.3" && !settings.list("cipher-suites").is_empty() {
        return Err(invalid("cipher suites cannot be configured when only TLS1.3 is enabled"));
    }
    Ok(())
}

/// Whether two texts are the same value.
fn same_value(kind: Kind, a: &str, b: &str) -> bool {
    match kind {
        Kind::Bool => parse_bool(a) == parse_bool(b),
        Kind::Int => parse_int(a) == parse_int(b),
        Kind::Uint | Kind::Uint32 => parse_uint(a) == parse_uint(b),
        Kind::Duration => base::text::parse_duration(a).ok() == base::text::parse_duration(b).ok(),
        Kind::Text
        | Kind::Urls
        | Kind::Origins
        | Kind::List
        | Kind::Gates
        | Kind::ClusterState
        | Kind::Fallback
        | Kind::V2Deprecation => a == b,
    }
}

/// Refuses by name what this version cannot do, instead of ignoring it.
fn refuse_unavailable(settings: &Settings, notices: &mut Vec<Notice>) -> Result<(), Invalid> {
    for flag in FLAGS {
        let value = settings.text(flag.name);
        if same_value(flag.kind, value, flag.default) {
            continue;
        }
        match flag.effect {
            Effect::Works => {}
            Effect::Later(why) => {
                return Err(invalid(format!("--{}={value} is refused: {why}", flag.name)));
            }
            Effect::Moot(why) => {
                let text = format!("--{} has no effect: {why}", flag.name);
                notices.push(Notice::info(text).with("value", value));
            }
        }
    }
    let gates = Gates::parse(settings.text("feature-gates")).map_err(invalid)?;
    if let Some((name, on)) = gates.unavailable() {
        return Err(invalid(format!(
            "--feature-gates={name}={on} is refused: the gate is not available in this version"
        )));
    }
    Ok(())
}

fn some_positive(nanos: i64) -> Option<Duration> {
    u64::try_from(nanos).ok().filter(|&n| n > 0).map(Duration::from_nanos)
}

fn positive(nanos: i64, default: Duration) -> Duration {
    some_positive(nanos).unwrap_or(default)
}

fn build(settings: &Settings, notices: &mut Vec<Notice>) -> Result<Config, Invalid> {
    let explicit = |name| settings.source(name) != Source::Default;
    let name = settings.text("name").to_owned();
    let advertise_peer_urls = advertised(settings, "initial-advertise-peer-urls", notices);
    let initial_cluster = if explicit("initial-cluster") || name == "default" {
        settings.text("initial-cluster").to_owned()
    } else {
        advertise_peer_urls.iter().map(|u| format!("{name}={u}")).collect::<Vec<_>>().join(",")
    };
    let data_dir = data_dir(settings, notices);
    warn_about_values(settings, notices);
    let quota = settings.int("quota-backend-bytes");
    let batch_limit = usize::try_from(settings.int("compaction-batch-limit")).unwrap_or(0);
    let mode = settings.text("auto-compaction-mode");
    let gates = Gates::parse(settings.text("feature-gates")).map_err(invalid)?;
    Ok(Config {
        name,
        data_dir,
        wal_dir: Some(settings.text("wal-dir")).filter(|d| !d.is_empty()).map(PathBuf::from),
        listen_peer_urls: settings.urls("listen-peer-urls"),
        listen_client_urls: settings.urls("listen-client-urls"),
        listen_client_http_urls: settings.urls("listen-client-http-urls"),
        listen_metrics_urls: settings.urls("listen-metrics-urls"),
        advertise_peer_urls,
        advertise_client_urls: advertised(settings, "advertise-client-urls", notices),
        client_tls: TlsFlags::of_clients(settings, notices),
        peer_tls: TlsFlags::of_peers(settings, notices),
        self_signed_years: settings.uint("self-signed-cert-validity"),
        cipher_suites: settings.list("cipher-suites"),
        tls_min_version: version(settings.text("tls-min-version")),
        tls_max_version: version(settings.text("tls-max-version")),
        initial_cluster,
        join_existing: settings.text("initial-cluster-state") == "existing",
        initial_cluster_token: settings.text("initial-cluster-token").to_owned(),
        max_snapshots: settings.uint("max-snapshots"),
        max_wals: settings.uint("max-wals"),
        snapshot_count: or_default(settings.uint("snapshot-count"), SNAPSHOT_COUNT_DEFAULT),
        snapshot_catchup_entries: or_default(
            settings.uint("snapshot-catchup-entries"),
            SNAPSHOT_CATCHUP_DEFAULT,
        ),
        heartbeat: Duration::from_millis(settings.uint("heartbeat-interval")),
        election: Duration::from_millis(settings.uint("election-timeout")),
        peer_timeouts: rafthttp::IoTimeouts {
            read: peer_timeout(settings, "raft-read-timeout", notices),
            write: peer_timeout(settings, "raft-write-timeout", notices),
        },
        initial_election_tick_advance: settings.bool("initial-election-tick-advance"),
        pre_vote: settings.bool("pre-vote"),
        quota_backend_bytes: if quota == 0 { QUOTA_DEFAULT_BYTES } else { quota },
        max_txn_ops: settings.uint("max-txn-ops"),
        max_request_bytes: settings.uint("max-request-bytes"),
        max_concurrent_streams: u32::try_from(settings.uint("max-concurrent-streams"))
            .expect("checked when it was set"),
        keepalive: keepalive(settings),
        ping_spacing: some_positive(settings.nanos("grpc-keepalive-min-time")),
        reuse_port: settings.bool("socket-reuse-port"),
        auto_compaction: Retention::parse(mode, settings.text("auto-compaction-retention")),
        compaction_batch_limit: if batch_limit == 0 { 1000 } else { batch_limit },
        compaction_sleep: positive(
            settings.nanos("compaction-sleep-interval"),
            Duration::from_millis(10),
        ),
        watch_progress_interval: progress_interval(settings, notices),
        bootstrap_defrag_mib: settings.uint("bootstrap-defrag-threshold-megabytes"),
        cors: allowed(settings, "cors"),
        host_whitelist: allowed(settings, "host-whitelist"),
        extensive_metrics: settings.text("metrics") == "extensive",
        warning_apply: positive(settings.nanos("warning-apply-duration"), Duration::ZERO),
        warning_unary: positive(
            settings.nanos("warning-unary-request-duration"),
            Duration::from_millis(300),
        ),
        strict_reconfig_check: settings.bool("strict-reconfig-check"),
        max_learners: usize::try_from(settings.int("max-learners")).unwrap_or(0),
        force_new_cluster: settings.bool("force-new-cluster"),
        corrupt_check: some_positive(settings.nanos("corrupt-check-time")),
        compact_hash_check: some_positive(settings.nanos("compact-hash-check-time"))
            .filter(|_| gates.enabled("CompactHashCheck")),
        unsafe_no_fsync: settings.bool("unsafe-no-fsync"),
        gates,
    })
}

fn or_default(value: u64, default: u64) -> u64 {
    if value == 0 { default } else { value }
}

/// A list of names; empty, as with `*`, allows all.
fn allowed(settings: &Settings, name: &str) -> Vec<String> {
    let names = settings.list(name);
    if names.iter().any(|n| n == "*") { Vec::new() } else { names }
}

fn data_dir(settings: &Settings, notices: &mut Vec<Notice>) -> PathBuf {
    match settings.text("data-dir") {
        "" => {
            let dir = format!("{}.etcd", settings.text("name"));
            let notice = Notice::warn("'data-dir' was empty; using default");
            notices.push(notice.with("data-dir", &dir));
            PathBuf::from(dir)
        }
        dir => PathBuf::from(dir),
    }
}

/// A timeout between members, raised to the least that etcd takes.
fn peer_timeout(settings: &Settings, name: &str, notices: &mut Vec<Notice>) -> Duration {
    let least = rafthttp::IoTimeouts::LEAST;
    let given = positive(settings.nanos(name), Duration::ZERO);
    if given < least {
        notices.push(Notice::info(format!("{name} increased to minimum value: 5s")));
    }
    given.max(least)
}

/// Interval and timeout of pings; one that is not positive switches them off.
fn keepalive(settings: &Settings) -> Option<(Duration, Duration)> {
    let interval = some_positive(settings.nanos("grpc-keepalive-interval"))?;
    let timeout = some_positive(settings.nanos("grpc-keepalive-timeout"))?;
    Some((interval, timeout))
}

/// Advertised URLs; the untouched default follows a wildcard listen address.
fn advertised(settings: &Settings, name: &str, notices: &mut Vec<Notice>) -> Vec<Url> {
    let listen = match name {
        "advertise-client-urls" => "listen-client-urls",
        _ => "listen-peer-urls",
    };
    let mut urls = settings.urls(name);
    let wildcard = settings.urls(listen).first().is_some_and(|u| u.hostname() == "0.0.0.0");
    if settings.source(name) == Source::Default
        && wildcard
        && let Some(host) = default_host()
    {
        let notice = Notice::info("detected default host for advertise");
        notices.push(notice.with("host", &host));
        for url in &mut urls {
            let port = url.host.rsplit_once(':').map(|(_, port)| port.to_owned());
            url.host = format!("{host}:{}", port.unwrap_or_default());
        }
    }
    urls
}

/// The address of the default route; choosing it sends no packet.
fn default_host() -> Option<String> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("198.51.100.1", 9)).ok()?;
    Some(socket.local_addr().ok()?.ip().to_string())
}

fn progress_interval(settings: &Settings, notices: &mut Vec<Notice>) -> Duration {
    let asked = settings.nanos("watch-progress-notify-interval");
    let interval = positive(asked, Duration::from_secs(600));
    if asked > 0 && interval < PROGRESS_INTERVAL_MIN {
        let text = "adjusting watch progress notify interval to minimum period";
        notices.push(Notice::warn(text).with("min-watch-progress-notify-interval", "100ms"));
        return PROGRESS_INTERVAL_MIN;
    }
    interval
}

fn warn_about_values(settings: &Settings, notices: &mut Vec<Notice>) {
    let explicit = |name| settings.source(name) != Source::Default;
    if explicit("max-snapshots") {
        notices.push(Notice::warn(
            "--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.",
        ));
    }
    if explicit("v2-deprecation") {
        notices.push(Notice::warn(
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value \
             is enforced, ignoring user input.",
        ));
    }
    if settings.uint("snapshot-count") == 0 {
        notices.push(Notice::info("updating snapshot-count to default"));
    }
    if settings.uint("snapshot-catchup-entries") == 0 {
        notices.push(Notice::info("updating snapshot catch-up entries to default"));
    }
    let quota = settings.int("quota-backend-bytes");
    if quota > QUOTA_SUGGESTED_MAX_BYTES {
        let notice = Notice::warn("quota exceeds the maximum value");
        notices.push(notice.with("quota-size-bytes", quota.to_string()));
    }
    let request = settings.uint("max-request-bytes");
    if request > REQUEST_RECOMMENDED_MAX_BYTES {
        let notice = Notice::warn("exceeded recommended request limit");
        notices.push(notice.with("max-request-bytes", request.to_string()));
    }
}
