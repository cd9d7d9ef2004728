//! etcdctl: the command line client. Words select a command, the command asks the servers, a
//! printer writes what they answered.
//!
//! ```text
//! arguments ─▶ cli (tree, flags, help) ─▶ cmd::* ─▶ session (connection, deadline) ─▶ servers
//!                                            └──▶ print (simple|fields|json|protobuf|table)
//! ```
//! Invariants: printers are pure; every failure is a value with its exit code; there is one exit.

#![forbid(unsafe_code)]

mod cli;
mod cmd;
mod failure;
mod output;
mod print;
mod session;
mod settings;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let failure = match cmd::run(&arguments) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    if let Some(message) = &failure.message {
        output::complain(&format!("Error: {message}"));
    }
    ExitCode::from(failure.code)
}
