//! The `countersign` program: reads the command line, connects the rooms, and says plainly what went wrong.

mod authors;
mod cli;
mod command;
mod config;
mod failure;
mod operator;
mod output;
mod remote;
mod serving;
mod system;
mod wiring;

use clap::Parser;
use std::{io::Write, process::ExitCode};

/// Requests allocate much and in many threads, where the C library's allocator takes its time and keeps its memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&failure::Failure::of("the runtime could not start", &error)),
    };
    match runtime.block_on(command::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failed(&failure),
    }
}

fn failed(failure: &failure::Failure) -> ExitCode {
    // Nowhere is left to report that standard error is closed.
    let _ = writeln!(std::io::stderr(), "{failure}");
    ExitCode::from(failure.exit as u8)
}

/// Structured lines on standard error; `COUNTERSIGN_LOG` sets what is said, `COUNTERSIGN_LOG_FORMAT=json` how.
fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("COUNTERSIGN_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn,countersign=info"));
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false);
    if std::env::var("COUNTERSIGN_LOG_FORMAT").is_ok_and(|format| format == "json") {
        lines.json().init();
    } else {
        lines.init();
    }
}
