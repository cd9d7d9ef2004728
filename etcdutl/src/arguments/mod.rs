//! The command line, read by clap, refused in the words of pflag and cobra.

mod spec;
mod values;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use clap::error::{ContextKind, ErrorKind};

use spec::usage_of;
pub(crate) use spec::{SHELLS, commands};
use values::Values;

use crate::restore;
use crate::transfer;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Print a shell's completion script.
    Completion {
        /// One of [`SHELLS`].
        shell: String,
    },
    /// Give back the room of deleted rows.
    Defrag {
        /// The data directory of a member.
        data_dir: PathBuf,
        /// How long to wait for the lock; zero waits for ever.
        timeout: Duration,
    },
    /// Make another etcd's data directory from ours.
    Export {
        /// From where to where.
        request: transfer::Request,
        /// The value of `--target-version`.
        target: String,
    },
    /// Hash the history of the keys.
    HashKv {
        /// A member's `snap/db`, or a snapshot.
        path: PathBuf,
        /// The newest revision hashed; zero for all.
        revision: i64,
        /// How long to wait for the lock; zero waits for ever.
        timeout: Duration,
        /// The value of `--write-out`.
        write_out: String,
    },
    /// Make our data directory from another etcd's.
    Import(transfer::Request),
    /// Change the version of the schema.
    Migrate {
        /// The data directory of a member.
        data_dir: PathBuf,
        /// The value of `--target-version`.
        target: String,
        /// Go on where a plan cannot be made.
        force: bool,
        /// How long to wait for the lock; zero waits for ever.
        timeout: Duration,
    },
    /// Make a member's directory from a snapshot.
    Restore(restore::Request),
    /// Tell what a snapshot holds.
    Status {
        /// The files named; one is right.
        paths: Vec<PathBuf>,
        /// How long to wait for the lock; zero waits for ever.
        timeout: Duration,
        /// The value of `--write-out`.
        write_out: String,
    },
    /// Tell the version.
    Version,
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
    let matches = match commands().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return refused(&error, arguments),
    };
    let (path, innermost) = path_of(&matches);
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let usage = usage_of(&path);
    if path.first() == Some(&"help") {
        let topic = values::words(innermost);
        let topic: Vec<&str> = topic.iter().filter_map(|word| word.to_str()).collect();
        return Parsed::Help(usage_of(&topic));
    }
    if path.is_empty() || path == ["snapshot"] || innermost.get_flag("help") {
        return Parsed::Help(usage);
    }
    match command(&path, &Values::of(innermost)) {
        Ok(command) => Parsed::Command(command),
        Err(message) => Parsed::Refused { message, usage },
    }
}

/// The names of the command and the group it is in, and its own arguments.
fn path_of(matches: &ArgMatches) -> (Vec<String>, &ArgMatches) {
    let (mut path, mut at) = (Vec::new(), matches);
    while let Some((name, inner)) = at.subcommand() {
        path.push(name.to_owned());
        at = inner;
    }
    (path, at)
}

fn command(path: &[&str], given: &Values<'_>) -> Result<Command, String> {
    let timeout = given.timeout()?;
    Ok(match path {
        ["completion"] => {
            let shell = given.one_word()?.to_string_lossy().into_owned();
            if !SHELLS.contains(&shell.as_str()) {
                return Err(format!("invalid argument \"{shell}\" for \"etcdutl completion\""));
            }
            Command::Completion { shell }
        }
        ["defrag"] => {
            given.require(&["data-dir"])?;
            Command::Defrag { data_dir: given.path("data-dir"), timeout }
        }
        ["export"] => {
            given.require(&["data-dir", "to-data-dir"])?;
            let request = transfer::Request {
                from: given.path("data-dir"),
                from_wal: given.path("wal-dir"),
                to: given.path("to-data-dir"),
                to_wal: given.path("to-wal-dir"),
                timeout,
            };
            Command::Export { request, target: given.text("target-version", base::version::API) }
        }
        ["hashkv"] => Command::HashKv {
            path: PathBuf::from(given.one_word()?),
            revision: given.signed("rev")?,
            timeout,
            write_out: given.text("write-out", "simple"),
        },
        ["import"] => {
            given.require(&["data-dir", "from-data-dir"])?;
            Command::Import(transfer::Request {
                from: given.path("from-data-dir"),
                from_wal: given.path("from-wal-dir"),
                to: given.path("data-dir"),
                to_wal: given.path("wal-dir"),
                timeout,
            })
        }
        ["migrate"] => {
            given.require(&["data-dir", "target-version"])?;
            Command::Migrate {
                data_dir: given.path("data-dir"),
                target: given.text("target-version", ""),
                force: given.switch("force")?,
                timeout,
            }
        }
        ["snapshot", "restore"] => Command::Restore(restore::Request {
            files: given.paths(),
            name: given.text("name", "default"),
            initial_cluster: given.text("initial-cluster", "default=http://localhost:2380"),
            token: given.text("initial-cluster-token", "etcd-cluster"),
            peer_urls: given.text("initial-advertise-peer-urls", "http://localhost:2380"),
            data_dir: given.path("data-dir"),
            wal_dir: given.path("wal-dir"),
            skip_hash_check: given.switch("skip-hash-check")?,
            bump_revision: given.unsigned("bump-revision")?,
            mark_compacted: given.switch("mark-compacted")?,
            memory_map_bytes: given.unsigned("initial-memory-map-size")?,
        }),
        ["snapshot", "status"] => Command::Status {
            paths: given.paths(),
            timeout,
            write_out: given.text("write-out", "simple"),
        },
        _ => Command::Version,
    })
}

/// cobra's words for what clap refused.
fn refused(error: &clap::Error, arguments: &[OsString]) -> Parsed {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let flag = context(ContextKind::InvalidArg);
    let flag = flag.split([' ', '=']).next().unwrap_or_default().to_owned();
    let named = named(arguments);
    let usage = usage_of(&named);
    let unknown_command = |word: &str| Parsed::Refused {
        message: format!("unknown command \"{word}\" for \"etcdutl\""),
        usage: "Run 'etcdutl --help' for usage.",
    };
    let message = match error.kind() {
        // Only the root refuses names it does not know; a group shows what it has.
        ErrorKind::InvalidSubcommand | ErrorKind::UnknownArgument
            if named == ["snapshot"] && !flag.starts_with('-') =>
        {
            return Parsed::Help(usage);
        }
        ErrorKind::InvalidSubcommand => {
            return unknown_command(&context(ContextKind::InvalidSubcommand));
        }
        ErrorKind::UnknownArgument if flag.starts_with("--") => format!("unknown flag: {flag}"),
        ErrorKind::UnknownArgument if flag.starts_with('-') => {
            let letter = flag.trim_start_matches('-');
            format!("unknown shorthand flag: '{letter}' in {flag}")
        }
        ErrorKind::UnknownArgument => return unknown_command(&flag),
        _ => format!("flag needs an argument: {flag}"),
    };
    Parsed::Refused { message, usage }
}

/// The command that the arguments name, as far as they can be read without knowing its flags.
fn named(arguments: &[OsString]) -> Vec<&str> {
    let root = commands();
    let (mut at, mut path) = (&root, Vec::new());
    for word in arguments.iter().filter_map(|word| word.to_str()) {
        let mut fitting = at.get_subcommands().filter(|command| command.get_name() == word);
        if let Some(found) = fitting.next() {
            path.push(word);
            at = found;
        }
    }
    path
}
