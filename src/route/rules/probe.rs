//! Asks a new rule set before it is in force: what are its answers to requests as real clients send
//! them, and are they the same when asked again?

use std::sync::LazyLock;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use regex::Regex;

use super::{RuleSet, RuleWarning, Source};
use crate::route::engine::{Loaded, Machine, Run, settled};
use crate::route::facts::Facts;
use crate::route::services::offline;
use crate::route::verdict::{Decision, FailureKind, RuleFailure};
use crate::time::{self, thread_cpu};

/// The most warnings that are kept of one rule set.
const WARNINGS_MAX: usize = 20;
/// How often work is measured before it counts as too long.
const TRIES: usize = 3;

/// Header lines.
type Lines = &'static [(&'static str, &'static [u8])];

/// Clients hardly send it: a wrong answer to it alone is a warning.
const NOT_UTF8: &str = "a request whose headers are not UTF-8";

/// The first is the plain one: what does not work for it works for nobody.
const PROBES: &[(&str, Lines)] = &[
    ("a request without headers", &[]),
    ("Superset", &[("x-trino-user", b"ana"), ("x-trino-source", b"Apache Superset")]),
    ("the Python client", &[("x-trino-user", b"ana"), ("x-trino-source", b"trino-python-client")]),
    ("Zeppelin", &[("x-trino-user", b"ana"), ("x-trino-source", b"zeppelin-note-1")]),
    (
        "the Trino CLI with tags",
        &[
            ("x-trino-user", b"ana"),
            ("x-trino-source", b"trino-cli"),
            ("x-trino-client-tags", b"etl,night"),
            ("x-trino-catalog", b"tpch"),
            ("x-trino-schema", b"tiny"),
            ("x-trino-routing-group", b"none-of-that-name"),
        ],
    ),
    (
        "a request with empty headers",
        &[
            ("x-trino-user", b""),
            ("x-trino-source", b""),
            ("x-trino-client-tags", b""),
            ("x-trino-catalog", b""),
            ("x-trino-schema", b""),
        ],
    ),
    (
        NOT_UTF8,
        &[
            ("x-trino-user", b"\xff"),
            ("x-trino-source", b"\xff\xfe"),
            ("x-trino-client-tags", b"\xc3"),
        ],
    ),
];

static GROUP_LITERAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?:\bgroup\s*=\s*|^\s*return\s+)["']([A-Za-z0-9][A-Za-z0-9._-]{0,63})["']"#)
        .expect("a constant pattern")
});
static ROUTE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\bfunction\s+route\b|\broute\s*=").expect("a constant pattern"));

static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"request:header\(\s*["']([A-Za-z0-9-]+)["']"#).expect("a constant pattern")
});

/// Asks each probe twice, and tells what may go wrong. The rules file is the first of the `sources`. An
/// error: the set must not come into force.
pub(super) fn run(
    machine: &Machine,
    rules: &RuleSet,
    sources: &[Source<'_>],
) -> Result<Vec<RuleWarning>, RuleFailure> {
    let mut findings = unknown_literals(rules, sources);
    let script = sources.first().map_or("", |source| source.text);
    let found = |line, message| RuleWarning { chunk: rules.chunk().to_owned(), line, message };
    let mut last_failure = None;
    let mut some_worked = false;
    for (index, (name, headers)) in PROBES.iter().enumerate() {
        let decision = ask_twice(machine, rules, (name, headers), script)?;
        let Some(failure) = decision.error else {
            some_worked = true;
            continue;
        };
        match failure.kind {
            FailureKind::UnknownGroup | FailureKind::UnknownCluster if index > 0 => {}
            FailureKind::BadAnswer if *name == NOT_UTF8 => {}
            FailureKind::Timeout
            | FailureKind::Memory
            | FailureKind::BadAnswer
            | FailureKind::UnknownGroup
            | FailureKind::UnknownCluster => return Err(located(failure, script)),
            FailureKind::Runtime => {
                let message = format!("failed for {name}: {}", failure.message);
                findings.push(found(failure.line, message));
                last_failure = Some(failure);
                continue;
            }
        }
        some_worked = true;
        if !findings.iter().any(|finding| finding.message.contains(&failure.message)) {
            findings.push(found(failure.line, failure.message));
        }
    }
    match last_failure {
        Some(failure) if !some_worked && !works_with_its_headers(machine, rules, sources) => {
            Err(failure)
        }
        _ => {
            findings.truncate(WARNINGS_MAX);
            Ok(findings)
        }
    }
}

/// Whether the rules work for a request that has all headers that they name: some do for nobody else.
fn works_with_its_headers(machine: &Machine, rules: &RuleSet, sources: &[Source<'_>]) -> bool {
    let mut headers = HeaderMap::new();
    for (_, code) in sources.iter().flat_map(|source| lines(source.text)) {
        for found in HEADER.captures_iter(code) {
            if let Ok(name) = HeaderName::from_bytes(found[1].as_bytes()) {
                headers.insert(name, HeaderValue::from_static("1"));
            }
        }
    }
    !headers.is_empty() && machine.call(rules, &Facts::plain(&headers)).is_ok()
}

fn ask_twice(
    machine: &Machine,
    rules: &RuleSet,
    (name, headers): (&str, Lines),
    script: &str,
) -> Result<Decision, RuleFailure> {
    let lines = headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::from_static(name), HeaderValue::from_bytes(value).ok()?))
    });
    let headers: HeaderMap = lines.collect();
    // One time for both: an hour may end between them.
    let facts = Facts { local_time: Some(time::local()), ..Facts::plain(&headers) };
    let limit = rules.limits().cpu;
    // Each run by itself: rules that ask a service run once more with what they heard.
    let run = |facts: &Facts<'_>| {
        let timed = || {
            timed(|| match machine.run(rules, facts) {
                Run::Done(outcome) => outcome.map(|answer| Run::Done(Ok(answer))),
                asks @ Run::Asks(_) => Ok(asks),
            })
        };
        within(limit, timed).unwrap_or_else(|failure| Run::Done(Err(failure)))
    };
    let ask = || match settled(&facts, run, offline) {
        Err(failure) if is_excess(failure.kind) => Err(located(failure, script)),
        outcome => Ok(rules.groups().decide(outcome)),
    };
    let (first, second) = (ask()?, ask()?);
    if first == second {
        return Ok(first);
    }
    let message = format!(
        "`route` answered differently when asked twice about {name}, expected the same answer \
         (keep nothing between requests)"
    );
    Err(located(RuleFailure { kind: FailureKind::BadAnswer, message, line: None }, script))
}

