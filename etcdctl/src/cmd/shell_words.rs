//! Words of an input line, as `txn` and `watch -i` split them.

/// Splits `line` at blanks. `"..."` is a Go string with its escapes, `'...'` is taken literally;
/// a quote must begin its word.
///
/// ```text
/// put "a\nb" 'c d' e   ─▶   put | a⏎b | c d | e
/// ```
pub(super) fn split(line: &[u8]) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = line.trim_ascii_start();
    while let Some(first) = rest.first() {
        let (word, after) = match first {
            b'"' => match go_string(rest) {
                Some(quoted) => quoted,
                None => bare(rest),
            },
            b'\'' => match rest[1..].iter().position(|byte| *byte == b'\'') {
                Some(end) => (rest[1..=end].to_vec(), &rest[end + 2..]),
                None => bare(rest),
            },
            _ => bare(rest),
        };
        words.push(word);
        rest = after.trim_ascii_start();
    }
    words
}

fn bare(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    (text[..end].to_vec(), &text[end..])
}

/// The value of the Go string at the start of `text`, double or back quoted, and what follows it.
pub(super) fn go_string(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    match text.first()? {
        b'`' => {
            let end = text[1..].iter().position(|byte| *byte == b'`')?;
            Some((text[1..=end].to_vec(), &text[end + 2..]))
        }
        b'"' => {
            let mut value = Vec::new();
            let mut rest = &text[1..];
            loop {
                match rest {
                    [b'"', after @ ..] => return Some((value, after)),
                    [b'\\', after @ ..] => rest = escape(after, &mut value)?,
                    [byte, after @ ..] => {
                        value.push(*byte);
                        rest = after;
                    }
                    [] => return None,
                }
            }
        }
        _ => None,
    }
}

/// Decodes what follows a backslash.
fn escape<'a>(text: &'a [u8], value: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (kind, rest) = text.split_first()?;
    let simple = match kind {
        b'a' => 7,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'v' => 11,
        b'\\' | b'"' => *kind,
        b'x' => {
            let (byte, rest) = number(rest, 2, 16)?;
            value.push(u8::try_from(byte).ok()?);
            return Some(rest);
        }
        b'0'..=b'7' => {
            let (byte, rest) = number(text, 3, 8)?;
            value.push(u8::try_from(byte).ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (rune, rest) = number(rest, if *kind == b'u' { 4 } else { 8 }, 16)?;
            let mut buffer = [0; 4];
            value.extend_from_slice(char::from_u32(rune)?.encode_utf8(&mut buffer).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    value.push(simple);
    Some(rest)
}

fn number(text: &[u8], digits: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (head, rest) = text.split_at_checked(digits)?;
    let head = std::str::from_utf8(head).ok()?;
    let plain = head.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((u32::from_str_radix(head, radix).ok().filter(|_| plain)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let lossy = |word: Vec<u8>| String::from_utf8_lossy(&word).into_owned();
        split(line.as_bytes()).into_iter().map(lossy).collect()
    }

    #[test]
    fn words_are_bare_or_quoted_in_two_ways() {
        assert_eq!(words("  put  a b "), ["put", "a", "b"]);
        assert_eq!(words(r#"put "a b" 'c "d\n'"#), ["put", "a b", "c \"d\\n"]);
        assert_eq!(words(r#"put k "" x"#), ["put", "k", "", "x"]);
        assert!(words(" ").is_empty());
    }

    #[test]
    fn escapes_of_go_strings_are_decoded() {
        let decoded = |text: &str| go_string(text.as_bytes()).map(|(value, _)| value);
        assert_eq!(decoded(r#""\a\t\n\"\\""#), Some(b"\x07\t\n\"\\".to_vec()));
        assert_eq!(
            decoded(r#""\x00\xff\101\u00e9\U0001f600""#),
            Some(b"\x00\xffA\xc3\xa9\xf0\x9f\x98\x80".to_vec())
        );
        assert_eq!(decoded("`a\\n`"), Some(b"a\\n".to_vec()));
        for bad in [r#""\q""#, r#""\x1""#, r#""\400""#, r#""\ud800""#, "\"open", "bare"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_follows_the_closing_quote_is_kept() {
        assert_eq!(go_string(br#""k") = "v""#), Some((b"k".to_vec(), &br#") = "v""#[..])));
    }
}
