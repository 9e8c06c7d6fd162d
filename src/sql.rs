//! What a statement is and what it touches, for rules that go by it: pure, and sure of an answer.
//!
//! Promises: no text fails, panics, overflows the stack, or takes more than linear time. What cannot
//! be followed to its end is read token by token for its names, and `parse_error` says where the
//! reading stopped. It is a reader of Trino's grammar and no parser: it follows brackets, clauses and
//! relations, and of expressions no more than it needs to be sure of those (`docs/sql-analysis.md`).
//!
//! It does not use the crate `sqlparser`, which knows no Trino: that one refuses a quarter of Trino's
//! statements, and so could only be a second opinion on what is read already.

mod body;
mod call;
mod cursor;
mod digest;
mod guess;
mod head;
mod kind;
mod names;
mod prepared;
mod problem;
mod reader;
mod token;
mod word;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::OnceLock;

use self::cursor::{Cursor, unquoted};
use self::head::{Facts, Follows};
use self::names::Names;
use self::problem::Problem;
use self::reader::Rest;
use self::token::Token;

pub use self::body::{Envelope, decoded, is_utf8};
pub use self::kind::Kind;
pub use self::names::{TABLES_MAX, Table};
pub use self::prepared::{PREPARED_MAX, Prepared, may_be_packed, url_decoded};

/// What the request says beside its statement.
#[derive(Clone, Copy, Debug, Default)]
pub struct Session<'a> {
    /// `X-Trino-Catalog`.
    pub catalog: Option<&'a str>,
    /// `X-Trino-Schema`.
    pub schema: Option<&'a str>,
    /// `X-Trino-Prepared-Statement`.
    pub prepared: Prepared<'a>,
}

/// What is known of a statement.
#[derive(Clone, Debug)]
pub struct Analysis<'a> {
    /// The statement; for EXECUTE the text that is executed.
    pub text: Cow<'a, str>,
    /// Its sort, if anything is known of it.
    pub kind: Option<Kind>,
    /// Its type, as the Java gateway calls it: `Query`, `AddColumn`.
    pub statement_type: Option<&'static str>,
    /// The tables, views and table functions that it touches.
    pub tables: BTreeSet<Table>,
    /// The catalogs that it touches.
    pub catalogs: BTreeSet<String>,
    /// The schemas that it touches, each with its catalog.
    pub schemas: BTreeSet<(String, String)>,
    /// The literal id of a call of `system.runtime.kill_query`.
    pub killed_query: Option<String>,
    /// Whether it surely changes nothing: neither data nor session.
    pub is_read_only: bool,
    /// Whether it asks about tables rather than for what is in them, or for nothing at all.
    pub is_metadata: bool,
    /// Whether all of it has the shape of a statement that is known. If not, names are in part a guess.
    pub is_fully_read: bool,
    /// Why it was not read to its end, or which name cannot be made whole.
    pub parse_error: Option<String>,
    /// Made when asked for.
    digest: OnceLock<String>,
}

impl Analysis<'_> {
    /// The same with a text of its own.
    pub fn into_owned(self) -> Analysis<'static> {
        Analysis { text: Cow::Owned(self.text.into_owned()), ..self }
    }

    /// What was read may not be all, or not what it seems.
    pub fn doubt(&mut self, why: &str) {
        self.is_fully_read = false;
        self.is_read_only = false;
        self.is_metadata &= self.kind == Some(Kind::Describe);
        self.parse_error = Some(why.to_owned());
    }

    /// The fingerprint of the text: see `docs/sql-analysis.md`. Computed when asked for the first time.
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| digest::digest(&self.text))
    }

    /// The text of which the fingerprint is taken: no literal is in it.
    pub fn normalised(&self) -> String {
        digest::normalised(&self.text)
    }
}

