//! JSON text as Go's `encoding/json` writes it: no blanks, members in the order given, HTML
//! characters escaped, bytes as padded base64. Only what etcdctl prints is here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appends `text` as a JSON string.
///
/// Besides the characters JSON itself forbids, Go escapes `<`, `>`, `&` and the two Unicode line
/// separators, so that the text may stand inside HTML and JavaScript.
pub(crate) fn push_string(out: &mut String, text: &str) {
    push_escaped(out, text, &['<', '>', '&', '\u{2028}', '\u{2029}']);
}

/// Appends `text` as a JSON string with only what JSON itself forbids escaped, as logs have it.
pub(crate) fn push_log_string(out: &mut String, text: &str) {
    push_escaped(out, text, &[]);
}

fn push_escaped(out: &mut String, text: &str, extra: &[char]) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            other if other < ' ' || extra.contains(&other) => {
                out.push_str(&format!("\\u{:04x}", u32::from(other)));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

/// Appends `bytes` as a string of padded standard base64.
pub(crate) fn push_bytes(out: &mut String, bytes: &[u8]) {
    out.push('"');
    STANDARD.encode_string(bytes, out);
    out.push('"');
}

/// Appends `items` as an array, each written by `write`.
pub(crate) fn push_array<T>(
    out: &mut String,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push('[');
    for (position, item) in items.into_iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push(']');
}

/// One JSON object under construction; [`Object::end`] closes it.
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

impl<'a> Object<'a> {
    /// Opens an object at the end of `out`.
    pub(crate) fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Object { out, empty: true }
    }

    /// Closes the object.
    pub(crate) fn end(self) {
        self.out.push('}');
    }

    /// Writes `"name":` and gives the text to write the value to.
    pub(crate) fn key(&mut self, name: &str) -> &mut String {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        push_string(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A number, written also when zero.
    pub(crate) fn number(&mut self, name: &str, value: impl std::fmt::Display) {
        let text = value.to_string();
        self.key(name).push_str(&text);
    }

    /// A signed number, left out when zero.
    pub(crate) fn int(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.number(name, value);
        }
    }

    /// An unsigned number, left out when zero.
    pub(crate) fn uint(&mut self, name: &str, value: u64) {
        if value != 0 {
            self.number(name, value);
        }
    }

    /// A boolean, left out when false.
    pub(crate) fn bool(&mut self, name: &str, value: bool) {
        if value {
            self.number(name, value);
        }
    }

    /// A string, left out when empty.
    pub(crate) fn string(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            push_string(self.key(name), value);
        }
    }

    /// Bytes in base64, left out when empty.
    pub(crate) fn bytes(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            push_bytes(self.key(name), value);
        }
    }

    /// An array of strings, left out when empty.
    pub(crate) fn strings(&mut self, name: &str, values: &[String]) {
        if !values.is_empty() {
            push_array(self.key(name), values, |out, value| push_string(out, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn string(text: &str) -> String {
        let mut out = String::new();
        push_string(&mut out, text);
        out
    }

    #[test]
    fn html_characters_and_controls_are_escaped_as_go_does() {
        assert_eq!(string("a<b>&\"\\"), r#""a\u003cb\u003e\u0026\"\\""#);
        assert_eq!(string("\n\r\t\u{8}\u{c}\u{1}\u{7f}"), "\"\\n\\r\\t\\b\\f\\u0001\u{7f}\"");
        assert_eq!(string("é\u{2028}"), "\"é\\u2028\"");
    }

    #[test]
    fn zero_members_are_left_out_and_order_is_kept() {
        let mut out = String::new();
        let mut object = Object::begin(&mut out);
        object.uint("z", 0);
        object.int("b", -1);
        object.bytes("a", b"foo");
        object.bool("no", false);
        object.strings("s", &["x".into(), "<".into()]);
        object.end();
        assert_eq!(out, r#"{"b":-1,"a":"Zm9v","s":["x","\u003c"]}"#);
    }
}
