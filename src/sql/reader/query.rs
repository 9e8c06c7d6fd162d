//! Queries: WITH, the clauses in their order, UNION and its like.

use super::frame::{Frame, LAST_RANK, Operand, PRIMARY_RANK, State};
use super::{Problem, Reader};
use crate::sql::cursor::plain;
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

impl Reader<'_, '_> {
    /// Where a query begins.
    pub(super) fn start(&mut self) -> Result<(), Problem> {
        let has_with = self.frame().has_with;
        match self.cursor.token.what {
            What::Word(Word::With) if !has_with => self.with(),
            What::Word(Word::Select) => {
                self.cursor.advance();
                self.enter_clause(1);
                Ok(())
            }
            What::Word(Word::Values) => {
                self.cursor.advance();
                self.enter_clause(PRIMARY_RANK);
                Ok(())
            }
            What::Word(Word::Table) => {
                self.cursor.advance();
                let name = self.cursor.name()?;
                self.names.table(&name);
                self.enter_primary();
                Ok(())
            }
            What::Mark(Mark::LeftParen) => {
                self.enter_primary();
                self.push_paren(State::Start)
            }
            _ => self.mismatch(),
        }
    }

    fn enter_primary(&mut self) {
        let frame = self.frame();
        frame.rank = PRIMARY_RANK;
        frame.has_with = true;
        frame.state = State::AfterPrimary;
    }

    /// Enters the clause of this rank, in which expressions stand.
    fn enter_clause(&mut self, rank: u8) {
        let frame = self.frame();
        frame.rank = rank;
        frame.has_with = true;
        frame.operand = Operand::Wanted;
        frame.state = State::Clause;
    }

    fn with(&mut self) -> Result<(), Problem> {
        self.cursor.advance();
        let is_routine = self.cursor.is(Word::Function) || self.cursor.is(Word::Session);
        // A name may be one of these words too: `WITH session AS (…)`.
        let is_named = matches!(self.cursor.peek(), What::Word(Word::As) | What::Mark(_));
        if is_routine && !is_named {
            self.become_state(State::Routine);
            return Ok(());
        }
        let is_recursive = self.cursor.eat(Word::Recursive);
        let frame = self.frame();
        frame.has_with = true;
        frame.is_recursive = is_recursive;
        frame.state = State::WithItem;
        Ok(())
    }

    /// `name (columns) AS (query)`. The name counts from the end of its query on, or within it too
    /// if WITH is RECURSIVE.
    pub(super) fn with_item(&mut self) -> Result<(), Problem> {
        let name = self.cursor.identifier()?;
        if self.cursor.is_mark(Mark::LeftParen) {
            self.cursor.skip_brackets()?;
        }
        self.cursor.expect(&[Word::As])?;
        let name = plain(self.cursor.text(), name);
        let is_recursive = self.frame().is_recursive;
        if is_recursive {
            self.names.declare(name);
        } else {
            self.pending.push(name);
        }
        self.become_state(State::WithDone);
        self.push_paren(State::Start)
    }

    pub(super) fn with_done(&mut self) -> Result<(), Problem> {
        let is_recursive = self.frame().is_recursive;
        if !is_recursive && let Some(name) = self.pending.pop() {
            self.names.declare(name);
        }
        let is_more = self.cursor.eat_mark(Mark::Comma);
        self.become_state(if is_more { State::WithItem } else { State::Start });
        Ok(())
    }

    /// `WITH FUNCTION …, FUNCTION …` and `WITH SESSION …`: up to where the query begins.
    pub(super) fn routine(&mut self) -> Result<(), Problem> {
        match self.cursor.token.what {
            What::Word(Word::Select | Word::Values | Word::Table) => {
                self.become_state(State::Start);
            }
            What::Word(Word::With) => {
                // A type in a body: `TIMESTAMP WITH TIME ZONE`.
                if self.cursor.peek() == What::Word(Word::Time) {
                    self.cursor.advance();
                } else {
                    self.become_state(State::Start);
                }
            }
            What::Mark(Mark::LeftParen) => {
                self.frame().is_untouched = true;
                return self.push_paren(State::Open);
            }
            What::Mark(Mark::RightParen) | What::End => return self.close(),
            _ => {
                self.cursor.advance();
                self.frame().is_lone_query = false;
            }
        }
        Ok(())
    }

