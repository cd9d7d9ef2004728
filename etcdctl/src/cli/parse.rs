//! The flags and arguments of one command, read by clap and judged as pflag judges them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction};

use super::find::flags_of;
use super::spec::{Command, Flag, Kind};
use super::values::{self, Value};

const ARGUMENTS: &str = "<arguments>";
const AFTER_DASHES: &str = "<after dashes>";
const HELP: &str = "help";

/// What was given to a command.
#[derive(Debug)]
pub(crate) struct Parsed {
    values: BTreeMap<&'static str, Value>,
    given: Vec<&'static str>,
    /// The positional arguments, byte for byte.
    pub(crate) arguments: Vec<Vec<u8>>,
    /// How many arguments stood before `--`, if it was there.
    pub(crate) before_dashes: Option<usize>,
    /// True when `--help` was given.
    pub(crate) help: bool,
}

/// A flag that does not exist or cannot take its value; the text is pflag's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BadFlag(pub(crate) String);

impl Parsed {
    /// The value of a boolean flag.
    pub(crate) fn switch(&self, flag: &str) -> bool {
        matches!(self.value(flag), Value::Bool(true))
    }

    /// The value of a text flag.
    pub(crate) fn text(&self, flag: &str) -> &str {
        if let Value::Text(text) = self.value(flag) { text } else { "" }
    }

    /// The value of a number flag.
    pub(crate) fn int(&self, flag: &str) -> i64 {
        if let Value::Int(number) = self.value(flag) { *number } else { 0 }
    }

    /// The value of any flag.
    pub(crate) fn value(&self, flag: &str) -> &Value {
        self.values.get(flag).expect("the command tree declares the flag")
    }

    /// True when the flag stood on the command line, or the environment gave it a value.
    pub(crate) fn given(&self, flag: &str) -> bool {
        self.given.contains(&flag)
    }

    /// Replaces the value of a flag, as the environment does.
    pub(crate) fn replace(&mut self, flag: &'static str, value: Value) {
        self.values.insert(flag, value);
        self.given.push(flag);
    }
}

/// Reads `rest` with all flags valid at the end of `path`.
///
/// # Errors
/// The first flag that is unknown, lacks its value or has one of the wrong kind.
pub(crate) fn parse(path: &[&'static Command], rest: &[OsString]) -> Result<Parsed, BadFlag> {
    parse_with(&flags_of(path), rest)
}

/// Reads `rest` with exactly `flags`.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_with(flags: &[&'static Flag], rest: &[OsString]) -> Result<Parsed, BadFlag> {
    let matches = clap_command(flags)
        .try_get_matches_from(rest)
        .map_err(|error| BadFlag(refusal(&error, rest)))?;
    let mut parsed = Parsed {
        values: BTreeMap::new(),
        given: Vec::new(),
        arguments: Vec::new(),
        before_dashes: None,
        help: false,
    };
    for flag in flags {
        let texts = matches.get_many::<OsString>(flag.long);
        if texts.is_some() {
            parsed.given.push(flag.long);
        }
        let mut value = values::default_of(flag);
        for (position, text) in texts.into_iter().flatten().enumerate() {
            value = values::read(flag, &text.to_string_lossy(), (position > 0).then_some(value))
                .map_err(|reason| BadFlag(reason.flag_error(flag)))?;
        }
        parsed.values.insert(flag.long, value);
    }
    if let Some(text) = matches.get_one::<OsString>(HELP) {
        parsed.help = values::go_bool(&text.to_string_lossy()).unwrap_or(true);
    }
    let bytes = |id| matches.get_many::<OsString>(id).into_iter().flatten().cloned();
    parsed.arguments = bytes(ARGUMENTS).map(OsString::into_vec).collect();
    let after: Vec<Vec<u8>> = bytes(AFTER_DASHES).map(OsString::into_vec).collect();
    if !after.is_empty() || rest.last().is_some_and(|last| last == "--") {
        parsed.before_dashes = Some(parsed.arguments.len());
    }
    parsed.arguments.extend(after);
    Ok(parsed)
}

