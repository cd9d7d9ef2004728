//! The command line, read by clap, refused in the words of pflag and cobra.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgMatches};

const ROOT: &str = include_str!("usage/root.txt");
const DEFRAG: &str = include_str!("usage/defrag.txt");
const HASH_KV: &str = include_str!("usage/hashkv.txt");
const VERSION: &str = include_str!("usage/version.txt");

/// Commands that fail by name; the group `snapshot` stands for its own.
const LATER: [&str; 3] = ["completion", "migrate", "snapshot"];

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Give back the room of deleted rows.
    Defrag {
        /// The data directory of a member.
        data_dir: PathBuf,
        /// How long to wait for the lock; zero waits for ever.
        timeout: Duration,
    },
    /// Hash the history of the keys.
    HashKv {
        /// A member's `snap/db`.
        path: PathBuf,
        /// The newest revision hashed; zero for all.
        revision: i64,
        /// How long to wait for the lock; zero waits for ever.
        timeout: Duration,
        /// The value of `--write-out`.
        write_out: String,
    },
    /// Tell the version.
    Version,
    /// A command this version does not have.
    Later(String),
}

/// What the arguments ask for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// This text on standard output.
    Help(&'static str),
    /// A command.
    Command(Command),
    /// Neither; this on standard error.
    Refused {
        /// What is wrong.
        message: String,
        /// The usage of the command, or where to find it.
        usage: &'static str,
    },
}

/// Reads the arguments, the program's name left out.
pub(crate) fn parse(arguments: &[OsString]) -> Parsed {
    let matches = match clap_command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(&error, arguments),
    };
    let Some((name, of_command)) = matches.subcommand() else { return Parsed::Help(ROOT) };
    let usage = usage_of(name);
    if name == "help" {
        let topic = of_command.get_one::<OsString>("words").and_then(|word| word.to_str());
        return Parsed::Help(topic.map_or(ROOT, usage_of));
    }
    if of_command.get_flag("help") {
        return Parsed::Help(usage);
    }
    match command(name, of_command) {
        Ok(command) => Parsed::Command(command),
        Err(message) => Parsed::Refused { message, usage },
    }
}

fn command(name: &str, matches: &ArgMatches) -> Result<Command, String> {
    let words: Vec<&OsString> = matches.get_many("words").into_iter().flatten().collect();
    let timeout = timeout(matches)?;
    match name {
        "defrag" => {
            let data_dir = text(matches, "data-dir").filter(|given| !given.is_empty());
            let data_dir = data_dir.ok_or("required flag(s) \"data-dir\" not set")?;
            Ok(Command::Defrag { data_dir: PathBuf::from(data_dir), timeout })
        }
        "hashkv" => {
            let [path] = words.as_slice() else {
                return Err(format!("accepts 1 arg(s), received {}", words.len()));
            };
            let revision = text(matches, "rev").map_or(Ok(0), |given| {
                let given = given.to_string_lossy();
                given.parse().map_err(|_| {
                    let reason = format!("strconv.ParseInt: parsing \"{given}\": invalid syntax");
                    format!("invalid argument \"{given}\" for \"--rev\" flag: {reason}")
                })
            })?;
            let write_out = text(matches, "write-out").unwrap_or(OsStr::new("simple"));
            let write_out = write_out.to_string_lossy().into_owned();
            Ok(Command::HashKv { path: PathBuf::from(path), revision, timeout, write_out })
        }
        "version" => Ok(Command::Version),
        later => {
            let mut name = later.to_owned();
            if let ("snapshot", Some(word)) = (later, words.first()) {
                name.push(' ');
                name.push_str(&word.to_string_lossy());
            }
            Ok(Command::Later(name))
        }
    }
}

fn text<'a>(matches: &'a ArgMatches, flag: &str) -> Option<&'a OsStr> {
    matches.get_one::<OsString>(flag).map(OsString::as_os_str)
}

fn timeout(matches: &ArgMatches) -> Result<Duration, String> {
    const DEFAULT: Duration = Duration::from_secs(10);
    let Some(given) = text(matches, "timeout") else { return Ok(DEFAULT) };
    let given = given.to_string_lossy();
    let nanoseconds = base::text::parse_duration(&given).map_err(|reason| {
        let given = base::text::quote(given.as_bytes());
        format!("invalid argument {given} for \"--timeout\" flag: {reason}")
    })?;
    Ok(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)))
}

fn usage_of(name: &str) -> &'static str {
    match name {
        "defrag" => DEFRAG,
        "hashkv" => HASH_KV,
        "version" => VERSION,
        _ => ROOT,
    }
}

fn clap_command() -> clap::Command {
    let value = |name: &'static str| {
        let arg = Arg::new(name).long(name).num_args(1).allow_hyphen_values(true);
        arg.value_parser(ValueParser::os_string())
    };
    let words = || Arg::new("words").num_args(0..).value_parser(ValueParser::os_string());
    let help = || Arg::new("help").long("help").short('h').action(clap::ArgAction::SetTrue);
    let command = |name: &'static str| {
        clap::Command::new(name).disable_help_flag(true).arg(help()).arg(words())
    };
    let later = LATER.map(|name| command(name).allow_hyphen_values_in_words());
    clap::Command::new("etcdutl")
        .no_binary_name(true)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .infer_subcommands(true)
        .args_override_self(true)
        .arg(help())
        .arg(value("write-out").short('w').global(true))
        .arg(value("timeout").global(true))
        .subcommand(command("defrag").arg(value("data-dir")))
        .subcommand(command("hashkv").arg(value("rev")))
        .subcommand(command("version"))
        .subcommand(command("help"))
        .subcommands(later)
}

/// Commands of a later version take whatever follows, so that they fail by name.
trait Later {
    fn allow_hyphen_values_in_words(self) -> Self;
}

impl Later for clap::Command {
    fn allow_hyphen_values_in_words(self) -> Self {
        self.mut_arg("words", |words| words.allow_hyphen_values(true).trailing_var_arg(true))
    }
}

/// cobra's words for what clap refused.
fn refused(error: &clap::Error, arguments: &[OsString]) -> Parsed {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let flag = context(ContextKind::InvalidArg);
    let flag = flag.split([' ', '=']).next().unwrap_or_default().to_owned();
    let name = arguments
        .iter()
        .filter_map(|word| word.to_str())
        .find(|word| ["defrag", "hashkv", "version"].contains(word));
    let usage = name.map_or(ROOT, usage_of);
    let message = match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let word = context(ContextKind::InvalidSubcommand);
            let message = format!("unknown command \"{word}\" for \"etcdutl\"");
            return Parsed::Refused { message, usage: "Run 'etcdutl --help' for usage." };
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => format!("unknown flag: {flag}"),
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let letter = flag.trim_start_matches('-');
            format!("unknown shorthand flag: '{letter}' in {flag}")
        }
        ErrorKind::UnknownArgument => {
            let message = format!("unknown command \"{flag}\" for \"etcdutl\"");
            return Parsed::Refused { message, usage: "Run 'etcdutl --help' for usage." };
        }
        _ => format!("flag needs an argument: {flag}"),
    };
    Parsed::Refused { message, usage }
}
