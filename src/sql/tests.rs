//! What is to hold of every statement: sessions, EXECUTE, what only reads, and what no reader likes.

use super::*;

const SESSION: Session<'_> =
    Session { catalog: Some("DC"), schema: Some("ds"), prepared: Prepared::None };

fn tables(analysis: &Analysis<'_>) -> Vec<String> {
    analysis.tables.iter().map(Table::to_string).collect()
}

/// Whether it only reads, whether it asks about tables.
fn nature(statement: &str) -> (bool, bool) {
    let analysis = analyse(statement, &SESSION);
    (analysis.is_read_only, analysis.is_metadata)
}

#[test]
fn what_only_reads() {
    for read in [
        "SELECT * FROM t -- insert",
        "/* INSERT */ -- DROP\n ( (SELECT 1 FROM t) )",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "TABLE t",
        "EXPLAIN INSERT INTO t SELECT 1",
        "EXPLAIN ANALYZE SELECT * FROM t",
    ] {
        assert_eq!(nature(read), (true, false), "{read}");
    }
    for other in [
        "",
        "INSERT INTO t SELECT 1",
        "EXPLAIN ANALYZE INSERT INTO t SELECT 1",
        "EXPLAIN /* x */ ANALYZE DELETE FROM t",
        "EXECUTE p",
        "CALL system.runtime.kill_query('x')",
        "CREATE TABLE t AS SELECT 1",
        "SELECT * FROM TABLE(pg.system.query(query => 'DELETE FROM t RETURNING 1'))",
        "SELECT * FROM table /* x */ (f())",
        "SELECT 1 FROM t; DROP TABLE t",
        "SELECT * FROM t WHERE",
        "SET SESSION a = 1",
        "ANALYZE t",
        "SELECTED",
        "ü",
    ] {
        assert_eq!(nature(other), (false, false), "{other}");
    }
}

#[test]
fn what_asks_about_tables() {
    for metadata in [
        "SELECT 1",
        "VALUES 1",
        "SELECT version(), (SELECT 2)",
        "SELECT table_name FROM information_schema.tables t JOIN hive.information_schema.columns c ON true",
        "SELECT * FROM system.jdbc.tables",
        "SHOW TABLES",
        "DESCRIBE t",
        "DESCRIBE OUTPUT p",
    ] {
        assert_eq!(nature(metadata), (true, true), "{metadata}");
    }
    for other in [
        "SELECT * FROM system.runtime.queries",
        "SELECT * FROM information_schema.tables, t",
        "SELECT * FROM UNNEST(sequence(1, 1000000000))",
    ] {
        assert_eq!(nature(other), (true, false), "{other}");
    }
}

#[test]
fn executed_statements() {
    let lines = ["p=SELECT+*+FROM+a.b.c, q=EXECUTE+p", "r=SELECT+*+FROM+%60t%60"];
    let session = Session { prepared: Prepared::Headers(&lines), ..SESSION };
    let analysed = analyse("EXECUTE p USING 1, 'x'", &session);
    assert_eq!(analysed.text, "SELECT * FROM a.b.c");
    assert_eq!((analysed.kind, analysed.statement_type), (Some(Kind::Select), Some("Query")));
    assert_eq!(tables(&analysed), ["a.b.c"]);
    assert!(analysed.is_read_only && analysed.is_fully_read);

    let analysed =
        analyse("EXECUTE IMMEDIATE 'SELECT ''it'' FROM t WHERE x = ?' USING 5", &SESSION);
    assert_eq!(analysed.text, "SELECT 'it' FROM t WHERE x = ?");
    assert_eq!(tables(&analysed), ["dc.ds.t"]);

    let analysed = analyse("EXPLAIN EXECUTE p", &session);
    assert_eq!((analysed.kind, analysed.statement_type), (Some(Kind::Explain), Some("Explain")));
    assert_eq!(
        (analysed.text.as_ref(), tables(&analysed)),
        ("EXPLAIN EXECUTE p", vec!["a.b.c".to_owned()])
    );

    for (statement, error) in [
        ("EXECUTE q", "a prepared statement cannot be an EXECUTE"),
        ("EXECUTE P", "no prepared statement `P` came with the request"),
    ] {
        let analysed = analyse(statement, &session);
        assert_eq!(analysed.statement_type, Some("Execute"), "{statement}");
        assert_eq!(analysed.parse_error.as_deref(), Some(error));
        assert!(!analysed.is_read_only && !analysed.is_fully_read);
    }
    let analysed = analyse("EXECUTE r", &session);
    let error = "line 1:15: backquoted identifiers are not supported; \
                 use double quotes to quote identifiers";
    assert_eq!(analysed.parse_error.as_deref(), Some(error));
    assert_eq!(tables(&analysed), ["dc.ds.t"]);
}

