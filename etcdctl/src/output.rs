//! Standard output and error: whole pieces, flushed at once, so that a pipe sees each event.

use std::io::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

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
        _ => Failure::new(code::ERROR, format!("write /dev/stdout: {error}")),
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
    push_log_string(object.key("ts"), &timestamp(SystemTime::now()));
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

/// A moment in UTC with microseconds: `2026-11-22T09:27:56.916015Z`.
fn timestamp(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil_date(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_micros()
    )
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    // Years counted from March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn moments_are_written_in_utc_with_microseconds() {
        for (second, text) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_827_696, "2000-02-29T12:34:56.000007Z"),
            (1_795_339_676, "2026-11-22T09:27:56.000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000007Z"),
        ] {
            assert_eq!(timestamp(UNIX_EPOCH + Duration::new(second, 7_000)), text);
        }
    }
}
