//! The command line: what operators type, and what they read and script against.
//!
//! `serve` and `check` work with a settings file, `migrate` with files of another gateway, `rules replay` reads the store; all else speaks
//! to a running Warren through the operators' API, and has no second way in. Answers go to standard output, all else to standard
//! error. Exit codes are in [`exit`], and like flags they are a promise; see `docs/cli.md`.

mod check;
mod client;
mod clusters;
mod doctor;
pub mod exit;
mod explanation;
mod finding;
mod locate;
mod migrate;
mod operators;
mod rollout;
mod route;
mod rules;
mod serve;
mod supervise;
mod table;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use thiserror::Error;

use crate::app::AppError;
use crate::config::problem::Problems;
use crate::supervise::{SuperviseError, UpgradeError};
use client::ClientError;
use exit::Exit;
use locate::NoConfig;
use migrate::MigrateFailure;
use rules::replay::ReplayFailure;

const EXAMPLES: &str = "\
Examples:
  warren check --config conf/warren.toml      tell all that is wrong, change nothing
  warren doctor --config conf/warren.toml     run a query over each hop, tell which one is wrong
  warren serve --config conf/warren.toml      run
  warren supervise --config conf/warren.toml  run, and refuse nobody by restarts and upgrades
  warren clusters list                        show clusters, their health and load
  warren clusters drain bi-blue --wait        take one out, until nothing is left there
  warren rollout start bi --to bi-green --wait
  warren route -H 'X-Trino-Source: Apache Superset' --query 'SELECT 1'
  warren rules test                           run the tests of the rules
  warren migrate trino-gateway --config config.yaml --from-url http://gateway:8080

Where settings are looked for: --config, $WARREN_CONFIG, ./conf/warren.toml, ./warren.toml,
/etc/warren/warren.toml. The first one counts.
";

/// One address in front of many Trino clusters.
///
/// Warren takes the queries of Trino clients, asks your Lua rules to which group of clusters each
/// one goes, gives it to the least loaded cluster that is ready, and keeps it there.
#[derive(Debug, Parser)]
#[command(name = "warren", version, after_help = after_help(), max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Serve(serve::Serve),
    Supervise(supervise::Supervise),
    Upgrade(supervise::Upgrade),
    Check(check::Check),
    Doctor(doctor::Doctor),
    Clusters(clusters::Clusters),
    Rollout(rollout::Rollout),
    Route(route::Route),
    Rules(rules::Rules),
    Migrate(migrate::Migrate),
}

fn after_help() -> String {
    format!("{EXAMPLES}\n{}", exit::help())
}

/// What a verb may touch beside files and the network.
struct Shell<'a> {
    out: &'a mut dyn Write,
    err: &'a mut dyn Write,
    environment: &'a dyn Fn(&str) -> Option<String>,
}

impl Shell<'_> {
    /// Begins the screen anew, for what is shown again and again, if it is one.
    fn begin_screen(&mut self) -> io::Result<()> {
        if io::stdout().is_terminal() {
            write!(self.out, "\u{1b}[H\u{1b}[2J")?;
        }
        Ok(())
    }
}

/// Why a verb did not do what it was asked.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    NoConfig(#[from] NoConfig),
    #[error("{0}")]
    Problems(#[from] Problems),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error(transparent)]
    Supervise(#[from] SuperviseError),
    #[error(transparent)]
    Upgrade(#[from] UpgradeError),
    #[error(transparent)]
    Migrate(#[from] MigrateFailure),
    #[error(transparent)]
    Replay(#[from] ReplayFailure),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Late(String),
    #[error("write the answer")]
    Output(#[from] io::Error),
}

impl Failure {
    fn exit(&self) -> Exit {
        match self {
            // Whoever closed the pipe has read enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Fine,
            Self::Client(ClientError::Refused { .. }) => Exit::Refused,
            Self::Client(_)
            | Self::App(_)
            | Self::Supervise(_)
            | Self::Upgrade(_)
            | Self::Migrate(_)
            | Self::Replay(_)
            | Self::Late(_)
            | Self::Output(_) => Exit::Failed,
            Self::NoConfig(_) | Self::Usage(_) => Exit::Usage,
            Self::Problems(_) => Exit::Problems,
        }
    }
}

/// Runs the command that this process was started with.
pub fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    let mut shell = Shell {
        // Not locked: other threads of `serve` write there too.
        out: &mut io::stdout(),
        err: &mut io::stderr(),
        environment: &environment,
    };
    ExitCode::from(run(std::env::args_os(), &mut shell).code())
}

fn run(arguments: impl IntoIterator<Item = OsString>, shell: &mut Shell<'_>) -> Exit {
    let verb = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.verb,
        Err(error) => return explain_usage(&error, shell),
    };
    let done = match verb {
        Verb::Serve(serve) => serve.run(shell),
        Verb::Supervise(supervise) => supervise.run(shell),
        Verb::Upgrade(upgrade) => upgrade.run(shell),
        Verb::Check(check) => check.run(shell),
        Verb::Doctor(doctor) => doctor.run(shell),
        Verb::Clusters(clusters) => clusters.run(shell),
        Verb::Rollout(rollout) => rollout.run(shell),
        Verb::Route(route) => route.run(shell),
        Verb::Rules(rules) => rules.run(shell),
        Verb::Migrate(migrate) => migrate.run(shell),
    };
    let failure = match done {
        Ok(exit) => return exit,
        Err(failure) => failure,
    };
    let exit = failure.exit();
    if exit != Exit::Fine {
        // If nobody can be told, the exit code still tells.
        drop(tell(&failure, shell));
    }
    exit
}

/// Help and version are answers; anything else that clap says is a complaint.
fn explain_usage(error: &clap::Error, shell: &mut Shell<'_>) -> Exit {
    let exit = if error.use_stderr() { Exit::Usage } else { Exit::Fine };
    let to = if error.use_stderr() { &mut shell.err } else { &mut shell.out };
    drop(write!(to, "{}", error.render()));
    exit
}

/// Writes a failure with its causes.
fn tell(failure: &Failure, shell: &mut Shell<'_>) -> io::Result<()> {
    if let Failure::Problems(problems) = failure {
        writeln!(shell.err, "{problems}")?;
        let count = problems.list.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        return writeln!(shell.err, "{count} {noun} in {}", problems.file.display());
    }
    let mut text = match failure {
        Failure::NoConfig(_) | Failure::Usage(_) => failure.to_string(),
        _ => format!("failed to {failure}"),
    };
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    writeln!(shell.err, "warren: {}", table::plain(&text))
}
