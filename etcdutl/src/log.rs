//! Log lines in the console form etcd's tools write:
//! `time⇥level⇥caller⇥message⇥{"field": "value"}`.

use std::panic::Location;
use std::time::SystemTime;

use base::text::quote;
use base::time::Rfc3339Seconds;

/// Writes an `info` line to standard error.
#[track_caller]
pub(crate) fn info(message: &str, fields: &[(&str, Field)]) {
    write("info", message, fields);
}

/// Writes a `warn` line to standard error.
#[track_caller]
pub(crate) fn warn(message: &str, fields: &[(&str, Field)]) {
    write("warn", message, fields);
}

#[track_caller]
fn write(level: &str, message: &str, fields: &[(&str, Field)]) {
    crate::complain(&line(SystemTime::now(), level, &caller(Location::caller()), message, fields));
}

/// The value of a field.
pub(crate) enum Field {
    /// Shown in quotes.
    Text(String),
    /// Shown as it is.
    Number(i64),
    /// `true` or `false`.
    Bool(bool),
    /// Quoted, in brackets.
    List(Vec<String>),
}

/// Folder, file and line.
fn caller(location: &Location<'_>) -> String {
    let mut parts: Vec<&str> = location.file().rsplit('/').take(2).collect();
    parts.reverse();
    format!("{}:{}", parts.join("/"), location.line())
}

fn line(
    now: SystemTime,
    level: &str,
    caller: &str,
    message: &str,
    fields: &[(&str, Field)],
) -> String {
    let shown: Vec<String> = fields
        .iter()
        .map(|(name, value)| match value {
            Field::Text(text) => format!("\"{name}\": {}", quote(text.as_bytes())),
            Field::Number(number) => format!("\"{name}\": {number}"),
            Field::Bool(on) => format!("\"{name}\": {on}"),
            Field::List(list) => {
                let list: Vec<String> = list.iter().map(|text| quote(text.as_bytes())).collect();
                format!("\"{name}\": [{}]", list.join(", "))
            }
        })
        .collect();
    let now = Rfc3339Seconds(now);
    let head = format!("{now}\t{level}\t{caller}\t{message}");
    if shown.is_empty() { head } else { format!("{head}\t{{{}}}", shown.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_five_parts_and_spaced_fields() {
        let fields = [
            ("path", Field::Text("a\"b".into())),
            ("size", Field::Number(-3)),
            ("learner", Field::Bool(false)),
            ("urls", Field::List(vec!["x".into(), "y".into()])),
        ];
        let now = SystemTime::now();
        let time = Rfc3339Seconds(now).to_string();
        let behind = |line: String| line.strip_prefix(&time).expect("the time").to_owned();
        assert_eq!(
            behind(line(now, "info", "backend/x.rs:1", "defragmenting", &fields)),
            "\tinfo\tbackend/x.rs:1\tdefragmenting\t\
             {\"path\": \"a\\\"b\", \"size\": -3, \"learner\": false, \"urls\": [\"x\", \"y\"]}"
        );
        let bare = line(now, "warn", "x.rs:1", "bare", &[]);
        assert_eq!(behind(bare), "\twarn\tx.rs:1\tbare");
    }

    #[test]
    fn a_caller_is_named_by_folder_and_line() {
        let shown = caller(Location::caller());
        assert!(shown.starts_with("src/log.rs:"), "{shown}");
    }
}
