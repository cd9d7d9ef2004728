//! The program `etcd`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// Answers are made of many small allocations on several threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    server::main(&args, std::env::vars_os())
}
