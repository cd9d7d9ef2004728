//! The values flags may take, read by the rules of Go's `strconv`, `time` and `encoding/csv`.

use super::spec::{Flag, Kind};

/// The value of a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Bool(bool),
    Text(String),
    Int(i64),
    Uint(u64),
    /// A duration in nanoseconds.
    Duration(i64),
    List(Vec<String>),
}

/// Why a text is not a value of the kind wanted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadValue {
    text: String,
    reason: String,
}

impl BadValue {
    /// pflag's sentence about the flag.
    pub(crate) fn flag_error(&self, flag: &Flag) -> String {
        let name = match flag.short {
            Some(letter) => format!("-{letter}, --{}", flag.long),
            None => format!("--{}", flag.long),
        };
        let text = base::text::quote(self.text.as_bytes());
        format!("invalid argument {text} for \"{name}\" flag: {}", self.reason)
    }
}

/// The value of a flag that is not given.
pub(crate) fn default_of(flag: &Flag) -> Value {
    read(flag, flag.default, None).expect("defaults in the command tree are well formed")
}

/// Reads `text` as a value of `flag`; a list is appended to `earlier`.
///
/// # Errors
/// A text that is not of the flag's kind.
pub(crate) fn read(flag: &Flag, text: &str, earlier: Option<Value>) -> Result<Value, BadValue> {
    let bad = |reason: String| BadValue { text: text.to_owned(), reason };
    Ok(match flag.kind {
        Kind::Bool => Value::Bool(go_bool(text).ok_or_else(|| {
            bad(format!("strconv.ParseBool: parsing {}: invalid syntax", quoted(text)))
        })?),
        Kind::Text => Value::Text(text.to_owned()),
        Kind::Int => Value::Int(go_int(text, 0).map_err(bad)?),
        Kind::Uint => Value::Uint(go_uint(text, 0).map_err(bad)?),
        Kind::Duration => {
            Value::Duration(base::text::parse_duration(text).map_err(|e| bad(e.to_string()))?)
        }
        Kind::List => {
            let mut list = match earlier {
                Some(Value::List(list)) => list,
                _ => Vec::new(),
            };
            list.extend(csv(text));
            Value::List(list)
        }
    })
}

/// The spellings of `strconv.ParseBool`.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `strconv.ParseInt(text, base, 64)`; base 0 reads `0x`, `0o` and `0b` prefixes.
///
/// # Errors
/// Go's error text.
pub(crate) fn go_int(text: &str, base: u32) -> Result<i64, String> {
    let refused = |reason: &str| format!("strconv.ParseInt: parsing {}: {reason}", quoted(text));
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let magnitude = magnitude(digits, base).map_err(refused)?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).map_err(|_| refused(OUT_OF_RANGE))
}

/// `strconv.ParseUint(text, base, 64)`.
///
/// # Errors
/// Go's error text.
pub(crate) fn go_uint(text: &str, base: u32) -> Result<u64, String> {
    magnitude(text, base)
        .map_err(|reason| format!("strconv.ParseUint: parsing {}: {reason}", quoted(text)))
}

const INVALID: &str = "invalid syntax";
const OUT_OF_RANGE: &str = "value out of range";

fn magnitude(text: &str, base: u32) -> Result<u64, &'static str> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match (base, lower.as_bytes()) {
        (0, [b'0', b'x', ..]) => (16, lower[2..].replace('_', "")),
        (0, [b'0', b'o', ..]) => (8, lower[2..].replace('_', "")),
        (0, [b'0', b'b', ..]) => (2, lower[2..].replace('_', "")),
        (0, [b'0', _, ..]) => (8, lower[1..].to_owned()),
        (0, _) => (10, lower),
        (radix, _) => (radix, lower),
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(INVALID);
    }
    u64::from_str_radix(&digits, radix).map_err(|_| OUT_OF_RANGE)
}

fn quoted(text: &str) -> String {
    base::text::quote(text.as_bytes())
}

/// One line of comma separated values; a field in double quotes may hold commas.
fn csv(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut inside = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let field = fields.last_mut().expect("there is always a field");
        match character {
            '"' if inside && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if inside => inside = false,
            '"' if field.is_empty() => inside = true,
            ',' if !inside => fields.push(String::new()),
            other => field.push(other),
        }
    }
    if text.is_empty() { Vec::new() } else { fields }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_strconv() {
        assert_eq!(go_int("-0x1f", 0), Ok(-31));
        assert_eq!(go_int("010", 0), Ok(8));
        assert_eq!(go_int("7f", 16), Ok(127));
        assert_eq!(go_int("-9223372036854775808", 10), Ok(i64::MIN));
        assert_eq!(
            go_int("9223372036854775808", 10),
            Err("strconv.ParseInt: parsing \"9223372036854775808\": value out of range".into())
        );
        assert_eq!(
            go_int("zz", 16),
            Err("strconv.ParseInt: parsing \"zz\": invalid syntax".into())
        );
        assert_eq!(
            go_uint("-1", 16),
            Err("strconv.ParseUint: parsing \"-1\": invalid syntax".into())
        );
        assert!(go_int("", 10).is_err() && go_int("0x", 0).is_err());
    }

    #[test]
    fn quoted_fields_of_a_list_keep_their_commas() {
        assert_eq!(csv("a,b"), ["a", "b"]);
        assert_eq!(csv("\"a,b\",c\"d,\"\"\"\""), ["a,b", "c\"d", "\""]);
        assert!(csv("").is_empty());
    }
}
