//! What a rule may answer, and what becomes of it.
//!
//! Promises that every answer, even the worst, ends in a [`Decision`] for a group that exists.
//! Knows nothing of Lua: `engine` hands it the answer in plain values.

use std::fmt;

use thiserror::Error;

use super::changes::{Changes, ENTRIES_MAX};
use super::priority::Priority;
use crate::config::OnError;
use crate::ids::{ClusterName, GroupName};

/// The longest name of a rule, in bytes: it becomes a label of metrics.
const RULE_MAX: usize = 64;
/// The longest reason, and the longest text of a refusal, in bytes: it is stored with each query.
const REASON_MAX: usize = 512;
/// How many clusters a message names at most.
const CLUSTERS_TOLD: usize = 20;
/// What an answer must be, for messages.
pub(super) const EXPECTED: &str = "expected nil, the name of a group, or a table such as \
     { group = \"…\", rule = \"…\", reason = \"…\" }";

/// Where a query goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The group. It exists.
    pub group: GroupName,
    /// Further groups, each for when those before it cannot take the query. They exist.
    pub others: Vec<GroupName>,
    /// The only cluster that may take it. Whether it exists is not known here.
    pub cluster: Option<ClusterName>,
    /// The text with which the query is refused.
    pub reject: Option<String>,
    /// What is changed of the request.
    pub changes: Changes,
    /// How soon it is let through if it is held, if the rules say so.
    pub priority: Option<Priority>,
    /// The rule that chose it, if it gave its name.
    pub rule: Option<String>,
    /// Why, in the rule's words.
    pub reason: Option<String>,
    /// What went wrong in the rules; then nothing else of them counts.
    pub error: Option<RuleFailure>,
}

impl Decision {
    /// For this group, and nothing more.
    pub fn of(group: GroupName) -> Self {
        Self {
            group,
            others: Vec::new(),
            cluster: None,
            reject: None,
            changes: Changes::default(),
            priority: None,
            rule: None,
            reason: None,
            error: None,
        }
    }
}

/// A call of the rules that gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{message}", Place(*line))]
pub struct RuleFailure {
    /// What sort of failure.
    pub kind: FailureKind,
    /// What happened, on one line.
    pub message: String,
    /// The line of the rules file, where it is known.
    pub line: Option<u32>,
}

/// Sorts of failures, as a metric names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// More time or more steps than a decision may take.
    Timeout,
    /// More memory than a machine may have.
    Memory,
    /// The script raised an error.
    Runtime,
    /// The answer has not the form of one.
    BadAnswer,
    /// The answer names a group that does not exist.
    UnknownGroup,
    /// The answer names a cluster that does not exist.
    UnknownCluster,
}

impl FailureKind {
    /// All of them, for a metric that shows each from the start.
    pub const ALL: [Self; 6] = [
        Self::Timeout,
        Self::Memory,
        Self::Runtime,
        Self::BadAnswer,
        Self::UnknownGroup,
        Self::UnknownCluster,
    ];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Runtime => "runtime",
            Self::BadAnswer => "bad_answer",
            Self::UnknownGroup => "unknown_group",
            Self::UnknownCluster => "unknown_cluster",
        }
    }
}

struct Place(Option<u32>);

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |line| write!(out, "line {line}: "))
    }
}

/// A value that a script gave, as far as an answer may hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Given {
    Text(String),
    /// A whole number.
    Whole(i64),
    Table(Box<Items>),
    /// Anything else: the name of its type.
    Other(&'static str),
}

/// What stands in a table of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Items {
    pub(super) list: Vec<Given>,
    pub(super) named: Vec<(Given, Given)>,
}

/// What a script answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nil,
    One(Given),
    Fields(Vec<(Given, Given)>),
}

/// The groups that an answer can name, and what becomes of one that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) default: GroupName,
    pub(super) known: Vec<GroupName>,
    pub(super) on_error: OnError,
}

impl Groups {
    /// Turns what a call of the rules gave into a decision.
    pub(super) fn decide(&self, outcome: Result<Answer, RuleFailure>) -> Decision {
        outcome.and_then(|answer| self.judge(answer)).unwrap_or_else(|failure| self.failed(failure))
    }

