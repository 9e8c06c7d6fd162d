//! The heads of statements: what each is, what it aims at, and what may follow.

mod alter;
mod create;
mod grant;
mod session;
mod show;

use super::call;
use super::cursor::Cursor;
use super::kind::Kind;
use super::names::Names;
use super::problem::Problem;
use super::reader::Rest;
use super::token::{Mark, Token, What};
use super::word::Word;

/// What is known of a statement while it is read.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// What it touches.
    pub names: Names,
    /// Its type, as the Java gateway calls it.
    pub statement_type: Option<&'static str>,
    /// Its sort.
    pub kind: Option<Kind>,
    /// The query that it kills.
    pub killed: Option<String>,
}

impl Facts {
    /// The statement is of this type; what it explains or prepares does not count any more.
    pub(super) fn tell(&mut self, statement_type: &'static str) {
        self.statement_type.get_or_insert(statement_type);
        self.kind.get_or_insert_with(|| Kind::of(statement_type));
    }
}

/// What follows a head.
#[derive(Clone, Copy, Debug)]
pub(super) enum Follows {
    /// The rest of the statement.
    Rest(Rest),
    /// Another statement: the one that is explained or prepared.
    Statement,
    /// The rest of an EXECUTE of a prepared statement, by its name.
    Prepared(Token),
    /// The rest of an `EXECUTE IMMEDIATE` of a text.
    Immediate(Token),
}

/// What follows if anything but the end does.
fn loose_or_end(cursor: &Cursor<'_>) -> Follows {
    Follows::Rest(if cursor.is_end() { Rest::End } else { Rest::Loose })
}

const END: Follows = Follows::Rest(Rest::End);
const LOOSE: Follows = Follows::Rest(Rest::Loose);

/// Reads the head of a statement.
pub(super) fn read(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    let word = match cursor.token.what {
        What::Word(word) => word,
        What::Mark(Mark::LeftParen) => Word::Select,
        _ => return Err(cursor.mismatch()),
    };
    if matches!(word, Word::Select | Word::With | Word::Values | Word::Table) {
        facts.tell("Query");
        return Ok(Follows::Rest(Rest::Query));
    }
    let first = *cursor;
    cursor.advance();
    match word {
        Word::Insert => insert(cursor, facts),
        Word::Delete => delete(cursor, facts),
        Word::Update => update(cursor, facts),
        Word::Merge => merge(cursor, facts),
        Word::Truncate => {
            facts.tell("TruncateTable");
            cursor.expect(&[Word::Table])?;
            object(cursor, facts, END)
        }
        Word::Refresh => {
            facts.tell("RefreshMaterializedView");
            cursor.expect(&[Word::Materialized, Word::View])?;
            object(cursor, facts, END)
        }
        Word::Analyze => {
            facts.tell("Analyze");
            object(cursor, facts, LOOSE).map(|_| loose_or_end(cursor))
        }
        Word::Call => call::read(cursor, facts),
        Word::Explain => explain(cursor, facts),
        Word::Show => show::show(cursor, facts),
        Word::Describe | Word::Desc => show::describe(cursor, facts, word),
        Word::Create => create::create(cursor, facts),
        Word::Drop => create::drop(cursor, facts),
        Word::Alter => alter::alter(cursor, facts),
        Word::Comment => alter::comment(cursor, facts),
        Word::Grant | Word::Revoke | Word::Deny => grant::grant(cursor, facts, word),
        Word::Execute => session::execute(cursor, facts),
        Word::Prepare
        | Word::Deallocate
        | Word::Use
        | Word::Set
        | Word::Reset
        | Word::Start
        | Word::Commit
        | Word::Rollback => session::session(cursor, facts, word),
        _ => Err(first.mismatch()),
    }
}

/// The sort of a statement of which no more is known than the word that it begins with.
pub(super) fn kind_by_first(what: What) -> Option<Kind> {
    let What::Word(word) = what else {
        return (what == What::Mark(Mark::LeftParen)).then_some(Kind::Select);
    };
    Some(match word {
        Word::Select | Word::With | Word::Values | Word::Table => Kind::Select,
        Word::Insert | Word::Refresh => Kind::Insert,
        Word::Update => Kind::Update,
        Word::Delete => Kind::Delete,
        Word::Merge => Kind::Merge,
        Word::Analyze => Kind::Analyze,
        Word::Explain => Kind::Explain,
        Word::Show | Word::Describe | Word::Desc => Kind::Describe,
        Word::Alter
        | Word::Call
        | Word::Comment
        | Word::Commit
        | Word::Create
        | Word::Deallocate
        | Word::Deny
        | Word::Drop
        | Word::Grant
        | Word::Prepare
        | Word::Reset
        | Word::Revoke
        | Word::Rollback
        | Word::Set
        | Word::Start
        | Word::Truncate
        | Word::Use => Kind::DataDefinition,
        _ => return None,
    })
}

/// The table or view that a statement aims at, and what follows.
fn object(
    cursor: &mut Cursor<'_>,
    facts: &mut Facts,
    follows: Follows,
) -> Result<Follows, Problem> {
    let name = cursor.name()?;
    facts.names.object(&name);
    Ok(follows)
}

/// `@ branch` behind the name of a table.
fn branch(cursor: &mut Cursor<'_>) -> Result<(), Problem> {
    if cursor.eat_mark(Mark::At) {
        cursor.identifier()?;
    }
    Ok(())
}

fn insert(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("Insert");
    cursor.expect(&[Word::Into])?;
    object(cursor, facts, END)?;
    branch(cursor)?;
    let is_query = matches!(
        cursor.peek(),
        What::Word(Word::Select | Word::With | Word::Values | Word::Table)
            | What::Mark(Mark::LeftParen)
    );
    if cursor.is_mark(Mark::LeftParen) && !is_query {
        cursor.skip_brackets()?;
    }
    Ok(Follows::Rest(Rest::Query))
}

fn delete(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("Delete");
    cursor.expect(&[Word::From])?;
    object(cursor, facts, END)?;
    branch(cursor)?;
    if cursor.is_end() {
        return Ok(END);
    }
    cursor.expect(&[Word::Where])?;
    Ok(Follows::Rest(Rest::Condition))
}

fn update(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("Update");
    object(cursor, facts, END)?;
    branch(cursor)?;
    cursor.expect(&[Word::Set])?;
    Ok(Follows::Rest(Rest::Assignments))
}

fn merge(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    facts.tell("Merge");
    cursor.expect(&[Word::Into])?;
    object(cursor, facts, END)?;
    branch(cursor)?;
    if !cursor.is(Word::Using) {
        cursor.eat(Word::As);
        cursor.identifier()?;
    }
    cursor.expect(&[Word::Using])?;
    Ok(Follows::Rest(Rest::Merge))
}

fn explain(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Follows, Problem> {
    if cursor.eat(Word::Analyze) {
        // Its sort is that of what it runs.
        facts.statement_type.get_or_insert("ExplainAnalyze");
        cursor.eat(Word::Verbose);
        return Ok(Follows::Statement);
    }
    facts.tell("Explain");
    // `(TYPE IO, FORMAT JSON)`, or a query in brackets.
    let is_option = match cursor.peek() {
        What::Word(Word::Type) => true,
        What::Word(word) => !word.is_reserved(),
        _ => false,
    };
    if cursor.is_mark(Mark::LeftParen) && is_option {
        cursor.skip_brackets()?;
    }
    Ok(Follows::Statement)
}
