//! `warren clusters`: what clusters there are, and what operators want of them.

mod wait;
mod zones;

use std::thread;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, ClientError};
use super::exit::Exit;
use super::operators::Operators;
use super::table::{Table, or_dash, plain};
use super::{Failure, Shell};
use crate::ids::ClusterName;
use crate::store::Intent;
use crate::time;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  warren clusters list
  warren clusters list --json | jq -r '.[] | select(.health != \"ready\") | .name'

  warren clusters list --watch

Take bi-blue out for a while, without a failed query:
  warren clusters drain bi-blue --wait --reason 'new nodes'   until nothing is left there
  warren clusters activate bi-blue                            takes new queries once it is ready

To replace one by another, see `warren help rollout`.
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
    /// Let it take new queries when it is ready.
    Activate(Named),
    /// Let it be ready to take over, and take none.
    Standby(Named),
    /// Let it take no new queries and finish its own.
    Drain(Drain),
    Wait(wait::Wait),
}

#[derive(Debug, Args)]
struct Named {
    /// The cluster.
    #[arg(value_parser = |text: &str| ClusterName::parse(text))]
    name: ClusterName,
    /// Why. It is kept with the change.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    operators: Operators,
}

#[derive(Debug, Args)]
struct Drain {
    #[command(flatten)]
    named: Named,
    /// Wait until nothing is left there, tell what is, and then say that it may be stopped (drained).
    #[arg(long)]
    wait: bool,
    /// The longest wait; then it stays draining and the exit code is 4.
    #[arg(long, value_name = "TIME", default_value = "30m", requires = "wait",
          value_parser = |text: &str| humantime::parse_duration(text))]
    timeout: Duration,
}

#[derive(Debug, Args)]
struct List {
    /// Show it each second.
    #[arg(long)]
    watch: bool,
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
    oldest_ms: Option<u64>,
    load: Option<f64>,
    weight: Option<f64>,
    zone: Option<String>,
    coordinator_id: Option<String>,
    version: Option<String>,
}

/// What is left at a cluster, as the API tells it.
#[derive(Debug, Deserialize)]
struct Left {
    drained: bool,
    text: String,
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
            Verb::Activate(named) => named.want(Intent::Active, shell),
            Verb::Standby(named) => named.want(Intent::Standby, shell),
            Verb::Drain(drain) => drain.run(shell),
            Verb::Wait(wait) => wait.run(shell),
        }
    }
}

impl List {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        loop {
            let answer = client.get("/api/v1/clusters")?;
            if self.operators.json {
                writeln!(shell.out, "{answer:#}")?;
            } else {
                let rows: Vec<Row> = read(answer)?;
                if self.watch {
                    shell.begin_screen()?;
                }
                write!(shell.out, "{}", render(rows))?;
            }
            if !self.watch {
                return Ok(Exit::Fine);
            }
            shell.out.flush()?;
            thread::sleep(LOOK);
        }
    }
}

impl Set {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        let answer = want(&client, &self.name, &self.intent, &self.reason)?;
        tell_change(answer, self.operators.json, shell)
    }
}

impl Named {
    fn want(&self, intent: Intent, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        let answer = want(&client, &self.name, intent.as_str(), &self.reason)?;
        tell_change(answer, self.operators.json, shell)
    }
}

impl Drain {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let Named { name, reason, operators } = &self.named;
        let begun = self.named.want(Intent::Draining, shell)?;
        if !self.wait {
            return Ok(begun);
        }
        let client = operators.client(shell)?;
        let path = format!("/api/v1/clusters/{name}/left");
        let until = time::now() + self.timeout;
        let mut last = String::new();
        loop {
            let Left { drained, text } = unless_away(client.get(&path))?.unwrap_or_else(Left::away);
            if text != last && !operators.json {
                writeln!(shell.out, "left at {name}: {}", plain(&text))?;
            }
            last = text;
            if drained
                && let Some(answer) =
                    unless_away(put_intent(&client, name, Intent::Drained.as_str(), reason))?
            {
                return tell_change(answer, operators.json, shell);
            }
            if time::now() >= until {
                writeln!(
                    shell.err,
                    "warren: {name} is not drained within the time; it stays draining; left: {}",
                    plain(&last)
                )?;
                return Ok(Exit::Refused);
            }
            thread::sleep(LOOK);
        }
    }
}

impl Left {
    /// Of a gateway that cannot be reached: it may be restarting, and a drain takes longer than that.
    fn away() -> Self {
        Self { drained: false, text: "Warren cannot be reached".to_owned() }
    }
}

/// What the API answered; `None`: it cannot be reached now.
fn unless_away<T: serde::de::DeserializeOwned>(
    answer: Result<Value, ClientError>,
) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => read(answer).map(Some),
        Err(ClientError::Unreachable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Wants something of a cluster.
fn want(client: &Client, name: &ClusterName, intent: &str, reason: &str) -> Result<Value, Failure> {
    Ok(put_intent(client, name, intent, reason)?)
}

fn put_intent(
    client: &Client,
    name: &ClusterName,
    intent: &str,
    reason: &str,
) -> Result<Value, ClientError> {
    let path = format!("/api/v1/clusters/{name}/intent");
    client.put(&path, &json!({ "intent": intent, "reason": reason }))
}

fn tell_change(answer: Value, as_json: bool, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
    if as_json {
        writeln!(shell.out, "{answer:#}")?;
        return Ok(Exit::Fine);
    }
    let Changed { cluster, intent, version } = read(answer)?;
    let (name, intent) = (plain(&cluster), plain(&intent));
    writeln!(shell.out, "{name} is now {intent} (version {version} of the intents)")?;
    Ok(Exit::Fine)
}

/// Reads an answer of the API.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::Client(ClientError::Odd {
            url: "the operators' port".to_owned(),
            what: error.to_string(),
        })
    })
}

fn render(rows: Vec<Row>) -> String {
    if rows.is_empty() {
        return "no clusters\n".to_owned();
    }
    let spread = zones::spread(&rows);
    let mut table = Table::new([
        "NAME",
        "GROUP",
        "INTENT",
        "HEALTH",
        "QUEUED",
        "RUNNING",
        "OWNED",
        "OLDEST",
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
            or_dash(row.oldest_ms.map(|ms| format!("{} s", ms / 1000))),
            or_dash(row.load.map(|load| format!("{load:.1}"))),
            or_dash(row.weight),
            or_dash(row.zone),
            or_dash(row.coordinator_id),
            or_dash(row.version),
            row.url,
            row.health_reason.unwrap_or_default(),
        ]);
    }
    table.render() + &spread
}
