//! Structured logs in the shape of etcd's zap lines, on top of `tracing`.
//!
//! The target of an event names its logger, but for two targets that raise the level:
//! [`FATAL`] and [`PANIC`]. Values that are lists are wrapped in [`List`].

mod layer;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use tracing_subscriber::layer::SubscriberExt as _;

use crate::config::{LogConfig, Notice};
use layer::ZapLayer;

pub(crate) use base::time::Timestamp;

/// The target of events logged at level `fatal`.
pub(crate) const FATAL: &str = "fatal";
/// The target of events logged at level `panic`.
pub(crate) const PANIC: &str = "panic";
/// The target of events of the logger `raft`.
pub(crate) const RAFT: &str = "raft";

/// Marks a formatted value as JSON to be copied as it is; no text of ours starts so.
const RAW_JSON: &str = "\u{0}json:";

/// A list as a value of a field: `field = %List(&urls)`.
#[derive(Debug)]
pub(crate) struct List<'a, T>(pub &'a [T]);

impl<T: ToString> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        write!(f, "{RAW_JSON}{}", json(&texts))
    }
}

/// The JSON text of a value that cannot fail to have one.
pub(crate) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts and numbers always have a JSON form")
}

/// A duration as Go prints it.
pub(crate) fn go_duration(duration: Duration) -> String {
    base::text::format_duration(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX))
}

/// Where lines go.
enum Sink {
    Stderr,
    Stdout,
    File(File),
}

impl Sink {
    fn open(output: &str) -> Result<Sink, String> {
        match output {
            "stderr" => return Ok(Sink::Stderr),
            "stdout" => return Ok(Sink::Stdout),
            _ => {}
        }
        OpenOptions::new().create(true).append(true).open(output).map(Sink::File).map_err(|e| {
            let why = base::text::io_error(&e);
            format!("open sink {}: open {output}: {why}", crate::config::quoted(output))
        })
    }

    /// Writes a whole line; a log that cannot be written is no reason to stop.
    fn write(&self, line: &[u8]) {
        let written: io::Result<()> = match self {
            Sink::Stderr => io::stderr().write_all(line),
            Sink::Stdout => io::stdout().lock().write_all(line).and_then(|()| io::stdout().flush()),
            Sink::File(file) => (&*file).write_all(line),
        };
        drop(written);
    }
}

/// Installs the logger for the whole process.
///
/// # Errors
/// A target that cannot be opened, in zap's words, or a logger that already stands.
pub(crate) fn install(config: &LogConfig) -> Result<(), String> {
    let sinks = config.outputs.iter().map(|o| Sink::open(o)).collect::<Result<Vec<_>, _>>()?;
    let layer = ZapLayer::new(config, sinks);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|e| e.to_string())
}

/// Logs lines gathered before there was a logger.
pub(crate) fn notices(notices: &[Notice]) {
    for notice in notices {
        // Field names of events are static, so gathered fields travel as one JSON object.
        let fields = notice.fields.iter().map(|(k, v)| format!("{}:{}", json(k), json(v)));
        let fields = format!("{RAW_JSON}{}", fields.collect::<Vec<_>>().join(","));
        let message = notice.message.as_str();
        if notice.warn {
            tracing::warn!(flat = fields.as_str(), "{message}");
        } else {
            tracing::info!(flat = fields.as_str(), "{message}");
        }
    }
}

/// Logs a panic in one line and ends the process: a half-alive member is worse than none.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("panic");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let backtrace = std::backtrace::Backtrace::force_capture().to_string();
        tracing::error!(target: PANIC, at = place, thread, stacktrace = backtrace, "{message}");
        std::process::abort();
    }));
}
