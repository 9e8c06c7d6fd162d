//! `warren rollout`: one cluster takes over from another, in steps, while queries run.

use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::Client;
use super::clusters::read;
use super::exit::Exit;
use super::operators::Operators;
use super::table::{Table, plain};
use super::{Failure, Shell};
use crate::ids::{ClusterName, GroupName};
use crate::rollout::OnTimeout;
use crate::time;

const EXAMPLES: &str = "\
Examples:
  warren rollout start bi --to bi-green --wait       until bi-blue has finished its queries
  warren rollout start bi --to bi-green --canary 5%:10m --drain-timeout 1h --on-timeout abort
  warren rollout status --watch
  warren rollout abort --reason 'green is slow'      gives the traffic back

Exit codes of start --wait and of status: 0 done or under way, 4 aborted.
";

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// How many looks may fail in a row while it is waited: a gateway may be restarted meanwhile.
const AWAY: u32 = 60;

/// Replace a cluster of a group by another one, without losing a query.
///
/// Waits until the target is ready, gives it the new queries (a share of them first, if asked), lets
/// the others finish theirs, and says when they may be stopped. Any gateway carries it on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rollout {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Begin one.
    Start(Start),
    /// Show how far one has come: what is left, the oldest query, when it may be done.
    Status(Status),
    /// Give the traffic back.
    Abort(Abort),
    /// Show the last ones.
    History(History),
}

#[derive(Debug, Args)]
struct Start {
    /// The group.
    #[arg(value_parser = |text: &str| GroupName::parse(text))]
    group: GroupName,
    /// The cluster that takes over.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| ClusterName::parse(text))]
    to: ClusterName,
    /// A cluster that ends; may be given many times. Default: each other active one of the group.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| ClusterName::parse(text))]
    from: Vec<ClusterName>,
    /// How long the queries of these may take to end.
    #[arg(long, value_name = "TIME", default_value = "30m")]
    drain_timeout: String,
    /// What happens to those that take longer.
    #[arg(long, default_value = "wait", value_parser = PossibleValuesParser::new(OnTimeout::ALL.map(OnTimeout::as_str)))]
    on_timeout: String,
    /// Give the target a share of the new queries for a while first, as 5%:10m; abort if it does worse.
    #[arg(long, value_name = "SHARE:TIME")]
    canary: Option<String>,
    /// Why. It is kept with the rollout.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Wait for the end, and say what happens.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    operators: Operators,
}

#[derive(Debug, Args)]
struct Status {
    /// Its number. Default: the newest one.
    id: Option<u64>,
    /// Show it each second until it is over.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    operators: Operators,
}

#[derive(Debug, Args)]
struct Abort {
    /// Its number. Default: the one that is under way.
    id: Option<u64>,
    /// Why. It is kept with the rollout.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    operators: Operators,
}

#[derive(Debug, Args)]
struct History {
    /// How many.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    operators: Operators,
}

/// A rollout, as the operators' API shows it. Other fields are left to `--json`.
#[derive(Debug, Deserialize)]
struct Row {
    id: u64,
    group: String,
    to: String,
    from: Vec<String>,
    phase: String,
    outcome: Option<String>,
    text: String,
    phase_since_ms: u64,
    started_ms: Option<u64>,
    left_at_first: u64,
    reason: String,
}

/// What is left at a cluster, as the operators' API shows it.
#[derive(Debug, Deserialize)]
struct Left {
    queries: u64,
    oldest_ms: Option<u64>,
}

impl Rollout {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        match &self.verb {
            Verb::Start(start) => start.run(shell),
            Verb::Status(status) => status.run(shell),
            Verb::Abort(abort) => abort.run(shell),
            Verb::History(history) => history.run(shell),
        }
    }
}

impl Start {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        let body = json!({
            "group": self.group.as_str(),
            "to": self.to.as_str(),
            "from": self.from.iter().map(ClusterName::as_str).collect::<Vec<_>>(),
            "drain_timeout": self.drain_timeout,
            "on_timeout": self.on_timeout,
            "canary": self.canary,
            "reason": self.reason,
        });
        let answer = client.post("/api/v1/rollouts", &body)?;
        let row: Row = read(answer.clone())?;
        if !self.wait {
            if self.operators.json {
                writeln!(shell.out, "{answer:#}")?;
            } else {
                writeln!(shell.out, "rollout {} begins: {}", row.id, plain(&row.text))?;
            }
            return Ok(Exit::Fine);
        }
        follow(&client, row.id, shell, self.operators.json)
    }
}

