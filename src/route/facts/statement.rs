//! The statement of a request, and what is known of it: read once, and only if a rule asks.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use crate::sql::{Analysis, Prepared, Session, analyse_bytes, is_utf8, may_be_packed};

/// Reading more bytes than this takes long: at 10 to 30 ns a byte, others on a worker would wait for longer
/// than half a millisecond.
const SHORT_MAX: usize = 16 << 10;

/// A statement as it came.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// Its bytes, or its beginning.
    pub text: Bytes,
    /// Whether it is longer than what is known of it.
    pub is_cut: bool,
    /// What is known of it, if somebody has read it already.
    pub analysis: Option<Arc<Analysis<'static>>>,
}

/// A statement that is read when its analysis is asked for.
#[derive(Debug)]
pub(in crate::route) struct Reading {
    statement: Statement,
    analysis: OnceCell<Arc<Analysis<'static>>>,
}

impl Reading {
    pub(super) fn new(statement: Statement) -> Self {
        let analysis = statement.analysis.clone().map_or_else(OnceCell::new, OnceCell::from);
        Self { statement, analysis }
    }

    pub(super) fn analysis(&self, headers: &HeaderMap) -> &Analysis<'static> {
        self.analysis.get_or_init(|| Arc::new(analysed(&self.statement, headers)))
    }

    pub(super) fn is_cut(&self) -> bool {
        self.statement.is_cut
    }

    /// Whether the next question for the analysis takes the time to read the statement.
    pub(in crate::route) fn is_unread(&self) -> bool {
        self.analysis.get().is_none()
    }
}

/// Whether it takes long to read a statement, whose text may be a prepared one that came with it.
pub fn is_long(statement: &Statement, headers: &HeaderMap) -> bool {
    let prepared_bytes: usize = prepared(headers).map(str::len).sum();
    statement.text.len() + prepared_bytes > SHORT_MAX || prepared(headers).any(may_be_packed)
}

/// The lines of prepared statements.
fn prepared(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all("x-trino-prepared-statement").iter();
    lines.filter_map(|line| line.to_str().ok())
}

/// Reads a statement: it takes some milliseconds for half a megabyte.
pub fn analysed(statement: &Statement, headers: &HeaderMap) -> Analysis<'static> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let prepared: Vec<&str> = prepared(headers).collect();
    let session = Session {
        catalog: text("x-trino-catalog"),
        schema: text("x-trino-schema"),
        prepared: Prepared::Headers(&prepared),
    };
    let mut analysis = analyse_bytes(&statement.text, &session).into_owned();
    if !is_utf8(text("content-type")) {
        analysis.doubt("the request says that the statement is not UTF-8");
    }
    if statement.is_cut {
        analysis
            .doubt("the statement is longer than `limits.statement`, only its beginning was read");
    }
    analysis
}

/// The same for rules that are asked later; `with_digest`: they may ask for the fingerprint.
pub fn analysed_ahead(
    statement: &Statement,
    headers: &HeaderMap,
    with_digest: bool,
) -> Analysis<'static> {
    let analysis = analysed(statement, headers);
    if with_digest {
        analysis.digest();
    }
    analysis
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_fingerprint_is_made_ahead_for_rules_that_ask_for_it() {
        let statement = Statement { text: "SELECT 1".into(), ..Statement::default() };
        for with_digest in [true, false] {
            let known = analysed_ahead(&statement, &HeaderMap::new(), with_digest);
            let is_unmade = format!("{known:?}").contains("digest: OnceLock(<uninit>)");
            assert_eq!(is_unmade, !with_digest, "{known:?}");
        }
    }

    fn check(
        text: &'static str,
        is_cut: bool,
        lines: &[(&'static str, &'static str)],
        expected: &str,
    ) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        let statement = Statement { text: text.into(), is_cut, analysis: None };
        let known = analysed(&statement, &headers);
        let tables: Vec<_> = known.tables.iter().map(ToString::to_string).collect();
        let kind = known.kind.map_or("?", |kind| kind.as_str());
        let error = known.parse_error.unwrap_or_default();
        let metadata = if known.is_metadata { " metadata" } else { "" };
        let told = format!("{kind} {} {}{metadata} {error}", tables.join(","), known.is_read_only);
        assert_eq!(told.trim_end(), expected, "{text}");
    }

    #[test]
    fn headers_make_names_whole_and_resolve_prepared_statements() {
        let session = [("x-trino-catalog", "hive"), ("x-trino-schema", "web")];
        check("SELECT 1 FROM t", false, &session, "SELECT hive.web.t true");
        check(
            "SELECT 1 FROM t",
            true,
            &session,
            "SELECT hive.web.t false the statement is longer than `limits.statement`, only its beginning was read",
        );
        let prepared = [session[0], session[1], ("x-trino-prepared-statement", "p=DELETE+FROM+u")];
        check("EXECUTE p", false, &prepared, "DELETE hive.web.u false");
        check("SELECT 1", false, &[], "SELECT  true metadata");
        check(
            "SELECT 1",
            true,
            &[],
            "SELECT  false the statement is longer than `limits.statement`, only its beginning was read",
        );
        check(
            "SHOW TABLES",
            true,
            &[],
            "DESCRIBE  false metadata the statement is longer than `limits.statement`, only its beginning was read",
        );
        check(
            "SELECT 1",
            false,
            &[("content-type", "text/plain; charset=latin1")],
            "SELECT  false the request says that the statement is not UTF-8",
        );
    }

    #[test]
    fn what_takes_long_to_read() {
        let long = |text: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let line = HeaderValue::from_str(line).unwrap();
                headers.append("x-trino-prepared-statement", line);
            }
            let text = text.to_owned().into();
            is_long(&Statement { text, is_cut: false, analysis: None }, &headers)
        };
        let (half, most) = ("x".repeat(SHORT_MAX / 2), "x".repeat(SHORT_MAX));
        assert!(!long("EXECUTE p", &[]) && !long("EXECUTE p", &["p=SELECT+1", "q=zstd"]));
        assert!(!long(&most, &[]) && long(&most, &["p"]));
        assert!(!long(&half, &[&half]) && long(&half, &[&half, "p"]));
        assert!(long("EXECUTE p", &["a=1", "p=%24zstd%3AKLUv_Q"]));
        assert!(long("EXECUTE p", &["p=$zstd:KLUv_Q"]));
    }
}
