//! Tells of a statement whether it surely only reads, so that submitting it a second time changes
//! nothing. Pure, and no parser: what is not plainly a read is none.

/// Whether `statement` surely only reads.
pub fn surely_reads(statement: &str) -> bool {
    let mut words = Words(statement);
    let reads = match words.next_upper().as_deref() {
        Some("SELECT" | "WITH" | "VALUES" | "TABLE" | "SHOW" | "DESCRIBE" | "DESC") => true,
        // `EXPLAIN ANALYZE` runs what it explains.
        Some("EXPLAIN") => words.next_upper().as_deref() != Some("ANALYZE"),
        _ => false,
    };
    reads && !calls_a_table_function(statement)
}

/// Whether `TABLE(` may stand in it: a function behind it can pass any text to the system behind a
/// catalog, also one that writes.
fn calls_a_table_function(statement: &str) -> bool {
    let bytes = statement.as_bytes();
    bytes.windows(5).enumerate().any(|(at, word)| {
        word.eq_ignore_ascii_case(b"table") && {
            let mut rest = Words(statement.get(at + 5..).unwrap_or_default());
            rest.skip_blank();
            rest.0.starts_with('(')
        }
    })
}

/// The rest of a statement, read word by word.
struct Words<'a>(&'a str);

impl Words<'_> {
    /// The next word in capitals, after blanks, comments and opening brackets.
    fn next_upper(&mut self) -> Option<String> {
        self.skip_blank();
        while let Some(rest) = self.0.strip_prefix('(') {
            self.0 = rest;
            self.skip_blank();
        }
        let end = self.0.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        (!word.is_empty()).then(|| word.to_ascii_uppercase())
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.0.trim_start();
            self.0 = if let Some(comment) = rest.strip_prefix("--") {
                comment.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(comment) = rest.strip_prefix("/*") {
                comment.split_once("*/").map_or("", |(_, rest)| rest)
            } else {
                self.0 = rest;
                return;
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_others() {
        for read in [
            "SELECT 1",
            "  select * from t -- insert",
            "/* INSERT */ -- DROP\n ( (SELECT 1) )",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "VALUES 1",
            "TABLE t",
            "SHOW TABLES",
            "DESCRIBE t",
            "EXPLAIN INSERT INTO t SELECT 1",
            "EXPLAIN (TYPE LOGICAL) SELECT 1",
        ] {
            assert!(surely_reads(read), "{read}");
        }
        for other in [
            "",
            "--",
            "/*",
            "/* SELECT */",
            "INSERT INTO t SELECT 1",
            "EXPLAIN ANALYZE INSERT INTO t SELECT 1",
            "EXPLAIN /* x */ ANALYZE DELETE FROM t",
            "EXECUTE p",
            "CALL system.runtime.kill_query('x')",
            "CREATE TABLE t AS SELECT 1",
            "SELECT * FROM TABLE(pg.system.query(query => 'DELETE FROM t RETURNING 1'))",
            "SELECT * FROM table /* x */ (f())",
            "SELECTED",
            "\u{fffd}SELECT 1",
            "ü",
        ] {
            assert!(!surely_reads(other), "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,80}", tail in "[-/*( \n]{0,8}[a-zA-Zü]{0,8}[(]?") {
            surely_reads(&text);
            surely_reads(&tail);
        }
    }
}
