//! `warren clusters`: what clusters there are, and what operators want of them.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::exit::Exit;
use super::operators::Operators;
use super::table::{Table, or_dash};
use super::{Failure, Shell};
use crate::ids::ClusterName;
use crate::store::Intent;

const EXAMPLES: &str = "\
Examples:
  warren clusters list
  warren clusters list --json | jq -r '.[] | select(.health != \"ready\") | .name'

A roll from bi-blue to bi-green, without a failed query:
  warren clusters intent bi-green active   --reason 'roll'    takes new queries once it is ready
  warren clusters intent bi-blue  draining --reason 'roll'    finishes its own
  warren clusters list                                        until bi-blue owns none
  warren clusters intent bi-blue  drained  --reason 'roll'    may be stopped now
";

/// Show clusters, and say what is wanted of them.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Clusters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show each cluster: intent, health, load, and how many live queries it owns.
    List(List),
    /// Say what is wanted of a cluster. All gateways follow within a second.
    Intent(Set),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    operators: Operators,
}

#[derive(Debug, Args)]
struct Set {
    /// The cluster.
    #[arg(value_parser = |text: &str| ClusterName::parse(text))]
    name: ClusterName,
    /// active: takes new queries. standby: ready to take over. draining: takes none and finishes
    /// its own. drained: may be stopped.
    #[arg(value_parser = PossibleValuesParser::new(Intent::ALL.map(Intent::as_str)))]
    intent: String,
    /// Why. It is kept with the change.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    operators: Operators,
}

/// A cluster, as the operators' API shows it. Other fields are left to `--json`.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    group: String,
    url: String,
    intent: String,
    health: String,
    health_reason: Option<String>,
    queued: Option<u64>,
    running: Option<u64>,
    owned: Option<u64>,
    load: Option<f64>,
    weight: Option<f64>,
    zone: Option<String>,
    coordinator_id: Option<String>,
    version: Option<String>,
}

/// A change of an intent, as the API tells it.
#[derive(Debug, Deserialize)]
struct Changed {
    cluster: String,
    intent: String,
    version: u64,
}

impl Clusters {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        match &self.verb {
            Verb::List(list) => list.run(shell),
            Verb::Intent(set) => set.run(shell),
        }
    }
}

impl List {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let answer = self.operators.client(shell)?.get("/api/v1/clusters")?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
            return Ok(Exit::Fine);
        }
        let rows: Vec<Row> = read(answer)?;
        write!(shell.out, "{}", render(rows))?;
        Ok(Exit::Fine)
    }
}

impl Set {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let path = format!("/api/v1/clusters/{}/intent", self.name);
        let body = json!({ "intent": self.intent, "reason": self.reason });
        let answer = self.operators.client(shell)?.put(&path, &body)?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
            return Ok(Exit::Fine);
        }
        let Changed { cluster, intent, version } = read(answer)?;
        let (name, intent) = (super::table::plain(&cluster), super::table::plain(&intent));
        writeln!(shell.out, "{name} is now {intent} (version {version} of the intents)")?;
        Ok(Exit::Fine)
    }
}

/// Reads an answer of the API.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::Client(super::client::ClientError::Odd {
            url: "the operators' port".to_owned(),
            what: error.to_string(),
        })
    })
}

fn render(rows: Vec<Row>) -> String {
    if rows.is_empty() {
        return "no clusters\n".to_owned();
    }
    let mut table = Table::new([
        "NAME",
        "GROUP",
        "INTENT",
        "HEALTH",
        "QUEUED",
        "RUNNING",
        "OWNED",
        "LOAD",
        "WEIGHT",
        "ZONE",
        "COORDINATOR",
        "VERSION",
        "URL",
        "REASON",
    ]);
    for row in rows {
        table.push([
            row.name,
            row.group,
            row.intent,
            row.health,
            or_dash(row.queued),
            or_dash(row.running),
            or_dash(row.owned),
            or_dash(row.load.map(|load| format!("{load:.1}"))),
            or_dash(row.weight),
            or_dash(row.zone),
            or_dash(row.coordinator_id),
            or_dash(row.version),
            row.url,
            row.health_reason.unwrap_or_default(),
        ]);
    }
    table.render()
}
