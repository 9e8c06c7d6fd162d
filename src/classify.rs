//! What a request asks for, told by its method and path alone. Pure.
//!
//! Paths are compared by whole segments, and a path that can be read in two ways is refused:
//! Trino's own parser accepts `/v1/statement;x=y`, so a gateway that did not see a submit in it
//! would let it pass by its rules.

use http::Method;

use crate::config::Paths;
use crate::ids::QueryId;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestKind {
    /// A new statement.
    Submit,
    /// The next page of a query, or a sign that its client lives.
    Page(QueryId),
    /// The end of a query.
    Cancel(QueryId),
    /// Something about a query that is not its pages.
    Query(QueryId),
    /// A segment of a spooled result.
    Spooled,
    /// A step of an OAuth2 hand-shake.
    Oauth,
    /// The coordinator's web pages.
    Ui,
    /// The coordinator's public state.
    Info,
    /// Anything else that any ready cluster may answer.
    Other,
    /// A request that no cluster is to see.
    Refused(Refusal),
}

/// Why a path is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It can be read in two ways.
    Ambiguous,
    /// It is Trino's own business among its nodes, or an operator's.
    Internal,
    /// Nothing of Trino's is there.
    Unknown,
    /// The path exists, the method does not.
    Method,
}

impl RequestKind {
    /// The label in metrics and in the access log.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Page(_) => "page",
            Self::Cancel(_) => "cancel",
            Self::Query(_) => "query",
            Self::Spooled => "spooled",
            Self::Oauth => "oauth",
            Self::Ui => "ui",
            Self::Info => "info",
            Self::Other => "other",
            Self::Refused(_) => "refused",
        }
    }

    /// All labels, in the order of the docs.
    pub const LABELS: [&'static str; 10] =
        ["submit", "page", "cancel", "query", "spooled", "oauth", "ui", "info", "other", "refused"];

    /// The query that the request is about.
    pub fn query_id(&self) -> Option<&QueryId> {
        match self {
            Self::Page(id) | Self::Cancel(id) | Self::Query(id) => Some(id),
            _ => None,
        }
    }
}

/// Tells what a request asks for.
pub fn classify(method: &Method, path: &str, query: Option<&str>, paths: &Paths) -> RequestKind {
    if is_ambiguous(path) {
        return RequestKind::Refused(Refusal::Ambiguous);
    }
    if let Some(rest) = beneath_a_statement_path(path, paths) {
        return statement(method, rest);
    }
    if paths.extra.iter().any(|pattern| matches_whole(pattern, path)) {
        return RequestKind::Other;
    }
    let mut segments = path.split('/').skip(1);
    match (segments.next(), segments.next()) {
        (Some("v1"), Some(room)) => v1(method, room, segments.next()),
        (Some("ui"), _) => about_query(path, query).map_or(RequestKind::Ui, RequestKind::Query),
        (Some("oauth2"), _) => RequestKind::Oauth,
        (Some("login" | "logout"), None) => {
            about_query(path, query).map_or(RequestKind::Ui, RequestKind::Query)
        }
        _ => RequestKind::Refused(Refusal::Unknown),
    }
}

/// What stands behind a statement path, if `path` is one or lies beneath one.
fn beneath_a_statement_path<'a>(path: &'a str, paths: &Paths) -> Option<&'a str> {
    paths.statement.iter().find_map(|statement| {
        let rest = path.strip_prefix(statement.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    })
}

fn statement(method: &Method, rest: &str) -> RequestKind {
    if rest.is_empty() {
        return match *method {
            Method::POST => RequestKind::Submit,
            Method::HEAD | Method::GET => RequestKind::Other,
            _ => RequestKind::Refused(Refusal::Method),
        };
    }
    let mut segments = rest.split('/').skip(1);
    let (stage, second) = (segments.next(), segments.next());
    let partial = stage == Some("executing") && second == Some("partialCancel");
    // The id of a partial cancel stands one segment further on.
    let id = if partial { segments.next() } else { second };
    let Some(id) = id.and_then(|id| QueryId::parse(id).ok()) else {
        return RequestKind::Refused(Refusal::Unknown);
    };
    match *method {
        // It ends a stage and not the query.
        Method::DELETE if partial => RequestKind::Query(id),
        Method::GET | Method::HEAD => RequestKind::Page(id),
        Method::DELETE => RequestKind::Cancel(id),
        _ => RequestKind::Refused(Refusal::Method),
    }
}

