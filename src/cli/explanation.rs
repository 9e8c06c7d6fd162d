//! A question to the rules on the command line, and their answer in words.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clap::Args;
use http::header::{HeaderName, HeaderValue};
use serde::Deserialize;

use super::table::{Table, or_dash, plain};
use crate::route::explain::Question;

/// A submit that nobody sends.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// A header of the request, as 'X-Trino-Source: Apache Superset'. May be given many times.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The statement.
    #[arg(long, value_name = "SQL")]
    query: Option<String>,
    /// The user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The address of the client.
    #[arg(long, value_name = "IP")]
    remote_addr: Option<IpAddr>,
    /// The name of the port that the request comes to: one of `[[listeners]]`, or `client`.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
}

impl Asked {
    pub(super) fn question(&self) -> Question {
        Question {
            headers: self.headers.clone(),
            query: self.query.clone(),
            user: self.user.clone(),
            remote_addr: self.remote_addr,
            listener: self.listener.clone(),
        }
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once(':').ok_or("write NAME: VALUE, as 'X-Trino-Source: dbt'")?;
    let (name, value) = (name.trim(), value.trim());
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("{name:?} names no header"))?;
    HeaderValue::from_str(value).map_err(|_| "the value is not one line of text".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

/// What was decided, as the operators' API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct Explanation {
    group: Option<String>,
    /// The groups that the rules named, if several.
    #[serde(default)]
    groups: Vec<String>,
    /// The only cluster that the rules let have it.
    pinned: Option<String>,
    /// The group that the rules named, if `group` stands in for it.
    instead_of: Option<String>,
    rule: Option<String>,
    reason: Option<String>,
    error: Option<String>,
    pub(super) reject: Option<String>,
    #[serde(default)]
    changes: Changes,
    priority: Option<u8>,
    query: Option<Query>,
    #[serde(default)]
    candidates: Vec<Candidate>,
    pub(super) cluster: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Changes {
    set_headers: BTreeMap<String, String>,
    remove_headers: Vec<String>,
    add_client_tags: Vec<String>,
    set_session: BTreeMap<String, String>,
    set_source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Query {
    kind: Option<String>,
    #[serde(rename = "type")]
    statement_type: Option<String>,
    tables: Vec<String>,
    is_read_only: bool,
    is_metadata: bool,
    digest: String,
    parse_error: Option<String>,
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

/// The widest name of a line.
const NAME: usize = 8;

impl Explanation {
    /// The facts, the decision and its reasons; `choice`: also which cluster would take the query.
    pub(super) fn in_words(&self, choice: bool) -> String {
        let mut lines = Vec::new();
        let mut tell = |name: &str, text: &str| {
            lines.push(format!("{name:<NAME$} {}\n", plain(text)));
        };
        if let Some(query) = &self.query {
            query.tell(&mut tell);
        }
        let groups = self.groups.join(", then ");
        let texts = [
            ("group", self.group.as_deref()),
            ("for", self.instead_of.as_deref()),
            ("pinned", self.pinned.as_deref()),
            ("of", Some(groups.as_str()).filter(|groups| !groups.is_empty())),
            ("rule", self.rule.as_deref().or(Some("none; the default group"))),
            ("reason", self.reason.as_deref()),
            ("error", self.error.as_deref()),
            ("reject", self.reject.as_deref()),
        ];
        for (name, text) in texts {
            text.into_iter().for_each(|text| tell(name, text));
        }
        if let Some(priority) = self.priority {
            tell("priority", &priority.to_string());
        }
        self.changes.tell(&mut tell);
        if choice && self.reject.is_none() {
            tell("cluster", self.cluster.as_deref().unwrap_or("none can take the query now"));
        }
        if self.candidates.is_empty() {
            return lines.concat();
        }
        let mut table = Table::new(["CANDIDATE", "INTENT", "HEALTH", "LOAD", "CHOSEN"]);
        for candidate in &self.candidates {
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
}

impl Changes {
    fn tell(&self, tell: &mut impl FnMut(&str, &str)) {
        for (name, value) in &self.set_headers {
            tell("set", &format!("{name}: {value}"));
        }
        for name in &self.remove_headers {
            tell("remove", name);
        }
        if !self.add_client_tags.is_empty() {
            tell("tags", &format!("+ {}", self.add_client_tags.join(", ")));
        }
        for (name, value) in &self.set_session {
            tell("session", &format!("{name} = {value}"));
        }
        if let Some(source) = &self.set_source {
            tell("source", source);
        }
    }
}

impl Query {
    fn tell(&self, tell: &mut impl FnMut(&str, &str)) {
        let kind = self.kind.as_deref().unwrap_or("of an unknown kind");
        let mut words = vec![kind.to_owned()];
        words.extend(self.statement_type.iter().map(|name| format!("({name})")));
        words.extend(self.is_read_only.then(|| "read only".to_owned()));
        words.extend(self.is_metadata.then(|| "metadata".to_owned()));
        tell("query", &words.join(" "));
        if !self.tables.is_empty() {
            tell("tables", &self.tables.join(", "));
        }
        tell("digest", &self.digest);
        self.parse_error.iter().for_each(|error| tell("doubt", error));
    }
}
