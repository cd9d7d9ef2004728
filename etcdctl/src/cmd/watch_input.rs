//! The arguments of `watch`: what to watch and which command to run for each event.

use bytes::Bytes;
use proto::etcdserverpb as pb;

use super::key_range::prefix_end;
use crate::cli::Parsed;

/// A watch as the user asked for it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct WatchCommand {
    /// The request that opens it.
    pub(super) request: pb::WatchCreateRequest,
    /// A command and its arguments, run for each event; may be empty.
    pub(super) exec: Vec<Vec<u8>>,
}

/// `ETCDCTL_WATCH_KEY` and `ETCDCTL_WATCH_RANGE_END`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Variables {
    /// The key when no argument names one.
    pub(super) key: Vec<u8>,
    /// The range end that goes with it.
    pub(super) range_end: Vec<u8>,
}

/// Why the arguments of `watch` make no watch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadWatch(pub(super) String);

const NUMBER: &str = "bad number of arguments";

/// Reads the arguments of a command line or of a line of `watch -i`.
///
/// # Errors
/// No key, two keys, or a separator without a command.
pub(super) fn read(parsed: &Parsed, variables: &Variables) -> Result<WatchCommand, BadWatch> {
    let bad = |text: &str| BadWatch(text.to_owned());
    let split = parsed.before_dashes.unwrap_or(parsed.arguments.len());
    let (positionals, exec) = parsed.arguments.split_at(split);
    if parsed.before_dashes.is_some() && exec.is_empty() {
        return Err(bad(&format!("{NUMBER} (found separator --, but no commands)")));
    }
    let named_by_variable = !variables.key.is_empty();
    if !named_by_variable && !variables.range_end.is_empty() {
        let end = base::text::quote(&variables.range_end);
        let text = format!("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={end}");
        return Err(BadWatch(text));
    }
    let (key, range_end) = match positionals {
        [] if named_by_variable => (&variables.key, variables.range_end.as_slice()),
        [] => return Err(bad(NUMBER)),
        _ if named_by_variable => {
            return Err(bad(&format!("{NUMBER} (found conflicting environment key)")));
        }
        [key, range_end] => (key, range_end.as_slice()),
        [key, ..] => (key, &b""[..]),
    };
    let prefix = parsed.switch("prefix");
    if prefix && !range_end.is_empty() {
        return Err(bad("`range_end` and `--prefix` are mutually exclusive"));
    }
    let range_end = if prefix { prefix_end(key) } else { Bytes::copy_from_slice(range_end) };
    // With --prefix an empty key means all keys; the server reads it as a zero byte.
    Ok(WatchCommand {
        request: pb::WatchCreateRequest {
            key: Bytes::copy_from_slice(key),
            range_end,
            start_revision: parsed.int("rev"),
            prev_kv: parsed.switch("prev-kv"),
            ..Default::default()
        },
        exec: exec.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli;

    fn command(line: &str, variables: &Variables) -> Result<WatchCommand, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let found = cli::find(&words).unwrap_or_else(|unknown| panic!("{unknown:?}"));
        let parsed = cli::parse(&found.path, &found.rest).unwrap_or_else(|bad| panic!("{bad:?}"));
        read(&parsed, variables).map_err(|BadWatch(text)| text)
    }

    fn made(line: &str) -> (Vec<u8>, Vec<u8>, Vec<Vec<u8>>) {
        let made = command(line, &Variables::default()).unwrap_or_else(|text| panic!("{text}"));
        (made.request.key.to_vec(), made.request.range_end.to_vec(), made.exec)
    }

    #[test]
    fn two_arguments_are_a_range_and_more_are_ignored() {
        assert_eq!(made("watch k"), (b"k".to_vec(), vec![], vec![]));
        assert_eq!(made("watch a b --rev 3"), (b"a".to_vec(), b"b".to_vec(), vec![]));
        assert_eq!(made("watch a b c"), (b"a".to_vec(), vec![], vec![]));
        assert_eq!(made("watch a/ --prefix"), (b"a/".to_vec(), b"a0".to_vec(), vec![]));
    }

    #[test]
    fn words_after_the_separator_are_a_command() {
        let exec = vec![b"sh".to_vec(), b"-c".to_vec()];
        assert_eq!(made("watch k -- sh -c"), (b"k".to_vec(), vec![], exec));
    }

    #[test]
    fn variables_name_the_key_when_no_argument_does() {
        let variables = Variables { key: b"k".to_vec(), range_end: b"m".to_vec() };
        let made = command("watch --prev-kv -- echo", &variables).expect("a watch");
        assert_eq!((&made.request.key[..], &made.request.range_end[..]), (&b"k"[..], &b"m"[..]));
        assert_eq!(
            command("watch x", &variables).expect_err("refused"),
            "bad number of arguments (found conflicting environment key)"
        );
    }

    #[test]
    fn wrong_arguments_are_told_apart() {
        let refused = |line: &str| command(line, &Variables::default()).expect_err("refused");
        assert_eq!(refused("watch"), "bad number of arguments");
        assert_eq!(
            refused("watch k --"),
            "bad number of arguments (found separator --, but no commands)"
        );
        assert_eq!(
            refused("watch a b --prefix"),
            "`range_end` and `--prefix` are mutually exclusive"
        );
        let end = Variables { key: vec![], range_end: b"foo".to_vec() };
        assert_eq!(
            command("watch k", &end).expect_err("refused"),
            "ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=\"foo\""
        );
    }
}
