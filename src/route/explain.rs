//! A question to the rules, and their answer in the words of operators.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::facts::{Facts, Statement, analysed};
use super::priority::Priority;
use super::rules::RuleSet;
use super::standing::Standings;
use super::verdict::Decision;
use crate::sql::{Analysis, Kind};

/// A submit that nobody sends.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    /// Names and values.
    pub headers: Vec<(String, String)>,
    /// The statement.
    pub query: Option<String>,
    /// `X-Trino-User`.
    pub user: Option<String>,
    /// The address of the client; this machine's without it.
    pub remote_addr: Option<IpAddr>,
    /// The name of the port; `client` without it.
    pub listener: Option<String>,
}

/// The head of a [`Question`], and what its statement is and touches.
#[derive(Debug)]
pub struct Asked {
    question: Question,
    headers: HeaderMap,
    statement: Statement,
}

impl Question {
    /// Reads the statement. An error: what cannot be a header.
    pub fn ask(self) -> Result<Asked, String> {
        let user = self.user.iter().map(|user| ("X-Trino-User", user));
        let headers = self.headers.iter().map(|(name, value)| (name.as_str(), value));
        let is_user = |name: &str| name.eq_ignore_ascii_case("X-Trino-User");
        let headers = headers.filter(|(name, _)| self.user.is_none() || !is_user(name));
        let mut map = HeaderMap::new();
        for (name, value) in headers.chain(user) {
            let parsed = (HeaderName::try_from(name), HeaderValue::try_from(value));
            let (Ok(header), Ok(value)) = parsed else {
                return Err(format!("`{name}` with its value is no header"));
            };
            if map.try_append(header, value).is_err() {
                return Err("these are more headers than a request can have".to_owned());
            }
        }
        let mut statement = Statement::default();
        if let Some(text) = &self.query {
            statement.text = text.clone().into();
            statement.analysis = Some(Arc::new(analysed(&statement, &map)));
        }
        Ok(Asked { question: self, headers: map, statement })
    }
}

impl Asked {
    /// What rules see of it.
    pub fn facts(&self, standings: Arc<dyn Standings>) -> Facts<'_> {
        let plain = Facts::plain(&self.headers);
        Facts {
            remote_addr: self.question.remote_addr.unwrap_or(plain.remote_addr),
            listener: self.question.listener.as_deref().unwrap_or(plain.listener),
            statement: self.statement.clone(),
            standings,
            ..plain
        }
    }

    /// What the rules decided about it.
    pub fn told(&self, decision: Decision, rules: &RuleSet) -> Told {
        let wished = std::iter::once(&decision.group).chain(&decision.others);
        let wished = wished.filter(|_| !decision.others.is_empty());
        Told {
            groups: wished.map(ToString::to_string).collect(),
            group: decision.group.to_string(),
            rule: decision.rule,
            reason: decision.reason,
            error: decision.error.map(|failure| failure.to_string()),
            reject: decision.reject,
            pinned: decision.cluster.map(|name| name.to_string()),
            changes: ChangesTold::of(decision.changes),
            priority: decision.priority.map(Priority::number),
            query: self.statement.analysis.as_deref().map(QueryTold::of),
            rules_version: rules.version().to_string(),
        }
    }
}

/// A decision for operators.
#[derive(Debug, Serialize)]
pub struct Told {
    /// The group.
    pub group: String,
    /// The rule that chose it.
    pub rule: Option<String>,
    /// Why, in the rule's words.
    pub reason: Option<String>,
    /// What went wrong in the rules.
    pub error: Option<String>,
    /// The text with which the rules refuse the query.
    pub reject: Option<String>,
    /// The groups that the rules named, in their order, if several.
    pub groups: Vec<String>,
    /// The only cluster that the rules let have it.
    pub pinned: Option<String>,
    /// What the rules change of the request.
    pub changes: ChangesTold,
    /// How soon it is let through if it is held, if the rules say so.
    pub priority: Option<u8>,
    /// What rules see of the statement, if one is given.
    pub query: Option<QueryTold>,
    /// Which rules these are.
    pub rules_version: String,
}

/// What the rules change of the request.
#[derive(Debug, Serialize)]
pub struct ChangesTold {
    set_headers: BTreeMap<String, String>,
    remove_headers: Vec<String>,
    add_client_tags: Vec<String>,
    set_session: BTreeMap<String, String>,
    set_source: Option<String>,
}

impl ChangesTold {
    fn of(changes: Changes) -> Self {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let set = changes.set.iter().map(|(name, value)| (name.to_string(), text(value)));
        Self {
            set_headers: set.collect(),
            remove_headers: changes.remove.iter().map(ToString::to_string).collect(),
            add_client_tags: changes.tags,
            set_session: changes.session.into_iter().collect(),
            set_source: changes.source.as_ref().map(text),
        }
    }
}

/// What a statement is and touches.
#[derive(Debug, Serialize)]
pub struct QueryTold {
    kind: Option<&'static str>,
    #[serde(rename = "type")]
    statement_type: Option<&'static str>,
    tables: Vec<String>,
    is_read_only: bool,
    is_metadata: bool,
    digest: String,
    parse_error: Option<String>,
}

impl QueryTold {
    fn of(known: &Analysis<'_>) -> Self {
        Self {
            kind: known.kind.map(Kind::as_str),
            statement_type: known.statement_type,
            tables: known.tables.iter().map(ToString::to_string).collect(),
            is_read_only: known.is_read_only,
            is_metadata: known.is_metadata,
            digest: known.digest().to_owned(),
            parse_error: known.parse_error.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_with_too_many_headers_is_told_so() {
        let headers = (0..40_000).map(|index| (format!("x-{index}"), String::new())).collect();
        let told = Question { headers, ..Question::default() }.ask().unwrap_err();
        assert_eq!(told, "these are more headers than a request can have");
    }
}
