//! raft-rs logs through slog; this passes its records on to `tracing`.

use std::fmt::{self, Write};

use slog::{Drain, KV, Level, Logger, Never, OwnedKVList, Record};

/// A logger for raft-rs whose records become `tracing` events with target `raft`.
pub(crate) fn logger() -> Logger {
    Logger::root(Bridge, slog::o!())
}

struct Bridge;

/// What stands behind the message.
#[derive(Default)]
struct Values {
    /// The member that speaks.
    id: Option<u64>,
    term: Option<u64>,
    /// ` key=value ...`
    rest: String,
}

impl slog::Serializer for Values {
    fn emit_u64(&mut self, key: slog::Key, value: u64) -> slog::Result {
        match key {
            "raft_id" => self.id = Some(value),
            "term" => self.term = Some(value),
            _ => return self.emit_arguments(key, &format_args!("{value}")),
        }
        Ok(())
    }

    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.rest, " {key}={value}").map_err(slog::Error::from)
    }
}

impl Values {
    /// The line in etcd's form: `<id> became leader at term <term>`.
    fn line(&self, message: &str) -> String {
        let said = match (message, self.term) {
            ("starting a new election", Some(term)) => {
                format!("is starting a new election at term {term}")
            }
            (message, Some(term)) if !message.contains("term") => format!("{message} term={term}"),
            (message, _) => message.to_owned(),
        };
        let id = self.id.map(|id| format!("{id:x} ")).unwrap_or_default();
        format!("{id}{said}{}", self.rest)
    }
}

impl Drain for Bridge {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if !Drain::is_enabled(self, record.level()) {
            return Ok(());
        }
        let mut behind = Values::default();
        let written =
            record.kv().serialize(record, &mut behind).and(values.serialize(record, &mut behind));
        let mut line = behind.line(&record.msg().to_string());
        if written.is_err() {
            line.push_str(" (some values are missing)");
        }
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{line}"),
            Level::Warning => tracing::warn!(target: "raft", "{line}"),
            Level::Info => tracing::info!(target: "raft", "{line}"),
            Level::Debug => tracing::debug!(target: "raft", "{line}"),
            Level::Trace => tracing::trace!(target: "raft", "{line}"),
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Critical | Level::Error => {
                tracing::enabled!(target: "raft", tracing::Level::ERROR)
            }
            Level::Warning => tracing::enabled!(target: "raft", tracing::Level::WARN),
            Level::Info => tracing::enabled!(target: "raft", tracing::Level::INFO),
            Level::Debug => tracing::enabled!(target: "raft", tracing::Level::DEBUG),
            Level::Trace => tracing::enabled!(target: "raft", tracing::Level::TRACE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_the_form_operators_look_for() {
        let line = |message: &str, rest: &str| {
            let values = Values { id: Some(0xbeef), term: Some(3), rest: rest.to_owned() };
            values.line(message)
        };
        assert_eq!(line("became leader at term 3", ""), "beef became leader at term 3");
        let election = "beef is starting a new election at term 3";
        assert_eq!(line("starting a new election", ""), election);
        assert_eq!(line("newRaft", " commit=7"), "beef newRaft term=3 commit=7");
        assert_eq!(Values::default().line("anything"), "anything");
    }
}