    /// What becomes of a query for which the rules failed.
    pub(super) fn failed(&self, failure: RuleFailure) -> Decision {
        let reject = match self.on_error {
            OnError::DefaultGroup => None,
            OnError::Reject => Some(format!(
                "the routing rules failed for this query ({}); ask the operators of the gateway",
                failure.kind.as_str()
            )),
        };
        Decision { reject, error: Some(failure), ..Decision::of(self.default.clone()) }
    }

    pub(super) fn find(&self, name: &str) -> Option<&GroupName> {
        self.known.iter().find(|group| group.as_str() == name)
    }

    /// The known groups, for a message.
    pub(super) fn list(&self) -> String {
        let names: Vec<_> = self.known.iter().map(|group| format!("`{group}`")).collect();
        names.join(", ")
    }

    pub(super) fn named(&self, name: &str) -> Result<GroupName, RuleFailure> {
        self.find(name).cloned().ok_or_else(|| RuleFailure {
            kind: FailureKind::UnknownGroup,
            message: format!("no group is named `{}`, known: {}", shown(name), self.list()),
            line: None,
        })
    }

    fn judge(&self, answer: Answer) -> Result<Decision, RuleFailure> {
        let mut decision = Decision::of(self.default.clone());
        match answer {
            Answer::Nil => {}
            Answer::One(Given::Text(name)) => decision.group = self.named(&name)?,
            Answer::One(other) => {
                return Err(bad(format!("`route` answered a {}, {EXPECTED}", kind_of(&other))));
            }
            Answer::Fields(fields) => self.take_all(&mut decision, fields)?,
        }
        Ok(decision)
    }

    fn take_all(
        &self,
        into: &mut Decision,
        fields: Vec<(Given, Given)>,
    ) -> Result<(), RuleFailure> {
        let mut places = Vec::new();
        for (key, value) in fields {
            let Given::Text(key) = key else {
                return Err(bad(format!("the answer has a {} as key, {EXPECTED}", kind_of(&key))));
            };
            places.extend(["group", "groups", "cluster"].into_iter().find(|place| *place == key));
            self.take(into, &key, value)?;
        }
        places.sort_unstable();
        if let [first, second, ..] = places[..] {
            return Err(bad(format!(
                "the answer has `{first}` and `{second}`, expected one of them"
            )));
        }
        Ok(())
    }

    fn take(&self, into: &mut Decision, key: &str, value: Given) -> Result<(), RuleFailure> {
        if let Some(taken) = into.changes.take(key, &value) {
            return taken.map_err(bad);
        }
        match key {
            "groups" => (into.group, into.others) = self.list_of_groups(value)?,
            "group" => into.group = self.named(&text(key, value)?)?,
            "cluster" => {
                let name = text(key, value)?;
                let named = ClusterName::parse(&name).map_err(|_| no_cluster(&name, &[]))?;
                into.cluster = Some(named);
            }
            "priority" => into.priority = Some(Priority::read(&value).map_err(bad)?),
            "reject" => into.reject = Some(short(key, text(key, value)?, REASON_MAX)?),
            "rule" => into.rule = Some(short(key, text(key, value)?, RULE_MAX)?),
            "reason" => into.reason = Some(short(key, text(key, value)?, REASON_MAX)?),
            _ => {
                let key = shown(key);
                return Err(bad(format!("the answer has an unknown field `{key}`, {EXPECTED}")));
            }
        }
        Ok(())
    }

    fn list_of_groups(&self, value: Given) -> Result<(GroupName, Vec<GroupName>), RuleFailure> {
        let wrong = || {
            let right = "expected a list of their names, as { \"bi\", \"olap\" }";
            bad(format!(
                "`groups` of the answer is not a list of 1 to {ENTRIES_MAX} groups, {right}"
            ))
        };
        let Given::Table(items) = value else { return Err(wrong()) };
        if !items.named.is_empty() || items.list.len() > ENTRIES_MAX {
            return Err(wrong());
        }
        let mut groups = Vec::new();
        for item in items.list {
            let Given::Text(name) = item else { return Err(wrong()) };
            let name = self.named(&name)?;
            if !groups.contains(&name) {
                groups.push(name);
            }
        }
        let mut groups = groups.into_iter();
        let first = groups.next().ok_or_else(wrong)?;
        Ok((first, groups.collect()))
    }
}

