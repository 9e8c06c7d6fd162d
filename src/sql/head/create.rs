//! CREATE and DROP.

use super::{END, Facts, Follows, loose_or_end, object};
use crate::sql::cursor::{Cursor, plain};
use crate::sql::problem::Problem;
use crate::sql::reader::Rest;
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

const IF_NOT_EXISTS: [Word; 3] = [Word::If, Word::Not, Word::Exists];
const IF_EXISTS: [Word; 2] = [Word::If, Word::Exists];

/// CREATE.
pub(super) fn create(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    cursor.eat_all(&[Word::Or, Word::Replace]);
    let What::Word(word) = cursor.token.what else {
        return Err(cursor.mismatch());
    };
    let what = *cursor;
    cursor.advance();
    match word {
        Word::Table => table(cursor, facts),
        Word::View => view(cursor, facts, "CreateView"),
        Word::Materialized => {
            cursor.expect(&[Word::View])?;
            view(cursor, facts, "CreateMaterializedView")
        }
        Word::Schema => {
            facts.tell("CreateSchema");
            cursor.eat_all(&IF_NOT_EXISTS);
            let name = cursor.name()?;
            facts.names.schema(&name);
            Ok(loose_or_end(cursor))
        }
        Word::Catalog => {
            facts.tell("CreateCatalog");
            cursor.eat_all(&IF_NOT_EXISTS);
            catalog(cursor, facts)?;
            cursor.expect(&[Word::Using])?;
            cursor.identifier()?;
            Ok(loose_or_end(cursor))
        }
        Word::Function => {
            facts.tell("CreateFunction");
            cursor.name()?;
            cursor.skip_brackets()?;
            Ok(Follows::Rest(Rest::Body))
        }
        Word::Role => {
            facts.tell("CreateRole");
            cursor.identifier()?;
            Ok(loose_or_end(cursor))
        }
        Word::Branch => {
            facts.tell("CreateBranch");
            cursor.eat_all(&IF_NOT_EXISTS);
            cursor.identifier()?;
            if cursor.eat(Word::With) {
                cursor.skip_brackets()?;
            }
            in_table(cursor, facts)?;
            if cursor.eat(Word::From) {
                cursor.identifier()?;
            }
            Ok(END)
        }
        _ => Err(what.mismatch()),
    }
}

/// `IN TABLE name`.
pub(super) fn in_table(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    cursor.expect(&[Word::In, Word::Table])?;
    object(cursor, facts, END)
}

fn catalog(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<(), Problem> {
    let name = cursor.identifier()?;
    facts.names.catalogs.insert(plain(cursor.text(), name));
    Ok(())
}

/// A table with its columns, or one that a query fills.
fn table(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    cursor.eat_all(&IF_NOT_EXISTS);
    // Which of the two it is shows behind the name.
    let name = cursor.name()?;
    facts.names.object(&name);
    let has_columns = cursor.is_mark(Mark::LeftParen);
    if has_columns {
        columns(cursor, facts)?;
    }
    if cursor.eat(Word::Comment) {
        cursor.advance();
    }
    if cursor.eat(Word::With) {
        cursor.skip_brackets()?;
    }
    if cursor.eat(Word::As) {
        facts.tell("CreateTableAsSelect");
        return Ok(Follows::Rest(Rest::QueryWithData));
    }
    facts.tell("CreateTable");
    if has_columns { Ok(END) } else { Err(cursor.mismatch()) }
}

/// The columns of a table, and the tables that it is to be LIKE.
fn columns(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<(), Problem> {
    let mut depth = 0_usize;
    loop {
        match cursor.token.what {
            What::Mark(Mark::LeftParen) => depth += 1,
            What::Mark(Mark::RightParen) => depth = depth.saturating_sub(1),
            What::Word(Word::Like)
                if depth == 1
                    && matches!(cursor.last, What::Mark(Mark::LeftParen | Mark::Comma)) =>
            {
                cursor.advance();
                let name = cursor.name()?;
                facts.names.object(&name);
                continue;
            }
            What::End => return Err(cursor.mismatch()),
            _ => {}
        }
        cursor.advance();
        if depth == 0 {
            return Ok(());
        }
    }
}

/// A view: what stands between its name and its query is passed over.
fn view(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    statement_type: &'static str,
) -> Result<Follows, Problem> {
    facts.tell(statement_type);
    cursor.eat_all(&IF_NOT_EXISTS);
    object(cursor, facts, END)?;
    loop {
        match cursor.token.what {
            What::Word(Word::As) => {
                cursor.advance();
                return Ok(Follows::Rest(Rest::Query));
            }
            What::Word(Word::With) => {
                cursor.advance();
                cursor.skip_brackets()?;
            }
            // COMMENT, SECURITY, GRACE PERIOD, WHEN STALE.
            What::Word(word) if !word.is_reserved() || word == Word::When => cursor.advance(),
            What::Text | What::OtherText => cursor.advance(),
            _ => return Err(cursor.mismatch()),
        }
    }
}

/// DROP.
pub(super) fn drop(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    let What::Word(word) = cursor.token.what else {
        return Err(cursor.mismatch());
    };
    let what = *cursor;
    cursor.advance();
    match word {
        Word::Table | Word::View => {
            facts.tell(if word == Word::Table { "DropTable" } else { "DropView" });
            cursor.eat_all(&IF_EXISTS);
            object(cursor, facts, END)
        }
        Word::Materialized => {
            facts.tell("DropMaterializedView");
            cursor.expect(&[Word::View])?;
            cursor.eat_all(&IF_EXISTS);
            object(cursor, facts, END)
        }
        Word::Schema => {
            facts.tell("DropSchema");
            cursor.eat_all(&IF_EXISTS);
            let name = cursor.name()?;
            facts.names.schema(&name);
            end_of_drop(cursor)
        }
        Word::Catalog => {
            facts.tell("DropCatalog");
            cursor.eat_all(&IF_EXISTS);
            catalog(cursor, facts)?;
            end_of_drop(cursor)
        }
        Word::Function => {
            facts.tell("DropFunction");
            cursor.eat_all(&IF_EXISTS);
            cursor.name()?;
            cursor.skip_brackets()?;
            Ok(END)
        }
        Word::Role => {
            facts.tell("DropRole");
            cursor.identifier()?;
            Ok(loose_or_end(cursor))
        }
        Word::Branch => {
            facts.tell("DropBranch");
            cursor.eat_all(&IF_EXISTS);
            cursor.identifier()?;
            in_table(cursor, facts)
        }
        _ => Err(what.mismatch()),
    }
}

fn end_of_drop(cursor: &mut Cursor<'_>) -> Result<Follows, Problem> {
    if !cursor.eat(Word::Cascade) {
        cursor.eat(Word::Restrict);
    }
    Ok(END)
}
