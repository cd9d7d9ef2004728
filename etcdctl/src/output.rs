//! Standard output and error: whole pieces, flushed at once, so that a pipe sees each event.

use std::io::{self, Write as _};
use std::time::SystemTime;

use base::time::Timestamp;

use crate::failure::{Failure, code};
use crate::print::{self, Object, Reply, Style, push_log_string};

/// Writes `bytes` to standard output.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn write(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::silent(code::PIPE_CLOSED),
        _ => Failure::new(
            code::ERROR,
            format!("write /dev/stdout: {}", base::text::io_error(&error)),
        ),
    })
}

/// Prints `reply`.
///
/// # Errors
/// The format does not know such a reply, or standard output cannot be written.
pub(crate) fn print(style: Style, reply: &Reply<'_>) -> Result<(), Failure> {
    match print::render(style, reply) {
        Ok(bytes) => write(&bytes),
        Err(unsupported) => Err(Failure::new(code::BAD_FEATURE, unsupported.text)),
    }
}

/// Writes a line to standard error; nobody can be told when that fails.
pub(crate) fn complain(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Writes a JSON log line to standard error.
pub(crate) fn log(level: &str, caller: &str, message: &str, fields: &[(&str, &str)]) {
    let mut line = String::new();
    let mut object = Object::begin(&mut line);
    push_log_string(object.key("level"), level);
    push_log_string(object.key("ts"), &Timestamp(SystemTime::now()).to_string());
    let (logger, rest): (Vec<_>, Vec<_>) =
        fields.iter().copied().partition(|(name, _)| *name == "logger");
    for (name, value) in logger {
        push_log_string(object.key(name), value);
    }
    push_log_string(object.key("caller"), caller);
    push_log_string(object.key("msg"), message);
    for (name, value) in rest {
        if name == "attempt" {
            object.number(name, value);
        } else {
            push_log_string(object.key(name), value);
        }
    }
    object.end();
    complain(&line);
}
