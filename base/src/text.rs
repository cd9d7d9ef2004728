//! The text forms users see: durations in Go's syntax, sizes in decimal units, quoted bytes.

use std::fmt::Write;

use crate::Error;

const NS_PER_US: u64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MIN: u64 = 60 * NS_PER_S;
const NS_PER_HOUR: u64 = 60 * NS_PER_MIN;

/// Reads a duration such as `1h30m`, `-1.5s`, `300us` or `0` as nanoseconds.
///
/// # Errors
/// [`Error::Duration`] with Go's wording.
pub fn parse_duration(text: &str) -> Result<i64, Error> {
    let invalid = || Error::Duration(format!("time: invalid duration {}", quote(text.as_bytes())));
    let (negative, body) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if body == "0" {
        return Ok(0);
    }
    if body.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    let mut rest = body;
    while !rest.is_empty() {
        let (whole, after) = split_digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let Some(unit_ns) = unit_ns(unit) else {
            let why = if unit.is_empty() {
                "missing unit".to_owned()
            } else {
                format!("unknown unit {}", quote(unit.as_bytes()))
            };
            let text = quote(text.as_bytes());
            return Err(Error::Duration(format!("time: {why} in duration {text}")));
        };
        let part = scaled(whole, fraction, unit_ns).ok_or_else(invalid)?;
        total = total.checked_add(part).ok_or_else(invalid)?;
        rest = after;
    }
    let signed = i128::try_from(total).map_err(|_| invalid())?;
    i64::try_from(if negative { -signed } else { signed }).map_err(|_| invalid())
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_ns(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(NS_PER_US),
        "ms" => Some(NS_PER_MS),
        "s" => Some(NS_PER_S),
        "m" => Some(NS_PER_MIN),
        "h" => Some(NS_PER_HOUR),
        _ => None,
    }
}

/// `whole.fraction` units in nanoseconds, rounded down; `None` past what an `i64` can hold.
fn scaled(whole: &str, fraction: &str, unit_ns: u64) -> Option<u128> {
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Digits past the 18th weigh less than a nanosecond in every unit.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let unit_ns = u128::from(unit_ns);
    Some(u128::from(whole) * unit_ns + fraction * unit_ns / scale)
}

/// Writes nanoseconds as Go does: `0s`, `847.5µs`, `1m0.5s`, `-1h0m0s`.
pub fn format_duration(ns: i64) -> String {
    let mut out = String::with_capacity(24);
    if ns < 0 {
        out.push('-');
    }
    let ns = ns.unsigned_abs();
    match ns {
        0 => out.push_str("0s"),
        1..NS_PER_US => push(&mut out, format_args!("{ns}ns")),
        NS_PER_US..NS_PER_MS => push_decimal(&mut out, ns, NS_PER_US, "\u{b5}s"),
        NS_PER_MS..NS_PER_S => push_decimal(&mut out, ns, NS_PER_MS, "ms"),
        _ => {
            let (hours, minutes) = (ns / NS_PER_HOUR, ns % NS_PER_HOUR / NS_PER_MIN);
            if hours > 0 {
                push(&mut out, format_args!("{hours}h"));
            }
            if hours > 0 || minutes > 0 {
                push(&mut out, format_args!("{minutes}m"));
            }
            push_decimal(&mut out, ns % NS_PER_MIN, NS_PER_S, "s");
        }
    }
    out
}

/// Appends `value / unit` without trailing zeros.
fn push_decimal(out: &mut String, value: u64, unit: u64, name: &str) {
    push(out, format_args!("{}", value / unit));
    let fraction = value % unit;
    if fraction > 0 {
        let width = unit.ilog10() as usize;
        let digits = format!("{fraction:0width$}");
        out.push('.');
        out.push_str(digits.trim_end_matches('0'));
    }
    out.push_str(name);
}

fn push(out: &mut String, what: std::fmt::Arguments<'_>) {
    out.write_fmt(what).expect("a string takes any text");
}

/// Writes a size in decimal units: `9 B`, `1.0 kB`, `25 kB`, `2.1 GB`.
pub fn humanize_bytes(size_bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if size_bytes < 10 {
        return format!("{size_bytes} B");
    }
    let exponent = (size_bytes.ilog10() / 3) as usize;
    let unit = 1000u64.pow(size_bytes.ilog10() / 3);
    // The doubles are owed: the printed digits are those of this very computation.
    let value = (size_bytes as f64 / unit as f64 * 10.0 + 0.5).floor() / 10.0;
    let digits = usize::from(value < 10.0);
    format!("{value:.digits$} {}", UNITS[exponent])
}

/// Texts in Go's quotes with a blank between them, as Go prints a list.
pub fn quoted_list<S: AsRef<str>>(texts: &[S]) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| quote(text.as_ref().as_bytes())).collect();
    quoted.join(" ")
}

