//! `warren rules`: tries the rules of a settings file, without a running Warren and without clusters, also
//! on recorded queries; puts and activates versions of the rules of a running one.

mod change;
mod diff;
pub(super) mod replay;
mod versions;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;

use super::exit::Exit;
use super::explanation::{Asked, Explanation};
use super::{Failure, Shell, operators};
use crate::config::Config;
use crate::route::engine;
use crate::route::facts::Facts;
use crate::route::rules::{RuleSet, RulesError};
use crate::route::standing::AllIdle;
use crate::route::suite;
use crate::route::verdict::Decision;

const EXAMPLES: &str = "\
Examples:
  warren rules test --config conf/warren.toml --rules lua/new.lua
  warren rules explain -H 'X-Trino-Source: Apache Superset' --query 'SELECT 1'
  warren rules explain --user ana --query 'DROP TABLE hive.web.hits' --json | jq -r .reject
  warren rules replay --history 1d --rules lua/route.lua
  warren rules put lua/route.lua --comment 'etl goes to olap' --activate
  warren rules list
  warren rules diff 7 8
  warren rules rollback --comment 'too much for olap'

Where a query would go just now, with the loads of the clusters: `warren route`.
";

/// Try the rules of a settings file; put and activate versions in a running Warren.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Rules {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Test(Test),
    Explain(Explain),
    Replay(replay::Replay),
    List(versions::List),
    Show(versions::Show),
    Diff(versions::Diff),
    Put(change::Put),
    Activate(change::Activate),
    Rollback(change::Rollback),
}

/// Run the tests of the rules: the files `tests/*.lua` beside the rules file. No Warren need run.
///
/// Exits with 3 if a case does not hold, or the rules or a file of tests are wrong.
#[derive(Debug, Args)]
struct Test {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The rules; without it, the rules file that the settings name.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
}

/// Tell what the rules decide about a request, and why. All clusters are taken for ready and idle.
///
/// Exits with 3 if the rules are wrong or fail for it.
#[derive(Debug, Args)]
struct Explain {
    #[command(flatten)]
    asked: Asked,
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The rules; without it, the rules file that the settings name.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Rules {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        match &self.verb {
            Verb::Test(test) => test.run(shell),
            Verb::Explain(explain) => explain.run(shell),
            Verb::Replay(replay) => replay.run(shell),
            Verb::List(list) => list.run(shell),
            Verb::Show(show) => show.run(shell),
            Verb::Diff(diff) => diff.run(shell),
            Verb::Put(put) => put.run(shell),
            Verb::Activate(activate) => activate.run(shell),
            Verb::Rollback(rollback) => rollback.run(shell),
        }
    }
}

impl Test {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let config = load(self.config.as_ref(), self.rules.as_ref(), shell)?;
        let report = compiled(&config).and_then(|rules| {
            let files = suite::read(&config.rules.file)?;
            Ok((suite::run(&rules, &files)?, files.len()))
        });
        let (report, files) = match report {
            Ok(report) => report,
            Err(error) => return refuse(&error, self.json, shell),
        };
        let broken: Vec<_> = report.broken.iter().map(ToString::to_string).collect();
        if self.json {
            let told = json!({
                "ok": broken.is_empty(), "files": files, "cases": report.cases, "broken": broken
            });
            writeln!(shell.out, "{told:#}")?;
        } else {
            for broken in &broken {
                writeln!(shell.out, "{broken}")?;
            }
            let good = report.cases - broken.len();
            writeln!(shell.out, "{good} of {} cases hold, in {files} files", report.cases)?;
            if files == 0 {
                let folder = config.rules.file.with_file_name("tests");
                writeln!(shell.err, "there are no tests in {}", folder.display())?;
            }
        }
        Ok(if broken.is_empty() { Exit::Fine } else { Exit::Problems })
    }
}

impl Explain {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let config = load(self.config.as_ref(), self.rules.as_ref(), shell)?;
        let rules = match compiled(&config) {
            Ok(rules) => Arc::new(rules),
            Err(error) => return refuse(&error, self.json, shell),
        };
        let asked = self.asked.question().ask().map_err(Failure::Usage)?;
        let decision = decided(&rules, &asked.facts(Arc::new(AllIdle)), &config);
        let failed = decision.error.is_some();
        let told = json!(asked.told(decision, &rules));
        if self.json {
            writeln!(shell.out, "{told:#}")?;
        } else {
            let explanation: Explanation = super::clusters::read(told)?;
            write!(shell.out, "{}", explanation.in_words(false))?;
        }
        Ok(if failed { Exit::Problems } else { Exit::Fine })
    }
}

/// The settings, with this rules file instead of theirs, if one is named.
fn load(
    config: Option<&PathBuf>,
    rules: Option<&PathBuf>,
    shell: &mut Shell<'_>,
) -> Result<Config, Failure> {
    let mut config = operators::load(config, shell)?;
    if let Some(file) = rules {
        config.rules.file.clone_from(file);
    }
    Ok(config)
}

/// The rules of the settings, compiled and tried.
pub(super) fn compiled(config: &Config) -> Result<RuleSet, RulesError> {
    RuleSet::load(&config.rules, &config.group_names())
}

/// What the rules decide; one for a cluster that the settings do not have is a failure of the rules.
fn decided(rules: &Arc<RuleSet>, facts: &Facts<'_>, config: &Config) -> Decision {
    rules.placed(engine::decide(rules, facts), |name| {
        let mut clusters = config.clusters.iter();
        let found = clusters.find(|cluster| cluster.name == *name).map(|it| it.group.clone());
        found.ok_or_else(|| config.clusters.iter().map(|it| it.name.clone()).collect())
    })
}

/// Tells that the rules themselves are wrong.
fn refuse(error: &RulesError, as_json: bool, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
    let text = error.in_words();
    if as_json {
        writeln!(shell.out, "{:#}", json!({ "ok": false, "error": text }))?;
    } else {
        writeln!(shell.err, "warren: {text}")?;
    }
    Ok(Exit::Problems)
}
