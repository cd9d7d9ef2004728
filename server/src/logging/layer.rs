//! The `tracing` layer that writes one line per event.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base::time::Timestamp;
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, Layer};

use super::{FATAL, PANIC, RAFT, RAW_JSON, Sink};
use crate::config::LogConfig;

/// Counters of the sampler; messages that share one are sampled together (zap: 4,096).
const SAMPLER_SLOTS: usize = 4096;
/// Lines of one message that pass in a second, and the interval of those that pass afterwards.
const SAMPLER_BURST: u32 = 100;

/// Crates whose debug lines would drown ours.
const CHATTY: &[&str] = &["h2", "hyper", "hyper_util", "tonic", "tower", "mio", "tokio"];

/// Writes events as zap's JSON or console lines.
pub(super) struct ZapLayer {
    sinks: Vec<Sink>,
    level: Level,
    fatal_only: bool,
    console: bool,
    sampler: Vec<AtomicU64>,
}

thread_local! {
    static LINE: RefCell<(String, String)> = const { RefCell::new((String::new(), String::new())) };
}

impl ZapLayer {
    pub(super) fn new(config: &LogConfig, sinks: Vec<Sink>) -> ZapLayer {
        ZapLayer {
            sinks,
            level: config.level,
            fatal_only: config.fatal_only,
            console: config.console,
            sampler: (0..SAMPLER_SLOTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        if metadata.is_span() || *metadata.level() > self.level {
            return false;
        }
        let target = metadata.target();
        if self.fatal_only {
            return target == FATAL || target == PANIC;
        }
        let krate = target.split("::").next().unwrap_or_default();
        *metadata.level() <= Level::WARN || !CHATTY.contains(&krate)
    }

    /// Whether the sampler lets this message pass now.
    fn sampled(&self, level: &str, message: &str, second: u64) -> bool {
        let mut hasher = DefaultHasher::new();
        (level, message).hash(&mut hasher);
        let slots = SAMPLER_SLOTS as u64;
        let at = usize::try_from(hasher.finish() % slots).expect("below a small constant");
        let mut count = 0;
        let now = second & 0xffff_ffff;
        let step = |packed: u64| {
            count = if packed >> 32 == now { (packed & 0xffff_ffff) + 1 } else { 1 };
            Some(now << 32 | count)
        };
        let slot = &self.sampler[at];
        slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).ok();
        let burst = u64::from(SAMPLER_BURST);
        count <= burst || (count - burst).is_multiple_of(burst)
    }

    fn write_line(&self, metadata: &Metadata<'_>, event: &Event<'_>, line: &mut String) {
        let now = SystemTime::now();
        LINE.with_borrow_mut(|(_, fields)| {
            fields.clear();
            let mut visitor = Fields { out: fields, message: String::new() };
            event.record(&mut visitor);
            let message = visitor.message;
            let level = level_name(metadata);
            let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            if !self.sampled(level, &message, second) {
                return;
            }
            let caller = Caller(metadata);
            let logger = (metadata.target() == RAFT).then_some(RAFT);
            // Writing to a `String` cannot fail.
            let written = if self.console {
                console_line(line, level, now, logger, caller, &message, fields)
            } else {
                json_line(line, level, now, logger, caller, &message, fields)
            };
            debug_assert!(written.is_ok());
        });
    }
}

fn json_line(
    line: &mut String,
    level: &str,
    now: SystemTime,
    logger: Option<&str>,
    caller: Caller<'_>,
    message: &str,
    fields: &str,
) -> fmt::Result {
    write!(line, "{{\"level\":\"{level}\",\"ts\":\"{}\"", Timestamp(now))?;
    if let Some(logger) = logger {
        write!(line, ",\"logger\":\"{logger}\"")?;
    }
    write!(line, ",\"caller\":\"{caller}\",\"msg\":")?;
    quote(line, message);
    if !fields.is_empty() {
        write!(line, ",{fields}")?;
    }
    line.push_str("}\n");
    Ok(())
}

fn console_line(
    line: &mut String,
    level: &str,
    now: SystemTime,
    logger: Option<&str>,
    caller: Caller<'_>,
    message: &str,
    fields: &str,
) -> fmt::Result {
    write!(line, "{}\t{level}\t", Timestamp(now))?;
    if let Some(logger) = logger {
        write!(line, "{logger}\t")?;
    }
    write!(line, "{caller}\t{message}")?;
    if !fields.is_empty() {
        write!(line, "\t{{{fields}}}")?;
    }
    line.push('\n');
    Ok(())
}

impl<S: Subscriber> Layer<S> for ZapLayer {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = LINE.with_borrow_mut(|(line, _)| std::mem::take(line));
        line.clear();
        self.write_line(event.metadata(), event, &mut line);
        if !line.is_empty() {
            for sink in &self.sinks {
                sink.write(line.as_bytes());
            }
        }
        LINE.with_borrow_mut(|(kept, _)| *kept = line);
    }
}