    /// The expressions of a clause, and what follows it.
    pub(super) fn clause(&mut self) -> Result<(), Problem> {
        let frame = *self.frame();
        match self.cursor.token.what {
            What::Mark(Mark::RightParen | Mark::RightBracket) | What::End => self.close(),
            What::Word(Word::From) if frame.rank == 1 && !self.is_distinct_from() => {
                self.end_expression(&frame)?;
                self.cursor.advance();
                self.frame().rank = 2;
                self.become_state(State::Relation);
                Ok(())
            }
            // An UPDATE or DELETE has one clause alone.
            What::Word(word) if frame.is_query || word == Word::Where => {
                if self.next_clause(word, &frame)? { Ok(()) } else { self.expression() }
            }
            _ => self.expression(),
        }
    }

    /// Goes into the clause that `word` begins, if it begins one.
    pub(super) fn next_clause(&mut self, word: Word, frame: &Frame) -> Result<bool, Problem> {
        let rank = match word {
            Word::Where => 3,
            Word::Group if self.cursor.last != What::Word(Word::Within) => 4,
            Word::Having => 5,
            Word::Window if frame.may_end_clause() && self.is_window() => 6,
            Word::Union | Word::Intersect | Word::Except => return self.set_operation(frame),
            Word::Order => 7,
            Word::Offset if frame.may_end_clause() && self.is_count_ahead() => 8,
            Word::Limit if frame.may_end_clause() && self.is_count_ahead() => LAST_RANK,
            Word::Fetch if frame.may_end_clause() && self.is_fetch() => LAST_RANK,
            Word::With if frame.rank == LAST_RANK && self.is_ties() => {
                self.cursor.advance();
                self.cursor.advance();
                return Ok(true);
            }
            Word::With if frame.takes_data => return self.data(frame),
            _ => return Ok(false),
        };
        self.end_expression(frame)?;
        // VALUES and a query in brackets have the rank of the last clause before ORDER BY.
        if frame.rank >= rank {
            return self.mismatch();
        }
        self.cursor.advance();
        if matches!(word, Word::Group | Word::Order) {
            self.cursor.expect(&[Word::By])?;
        }
        self.enter_clause(rank);
        Ok(true)
    }

    /// UNION, INTERSECT, EXCEPT: another query follows.
    fn set_operation(&mut self, frame: &Frame) -> Result<bool, Problem> {
        self.end_expression(frame)?;
        if frame.rank > PRIMARY_RANK {
            return self.mismatch();
        }
        self.cursor.advance();
        if !self.cursor.eat(Word::All) {
            self.cursor.eat(Word::Distinct);
        }
        if self.cursor.eat(Word::Corresponding) && self.cursor.eat(Word::By) {
            self.cursor.skip_brackets()?;
        }
        let frame = self.frame();
        frame.rank = 0;
        frame.has_with = true;
        frame.state = State::Start;
        Ok(true)
    }

    /// `WITH DATA`, `WITH NO DATA`: the end of a statement.
    fn data(&mut self, frame: &Frame) -> Result<bool, Problem> {
        self.end_expression(frame)?;
        self.cursor.advance();
        self.cursor.eat(Word::No);
        self.cursor.expect(&[Word::Data])?;
        self.become_state(State::Over);
        Ok(true)
    }

    /// The expression before the next word must be whole.
    pub(super) fn end_expression(&self, frame: &Frame) -> Result<(), Problem> {
        if frame.may_end_clause() { Ok(()) } else { self.mismatch() }
    }

    /// `WINDOW name AS`.
    fn is_window(&self) -> bool {
        let mut ahead = *self.cursor;
        ahead.advance();
        ahead.identifier().is_ok() && ahead.is(Word::As)
    }

    fn is_count_ahead(&self) -> bool {
        matches!(
            self.cursor.peek(),
            What::Number | What::Mark(Mark::Question) | What::Word(Word::All)
        )
    }

    fn is_fetch(&self) -> bool {
        matches!(self.cursor.peek(), What::Word(Word::First | Word::Next))
    }

    fn is_ties(&self) -> bool {
        self.cursor.peek() == What::Word(Word::Ties)
    }

    /// Behind a query in brackets, or `TABLE name`.
    pub(super) fn after_primary(&mut self) -> Result<(), Problem> {
        let frame = *self.frame();
        match self.cursor.token.what {
            What::Mark(Mark::RightParen) | What::End => self.close(),
            What::Word(word) => {
                if self.next_clause(word, &frame)? {
                    Ok(())
                } else {
                    self.mismatch()
                }
            }
            _ => self.mismatch(),
        }
    }
}

impl Frame {
    /// Whether what is read of a clause can be its end.
    fn may_end_clause(&self) -> bool {
        match self.state {
            State::Clause | State::On => self.operand == Operand::There && self.cases == 0,
            _ => true,
        }
    }
}