/// Tells each change until a rollout is over.
fn follow(client: &Client, id: u64, shell: &mut Shell<'_>, json: bool) -> Result<Exit, Failure> {
    let mut last = String::new();
    let mut away = 0;
    loop {
        let answer = match client.get(&format!("/api/v1/rollouts/{id}")) {
            Ok(answer) => answer,
            Err(_restarting) if away < AWAY => {
                away += 1;
                thread::sleep(LOOK);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        away = 0;
        let row: Row = read(answer.clone())?;
        let line = format!("{:<12}  {}", plain(&row.phase), plain(&row.text));
        if line != last && !json {
            writeln!(shell.out, "{line}")?;
        }
        last = line;
        if row.outcome.is_some() {
            if json {
                writeln!(shell.out, "{answer:#}")?;
            }
            return Ok(exit_of(&row));
        }
        thread::sleep(LOOK);
    }
}

fn exit_of(row: &Row) -> Exit {
    if row.outcome.as_deref() == Some("aborted") { Exit::Refused } else { Exit::Fine }
}

impl Status {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        loop {
            let Some(answer) = self.find(&client)? else {
                writeln!(shell.out, "no rollout yet")?;
                return Ok(Exit::Fine);
            };
            let row: Row = read(answer.clone())?;
            if self.operators.json {
                writeln!(shell.out, "{answer:#}")?;
            } else {
                let text = in_words(&row, &lefts(&client, &row), time::unix_ms());
                if self.watch {
                    shell.begin_screen()?;
                }
                write!(shell.out, "{text}")?;
            }
            if !self.watch || row.outcome.is_some() {
                return Ok(exit_of(&row));
            }
            shell.out.flush()?;
            thread::sleep(LOOK);
        }
    }

    fn find(&self, client: &Client) -> Result<Option<Value>, Failure> {
        if let Some(id) = self.id {
            return Ok(Some(client.get(&format!("/api/v1/rollouts/{id}"))?));
        }
        let Value::Array(mut rows) = client.get("/api/v1/rollouts?limit=1")? else {
            return Ok(None);
        };
        Ok(rows.pop())
    }
}

/// What is left at the clusters that end, while they do.
fn lefts(client: &Client, row: &Row) -> Vec<(String, Left)> {
    if row.phase != "draining" {
        return Vec::new();
    }
    let left = |name: &String| {
        let answer = client.get(&format!("/api/v1/clusters/{name}/left")).ok()?;
        Some((name.clone(), read(answer).ok()?))
    };
    row.from.iter().filter_map(left).collect()
}

fn seconds(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1000)).to_string()
}

fn in_words(row: &Row, lefts: &[(String, Left)], now_ms: u64) -> String {
    let since = |at: u64| seconds(now_ms.saturating_sub(at));
    let mut lines = vec![
        format!("rollout  {} of {}: {} to {}", row.id, row.group, row.from.join(", "), row.to),
        format!("phase    {} for {}", row.phase, since(row.phase_since_ms)),
        format!("now      {}", row.text),
    ];
    if let Some(started) = row.started_ms {
        lines.push(format!("begun    {} ago {}", since(started), row.reason));
    }
    for (name, left) in lefts {
        let oldest = left.oldest_ms.map_or_else(|| "-".to_owned(), seconds);
        lines.push(format!(
            "left     {name}: {} queries, the oldest lives for {oldest}",
            left.queries
        ));
    }
    let queries: u64 = lefts.iter().map(|(_, left)| left.queries).sum();
    let gone = row.left_at_first.saturating_sub(queries);
    if queries > 0 && gone > 0 {
        // As fast as until now.
        let left_ms = now_ms.saturating_sub(row.phase_since_ms).saturating_mul(queries) / gone;
        lines.push(format!("done in  about {}, if they go on ending as fast", seconds(left_ms)));
    }
    lines.iter().map(|line| plain(line) + "\n").collect()
}

impl Abort {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        let id = match self.id {
            Some(id) => id,
            None => under_way(&client)?,
        };
        let body = json!({ "reason": self.reason });
        let answer = client.post(&format!("/api/v1/rollouts/{id}/abort"), &body)?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
        } else {
            writeln!(shell.out, "rollout {id} is being aborted; `warren rollout status` shows it")?;
        }
        Ok(Exit::Fine)
    }
}

/// The number of the only rollout that is under way.
fn under_way(client: &Client) -> Result<u64, Failure> {
    let rows: Vec<Row> = read(client.get("/api/v1/rollouts")?)?;
    let open: Vec<_> = rows.iter().filter(|row| row.outcome.is_none()).map(|row| row.id).collect();
    match open[..] {
        [id] => Ok(id),
        [] => Err(Failure::Usage("no rollout is under way".to_owned())),
        _ => Err(Failure::Usage(format!("several rollouts are under way: name one of {open:?}"))),
    }
}

impl History {
    fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let path = format!("/api/v1/rollouts?limit={}", self.limit);
        let answer = self.operators.client(shell)?.get(&path)?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
            return Ok(Exit::Fine);
        }
        let rows: Vec<Row> = read(answer)?;
        if rows.is_empty() {
            writeln!(shell.out, "no rollout yet")?;
            return Ok(Exit::Fine);
        }
        let mut table = Table::new(["ID", "GROUP", "FROM", "TO", "PHASE", "BEGUN", "TEXT"]);
        for row in rows {
            let begun = row.started_ms.unwrap_or_default();
            let begun =
                humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(begun));
            table.push([
                row.id.to_string(),
                row.group,
                row.from.join(", "),
                row.to,
                row.phase,
                begun.to_string(),
                row.text,
            ]);
        }
        write!(shell.out, "{}", table.render())?;
        Ok(Exit::Fine)
    }
}
