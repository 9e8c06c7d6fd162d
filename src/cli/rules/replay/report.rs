//! What a replay found, in words and as JSON. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::tally::{Crowd, Move, Place, Tally, Trouble, most_first};
use crate::cli::rules::versions::time;
use crate::cli::table::{Table, or_dash, plain};

/// How many lines a table has; JSON has all.
const LINES: usize = 20;
/// How many users and sources of a move are named.
const NAMES: usize = 3;

/// Which rules were asked about which queries.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    pub(super) rules_file: String,
    pub(super) rules_version: String,
    pub(super) store: String,
    /// Where the queries begin, in milliseconds since 1970.
    pub(super) since_ms: u64,
    /// How many rows were read, the newest ones, if there are more.
    pub(super) limit: Option<u32>,
}

/// What a replay found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    asked: Frame,
    queries: u64,
    unchanged: u64,
    by_another_rule: u64,
    moved: u64,
    refused: u64,
    failed: u64,
    moves: Vec<MoveTold>,
    failures: Vec<FailureTold>,
    /// What rules asked for and was not recorded, and for how many queries.
    unrecorded: BTreeMap<String, u64>,
    /// What to bear in mind.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct MoveTold {
    from: String,
    /// `None`: the queries are refused.
    to: Option<String>,
    old_rule: Option<String>,
    new_rule: Option<String>,
    queries: u64,
    users: usize,
    top_users: Vec<Named>,
    sources: usize,
    top_sources: Vec<Named>,
    example: String,
}

#[derive(Debug, Serialize)]
struct Named {
    name: String,
    queries: u64,
}

#[derive(Debug, Serialize)]
struct FailureTold {
    line: Option<u32>,
    kind: &'static str,
    error: String,
    queries: u64,
    example: String,
}

impl Report {
    pub(super) fn of(tally: Tally, frame: Frame) -> Self {
        Self {
            queries: tally.queries,
            unchanged: tally.unchanged,
            by_another_rule: tally.by_another_rule,
            moved: tally.moved,
            refused: tally.refused,
            failed: tally.failed,
            moves: tally.moves().into_iter().map(MoveTold::of).collect(),
            failures: tally.failures().into_iter().map(FailureTold::of).collect(),
            notes: notes(&tally, frame.limit),
            unrecorded: tally.unrecorded,
            asked: frame,
        }
    }

    /// What happens to how many queries, to whose, and what to bear in mind.
    pub(super) fn in_words(&self) -> String {
        let Frame { rules_file, rules_version, store, since_ms, .. } = &self.asked;
        let mut text = [
            "rules    ",
            &plain(rules_file),
            ", version ",
            rules_version,
            "\nhistory  ",
            &plain(store),
            ", since ",
            &time(*since_ms),
            "\n\n",
            &self.sums(),
        ]
        .concat();
        for table in [self.moves(), self.failures()].into_iter().flatten() {
            text.push('\n');
            text.push_str(&table);
        }
        for (place, note) in self.notes.iter().enumerate() {
            text.push_str(if place == 0 { "\nnote: " } else { "note: " });
            text.push_str(&plain(note));
            text.push('\n');
        }
        text
    }

    fn sums(&self) -> String {
        let mut table = Table::new(["", "QUERIES", "%"]);
        for (name, queries) in [
            ("unchanged", self.unchanged),
            ("moved", self.moved),
            ("refused", self.refused),
            ("rules fail", self.failed),
            ("all", self.queries),
        ] {
            table.push([name.to_owned(), queries.to_string(), self.share(queries)]);
        }
        table.render()
    }

    fn moves(&self) -> Option<String> {
        let head = ["FROM", "TO", "RULE", "QUERIES", "%", "USERS", "MOST", "SOURCES", "EXAMPLE"];
        let mut table = Table::new(head);
        for told in self.moves.iter().take(LINES) {
            let [old, new] = [&told.old_rule, &told.new_rule].map(|rule| or_dash(rule.as_ref()));
            table.push([
                told.from.clone(),
                told.to.clone().unwrap_or_else(|| "(refused)".to_owned()),
                format!("{old} → {new}"),
                told.queries.to_string(),
                self.share(told.queries),
                told.users.to_string(),
                named(&told.top_users, told.users),
                named(&told.top_sources, told.sources),
                told.example.clone(),
            ]);
        }
        with_rest(table.render(), self.moves.iter().map(|told| told.queries))
    }

