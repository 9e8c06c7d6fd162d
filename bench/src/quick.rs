//! The quick run: all targets by turns, several rounds, so that a noisy neighbour hits all alike.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::Args;
use thiserror::Error;

use crate::load::{self, Kind};
use crate::process::{cpu_nanos, resident_mib};
use crate::report::{Report, Row, Sample};
use crate::target::{self, Target};

/// Arguments of `quick`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The Warren to measure, built with `--release`. Without it `WARREN_BIN` in the environment
    /// counts; without both only the others are measured.
    #[arg(long)]
    warren: Option<PathBuf>,
    /// How often each target has its turn.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of a turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The CPU of the proxies.
    #[arg(long, default_value_t = 0)]
    pub proxy_cpu: usize,
    /// The CPU of the origin and the load.
    #[arg(long, default_value_t = 1)]
    pub load_cpu: usize,
    /// Warren's log level; the others log nothing.
    #[arg(long, default_value = "warn")]
    pub warren_log: String,
    /// Writes the table as Markdown to a file.
    #[arg(long)]
    markdown: Option<PathBuf>,
    /// Writes all samples as JSON to a file.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Options {
    /// The Warren to measure, if any.
    pub(crate) fn warren(&self) -> Option<PathBuf> {
        self.warren.clone().or_else(|| std::env::var_os("WARREN_BIN").map(PathBuf::from))
    }
}

/// Why there are no figures.
#[derive(Debug, Error)]
pub(crate) enum BenchError {
    /// A program is not installed.
    #[error("`{program}` is not installed; on Debian: apt-get install {package}")]
    Missing {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// The machine is too small.
    #[error("CPU {wanted} is needed and there are {found}; see --proxy-cpu and --load-cpu")]
    Cpus {
        /// The CPU asked for, counted from 0.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// A program could not be started or gave no result.
    #[error("cannot run {name}")]
    Start {
        /// Which.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The program to measure is not there.
    #[error("cannot find `{path}`; build it with `cargo build --release`")]
    Program {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A program does not answer statements.
    #[error("{name} does not answer statements; it said:\n{said}")]
    NotReady {
        /// Which.
        name: &'static str,
        /// The end of its log.
        said: String,
    },
    /// The temporary folder, or the results in it.
    #[error("cannot use a temporary folder or a port")]
    Folder(#[source] io::Error),
    /// Results cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Requests failed, so the figures mean nothing.
    #[error("{0} requests failed, so these figures mean nothing")]
    Failures(u64),
}

/// Runs it and shows the table.
#[expect(clippy::print_stdout, reason = "the table is the product of this program")]
pub(crate) fn run(options: &Options) -> Result<(), BenchError> {
    check_machine(options)?;
    let folder = tempfile::tempdir().map_err(BenchError::Folder)?;
    let scripts =
        Kind::ALL.map(|kind| (kind, folder.path().join(format!("{}.lua", kind.as_str()))));
    for (kind, path) in &scripts {
        std::fs::write(path, load::script(*kind)).map_err(BenchError::Folder)?;
    }
    let stage = target::set(options, folder.path())?;
    let mut rows: Vec<Row> = Vec::new();
    for kind in Kind::ALL {
        rows.extend(stage.targets.iter().map(|target| Row::new(kind, target.name)));
    }
    for round in 0..=options.rounds {
        // The first round warms up and is forgotten.
        let seconds = if round == 0 { 1 } else { options.seconds };
        let mut row = 0;
        for (kind, script) in &scripts {
            for target in &stage.targets {
                let time = Duration::from_secs(seconds);
                let sample = measure(target, *kind, script, options.load_cpu, time)?;
                if round > 0 {
                    rows[row].samples.push(sample);
                }
                row += 1;
            }
        }
    }
    for row in &mut rows {
        let target = stage.targets.iter().find(|target| target.name == row.target);
        row.resident_mib = target.and_then(|target| resident_mib(target.pid));
    }
    let report = Report { rows, about: about(options) };
    println!("{}", report.table());
    write(options.markdown.as_ref(), &report.markdown())?;
    write(options.json.as_ref(), &report.json())?;
    match report.errors() {
        0 => Ok(()),
        failed => Err(BenchError::Failures(failed)),
    }
}

fn measure(
    target: &Target,
    kind: Kind,
    script: &std::path::Path,
    cpu: usize,
    time: Duration,
) -> Result<Sample, BenchError> {
    let nanos =
        || cpu_nanos(target.pid).map_err(|source| BenchError::Start { name: target.name, source });
    let before = nanos()?;
    let outcome = load::run(script, cpu, target.address, target.path(kind), time)?;
    let spent = nanos()?.saturating_sub(before);
    Ok(Sample::new(outcome, spent))
}

fn check_machine(options: &Options) -> Result<(), BenchError> {
    for (program, argument, package) in
        [("nginx", "-v", "nginx"), ("wrk", "-v", "wrk"), ("taskset", "-V", "util-linux")]
    {
        if Command::new(program).arg(argument).output().is_err() {
            return Err(BenchError::Missing { program, package });
        }
    }
    let found = std::thread::available_parallelism().map_or(1, usize::from);
    match options.proxy_cpu.max(options.load_cpu) {
        wanted if wanted >= found => Err(BenchError::Cpus { wanted, found }),
        _ => Ok(()),
    }
}

fn write(path: Option<&PathBuf>, text: &str) -> Result<(), BenchError> {
    match path {
        Some(path) => std::fs::write(path, text)
            .map_err(|source| BenchError::Write { path: path.clone(), source }),
        None => Ok(()),
    }
}

/// One line about how it was measured.
fn about(options: &Options) -> String {
    let mut line = format!(
        "{} rounds of {} s, by turns; wrk 1 thread, 32 connections, 13 headers, 499-byte pages; proxy 1 worker on CPU {}, load and origin on CPU {}",
        options.rounds, options.seconds, options.proxy_cpu, options.load_cpu
    );
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        let _ = write!(line, "; load average {}", load.split(' ').next().unwrap_or("?"));
    }
    if cfg!(debug_assertions) {
        line.push_str("; a DEBUG build of the bare proxy: figures are no measure");
    }
    line
}
