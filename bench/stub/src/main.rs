//! The stub as a program.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::Parser;
use warren_stub::{Stub, StubOptions, control};

/// Spares the lean answers a third of their cost.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A simulated Trino coordinator: answers as Trino 476 does and computes nothing.
///
/// A comment in a statement says what it does: `SELECT 1 /* stub: run=2s rows=1000 pages=5
/// size=100 spooled=2 fail=DIVISION_BY_ZERO */`. Times in it are simulated.
#[derive(Debug, Parser)]
#[command(name = "warren-stub", version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one. The URL is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where scripts change it (`GET /` there tells how); without it nobody can.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// The five characters at the end of its query ids; drawn at random without it.
    #[arg(long)]
    coordinator_id: Option<String>,
    /// Real seconds of a simulated second: 0.01 runs a minute in 0.6 s.
    #[arg(long, default_value_t = 1.0)]
    time_scale: f64,
    /// The seed of the faults' chances.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The behaviour as JSON, e.g. '{"starting":true,"max_running":1}'.
    #[arg(long, default_value = "{}")]
    behaviour: String,
    /// Constant answers for load tests: nothing is kept, recorded or delayed.
    #[arg(long)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell_failure(error.as_ref());
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the program's own word about its failure")]
fn tell_failure(error: &dyn Error) {
    eprintln!("warren-stub: {error}");
    let mut cause = error.source();
    while let Some(deeper) = cause {
        eprintln!("  because: {deeper}");
        cause = deeper.source();
    }
}

#[expect(clippy::print_stdout, reason = "scripts read the addresses here")]
fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let stub = Stub::try_start(StubOptions {
        listen: arguments.listen,
        coordinator_id: arguments.coordinator_id,
        time_scale: arguments.time_scale,
        seed: arguments.seed,
        lean: arguments.bench,
        behaviour: serde_json::from_str(&arguments.behaviour)?,
    })?;
    println!("stub {} {}", stub.coordinator_id(), stub.url());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        if let Some(address) = arguments.control {
            let listener = tokio::net::TcpListener::bind(address).await?;
            println!("control http://{}", listener.local_addr()?);
            control::serve(stub, listener).await?;
        } else {
            tokio::signal::ctrl_c().await?;
        }
        Ok(())
    })
}
