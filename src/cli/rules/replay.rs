//! `warren rules replay`: what would have become of recorded queries under other rules.
//!
//! Reads the store beside the gateways that write it, newest queries first and a page at a time, and
//! changes nothing. No Warren need run.

mod past;
mod report;
mod tally;

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use self::past::Past;
use self::report::{Frame, Report};
use self::tally::Tally;
use super::{compiled, decided, load, refuse};
use crate::cli::exit::Exit;
use crate::cli::{Failure, Shell};
use crate::config::Config;
use crate::history::record::EndCause;
use crate::route::rules::RuleSet;
use crate::store::{self, AFTER_ALL_IDS, HistoryRow, Store, StoreError};
use crate::time::{self, Instant};

/// How many rows are in memory at once: of the longest statements and requests that a store keeps,
/// 64 MiB.
const PAGE: u32 = 500;

/// The most rows that `--limit` may ask for. What is counted takes a few hundred bytes for each query
/// that moves, at most.
const LIMIT_MAX: i64 = 1_000_000;

/// Between two words on how far it has come.
const PROGRESS_PERIOD: Duration = Duration::from_secs(2);

/// Tell what would have become of recorded queries under other rules.
///
/// Asks a rules file about the queries that the history of the store has, and tells which would have
/// gone to another group. All clusters are taken for ready and idle. Changes nothing. Exits with 3 if
/// the rules are wrong, and with 1 if the history cannot be read or has no query of that time.
#[derive(Debug, Args)]
pub(super) struct Replay {
    /// How far to go back, as 6h or 7d.
    #[arg(long, value_name = "TIME", default_value = "1d", value_parser = humantime::parse_duration)]
    history: Duration,
    /// The rules; without it, the rules file that the settings name.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// The most rows of the history that are read, the newest ones.
    #[arg(long, value_name = "NUMBER", default_value_t = 100_000,
          value_parser = clap::value_parser!(u32).range(1..=LIMIT_MAX))]
    limit: u32,
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
}

/// Why nothing was replayed.
#[derive(Debug, Error)]
pub(in crate::cli) enum ReplayFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("start a runtime")]
    Runtime(#[source] io::Error),
    #[error("find a query of the last {span} in the history of {store}")]
    Empty { span: String, store: String },
}

impl Replay {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let config = load(self.config.as_ref(), self.rules.as_ref(), shell)?;
        let rules = match compiled(&config) {
            Ok(rules) => Arc::new(rules),
            Err(error) => return refuse(&error, self.json, shell),
        };
        let history_ms = u64::try_from(self.history.as_millis()).unwrap_or(u64::MAX);
        let since_ms = time::unix_ms().saturating_sub(history_ms);
        let mut pages = Pages::open(&config, since_ms, self.limit)?;
        let tally = count(&mut pages, &rules, &config, shell)?;
        if tally.queries == 0 {
            let span = humantime::format_duration(self.history).to_string();
            return Err(ReplayFailure::Empty { span, store: pages.store.place().to_owned() }.into());
        }
        let report = Report::of(
            tally,
            Frame {
                rules_file: config.rules.file.display().to_string(),
                rules_version: rules.version().to_string(),
                store: pages.store.place().to_owned(),
                since_ms,
                limit: pages.has_more()?.then_some(self.limit),
            },
        );
        if self.json {
            writeln!(shell.out, "{:#}", json!(report))?;
        } else {
            write!(shell.out, "{}", report.in_words())?;
        }
        Ok(Exit::Fine)
    }
}

/// Asks the rules about each query.
fn count(
    pages: &mut Pages,
    rules: &Arc<RuleSet>,
    config: &Config,
    shell: &mut Shell<'_>,
) -> Result<Tally, Failure> {
    let mut tally = Tally::default();
    let mut progress = Progress::begin();
    loop {
        let page = pages.read()?;
        for row in &page {
            ask(&mut tally, row, rules, config);
        }
        let Some(last) = page.last() else { return Ok(tally) };
        if progress.is_due() {
            let (queries, id) = (tally.queries, &last.query_id);
            writeln!(shell.err, "{queries} queries so far, back to {id}")?;
        }
    }
}

fn ask(tally: &mut Tally, row: &HistoryRow, rules: &Arc<RuleSet>, config: &Config) {
    if row.submitted_ms.is_none() {
        tally.ends_alone += 1;
        return;
    }
    // Its statement has another row, of the cluster that it was submitted to once more.
    if row.end_cause.as_deref() == Some(EndCause::Moved.as_str()) {
        return;
    }
    let past = Past::of(row, config.limits.statement_history);
    let decision = decided(rules, &past.facts(), config);
    tally.add(row, &decision);
    tally.note_unrecorded(past.asked());
    let ran_on = config.clusters.iter().find(|cluster| cluster.name.as_str() == row.cluster);
    if ran_on.is_some_and(|cluster| cluster.group.as_str() != row.group) {
        tally.elsewhere += 1;
    }
}

/// The history from its newest row on.
struct Pages {
    runtime: Runtime,
    store: Arc<dyn Store>,
    /// The ids of what is read are not before this one.
    since: String,
    /// The oldest id that was read.
    before: String,
    /// How many rows may still be read.
    left: u32,
}

impl Pages {
    fn open(config: &Config, since_ms: u64, limit: u32) -> Result<Self, ReplayFailure> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(ReplayFailure::Runtime)?;
        let store = runtime.block_on(store::open_to_read(&config.store))?;
        let since = time::query_id_time(since_ms);
        Ok(Self { runtime, store, since, before: AFTER_ALL_IDS.to_owned(), left: limit })
    }

    /// The next rows; none at the end, or at the limit.
    fn read(&mut self) -> Result<Vec<HistoryRow>, ReplayFailure> {
        if self.left == 0 {
            return Ok(Vec::new());
        }
        let rows = self.ask(self.left.min(PAGE))?;
        if let Some(last) = rows.last() {
            self.before.clone_from(&last.query_id);
        }
        self.left = self.left.saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
        Ok(rows)
    }

    /// Whether there are rows beyond those that were read.
    fn has_more(&self) -> Result<bool, ReplayFailure> {
        Ok(!self.ask(1)?.is_empty())
    }

    fn ask(&self, limit: u32) -> Result<Vec<HistoryRow>, ReplayFailure> {
        let asked = self.store.history_between(&self.since, &self.before, limit);
        Ok(self.runtime.block_on(asked)?)
    }
}

/// When somebody who looks on hears how far it has come.
struct Progress {
    /// `None`: nobody looks on.
    next: Option<Instant>,
}

impl Progress {
    fn begin() -> Self {
        Self { next: io::stderr().is_terminal().then(|| time::now() + PROGRESS_PERIOD) }
    }

    fn is_due(&mut self) -> bool {
        let now = time::now();
        if self.next.is_none_or(|next| now < next) {
            return false;
        }
        self.next = Some(now + PROGRESS_PERIOD);
        true
    }
}