fn level_name(metadata: &Metadata<'_>) -> &'static str {
    match (metadata.target(), *metadata.level()) {
        (FATAL, _) => "fatal",
        (PANIC, _) => "panic",
        (_, Level::ERROR) => "error",
        (_, Level::WARN) => "warn",
        (_, Level::INFO) => "info",
        (_, _) => "debug",
    }
}

/// `folder/file.rs:line` of the event.
#[derive(Clone, Copy)]
struct Caller<'a>(&'a Metadata<'a>);

impl fmt::Display for Caller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.file().unwrap_or_default();
        let mut parts = path.rsplit('/').filter(|p| *p != "src");
        let file = parts.next().unwrap_or_default();
        match parts.next() {
            Some(folder) => write!(f, "{folder}/{file}:{}", self.0.line().unwrap_or(0)),
            None => write!(f, "{file}:{}", self.0.line().unwrap_or(0)),
        }
    }
}

/// Collects the message and, as JSON members, the other fields.
struct Fields<'a> {
    out: &'a mut String,
    message: String,
}

impl Fields<'_> {
    fn key(&mut self, field: &Field) {
        if !self.out.is_empty() {
            self.out.push(',');
        }
        quote(self.out, field.name());
        self.out.push(':');
    }

    fn text(&mut self, field: &Field, text: &str) {
        if field.name() == "message" {
            self.message.push_str(text);
            return;
        }
        match text.strip_prefix(RAW_JSON) {
            // The fields of a gathered notice come as one value.
            Some("") if field.name() == "flat" => {}
            Some(members) if field.name() == "flat" => {
                if !self.out.is_empty() {
                    self.out.push(',');
                }
                self.out.push_str(members);
            }
            Some(json) => {
                self.key(field);
                self.out.push_str(json);
            }
            None => {
                self.key(field);
                quote(self.out, text);
            }
        }
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.key(field);
        // Writing to a `String` cannot fail.
        let written = write!(self.out, "{value}");
        debug_assert!(written.is_ok());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        self.text(field, &text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.plain(field, value);
    }
}

/// Appends `text` as a JSON string.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                // Writing to a `String` cannot fail.
                let written = write!(out, "\\u{:04x}", u32::from(c));
                debug_assert!(written.is_ok());
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::List;
    use std::fs::File;
    use tracing_subscriber::layer::SubscriberExt as _;

    fn logged(console: bool, level: Level, log: impl FnOnce()) -> String {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().join("log");
        let config = LogConfig { level, console, ..LogConfig::default() };
        let sinks = vec![Sink::File(File::create(&path).expect("a log file"))];
        let layer = ZapLayer::new(&config, sinks);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        std::fs::read_to_string(path).expect("the log file")
    }

    #[test]
    fn a_line_has_the_keys_of_zap_in_order() {
        let text = logged(false, Level::INFO, || {
            tracing::info!("local-member-id" = "8ddab73534be950c", n = 3, "starting \"it\"");
        });
        let (head, tail) = text.split_once("\"caller\":\"").expect("a caller");
        assert!(head.starts_with("{\"level\":\"info\",\"ts\":\"20"), "{text}");
        let (caller, rest) = tail.split_once('"').expect("a closing quote");
        assert!(caller.starts_with("logging/layer.rs:"), "{caller}");
        let want = ",\"msg\":\"starting \\\"it\\\"\",\"local-member-id\":\"8ddab73534be950c\",\
                    \"n\":3}\n";
        assert_eq!(rest, want);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let ts = value["ts"].as_str().expect("a timestamp");
        assert_eq!((ts.len(), &ts[19..20], &ts[26..]), (27, ".", "Z"));
    }

    #[test]
    fn lists_stay_lists_and_targets_choose_logger_and_level() {
        let text = logged(false, Level::INFO, || {
            tracing::info!(target: RAFT, urls = %List(&["a", "b"]), "x");
            tracing::error!(target: FATAL, "discovery failed");
        });
        assert!(text.contains("\",\"logger\":\"raft\",\"caller\":"), "{text}");
        assert!(text.contains("\"msg\":\"x\",\"urls\":[\"a\",\"b\"]}"), "{text}");
        assert!(text.contains("{\"level\":\"fatal\",\"ts\":"), "{text}");
    }

    #[test]
    fn console_lines_are_tab_separated() {
        let text = logged(true, Level::INFO, || tracing::warn!(took = "1s", "slow fdatasync"));
        let parts: Vec<&str> = text.trim_end().split('\t').collect();
        assert_eq!((parts[1], parts[3], parts[4]), ("warn", "slow fdatasync", "{\"took\":\"1s\"}"));
    }

    #[test]
    fn lines_below_the_level_are_dropped() {
        let text = logged(false, Level::WARN, || {
            tracing::info!("quiet");
            tracing::warn!("loud");
        });
        assert!(!text.contains("quiet") && text.contains("loud"));
    }

    #[test]
    fn a_flood_of_one_message_is_sampled() {
        let text = logged(false, Level::INFO, || {
            for n in 0..1000 {
                tracing::info!(n, "again and again");
            }
        });
        let lines = text.lines().count();
        // A second may end in the middle of the flood, which lets another burst pass.
        assert!((100..=250).contains(&lines), "{lines} lines");
    }

    #[test]
    fn notices_carry_their_fields() {
        use crate::config::Notice;
        let notice = Notice::warn("unrecognized environment variable")
            .with("environment-variable", "ETCD_FOO=\"1\"");
        let text = logged(false, Level::INFO, || crate::logging::notices(&[notice]));
        let want = "\"msg\":\"unrecognized environment variable\",\"environment-variable\":\
                    \"ETCD_FOO=\\\"1\\\"\"}";
        assert!(text.contains(want), "{text}");
    }
}
