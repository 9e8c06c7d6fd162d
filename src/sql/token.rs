//! Cuts a statement into the tokens of Trino's lexer. Promises an end for every text, in time that
//! grows with its length alone; what Trino's lexer does not know comes as [`What::Stray`].

use super::word::Word;

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    /// What it is.
    pub what: What,
    /// Its first byte.
    pub start: usize,
    /// Behind its last byte.
    pub end: usize,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A word outside of quotes.
    Word(Word),
    /// `"name"`.
    Quoted,
    /// A name in backquotes, which Trino reads only to refuse it.
    Backquoted,
    /// A word that begins with a digit, which Trino reads only to refuse it.
    DigitFirst,
    /// `'text'`.
    Text,
    /// `U&'text'`, `X'00'`, `$$text$$`.
    OtherText,
    /// `1`, `1.5`, `1e3`, `0xff`.
    Number,
    /// A sign.
    Mark(Mark),
    /// A character that is part of no token.
    Stray,
    /// A quote or comment that has no end; it takes all that is left.
    Unclosed(Open),
    /// The text is over.
    End,
}

/// What was left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// `'`, `$$`.
    Text,
    /// `"` or a backquote.
    Name,
    /// `/*`.
    Comment,
}

/// A sign of one or two characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    LeftParen,
    RightParen,
    LeftBracket,
    RightBracket,
    /// Braces, also those of an exclusion, stand in row patterns alone.
    Brace,
    Dot,
    Comma,
    Semicolon,
    Question,
    Star,
    Plus,
    Minus,
    Less,
    Greater,
    /// `=`, `<>`, `!=`, `<=`, `>=`, `/`, `%`, `||`, `:`.
    Operator,
    Equal,
    /// `->`, `=>`.
    Arrow,
    At,
    /// `|`, `^`, `$`: in row patterns alone.
    Pattern,
}

impl What {
    /// Whether a name may be written so.
    pub(super) fn is_name(self) -> bool {
        match self {
            Self::Word(word) => !word.is_reserved(),
            Self::Quoted | Self::Backquoted | Self::DigitFirst => true,
            _ => false,
        }
    }
}

/// The token that begins at or behind `from`, after blanks and comments.
pub(super) fn token_at(text: &str, from: usize) -> Token {
    #[cfg(test)]
    CUTS.set(CUTS.get() + 1);
    let bytes = text.as_bytes();
    let start = match skip_blank(bytes, from) {
        Ok(start) => start,
        Err(start) => {
            return Token { what: What::Unclosed(Open::Comment), start, end: text.len() };
        }
    };
    let (what, end) = cut(text, start);
    Token { what, start, end }
}

/// Where the next token begins; or where a comment does that has no end.
fn skip_blank(bytes: &[u8], mut at: usize) -> Result<usize, usize> {
    loop {
        match bytes.get(at..).unwrap_or_default() {
            [b' ' | b'\t' | b'\r' | b'\n', ..] => at += 1,
            [b'-', b'-', ..] => at = find(bytes, at, |b| matches!(b, b'\r' | b'\n')),
            // They do not nest.
            [b'/', b'*', rest @ ..] => {
                let end = rest.windows(2).position(|pair| pair == b"*/").ok_or(at)?;
                at += 2 + end + 2;
            }
            _ => return Ok(at),
        }
    }
}

/// The first place from `at` on where `wanted` holds, or the end.
fn find(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(|byte| wanted(*byte)).unwrap_or(rest.len())
}

fn word_end(bytes: &[u8], at: usize) -> usize {
    find(bytes, at, |byte| !byte.is_ascii_alphanumeric() && byte != b'_')
}

