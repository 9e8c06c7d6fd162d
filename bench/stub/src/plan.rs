//! What a statement does: read from its text and from a comment in it.
//!
//! `/* stub: run=2s rows=1000 pages=5 size=100 fail=DIVISION_BY_ZERO */` anywhere in a statement
//! says how long it runs (simulated time), what it returns and how it ends. Without one a
//! statement ends at once with one row. This is no SQL parser: it knows the few statements that
//! a gateway's clients and probes send, by their first words.

use std::time::Duration;

use crate::http::percent_encoded;

/// The most rows one query returns; more is cut, so that a typo cannot eat the memory.
const ROWS_MAX: u64 = 10_000_000;
/// The widest row.
const SIZE_MAX: usize = 1 << 20;
/// The most pages.
const PAGES_MAX: u32 = 100_000;

/// What one statement does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The time from its admission to its last page.
    pub run: Duration,
    /// How many rows it returns, spread evenly over the pages.
    pub rows: u64,
    /// How many pages carry data.
    pub pages: u32,
    /// Width of the text column beside the row number; 0: no such column.
    pub size: usize,
    /// How many spooled segments each data page lists instead of rows.
    pub spooled: u32,
    /// The error it ends with, when it does.
    pub fail: Option<Failure>,
    /// What kind of statement it is.
    pub statement: Statement,
}

/// An error of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Trino's name for it, such as `DIVISION_BY_ZERO`.
    pub name: String,
    /// `USER_ERROR`, `INTERNAL_ERROR`, `INSUFFICIENT_RESOURCES` or `EXTERNAL`.
    pub kind: &'static str,
    /// Trino's number for it.
    pub code: u32,
    /// The text that the client shows.
    pub message: String,
}

impl Failure {
    /// An error with Trino's number and kind for the names the stub knows.
    pub fn new(name: &str, message: &str) -> Self {
        let (code, kind) = match name {
            "SYNTAX_ERROR" => (1, "USER_ERROR"),
            "ABANDONED_QUERY" => (2, "USER_ERROR"),
            "USER_CANCELED" => (3, "USER_ERROR"),
            "NOT_FOUND" => (5, "USER_ERROR"),
            "DIVISION_BY_ZERO" => (8, "USER_ERROR"),
            "UNKNOWN_TRANSACTION" => (24, "USER_ERROR"),
            "SERVER_STARTING_UP" => (65_539, "INTERNAL_ERROR"),
            "SERVER_SHUTTING_DOWN" => (65_541, "INTERNAL_ERROR"),
            "ADMINISTRATIVELY_KILLED" => (65_551, "USER_ERROR"),
            "NO_NODES_AVAILABLE" => (65_543, "INTERNAL_ERROR"),
            "QUERY_QUEUE_FULL" => (131_074, "INSUFFICIENT_RESOURCES"),
            _ => (65_536, "INTERNAL_ERROR"),
        };
        Self { name: name.to_owned(), kind, code, message: message.to_owned() }
    }
}

