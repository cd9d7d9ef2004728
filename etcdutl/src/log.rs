//! Log lines in the console form etcd's tools write:
//! `time⇥level⇥caller⇥message⇥{"field": "value"}`.

use std::time::{SystemTime, UNIX_EPOCH};

/// Writes an `info` line to standard error.
pub(crate) fn info(caller: &str, message: &str, fields: &[(&str, Field)]) {
    crate::complain(&line(SystemTime::now(), caller, message, fields));
}

/// The value of a field.
pub(crate) enum Field {
    /// Shown in quotes.
    Text(String),
    /// Shown as it is.
    Number(i64),
}

fn line(now: SystemTime, caller: &str, message: &str, fields: &[(&str, Field)]) -> String {
    let shown: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            Field::Text(text) => format!("\"{name}\": {}", base::text::quote(text.as_bytes())),
            Field::Number(number) => format!("\"{name}\": {number}"),
        })
        .collect();
    format!("{}\tinfo\t{caller}\t{message}\t{{{}}}", utc(now), shown.join(", "))
}

/// A moment in UTC to the second: `2026-11-22T09:44:25Z`.
fn utc(moment: SystemTime) -> String {
    let second = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, second) = (second / 86_400, second % 86_400);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let every = |year: u64, years: u64| year.is_multiple_of(years);
    let leap = |year| every(year, 4) && (!every(year, 100) || every(year, 400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in lengths {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_line_has_five_parts_and_spaced_fields() {
        let fields = [("path", Field::Text("a\"b".into())), ("size", Field::Number(-3))];
        let now = UNIX_EPOCH + Duration::from_secs(951_827_696);
        assert_eq!(
            line(now, "backend/x.rs:1", "defragmenting", &fields),
            "2000-02-29T12:34:56Z\tinfo\tbackend/x.rs:1\tdefragmenting\t\
             {\"path\": \"a\\\"b\", \"size\": -3}"
        );
    }

    #[test]
    fn days_become_dates_across_leap_years() {
        assert_eq!(civil_date(0), (1970, 1, 1));
        assert_eq!(civil_date(20_779), (2026, 11, 22));
        assert_eq!(civil_date(47_540), (2100, 2, 28));
        assert_eq!(civil_date(47_541), (2100, 3, 1));
    }
}
