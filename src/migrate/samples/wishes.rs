//! Requests that a condition asks for: headers with the values that it names.

use std::collections::BTreeMap;

use super::evaluate::{header_of, query_of};
use crate::migrate::mvel::{Expr, Op};

/// A request, as far as a case says it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Request {
    /// By their names in small letters.
    pub(super) headers: BTreeMap<String, String>,
    /// The one table that its statement reads, by its full name. `None`: it has no statement.
    pub(super) table: Option<String>,
}

/// The most requests of one condition.
const REQUESTS_MAX: usize = 8;

/// Requests that may fulfil a condition, each part of an `or` in its own, and for each of them one
/// that lacks a header of it.
pub(super) fn wishes(condition: &Expr) -> Vec<Request> {
    let mut all = Vec::new();
    for request in fulfilling(condition) {
        for header in request.headers.keys() {
            let mut lacking = request.clone();
            lacking.headers.remove(header);
            all.push(lacking);
        }
        all.insert(0, request);
    }
    all.retain(|request| request.headers.values().all(|value| is_sendable(value)));
    all.truncate(2 * REQUESTS_MAX);
    all
}

fn fulfilling(condition: &Expr) -> Vec<Request> {
    match condition {
        Expr::Binary(Op::Or, left, right) => {
            let mut all = fulfilling(left);
            all.extend(fulfilling(right));
            all.truncate(REQUESTS_MAX);
            all
        }
        Expr::Binary(Op::And, left, right) => {
            let (left, right) = (fulfilling(left), fulfilling(right));
            let joined =
                left.iter().flat_map(|one| right.iter().map(move |other| both(one, other)));
            joined.take(REQUESTS_MAX).collect()
        }
        other => vec![atom(other)],
    }
}

fn both(one: &Request, other: &Request) -> Request {
    let mut both = one.clone();
    for (name, value) in &other.headers {
        let joined = both.headers.entry(name.clone()).or_default();
        if !joined.contains(value.as_str()) {
            if !joined.is_empty() {
                joined.push(',');
            }
            joined.push_str(value);
        }
    }
    both.table = both.table.or_else(|| other.table.clone());
    both
}

/// The header or the table that one comparison asks for.
fn atom(expr: &Expr) -> Request {
    if let Some(table) = table(expr) {
        return Request { table: Some(table), ..Request::default() };
    }
    let wish = match expr {
        Expr::Binary(Op::Same, left, right) => {
            pair(left, right, |text| text).or_else(|| pair(right, left, |text| text))
        }
        Expr::Binary(Op::Differs, left, right) => match (header_of(left), &**right) {
            (Some(name), Expr::Null) => Some((name, "any".to_owned())),
            (Some(name), Expr::Text(text)) => Some((name, format!("not {text}"))),
            _ => None,
        },
        Expr::Binary(Op::Contains, left, right) => pair(left, right, |text| text),
        Expr::Call(of, method, given) => match (method.as_str(), given.as_slice()) {
            ("equals" | "equalsIgnoreCase" | "contains" | "endsWith", [text]) => {
                pair(of, text, |text| text).or_else(|| pair(text, of, |text| text))
            }
            ("startsWith", [text]) => pair(of, text, |text| text + "-x"),
            ("userExistsAndEquals", [Expr::Text(user)]) => {
                Some(("x-trino-user".to_owned(), user.clone()))
            }
            _ => None,
        },
        _ => None,
    };
    Request { headers: wish.into_iter().collect(), table: None }
}

/// The table that a question for what a statement touches asks for.
fn table(expr: &Expr) -> Option<String> {
    let Expr::Call(of, method, given) = expr else { return None };
    let [Expr::Text(wanted)] = given.as_slice() else { return None };
    let wanted = wanted.to_lowercase();
    let table = match (query_of(expr), query_of(of)) {
        (Some("tablesContains"), _) => wanted,
        (_, Some("catalogs")) if method == "contains" => wanted + ".some_schema.some_table",
        (_, Some("catalogSchemas")) if method == "contains" => wanted + ".some_table",
        (_, Some("schemas")) if method == "contains" => format!("some_catalog.{wanted}.some_table"),
        _ => return None,
    };
    let is_plain = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_lowercase())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let parts: Vec<&str> = table.split('.').collect();
    (parts.len() == 3 && parts.iter().all(|part| is_plain(part))).then_some(table)
}

fn pair(
    header: &Expr,
    value: &Expr,
    make: impl FnOnce(String) -> String,
) -> Option<(String, String)> {
    let Expr::Text(text) = value else { return None };
    Some((header_of(header)?, make(text.clone())))
}

/// Whether a header can have this value.
fn is_sendable(value: &str) -> bool {
    value.trim() == value && !value.chars().any(char::is_control)
}
