//! What stands behind FROM: tables, queries in brackets, joins, table functions.

use super::frame::{Bracket, Frame, Operand, PRIMARY_RANK, State};
use super::{Problem, Reader};
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

impl Reader<'_, '_> {
    /// A relation.
    pub(super) fn relation(&mut self) -> Result<(), Problem> {
        let is_first = self.frame().is_untouched;
        if is_first && self.frame().is_relations && self.is_query_ahead() {
            let frame = self.frame();
            frame.is_relations = false;
            frame.is_query = true;
            frame.state = State::Start;
            return Ok(());
        }
        let frame = self.frame();
        frame.has_alias = false;
        frame.state = State::AfterRelation;
        let is_call = self.cursor.peek() == What::Mark(Mark::LeftParen);
        self.names.has_relation = true;
        match self.cursor.token.what {
            What::Mark(Mark::LeftParen) => {
                self.push(State::Relation, Bracket::Paren)?;
                self.frame().is_relations = true;
                return Ok(());
            }
            What::Word(Word::Lateral) if is_call => {
                self.touch();
                self.cursor.advance();
                self.push_paren(State::Start)?;
            }
            What::Word(Word::Unnest) => {
                self.touch();
                self.cursor.advance();
                self.push_paren(State::Open)?;
            }
            What::Word(Word::Table) => {
                self.touch();
                self.cursor.advance();
                self.push_paren(State::TableFunction)?;
            }
            What::Word(Word::JsonTable) => {
                self.touch();
                self.cursor.advance();
                self.push_paren(State::Loose)?;
            }
            _ => self.named_relation()?,
        }
        Ok(())
    }

    fn named_relation(&mut self) -> Result<(), Problem> {
        let name = self.cursor.name()?;
        self.names.table(&name);
        self.touch();
        // `FOR TIMESTAMP AS OF expression`.
        if self.cursor.eat(Word::For) {
            if !self.cursor.eat(Word::Timestamp) {
                self.cursor.expect(&[Word::Version])?;
            }
            self.cursor.expect(&[Word::As])?;
            self.cursor.identifier()?;
            self.frame().operand = Operand::Wanted;
            self.become_state(State::Period);
        }
        Ok(())
    }

    /// The moment of `AS OF`: a value, which ends where no operator goes on.
    pub(super) fn period(&mut self) -> Result<(), Problem> {
        let is_there = self.frame().operand == Operand::There;
        let goes_on = match self.cursor.token.what {
            What::Mark(Mark::Comma | Mark::RightParen) | What::End => false,
            What::Mark(_) | What::Text | What::OtherText => true,
            // `INTERVAL '1' DAY`, `AT TIME ZONE 'UTC'`.
            What::Word(_) => !is_there || self.is_part_of_time(),
            _ => !is_there,
        };
        if goes_on {
            return self.expression();
        }
        if !is_there {
            return self.mismatch();
        }
        self.become_state(State::AfterRelation);
        Ok(())
    }

    fn is_part_of_time(&self) -> bool {
        let token = self.cursor.token;
        let word = &self.cursor.text()[token.start..token.end];
        ["year", "month", "day", "hour", "minute", "second", "at", "time", "zone", "to"]
            .iter()
            .any(|part| word.eq_ignore_ascii_case(part))
    }

    /// `TABLE(name(arguments))`.
    pub(super) fn table_function(&mut self) -> Result<(), Problem> {
        let name = self.cursor.name()?;
        self.names.function(&name);
        self.become_state(State::Over);
        self.push_paren(State::Open)
    }

    fn touch(&mut self) {
        let frame = self.frame();
        frame.is_untouched = false;
        frame.is_lone_query = false;
    }

    /// Aliases, samples, the next relation, or the end of FROM.
    pub(super) fn after_relation(&mut self) -> Result<(), Problem> {
        let frame = *self.frame();
        if frame.is_relations && frame.is_lone_query && self.is_tail_of_query() {
            let frame = self.frame();
            frame.is_relations = false;
            frame.is_query = true;
            frame.rank = PRIMARY_RANK;
            frame.state = State::AfterPrimary;
            return Ok(());
        }
        let what = self.cursor.token.what;
        if matches!(what, What::Mark(Mark::RightParen) | What::End) {
            return self.close();
        }
        if self.next_relation(&frame)? {
            return Ok(());
        }
        let What::Word(word) = what else {
            return self.alias();
        };
        if word == Word::With && self.cursor.peek() == What::Word(Word::Ordinality) {
            self.cursor.advance();
            self.cursor.advance();
            self.touch();
            return Ok(());
        }
        if self.leave_from(word, &frame)? {
            return Ok(());
        }
        if word.is_reserved() && word != Word::As { self.mismatch() } else { self.alias() }
    }