/// Tells what a statement is and touches.
pub fn analyse<'a>(statement: &'a str, session: &Session<'_>) -> Analysis<'a> {
    let names = Names::of_session(session.catalog, session.schema);
    let mut facts = Facts { names, ..Facts::default() };
    let first = read(statement, &mut facts);
    let (inner, mut error) = match first {
        Read::Whole => (None, None),
        Read::Broken(error) => (None, Some(error)),
        Read::Immediate(text) => (Some(text), None),
        Read::Prepared(name) => match session.prepared.text(&name) {
            Ok(text) => (Some(text), None),
            Err(unknown) => {
                facts.statement_type.get_or_insert("Execute");
                (None, Some(unknown.to_string()))
            }
        },
    };
    // What is explained or prepared may be an EXECUTE; the statement is still the outer one.
    let is_outer = facts.statement_type.is_some();
    if let Some(inner) = &inner {
        error = match read(inner, &mut facts) {
            Read::Whole => None,
            Read::Broken(error) => Some(error),
            Read::Immediate(_) | Read::Prepared(_) => {
                facts.statement_type.get_or_insert("Execute");
                Some("a prepared statement cannot be an EXECUTE".to_owned())
            }
        };
    }
    let text = match inner.filter(|_| !is_outer) {
        Some(inner) => Cow::Owned(inner),
        None => Cow::Borrowed(statement),
    };
    concluded(text, facts, error)
}

/// Tells the same of the body of a request, whatever its bytes are.
pub fn analyse_bytes<'a>(body: &'a [u8], session: &Session<'_>) -> Analysis<'a> {
    let (text, is_lossy) = decoded(body);
    let mut analysis = match text {
        Cow::Borrowed(text) => analyse(text, session),
        Cow::Owned(text) => analyse(&text, session).into_owned(),
    };
    if is_lossy {
        analysis.doubt("the statement is not UTF-8");
    }
    analysis
}

/// How far a text was read.
enum Read {
    Whole,
    Broken(String),
    /// To the end of an `EXECUTE IMMEDIATE` of this text.
    Immediate(String),
    /// To the end of an EXECUTE of this name.
    Prepared(String),
}

fn read(text: &str, facts: &mut Facts) -> Read {
    let start = Cursor::new(text);
    let mut cursor = start;
    let done = read_strictly(&mut cursor, facts);
    let problem = match (&done, cursor.problem) {
        (_, Some(lexical)) => lexical,
        (Err(problem), None) => *problem,
        (Ok(None), None) => return Read::Whole,
        (Ok(Some(Executed::Text(text))), None) => return Read::Immediate(text.clone()),
        (Ok(Some(Executed::Name(name))), None) => return Read::Prepared(name.clone()),
    };
    if done.is_err() {
        guess::read(start, &mut facts.names);
    }
    if facts.kind.is_none() {
        facts.kind = head::kind_by_first(start.token.what);
    }
    Read::Broken(problem.in_words(text))
}

enum Executed {
    Text(String),
    Name(String),
}

/// Reads the heads of a statement, of which EXPLAIN and PREPARE have more than one, and what follows.
fn read_strictly(cursor: &mut Cursor<'_>, facts: &mut Facts) -> Result<Option<Executed>, Problem> {
    let text = cursor.text();
    let inner = |token: Token| unquoted(text, token);
    loop {
        let (rest, executed) = match head::read(cursor, facts)? {
            Follows::Statement => continue,
            Follows::Rest(rest) => (rest, None),
            Follows::Prepared(name) => (Rest::Loose, Some(Executed::Name(inner(name)))),
            Follows::Immediate(text) => (Rest::Loose, Some(Executed::Text(inner(text)))),
        };
        reader::read(cursor, &mut facts.names, rest)?;
        return Ok(executed);
    }
}

fn concluded(text: Cow<'_, str>, facts: Facts, error: Option<String>) -> Analysis<'_> {
    let Facts { names, statement_type, kind, killed } = facts;
    let is_fully_read = error.is_none();
    let reads = matches!(kind, Some(Kind::Select | Kind::Explain | Kind::Describe));
    let is_metadata = match kind {
        Some(Kind::Describe) => true,
        Some(Kind::Select) => is_fully_read && !names.has_function && is_about_tables(&names),
        _ => false,
    };
    Analysis {
        text,
        kind,
        statement_type,
        is_read_only: is_fully_read && reads && !names.has_function,
        is_metadata,
        tables: names.tables,
        catalogs: names.catalogs,
        schemas: names.schemas,
        killed_query: killed,
        is_fully_read,
        parse_error: error.or(names.problem),
        digest: OnceLock::new(),
    }
}

/// Whether a query reads nothing but tables about tables, or no relation at all.
fn is_about_tables(names: &Names) -> bool {
    if names.tables.is_empty() {
        return !names.has_relation;
    }
    names.problem.is_none()
        && names.tables.iter().all(|table| {
            let schema = table.schema.as_str();
            schema == "information_schema"
                || (table.catalog == "system" && matches!(schema, "jdbc" | "metadata"))
        })
}

#[cfg(test)]
mod tests;
