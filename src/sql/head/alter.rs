//! ALTER and COMMENT.

use super::{END, Facts, Follows, LOOSE, create};
use crate::sql::cursor::{Cursor, Name, plain};
use crate::sql::problem::Problem;
use crate::sql::token::What;
use crate::sql::word::Word;

const RENAME_TO: [Word; 2] = [Word::Rename, Word::To];

/// COMMENT ON.
pub(super) fn comment(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("Comment");
    cursor.expect(&[Word::On])?;
    let is_column = cursor.eat(Word::Column);
    if !is_column && !cursor.eat(Word::View) {
        cursor.expect(&[Word::Table])?;
    }
    let name = cursor.name()?;
    if !is_column {
        facts.names.object(&name);
    } else if name.len() > 1 {
        facts.names.object(&name.without_last());
    }
    if cursor.is(Word::Is) { Ok(LOOSE) } else { Err(cursor.mismatch()) }
}

/// ALTER.
pub(super) fn alter(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    let what = *cursor;
    if cursor.eat(Word::Table) {
        cursor.eat_all(&[Word::If, Word::Exists]);
        let name = cursor.name()?;
        alter_table(cursor, facts, &name)
    } else if cursor.eat_all(&[Word::Materialized, Word::View]) {
        cursor.eat_all(&[Word::If, Word::Exists]);
        let name = cursor.name()?;
        alter_view(cursor, facts, &name, "RenameMaterializedView")
    } else if cursor.is(Word::View) {
        cursor.advance();
        let name = cursor.name()?;
        alter_view(cursor, facts, &name, "RenameView")
    } else if cursor.eat(Word::Schema) {
        let name = cursor.name()?;
        alter_schema(cursor, facts, &name)
    } else if cursor.eat(Word::Branch) {
        facts.tell("FastForwardBranch");
        cursor.identifier()?;
        create::in_table(cursor, facts)?;
        cursor.identifier()?;
        cursor.identifier()?;
        cursor.expect(&[Word::To])?;
        cursor.identifier()?;
        Ok(END)
    } else if what.token.what.is_name() {
        // Another kind of thing gets an owner.
        cursor.advance();
        let name = cursor.name()?;
        if name.len() == 3 {
            facts.names.schema(&name.without_last());
        }
        authorization(cursor, facts)
    } else {
        Err(what.mismatch())
    }
}

fn authorization(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    cursor.expect(&[Word::Set, Word::Authorization])?;
    facts.tell("SetAuthorizationStatement");
    if cursor.token.what.is_name() { Ok(LOOSE) } else { Err(cursor.mismatch()) }
}

fn alter_schema(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    name: &Name<'_>,
) -> Result<Follows, Problem> {
    if !cursor.eat_all(&RENAME_TO) {
        facts.names.schema(name);
        return authorization(cursor, facts);
    }
    facts.tell("RenameSchema");
    let target = cursor.identifier()?;
    let target = plain(cursor.text(), target);
    facts.names.renamed_schema(name, target);
    Ok(END)
}

/// The new name of a table or view.
fn rename(cursor: &mut Cursor<'_>, facts: &mut Facts, name: &Name<'_>) -> Result<Follows, Problem> {
    let target = cursor.name()?;
    facts.names.renamed(name, &target);
    Ok(END)
}

fn alter_view(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    name: &Name<'_>,
    renamed: &'static str,
) -> Result<Follows, Problem> {
    if cursor.eat_all(&RENAME_TO) {
        facts.tell(renamed);
        return rename(cursor, facts, name);
    }
    facts.names.object(name);
    if cursor.eat(Word::Refresh) {
        facts.tell("RefreshView");
        return Ok(END);
    }
    if cursor.eat_all(&[Word::Set, Word::Properties]) {
        facts.tell("SetProperties");
        return Ok(LOOSE);
    }
    authorization(cursor, facts)
}

fn alter_table(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    name: &Name<'_>,
) -> Result<Follows, Problem> {
    if cursor.eat_all(&RENAME_TO) {
        facts.tell("RenameTable");
        return rename(cursor, facts, name);
    }
    facts.names.object(name);
    let statement_type = if cursor.eat(Word::Execute) {
        "TableExecute"
    } else if cursor.eat_all(&[Word::Add, Word::Column]) {
        "AddColumn"
    } else if cursor.eat_all(&[Word::Drop, Word::Column]) {
        "DropColumn"
    } else if cursor.eat_all(&[Word::Rename, Word::Column]) {
        "RenameColumn"
    } else if cursor.eat_all(&[Word::Set, Word::Properties]) {
        "SetProperties"
    } else if cursor.eat_all(&[Word::Alter, Word::Column]) {
        cursor.name()?;
        return alter_column(cursor, facts);
    } else {
        return authorization(cursor, facts);
    };
    facts.tell(statement_type);
    if cursor.token.what == What::End { Err(cursor.mismatch()) } else { Ok(LOOSE) }
}

fn alter_column(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    let (statement_type, follows) = if cursor.eat_all(&[Word::Set, Word::Data, Word::Type]) {
        ("SetColumnType", LOOSE)
    } else if cursor.eat_all(&[Word::Set, Word::Default]) {
        ("SetDefaultValue", LOOSE)
    } else if cursor.eat_all(&[Word::Drop, Word::Default]) {
        ("DropDefaultValue", END)
    } else if cursor.eat_all(&[Word::Drop, Word::Not, Word::Null]) {
        ("DropNotNullConstraint", END)
    } else {
        return Err(cursor.mismatch());
    };
    facts.tell(statement_type);
    Ok(follows)
}
