//! Reads queries and expressions: which relations they name, and whether all of it has the shape of
//! Trino's grammar. Promises to end for every text, in linear time and without recursion: what is
//! open lies on a stack of our own. Of expressions it follows brackets, operators and words, not
//! precedence and types: what surrounds a name must be right, what Trino makes of it is Trino's.

mod expression;
mod frame;
mod query;
mod relation;

use self::frame::{Bracket, Frame, Operand, State};
use super::cursor::Cursor;
use super::names::Names;
use super::problem::{Problem, Why};
use super::token::{Mark, What};
use super::word::Word;

/// The most brackets in brackets. Trino gives up on far fewer; a frame is 40 bytes.
const DEPTH_MAX: usize = 50_000;

/// What follows a statement's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing.
    End,
    /// A query.
    Query,
    /// A query, and `WITH DATA` or `WITH NO DATA`.
    QueryWithData,
    /// Expressions, properties, assignments: any words in balanced brackets.
    Loose,
    /// Arguments in brackets.
    Brackets,
    /// The condition behind WHERE.
    Condition,
    /// Assignments, and WHERE.
    Assignments,
    /// The relation of a MERGE, and what to do with it.
    Merge,
    /// The body of a function, which holds no query.
    Body,
}

/// Reads `rest` from where `cursor` stands to the end of the text.
pub(super) fn read(cursor: &mut Cursor<'_>, names: &mut Names, rest: Rest) -> Result<(), Problem> {
    let mut base = Frame::new(Bracket::Text, names.mark());
    base.state = match rest {
        Rest::End | Rest::Brackets => State::Over,
        Rest::Query | Rest::QueryWithData => State::Start,
        Rest::Loose => State::Loose,
        Rest::Condition | Rest::Assignments => State::Clause,
        Rest::Merge => State::Relation,
        Rest::Body => State::Anything,
    };
    base.is_query = base.state == State::Start;
    if base.state == State::Clause {
        base.operand = Operand::Wanted;
        // Behind the assignments comes WHERE, behind the condition no clause.
        base.rank = if rest == Rest::Assignments { 2 } else { frame::LAST_RANK };
    }
    base.takes_data = rest == Rest::QueryWithData;
    if rest == Rest::Merge {
        base.is_merge = true;
        // No clause of a query may follow.
        base.rank = frame::LAST_RANK;
    }
    let mut reader = Reader { cursor, names, frames: vec![base], pending: Vec::new() };
    if rest == Rest::Brackets {
        reader.push_paren(State::Open)?;
    }
    reader.run()
}

struct Reader<'a, 'r> {
    cursor: &'r mut Cursor<'a>,
    names: &'r mut Names,
    /// What is open; the last one is read.
    frames: Vec<Frame>,
    /// Names of WITH whose own query is read.
    pending: Vec<String>,
}

impl<'a> Reader<'a, '_> {
    fn run(mut self) -> Result<(), Problem> {
        while let Some(frame) = self.frames.last() {
            let state = frame.state;
            match state {
                State::Open => self.open()?,
                State::Expression | State::Loose => self.in_brackets()?,
                State::Anything => self.anything()?,
                State::TableArgument => self.table_argument()?,
                State::TableFunction => self.table_function()?,
                State::Over => self.close()?,
                State::Start => self.start()?,
                State::WithItem => self.with_item()?,
                State::WithDone => self.with_done()?,
                State::Routine => self.routine()?,
                State::Clause => self.clause()?,
                State::Relation => self.relation()?,
                State::AfterRelation => self.after_relation()?,
                State::Period => self.period()?,
                State::On => self.on()?,
                State::AfterPrimary => self.after_primary()?,
            }
        }
        Ok(())
    }

    /// What is read. There is one while there is something to read.
    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("`run` ends with the last frame")
    }

    fn become_state(&mut self, state: State) {
        self.frame().state = state;
    }

    fn mismatch<T>(&self) -> Result<T, Problem> {
        Err(self.cursor.mismatch())
    }

    /// Passes an opening bracket; what is in it is read as `state`.
    fn push(&mut self, state: State, bracket: Bracket) -> Result<(), Problem> {
        if self.frames.len() >= DEPTH_MAX {
            return Err(Problem { at: self.cursor.token.start, why: Why::TooDeep });
        }
        let mut frame = Frame::new(bracket, self.names.mark());
        frame.state = state;
        frame.is_query = state == State::Start;
        frame.is_loose = self.frame().is_loose || self.frame().state == State::Loose;
        self.cursor.advance();
        self.frames.push(frame);
        Ok(())
    }

    /// Passes `(`, which may not be left out.
    fn push_paren(&mut self, state: State) -> Result<(), Problem> {
        if !self.cursor.is_mark(Mark::LeftParen) {
            return self.mismatch();
        }
        self.push(state, Bracket::Paren)
    }

    /// Ends what is read: the next token must be what closes it.
    fn close(&mut self) -> Result<(), Problem> {
        let closer = match self.cursor.token.what {
            What::Mark(Mark::RightParen) => Bracket::Paren,
            What::Mark(Mark::RightBracket) => Bracket::Square,
            What::End => Bracket::Text,
            _ => return self.mismatch(),
        };
        let frame = *self.frame();
        if frame.bracket != closer || !frame.may_end() {
            return self.mismatch();
        }
        self.names.leave(frame.names);
        self.frames.pop();
        if closer != Bracket::Text {
            self.cursor.advance();
            let is_query = frame.is_query || frame.is_lone_query;
            let outer = self.frame();
            outer.is_lone_query = is_query && outer.is_untouched;
            outer.is_untouched = false;
            outer.operand = Operand::There;
        }
        Ok(())
    }

    /// Row patterns and bodies of functions: balanced, and nothing of ours.
    fn anything(&mut self) -> Result<(), Problem> {
        match self.cursor.token.what {
            What::Mark(Mark::LeftParen) => self.push(State::Anything, Bracket::Paren),
            What::Mark(Mark::LeftBracket) => self.push(State::Anything, Bracket::Square),
            What::Mark(Mark::RightParen | Mark::RightBracket) | What::End => self.close(),
            _ => {
                self.cursor.advance();
                Ok(())
            }
        }
    }

    /// Whether the next token begins a query wherever an expression or a relation may stand.
    fn is_query_ahead(&self) -> bool {
        match self.cursor.token.what {
            What::Word(Word::Select | Word::With | Word::Values) => true,
            What::Word(Word::Table) => self.cursor.peek() != What::Mark(Mark::LeftParen),
            _ => false,
        }
    }
}