fn clap_command(flags: &[&'static Flag]) -> clap::Command {
    let switch = |arg: Arg| arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    let mut command = clap::Command::new("etcdctl")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(switch(Arg::new(HELP).long(HELP).short('h')).value_parser(ValueParser::os_string()))
        .arg(Arg::new(ARGUMENTS).num_args(0..).value_parser(ValueParser::os_string()))
        .arg(
            Arg::new(AFTER_DASHES).num_args(0..).last(true).value_parser(ValueParser::os_string()),
        );
    for flag in flags {
        let mut arg = Arg::new(flag.long).long(flag.long).value_parser(ValueParser::os_string());
        if let Some(letter) = flag.short {
            arg = arg.short(letter);
        }
        arg = match flag.kind {
            Kind::Bool => switch(arg),
            Kind::List => arg.action(ArgAction::Append).num_args(1).allow_hyphen_values(true),
            Kind::Text | Kind::Int | Kind::Uint | Kind::Duration => {
                arg.num_args(1).allow_hyphen_values(true)
            }
        };
        command = command.arg(arg);
    }
    command
}

/// pflag's text for what clap refused.
fn refusal(error: &clap::Error, rest: &[OsString]) -> String {
    let named = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let name = named.split([' ', '=']).next().unwrap_or_default().to_owned();
    if error.kind() == ErrorKind::UnknownArgument {
        if name.starts_with("--") {
            return format!("unknown flag: {name}");
        }
        let letter = name.trim_start_matches('-').chars().next().unwrap_or_default();
        let token = short_token(rest, letter).unwrap_or(name);
        return format!("unknown shorthand flag: '{letter}' in {token}");
    }
    let last = rest.last().map(|token| token.to_string_lossy().into_owned()).unwrap_or_default();
    match last.strip_prefix('-') {
        Some(short) if !short.starts_with('-') => {
            let letter = short.chars().last().unwrap_or_default();
            format!("flag needs an argument: '{letter}' in -{letter}")
        }
        _ => format!("flag needs an argument: {name}"),
    }
}

/// The argument of short flags that holds `letter`, from that letter on.
fn short_token(rest: &[OsString], letter: char) -> Option<String> {
    rest.iter().find_map(|token| {
        let letters = token.to_str()?.strip_prefix('-')?;
        let position = letters.find(letter)?;
        (!letters.starts_with('-')).then(|| format!("-{}", &letters[position..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::find::find;

    fn parsed(line: &[&str]) -> Result<Parsed, String> {
        let words: Vec<OsString> = line.iter().map(OsString::from).collect();
        let found = find(&words).unwrap_or_else(|unknown| panic!("{unknown:?}"));
        parse(&found.path, &found.rest).map_err(|BadFlag(text)| text)
    }

    fn ok(line: &[&str]) -> Parsed {
        parsed(line).unwrap_or_else(|text| panic!("{text}"))
    }

    #[test]
    fn flags_and_arguments_interleave_and_the_last_value_wins() {
        let get = ok(&["get", "a", "--prefix", "b", "--rev", "-3", "--limit=7", "--limit=8"]);
        assert_eq!(get.arguments, [b"a", b"b"]);
        assert!(get.switch("prefix") && !get.switch("keys-only"));
        assert_eq!((get.int("rev"), get.int("limit")), (-3, 8));
        assert!(get.given("rev") && !get.given("order"));
    }

    #[test]
    fn write_out_has_all_three_short_forms() {
        for words in [["get", "-wjson", "k"], ["get", "-w=json", "k"], ["-w", "json", "get"]] {
            assert_eq!(ok(&words).text("write-out"), "json");
        }
    }

    #[test]
    fn a_boolean_takes_its_value_only_after_an_equals_sign() {
        let get = ok(&["get", "--hex", "false", "--prefix=F", "--keys-only=1"]);
        assert!(get.switch("hex") && !get.switch("prefix") && get.switch("keys-only"));
        assert_eq!(get.arguments, [b"false"]);
    }

    #[test]
    fn dashes_end_the_flags_and_are_remembered() {
        let put = ok(&["put", "k", "--", "--prev-kv"]);
        assert_eq!(put.arguments, [b"k".to_vec(), b"--prev-kv".to_vec()]);
        assert_eq!(put.before_dashes, Some(1));
        assert_eq!(ok(&["watch", "k", "--"]).before_dashes, Some(1));
        assert_eq!(ok(&["watch", "k"]).before_dashes, None);
    }

    #[test]
    fn endpoints_append_and_are_split_at_commas() {
        let get = ok(&["get", "--endpoints", "a,\"b,c\"", "k", "--endpoints=d"]);
        let Value::List(endpoints) = get.value("endpoints") else { panic!("not a list") };
        assert_eq!(endpoints, &["a", "b,c", "d"]);
    }

    #[test]
    fn bad_flags_are_refused_in_the_words_of_pflag() {
        let text = |line: &[&str]| parsed(line).map(|_| ()).expect_err("refused");
        assert_eq!(text(&["get", "--nope"]), "unknown flag: --nope");
        assert_eq!(text(&["get", "--nope=1", "k"]), "unknown flag: --nope");
        assert_eq!(text(&["get", "-x"]), "unknown shorthand flag: 'x' in -x");
        assert_eq!(text(&["get", "k", "--rev"]), "flag needs an argument: --rev");
        assert_eq!(text(&["get", "k", "-w"]), "flag needs an argument: 'w' in -w");
        assert_eq!(
            text(&["get", "--rev", "abc"]),
            "invalid argument \"abc\" for \"--rev\" flag: \
             strconv.ParseInt: parsing \"abc\": invalid syntax"
        );
        assert_eq!(
            text(&["get", "--hex=maybe"]),
            "invalid argument \"maybe\" for \"--hex\" flag: \
             strconv.ParseBool: parsing \"maybe\": invalid syntax"
        );
        assert_eq!(
            text(&["--command-timeout", "abc", "get"]),
            "invalid argument \"abc\" for \"--command-timeout\" flag: \
             time: invalid duration \"abc\""
        );
        assert_eq!(
            text(&["--dial-timeout=5", "get"]),
            "invalid argument \"5\" for \"--dial-timeout\" flag: \
             time: missing unit in duration \"5\""
        );
    }
}
