//! Go's spellings of booleans and integers, as its `flag` package reads them.

/// Why a number was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberError {
    /// Not a number at all.
    Syntax,
    /// A number that does not fit.
    Range,
}

impl NumberError {
    /// The cause as Go's `flag` package prints it.
    pub(crate) fn flag_text(self) -> &'static str {
        match self {
            NumberError::Syntax => "parse error",
            NumberError::Range => "value out of range",
        }
    }

    /// The cause as Go's `strconv` package prints it.
    pub(crate) fn strconv_text(self) -> &'static str {
        match self {
            NumberError::Syntax => "invalid syntax",
            NumberError::Range => "value out of range",
        }
    }
}

/// Reads one of the twelve spellings Go accepts for a boolean.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// Reads a signed integer: optional sign, then the digits of [`parse_uint`].
pub(crate) fn parse_int(text: &str) -> Result<i64, NumberError> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = parse_uint(digits)?;
    let signed = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(signed).map_err(|_| NumberError::Range)
}

/// Reads an unsigned integer: decimal, `0x`, `0o` or `0`, `0b`, with `_` between digits.
pub(crate) fn parse_uint(text: &str) -> Result<u64, NumberError> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    // An underscore may follow the base prefix, never end the number and never stand twice.
    let bare = digits.strip_prefix('_').filter(|_| radix != 10).unwrap_or(digits);
    if bare.is_empty() || bare.starts_with('_') || bare.ends_with('_') || bare.contains("__") {
        return Err(NumberError::Syntax);
    }
    let mut value = 0u64;
    let mut overflow = false;
    for c in bare.chars().filter(|&c| c != '_') {
        let digit = c.to_digit(radix).ok_or(NumberError::Syntax)?;
        match value.checked_mul(u64::from(radix)).and_then(|v| v.checked_add(u64::from(digit))) {
            Some(v) => value = v,
            None => overflow = true,
        }
    }
    if overflow { Err(NumberError::Range) } else { Ok(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_follow_go_base_zero() {
        let cases: &[(&str, Result<i64, NumberError>)] = &[
            ("0", Ok(0)),
            ("-5", Ok(-5)),
            ("+7", Ok(7)),
            ("0x10", Ok(16)),
            ("0X1F", Ok(31)),
            ("0o17", Ok(15)),
            ("017", Ok(15)),
            ("0b101", Ok(5)),
            ("1_000", Ok(1000)),
            ("0x_ff", Ok(255)),
            ("1__0", Err(NumberError::Syntax)),
            ("_1", Err(NumberError::Syntax)),
            ("1_", Err(NumberError::Syntax)),
            ("", Err(NumberError::Syntax)),
            ("-", Err(NumberError::Syntax)),
            ("08", Err(NumberError::Syntax)),
            ("1e3", Err(NumberError::Syntax)),
            (" 5", Err(NumberError::Syntax)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("-9223372036854775808", Ok(i64::MIN)),
            ("9223372036854775808", Err(NumberError::Range)),
            ("99999999999999999999999", Err(NumberError::Range)),
        ];
        for (text, want) in cases {
            assert_eq!(parse_int(text), *want, "{text:?}");
        }
    }

    #[test]
    fn unsigned_integers_take_no_sign() {
        assert_eq!(parse_uint("-1"), Err(NumberError::Syntax));
        assert_eq!(parse_uint("+1"), Err(NumberError::Syntax));
        assert_eq!(parse_uint("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_uint("18446744073709551616"), Err(NumberError::Range));
    }

    #[test]
    fn booleans_have_twelve_spellings() {
        for text in ["1", "t", "T", "TRUE", "true", "True"] {
            assert_eq!(parse_bool(text), Some(true));
        }
        for text in ["0", "f", "F", "FALSE", "false", "False"] {
            assert_eq!(parse_bool(text), Some(false));
        }
        for text in ["", "yes", "tRUE", "on", "2"] {
            assert_eq!(parse_bool(text), None);
        }
    }
}
