//! `CALL system.runtime.kill_query('…')` with a literal id: it must run where that query is. Pure,
//! and no parser: only this shape is read, and nothing in comments or other strings is taken for it.

use crate::ids::QueryId;

/// The query that a statement kills, if it is such a call.
pub fn killed_query(statement: &[u8]) -> Option<QueryId> {
    // Longer ones are something else; the message of a call is short.
    let text = str::from_utf8(statement.get(..statement.len().min(64 << 10))?).ok()?;
    let mut words = Words(text);
    for (place, word) in
        ["call", "system", ".", "runtime", ".", "kill_query", "("].iter().enumerate()
    {
        let found = words.next()?;
        // The names may be quoted, the keyword may not.
        let quoted =
            place > 0 && found.strip_prefix('"').and_then(|w| w.strip_suffix('"')) == Some(word);
        if !quoted && !found.eq_ignore_ascii_case(word) {
            return None;
        }
    }
    loop {
        let word = words.next()?;
        if let Some(id) = literal(word) {
            return QueryId::parse(id).ok();
        }
        let (arrow, value) = (words.next()?, words.next()?);
        if arrow != "=>" {
            return None;
        }
        if word.trim_matches('"').eq_ignore_ascii_case("query_id") {
            return QueryId::parse(literal(value)?).ok();
        }
        if words.next()? != "," {
            return None;
        }
    }
}

fn literal(word: &str) -> Option<&str> {
    word.strip_prefix('\'')?.strip_suffix('\'')
}

/// The rest of a statement, word by word, without blanks and comments.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        loop {
            let rest = self.0.trim_start();
            self.0 = if let Some(comment) = rest.strip_prefix("--") {
                comment.split_once('\n').map_or("", |(_, rest)| rest)
            } else if let Some(comment) = rest.strip_prefix("/*") {
                comment.split_once("*/").map_or("", |(_, rest)| rest)
            } else {
                self.0 = rest;
                break;
            };
        }
        let first = self.0.chars().next()?;
        let end = match first {
            '\'' | '"' => quoted_end(self.0, first)?,
            '=' if self.0.starts_with("=>") => 2,
            letter if letter.is_ascii_alphanumeric() || letter == '_' => {
                let other = |c: char| !c.is_ascii_alphanumeric() && c != '_';
                self.0.find(other).unwrap_or(self.0.len())
            }
            other => other.len_utf8(),
        };
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

/// Where a quoted word ends. A doubled quote is one of the text's own.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let mut from = 1;
    loop {
        let at = from + text[from..].find(quote)?;
        if !text[at + 1..].starts_with(quote) {
            return Some(at + 1);
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "20260101_000000_00000_abcde";

    #[test]
    fn calls_in_all_their_shapes() {
        for call in [
            "CALL system.runtime.kill_query('ID')",
            "call System.Runtime.Kill_Query ( 'ID' , 'too long' )",
            "/* x */ CALL system . runtime . kill_query -- y\n (query_id => 'ID')",
            "CALL \"system\".\"runtime\".\"kill_query\"(message => 'it''s 20260101', query_id => 'ID')",
            "CALL system.runtime.kill_query(\"query_id\" => 'ID', message => 'x')",
        ] {
            let found = killed_query(call.replace("ID", ID).as_bytes());
            assert_eq!(found.as_ref().map(QueryId::as_str), Some(ID), "{call}");
        }
        for other in [
            "",
            "SELECT 'CALL system.runtime.kill_query(''ID'')'",
            "-- CALL system.runtime.kill_query('ID')",
            "/* CALL system.runtime.kill_query('ID') */ SELECT 1",
            "CALL system.runtime.kill_query(?)",
            "CALL system.runtime.kill_query('no id')",
            "CALL system.runtime.kill_query(message => 'ID')",
            "CALL hive.runtime.kill_query('ID')",
            "CALL system.runtime.kill_query('ID",
            "\"CALL\" system.runtime.kill_query('ID')",
        ] {
            assert_eq!(killed_query(other.replace("ID", ID).as_bytes()), None, "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?s).{0,80}", tail in "['\"ü=>,a-z -/*]{0,30}") {
            killed_query(text.as_bytes());
            killed_query(format!("CALL system.runtime.kill_query({tail}").as_bytes());
        }
    }
}
