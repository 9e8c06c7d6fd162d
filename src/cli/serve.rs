//! `warren serve`.

use std::path::PathBuf;

use clap::Args;

use super::exit::Exit;
use super::{Failure, Shell, operators};
use crate::{app, telemetry};

const EXAMPLES: &str = "\
Examples:
  warren serve --config conf/warren.toml
  kill -HUP <pid>      read settings and rules again; a bad file leaves the old ones in force
  kill -TERM <pid>     finish requests in flight, then stop
";

/// Run Warren.
///
/// Starts also with clusters or a store that cannot be reached; `warren check` tells about them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Serve {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let config = operators::load(self.config.as_ref(), shell)?;
        telemetry::log::start(&config.log);
        app::open_files::raise(config.limits.held);
        app::serve(config)?;
        Ok(Exit::Fine)
    }
}