fn v1(method: &Method, room: &str, next: Option<&str>) -> RequestKind {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match (room, next.map(QueryId::parse)) {
        ("query", Some(Ok(id))) if *method == Method::DELETE => RequestKind::Cancel(id),
        ("query", Some(Ok(id))) => RequestKind::Query(id),
        ("query", _) => RequestKind::Other,
        ("spooled", _) => RequestKind::Spooled,
        ("info", _) if reads => RequestKind::Info,
        ("info" | "task" | "memory" | "thread" | "jmx" | "announcement" | "node", _) => {
            RequestKind::Refused(Refusal::Internal)
        }
        ("status", None) if reads => RequestKind::Info,
        _ => RequestKind::Refused(Refusal::Unknown),
    }
}

/// The first query id in a path or its query string, as the coordinator's web pages link to it.
fn about_query(path: &str, query: Option<&str>) -> Option<QueryId> {
    path.split('/')
        .chain(query.into_iter().flat_map(|query| query.split(['&', '=', '/'])))
        .flat_map(|part| part.split("%2F"))
        .find_map(|part| QueryId::parse(part).ok())
}

fn matches_whole(pattern: &regex::Regex, path: &str) -> bool {
    pattern.find(path).is_some_and(|found| found.start() == 0 && found.end() == path.len())
}

