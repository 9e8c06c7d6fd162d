//! What it costs to tell what a statement is and touches, in CPU time of one thread.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};

use clap::Args;
use nix::time::{ClockId, clock_gettime};
use warren::sql::{self, Session};

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

fn statements() -> Vec<(&'static str, String)> {
    let mut join =
        "SELECT o.id, c.name, sum(l.price * (1 - l.discount)) AS revenue FROM ".to_owned();
    join += "lake.sales.orders o JOIN crm.customers c ON o.customer = c.id LEFT JOIN lines l ON l.id = o.id";
    while join.len() < 900 {
        let column = join.len();
        let _ = write!(join, " AND coalesce(l.c{column}, 'none') <> 'x{column}'");
    }
    join += " WHERE o.day BETWEEN DATE '2026-01-01' AND DATE '2026-01-31' GROUP BY 1, 2 ORDER BY 3 DESC";
    let list = |element: &str, size: usize| {
        let mut text = format!("SELECT * FROM lake.sales.orders WHERE id IN ({element}");
        while text.len() < size {
            let _ = write!(text, ", {element}");
        }
        text + ")"
    };
    let mut union = "SELECT 1".to_owned();
    while union.len() < 500_000 {
        let table = union.len() % 997;
        let _ =
            write!(union, " UNION ALL SELECT a, b FROM lake.s{table}.t{table} WHERE a > {table}");
    }
    vec![
        ("SELECT 1", "SELECT 1".to_owned()),
        ("join of 1 kB", join),
        ("numbers in a list, 500 kB", list("1234567", 500_000)),
        ("texts in a list, 500 kB", list("'a1b2c3'", 500_000)),
        ("names in a list, 500 kB", list("f(a.b)", 500_000)),
        ("tables, 500 kB", union),
        ("brackets, 500 kB", format!("SELECT {}", "(".repeat(500_000))),
    ]
}
