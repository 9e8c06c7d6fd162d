//! What statements touch, read from the queries that Trino measures itself with.

use std::fs;
use std::path::Path;

use warren::sql::{self, Kind, Session};

use crate::support::surroundings::file;

/// The statements of a suite, as a client would send them.
fn statements(suite: &str) -> Vec<(String, String)> {
    let folder = Path::new(&file("WARREN_TEST_BENCHMARK_QUERIES")).join(suite);
    let mut found: Vec<_> = fs::read_dir(&folder)
        .expect("make test unpacks the queries")
        .map(|entry| {
            let path = entry.expect("a folder that can be read").path();
            let name = path.display().to_string();
            let text = fs::read_to_string(path).expect("a query that can be read");
            let text = text
                .replace("${database}", "hive")
                .replace("${schema}", suite)
                .replace("${prefix}", "")
                .replace("${scale}", "1");
            (name, text.trim_end().trim_end_matches(';').to_owned())
        })
        .collect();
    found.sort();
    found
}

/// All of them are read to their end, and name nothing but tables of their suite. The page that tells
/// how many there are stays true.
#[test]
fn the_queries_of_tpch_and_tpcds_are_fully_read() {
    let session = Session { catalog: Some("c"), schema: Some("s"), ..Session::default() };
    let page = include_str!("../../docs/sql-analysis.md");
    for suite in ["tpch", "tpcds"] {
        let statements = statements(suite);
        let mut wrong = Vec::new();
        for (name, statement) in &statements {
            let analysis = sql::analyse(statement, &session);
            let is_right = analysis.is_fully_read
                && analysis.is_read_only
                && analysis.kind == Some(Kind::Select)
                && !analysis.tables.is_empty()
                && analysis
                    .schemas
                    .iter()
                    .all(|(catalog, schema)| catalog == "hive" && schema == suite);
            if !is_right {
                wrong.push(format!("{name}: {:?}, {:?}", analysis.parse_error, analysis.tables));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let row = format!("| {suite} | {0} | {0} | 0 | 0 |", statements.len());
        assert!(page.contains(&row), "docs/sql-analysis.md lacks the line\n{row}");
    }
}