/// Tells whether two parsers could disagree on where `path` leads.
fn is_ambiguous(path: &str) -> bool {
    let bytes = path.as_bytes();
    if !path.starts_with('/') || path.contains("//") {
        return true;
    }
    let odd = |byte: &u8| matches!(byte, b';' | b'\\' | 0..=0x20 | 0x7f..);
    if bytes.iter().any(odd) || path.split('/').any(|part| part == "." || part == "..") {
        return true;
    }
    // A trailing slash is the same resource to Trino and another string to a rule.
    if path.len() > 1 && path.ends_with('/') && path.starts_with("/v1/") {
        return true;
    }
    path.split('%').skip(1).any(|escape| {
        let code = escape.get(..2).map(str::to_ascii_lowercase);
        code.as_deref().is_none_or(|code| {
            matches!(code, "2f" | "2e" | "5c" | "25" | "3b" | "00")
                || !code.bytes().all(|byte| byte.is_ascii_hexdigit())
                || matches!(&code[..1], "4" | "5" | "6" | "7")
        })
    })
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::{Expect, expect};
    use regex::Regex;

    use super::*;

    fn paths() -> Paths {
        Paths {
            statement: vec!["/v1/statement".into(), "/custom/api/statement".into()],
            extra: vec![Regex::new("/api/v1/custom/.*").expect("a good pattern")],
        }
    }

    fn check(requests: &[(&str, &str)], expect: &Expect) {
        let mut told = String::new();
        for (method, target) in requests {
            let method = method.parse().expect("a method");
            let (path, query) = match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (*target, None),
            };
            let kind = classify(&method, path, query, &paths());
            writeln!(told, "{method} {target}: {kind:?}").expect("to memory");
        }
        expect.assert_eq(&told);
    }

    #[test]
    fn statements_pages_and_cancels() {
        check(
            &[
                ("POST", "/v1/statement"),
                ("POST", "/custom/api/statement"),
                ("HEAD", "/v1/statement"),
                ("PUT", "/v1/statement"),
                ("GET", "/v1/statement/queued/20200416_160256_03078_6b4yt/y0d/1"),
                ("HEAD", "/v1/statement/executing/20200416_160256_03078_6b4yt/y0d/1"),
                ("DELETE", "/v1/statement/executing/20200416_160256_03078_6b4yt/y0d/1"),
                (
                    "DELETE",
                    "/v1/statement/executing/partialCancel/20200416_160256_03078_6b4yt/0/y0d/1",
                ),
                ("GET", "/custom/api/statement/executing/20200416_160256_03078_6b4yt/y0d/1"),
                ("GET", "/v1/statement/executing"),
                ("GET", "/v1/statementary"),
            ],
            &expect![[r#"
                POST /v1/statement: Submit
                POST /custom/api/statement: Submit
                HEAD /v1/statement: Other
                PUT /v1/statement: Refused(Method)
                GET /v1/statement/queued/20200416_160256_03078_6b4yt/y0d/1: Page(20200416_160256_03078_6b4yt)
                HEAD /v1/statement/executing/20200416_160256_03078_6b4yt/y0d/1: Page(20200416_160256_03078_6b4yt)
                DELETE /v1/statement/executing/20200416_160256_03078_6b4yt/y0d/1: Cancel(20200416_160256_03078_6b4yt)
                DELETE /v1/statement/executing/partialCancel/20200416_160256_03078_6b4yt/0/y0d/1: Query(20200416_160256_03078_6b4yt)
                GET /custom/api/statement/executing/20200416_160256_03078_6b4yt/y0d/1: Page(20200416_160256_03078_6b4yt)
                GET /v1/statement/executing: Refused(Unknown)
                GET /v1/statementary: Refused(Unknown)
            "#]],
        );
    }

    #[test]
    fn queries_pages_of_the_web_and_the_rest() {
        check(
            &[
                ("GET", "/v1/query/20200416_160256_03078_6b4yt?pretty"),
                ("DELETE", "/v1/query/20200416_160256_03078_6b4yt"),
                ("PUT", "/v1/query/20200416_160256_03078_6b4yt/killed"),
                ("GET", "/v1/query?state=RUNNING"),
                ("GET", "/v1/query/query123"),
                ("GET", "/v1/queryFoo"),
                ("GET", "/ui/query.html?20200416_160256_03078_6b4yt"),
                ("GET", "/ui/api/query/20200416_160256_03078_6b4yt/killed"),
                ("GET", "/ui/troubleshooting?queryId=20200416_160256_03078_6b4yt"),
                ("GET", "/login?redirect=%2Fui%2Fapi%2Fquery%2F20200416_160256_03078_6b4yt"),
                ("GET", "/ui/?lang=en&p=1&id=0_1_2_a"),
                ("GET", "/ui"),
                ("GET", "/oauth2/callback?code=1"),
                ("GET", "/v1/spooled/download/BknN-SyPy="),
                ("GET", "/v1/info/state"),
                ("PUT", "/v1/info/state"),
                ("GET", "/v1/node"),
                ("GET", "/v1/task/1"),
                ("GET", "/metrics"),
                ("GET", "/api/v1/custom/users/123"),
                ("GET", "/x/api/v1/custom/users"),
                ("GET", "/V1/query"),
                ("GET", "/"),
            ],
            &expect![[r#"
                GET /v1/query/20200416_160256_03078_6b4yt?pretty: Query(20200416_160256_03078_6b4yt)
                DELETE /v1/query/20200416_160256_03078_6b4yt: Cancel(20200416_160256_03078_6b4yt)
                PUT /v1/query/20200416_160256_03078_6b4yt/killed: Query(20200416_160256_03078_6b4yt)
                GET /v1/query?state=RUNNING: Other
                GET /v1/query/query123: Other
                GET /v1/queryFoo: Refused(Unknown)
                GET /ui/query.html?20200416_160256_03078_6b4yt: Query(20200416_160256_03078_6b4yt)
                GET /ui/api/query/20200416_160256_03078_6b4yt/killed: Query(20200416_160256_03078_6b4yt)
                GET /ui/troubleshooting?queryId=20200416_160256_03078_6b4yt: Query(20200416_160256_03078_6b4yt)
                GET /login?redirect=%2Fui%2Fapi%2Fquery%2F20200416_160256_03078_6b4yt: Query(20200416_160256_03078_6b4yt)
                GET /ui/?lang=en&p=1&id=0_1_2_a: Ui
                GET /ui: Ui
                GET /oauth2/callback?code=1: Oauth
                GET /v1/spooled/download/BknN-SyPy=: Spooled
                GET /v1/info/state: Info
                PUT /v1/info/state: Refused(Internal)
                GET /v1/node: Refused(Internal)
                GET /v1/task/1: Refused(Internal)
                GET /metrics: Refused(Unknown)
                GET /api/v1/custom/users/123: Other
                GET /x/api/v1/custom/users: Refused(Unknown)
                GET /V1/query: Refused(Unknown)
                GET /: Refused(Unknown)
            "#]],
        );
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "v1/info",
            "/v1/statement;x=y",
            "/v1/statement/",
            "//v1/statement",
            "/v1//statement",
            "/v1/./statement",
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1%2fstatement",
            "/v1/st%61tement",
            "/%61dmin",
            "/v1\\statement",
            "/v1/info%00",
            "/v1/info%",
            "/v1/info%zz",
            "/v1/ïnfo",
        ] {
            let kind = classify(&Method::POST, path, None, &paths());
            assert_eq!(kind, RequestKind::Refused(Refusal::Ambiguous), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_panics(path in ".{0,80}", query in proptest::option::of(".{0,40}")) {
            classify(&Method::GET, &path, query.as_deref(), &paths());
            classify(&Method::GET, &format!("/v1/{path}"), query.as_deref(), &paths());
        }
    }
}