#[test]
fn names_in_what_cannot_be_followed() {
    for (statement, kind, expected) in [
        (
            "SELECT * FROM a.b.c FROBNICATE x y, t2 JOIN t3 ON (",
            Some(Kind::Select),
            "a.b.c dc.ds.t2 dc.ds.t3",
        ),
        ("SELECT extract(YEAR FROM d) FROM t WHERE ) x", Some(Kind::Select), "dc.ds.t"),
        ("WITH a AS (SELECT 1) SELECT ) FROM a, t", Some(Kind::Select), "dc.ds.t"),
        ("INSERT OVERWRITE INTO t SELECT * FROM u", Some(Kind::Insert), "dc.ds.t dc.ds.u"),
        ("CREATE INDEX i ON t; TABLE x", Some(Kind::DataDefinition), "dc.ds.x"),
        ("ALTER TABLE t FROBNICATE", Some(Kind::DataDefinition), "dc.ds.t"),
        ("SELECT * FROM t;", Some(Kind::Select), "dc.ds.t"),
        ("SELECT * FROM 1st", Some(Kind::Select), "dc.ds.1st"),
        ("SELECT * FROM t WHERE x = 'open", Some(Kind::Select), "dc.ds.t"),
        ("SELECT * FROM t /* open FROM u", Some(Kind::Select), "dc.ds.t"),
        ("SELECT \u{0} FROM \u{fffd}t", Some(Kind::Select), "dc.ds.t"),
        ("FROBNICATE FROM t", None, "dc.ds.t"),
        (
            "MERGE INTO t USING u ON ) WHEN MATCHED THEN UPDATE SET a = 1",
            Some(Kind::Merge),
            "dc.ds.t dc.ds.u",
        ),
    ] {
        let analysed = analyse(statement, &SESSION);
        assert_eq!(tables(&analysed).join(" "), expected, "{statement}");
        assert_eq!(analysed.kind, kind, "{statement}");
        assert!(!analysed.is_fully_read && analysed.parse_error.is_some(), "{statement}");
        assert!(!analysed.is_read_only && !analysed.is_metadata, "{statement}");
    }
}

#[test]
fn errors_tell_the_place() {
    for (statement, error) in [
        ("SELECT * FROM table WHERE column = ", "line 1:21: mismatched input 'WHERE'"),
        ("SELECT a\n  FROM t WHERE x = ", "line 2:20: mismatched input '<EOF>'"),
        ("SELECT ü", "line 1:8: no word begins with 'ü'"),
        ("SELECT 'é' FROM", "line 1:16: mismatched input '<EOF>'"),
        ("SELECT (1", "line 1:10: mismatched input '<EOF>'"),
        ("SELECT 1)", "line 1:9: mismatched input ')'"),
        ("SELECT [1)", "line 1:10: mismatched input ')'"),
        ("SELECT a FROM t ORDER BY b WHERE c", "line 1:28: mismatched input 'WHERE'"),
        ("SELECT a FROM t LIMIT 1 OFFSET 1", "line 1:25: mismatched input 'OFFSET'"),
        ("SELECT a FROM t JOIN u WHERE x", "line 1:24: mismatched input 'WHERE'"),
        ("", "line 1:1: mismatched input '<EOF>'"),
        ("DROP TABLE t CASCADE", "line 1:14: mismatched input 'CASCADE'"),
    ] {
        let found = analyse(statement, &SESSION).parse_error.unwrap_or_default();
        assert_eq!(found, error, "{statement}");
    }
    let unqualified = analyse("SELECT * FROM t, a.b.c", &Session::default());
    assert_eq!(unqualified.parse_error.as_deref(), Some("Name not fully qualified: `t`"));
    assert!(unqualified.is_fully_read && tables(&unqualified) == ["a.b.c"]);
}

#[test]
fn bodies_that_are_not_utf8() {
    let analysed = analyse_bytes(b"SELECT * FROM t WHERE x = '\xff'", &SESSION);
    assert_eq!(tables(&analysed), ["dc.ds.t"]);
    assert_eq!(analysed.parse_error.as_deref(), Some("the statement is not UTF-8"));
    assert!(!analysed.is_fully_read && analysed.text.contains('\u{fffd}'));
    assert!(analyse_bytes("SELECT 'ü'".as_bytes(), &SESSION).is_fully_read);
}

