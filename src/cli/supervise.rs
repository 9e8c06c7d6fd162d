//! `warren supervise` and `warren upgrade`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::{Failure, Shell, operators};
use crate::app::open_files;
use crate::{supervise, telemetry};

const SUPERVISE_EXAMPLES: &str = "\
Examples:
  warren supervise --config conf/warren.toml
  warren upgrade --config conf/warren.toml   a new worker, of the program that lies there now
  kill -USR2 <pid>     the same
  kill -HUP <pid>      read settings and rules again; a bad file leaves the old ones in force
  kill -TERM <pid>     finish requests in flight, then stop
";

const UPGRADE_EXAMPLES: &str = "\
Examples:
  install new/warren /usr/local/bin/warren && warren upgrade
  warren upgrade --json | jq .worker

A new worker is started from the program's file, with the same sockets. When it is ready, the old
one hands over: it accepts nothing more, finishes its requests, and ends. If the new one does not
become ready within 60 s, the old one goes on and this command says why.
";

/// Run Warren so that its own restarts and upgrades refuse nobody.
///
/// A tiny parent keeps the clients' sockets, runs `warren serve` as its worker, and starts it again
/// when it ends. Clients that connect meanwhile wait for a moment and are not refused, and submits
/// that wait for their answer (without TLS, up to 128 KiB) are answered by the next worker.
#[derive(Debug, Args)]
#[command(after_help = SUPERVISE_EXAMPLES)]
pub(super) struct Supervise {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Replace the running worker of `warren supervise` by a new one, without a refused request.
#[derive(Debug, Args)]
#[command(after_help = UPGRADE_EXAMPLES)]
pub(super) struct Upgrade {
    /// The settings file that the supervisor runs with.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Answer in JSON.
    #[arg(long)]
    json: bool,
}

impl Supervise {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let config = operators::load(self.config.as_ref(), shell)?;
        telemetry::log::start(&config.log);
        open_files::raise(config.limits.held);
        supervise::run(&config, &config.file)?;
        Ok(Exit::Fine)
    }
}

impl Upgrade {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let config = operators::load(self.config.as_ref(), shell)?;
        let worker = supervise::upgrade(&config.state_folder)?;
        if self.json {
            writeln!(shell.out, "{:#}", json!({ "worker": worker }))?;
        } else {
            writeln!(shell.out, "process {worker} serves now; the old one finishes and ends")?;
        }
        Ok(Exit::Fine)
    }
}