fn cut(text: &str, at: usize) -> (What, usize) {
    let bytes = text.as_bytes();
    match bytes.get(at..).unwrap_or_default() {
        [] => (What::End, at),
        [b'\'', ..] => quoted(bytes, at, What::Text, Open::Text),
        [b'"', ..] => quoted(bytes, at, What::Quoted, Open::Name),
        [b'`', ..] => quoted(bytes, at, What::Backquoted, Open::Name),
        [b'u' | b'U', b'&', b'\'', ..] => quoted(bytes, at + 2, What::OtherText, Open::Text),
        // No quote is doubled in it.
        [b'x' | b'X', b'\'', ..] => match find(bytes, at + 2, |byte| byte == b'\'') {
            end if end < bytes.len() => (What::OtherText, end + 1),
            end => (What::Unclosed(Open::Text), end),
        },
        [b'$', b'$', rest @ ..] => match rest.windows(2).position(|pair| pair == b"$$") {
            Some(end) => (What::OtherText, at + 2 + end + 2),
            None => (What::Unclosed(Open::Text), bytes.len()),
        },
        [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..] => number(bytes, at),
        [first, ..] if first.is_ascii_alphabetic() || *first == b'_' => {
            let end = word_end(bytes, at);
            (What::Word(Word::of(&text[at..end])), end)
        }
        [first, second, ..] => mark(*first, *second, text, at),
        [first] => mark(*first, 0, text, at),
    }
}

/// A text in quotes, of which the first stands at `at`; a doubled one is one of the text's own.
fn quoted(bytes: &[u8], at: usize, what: What, open: Open) -> (What, usize) {
    let quote = bytes[at];
    let mut from = at + 1;
    loop {
        let end = find(bytes, from, |byte| byte == quote);
        match bytes.get(end + 1) {
            _ if end == bytes.len() => return (What::Unclosed(open), end),
            Some(next) if *next == quote => from = end + 2,
            _ => return (what, end + 1),
        }
    }
}

/// A number, unless a longer word begins there: `1e3` is one, `1st` is none.
fn number(bytes: &[u8], at: usize) -> (What, usize) {
    let digits = |from: usize| {
        let end = find(bytes, from, |byte| !byte.is_ascii_digit() && byte != b'_');
        // No number ends in `_`.
        (from..end).rev().find(|place| bytes[*place] != b'_').map_or(from, |last| last + 1)
    };
    let radix = |allowed: fn(u8) -> bool| find(bytes, at + 2, |b| !allowed(b) && b != b'_');
    let mut end = match bytes.get(at..at + 2).unwrap_or_default() {
        [b'0', b'x' | b'X'] => radix(|byte| byte.is_ascii_hexdigit()),
        [b'0', b'o' | b'O'] => radix(|byte| matches!(byte, b'0'..=b'7')),
        [b'0', b'b' | b'B'] => radix(|byte| matches!(byte, b'0' | b'1')),
        _ => at,
    };
    if end <= at + 2 {
        end = digits(at);
        if bytes.get(end) == Some(&b'.') {
            end = digits(end + 1);
        }
        if let Some(b'e' | b'E') = bytes.get(end) {
            let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
            let exponent = find(bytes, end + 1 + sign, |byte| !byte.is_ascii_digit());
            if exponent > end + 1 + sign {
                end = exponent;
            }
        }
    }
    let word = word_end(bytes, at);
    if word > end { (What::DigitFirst, word) } else { (What::Number, end) }
}

fn mark(first: u8, second: u8, text: &str, at: usize) -> (What, usize) {
    let (mark, length) = match (first, second) {
        (b'<', b'>' | b'=') | (b'>' | b'!', b'=') | (b'|', b'|') => (Mark::Operator, 2),
        (b'-' | b'=', b'>') => (Mark::Arrow, 2),
        (b'{', b'-') | (b'-', b'}') => (Mark::Brace, 2),
        (b'(', _) => (Mark::LeftParen, 1),
        (b')', _) => (Mark::RightParen, 1),
        (b'[', _) => (Mark::LeftBracket, 1),
        (b']', _) => (Mark::RightBracket, 1),
        (b'{' | b'}', _) => (Mark::Brace, 1),
        (b'.', _) => (Mark::Dot, 1),
        (b',', _) => (Mark::Comma, 1),
        (b';', _) => (Mark::Semicolon, 1),
        (b'?', _) => (Mark::Question, 1),
        (b'*', _) => (Mark::Star, 1),
        (b'+', _) => (Mark::Plus, 1),
        (b'-', _) => (Mark::Minus, 1),
        (b'<', _) => (Mark::Less, 1),
        (b'>', _) => (Mark::Greater, 1),
        (b'=', _) => (Mark::Equal, 1),
        (b'/' | b'%' | b':', _) => (Mark::Operator, 1),
        (b'@', _) => (Mark::At, 1),
        (b'|' | b'^' | b'$', _) => (Mark::Pattern, 1),
        _ => {
            let length = text[at..].chars().next().map_or(1, char::len_utf8);
            return (What::Stray, at + length);
        }
    };
    (What::Mark(mark), at + length)
}

