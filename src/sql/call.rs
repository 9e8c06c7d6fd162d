//! CALL, and the one procedure whose argument names a query: `system.runtime.kill_query`.

use super::cursor::{Cursor, plain, unquoted};
use super::head::{Facts, Follows};
use super::problem::Problem;
use super::reader::Rest;
use super::token::{Mark, What};

/// Reads the name of a procedure, and looks ahead into the arguments of the one that kills.
pub(super) fn read(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("Call");
    let name = cursor.name()?;
    if !cursor.is_mark(Mark::LeftParen) {
        return Err(cursor.mismatch());
    }
    let whole = facts.names.resolve(&name);
    if whole.is_some_and(|whole| whole.is("system", "runtime", "kill_query")) {
        facts.killed = killed(*cursor);
    }
    Ok(Follows::Rest(Rest::Brackets))
}

/// The literal for `query_id`, by its name or as the first argument.
fn killed(mut cursor: Cursor<'_>) -> Option<String> {
    cursor.advance();
    let mut is_first = true;
    loop {
        let mut is_id = is_first;
        if cursor.token.what.is_name() && cursor.peek() == What::Mark(Mark::Arrow) {
            is_id = plain(cursor.text(), cursor.token) == "query_id";
            cursor.advance();
            cursor.advance();
        }
        let value = cursor.token;
        cursor.advance();
        let is_whole = cursor.is_mark(Mark::Comma) || cursor.is_mark(Mark::RightParen);
        if is_id {
            let is_literal = value.what == What::Text && is_whole;
            return is_literal.then(|| unquoted(cursor.text(), value));
        }
        if !is_whole || !cursor.eat_mark(Mark::Comma) {
            return None;
        }
        is_first = false;
    }
}
