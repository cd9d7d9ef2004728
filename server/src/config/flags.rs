//! The one table of every flag: its name, kind, default value and what this server does with it.
//!
//! Environment names, parsing, the refusal of flags whose effect is not built yet and the check
//! that `help.txt` names every flag all come from here.

use Effect::{Later, Moot, Works};
use Kind::{
    Bool, ClusterState, Duration, Fallback, Gates, Int, List, Origins, Text, Uint, Uint32, Urls,
    V2Deprecation,
};

/// How the text of a value is checked when the flag is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A Go boolean; on the command line a value needs `=`.
    Bool,
    /// A signed 64-bit integer with Go's base prefixes.
    Int,
    /// An unsigned 64-bit integer.
    Uint,
    /// An unsigned 32-bit integer.
    Uint32,
    /// A Go duration.
    Duration,
    /// Comma separated listen or advertise URLs.
    Urls,
    /// `*`, or comma separated URLs (CORS origins).
    Origins,
    /// Comma separated texts.
    List,
    /// `Name=bool` pairs of known feature gates; repeating the flag merges.
    Gates,
    /// `new` or `existing`.
    ClusterState,
    /// `exit` or `proxy`.
    Fallback,
    /// A phase of the retirement of the v2 store.
    V2Deprecation,
}

/// What setting the flag does here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It works.
    Works,
    /// Only the default is accepted; the text says what is missing.
    Later(&'static str),
    /// Any value is accepted and changes nothing; the text says why that is right.
    Moot(&'static str),
}

/// One flag.
#[derive(Debug)]
pub(crate) struct Flag {
    /// The name without dashes in front.
    pub(crate) name: &'static str,
    /// How its value is checked.
    pub(crate) kind: Kind,
    /// Its value when nobody sets it.
    pub(crate) default: &'static str,
    /// What setting it does.
    pub(crate) effect: Effect,
}

impl Flag {
    /// The environment variable of the flag: `ETCD_` and the name in capitals with underscores.
    pub(crate) fn env(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }
}

const fn flag(name: &'static str, kind: Kind, default: &'static str, effect: Effect) -> Flag {
    Flag { name, kind, default, effect }
}

const NO_DISCOVERY: &str = "discovery is not available in this version";
const NO_AUTH: &str = "authentication is not available in this version";
const NO_DOWNGRADE: &str = "downgrade is not available in this version";
const NO_MLOCK: &str = "locking the backend in memory is not available in this version";
const NO_PPROF: &str = "profiling endpoints are not available in this version";
const NO_ROTATION: &str = "log rotation is not available in this version";
const NO_TRACING: &str = "distributed tracing is not available in this version";
const NO_CONFIG_FILE: &str = "configuration files are not available in this version";
const MOOT_BBOLT: &str = "the backend is not bbolt and has no freelist";
const MOOT_BATCH: &str = "every applied batch is committed at once";
const LOG_ROTATION_DEFAULT: &str = "{\"maxsize\": 100, \"maxage\": 0, \"maxbackups\": 0, \
     \"localtime\": false, \"compress\": false}";

/// Every flag of the server, in the order of the help text.
pub(crate) const FLAGS: &[Flag] = &[
    flag("name", Text, "default", Works),
    flag("data-dir", Text, "", Works),
    flag("wal-dir", Text, "", Works),
    flag("listen-peer-urls", Urls, "http://localhost:2380", Works),
    flag("listen-client-urls", Urls, "http://localhost:2379", Works),
    flag("listen-client-http-urls", Urls, "", Works),
    flag("listen-metrics-urls", Urls, "", Works),
    flag("max-snapshots", Uint, "5", Works),
    flag("max-wals", Uint, "5", Works),
    flag("snapshot-count", Uint, "10000", Works),
    flag("snapshot-catchup-entries", Uint, "5000", Works),
    flag("heartbeat-interval", Uint, "100", Works),
    flag("election-timeout", Uint, "1000", Works),
    flag("initial-election-tick-advance", Bool, "true", Works),
    flag("quota-backend-bytes", Int, "0", Works),
    flag("backend-bbolt-freelist-type", Text, "", Moot(MOOT_BBOLT)),
    flag("backend-batch-interval", Duration, "0s", Moot(MOOT_BATCH)),
    flag("backend-batch-limit", Int, "0", Moot(MOOT_BATCH)),
    flag("max-txn-ops", Uint, "128", Works),
    flag("max-request-bytes", Uint, "1572864", Works),
    flag("max-concurrent-streams", Uint32, "4294967295", Works),
    flag("grpc-keepalive-min-time", Duration, "5s", Works),
    flag("grpc-keepalive-interval", Duration, "2h0m0s", Works),
    flag("grpc-keepalive-timeout", Duration, "20s", Works),
    flag("socket-reuse-port", Bool, "false", Works),
    flag("socket-reuse-address", Bool, "false", Works),
    flag("raft-read-timeout", Duration, "5s", Works),
    flag("raft-write-timeout", Duration, "5s", Works),
    flag("memory-mlock", Bool, "false", Later(NO_MLOCK)),
    flag("feature-gates", Gates, "", Works),
    flag("initial-advertise-peer-urls", Urls, "http://localhost:2380", Works),
    flag("advertise-client-urls", Urls, "http://localhost:2379", Works),
    flag("initial-cluster", Text, "default=http://localhost:2380", Works),
    flag("initial-cluster-state", ClusterState, "new", Works),
    flag("initial-cluster-token", Text, "etcd-cluster", Works),
    flag("strict-reconfig-check", Bool, "true", Works),
    flag("pre-vote", Bool, "true", Works),
    flag("discovery-srv", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-srv-name", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-endpoints", List, "", Later(NO_DISCOVERY)),
    flag("discovery-token", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-dial-timeout", Duration, "2s", Later(NO_DISCOVERY)),
    flag("discovery-request-timeout", Duration, "5s", Later(NO_DISCOVERY)),
    flag("discovery-keepalive-time", Duration, "2s", Later(NO_DISCOVERY)),
    flag("discovery-keepalive-timeout", Duration, "6s", Later(NO_DISCOVERY)),
    flag("discovery-insecure-transport", Bool, "true", Later(NO_DISCOVERY)),
    flag("discovery-insecure-skip-tls-verify", Bool, "false", Later(NO_DISCOVERY)),
    flag("discovery-cert", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-key", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-cacert", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-user", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-password", Text, "", Later(NO_DISCOVERY)),
    flag("discovery-fallback", Fallback, "exit", Works),
    flag("auto-compaction-mode", Text, "periodic", Works),
    flag("auto-compaction-retention", Text, "0", Works),
    flag("v2-deprecation", V2Deprecation, "", Works),
    flag("cert-file", Text, "", Works),
    flag("key-file", Text, "", Works),
    flag("client-cert-file", Text, "", Works),
    flag("client-key-file", Text, "", Works),
    flag("client-cert-auth", Bool, "false", Works),
    flag("client-crl-file", Text, "", Works),
    flag("client-cert-allowed-hostname", List, "", Works),
    flag("trusted-ca-file", Text, "", Works),
    flag("auto-tls", Bool, "false", Works),
    flag("peer-cert-file", Text, "", Works),
    flag("peer-key-file", Text, "", Works),
    flag("peer-client-cert-file", Text, "", Works),
    flag("peer-client-key-file", Text, "", Works),
    flag("peer-client-cert-auth", Bool, "false", Works),
    flag("peer-trusted-ca-file", Text, "", Works),
    flag("peer-crl-file", Text, "", Works),
    flag("peer-cert-allowed-cn", List, "", Works),
    flag("peer-cert-allowed-hostname", List, "", Works),
    flag("peer-auto-tls", Bool, "false", Works),
    flag("peer-skip-client-san-verification", Bool, "false", Works),
    flag("self-signed-cert-validity", Uint, "1", Works),
    flag("cipher-suites", List, "", Works),
    flag("tls-min-version", Text, "TLS1.2", Works),
    flag("tls-max-version", Text, "", Works),
    flag("cors", Origins, "*", Works),
    flag("host-whitelist", List, "*", Works),
    flag("auth-token", Text, "simple", Later(NO_AUTH)),
    flag("bcrypt-cost", Uint, "10", Later(NO_AUTH)),
    flag("auth-token-ttl", Uint, "300", Later(NO_AUTH)),
    flag("enable-pprof", Bool, "false", Later(NO_PPROF)),
    flag("metrics", Text, "basic", Works),
    flag("logger", Text, "zap", Works),
    flag("log-outputs", List, "default", Works),
    flag("log-level", Text, "info", Works),
    flag("log-format", Text, "json", Works),
    flag("enable-log-rotation", Bool, "false", Later(NO_ROTATION)),
    flag("log-rotation-config-json", Text, LOG_ROTATION_DEFAULT, Later(NO_ROTATION)),
    flag("warning-apply-duration", Duration, "100ms", Works),
    flag("warning-unary-request-duration", Duration, "300ms", Works),
    flag("enable-distributed-tracing", Bool, "false", Later(NO_TRACING)),
    flag("distributed-tracing-address", Text, "localhost:4317", Later(NO_TRACING)),
    flag("distributed-tracing-service-name", Text, "etcd", Later(NO_TRACING)),
    flag("distributed-tracing-instance-id", Text, "", Later(NO_TRACING)),
    flag("distributed-tracing-sampling-rate", Int, "0", Later(NO_TRACING)),
    flag("enable-grpc-gateway", Bool, "true", Works),
    flag("corrupt-check-time", Duration, "0s", Works),
    flag("compact-hash-check-time", Duration, "1m0s", Works),
    flag("compaction-batch-limit", Int, "0", Works),
    flag("compaction-sleep-interval", Duration, "0s", Works),
    flag("watch-progress-notify-interval", Duration, "0s", Works),
    flag("downgrade-check-time", Duration, "5s", Later(NO_DOWNGRADE)),
    flag("bootstrap-defrag-threshold-megabytes", Uint, "0", Works),
    flag("max-learners", Int, "1", Works),
    flag("unsafe-no-fsync", Bool, "false", Works),
    flag("force-new-cluster", Bool, "false", Works),
    flag("config-file", Text, "", Later(NO_CONFIG_FILE)),
    flag("version", Bool, "false", Works),
];

/// Flags of long gone versions that are swallowed as booleans, with their variables, in silence.
pub(crate) const IGNORED: &[&str] = &[
    "cluster-active-size",
    "cluster-remove-delay",
    "cluster-sync-interval",
    "config",
    "force",
    "max-result-buffer",
    "max-retry-attempts",
    "peer-heartbeat-interval",
    "peer-election-timeout",
    "retry-interval",
    "snapshot",
    "v",
    "vv",
    "test.coverprofile",
    "test.outputdir",
];
