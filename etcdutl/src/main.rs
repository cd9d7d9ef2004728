//! etcdutl: works on the files of a member that is not running.
//!
//! ```text
//! arguments ─▶ arguments::Command ─▶ commands::{defrag, hash_kv, migrate, status} ─▶ print
//!                                └─▶ restore, transfer ─▶ aside ─▶ DATA/member
//! ```
//! Invariants: results go to standard output, everything else to standard error; a directory is
//! locked while it is worked on; what is new appears whole or not at all.

#![forbid(unsafe_code)]

mod arguments;
mod aside;
mod commands;
mod failure;
mod files;
mod log;
mod needs;
mod print;
mod progress;
mod restore;
#[cfg(test)]
mod tests;
mod transfer;

use std::io::Write as _;
use std::process::ExitCode;

use arguments::Parsed;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let answer = match arguments::parse(&arguments) {
        Parsed::Help(usage) => Ok(usage.to_owned()),
        Parsed::Refused { message, usage } => {
            // The line stands on both sides of the usage, as it always has.
            complain(&format!("Error: {message}\n{usage}\nError: {message}"));
            return ExitCode::FAILURE;
        }
        Parsed::Command(command) => commands::run(&command),
    };
    match answer {
        Ok(text) => {
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(failure) => {
            complain(&format!("Error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

/// Writes a line to standard error; nobody can be told when that fails.
fn complain(line: &str) {
    drop(writeln!(std::io::stderr().lock(), "{line}"));
}