/// An I/O error as Go tells it: lower case, without the number.
pub fn io_error(error: &std::io::Error) -> String {
    let text = error.to_string();
    let bare = text.split(" (os error").next().unwrap_or_default();
    let mut chars = bare.chars();
    chars.next().map_or_else(String::new, |c| c.to_lowercase().chain(chars).collect())
}

/// Writes bytes as a double-quoted Go string: printable text as it is, the rest escaped.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, &mut out);
        }
        for byte in chunk.invalid() {
            push(&mut out, format_args!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

fn quote_char(c: char, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        '\0'..='\u{1f}' | '\u{7f}' => push(out, format_args!("\\x{:02x}", u32::from(c))),
        _ if is_printable(c) => out.push(c),
        '\u{80}'..='\u{ffff}' => push(out, format_args!("\\u{:04x}", u32::from(c))),
        _ => push(out, format_args!("\\U{:08x}", u32::from(c))),
    }
}

/// Letters, marks, numbers, punctuation and symbols print; separators and controls do not.
fn is_printable(c: char) -> bool {
    // The standard library escapes what does not print, and a mark only where it has nothing
    // before it to stand on.
    let mut text = String::from("a");
    text.push(c);
    !text.escape_debug().skip(1).take(1).any(|first| first == '\\')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn errors_and_lists_read_as_in_go() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(io_error(&error), "no such file or directory");
        assert_eq!(quoted_list(&["a", "b\"c"]), r#""a" "b\"c""#);
        assert_eq!(quoted_list::<&str>(&[]), "");
    }

    #[test]
    fn durations_print_as_known() {
        for (ns, text) in [
            (0, "0s"),
            (1, "1ns"),
            (847_500, "847.5\u{b5}s"),
            (4_328_510, "4.32851ms"),
            (2_000_753_592, "2.000753592s"),
            (60_500_000_000, "1m0.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (-90_000_000_000, "-1m30s"),
            (i64::MIN, "-2562047h47m16.854775808s"),
        ] {
            assert_eq!(format_duration(ns), text);
            assert_eq!(parse_duration(text), Ok(ns));
        }
    }

    #[test]
    fn durations_parse_every_form() {
        for (text, ns) in [
            ("0", 0),
            ("-0", 0),
            ("+5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            (".5h", 1_800_000_000_000),
            ("1.s", 1_000_000_000),
            ("1us", 1_000),
            ("1\u{3bc}s", 1_000),
            ("0.9999999999999999999999ns", 0),
            ("1s1s", 2_000_000_000),
        ] {
            assert_eq!(parse_duration(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn wrong_durations_are_refused_in_gos_words() {
        for (text, words) in [
            ("", "time: invalid duration \"\""),
            ("-", "time: invalid duration \"-\""),
            ("s", "time: invalid duration \"s\""),
            (".s", "time: invalid duration \".s\""),
            ("1 s", "time: unknown unit \" s\" in duration \"1 s\""),
            ("10", "time: missing unit in duration \"10\""),
            ("1d", "time: unknown unit \"d\" in duration \"1d\""),
            ("9223372036854775808ns", "time: invalid duration \"9223372036854775808ns\""),
            ("99999999999999999999999s", "time: invalid duration \"99999999999999999999999s\""),
        ] {
            assert_eq!(parse_duration(text), Err(Error::Duration(words.to_owned())), "{text}");
        }
    }

    #[test]
    fn sizes_print_as_known() {
        for (size_bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (10, "10 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9999, "10 kB"),
            (24_500, "24 kB"),
            (24_576, "25 kB"),
            (3_900_000, "3.9 MB"),
            (2_147_483_648, "2.1 GB"),
            (8_589_934_592, "8.6 GB"),
            (u64::MAX, "18 EB"),
        ] {
            assert_eq!(humanize_bytes(size_bytes), text);
        }
    }

    #[test]
    fn bytes_are_quoted_as_go_quotes_them() {
        for (bytes, text) in [
            (&b"foo"[..], "\"foo\""),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"\0\x07\x08\t\n\x0b\x0c\r\x1b\x7f", r#""\x00\a\b\t\n\v\f\r\x1b\x7f""#),
            (b"\xff\xc3", r#""\xff\xc3""#),
            ("\u{e4}\u{20ac}e\u{301}".as_bytes(), "\"\u{e4}\u{20ac}e\u{301}\""),
            ("\u{a0}\u{2028}\u{feff}".as_bytes(), r#""\u00a0\u2028\ufeff""#),
            ("\u{1f600}\u{10ffff}".as_bytes(), "\"\u{1f600}\\U0010ffff\""),
        ] {
            assert_eq!(quote(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn printed_durations_parse_back(ns in any::<i64>()) {
            prop_assert_eq!(parse_duration(&format_duration(ns)), Ok(ns));
        }

        #[test]
        fn parsing_a_duration_never_panics(text in "[-+.0-9a-z\u{b5} ]{0,24}") {
            drop(parse_duration(&text));
        }
    }
}
