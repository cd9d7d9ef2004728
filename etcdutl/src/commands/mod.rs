//! The commands, and what they share.

mod completion;
mod defrag;
mod hash_kv;
mod migrate;
mod status;

use std::path::Path;
use std::time::Duration;

use backend::Backend;

use crate::arguments::Command;
use crate::failure::Failure;
use crate::files;
use crate::print::Format;
use crate::restore;
use crate::transfer;

/// Runs a command; gives what standard output owes.
///
/// # Errors
/// However it fails.
pub(crate) fn run(command: &Command) -> Result<String, Failure> {
    match command {
        Command::Completion { shell } => Ok(completion::script(shell)),
        Command::Defrag { data_dir, timeout } => {
            defrag::run(data_dir, *timeout).map(|()| String::new())
        }
        Command::Export { request, target } => {
            transfer::export(request, target).map(|()| String::new())
        }
        Command::HashKv { path, revision, timeout, write_out } => {
            hash_kv::run(path, *revision, *timeout, Format::parse(write_out)?)
        }
        Command::Import(request) => transfer::import(request).map(|()| String::new()),
        Command::Migrate { data_dir, target, force, timeout } => {
            migrate::run(data_dir, target, *force, *timeout).map(|()| String::new())
        }
        Command::Restore(request) => restore::run(request).map(|()| String::new()),
        Command::Status { paths, timeout, write_out } => status::run(paths, *timeout, write_out),
        Command::Version => Ok(version()),
    }
}

fn version() -> String {
    let release = base::version::SERVER;
    let api: Vec<&str> = release.split('.').take(2).collect();
    format!("etcdutl version: {release}\nAPI version: {}\n", api.join("."))
}

/// Opens a member's database, waiting `timeout` for whoever has it open; zero waits for ever.
///
/// # Errors
/// When there is none, when somebody keeps it, when it is not ours.
pub(crate) fn open(path: &Path, timeout: Duration) -> Result<Backend, Failure> {
    std::fs::metadata(path).map_err(Failure::io("stat", path))?;
    let opened = files::with_patience(timeout, || {
        match Backend::open(path, &backend::Options::default()) {
            Err(backend::Error::Locked { .. }) => Ok(None),
            opened => Ok(Some(opened?)),
        }
    })?;
    opened.ok_or(Failure::Timeout)
}