fn text(key: &str, value: Given) -> Result<String, RuleFailure> {
    match value {
        Given::Text(text) => Ok(text),
        other => {
            let kind = kind_of(&other);
            Err(bad(format!("`{key}` of the answer is a {kind}, expected a string")))
        }
    }
}

/// The type of a value, as Lua names it.
pub(super) fn kind_of(given: &Given) -> &'static str {
    match given {
        Given::Text(_) => "string",
        Given::Whole(_) => "number",
        Given::Table(_) => "table",
        Given::Other(kind) => kind,
    }
}

fn short(field: &str, text: String, max: usize) -> Result<String, RuleFailure> {
    if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
        return Err(bad(format!(
            "`{field}` of the answer is no text of 1 to {max} bytes without control characters"
        )));
    }
    Ok(text)
}

/// That an answer names a cluster that does not exist; `known` are those that do, where that is known.
pub(super) fn no_cluster(name: &str, known: &[ClusterName]) -> RuleFailure {
    let mut message = format!("no cluster is named `{}`", shown(name));
    if !known.is_empty() {
        let (told, more) = known.split_at(known.len().min(CLUSTERS_TOLD));
        let told: Vec<_> = told.iter().map(|name| format!("`{name}`")).collect();
        let more = if more.is_empty() { "" } else { " and more" };
        message = format!("{message}, known: {}{more}", told.join(", "));
    }
    RuleFailure { kind: FailureKind::UnknownCluster, message, line: None }
}

fn bad(message: String) -> RuleFailure {
    RuleFailure { kind: FailureKind::BadAnswer, message, line: None }
}

/// At most 40 characters of what a script said, without those that would break a line.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(40).map(|char| if char.is_control() { '?' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn text(text: &str) -> Given {
        Given::Text(text.to_owned())
    }

    fn check(answer: Answer, expected: Expect) {
        let name = |name| GroupName::parse(name).unwrap();
        let groups = Groups {
            default: name("bi"),
            known: vec![name("bi"), name("olap")],
            on_error: OnError::DefaultGroup,
        };
        let decision = groups.decide(Ok(answer));
        let failure =
            decision.error.map(|failure| format!(" {}: {failure}", failure.kind.as_str()));
        expected.assert_eq(&format!(
            "{} {:?} {:?}{}",
            decision.group,
            decision.rule,
            decision.reason,
            failure.unwrap_or_default()
        ));
    }

    #[test]
    fn what_answers_become() {
        check(Answer::Nil, expect!["bi None None"]);
        check(Answer::One(text("olap")), expect!["olap None None"]);
        check(Answer::Fields(vec![]), expect!["bi None None"]);
        check(
            Answer::Fields(vec![
                (text("group"), text("olap")),
                (text("rule"), text("querybook")),
                (text("reason"), text("the source says so")),
            ]),
            expect![[r#"olap Some("querybook") Some("the source says so")"#]],
        );
    }

    #[test]
    fn what_is_no_answer() {
        check(
            Answer::One(text("olpa\n")),
            expect!["bi None None unknown_group: no group is named `olpa?`, known: `bi`, `olap`"],
        );
        check(
            Answer::One(Given::Whole(7)),
            expect![[
                r#"bi None None bad_answer: `route` answered a number, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
            ]],
        );
        check(
            Answer::Fields(vec![(Given::Other("number"), text("bi"))]),
            expect![[
                r#"bi None None bad_answer: the answer has a number as key, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
            ]],
        );
        check(
            Answer::Fields(vec![(text("gruop"), text("bi"))]),
            expect![[
                r#"bi None None bad_answer: the answer has an unknown field `gruop`, expected nil, the name of a group, or a table such as { group = "…", rule = "…", reason = "…" }"#
            ]],
        );
        check(
            Answer::Fields(vec![(text("group"), Given::Other("table"))]),
            expect!["bi None None bad_answer: `group` of the answer is a table, expected a string"],
        );
        check(
            Answer::Fields(vec![(text("group"), text("olap")), (text("rule"), text(""))]),
            expect![
                "bi None None bad_answer: `rule` of the answer is no text of 1 to 64 bytes without control characters"
            ],
        );
        check(
            Answer::Fields(vec![(text("reason"), text(&"x".repeat(513)))]),
            expect![
                "bi None None bad_answer: `reason` of the answer is no text of 1 to 512 bytes without control characters"
            ],
        );
    }
}
