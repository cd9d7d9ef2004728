//! The commands: one file per family, each function one command.

mod alarm;
mod compaction;
mod defrag;
mod del;
mod endpoint;
mod get;
mod key_range;
mod lease;
mod member;
mod move_leader;
mod offline;
mod put;
mod shell_words;
mod snapshot;
mod snapshot_file;
mod txn;
mod txn_input;
mod watch;
mod watch_input;
mod watch_stream;

use std::ffi::OsString;

use crate::cli::{self, BadFlag, Found, Parsed};
use crate::failure::{Failure, code};
use crate::output;
use crate::session::Session;
use crate::settings::Settings;

/// Runs the command that `arguments` (without the program's name) select.
///
/// # Errors
/// However the command fails; standard error still owes the failure's message.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let found = cli::find(arguments).map_err(|unknown| {
        output::complain(unknown.text().trim_end());
        Failure::silent(code::ERROR)
    })?;
    let parsed = cli::parse(&found.path, &found.rest).map_err(|BadFlag(text)| {
        output::complain(&format!("Error: {text}\n{}", cli::usage(&found.path)));
        Failure::silent(code::ERROR)
    })?;
    if parsed.help || found.path.len() == 1 || !found.command().children.is_empty() {
        return output::write(cli::help(&found.path).as_bytes());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(code::ERROR, error.to_string()))?;
    let done = runtime.block_on(dispatch(&found, parsed));
    // A name lookup that never returns must not hold the process back.
    runtime.shutdown_background();
    done
}

async fn dispatch(found: &Found, parsed: Parsed) -> Result<(), Failure> {
    let words = found.words();
    match words.as_str() {
        "alarm disarm" => alarm::disarm(parsed).await,
        "alarm list" => alarm::list(parsed).await,
        "compaction" => compaction::run(parsed).await,
        "defrag" => defrag::run(parsed).await,
        "del" => del::run(parsed).await,
        "endpoint hashkv" => endpoint::hash_kv(parsed).await,
        "endpoint health" => endpoint::health(parsed).await,
        "endpoint status" => endpoint::status(parsed).await,
        "get" => get::run(parsed).await,
        "help" => help(&parsed),
        "lease grant" => lease::grant(parsed).await,
        "lease keep-alive" => lease::keep_alive(parsed).await,
        "lease list" => lease::list(parsed).await,
        "lease revoke" => lease::revoke(parsed).await,
        "lease timetolive" => lease::time_to_live(parsed).await,
        "member add" => member::add(parsed).await,
        "member list" => member::list(parsed).await,
        "member promote" => member::promote(parsed).await,
        "member remove" => member::remove(parsed).await,
        "member update" => member::update(parsed).await,
        "move-leader" => move_leader::run(parsed).await,
        "options" => output::write(cli::options().as_bytes()),
        "put" => put::run(parsed).await,
        "snapshot restore" => offline::restore(&parsed),
        "snapshot save" => snapshot::save(parsed).await,
        "snapshot status" => snapshot::status(parsed),
        "txn" => txn::run(parsed).await,
        "version" => version(),
        "watch" => watch::run(parsed).await,
        _ => Err(Failure::new(code::ERROR, format!("{words} is not supported by this version"))),
    }
}

/// Opens the session of a command, once its arguments are known to be right.
async fn open(mut parsed: Parsed) -> Result<Session, Failure> {
    let mut settings = Settings::read(&mut parsed, std::env::vars_os())?;
    if let Some((_, password @ None)) = &mut settings.user {
        *password = Some(ask_password("Password: ")?);
    }
    Session::open(settings).await
}

/// Reads a password from standard input; a terminal does not show it.
fn ask_password(prompt: &str) -> Result<String, Failure> {
    output::write(prompt.as_bytes())?;
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stdin());
    let echo = |mode: &str| {
        if terminal && let Err(error) = std::process::Command::new("stty").arg(mode).status() {
            output::complain(&format!("stty {mode}: {error}"));
        }
    };
    echo("-echo");
    let mut line = String::new();
    let read = std::io::stdin().read_line(&mut line);
    echo("echo");
    output::write(b"\n")?;
    read.map_err(|error| Failure::new(code::BAD_CONNECTION, error.to_string()))?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

fn version() -> Result<(), Failure> {
    let release = base::version::SERVER;
    let api: Vec<&str> = release.split('.').take(2).collect();
    output::write(
        format!("etcdctl version: {release}\nAPI version: {}\n", api.join(".")).as_bytes(),
    )
}

/// `help` and the words after it.
fn help(parsed: &Parsed) -> Result<(), Failure> {
    let words: Vec<OsString> = parsed
        .arguments
        .iter()
        .map(|word| OsString::from(String::from_utf8_lossy(word).into_owned()))
        .collect();
    match cli::find(&words) {
        Ok(found) if found.rest.is_empty() => output::write(cli::help(&found.path).as_bytes()),
        _ => {
            let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
            let topic = format!("Unknown help topic [`{}`]", words.join("` `"));
            output::complain(&format!("{topic}\n{}", cli::usage(&[&cli::ROOT]).trim_end()));
            Ok(())
        }
    }
}
