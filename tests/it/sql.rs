//! What statements are and touch, held against what the Java gateway says of the same ones.

use std::collections::BTreeSet;

use serde::Deserialize;
use warren::sql::{self, Analysis, Envelope, Prepared, Session};

/// One statement, and what is to be known of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    body: String,
    catalog: Option<String>,
    schema: Option<String>,
    #[serde(default)]
    prepared: Vec<String>,
    content_type: Option<String>,
    /// The body may be JSON.
    #[serde(default)]
    envelope: bool,
    #[serde(rename = "type")]
    statement_type: String,
    kind: String,
    tables: BTreeSet<Vec<String>>,
    catalogs: BTreeSet<String>,
    schemas: BTreeSet<String>,
    catalog_schemas: BTreeSet<String>,
    /// The text that is executed, where it is not the body.
    text: Option<String>,
    killed: Option<String>,
    /// How the error begins.
    error: Option<String>,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("sql/cases.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

impl Case {
    /// What is known of it, as a gateway looks at a request.
    fn analysed<R>(&self, look: impl FnOnce(Option<&Analysis<'_>>) -> R) -> R {
        if !sql::is_utf8(self.content_type.as_deref()) {
            return look(None);
        }
        let lines: Vec<&str> = self.prepared.iter().map(String::as_str).collect();
        let session = Session {
            catalog: self.catalog.as_deref(),
            schema: self.schema.as_deref(),
            prepared: Prepared::Headers(&lines),
        };
        let envelope = Envelope::of(&self.body).filter(|_| self.envelope);
        match &envelope {
            Some(envelope) => {
                let prepared = Prepared::Named(&envelope.prepared);
                look(Some(&sql::analyse(&envelope.query, &Session { prepared, ..session })))
            }
            None => look(Some(&sql::analyse(&self.body, &session))),
        }
    }

    /// What differs from what is expected.
    fn differences(&self) -> Vec<String> {
        self.analysed(|analysis| {
            let Some(analysis) = analysis else {
                let is_expected = self.statement_type.is_empty() && self.tables.is_empty();
                return if is_expected { Vec::new() } else { vec!["was not read".to_owned()] };
            };
            let mut found = Vec::new();
            let mut compare = |what: &str, is: String, expected: String| {
                if is != expected {
                    found.push(format!("{what} is {is}, expected {expected}"));
                }
            };
            // Of what it cannot parse the Java gateway knows nothing. We guess, and say so.
            if analysis.is_fully_read {
                let kind = analysis.kind.map_or("", sql::Kind::as_str);
                compare("kind", kind.to_owned(), self.kind.clone());
                let statement_type = analysis.statement_type.unwrap_or_default();
                compare("type", statement_type.to_owned(), self.statement_type.clone());
            } else {
                compare("type of what is no SQL", String::new(), self.statement_type.clone());
            }
            let tables: BTreeSet<Vec<String>> = analysis
                .tables
                .iter()
                .map(|table| vec![table.catalog.clone(), table.schema.clone(), table.name.clone()])
                .collect();
            compare("tables", format!("{tables:?}"), format!("{:?}", self.tables));
            compare("catalogs", format!("{:?}", analysis.catalogs), format!("{:?}", self.catalogs));
            let schemas: BTreeSet<_> = analysis.schemas.iter().map(|(_, schema)| schema).collect();
            compare("schemas", format!("{schemas:?}"), format!("{:?}", self.schemas));
            let whole: BTreeSet<_> = analysis
                .schemas
                .iter()
                .map(|(catalog, name)| format!("{catalog}.{name}"))
                .collect();
            compare("full schemas", format!("{whole:?}"), format!("{:?}", self.catalog_schemas));
            let text = self.text.as_ref().unwrap_or(&self.body);
            compare("text", analysis.text.to_string(), text.clone());
            let killed = analysis.killed_query.as_ref();
            compare("killed query", format!("{killed:?}"), format!("{:?}", self.killed.as_ref()));
            let error = analysis.parse_error.clone().unwrap_or_default();
            let expected = self.error.clone().unwrap_or_default();
            if !error.starts_with(&expected) || error.is_empty() != expected.is_empty() {
                found.push(format!("error is `{error}`, expected `{expected}`"));
            }
            found
        })
    }
}

#[test]
fn the_cases_of_the_java_gateway_hold() {
    let cases = cases();
    assert_eq!(cases.len(), 126);
    let wrong: Vec<String> = cases
        .iter()
        .flat_map(|case| case.differences().into_iter().map(move |what| (case, what)))
        .map(|(case, what)| format!("{}: {}: {what}", case.id, case.body))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A statement, what it is, and what it touches: type, and kind where the type does not tell it; the
/// statement; the tables if there are some.
fn statements() -> impl Iterator<Item = (&'static str, String, &'static str)> {
    let is_table = |word: &&str| word.matches('.').count() == 2;
    include_str!("sql/statements.txt").trim_end().split("\n---\n").map(move |block| {
        let (head, rest) = block.split_once('\n').unwrap();
        let (statement, tables) = match rest.rsplit_once('\n') {
            // A name in quotes may have a blank.
            Some((statement, last)) if is_table(&last.split(' ').next().unwrap()) => {
                (statement, last)
            }
            _ => (rest, ""),
        };
        (head, statement.to_owned(), tables)
    })
}

#[test]
fn statements_of_each_shape_are_fully_read() {
    let session = Session { catalog: Some("dc"), schema: Some("ds"), ..Session::default() };
    let mut wrong = Vec::new();
    for (head, statement, tables) in statements() {
        let analysis = sql::analyse(&statement, &session);
        let mut what = analysis.statement_type.unwrap_or_default().to_owned();
        if head.contains(' ') {
            what = format!("{what} {}", analysis.kind.map_or("", sql::Kind::as_str));
        }
        let found: Vec<_> = analysis.tables.iter().map(ToString::to_string).collect();
        let found = found.join(" ");
        if !analysis.is_fully_read || what != head || found != tables {
            wrong.push(format!("{statement}: {what}, {found}, {:?}", analysis.parse_error));
        }
        // Blanks, comments and case make no difference, to whatever has no quotes.
        if !statement.contains(['\'', '"', '-']) {
            let other = statement.to_lowercase().replace(' ', " /* x */\n\t");
            let other = sql::analyse(&other, &session);
            if other.digest() != analysis.digest() || other.tables != analysis.tables {
                wrong.push(format!("{statement}: changes with blanks and case"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The page tells how many statements were read to their end; it must stay true.
#[test]
fn the_page_tells_how_many_cases_are_fully_read() {
    let cases = cases();
    let fully = cases
        .iter()
        .filter(|case| case.analysed(|analysis| analysis.is_some_and(|found| found.is_fully_read)))
        .count();
    // One is in a charset that is left alone, one is no SQL.
    let row = format!("| cases of the Java gateway | {} | {fully} | 1 | 1 |", cases.len());
    let page = include_str!("../../docs/sql-analysis.md");
    assert!(page.contains(&row), "docs/sql-analysis.md lacks the line\n{row}");
    // That all of these are is a test of its own.
    let row = format!("| of each shape | {0} | {0} | 0 | 0 |", statements().count());
    assert!(page.contains(&row), "docs/sql-analysis.md lacks the line\n{row}");
}
