//! `warren route`: where a query would go, and why. Asks a running Warren; runs nothing.

use clap::Args;
use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::json;

use super::exit::Exit;
use super::operators::Operators;
use super::table::{Table, or_dash, plain};
use super::{Failure, Shell};

const EXAMPLES: &str = "\
Examples:
  warren route -H 'X-Trino-Source: Apache Superset'
  warren route -H 'X-Trino-Source: trino-python-client' --user alice --query 'SELECT 1'
  warren route -H 'X-Trino-Source: zeppelin-7' --json | jq -r .cluster
";

/// Tell to which group and cluster a query would go, and why. No query is run.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Route {
    /// A header of the request, as 'X-Trino-Source: Apache Superset'. May be given many times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The statement.
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// The user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    operators: Operators,
}

/// The answer of the operators' API.
#[derive(Debug, Deserialize)]
struct Explanation {
    group: Option<String>,
    /// The group that the rules named, if `group` stands in for it.
    instead_of: Option<String>,
    rule: Option<String>,
    reason: Option<String>,
    error: Option<String>,
    #[serde(default)]
    candidates: Vec<Candidate>,
    cluster: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    name: String,
    intent: String,
    health: String,
    load: Option<f64>,
    chosen: bool,
    why_not: Option<String>,
}

impl Route {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let body = json!({
            "headers": self.headers,
            "query": self.query,
            "user": self.user,
        });
        let answer = self.operators.client(shell)?.post("/api/v1/explain", &body)?;
        let explanation: Explanation = super::clusters::read(answer.clone())?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
        } else {
            write!(shell.out, "{}", in_words(&explanation))?;
        }
        Ok(if explanation.cluster.is_some() { Exit::Fine } else { Exit::Refused })
    }
}

fn in_words(explanation: &Explanation) -> String {
    let mut lines = Vec::new();
    let mut tell = |name: &str, text: Option<&String>| {
        lines.extend(text.map(|text| format!("{name:<8} {}\n", plain(text))));
    };
    tell("group", explanation.group.as_ref());
    tell("for", explanation.instead_of.as_ref());
    let no_rule = "none; the default group".to_owned();
    tell("rule", Some(explanation.rule.as_ref().unwrap_or(&no_rule)));
    tell("reason", explanation.reason.as_ref());
    tell("error", explanation.error.as_ref());
    let nowhere = "none can take the query now".to_owned();
    tell("cluster", Some(explanation.cluster.as_ref().unwrap_or(&nowhere)));
    if explanation.candidates.is_empty() {
        return lines.concat();
    }
    let mut table = Table::new(["CANDIDATE", "INTENT", "HEALTH", "LOAD", "CHOSEN"]);
    for candidate in &explanation.candidates {
        let why_not = candidate.why_not.clone().unwrap_or_else(|| "no".to_owned());
        table.push([
            candidate.name.clone(),
            candidate.intent.clone(),
            candidate.health.clone(),
            or_dash(candidate.load.map(|load| format!("{load:.1}"))),
            if candidate.chosen { "yes".to_owned() } else { why_not },
        ]);
    }
    format!("{}\n{}", lines.concat(), table.render())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or("write NAME: VALUE, as 'X-Trino-Source: dbt'")?;
    let (name, value) = (name.trim(), value.trim());
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} names no header"))?;
    HeaderValue::from_str(value).map_err(|_| "the value is not one line of text".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}
