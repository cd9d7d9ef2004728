//! `/health`, `/livez` and `/readyz`.

use http::StatusCode;

use super::Facts;
use super::answer::{Answer, error, text};

/// `/health`: alarms, a leader, a read; in this order.
pub(super) async fn health(facts: &dyn Facts, query: &str) -> Answer {
    let serializable = parameters(query, "serializable").next().as_deref() == Some("true");
    let excluded: Vec<String> = parameters(query, "exclude").collect();
    match unhealthy(facts, &excluded, serializable).await {
        None => {
            facts.count_health(true);
            tracing::debug!("/health OK");
            text(StatusCode::OK, "{\"health\":\"true\",\"reason\":\"\"}".to_owned())
        }
        Some(reason) => {
            facts.count_health(false);
            let output = format!("{{\"health\":\"false\",\"reason\":{}}}", go_json(&reason));
            tracing::warn!(output, "status-code" = 503, "/health error");
            error(StatusCode::SERVICE_UNAVAILABLE, output + "\n")
        }
    }
}

async fn unhealthy(facts: &dyn Facts, excluded: &[String], serializable: bool) -> Option<String> {
    for alarm in facts.alarms() {
        if excluded.contains(&alarm) {
            continue;
        }
        tracing::warn!(alarm, "serving /health false due to an alarm");
        return Some(match alarm.as_str() {
            "NOSPACE" | "CORRUPT" => format!("ALARM {alarm}"),
            _ => "ALARM UNKNOWN".to_owned(),
        });
    }
    if !serializable && !facts.has_leader() {
        tracing::warn!("serving /health false; no leader");
        return Some("RAFT NO LEADER".to_owned());
    }
    if let Err(error) = facts.read(serializable).await {
        tracing::warn!(error, "serving /health false; Range fails");
        return Some(format!("RANGE ERROR:{error}"));
    }
    None
}

/// A JSON string as Go writes it, with `<`, `>` and `&` escaped.
fn go_json(text: &str) -> String {
    crate::logging::json(text)
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

/// The values of a query parameter, in order, percent-decoded.
fn parameters<'a>(query: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    query.split('&').filter_map(move |pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (percent_decoded(key) == name).then(|| percent_decoded(value))
    })
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        match (first, tail) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push(hex(*high).unwrap_or(0) << 4 | hex(*low).unwrap_or(0));
                rest = after;
                continue;
            }
            _ => bytes.push(first),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One check of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    fn name(self) -> &'static str {
        match self {
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }

    async fn run(self, facts: &dyn Facts) -> Result<(), String> {
        match self {
            Check::DataCorruption if facts.alarms().iter().any(|a| a == "CORRUPT") => {
                Err("alarm activated: CORRUPT".to_owned())
            }
            Check::DataCorruption => Ok(()),
            Check::SerializableRead => facts.read(true).await,
            Check::LinearizableRead => facts.read(false).await,
            Check::NonLearner if facts.is_learner() => Err("not supported for learner".to_owned()),
            Check::NonLearner => Ok(()),
        }
    }
}

/// A root with its checks, or one of them.
#[derive(Debug)]
pub(super) struct Probe {
    group: &'static str,
    checks: &'static [Check],
    single: Option<Check>,
}

const PROBES: &[(&str, &[Check])] = &[
    ("livez", &[Check::SerializableRead]),
    (
        "readyz",
        &[
            Check::DataCorruption,
            Check::SerializableRead,
            Check::LinearizableRead,
            Check::NonLearner,
        ],
    ),
];

impl Probe {
    /// The probe at a path.
    pub(super) fn find(path: &str) -> Option<Probe> {
        let path = path.strip_prefix('/')?;
        for &(group, checks) in PROBES {
            let Some(rest) = path.strip_prefix(group) else { continue };
            if rest.is_empty() {
                return Some(Probe { group, checks, single: None });
            }
            let name = rest.strip_prefix('/')?;
            let single = checks.iter().copied().find(|c| c.name() == name)?;
            return Some(Probe { group, checks, single: Some(single) });
        }
        None
    }

    /// Runs the checks that are not excluded.
    pub(super) async fn run(&self, facts: &dyn Facts, query: &str) -> Answer {
        let mut excluded: Vec<String> = match self.single {
            Some(_) => Vec::new(),
            None => parameters(query, "exclude").collect(),
        };
        let mut lines = String::new();
        let mut failed = false;
        for &check in self.checks {
            let name = check.name();
            let known = excluded.iter().position(|e| e == name);
            if known.is_some() || self.single.is_some_and(|s| s != check) {
                excluded.retain(|e| e != name);
                continue;
            }
            let outcome = check.run(facts).await;
            facts.count_check(self.group, name, outcome.is_ok());
            match outcome {
                Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
                Err(why) => {
                    failed = true;
                    lines.push_str(&format!("[-]{name} failed: {why}\n"));
                }
            }
        }
        if !excluded.is_empty() {
            let quoted: Vec<String> = excluded.iter().map(|e| crate::config::quoted(e)).collect();
            tracing::warn!(
                "missing-health-checks" = quoted.join(", "),
                "some health checks cannot be excluded"
            );
        }
        let path = format!("/{}", self.group);
        if failed {
            tracing::error!(path, reason = lines, "status-code" = 503, "Health check error");
            return error(StatusCode::SERVICE_UNAVAILABLE, lines + "\n");
        }
        tracing::debug!(path, "Health check OK");
        let verbose = parameters(query, "verbose").next().is_some();
        error(StatusCode::OK, if verbose { lines + "ok\n" } else { "ok\n".to_owned() })
    }
}