#[cfg(test)]
thread_local! {
    static CUTS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many tokens this thread has cut: the measure of tests of how often a text is gone over.
#[cfg(test)]
pub(super) fn cuts() -> usize {
    CUTS.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_all(text: &str) -> Vec<(What, &str)> {
        let mut found = Vec::new();
        let mut at = 0;
        loop {
            let token = token_at(text, at);
            if token.what == What::End {
                return found;
            }
            found.push((token.what, &text[token.start..token.end]));
            at = token.end;
        }
    }

    #[test]
    fn one_token() {
        for (text, what) in [
            ("'it''s -- no comment'", What::Text),
            ("U&'\\0041'", What::OtherText),
            ("x'00'", What::OtherText),
            ("$$ a ' b $$", What::OtherText),
            ("\"a\"\"b.c\"", What::Quoted),
            ("`a``b`", What::Backquoted),
            ("1st", What::DigitFirst),
            ("1_000", What::Number),
            ("1.5e-3", What::Number),
            (".5", What::Number),
            ("1.", What::Number),
            ("0xFF_00", What::Number),
            ("Select", What::Word(Word::Select)),
            ("_x1", What::Word(Word::Other)),
            ("\u{0}", What::Stray),
            ("ü", What::Stray),
            ("'a", What::Unclosed(Open::Text)),
            ("'a''", What::Unclosed(Open::Text)),
            ("x'", What::Unclosed(Open::Text)),
            ("$$ $", What::Unclosed(Open::Text)),
            ("\"a", What::Unclosed(Open::Name)),
            ("/* a", What::Unclosed(Open::Comment)),
            ("/*/", What::Unclosed(Open::Comment)),
        ] {
            assert_eq!(cut_all(text), [(what, text)]);
        }
        assert_eq!(cut_all(" \n\t-- a\r/* /* */"), []);
    }

    #[test]
    fn several_tokens() {
        for (text, tokens) in [
            ("a.b -- c\n.d", vec!["a", ".", "b", ".", "d"]),
            ("1-- one\n+.5", vec!["1", "+", ".5"]),
            ("a->b=>c<>d||e", vec!["a", "->", "b", "=>", "c", "<>", "d", "||", "e"]),
            ("/* /* */ a */", vec!["a", "*", "/"]),
            ("'a'\"b\"", vec!["'a'", "\"b\""]),
            ("{-A-}", vec!["{-", "A", "-}"]),
            ("1e+", vec!["1e", "+"]),
            ("1.e", vec!["1.", "e"]),
        ] {
            assert_eq!(cut_all(text).iter().map(|(_, text)| *text).collect::<Vec<_>>(), tokens);
        }
    }

    proptest::proptest! {
        #[test]
        fn tokens_follow_each_other(text in "(?s).{0,60}", tail in "['\"`$/*\\-ux&.0-9e{}\n ]{0,20}") {
            let text = text + &tail;
            let mut at = 0;
            loop {
                let token = token_at(&text, at);
                assert!(token.start >= at && text.is_char_boundary(token.start));
                if token.what == What::End {
                    break;
                }
                assert!(token.end > token.start && text.is_char_boundary(token.end));
                at = token.end;
            }
            assert!(text.is_char_boundary(at));
        }
    }
}
