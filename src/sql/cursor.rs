//! The place in a statement up to which it was read, and the names that stand there.

use super::problem::Problem;
use super::token::{Mark, Token, What, token_at};
use super::word::Word;

/// A name has at most catalog, schema and table; a column's one may follow.
pub(super) const PARTS_MAX: usize = 4;

/// A place between two tokens. Cheap to copy: whoever must look ahead reads on with a copy.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    /// The token that comes next. Never stray or unclosed.
    pub token: Token,
    /// What came before it.
    pub last: What,
    /// What came before that.
    pub last_but_one: What,
    /// The first thing that Trino's lexer would refuse; it was passed over.
    pub problem: Option<Problem>,
}

impl<'a> Cursor<'a> {
    /// The place before the first token.
    pub(super) fn new(text: &'a str) -> Self {
        let token = Token { what: What::End, start: 0, end: 0 };
        let (last, last_but_one) = (What::End, What::End);
        let mut cursor = Self { text, token, last, last_but_one, problem: None };
        cursor.advance();
        cursor.last = What::End;
        cursor
    }

    /// The statement.
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Goes behind the next token.
    pub(super) fn advance(&mut self) {
        self.last_but_one = self.last;
        self.last = self.token.what;
        loop {
            self.token = token_at(self.text, self.token.end);
            match self.token.what {
                What::Stray => self.note(Problem::of(self.token)),
                What::Backquoted | What::DigitFirst => {
                    self.note(Problem::of(self.token));
                    return;
                }
                What::Unclosed(_) => {
                    self.note(Problem::of(self.token));
                    // What it holds is nobody's token: the statement ends where it began.
                    self.token.what = What::End;
                    return;
                }
                What::Mark(Mark::Semicolon) if is_last_semicolon(self.text, self.token.end) => {
                    // Clients cut it off; Trino refuses it, and so would what follows.
                    self.note(Some(self.mismatch()));
                    self.token.what = What::End;
                    return;
                }
                _ => return,
            }
        }
    }

    /// Keeps the first problem.
    fn note(&mut self, problem: Option<Problem>) {
        if self.problem.is_none() {
            self.problem = problem;
        }
    }

    /// What comes after the next token.
    pub(super) fn peek(&self) -> What {
        let mut ahead = *self;
        ahead.advance();
        ahead.token.what
    }

    /// Whether `word` comes next.
    pub(super) fn is(&self, word: Word) -> bool {
        self.token.what == What::Word(word)
    }

    /// Whether `mark` comes next.
    pub(super) fn is_mark(&self, mark: Mark) -> bool {
        self.token.what == What::Mark(mark)
    }

    /// Whether nothing comes any more.
    pub(super) fn is_end(&self) -> bool {
        self.token.what == What::End
    }

    /// Passes `word` if it comes next, and says whether it did.
    pub(super) fn eat(&mut self, word: Word) -> bool {
        let is_next = self.is(word);
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Passes `mark` if it comes next, and says whether it did.
    pub(super) fn eat_mark(&mut self, mark: Mark) -> bool {
        let is_next = self.is_mark(mark);
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Passes these words, of which none may be left out.
    pub(super) fn expect(&mut self, words: &[Word]) -> Result<(), Problem> {
        for word in words {
            if !self.eat(*word) {
                return Err(self.mismatch());
            }
        }
        Ok(())
    }

    /// Passes a sign that may not be left out.
    pub(super) fn expect_mark(&mut self, mark: Mark) -> Result<(), Problem> {
        if self.eat_mark(mark) { Ok(()) } else { Err(self.mismatch()) }
    }

    /// Passes these words if all of them come next.
    pub(super) fn eat_all(&mut self, words: &[Word]) -> bool {
        let mut ahead = *self;
        let all = words.iter().all(|word| ahead.eat(*word));
        if all {
            *self = ahead;
        }
        all
    }

    /// The next token cannot stand here.
    pub(super) fn mismatch(&self) -> Problem {
        Problem::mismatched(self.token)
    }

    /// One name without dots.
    pub(super) fn identifier(&mut self) -> Result<Token, Problem> {
        if !self.token.what.is_name() {
            return Err(self.mismatch());
        }
        let token = self.token;
        self.advance();
        Ok(token)
    }

    /// A name of one or more parts.
    pub(super) fn name(&mut self) -> Result<Name<'a>, Problem> {
        let first = self.token;
        let mut name = Name { text: self.text, parts: [first; PARTS_MAX], count: 0 };
        loop {
            let part = self.identifier()?;
            if let Some(place) = name.parts.get_mut(name.count) {
                *place = part;
            }
            name.count += 1;
            if !self.eat_mark(Mark::Dot) {
                return Ok(name);
            }
        }
    }

    /// Passes a bracket and all that is in it. Whoever calls this wants nothing of it.
    pub(super) fn skip_brackets(&mut self) -> Result<(), Problem> {
        let mut depth = 0_usize;
        loop {
            match self.token.what {
                What::Mark(Mark::LeftParen) => depth += 1,
                What::Mark(Mark::RightParen) => depth = depth.saturating_sub(1),
                What::End => return Err(self.mismatch()),
                _ => {}
            }
            self.advance();
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The most semicolons in a row that are looked behind.
const SEMICOLONS_MAX: usize = 8;

/// Whether nothing but semicolons stands behind one.
fn is_last_semicolon(text: &str, mut at: usize) -> bool {
    for _ in 0..SEMICOLONS_MAX {
        let token = token_at(text, at);
        match token.what {
            What::End => return true,
            What::Mark(Mark::Semicolon) => at = token.end,
            _ => return false,
        }
    }
    false
}

/// A name as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    text: &'a str,
    parts: [Token; PARTS_MAX],
    count: usize,
}

impl Name<'_> {
    /// How many parts it has.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// A part, as Trino compares it: without quotes and in small letters.
    pub(super) fn part(&self, place: usize) -> String {
        self.parts.get(place).map(|part| plain(self.text, *part)).unwrap_or_default()
    }

    /// Without its last part, which names a column.
    pub(super) fn without_last(mut self) -> Self {
        self.count = self.count.saturating_sub(1);
        self
    }
}

/// A name without quotes and in small letters.
pub(super) fn plain(text: &str, token: Token) -> String {
    unquoted(text, token).to_lowercase()
}

/// What stands between the quotes of a name or text, if it has some.
pub(super) fn unquoted(text: &str, token: Token) -> String {
    let whole = &text[token.start..token.end];
    let quote = match token.what {
        What::Quoted => '"',
        What::Backquoted => '`',
        What::Text => '\'',
        _ => return whole.to_owned(),
    };
    let inner = whole.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let doubled: String = [quote, quote].iter().collect();
    inner.unwrap_or_default().replace(&doubled, quote.encode_utf8(&mut [0; 4]))
}
