//! JSON as Go writes it.

use std::fmt::Write;

/// Appends `text` as a JSON string with Go's escapes: quotes, backslash, control bytes, and
/// `<`, `>`, `&`, U+2028, U+2029, which Go escapes for HTML.
pub fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                write!(out, "\\u{:04x}", u32::from(c)).expect("a string takes any text");
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a JSON list, each element written by `element`.
pub fn list<T>(items: &[T], out: &mut String, mut element: impl FnMut(&T, &mut String)) {
    out.push('[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        element(item, out);
    }
    out.push(']');
}
