//! What it costs to tell what a statement is and touches, in CPU time of one thread.

use std::error::Error;
use std::io::{self, Write as _};

use clap::Args;
use nix::time::{ClockId, clock_gettime};
use warren::sql::{self, Session};

use crate::statements::{LONG, join, list, union};

/// Arguments of `sql`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How often each statement is read; the median counts.
    #[arg(long, default_value_t = 201, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
}

/// Reads each statement often and tells the median.
pub(crate) fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    writeln!(out, "{:<28} {:>9} {:>12} {:>12}", "statement", "bytes", "names, µs", "digest, µs")?;
    for (name, statement) in statements() {
        let session = Session { catalog: Some("hive"), schema: Some("web"), ..Session::default() };
        let mut reading = Vec::new();
        let mut digesting = Vec::new();
        for _ in 0..options.rounds {
            let begin = cpu_nanos()?;
            let analysis = sql::analyse(&statement, &session);
            let read = cpu_nanos()?;
            let digest = analysis.digest();
            let end = cpu_nanos()?;
            assert!(digest.len() == 16, "a fingerprint has 16 digits");
            reading.push(read - begin);
            digesting.push(end - read);
        }
        let (read, digest) = (median(&mut reading), median(&mut digesting));
        writeln!(out, "{name:<28} {:>9} {read:>12.1} {digest:>12.1}", statement.len())?;
    }
    Ok(())
}

/// Nanoseconds that this thread was on a CPU.
fn cpu_nanos() -> nix::Result<u64> {
    let spent = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(spent.tv_sec().unsigned_abs() * 1_000_000_000 + spent.tv_nsec().unsigned_abs())
}

/// In microseconds.
fn median(nanos: &mut [u64]) -> f64 {
    nanos.sort_unstable();
    let middle = nanos.get(nanos.len() / 2).copied().unwrap_or_default();
    middle as f64 / 1e3
}

fn statements() -> [(&'static str, String); 7] {
    [
        ("SELECT 1", "SELECT 1".to_owned()),
        ("join of 1 kB", join()),
        ("numbers in a list, 500 kB", list("1234567")),
        ("texts in a list, 500 kB", list("'a1b2c3'")),
        ("names in a list, 500 kB", list("f(a.b)")),
        ("tables, 500 kB", union(997)),
        ("brackets, 500 kB", format!("SELECT {}", "(".repeat(LONG))),
    ]
}
