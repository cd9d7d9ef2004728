//! The feature gates of `--feature-gates`.

use super::number::parse_bool;

/// How far a gate has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Off by default.
    Alpha,
    /// On by default.
    Beta,
}

impl Stage {
    /// The stage as metrics and help print it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

struct Gate {
    name: &'static str,
    stage: Stage,
    default: bool,
    /// Whether both values work here; otherwise only the default is accepted.
    switchable: bool,
}

/// Every gate, sorted by name; the first two set all gates of their stage.
const GATES: &[Gate] = &[
    Gate { name: "AllAlpha", stage: Stage::Alpha, default: false, switchable: false },
    Gate { name: "AllBeta", stage: Stage::Beta, default: false, switchable: true },
    Gate { name: "CompactHashCheck", stage: Stage::Alpha, default: false, switchable: true },
    Gate { name: "FastLeaseKeepAlive", stage: Stage::Beta, default: true, switchable: false },
    Gate { name: "InitialCorruptCheck", stage: Stage::Alpha, default: false, switchable: true },
    Gate { name: "LeaseCheckpoint", stage: Stage::Alpha, default: false, switchable: false },
    Gate { name: "LeaseCheckpointPersist", stage: Stage::Alpha, default: false, switchable: false },
    Gate { name: "PriorityRequest", stage: Stage::Alpha, default: false, switchable: true },
    Gate { name: "SetMemberLocalAddr", stage: Stage::Alpha, default: false, switchable: false },
    Gate {
        name: "StopGRPCServiceOnDefrag",
        stage: Stage::Alpha,
        default: false,
        switchable: false,
    },
    // A write txn here never copies a read buffer, so both values mean the same.
    Gate {
        name: "TxnModeWriteWithSharedBuffer",
        stage: Stage::Beta,
        default: true,
        switchable: true,
    },
];

/// The state of every gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gates(Vec<bool>);

impl Default for Gates {
    fn default() -> Self {
        Gates(GATES.iter().map(|g| g.default).collect())
    }
}

impl Gates {
    /// Name, stage and state of every gate, sorted by name.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&'static str, Stage, bool)> + '_ {
        GATES.iter().zip(&self.0).map(|(g, &on)| (g.name, g.stage, on))
    }

    /// Whether the named gate is on; false for a name that is no gate.
    pub(crate) fn enabled(&self, name: &str) -> bool {
        self.list().any(|(n, _, on)| n == name && on)
    }

    /// Applies a list of `Name=bool`; a gate named later wins, and a stage-wide gate sets the
    /// gates of its stage that are not named themselves.
    pub(crate) fn parse(text: &str) -> Result<Gates, String> {
        let mut named: Vec<Option<bool>> = vec![None; GATES.len()];
        for pair in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.trim();
            let at = GATES
                .iter()
                .position(|g| g.name == name)
                .ok_or_else(|| format!("unrecognized feature gate: {name}"))?;
            if !pair.contains('=') {
                return Err(format!("missing bool value for {name}"));
            }
            let value = value.trim();
            named[at] = Some(parse_bool(value).ok_or_else(|| {
                let quoted = crate::config::quoted(value);
                format!(
                    "invalid value of {name}={value}, err: strconv.ParseBool: parsing {quoted}: \
                     invalid syntax"
                )
            })?);
        }
        let stage_wide = |stage: Stage| match stage {
            Stage::Alpha => named[0],
            Stage::Beta => named[1],
        };
        let states = GATES.iter().zip(&named).enumerate().map(|(at, (gate, named))| {
            let wide = if at < 2 { None } else { stage_wide(gate.stage).filter(|&on| on) };
            named.or(wide).unwrap_or(gate.default)
        });
        Ok(Gates(states.collect()))
    }

    /// The first gate that is set to a value that does not work here.
    pub(crate) fn unavailable(&self) -> Option<(&'static str, bool)> {
        GATES
            .iter()
            .zip(&self.0)
            .find(|(g, on)| **on != g.default && !g.switchable)
            .map(|(g, on)| (g.name, *on))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_gates_override_stage_wide_ones() {
        let gates = Gates::parse("AllAlpha=true,LeaseCheckpoint=false").expect("known gates");
        assert!(gates.enabled("PriorityRequest"));
        assert!(!gates.enabled("LeaseCheckpoint"));
        assert!(gates.enabled("FastLeaseKeepAlive"));
    }

    #[test]
    fn bad_gates_are_refused_with_the_texts_of_etcd() {
        let cases = [
            ("Nope=true", "unrecognized feature gate: Nope"),
            ("PriorityRequest", "missing bool value for PriorityRequest"),
            (
                "PriorityRequest=maybe",
                "invalid value of PriorityRequest=maybe, err: strconv.ParseBool: parsing \
                 \"maybe\": invalid syntax",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(Gates::parse(text).expect_err(text), want);
        }
        assert_eq!(Gates::parse("  ,,").expect("empty elements"), Gates::default());
    }

    #[test]
    fn the_gates_are_sorted_by_name() {
        assert!(GATES.windows(2).all(|w| w[0].name < w[1].name));
    }

    #[test]
    fn a_gate_without_effect_is_found() {
        let gates = Gates::parse("SetMemberLocalAddr=true").expect("a known gate");
        assert_eq!(gates.unavailable(), Some(("SetMemberLocalAddr", true)));
        assert_eq!(Gates::parse("PriorityRequest=true").expect("known").unavailable(), None);
    }
}
