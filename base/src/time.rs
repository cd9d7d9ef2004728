//! Moments as text, in UTC: of log lines and of what members tell each other.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;

/// A moment that prints as zap's ISO 8601 with six digits of fraction:
/// `2006-01-02T15:04:05.000000Z`.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp(pub SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        write_seconds(f, since.as_secs())?;
        write!(f, ".{:06}Z", since.subsec_micros())
    }
}

/// A moment that prints as Go's RFC 3339 with up to nine digits of fraction, none of the last
/// ones zero: `2006-01-02T15:04:05.12Z`.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339Nano(pub SystemTime);

impl fmt::Display for Rfc3339Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        write_seconds(f, since.as_secs())?;
        match since.subsec_nanos() {
            0 => f.write_str("Z"),
            nanos => {
                let fraction = format!("{nanos:09}");
                write!(f, ".{}Z", fraction.trim_end_matches('0'))
            }
        }
    }
}

fn write_seconds(f: &mut fmt::Formatter<'_>, seconds: u64) -> fmt::Result {
    let (year, month, day) = civil(seconds / DAY_S);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Reads an RFC 3339 moment since 1970, with any zone; `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let number = |part: Option<&str>| -> Option<u64> {
        let part = part.filter(|p| p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse().ok()
    };
    let (year, month, day) =
        (number(text.get(0..4))?, number(text.get(5..7))?, number(text.get(8..10))?);
    let (hour, minute, second) =
        (number(text.get(11..13))?, number(text.get(14..16))?, number(text.get(17..19))?);
    let marks = [(4, "-"), (7, "-"), (10, "T"), (13, ":"), (16, ":")];
    if marks.iter().any(|(at, mark)| text.get(*at..=*at) != Some(*mark)) {
        return None;
    }
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let mut zone = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = zone.strip_prefix('.') {
        let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
        nanos = number(fraction.get(..digits.min(9)).filter(|d| !d.is_empty()))?
            * 10_u64.pow(9 - digits.min(9) as u32);
        zone = &fraction[digits..];
    }
    let seconds = days(year, month, day) * DAY_S + hour * 3600 + minute * 60 + second;
    let east_s = match zone.as_bytes() {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let minutes = number(zone.get(1..3))? * 60 + number(zone.get(4..6))?;
            let seconds = i64::try_from(minutes * 60).ok()?;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = seconds.checked_add_signed(-east_s)?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + Duration::from_nanos(nanos))
}

/// The date of a day counted from 1970-01-01, by eras of 400 years that start on March 1st.
fn civil(days: u64) -> (u64, u64, u64) {
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

/// The days from 1970-01-01 to a date from 1970 on: the inverse of [`civil`].
fn days(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_around_leap_days() {
        let cases = [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_000_000, "2000-02-28T23:59:59.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_800_000_001, "2000-03-01T00:00:00.000001Z"),
            (1_795_339_190_349_123, "2026-11-22T09:19:50.349123Z"),
            (4_107_542_399_000_000, "2100-02-28T23:59:59.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ];
        for (micros, want) in cases {
            let at = UNIX_EPOCH + Duration::from_micros(micros);
            assert_eq!(Timestamp(at).to_string(), want);
            assert_eq!(parse_rfc3339(want), Some(at));
        }
    }

    #[test]
    fn fractions_lose_their_last_zeros() {
        for (nanos, want) in [
            (0, "2026-11-22T14:25:46Z"),
            (947_810_746, "2026-11-22T14:25:46.947810746Z"),
            (120_000_000, "2026-11-22T14:25:46.12Z"),
            (1, "2026-11-22T14:25:46.000000001Z"),
        ] {
            let at = UNIX_EPOCH + Duration::new(1_795_357_546, nanos);
            assert_eq!(Rfc3339Nano(at).to_string(), want);
            assert_eq!(parse_rfc3339(want), Some(at));
        }
    }

    #[test]
    fn zones_are_taken_off() {
        let at = parse_rfc3339("2026-11-22T14:25:46Z");
        assert!(at.is_some());
        assert_eq!(parse_rfc3339("2026-11-22T16:25:46+02:00"), at);
        assert_eq!(parse_rfc3339("2026-11-22T08:55:46.0-05:30"), at);
    }

    #[test]
    fn other_texts_are_no_moments() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T14:25:46",
            "2026-11-22T14:25:46.Z",
            "2026-13-22T14:25:46Z",
            "2026-11-22 14:25:46Z",
            "1969-11-22T14:25:46Z",
            "2026-11-22T14:25:46+2",
            "2026-1é-22T14:25:46Z",
            "1970-01-01T00:00:00+23:00",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
