//! What a rule may answer, and what becomes of it.
//!
//! Promises that every answer, even the worst, ends in a [`Decision`] for a group that exists.
//! Knows nothing of Lua: `engine` hands it the answer in plain values.

use std::fmt;

use thiserror::Error;

use crate::ids::GroupName;

/// The longest name of a rule, in bytes: it becomes a label of metrics.
const RULE_MAX: usize = 64;
/// The longest reason, in bytes: it is stored with each query.
const REASON_MAX: usize = 512;
/// What an answer must be, for messages.
pub(super) const EXPECTED: &str = "expected nil, the name of a group, or a table such as \
     { group = \"…\", rule = \"…\", reason = \"…\" }";

/// Where a query goes, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The group. It exists.
    pub group: GroupName,
    /// The rule that chose it, if it gave its name.
    pub rule: Option<String>,
    /// Why, in the rule's words.
    pub reason: Option<String>,
    /// What went wrong in the rules; then `group` is the default group.
    pub error: Option<RuleFailure>,
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
}

impl FailureKind {
    /// All of them, for a metric that shows each from the start.
    pub const ALL: [Self; 5] =
        [Self::Timeout, Self::Memory, Self::Runtime, Self::BadAnswer, Self::UnknownGroup];

    /// The label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Runtime => "runtime",
            Self::BadAnswer => "bad_answer",
            Self::UnknownGroup => "unknown_group",
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
    /// Anything else: the name of its type.
    Other(&'static str),
}

/// What a script answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nil,
    One(Given),
    Fields(Vec<(Given, Given)>),
}

/// The groups that an answer can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) default: GroupName,
    pub(super) known: Vec<GroupName>,
}

impl Groups {
    /// Turns what a call of the rules gave into a decision.
    pub(super) fn decide(&self, outcome: Result<Answer, RuleFailure>) -> Decision {
        outcome.and_then(|answer| self.judge(answer)).unwrap_or_else(|failure| Decision {
            group: self.default.clone(),
            rule: None,
            reason: None,
            error: Some(failure),
        })
    }

    pub(super) fn find(&self, name: &str) -> Option<&GroupName> {
        self.known.iter().find(|group| group.as_str() == name)
    }

    /// The known groups, for a message.
    pub(super) fn list(&self) -> String {
        let names: Vec<_> = self.known.iter().map(|group| format!("`{group}`")).collect();
        names.join(", ")
    }

    fn judge(&self, answer: Answer) -> Result<Decision, RuleFailure> {
        let mut decision =
            Decision { group: self.default.clone(), rule: None, reason: None, error: None };
        match answer {
            Answer::Nil => {}
            Answer::One(Given::Text(name)) => decision.group = self.named(&name)?,
            Answer::One(Given::Other(kind)) => {
                return Err(bad(format!("`route` answered a {kind}, {EXPECTED}")));
            }
            Answer::Fields(fields) => {
                for (key, value) in fields {
                    self.take(&mut decision, key, value)?;
                }
            }
        }
        Ok(decision)
    }

    fn take(&self, into: &mut Decision, key: Given, value: Given) -> Result<(), RuleFailure> {
        let key = match key {
            Given::Text(key) => key,
            Given::Other(kind) => {
                return Err(bad(format!("the answer has a {kind} as key, {EXPECTED}")));
            }
        };
        let value = match value {
            Given::Text(value) => value,
            Given::Other(kind) => {
                let key = shown(&key);
                return Err(bad(format!("`{key}` of the answer is a {kind}, expected a string")));
            }
        };
        match key.as_str() {
            "group" => into.group = self.named(&value)?,
            "rule" => into.rule = Some(short("rule", value, RULE_MAX)?),
            "reason" => into.reason = Some(short("reason", value, REASON_MAX)?),
            _ => {
                let key = shown(&key);
                return Err(bad(format!("the answer has an unknown field `{key}`, {EXPECTED}")));
            }
        }
        Ok(())
    }

    fn named(&self, name: &str) -> Result<GroupName, RuleFailure> {
        self.find(name).cloned().ok_or_else(|| RuleFailure {
            kind: FailureKind::UnknownGroup,
            message: format!("no group is named `{}`, known: {}", shown(name), self.list()),
            line: None,
        })
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

fn bad(message: String) -> RuleFailure {
    RuleFailure { kind: FailureKind::BadAnswer, message, line: None }
}

/// At most 40 characters of what a script said, without those that would break a line.
fn shown(text: &str) -> String {
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
        let groups = Groups { default: name("bi"), known: vec![name("bi"), name("olap")] };
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
            Answer::One(Given::Other("number")),
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
