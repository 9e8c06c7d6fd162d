//! Why a statement was not read to its end, and the words for it. They are those of Trino where
//! Trino has some, since people know them.

use super::token::{Open, Token, What, token_at};

/// The most characters of a statement that its error repeats.
const SHOWN_MAX: usize = 40;

/// Where the reader stopped, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The first byte of what cannot be read.
    pub at: usize,
    /// What is wrong there.
    pub why: Why,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// This token cannot stand here.
    Mismatched,
    /// A quote or comment has no end.
    Unclosed(Open),
    /// A name in backquotes.
    Backquoted,
    /// A name that begins with a digit.
    DigitFirst,
    /// No token begins so.
    Stray,
    /// Brackets in brackets, deeper than is followed.
    TooDeep,
}

impl Problem {
    /// `token` cannot stand where it stands.
    pub(super) fn mismatched(token: Token) -> Self {
        Self { at: token.start, why: Why::Mismatched }
    }

    /// What is wrong with a token by itself, wherever it stands.
    pub(super) fn of(token: Token) -> Option<Self> {
        let why = match token.what {
            What::Unclosed(open) => Why::Unclosed(open),
            What::Backquoted => Why::Backquoted,
            What::DigitFirst => Why::DigitFirst,
            What::Stray => Why::Stray,
            _ => return None,
        };
        Some(Self { at: token.start, why })
    }

    /// The problem in words, with line and column as Trino counts them.
    pub(super) fn in_words(self, text: &str) -> String {
        let before = &text[..self.at];
        let line = 1 + before.matches('\n').count();
        let column = 1 + before.rsplit('\n').next().unwrap_or_default().chars().count();
        let what = match self.why {
            Why::Mismatched => format!("mismatched input '{}'", shown(text, self.at)),
            Why::Stray => format!("no word begins with '{}'", shown(text, self.at)),
            Why::Unclosed(Open::Text) => "a text has no closing quote".to_owned(),
            Why::Unclosed(Open::Name) => "a quoted name has no closing quote".to_owned(),
            Why::Unclosed(Open::Comment) => "a comment has no `*/`".to_owned(),
            Why::Backquoted => "backquoted identifiers are not supported; \
                                use double quotes to quote identifiers"
                .to_owned(),
            Why::DigitFirst => "identifiers must not start with a digit; \
                                surround the identifier with double quotes"
                .to_owned(),
            Why::TooDeep => "brackets are nested too deep to be followed".to_owned(),
        };
        format!("line {line}:{column}: {what}")
    }
}

fn shown(text: &str, at: usize) -> String {
    let token = token_at(text, at);
    match token.what {
        What::End => "<EOF>".to_owned(),
        _ => text[token.start..token.end].chars().take(SHOWN_MAX).collect(),
    }
}
