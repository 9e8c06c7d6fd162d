//! Expressions: brackets, operators, and the words that may stand between them.

use super::frame::{Bracket, Operand, PRIMARY_RANK, State};
use super::{Problem, Reader};
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

impl Reader<'_, '_> {
    /// Behind a bracket where an expression may stand.
    pub(super) fn open(&mut self) -> Result<(), Problem> {
        if self.is_query_ahead() {
            let frame = self.frame();
            frame.is_query = true;
            frame.is_loose = false;
            frame.state = State::Start;
        } else if self.frame().is_loose {
            self.become_state(State::Loose);
        } else {
            self.become_state(State::Expression);
        }
        Ok(())
    }

    /// Expressions in brackets, or loose words.
    pub(super) fn in_brackets(&mut self) -> Result<(), Problem> {
        let frame = *self.frame();
        match self.cursor.token.what {
            What::Mark(Mark::RightParen | Mark::RightBracket) | What::End => self.close(),
            // `((SELECT 1) UNION SELECT 2)`: it was a query's bracket after all.
            What::Word(_) if frame.is_lone_query && self.is_tail_of_query() => {
                let frame = self.frame();
                frame.is_query = true;
                frame.rank = PRIMARY_RANK;
                self.become_state(State::AfterPrimary);
                Ok(())
            }
            _ => self.expression(),
        }
    }

    /// Whether a query in brackets goes on here.
    pub(super) fn is_tail_of_query(&self) -> bool {
        matches!(
            self.cursor.token.what,
            What::Word(
                Word::Union
                    | Word::Intersect
                    | Word::Except
                    | Word::Order
                    | Word::Limit
                    | Word::Offset
                    | Word::Fetch
            )
        )
    }

    /// One token of an expression.
    pub(super) fn expression(&mut self) -> Result<(), Problem> {
        let operand = match self.cursor.token.what {
            What::Mark(mark) => match self.mark_of_expression(mark)? {
                Some(operand) => operand,
                // A bracket: what it makes is told when it closes.
                None => return Ok(()),
            },
            What::Word(word) if word.is_reserved() => self.reserved(word)?,
            What::End => return self.mismatch(),
            _ => Operand::There,
        };
        let frame = self.frame();
        frame.operand = operand;
        frame.is_untouched = false;
        frame.is_lone_query = false;
        self.cursor.advance();
        Ok(())
    }

    fn mark_of_expression(&mut self, mark: Mark) -> Result<Option<Operand>, Problem> {
        let frame = *self.frame();
        let is_loose = self.is_loose();
        let operand = match mark {
            Mark::LeftParen => {
                self.push(self.state_of_paren(), Bracket::Paren)?;
                return Ok(None);
            }
            Mark::LeftBracket => {
                let state = if is_loose { State::Loose } else { State::Expression };
                self.push(state, Bracket::Square)?;
                return Ok(None);
            }
            // `*` in the place of an expression, or as an operator.
            Mark::Star if frame.operand != Operand::There => Operand::There,
            Mark::Question => Operand::There,
            // They may stand before an operand too.
            Mark::Plus | Mark::Minus => Operand::Wanted,
            Mark::Less if self.is_type_with_angles() => {
                self.frame().angles += 1;
                Operand::Wanted
            }
            Mark::Greater if frame.angles > 0 => {
                self.frame().angles -= 1;
                Operand::There
            }
            Mark::Comma
            | Mark::Dot
            | Mark::Star
            | Mark::Less
            | Mark::Greater
            | Mark::Operator
            | Mark::Equal
            | Mark::Arrow
                if frame.operand == Operand::There || is_loose =>
            {
                Operand::Wanted
            }
            Mark::Semicolon | Mark::Brace | Mark::At | Mark::Pattern
                if is_loose && frame.bracket != Bracket::Text =>
            {
                Operand::There
            }
            _ => return self.mismatch(),
        };
        Ok(Some(operand))
    }

    /// How what stands in a bracket is read, by the word before it.
    fn state_of_paren(&self) -> State {
        match self.cursor.last {
            What::Word(Word::Pattern) => State::Anything,
            What::Word(Word::Table) => State::TableArgument,
            _ => State::Open,
        }
    }

    /// `ARRAY<` and `MAP<`.
    fn is_type_with_angles(&self) -> bool {
        matches!(self.cursor.last, What::Word(Word::Array | Word::Map))
    }

    fn is_loose(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.is_loose || frame.state == State::Loose)
    }

    /// `IS DISTINCT FROM`, where FROM is no clause.
    pub(super) fn is_distinct_from(&self) -> bool {
        self.cursor.last == What::Word(Word::Distinct)
            && matches!(self.cursor.last_but_one, What::Word(Word::Is | Word::Not))
    }

    /// A reserved word in an expression.
    fn reserved(&mut self, word: Word) -> Result<Operand, Problem> {
        let is_loose = self.is_loose();
        let frame = self.frame();
        let is_bracket = frame.state == State::Expression;
        let operand = frame.operand;
        Ok(match word {
            Word::Null
            | Word::True
            | Word::False
            | Word::CurrentCatalog
            | Word::CurrentDate
            | Word::CurrentPath
            | Word::CurrentRole
            | Word::CurrentSchema
            | Word::CurrentTime
            | Word::CurrentTimestamp
            | Word::CurrentUser
            | Word::Localtime
            | Word::Localtimestamp => Operand::There,
            Word::Case => {
                frame.cases += 1;
                Operand::Wanted
            }
            Word::End if frame.cases > 0 && operand == Operand::There => {
                frame.cases -= 1;
                Operand::There
            }
            Word::And | Word::Or if operand == Operand::There => Operand::Wanted,
            // In loose places words stand in orders of which nothing is known.
            _ if is_loose => Operand::There,
            Word::Not
            | Word::In
            | Word::Is
            | Word::Like
            | Word::Between
            | Word::Escape
            | Word::Distinct
            | Word::When
            | Word::Then
            | Word::Else
            | Word::As
            | Word::By
            | Word::Cast
            | Word::Exists
            | Word::Extract
            | Word::Grouping
            | Word::JsonArray
            | Word::JsonExists
            | Word::JsonObject
            | Word::JsonQuery
            | Word::JsonValue
            | Word::Listagg
            | Word::Normalize
            | Word::Trim
            | Word::Cube
            | Word::Rollup
            | Word::Uescape => Operand::Wanted,
            // `EXTRACT(x FROM y)`, `ERROR ON EMPTY`, `TIMESTAMP WITH TIME ZONE`, windows, filters.
            Word::From
            | Word::For
            | Word::On
            | Word::With
            | Word::Order
            | Word::Where
            | Word::Table
                if is_bracket =>
            {
                Operand::Wanted
            }
            Word::From if self.is_distinct_from() => Operand::Wanted,
            Word::Group if self.cursor.last == What::Word(Word::Within) => Operand::Wanted,
            _ => return self.mismatch(),
        })
    }

    /// `TABLE(` in the arguments of a table function: a query or the name of a table.
    pub(super) fn table_argument(&mut self) -> Result<(), Problem> {
        if self.is_query_ahead() || self.cursor.is_mark(Mark::LeftParen) {
            self.frame().is_query = true;
            self.become_state(State::Start);
        } else {
            let name = self.cursor.name()?;
            self.names.table(&name);
            self.become_state(State::Over);
        }
        Ok(())
    }
}
