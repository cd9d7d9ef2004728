//! Moments as text: of log lines, names of files, and of what members tell each other.

use std::fmt;
use std::time::SystemTime;

use jiff::Zoned;
use jiff::tz::{Offset, TimeZone};

/// A moment that prints as zap's ISO 8601 in the local zone with six digits of fraction:
/// `2006-01-02T15:04:05.000000Z`, `2006-01-02T15:04:05.000000+0800`.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp(pub SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&zap(&zoned(self.0, TimeZone::system())))
    }
}

/// A moment that prints as RFC 3339 in the local zone with whole seconds:
/// `2006-01-02T15:04:05Z`, `2006-01-02T15:04:05+08:00`.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339Seconds(pub SystemTime);

impl fmt::Display for Rfc3339Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339_seconds(&zoned(self.0, TimeZone::system())))
    }
}

/// A moment that prints as Go's RFC 3339 in UTC with up to nine digits of fraction, none of the
/// last ones zero: `2006-01-02T15:04:05.12Z`.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339Nano(pub SystemTime);

impl fmt::Display for Rfc3339Nano {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", zoned(self.0, TimeZone::UTC).strftime("%FT%T%.fZ"))
    }
}

/// A moment that prints as it is put into names of files, in UTC: `20060102.150405.000000`.
#[derive(Clone, Copy, Debug)]
pub struct FileStamp(pub SystemTime);

impl fmt::Display for FileStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", zoned(self.0, TimeZone::UTC).strftime("%Y%m%d.%H%M%S.%6f"))
    }
}

fn zap(at: &Zoned) -> String {
    let layout = if at.offset() == Offset::UTC { "%FT%T.%6fZ" } else { "%FT%T.%6f%z" };
    at.strftime(layout).to_string()
}

fn rfc3339_seconds(at: &Zoned) -> String {
    let layout = if at.offset() == Offset::UTC { "%FT%TZ" } else { "%FT%T%:z" };
    at.strftime(layout).to_string()
}

/// A moment at the clock of a zone; one that no calendar has is 1970.
fn zoned(at: SystemTime, zone: TimeZone) -> Zoned {
    jiff::Timestamp::try_from(at).unwrap_or_default().to_zoned(zone)
}

/// Reads an RFC 3339 moment with any zone; `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    text.parse().map(|at: jiff::Timestamp| at.into()).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn utc(seconds: u64, nanos: u32) -> SystemTime {
        UNIX_EPOCH + Duration::new(seconds, nanos)
    }

    #[test]
    fn logs_tell_the_offset_of_the_zone() {
        for (hours, in_zap, in_seconds) in [
            (0, "2000-02-29T12:34:56.000007Z", "2000-02-29T12:34:56Z"),
            (8, "2000-02-29T20:34:56.000007+0800", "2000-02-29T20:34:56+08:00"),
            (-11, "2000-02-29T01:34:56.000007-1100", "2000-02-29T01:34:56-11:00"),
        ] {
            let zone = TimeZone::fixed(jiff::tz::offset(hours));
            let at = zoned(utc(951_827_696, 7_000), zone);
            assert_eq!(zap(&at), in_zap);
            assert_eq!(rfc3339_seconds(&at), in_seconds);
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
            let at = utc(1_795_357_546, nanos);
            assert_eq!(Rfc3339Nano(at).to_string(), want);
            assert_eq!(parse_rfc3339(want), Some(at));
        }
    }

    #[test]
    fn names_of_files_are_in_utc() {
        assert_eq!(FileStamp(utc(0, 7_000)).to_string(), "19700101.000000.000007");
        let leap_day = utc(951_827_696, 123_456_000);
        assert_eq!(FileStamp(leap_day).to_string(), "20000229.123456.123456");
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
        for text in ["", "2026-11-22", "2026-11-22T14:25:46", "2026-13-22T14:25:46Z", "\u{e9}"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }
}
