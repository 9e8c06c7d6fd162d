//! Writes `lua/tests/route.lua`: requests made of what conditions ask for, and the group that
//! each must get.
//!
//! What must come is not asked of the Lua: the rules are evaluated here once more, from their MVEL.
//! Only what can be made and evaluated for sure becomes a case; others are named in a comment.

mod evaluate;
mod wishes;

use std::collections::BTreeSet;

use self::evaluate::{Outcome, decide};
use self::wishes::{Request, wishes};
use super::lua::quoted;
use super::script::Understood;

/// The most cases: a thousand rules need no million of them.
const CASES_MAX: usize = 2000;

/// The file, and how many cases it has. `count` is how many rules there are.
pub(super) fn write(rules: &[Understood], count: usize) -> (String, usize) {
    let mut text = String::from(
        "-- What the migrated rules must do. Run with `warren rules test`. What is expected was reckoned from\n\
         -- the rules of the Java gateway, not from their translation.\n",
    );
    // A rule that is not translated may change what any request gets.
    if rules.len() < count {
        text.push_str("--\n-- Rules that are not translated count as if they were not there.\n");
    }
    let mut seen = BTreeSet::new();
    let mut untested: BTreeSet<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    let mut cases = 0;
    let mut add = |name: &str, request: &Request, outcome: &Outcome| {
        if cases < CASES_MAX && seen.insert(request.clone()) {
            text.push_str(&case(name, request, outcome));
            cases += 1;
        }
    };
    let plain = Request::default();
    let mut unsure = BTreeSet::new();
    match decide(rules, &plain) {
        Ok(outcome) => add("a request that says nothing of itself", &plain, &outcome),
        Err(rule) => {
            unsure.insert(rule);
        }
    }
    for rule in rules {
        for request in wishes(&rule.condition) {
            let outcome = match decide(rules, &request) {
                Ok(outcome) => outcome,
                Err(rule) => {
                    unsure.insert(rule);
                    continue;
                }
            };
            let fires = outcome.fired.contains(&rule.name);
            if fires {
                untested.remove(rule.name.as_str());
            }
            let word = if fires { "fires" } else { "does not fire" };
            add(&format!("rule {} {word}", rule.name), &request, &outcome);
        }
    }
    if !untested.is_empty() {
        text.push_str("\n-- Without a case of their own, since no request could be made of their conditions:\n");
        for name in untested {
            text.extend(["--   ", name, "\n"]);
        }
    }
    if !unsure.is_empty() {
        text.push_str(
            "\n-- It is not sure what these rules do with some requests, so those have no case:\n",
        );
        for name in unsure {
            text.extend(["--   ", name, "\n"]);
        }
    }
    (text, cases)
}

fn case(name: &str, request: &Request, outcome: &Outcome) -> String {
    let mut text = format!("\ncase {} {{\n", quoted(name));
    if !request.headers.is_empty() {
        let headers = request.headers.iter();
        let headers =
            headers.map(|(name, value)| format!("[{}] = {}", quoted(name), quoted(value)));
        let headers = headers.collect::<Vec<_>>().join(", ");
        text.push_str(&["  headers = { ", &headers, " },\n"].concat());
    }
    if let Some(table) = &request.table {
        let query = quoted(&format!("SELECT * FROM {table}"));
        text.push_str(&["  query = ", &query, ",\n"].concat());
    }
    let expected = match (&outcome.group, &outcome.rule) {
        (Some(group), Some(rule)) => {
            format!("group = {}, rule = {}", quoted(group), quoted(rule))
        }
        _ => "group = default_group".to_owned(),
    };
    text.push_str(&["  expect = { ", &expected, " },\n}\n"].concat());
    text
}
