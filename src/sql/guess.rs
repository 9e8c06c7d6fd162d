//! Names in a statement that the reader could not follow to its end: what stands behind FROM, JOIN,
//! INTO, UPDATE and TABLE. A guess that says so; it fails no query.

use super::cursor::{Cursor, plain};
use super::names::Names;
use super::token::{Mark, What};
use super::word::Word;

/// Looks for names from where `cursor` stands on: the statement's beginning, since a list that was
/// begun before the place where reading stopped may go on behind it.
pub(super) fn read(mut cursor: Cursor<'_>, names: &mut Names) {
    // Names of WITH may be declared behind their use in a text that is not followed.
    declare(cursor, names);
    // For each bracket whether it holds a query; FROM of `EXTRACT(x FROM y)` names no table.
    let mut is_query = vec![true];
    let mut is_list = false;
    loop {
        let what = cursor.token.what;
        match what {
            What::End => return,
            What::Mark(Mark::LeftParen) => is_query.push(false),
            What::Mark(Mark::RightParen) => {
                if is_query.len() > 1 {
                    is_query.pop();
                }
                is_list = false;
            }
            What::Word(Word::Select | Word::Delete) => {
                if let Some(top) = is_query.last_mut() {
                    *top = true;
                }
            }
            _ => {}
        }
        let is_in_query = is_query.last().copied().unwrap_or_default();
        let names_table = match what {
            What::Word(Word::From) => is_in_query && cursor.last != What::Word(Word::Distinct),
            What::Word(Word::Join | Word::Into | Word::Update | Word::Table) => true,
            What::Mark(Mark::Comma) => is_list && is_in_query,
            _ => false,
        };
        if let What::Word(word) = what {
            is_list = match word {
                Word::From => names_table,
                Word::As => is_list,
                word if word.is_reserved() => false,
                _ => is_list,
            };
        }
        cursor.advance();
        // `THEN UPDATE SET …` of a MERGE names none.
        if names_table && cursor.token.what.is_name() && !cursor.is(Word::Set) {
            take(&mut cursor, names);
        }
    }
}

/// The name that comes next.
fn take(cursor: &mut Cursor<'_>, names: &mut Names) {
    if let Ok(name) = cursor.name() {
        names.guessed_table(&name);
    }
}

/// `name AS (SELECT …`, wherever it stands.
fn declare(mut cursor: Cursor<'_>, names: &mut Names) {
    while cursor.token.what != What::End {
        let first = cursor.token;
        let follows = matches!(cursor.last, What::Word(Word::With | Word::Recursive))
            || cursor.last == What::Mark(Mark::Comma);
        cursor.advance();
        if !follows || !first.what.is_name() {
            continue;
        }
        let mut ahead = cursor;
        let is_query = ahead.eat(Word::As)
            && ahead.eat_mark(Mark::LeftParen)
            && matches!(ahead.token.what, What::Word(Word::Select | Word::With | Word::Values));
        if is_query {
            names.declare_somewhere(plain(cursor.text(), first));
        }
    }
}