/// The statements the stub tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Statement {
    /// Returns the rows of the plan.
    Rows,
    /// `SELECT 1`.
    One,
    /// Counts `system.runtime.nodes`.
    Workers,
    /// Lists `system.runtime.queries`: id, state, source; of those that live, or of the one that is
    /// named.
    Queries(Option<String>),
    /// Returns no rows and tells the client something in answer headers.
    Session(Vec<(&'static str, String)>),
    /// `START TRANSACTION`.
    Begin,
    /// `COMMIT` or `ROLLBACK`.
    End,
    /// `CALL system.runtime.kill_query(query_id => '…')`.
    Kill(String),
}

impl Plan {
    /// Reads a statement. What cannot be read becomes a statement that fails and says why.
    pub(crate) fn read(sql: &str) -> Self {
        let mut plan = Self {
            run: Duration::ZERO,
            rows: 1,
            pages: 1,
            size: 0,
            spooled: 0,
            fail: None,
            statement: statement(sql),
        };
        if let Some(comment) = comment(sql) {
            for pair in comment.split_whitespace() {
                if plan.apply(pair).is_none() {
                    let text = format!(
                        "stub: cannot read `{pair}`, expected run=2s rows=N pages=N size=N spooled=N fail=NAME"
                    );
                    plan.fail = Some(Failure::new("SYNTAX_ERROR", &text));
                }
            }
        }
        if matches!(plan.statement, Statement::Session(_) | Statement::Begin | Statement::End) {
            plan.pages = 0;
        }
        plan
    }

    fn apply(&mut self, pair: &str) -> Option<()> {
        let (key, value) = pair.split_once('=')?;
        match key {
            "run" => self.run = duration(value)?,
            "rows" => self.rows = value.parse::<u64>().ok()?.min(ROWS_MAX),
            "pages" => self.pages = value.parse::<u32>().ok()?.min(PAGES_MAX),
            "size" => self.size = value.parse::<usize>().ok()?.min(SIZE_MAX),
            "spooled" => self.spooled = value.parse::<u32>().ok()?.min(1000),
            "fail" => self.fail = Some(Failure::new(value, &format!("stub: {value}"))),
            _ => return None,
        }
        Some(())
    }

    /// When, after its admission, the data page with this number can be fetched.
    pub(crate) fn page_after(&self, page: u32) -> Duration {
        if page >= self.pages { self.run } else { self.run * (page + 1) / self.pages }
    }

    /// The numbers of the rows on a data page.
    pub(crate) fn rows_of(&self, page: u32) -> std::ops::Range<u64> {
        let pages = u64::from(self.pages.max(1));
        let page = u64::from(page);
        self.rows * page / pages..self.rows * (page + 1) / pages
    }
}

/// The text behind `stub:` in the first such comment.
fn comment(sql: &str) -> Option<&str> {
    let mut rest = sql;
    loop {
        let (_, after) = rest.split_once("/*")?;
        let (inside, next) = after.split_once("*/")?;
        if let Some(told) = inside.trim_start().strip_prefix("stub:") {
            return Some(told);
        }
        rest = next;
    }
}

/// Reads `250ms`, `2s`, `1.5s`, `1m`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(digits.parse::<f64>().ok()? * seconds).ok()
}

fn statement(sql: &str) -> Statement {
    let text = without_comments(sql);
    let text = text.trim().trim_end_matches(';').trim_end();
    let upper = text.to_ascii_uppercase();
    let words: Vec<&str> = upper.split_whitespace().take(3).collect();
    let spelled: Vec<&str> = text.split_whitespace().collect();
    let third = |from: usize| spelled.get(from).copied().unwrap_or_default();
    match words.as_slice() {
        ["SELECT", "1"] => Statement::One,
        ["SELECT", ..] if upper.contains("SYSTEM.RUNTIME.NODES") => Statement::Workers,
        ["SELECT", ..] if upper.contains("SYSTEM.RUNTIME.QUERIES") => {
            let named = upper.contains("WHERE QUERY_ID = ");
            let wanted = first_literal(text).filter(|_| named);
            Statement::Queries(wanted.map(str::to_owned))
        }
        ["SET", "SESSION", "AUTHORIZATION"] => {
            Statement::Session(vec![("X-Trino-Set-Authorization-User", third(3).to_owned())])
        }
        ["SET", "SESSION", ..] => session(upper.find("SESSION").map_or("", |at| &text[at + 7..])),
        ["RESET", "SESSION", _] => {
            Statement::Session(vec![("X-Trino-Clear-Session", third(2).to_owned())])
        }
        ["USE", _] => use_schema(third(1)),
        ["PREPARE", _, "FROM"] => {
            let from = text.to_ascii_uppercase().find(" FROM ").map_or(text.len(), |at| at + 6);
            let value = format!("{}={}", third(1), percent_encoded(text[from..].trim()));
            Statement::Session(vec![("X-Trino-Added-Prepare", value)])
        }
        ["DEALLOCATE", "PREPARE", _] => {
            Statement::Session(vec![("X-Trino-Deallocated-Prepare", third(2).to_owned())])
        }
        ["START", "TRANSACTION", ..] => Statement::Begin,
        ["COMMIT", ..] | ["ROLLBACK", ..] => Statement::End,
        ["CALL", ..] if upper.contains("SYSTEM.RUNTIME.KILL_QUERY") => {
            Statement::Kill(first_literal(text).unwrap_or_default().to_owned())
        }
        _ => Statement::Rows,
    }
}

