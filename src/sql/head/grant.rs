//! GRANT, REVOKE and DENY, and what they are about.

use super::{Facts, Follows, LOOSE};
use crate::sql::cursor::Cursor;
use crate::sql::problem::Problem;
use crate::sql::token::{Mark, What};
use crate::sql::word::Word;

/// Privileges or roles, for whom.
pub(super) fn grant(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    word: Word,
) -> Result<Follows, Problem> {
    loop {
        match cursor.token.what {
            What::Word(Word::On) => break,
            What::Word(Word::To | Word::From) => {
                facts.tell(match word {
                    Word::Grant => "GrantRoles",
                    Word::Revoke => "RevokeRoles",
                    _ => "Deny",
                });
                cursor.advance();
                return end_of_grant(cursor);
            }
            What::Mark(Mark::Comma) => {}
            // The words of privileges are reserved ones in part; FOR is that of `OPTION FOR`.
            What::Word(
                Word::Create
                | Word::Select
                | Word::Delete
                | Word::Insert
                | Word::Execute
                | Word::For,
            ) => {}
            what if what.is_name() => {}
            _ => return Err(cursor.mismatch()),
        }
        cursor.advance();
    }
    facts.tell(match word {
        Word::Grant => "Grant",
        Word::Revoke => "Revoke",
        _ => "Deny",
    });
    cursor.advance();
    grant_object(cursor, facts)?;
    if !cursor.eat(Word::To) {
        cursor.expect(&[Word::From])?;
    }
    end_of_grant(cursor)
}

fn end_of_grant(cursor: &Cursor<'_>) -> Result<Follows, Problem> {
    if cursor.token.what.is_name() { Ok(LOOSE) } else { Err(cursor.mismatch()) }
}

/// `[BRANCH branch IN] [TABLE | SCHEMA | kind] name`.
pub(super) fn grant_object(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<(), Problem> {
    if cursor.is(Word::Branch) && cursor.peek().is_name() {
        cursor.advance();
        cursor.identifier()?;
        cursor.expect(&[Word::In])?;
    }
    if cursor.eat(Word::Table) {
        let name = cursor.name()?;
        facts.names.object(&name);
    } else if cursor.is(Word::Schema) && is_kind(cursor) {
        cursor.advance();
        let name = cursor.name()?;
        facts.names.schema(&name);
    } else if is_kind(cursor) {
        let is_view = cursor.is(Word::View);
        cursor.identifier()?;
        let name = cursor.name()?;
        if is_view {
            facts.names.object(&name);
        } else if name.len() == 3 {
            // A function, say: what is known of it is where it lies.
            facts.names.schema(&name.without_last());
        }
    } else {
        let name = cursor.name()?;
        facts.names.object(&name);
    }
    Ok(())
}

/// Whether the next word is the kind of a thing, and not its name before `TO`.
fn is_kind(cursor: &Cursor<'_>) -> bool {
    let next = cursor.peek();
    next.is_name() && next != What::Word(Word::To)
}
