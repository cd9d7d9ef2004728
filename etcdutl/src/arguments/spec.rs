//! The commands and flags, as clap and the completion scripts know them.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

/// The values of `completion`.
pub(crate) const SHELLS: [&str; 4] = ["bash", "zsh", "fish", "powershell"];

const ROOT: &str = include_str!("../usage/root.txt");
const COMPLETION: &str = include_str!("../usage/completion.txt");
const DEFRAG: &str = include_str!("../usage/defrag.txt");
const EXPORT: &str = include_str!("../usage/export.txt");
const HASH_KV: &str = include_str!("../usage/hashkv.txt");
const IMPORT: &str = include_str!("../usage/import.txt");
const MIGRATE: &str = include_str!("../usage/migrate.txt");
const SNAPSHOT: &str = include_str!("../usage/snapshot.txt");
const SNAPSHOT_RESTORE: &str = include_str!("../usage/snapshot_restore.txt");
const SNAPSHOT_STATUS: &str = include_str!("../usage/snapshot_status.txt");
const VERSION: &str = include_str!("../usage/version.txt");

/// The usage of a command by its full names.
pub(crate) fn usage_of(path: &[&str]) -> &'static str {
    match path {
        ["completion", ..] => COMPLETION,
        ["defrag", ..] => DEFRAG,
        ["export", ..] => EXPORT,
        ["hashkv", ..] => HASH_KV,
        ["import", ..] => IMPORT,
        ["migrate", ..] => MIGRATE,
        ["snapshot", "restore", ..] => SNAPSHOT_RESTORE,
        ["snapshot", "status", ..] => SNAPSHOT_STATUS,
        ["snapshot", ..] => SNAPSHOT,
        ["version", ..] => VERSION,
        _ => ROOT,
    }
}

/// The whole command line.
pub(crate) fn commands() -> Command {
    let snapshot = group("snapshot")
        .subcommand(
            command("restore")
                .args([value("bump-revision"), value("data-dir"), value("name")])
                .args([value("initial-advertise-peer-urls"), value("initial-cluster")])
                .args([value("initial-cluster-token"), value("initial-memory-map-size")])
                .args([switch("mark-compacted"), switch("skip-hash-check"), value("wal-dir")]),
        )
        .subcommand(command("status"));
    let migrate =
        command("migrate").args([value("data-dir"), value("target-version"), switch("force")]);
    let export = command("export")
        .args([value("data-dir"), value("wal-dir"), value("to-data-dir"), value("to-wal-dir")])
        .arg(value("target-version"));
    let import = command("import").args([
        value("data-dir"),
        value("wal-dir"),
        value("from-data-dir"),
        value("from-wal-dir"),
    ]);
    group("etcdutl")
        .no_binary_name(true)
        .arg(value("write-out").short('w').global(true))
        .arg(value("timeout").global(true))
        .subcommand(command("completion"))
        .subcommand(command("defrag").arg(value("data-dir")))
        .subcommand(export)
        .subcommand(command("hashkv").arg(value("rev")))
        .subcommand(command("help"))
        .subcommand(import)
        .subcommand(migrate)
        .subcommand(snapshot)
        .subcommand(command("version"))
}

fn group(name: &'static str) -> Command {
    let help = Arg::new("help").long("help").short('h').action(ArgAction::SetTrue);
    Command::new(name)
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .infer_subcommands(true)
        .args_override_self(true)
        .arg(help)
}

fn command(name: &'static str) -> Command {
    group(name).arg(Arg::new("words").num_args(0..).value_parser(ValueParser::os_string()))
}

/// A flag with a value.
fn value(name: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).num_args(1).allow_hyphen_values(true);
    arg.value_parser(ValueParser::os_string())
}

/// A flag that may have a value behind `=`.
fn switch(name: &'static str) -> Arg {
    let arg = Arg::new(name).long(name).num_args(0..=1).require_equals(true);
    arg.default_missing_value("true").value_parser(ValueParser::os_string())
}