fn is_excess(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Timeout | FailureKind::Memory)
}

/// Runs the file on a new machine.
pub(super) fn load(rules: &RuleSet) -> Result<Loaded, RuleFailure> {
    within(rules.limits().of_loading().cpu, || {
        let loaded = Machine::load(rules)?;
        Ok((loaded.spent, loaded))
    })
}

fn timed<R>(work: impl FnOnce() -> Result<R, RuleFailure>) -> Result<(Duration, R), RuleFailure> {
    let before = thread_cpu();
    let result = work()?;
    Ok((thread_cpu().saturating_sub(before), result))
}

/// Refuses work that its limit of processor time ended, or that took more than twice of it without
/// being ended: it holds a long run of lines in which nobody asks the guard.
///
/// It is refused only when it takes too long each time.
fn within<R>(
    limit: Duration,
    mut work: impl FnMut() -> Result<(Duration, R), RuleFailure>,
) -> Result<R, RuleFailure> {
    again(|| match work()? {
        (spent, result) if spent <= limit * 2 => Ok(result),
        (spent, _) => {
            let message =
                format!("the rules took {spent:?} of processor time, expected at most {limit:?}");
            Err(RuleFailure { kind: FailureKind::Timeout, message, line: None })
        }
    })
}

/// Tries anew what took too long: a busy host charges a thread for what others took.
pub(in crate::route) fn again<R>(
    mut attempt: impl FnMut() -> Result<R, RuleFailure>,
) -> Result<R, RuleFailure> {
    let mut outcome = attempt();
    for _ in 1..TRIES {
        if !matches!(&outcome, Err(failure) if failure.kind == FailureKind::Timeout) {
            break;
        }
        outcome = attempt();
    }
    outcome
}

/// The names of groups that stand in the rules as texts and exist nowhere, with their lines.
///
/// A hint for what no probe reaches. It reads lines, not Lua, so it only ever warns.
fn unknown_literals(rules: &RuleSet, sources: &[Source<'_>]) -> Vec<RuleWarning> {
    let mut findings: Vec<RuleWarning> = Vec::new();
    for Source { chunk, text } in sources {
        for (line, code) in lines(text) {
            for found in GROUP_LITERAL.captures_iter(code) {
                let name = &found[1];
                if rules.groups().find(name).is_some() {
                    continue;
                }
                let message =
                    format!("no group is named `{name}`, known: {}", rules.groups().list());
                if !findings.iter().any(|finding| finding.message == message) {
                    let chunk = (*chunk).to_owned();
                    findings.push(RuleWarning { chunk, line: Some(line), message });
                }
            }
        }
    }
    findings
}

/// Gives a failure without a line that of `route`, or of the unknown group it speaks of.
fn located(mut failure: RuleFailure, script: &str) -> RuleFailure {
    if failure.line.is_none() && failure.kind == FailureKind::UnknownGroup {
        failure.line = lines(script)
            .find(|(_, code)| {
                let mut names = GROUP_LITERAL.captures_iter(code);
                names.any(|name| failure.message.contains(&format!("`{}`,", &name[1])))
            })
            .map(|(line, _)| line);
    }
    failure.line =
        failure.line.or_else(|| Some(lines(script).find(|(_, code)| ROUTE.is_match(code))?.0));
    failure
}

/// The lines of a script without their comments.
fn lines(script: &str) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(script.lines().map(|line| line.split("--").next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(2);

    /// What becomes of work that takes these milliseconds, try by try, and how often it was tried.
    fn tried(spent: &[u64]) -> (Result<usize, RuleFailure>, usize) {
        let mut tries = 0;
        let outcome = within(LIMIT, || {
            tries += 1;
            Ok((Duration::from_millis(spent[tries - 1]), tries))
        });
        (outcome, tries)
    }

    #[test]
    fn work_is_refused_only_when_it_is_slow_each_time() {
        assert_eq!(tried(&[4]), (Ok(1), 1));
        assert_eq!(tried(&[5, 90, 3]), (Ok(3), 3));
        let (refused, tries) = tried(&[5, 90, 6]);
        let refused = refused.unwrap_err();
        assert_eq!((refused.kind, tries), (FailureKind::Timeout, 3));
        assert_eq!(refused.message, "the rules took 6ms of processor time, expected at most 2ms");
    }

    #[test]
    fn other_failures_are_told_at_once() {
        let mut tries = 0;
        let outcome = within::<()>(LIMIT, || {
            tries += 1;
            Err(RuleFailure { kind: FailureKind::Memory, message: String::new(), line: None })
        });
        assert_eq!((outcome.unwrap_err().kind, tries), (FailureKind::Memory, 1));
    }
}
