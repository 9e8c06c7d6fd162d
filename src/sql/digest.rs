//! The fingerprint of a statement: the same for statements that differ in literals, in the length of
//! their lists, in case, blanks and comments alone. Promises to be the same in every version that
//! does not say otherwise in its list of changes: people keep them.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::token::{Mark, Token, What, token_at};
use super::word::Word;

/// Bytes of the fingerprint: enough that among a million statements no two are likely the same.
const BYTES: usize = 8;

/// The fingerprint of a text, in 16 hexadecimal digits.
pub(super) fn digest(text: &str) -> String {
    let sum = Sha256::digest(normalised(text));
    sum.iter().take(BYTES).fold(String::new(), |mut digits, byte| {
        // Writing to a text cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

/// The text of which the fingerprint is taken.
pub(super) fn normalised(text: &str) -> String {
    let mut writer = Writer::default();
    let mut at = 0;
    loop {
        let token = token_at(text, at);
        if token.what == What::End {
            return writer.finish();
        }
        writer.take(text, token);
        at = token.end;
    }
}

/// A list whose like neighbours become one: that of IN, and the rows of VALUES.
struct List {
    /// The brackets around its elements.
    depth: usize,
    /// Where the element begins that is written.
    element: usize,
    /// The one before it.
    before: Option<(usize, usize)>,
}

#[derive(Default)]
struct Writer {
    out: String,
    depth: usize,
    lists: Vec<List>,
    last: Option<What>,
    /// A sign that may belong to a number.
    sign: Option<char>,
    /// Semicolons that are written only if something follows.
    semicolons: usize,
}

impl Writer {
    fn take(&mut self, text: &str, token: Token) {
        let whole = &text[token.start..token.end];
        if token.what == What::Mark(Mark::Semicolon) {
            self.semicolons += 1;
            return;
        }
        for _ in 0..std::mem::take(&mut self.semicolons) {
            self.piece(What::Mark(Mark::Semicolon), ";");
        }
        let is_sign = matches!(token.what, What::Mark(Mark::Minus | Mark::Plus));
        if is_sign && self.sign.is_none() && self.wants_operand() {
            self.sign = whole.chars().next();
            return;
        }
        if let Some(sign) = self.sign.take()
            && token.what != What::Number
        {
            self.piece(What::Mark(Mark::Minus), sign.encode_utf8(&mut [0; 4]));
        }
        match token.what {
            What::Text
            | What::OtherText
            | What::Number
            | What::Unclosed(_)
            | What::Mark(Mark::Question) => self.piece(What::Number, "?"),
            What::Word(_) if whole.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                self.piece(token.what, &whole.to_ascii_lowercase());
            }
            What::Quoted => self.quoted(whole),
            _ => self.piece(token.what, whole),
        }
    }

    /// A name in quotes is the same without them, if it can be written so.
    fn quoted(&mut self, whole: &str) {
        let low = whole.to_lowercase();
        let inner = low.trim_matches('"');
        let is_plain = inner.len() + 2 == low.len()
            && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && inner.bytes().next().is_some_and(|first| !first.is_ascii_digit())
            && !Word::of(inner).is_reserved();
        self.piece(What::Quoted, if is_plain { inner } else { &low });
    }

    /// Whether a sign here is that of a number, and not between two.
    fn wants_operand(&self) -> bool {
        match self.last {
            None => true,
            Some(What::Word(word)) => word.is_reserved(),
            Some(What::Mark(mark)) => !matches!(mark, Mark::RightParen | Mark::RightBracket),
            Some(_) => false,
        }
    }

    fn piece(&mut self, what: What, text: &str) {
        match what {
            What::Mark(Mark::RightParen | Mark::RightBracket) => {
                self.depth = self.depth.saturating_sub(1);
                self.end_lists();
            }
            What::Mark(Mark::Comma) => self.end_element(),
            What::Word(word) if word.is_reserved() || word == Word::Limit => self.end_values(word),
            _ => {}
        }
        if self.wants_space(what) {
            self.out.push(' ');
        }
        self.out.push_str(text);
        match what {
            What::Mark(Mark::LeftParen | Mark::LeftBracket) => {
                self.depth += 1;
                if self.last == Some(What::Word(Word::In)) {
                    self.begin_list();
                }
            }
            What::Mark(Mark::Comma) => {
                if let Some(list) = self.lists.last_mut().filter(|list| list.depth == self.depth) {
                    list.element = self.out.len();
                }
            }
            What::Word(Word::Values) => self.begin_list(),
            _ => {}
        }
        self.last = Some(what);
    }

    fn wants_space(&self, what: What) -> bool {
        let is_behind_space = match self.last {
            None => false,
            Some(What::Mark(Mark::LeftParen | Mark::LeftBracket | Mark::Dot)) => false,
            Some(last) => !(what == What::Mark(Mark::LeftParen) && last.is_name()),
        };
        let hugs = matches!(
            what,
            What::Mark(
                Mark::Comma | Mark::RightParen | Mark::RightBracket | Mark::Dot | Mark::Semicolon
            )
        );
        is_behind_space && !hugs
    }

    fn begin_list(&mut self) {
        self.lists.push(List { depth: self.depth, element: self.out.len(), before: None });
    }

    /// Forgets the element that is written if it is like the one before.
    fn end_element(&mut self) {
        let Some(list) = self.lists.last_mut().filter(|list| list.depth == self.depth) else {
            return;
        };
        let element = (list.element, self.out.len());
        let is_like = list.before.is_some_and(|(start, end)| {
            self.out[start..end].trim_start() == self.out[element.0..element.1].trim_start()
        });
        match list.before.filter(|_| is_like) {
            Some((_, end)) => self.out.truncate(end),
            None => list.before = Some(element),
        }
    }

    /// Ends the lists whose bracket is closed.
    fn end_lists(&mut self) {
        while let Some(list) = self.lists.last()
            && list.depth > self.depth
        {
            let depth = std::mem::replace(&mut self.depth, list.depth);
            self.end_element();
            self.depth = depth;
            self.lists.pop();
        }
    }

    /// Ends the rows of VALUES where a clause or another query begins.
    fn end_values(&mut self, word: Word) {
        let ends = matches!(
            word,
            Word::Union | Word::Intersect | Word::Except | Word::Order | Word::Limit | Word::When
        );
        if ends && self.lists.last().is_some_and(|list| list.depth == self.depth) {
            self.end_element();
            self.lists.pop();
        }
    }

    fn finish(mut self) -> String {
        self.depth = 0;
        self.end_lists();
        self.end_element();
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_which_it_is_taken() {
        for (text, expected) in [
            ("SELECT  1 -- one\n;", "select ?"),
            ("select 'it''s', -2, x'00', 1e3", "select ?, ?, ?, ?"),
            ("SELECT a-1, -b, - 1", "select a - ?, - b, ?"),
            ("SELECT \"A\".\"Select\" FROM \"My t\"", "select a.\"select\" from \"my t\""),
            ("SELECT a FROM t WHERE x IN (1, -2,'3')", "select a from t where x in (?)"),
            ("x IN (?) AND f(1, 2)", "x in (?) and f(?, ?)"),
            ("x IN (DATE '2020-01-01', DATE '2020-01-02')", "x in (date ?)"),
            ("x IN (1, a, 2, 3)", "x in (?, a, ?)"),
            ("(x, y) IN ((1, 2), (3, 4))", "(x, y) in ((?, ?))"),
            ("x IN (SELECT y FROM t WHERE z IN (1, 2))", "x in (select y from t where z in (?))"),
            ("INSERT INTO t VALUES (1, 'a'), (2, 'b')", "insert into t values (?, ?)"),
            ("VALUES 1, 2 UNION VALUES 3", "values ? union values ?"),
            ("SELECT a[1], count(*)", "select a [?], count(*)"),
            ("a; b;;", "a; b"),
            ("'open", "?"),
        ] {
            assert_eq!(normalised(text), expected, "{text}");
        }
    }

    #[test]
    fn the_same_in_every_version() {
        assert_eq!(digest("SELECT 1"), digest("select /* x */ 'two' ;"));
        assert_ne!(digest("SELECT a"), digest("SELECT b"));
        assert_eq!(digest("SELECT 1"), "e1c71d1661ae46e0");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "(?si)(in \\(|values |[(),;'\"\\-? ]|1|a|.){0,60}") {
            let once = normalised(&text);
            assert!(once.len() <= 2 * text.len() + 1, "{once}");
        }
    }
}