fn session(rest: &str) -> Statement {
    let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
    let value = value.trim().trim_matches('\'');
    let header = format!("{}={}", name.trim(), percent_encoded(value));
    Statement::Session(vec![("X-Trino-Set-Session", header)])
}

fn use_schema(name: &str) -> Statement {
    Statement::Session(match name.split_once('.') {
        Some((catalog, schema)) => vec![
            ("X-Trino-Set-Catalog", catalog.to_owned()),
            ("X-Trino-Set-Schema", schema.to_owned()),
        ],
        None => vec![("X-Trino-Set-Schema", name.to_owned())],
    })
}

fn first_literal(text: &str) -> Option<&str> {
    text.split('\'').nth(1)
}

fn without_comments(sql: &str) -> String {
    let mut plain = String::with_capacity(sql.len());
    let mut rest = sql;
    while let Some((before, after)) = rest.split_once("/*") {
        plain.push_str(before);
        plain.push(' ');
        rest = after.split_once("*/").map_or("", |(_, next)| next);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_says_what_a_statement_does() {
        let plan = Plan::read(
            "SELECT /* hello */ * FROM t /* stub: run=2s rows=10 pages=4 size=3 fail=DIVISION_BY_ZERO */",
        );
        assert_eq!(
            (plan.run, plan.rows, plan.pages, plan.size),
            (Duration::from_secs(2), 10, 4, 3)
        );
        assert_eq!(plan.fail.as_ref().map(|failure| failure.code), Some(8));
        let pages: Vec<_> = (0..4).map(|page| plan.rows_of(page)).collect();
        assert_eq!(pages, [0..2, 2..5, 5..7, 7..10]);
        assert_eq!(plan.page_after(0), Duration::from_millis(500));
        assert_eq!(plan.page_after(4), Duration::from_secs(2));
    }

    #[test]
    fn a_bad_comment_fails_the_statement_with_its_reason() {
        for bad in ["run=2", "run=-1s", "rows=x", "colour=red", "nonsense", "run=1e999s"] {
            let failure = Plan::read(&format!("SELECT 1 /* stub: {bad} */")).fail.expect(bad);
            assert!(failure.message.contains(bad), "{}", failure.message);
        }
        assert_eq!(Plan::read("SELECT 1 /* stub: run=2s").fail, None);
    }

    #[test]
    fn statements_are_told_apart() {
        let told = |headers: &[(&'static str, &str)]| {
            Statement::Session(headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect())
        };
        for (sql, expected) in [
            ("select 1;", Statement::One),
            ("SELECT 1 /* probe */", Statement::One),
            ("SELECT 12", Statement::Rows),
            (
                "SELECT count(*) FROM system.runtime.nodes WHERE state = 'active'",
                Statement::Workers,
            ),
            ("SELECT state FROM system.runtime.queries", Statement::Queries(None)),
            (
                "SELECT state FROM system.runtime.queries WHERE query_id = 'q'",
                Statement::Queries(Some("q".to_owned())),
            ),
            ("SET SESSION a.b = 'x y'", told(&[("X-Trino-Set-Session", "a.b=x%20y")])),
            ("RESET SESSION a.b", told(&[("X-Trino-Clear-Session", "a.b")])),
            ("USE c.s", told(&[("X-Trino-Set-Catalog", "c"), ("X-Trino-Set-Schema", "s")])),
            ("PREPARE p FROM SELECT 2", told(&[("X-Trino-Added-Prepare", "p=SELECT%202")])),
            ("DEALLOCATE PREPARE p", told(&[("X-Trino-Deallocated-Prepare", "p")])),
            ("START TRANSACTION READ ONLY", Statement::Begin),
            ("ROLLBACK", Statement::End),
            (
                "CALL system.runtime.kill_query(query_id => 'q1', message => 'm')",
                Statement::Kill("q1".to_owned()),
            ),
            ("", Statement::Rows),
            ("SET\u{3000}\u{3000}\u{3000}SESSION", told(&[("X-Trino-Set-Session", "=")])),
            ("SET SESSION", told(&[("X-Trino-Set-Session", "=")])),
            ("ſet  session é", Statement::Rows),
        ] {
            assert_eq!(Plan::read(sql).statement, expected, "{sql}");
        }
    }
}
