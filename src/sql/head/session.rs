//! Statements about the session: prepared statements, settings, transactions.

use super::{END, Facts, Follows, LOOSE, loose_or_end};
use crate::sql::cursor::Cursor;
use crate::sql::problem::Problem;
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

/// `EXECUTE name` and `EXECUTE IMMEDIATE 'text'`, up to their USING.
pub(super) fn execute(cursor: &mut Cursor<'_>, _: &mut Facts) -> Result<Follows, Problem> {
    if cursor.is(Word::Immediate) && cursor.peek() == What::Text {
        cursor.advance();
        let text = cursor.token;
        cursor.advance();
        using(cursor)?;
        return Ok(Follows::Immediate(text));
    }
    let name = cursor.identifier()?;
    using(cursor)?;
    Ok(Follows::Prepared(name))
}

fn using(cursor: &Cursor<'_>) -> Result<(), Problem> {
    if cursor.is_end() || cursor.is(Word::Using) { Ok(()) } else { Err(cursor.mismatch()) }
}

/// The others.
pub(super) fn session(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    word: Word,
) -> Result<Follows, Problem> {
    match word {
        Word::Prepare => {
            facts.tell("Prepare");
            cursor.identifier()?;
            cursor.expect(&[Word::From])?;
            return Ok(Follows::Statement);
        }
        Word::Deallocate => {
            facts.tell("Deallocate");
            cursor.expect(&[Word::Prepare])?;
            cursor.identifier()?;
        }
        Word::Use => {
            facts.tell("Use");
            cursor.identifier()?;
            if cursor.eat_mark(Mark::Dot) {
                cursor.identifier()?;
            }
        }
        Word::Start => {
            facts.tell("StartTransaction");
            cursor.expect(&[Word::Transaction])?;
            return Ok(loose_or_end(cursor));
        }
        Word::Commit => {
            facts.tell("Commit");
            cursor.eat(Word::Work);
        }
        Word::Rollback => {
            facts.tell("Rollback");
            cursor.eat(Word::Work);
        }
        Word::Reset => {
            cursor.expect(&[Word::Session])?;
            if cursor.is(Word::Authorization) && cursor.peek() == What::End {
                facts.tell("ResetSessionAuthorization");
                cursor.advance();
            } else {
                facts.tell("ResetSession");
                cursor.name()?;
            }
        }
        _ => return set(cursor, facts),
    }
    Ok(END)
}

fn set(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    if cursor.eat(Word::Session) {
        if cursor.is(Word::Authorization) && cursor.peek() != What::Mark(Mark::Equal) {
            facts.tell("SetSessionAuthorization");
            cursor.advance();
        } else {
            facts.tell("SetSession");
            cursor.name()?;
            cursor.expect_mark(Mark::Equal)?;
        }
    } else if cursor.eat(Word::Role) {
        facts.tell("SetRole");
    } else if cursor.eat(Word::Path) {
        facts.tell("SetPath");
    } else {
        cursor.expect(&[Word::Time, Word::Zone])?;
        facts.tell("SetTimeZone");
    }
    if cursor.is_end() {
        return Err(cursor.mismatch());
    }
    Ok(LOOSE)
}
