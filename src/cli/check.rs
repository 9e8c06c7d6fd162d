//! `warren check`: all that is wrong, at once, before it hurts. Changes nothing.

mod reach;
mod sense;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::Exit;
use super::finding::{self, Finding, Grade};
use super::{Failure, Shell, locate};
use crate::app::open_files;
use crate::config::{self, Config, StoreUrl};
use crate::route::texts::{Texts, Tried};
use crate::store;

const EXAMPLES: &str = "\
Examples:
  warren check --config conf/warren.toml
  warren check --offline                      settings and rules alone, as in a build
  warren check --json | jq -r '.findings[] | select(.grade == \"problem\") | .text'

Exits with 3 if there is a problem. Warnings alone exit with 0.
";

/// Tell all that is wrong with settings, rules, store and clusters.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    /// The settings file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Open no connection: leave out clusters and store.
    #[arg(long)]
    offline: bool,
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let variable = (shell.environment)("WARREN_CONFIG");
        let located = locate::locate(self.config.as_deref(), variable, std::path::Path::is_file)?;
        let findings = match config::load(&located.path) {
            Ok(config) => self.examine(&config),
            Err(problems) => problems.list.iter().map(Finding::of_settings).collect(),
        };
        let file = located.path.display().to_string();
        let text = if self.json {
            let ok = !findings.iter().any(|finding| finding.grade == Grade::Problem);
            format!("{:#}\n", json!({ "settings": file, "ok": ok, "findings": findings }))
        } else {
            format!("settings: {file} ({})\n\n{}", located.why, finding::report(&findings))
        };
        write!(shell.out, "{text}")?;
        Ok(finding::exit(&findings))
    }

    fn examine(&self, config: &Config) -> Vec<Finding> {
        let (groups, clusters) = (config.groups.len(), config.clusters.len());
        let mut findings =
            vec![Finding::fine("settings", "", format!("groups: {groups}, clusters: {clusters}"))];
        findings.extend(sense::findings(config));
        findings.extend(check_open_files(config));
        findings.extend(check_rules(config));
        if !self.offline {
            findings.extend(check_store(config));
            findings.extend(reach::clusters(config));
        }
        findings
    }
}

/// What the shell of this command may open is mostly what `serve` may, started from it.
fn check_open_files(config: &Config) -> Option<Finding> {
    let told = open_files::complaint(config.limits.held)?;
    Some(Finding::warning("settings", "limits.held", told))
}

/// Compiles the rules, tries them on a machine of their own, and runs their tests.
fn check_rules(config: &Config) -> Vec<Finding> {
    let subject = config.rules.file.display().to_string();
    let texts = Texts::read(&config.rules.file);
    match texts.and_then(|texts| texts.tried(&config.rules, &config.group_names())) {
        Ok(Tried { rules, cases }) => {
            let version = match cases {
                0 => format!("version {}", rules.version()),
                cases => format!("version {}, holds its {cases} cases of tests", rules.version()),
            };
            let warnings = rules.warnings().iter().map(|warning| ("rules", warning.to_string()));
            let warnings = warnings.map(|(room, text)| Finding::warning(room, &subject, text));
            std::iter::once(Finding::fine("rules", &subject, version)).chain(warnings).collect()
        }
        Err(error) => {
            let findings = error.findings().into_iter();
            findings.map(|text| Finding::problem("rules", &subject, text)).collect()
        }
    }
}

/// Looks at the store: the folder of an SQLite file, whether a server answers.
///
/// An SQLite file is not opened: a gateway that runs has it.
fn check_store(config: &Config) -> Vec<Finding> {
    match &config.store {
        StoreUrl::Sqlite(file) => {
            let subject = file.display().to_string();
            let folder = file.parent().is_some_and(std::path::Path::is_dir);
            vec![if folder {
                Finding::fine("store", &subject, "its folder is there".to_owned())
            } else {
                Finding::problem("store", &subject, "its folder is not there; make it".to_owned())
            }]
        }
        StoreUrl::Mysql(_) => vec![ask_store(&config.store)],
    }
}

fn ask_store(url: &StoreUrl) -> Finding {
    let store = match store::open(url) {
        Ok(store) => store,
        Err(error) => return Finding::problem("store", "mysql", store::chain(&error)),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Finding::problem("store", store.place(), store::chain(&error)),
    };
    match runtime.block_on(store.intents_version()) {
        Ok(_) => Finding::fine("store", store.place(), "answers".to_owned()),
        Err(error) => Finding::problem("store", store.place(), store::chain(&error)),
    }
}
