//! SHOW and DESCRIBE.

use super::{END, Facts, Follows, LOOSE, grant, object};
use crate::sql::cursor::Cursor;
use crate::sql::problem::Problem;
use crate::sql::reader::Rest;
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

/// DESCRIBE and DESC.
pub(super) fn describe(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    word: Word,
) -> Result<Follows, Problem> {
    if word == Word::Describe && cursor.peek().is_name() {
        let is_input = cursor.eat(Word::Input);
        if !is_input {
            cursor.expect(&[Word::Output])?;
        }
        facts.tell(if is_input { "DescribeInput" } else { "DescribeOutput" });
        cursor.identifier()?;
        return Ok(END);
    }
    facts.tell("ShowColumns");
    object(cursor, facts, END)
}

/// SHOW.
pub(super) fn show(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    let What::Word(word) = cursor.token.what else {
        return Err(cursor.mismatch());
    };
    let what = *cursor;
    cursor.advance();
    match word {
        Word::Create => return show_create(cursor, facts),
        Word::Stats => return show_stats(cursor, facts),
        Word::Tables => {
            facts.tell("ShowTables");
            if is_from(cursor) {
                let name = cursor.name()?;
                facts.names.schema(&name);
            } else {
                facts.names.default_schema();
            }
        }
        Word::Schemas => {
            facts.tell("ShowSchemas");
            if is_from(cursor) {
                catalog(cursor, facts)?;
            } else {
                facts.names.default_catalog();
            }
        }
        Word::Catalogs => facts.tell("ShowCatalogs"),
        Word::Columns => {
            facts.tell("ShowColumns");
            if !is_from(cursor) {
                return Err(cursor.mismatch());
            }
            object(cursor, facts, END)?;
        }
        Word::Branches => {
            facts.tell("ShowBranches");
            if !is_from(cursor) {
                return Err(cursor.mismatch());
            }
            cursor.expect(&[Word::Table])?;
            object(cursor, facts, END)?;
        }
        Word::Functions => {
            facts.tell("ShowFunctions");
            if is_from(cursor) {
                let name = cursor.name()?;
                facts.names.schema(&name);
            }
        }
        Word::Session => facts.tell("ShowSession"),
        Word::Grants => {
            facts.tell("ShowGrants");
            if cursor.eat(Word::On) {
                grant::grant_object(cursor, facts)?;
            }
        }
        Word::Roles | Word::Current | Word::Role => return show_roles(cursor, facts, word),
        _ => return Err(what.mismatch()),
    }
    like(cursor)
}

/// The pattern that may follow.
fn like(cursor: &Cursor<'_>) -> Result<Follows, Problem> {
    if cursor.is_end() {
        Ok(END)
    } else if cursor.is(Word::Like) {
        Ok(LOOSE)
    } else {
        Err(cursor.mismatch())
    }
}

fn is_from(cursor: &mut Cursor<'_>) -> bool {
    cursor.eat(Word::From) || cursor.eat(Word::In)
}

fn catalog(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<(), Problem> {
    let name = cursor.identifier()?;
    let name = crate::sql::cursor::plain(cursor.text(), name);
    facts.names.catalogs.insert(name);
    Ok(())
}

fn show_create(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("ShowCreate");
    if cursor.eat(Word::Schema) {
        let name = cursor.name()?;
        facts.names.schema(&name);
        return Ok(END);
    }
    if cursor.eat(Word::Function) {
        let name = cursor.name()?;
        if name.len() > 1 {
            facts.names.schema(&name.without_last());
        }
        return Ok(END);
    }
    let is_known = cursor.eat(Word::Table)
        || cursor.eat(Word::View)
        || cursor.eat_all(&[Word::Materialized, Word::View]);
    if is_known { object(cursor, facts, END) } else { Err(cursor.mismatch()) }
}

fn show_stats(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("ShowStats");
    cursor.expect(&[Word::For])?;
    if cursor.is_mark(Mark::LeftParen) {
        return Ok(Follows::Rest(Rest::Query));
    }
    object(cursor, facts, END)
}

fn show_roles(cursor: &mut Cursor<'_>, facts: &mut Facts, word: Word) -> Result<Follows, Problem> {
    match word {
        Word::Current => cursor.expect(&[Word::Roles])?,
        Word::Role => cursor.expect(&[Word::Grants])?,
        _ => {}
    }
    facts.tell(if word == Word::Role { "ShowRoleGrants" } else { "ShowRoles" });
    if is_from(cursor) {
        catalog(cursor, facts)?;
    }
    Ok(END)
}
