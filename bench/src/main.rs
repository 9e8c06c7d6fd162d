//! Measures Warren beside a bare Pingora proxy and nginx, on one machine, in one run.

mod bare;
mod load;
mod origin;
mod process;
mod quick;
mod report;
mod sql;
mod statements;
mod target;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The allocator of Warren, so that the bare proxy differs in nothing else.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what Warren costs beside a bare Pingora proxy and nginx.
#[derive(Debug, Parser)]
#[command(name = "warren-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One interleaved run of all targets: requests/s, latency, CPU per request.
    Quick(quick::Options),
    /// What it costs to tell what a statement is and touches.
    Sql(sql::Options),
    /// A Pingora proxy that does nothing but pass requests on, by turns.
    BareProxy(bare::Options),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Quick(options) => quick::run(&options).map_err(Box::<dyn Error>::from),
        Command::Sql(options) => sql::run(&options),
        Command::BareProxy(options) => bare::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_failure(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the program's own word about its failure")]
fn tell_failure(error: &dyn Error) {
    eprintln!("warren-bench: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        eprintln!("  because: {deeper}");
        cause = deeper.source();
    }
}
