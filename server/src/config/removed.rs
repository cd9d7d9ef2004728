//! Flags of 3.5 and 3.6 that 3.7 no longer has: aliases of their successors, or refused.

use Style::{Bare, Late, Plain, Quiet, Undashed, V};

/// What became of a removed flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Renamed: sets this flag.
    Flag(&'static str),
    /// Became a feature gate: sets this gate.
    Gate(&'static str),
    /// Gone: only the empty value or this one is tolerated.
    Gone(&'static str),
}

/// How 3.6 worded its warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// No warning.
    Quiet,
    /// `v3.6`, successor in quotes.
    V,
    /// `3.6`, successor in quotes.
    Plain,
    /// `3.6`, successor without quotes.
    Bare,
    /// As `V`, but the successor without dashes.
    Undashed,
    /// The odd one.
    Late,
}

/// A removed flag.
#[derive(Debug)]
pub(crate) struct Removed {
    /// The old name.
    pub(crate) name: &'static str,
    /// What became of it.
    pub(crate) fate: Fate,
    style: Style,
}

impl Removed {
    /// The environment variable of the old flag.
    pub(crate) fn env(&self) -> String {
        format!("ETCD_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// The warning 3.6 logged, or ours for a flag that is gone.
    pub(crate) fn warning(&self) -> Option<String> {
        let name = self.name;
        let successor = match self.fate {
            Fate::Flag(to) => format!("--{to}"),
            Fate::Gate(to) => format!("--feature-gates={to}=true"),
            Fate::Gone(_) => return Some(format!("--{name} was removed and has no effect")),
        };
        let (v, successor) = match self.style {
            Quiet => return None,
            V => ("v", format!("'{successor}'")),
            Plain => ("", format!("'{successor}'")),
            Bare => ("", successor),
            Undashed => ("v", format!("'{}'", &successor[2..])),
            Late => {
                return Some(format!(
                    "--{name} is deprecated, and will be decommissioned in v3.7. Use {successor} \
                     instead."
                ));
            }
        };
        Some(format!(
            "--{name} is deprecated in {v}3.6 and will be decommissioned in {v}3.7. Use \
             {successor} instead."
        ))
    }
}

/// `experimental-X`, now `X`.
const fn renamed(name: &'static str, style: Style) -> Removed {
    Removed { name, fate: Fate::Flag(name.split_at("experimental-".len()).1), style }
}

const fn gate(name: &'static str, to: &'static str, style: Style) -> Removed {
    Removed { name, fate: Fate::Gate(to), style }
}

const fn gone(name: &'static str, tolerated: &'static str) -> Removed {
    Removed { name, fate: Fate::Gone(tolerated), style: Quiet }
}

/// Every removed flag.
pub(crate) const REMOVED: &[Removed] = &[
    renamed("experimental-bootstrap-defrag-threshold-megabytes", V),
    gate("experimental-compact-hash-check-enabled", "CompactHashCheck", Plain),
    renamed("experimental-compact-hash-check-time", Plain),
    renamed("experimental-compaction-batch-limit", V),
    renamed("experimental-compaction-sleep-interval", Undashed),
    renamed("experimental-corrupt-check-time", V),
    renamed("experimental-distributed-tracing-address", Bare),
    renamed("experimental-distributed-tracing-instance-id", Bare),
    renamed("experimental-distributed-tracing-sampling-rate", Bare),
    renamed("experimental-distributed-tracing-service-name", Bare),
    renamed("experimental-downgrade-check-time", V),
    renamed("experimental-enable-distributed-tracing", Bare),
    gate("experimental-enable-lease-checkpoint", "LeaseCheckpoint", Quiet),
    gate("experimental-enable-lease-checkpoint-persist", "LeaseCheckpointPersist", Quiet),
    gate("experimental-initial-corrupt-check", "InitialCorruptCheck", Quiet),
    renamed("experimental-memory-mlock", V),
    renamed("experimental-peer-skip-client-san-verification", Quiet),
    renamed("experimental-snapshot-catchup-entries", V),
    gate("experimental-stop-grpc-service-on-defrag", "StopGRPCServiceOnDefrag", Quiet),
    gate("experimental-txn-mode-write-with-shared-buffer", "TxnModeWriteWithSharedBuffer", V),
    renamed("experimental-warning-apply-duration", V),
    renamed("experimental-warning-unary-request-duration", Late),
    renamed("experimental-watch-progress-notify-interval", V),
    gone("discovery", ""),
    gone("discovery-proxy", ""),
    gone("enable-v2", "false"),
    gone("experimental-enable-v2v3", ""),
    gone("proxy", "off"),
    gone("proxy-failure-wait", "5000"),
    gone("proxy-refresh-interval", "30000"),
    gone("proxy-dial-timeout", "1000"),
    gone("proxy-write-timeout", "5000"),
    gone("proxy-read-timeout", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::flags::FLAGS;

    #[test]
    fn every_successor_exists() {
        for removed in REMOVED {
            match removed.fate {
                Fate::Flag(to) => assert!(FLAGS.iter().any(|f| f.name == to), "{to}"),
                Fate::Gate(to) => {
                    let text = format!("{to}=true");
                    assert!(crate::config::gates::Gates::parse(&text).is_ok(), "{to}");
                }
                Fate::Gone(_) => {}
            }
        }
    }

    #[test]
    fn warnings_are_worded_as_in_3_6() {
        let warning =
            |name: &str| REMOVED.iter().find(|r| r.name == name).expect("a removed flag").warning();
        let cases = [
            (
                "experimental-compact-hash-check-enabled",
                "--experimental-compact-hash-check-enabled is deprecated in 3.6 and will be \
                 decommissioned in 3.7. Use '--feature-gates=CompactHashCheck=true' instead.",
            ),
            (
                "experimental-compaction-sleep-interval",
                "--experimental-compaction-sleep-interval is deprecated in v3.6 and will be \
                 decommissioned in v3.7. Use 'compaction-sleep-interval' instead.",
            ),
            (
                "experimental-corrupt-check-time",
                "--experimental-corrupt-check-time is deprecated in v3.6 and will be \
                 decommissioned in v3.7. Use '--corrupt-check-time' instead.",
            ),
            (
                "experimental-distributed-tracing-address",
                "--experimental-distributed-tracing-address is deprecated in 3.6 and will be \
                 decommissioned in 3.7. Use --distributed-tracing-address instead.",
            ),
            (
                "experimental-warning-unary-request-duration",
                "--experimental-warning-unary-request-duration is deprecated, and will be \
                 decommissioned in v3.7. Use --warning-unary-request-duration instead.",
            ),
        ];
        for (name, want) in cases {
            assert_eq!(warning(name).as_deref(), Some(want));
        }
        assert_eq!(warning("experimental-initial-corrupt-check"), None);
    }
}