    /// `[AS] alias [(columns)]`, TABLESAMPLE and MATCH_RECOGNIZE.
    fn alias(&mut self) -> Result<(), Problem> {
        self.touch();
        if self.cursor.is(Word::Tablesample) && self.cursor.peek().is_name() {
            self.cursor.advance();
            self.cursor.advance();
            return self.push_paren(State::Open);
        }
        let is_call = self.cursor.peek() == What::Mark(Mark::LeftParen);
        if self.cursor.is(Word::MatchRecognize) && is_call {
            self.frame().has_alias = false;
            self.cursor.advance();
            return self.push_paren(State::Loose);
        }
        if self.frame().has_alias {
            return self.mismatch();
        }
        self.cursor.eat(Word::As);
        self.cursor.identifier()?;
        self.frame().has_alias = true;
        if self.cursor.is_mark(Mark::LeftParen) {
            return self.push_paren(State::Open);
        }
        Ok(())
    }

    /// The condition of a join.
    pub(super) fn on(&mut self) -> Result<(), Problem> {
        let frame = *self.frame();
        let what = self.cursor.token.what;
        if matches!(what, What::Mark(Mark::RightParen) | What::End) {
            return self.close();
        }
        // What a MERGE does: assignments and values.
        if frame.is_merge && frame.cases == 0 && what == What::Word(Word::When) {
            self.end_expression(&frame)?;
            self.frame().is_merge = false;
            self.become_state(State::Loose);
            return Ok(());
        }
        if self.next_relation(&frame)? {
            return Ok(());
        }
        match what {
            What::Word(word) if self.leave_from(word, &frame)? => Ok(()),
            _ => self.expression(),
        }
    }

    /// Commas, joins and their conditions. Says whether there was one.
    fn next_relation(&mut self, frame: &Frame) -> Result<bool, Problem> {
        let state = match self.cursor.token.what {
            // The commas of an expression stand in its brackets.
            What::Mark(Mark::Comma) => {
                self.end_expression(frame)?;
                if frame.joins > 0 || frame.is_merge || frame.is_relations {
                    return self.mismatch();
                }
                self.cursor.advance();
                State::Relation
            }
            What::Word(Word::On) if frame.joins > 0 || frame.is_merge => {
                self.end_expression(frame)?;
                self.cursor.advance();
                let frame = self.frame();
                frame.joins = frame.joins.saturating_sub(1);
                frame.operand = Operand::Wanted;
                State::On
            }
            What::Word(Word::Using) if frame.joins > 0 => {
                self.end_expression(frame)?;
                self.cursor.advance();
                self.frame().joins -= 1;
                self.become_state(State::AfterRelation);
                self.push_paren(State::Open)?;
                return Ok(true);
            }
            What::Word(
                Word::Cross
                | Word::Join
                | Word::Inner
                | Word::Left
                | Word::Right
                | Word::Full
                | Word::Natural,
            ) => {
                self.end_expression(frame)?;
                self.join()?;
                State::Relation
            }
            _ => return Ok(false),
        };
        self.touch();
        self.become_state(state);
        Ok(true)
    }

    fn join(&mut self) -> Result<(), Problem> {
        if self.cursor.eat_all(&[Word::Cross, Word::Join]) {
            return Ok(());
        }
        let is_natural = self.cursor.eat(Word::Natural);
        if !self.cursor.eat(Word::Inner) {
            let is_sided = self.cursor.eat(Word::Left)
                || self.cursor.eat(Word::Right)
                || self.cursor.eat(Word::Full);
            if is_sided {
                self.cursor.eat(Word::Outer);
            }
        }
        self.cursor.expect(&[Word::Join])?;
        if !is_natural {
            self.frame().joins += 1;
        }
        Ok(())
    }

    /// The clause behind FROM, if `word` begins one.
    fn leave_from(&mut self, word: Word, frame: &Frame) -> Result<bool, Problem> {
        let here = self.cursor.mismatch();
        let left = self.next_clause(word, frame)?;
        if left && (frame.joins > 0 || frame.is_relations || frame.is_merge) {
            return Err(here);
        }
        Ok(left)
    }
}