#[test]
fn deep_and_long_ones() {
    let deep = 10_000;
    for (open, middle, close) in [
        ("(", "SELECT * FROM t", ")"),
        ("SELECT (", "SELECT 1 FROM t", ")"),
        ("SELECT * FROM (", "SELECT 1 FROM t", ")"),
        ("SELECT f(", "SELECT x FROM t", ")"),
        ("SELECT CASE WHEN ", "SELECT", " THEN 1 END"),
        ("WITH a AS (", "SELECT * FROM t", ") SELECT 1"),
        ("EXPLAIN ", "SELECT * FROM t", ""),
        ("SELECT ARRAY[(", "SELECT 1 FROM t", ")]"),
    ] {
        let text = open.repeat(deep) + middle + &close.repeat(deep);
        let analysed = analyse(&text, &SESSION);
        let is_sql = middle != "SELECT";
        assert_eq!(analysed.is_fully_read, is_sql, "{open}: {:?}", analysed.parse_error);
        assert_eq!(tables(&analysed).len(), usize::from(is_sql), "{open}");
        assert!(!analysed.digest().is_empty());
    }
    // Deeper than is followed: its names are found all the same.
    let text = "(".repeat(200_000) + "SELECT * FROM t";
    let analysed = analyse(&text, &SESSION);
    assert_eq!(tables(&analysed), ["dc.ds.t"]);
    assert!(analysed.parse_error.unwrap_or_default().contains("nested too deep"));
    // A million tokens, and a name as long as a statement may be.
    let text = format!("SELECT * FROM t WHERE x IN (1{})", ",1".repeat(500_000));
    let analysed = analyse(&text, &SESSION);
    assert!(analysed.is_fully_read);
    assert_eq!(analysed.normalised(), "select * from t where x in (?)");
    let name = "x".repeat(1 << 20);
    assert_eq!(analyse(&format!("TABLE {name}"), &SESSION).tables.len(), 1);
    let many = |count: usize| {
        let names: Vec<String> = (0..count).map(|place| format!("t{place}")).collect();
        format!("SELECT * FROM {}", names.join(", "))
    };
    let text = many(TABLES_MAX + 5);
    let analysed = analyse(&text, &SESSION);
    assert_eq!(analysed.tables.len(), TABLES_MAX);
    assert!(analysed.parse_error.unwrap_or_default().starts_with("more than 10000 tables"));
}

/// Texts that invite a reader to go over the same tokens again and again. The bound is on tokens
/// that were cut, which no machine's speed changes.
#[test]
fn no_text_is_read_more_than_a_few_times() {
    for piece in [
        "SELECT ",
        "(",
        "((SELECT 1)",
        "a.",
        "t,",
        " JOIN t ",
        "WITH a AS (",
        ";",
        "CASE ",
        "EXPLAIN ",
        "/**/",
        "a => ",
        "TABLE(",
        "x, y AS (",
        "LIMIT ",
        "FROM t LIMIT ",
        "WINDOW w ",
    ] {
        let cuts = |count: usize| {
            let text = format!("SELECT * FROM t, {}", piece.repeat(count));
            let before = token::cuts();
            analyse(&text, &SESSION);
            token::cuts() - before
        };
        let (small, large) = (cuts(500), cuts(5000));
        assert!(large <= 12 * small, "`{piece}`: {small} cuts, then {large}");
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,100}") {
        let analysed = analyse(&text, &SESSION);
        assert!(analysed.is_fully_read || analysed.parse_error.is_some());
        analysed.digest();
    }

    #[test]
    fn no_words_panic(
        text in "(?s)((SELECT|FROM|WITH|AS|TABLE|JOIN|ON|WHERE|VALUES|UNION|CASE|WHEN|END|a|t|1|'x'|\"q\"|INSERT INTO|MERGE INTO|USING|EXECUTE|IMMEDIATE|FOR TIMESTAMP AS OF|LIMIT|GRANT|CALL|[(),.;*=<>\\[\\]{}?-]|`|\u{0}|ü|--|/\\*|\\$) ?){0,40}",
    ) {
        let analysed = analyse(&text, &SESSION);
        assert!(analysed.is_fully_read || analysed.parse_error.is_some());
        analysed.digest();
    }

    /// A statement that is cut anywhere is still told by its first word.
    #[test]
    fn cut_statements_keep_their_kind(cut in 11_usize..130) {
        let text = "INSERT INTO t WITH a AS (SELECT x, 'it''s' FROM b.c /* y */) SELECT * FROM a, d.e.f \
                    WHERE a.x IN (1, 2) AND \"q\" = 3 LIMIT 10";
        let analysed = analyse(&text[..cut.min(text.len())], &SESSION);
        assert_eq!(analysed.kind, Some(Kind::Insert));
    }
}
