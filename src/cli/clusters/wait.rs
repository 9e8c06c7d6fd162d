//! `warren clusters wait`: until a cluster is ready, or carries no query any more.

use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::json;

use super::{Operators, read};
use crate::cli::client::{Client, ClientError};
use crate::cli::exit::Exit;
use crate::cli::table::{or_dash, plain};
use crate::cli::{Failure, Shell};
use crate::ids::ClusterName;
use crate::time;

/// Between two looks.
const PERIOD: Duration = Duration::from_secs(1);

/// How long a cluster must be idle at each look. Longer than the figures of a coordinator are old, and
/// than a query may wait for its first page, before which no coordinator lists it.
const STEADY: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  warren clusters wait bi-green ready --timeout 20m
  warren clusters wait bi-blue idle --timeout 12h && kubectl scale deployment trino-bi-blue --replicas=0
";

/// Wait until a cluster is ready, or carries no query any more.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Wait {
    /// The cluster.
    #[arg(value_parser = |text: &str| ClusterName::parse(text))]
    name: ClusterName,
    /// What to wait for.
    state: State,
    /// The longest to wait; then it exits with 1.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    #[command(flatten)]
    operators: Operators,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// A statement ran there; whatever its intent.
    Ready,
    /// It carries no query, by the coordinator's list and by Warren's books, for ten seconds.
    Idle,
}

/// What is looked at of a cluster.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    name: String,
    health: String,
    health_reason: Option<String>,
    queued: Option<u64>,
    running: Option<u64>,
    owned: u64,
}

impl Row {
    fn is(&self, state: State) -> bool {
        match state {
            State::Ready => self.health == "ready",
            // A figure that is not known is not 0.
            State::Idle => self.owned == 0 && self.queued == Some(0) && self.running == Some(0),
        }
    }

    fn told(&self) -> String {
        let reason = self.health_reason.as_deref().filter(|reason| *reason != self.health);
        let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
        format!(
            "{} is {}{reason}, queued {}, running {}, owned {}",
            self.name,
            self.health,
            or_dash(self.queued),
            or_dash(self.running),
            self.owned
        )
    }
}

impl Wait {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let client = self.operators.client(shell)?;
        let steady = if self.state == State::Idle { STEADY } else { Duration::ZERO };
        let began = time::now();
        let mut since = None;
        let mut last = String::new();
        loop {
            let row = self.look(&client)?;
            let now = time::now();
            let told =
                row.as_ref().map_or_else(|| "Warren cannot be reached".to_owned(), Row::told);
            since = row.filter(|row| row.is(self.state)).map(|_| since.unwrap_or(now));
            if since.is_some_and(|since| now >= since + steady) {
                self.tell(shell, &told, began.elapsed())?;
                return Ok(Exit::Fine);
            }
            if began.elapsed() >= self.timeout {
                let limit = humantime::format_duration(self.timeout);
                return Err(Failure::Late(format!("wait longer than {limit}: {told}")));
            }
            if told != last {
                writeln!(shell.err, "{}", plain(&told))?;
                last = told;
            }
            thread::sleep(PERIOD);
        }
    }

    /// The cluster as it is now; `None`: Warren cannot be reached. It may be restarting, and what is
    /// waited for takes longer than that.
    fn look(&self, client: &Client) -> Result<Option<Row>, Failure> {
        let answer = match client.get("/api/v1/clusters") {
            Ok(answer) => answer,
            Err(ClientError::Unreachable { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let rows: Vec<Row> = read(answer)?;
        let known: Vec<_> = rows.iter().map(|row| row.name.clone()).collect();
        let found = rows.into_iter().find(|row| row.name == self.name.as_str());
        found.map(Some).ok_or_else(|| {
            let known = known.join(", ");
            Failure::Usage(format!("no cluster is called '{}'; known are {known}", self.name))
        })
    }

    fn tell(&self, shell: &mut Shell<'_>, told: &str, took: Duration) -> Result<(), Failure> {
        if self.operators.json {
            let seconds = took.as_secs_f64();
            let told = json!({ "cluster": self.name.as_str(), "seconds": seconds });
            writeln!(shell.out, "{told:#}")?;
        } else {
            writeln!(shell.out, "{}", plain(told))?;
        }
        Ok(())
    }
}