    fn failures(&self) -> Option<String> {
        let mut table = Table::new(["LINE", "FAILURE", "QUERIES", "EXAMPLE", "ERROR"]);
        for told in self.failures.iter().take(LINES) {
            table.push([
                or_dash(told.line),
                told.kind.to_owned(),
                told.queries.to_string(),
                told.example.clone(),
                told.error.clone(),
            ]);
        }
        with_rest(table.render(), self.failures.iter().map(|told| told.queries))
    }

    /// The part of all queries, in percent.
    fn share(&self, queries: u64) -> String {
        let all = self.queries.max(1);
        let tenths = (queries * 1000 + all / 2) / all;
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}

/// A table, and how much it leaves out of lines of so many queries; `None`: there are no lines.
fn with_rest(table: String, queries: impl ExactSizeIterator<Item = u64>) -> Option<String> {
    let lines = queries.len();
    if lines == 0 {
        return None;
    }
    if lines <= LINES {
        return Some(table);
    }
    let left: u64 = queries.skip(LINES).sum();
    Some(format!("{table}… and {} more, of {left} queries\n", lines - LINES))
}

fn named(top: &[Named], all: usize) -> String {
    let names = top.iter().map(|Named { name, queries }| format!("{name} {queries}"));
    let more = (all > top.len()).then(|| "…".to_owned());
    let told: Vec<_> = names.chain(more).collect();
    if told.is_empty() { "-".to_owned() } else { told.join(", ") }
}

impl MoveTold {
    fn of((made, crowd): (&Move, &Crowd)) -> Self {
        let Move { from, to, old_rule, new_rule } = made.clone();
        Self {
            from,
            to,
            old_rule,
            new_rule,
            queries: crowd.queries,
            users: crowd.users.len(),
            top_users: top(&crowd.users),
            sources: crowd.sources.len(),
            top_sources: top(&crowd.sources),
            example: crowd.example.clone(),
        }
    }
}

fn top(names: &BTreeMap<String, u64>) -> Vec<Named> {
    let most = most_first(names, |queries| *queries).into_iter().take(NAMES);
    most.map(|(name, queries)| Named { name: name.clone(), queries: *queries }).collect()
}

impl FailureTold {
    fn of(((line, kind), trouble): (&Place, &Trouble)) -> Self {
        Self {
            line: *line,
            kind: *kind,
            error: trouble.message.clone(),
            queries: trouble.queries,
            example: trouble.example.clone(),
        }
    }
}

fn notes(tally: &Tally, limit: Option<u32>) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(limit) = limit {
        notes.push(format!(
            "of that time the {limit} newest rows of the history alone were read; --limit sets how many"
        ));
    }
    if !tally.unrecorded.is_empty() {
        let facts = tally.unrecorded.iter().map(|(fact, queries)| format!("{fact} ({queries})"));
        let facts: Vec<_> = facts.collect();
        notes.push(format!(
            "not recorded, and so absent for rules that asked for it (of so many queries): {}",
            facts.join(", ")
        ));
    }
    for (queries, what, more) in [
        (tally.by_another_rule, "unchanged queries for which another rule is the reason", ""),
        (
            tally.older,
            "queries of an older Warren",
            "; it recorded of headers the user alone, and source and client tags as its rules left them; \
             hours and weekdays are by the time zone of this machine",
        ),
        (
            tally.elsewhere,
            "queries that ran in another group than the rules had named, by a fallback or for a transaction",
            "; what the rules had named is compared",
        ),
        (tally.ends_alone, "rows left out, since they tell of the end of a query alone", ""),
    ] {
        if queries > 0 {
            notes.push(format!("{what}: {queries}{more}"));
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::history::record::Request;
    use crate::ids::GroupName;
    use crate::route::verdict::{Decision, FailureKind, RuleFailure};
    use crate::store::HistoryRow;

    /// A query of `user` with `source`, that the rule of then sent to `group`.
    fn row(number: u64, [user, source, group, rule]: [&str; 4]) -> HistoryRow {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let lines = text(source).into_iter().map(|line| ("x-trino-source".to_owned(), vec![line]));
        HistoryRow {
            query_id: format!("20260101_000000_{number:05}_abcde"),
            held_id: None,
            cluster: "bi-blue".to_owned(),
            group: group.to_owned(),
            rule: text(rule),
            user: text(user),
            source: Some("what the rules made of it".to_owned()),
            tags: None,
            request: Some(Request { headers: lines.collect(), ..Request::bare() }),
            statement: "SELECT 1".to_owned(),
            submitted_ms: Some(5),
            ended_ms: None,
            end_cause: None,
            state: None,
            error: None,
        }
    }

    fn to(group: &str, rule: &str) -> Decision {
        let rule = (!rule.is_empty()).then(|| rule.to_owned());
        Decision { rule, ..Decision::of(GroupName::parse(group).unwrap()) }
    }

    fn refused(rule: &str) -> Decision {
        Decision { reject: Some("no".to_owned()), ..to("bi", rule) }
    }

    fn failed(line: Option<u32>, message: &str) -> Decision {
        let kind = FailureKind::Runtime;
        let failure = RuleFailure { kind, message: message.to_owned(), line };
        Decision { error: Some(failure), ..to("bi", "") }
    }

    fn frame(limit: Option<u32>) -> Frame {
        Frame {
            rules_file: "new.lua".to_owned(),
            rules_version: "5f0c1a9e1234".to_owned(),
            store: "sqlite:warren.db".to_owned(),
            since_ms: 1_767_225_600_000,
            limit,
        }
    }

    /// What a replay of these queries, the newest first, says.
    fn check(queries: &[([&str; 4], Decision)], limit: Option<u32>, expected: Expect) {
        let mut tally = Tally::default();
        for (number, (query, now)) in (1..=queries.len() as u64).rev().zip(queries) {
            tally.add(&row(number, *query), now);
        }
        expected.assert_eq(&Report::of(tally, frame(limit)).in_words());
    }

    #[test]
    fn moves_are_grouped_by_groups_and_rules() {
        check(
            &[
                (["ana", "dbt", "bi", "etl"], to("olap", "nightly")),
                (["ben", "dbt", "bi", "etl"], to("olap", "nightly")),
                (["ana", "", "bi", "etl"], to("olap", "nightly")),
                (["ana", "cli", "bi", ""], to("olap", "nightly")),
                (["ana", "cli", "bi", ""], to("bi", "")),
                (["ana", "cli", "olap", "a"], to("olap", "b")),
                (["", "cli", "olap", "a"], refused("ddl")),
                (["eve", "cli", "olap", "a"], failed(Some(3), "oh\u{1b}")),
                (["eve", "cli", "olap", "a"], failed(Some(3), "ah")),
                (["eve", "cli", "olap", "a"], failed(None, "hm")),
            ],
            None,
            expect![[r#"
                rules    new.lua, version 5f0c1a9e1234
                history  sqlite:warren.db, since 2026-01-01T00:00:00Z

                            QUERIES      %
                unchanged         2   20.0
                moved             4   40.0
                refused           1   10.0
                rules fail        3   30.0
                all              10  100.0

                FROM  TO         RULE           QUERIES     %  USERS  MOST          SOURCES  EXAMPLE
                bi    olap       etl → nightly        3  30.0      2  ana 2, ben 1  dbt 2    20260101_000000_00010_abcde
                bi    olap       - → nightly          1  10.0      1  ana 1         cli 1    20260101_000000_00007_abcde
                olap  (refused)  a → ddl              1  10.0      0  -             cli 1    20260101_000000_00004_abcde

                LINE  FAILURE  QUERIES  EXAMPLE                      ERROR
                   3  runtime        2  20260101_000000_00003_abcde  oh�
                   -  runtime        1  20260101_000000_00001_abcde  hm

                note: unchanged queries for which another rule is the reason: 1
            "#]],
        );
    }

    #[test]
    fn long_lists_are_cut_and_say_so() {
        let users: Vec<String> = (0..25).map(|number| format!("u{number}")).collect();
        let mut queries = Vec::new();
        for (place, user) in users.iter().map(String::as_str).enumerate() {
            queries.push(([user, "dbt", "bi", user], to("olap", "")));
            if place < 5 {
                queries.push(([user, "dbt", "bi", ""], to("olap", "")));
            }
        }
        check(
            &queries,
            Some(30),
            expect![[r#"
                rules    new.lua, version 5f0c1a9e1234
                history  sqlite:warren.db, since 2026-01-01T00:00:00Z

                            QUERIES      %
                unchanged         0    0.0
                moved            30  100.0
                refused           0    0.0
                rules fail        0    0.0
                all              30  100.0

                FROM  TO    RULE     QUERIES     %  USERS  MOST                 SOURCES  EXAMPLE
                bi    olap  - → -          5  16.7      5  u0 1, u1 1, u2 1, …  dbt 5    20260101_000000_00029_abcde
                bi    olap  u0 → -         1   3.3      1  u0 1                 dbt 1    20260101_000000_00030_abcde
                bi    olap  u1 → -         1   3.3      1  u1 1                 dbt 1    20260101_000000_00028_abcde
                bi    olap  u10 → -        1   3.3      1  u10 1                dbt 1    20260101_000000_00015_abcde
                bi    olap  u11 → -        1   3.3      1  u11 1                dbt 1    20260101_000000_00014_abcde
                bi    olap  u12 → -        1   3.3      1  u12 1                dbt 1    20260101_000000_00013_abcde
                bi    olap  u13 → -        1   3.3      1  u13 1                dbt 1    20260101_000000_00012_abcde
                bi    olap  u14 → -        1   3.3      1  u14 1                dbt 1    20260101_000000_00011_abcde
                bi    olap  u15 → -        1   3.3      1  u15 1                dbt 1    20260101_000000_00010_abcde
                bi    olap  u16 → -        1   3.3      1  u16 1                dbt 1    20260101_000000_00009_abcde
                bi    olap  u17 → -        1   3.3      1  u17 1                dbt 1    20260101_000000_00008_abcde
                bi    olap  u18 → -        1   3.3      1  u18 1                dbt 1    20260101_000000_00007_abcde
                bi    olap  u19 → -        1   3.3      1  u19 1                dbt 1    20260101_000000_00006_abcde
                bi    olap  u2 → -         1   3.3      1  u2 1                 dbt 1    20260101_000000_00026_abcde
                bi    olap  u20 → -        1   3.3      1  u20 1                dbt 1    20260101_000000_00005_abcde
                bi    olap  u21 → -        1   3.3      1  u21 1                dbt 1    20260101_000000_00004_abcde
                bi    olap  u22 → -        1   3.3      1  u22 1                dbt 1    20260101_000000_00003_abcde
                bi    olap  u23 → -        1   3.3      1  u23 1                dbt 1    20260101_000000_00002_abcde
                bi    olap  u24 → -        1   3.3      1  u24 1                dbt 1    20260101_000000_00001_abcde
                bi    olap  u3 → -         1   3.3      1  u3 1                 dbt 1    20260101_000000_00024_abcde
                … and 6 more, of 6 queries

                note: of that time the 30 newest rows of the history alone were read; --limit sets how many
            "#]],
        );
    }

    #[test]
    fn what_is_not_known_is_said() {
        let mut tally = Tally::default();
        tally.elsewhere += 2;
        tally.ends_alone += 1;
        let older = HistoryRow { request: None, ..row(1, ["ana", "dbt", "bi", ""]) };
        tally.add(&older, &to("bi", ""));
        for facts in [&["the header x-team", "the listener"][..], &["the header x-team"]] {
            tally.note_unrecorded(facts.iter().map(|fact| (*fact).to_owned()).collect());
        }
        let report = Report::of(tally, frame(None));
        expect![[r#"
            not recorded, and so absent for rules that asked for it (of so many queries): the header x-team (2), the listener (1)
            queries of an older Warren: 1; it recorded of headers the user alone, and source and client tags as its rules left them; hours and weekdays are by the time zone of this machine
            queries that ran in another group than the rules had named, by a fallback or for a transaction: 2; what the rules had named is compared
            rows left out, since they tell of the end of a query alone: 1"#]]
        .assert_eq(&report.notes.join("\n"));
    }
}
