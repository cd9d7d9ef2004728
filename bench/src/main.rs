//! etcd-bench: a load generator, a bare echo server as the physical limit, and the
//! comparison run of `make bench`.
//!
//! ```text
//! compare, backup ─▶ server (start, CPU, memory, kill) ◀─HTTP/2─ load (clients) ─▶ stats ─▶ report
//! run ─────────────────────────────────────────────────▶ load, against a given endpoint
//! echo-server: what tonic and one fdatasync per batch cost, without anything behind them
//! ```
//! Invariants: every server gets the same flags, the same disk and the same load; a load counts
//! operations, not time; a failed operation fails the run. Cost is the server's CPU time as
//! the kernel counts it, because wall time on a shared machine measures the neighbours too.

#![forbid(unsafe_code)]

mod backup;
mod compare;
mod echo;
mod error;
mod grpc;
mod load;
mod open_loop;
mod report;
mod requests;
mod server;
mod stats;
mod watchers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use error::Error;
use load::{Load, Scale, Target};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load generator and comparison runs.
#[derive(Parser)]
#[command(name = "etcd-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs all loads against both servers and the echo server, interleaved.
    Compare(compare::Options),
    /// Saves, looks at and restores a backup of both servers, interleaved.
    Backup(backup::Options),
    /// Runs one load against a server that is already there.
    Run(RunOptions),
    /// Serves gets from a constant and puts by one fdatasync per batch.
    EchoServer(EchoOptions),
}

#[derive(clap::Args)]
struct RunOptions {
    /// The load.
    #[arg(long, value_enum)]
    load: Load,
    /// Where the server, or each of its members, listens.
    #[arg(long, default_value = "127.0.0.1:2379", value_delimiter = ',')]
    endpoint: Vec<SocketAddr>,
    /// The processes whose CPU time is counted.
    #[arg(long, value_delimiter = ',')]
    pid: Vec<u32>,
    /// Operations instead of the load's own number.
    #[arg(long)]
    ops: Option<u64>,
    /// Print JSON instead of a line.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct EchoOptions {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:2379")]
    listen: SocketAddr,
    /// Where the log file lies.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Compare(options) => compare::run(&options),
        Command::Backup(options) => backup::run(&options),
        Command::Run(options) => run(&options),
        Command::EchoServer(options) => echo::serve(options.listen, &options.dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Runs one load and prints what it measured.
fn run(options: &RunOptions) -> Result<(), Error> {
    let scale = Scale { ops: options.ops };
    let target = Target { endpoints: options.endpoint.clone(), pids: options.pid.clone() };
    let sample = load::measure(options.load, &target, scale)?;
    report::print_sample(options.load, &sample, options.json);
    Ok(())
}
