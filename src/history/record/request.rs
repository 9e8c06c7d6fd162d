//! What of a submit is kept beside its statement, so that rules can be asked about it again. Pure.
//!
//! Promises that no credential is in it: it has the headers of [`HEADERS`] and no others. A header that
//! is too long is left out whole, since a part of it could lead rules astray; its name is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::history::fit::{LABEL_BYTES, cut};

/// The headers that are kept, in lower case. The user has a column of its own. Session properties,
/// prepared statements and extra credentials are not kept: they may hold secrets.
pub const HEADERS: [&str; 9] = [
    "x-trino-source",
    "x-trino-client-tags",
    "x-trino-client-info",
    "x-trino-catalog",
    "x-trino-schema",
    "x-trino-time-zone",
    "x-trino-language",
    "x-trino-trace-token",
    "x-trino-routing-group",
];

/// The most bytes of one header. All of them fit the column `request`, also when JSON writes each
/// character as six.
const HEADER_BYTES: usize = 1024;
/// What each line of a header counts for beside its text: its quotation marks.
const LINE_COST: usize = 2;

/// A submit as the rules saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Lines by the names of [`HEADERS`], before the rules changed them. What is not there was absent.
    pub headers: BTreeMap<String, Vec<String>>,
    /// Headers of [`HEADERS`] that came and are not kept: too long, or not UTF-8.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<String>,
    /// The path, without the query.
    pub path: String,
    /// The name of the port that it came to.
    pub listener: String,
    /// Where the client was, after trusted proxies.
    pub remote_addr: IpAddr,
    /// The hour at the gateway, from 0 to 23.
    pub hour: u8,
    /// The day at the gateway, from 1, Monday, to 7.
    pub weekday: u8,
    /// How long the statement was at least, in bytes; the history may have its beginning alone.
    pub statement_bytes: u64,
}

impl Request {
    /// Keeps the lines of a header of [`HEADERS`], if they are short enough and text.
    pub fn keep<'a>(&mut self, name: &str, lines: impl Iterator<Item = &'a [u8]>) {
        if !HEADERS.contains(&name) {
            return;
        }
        let mut kept = Vec::new();
        let mut room = HEADER_BYTES;
        for line in lines {
            let left = room.checked_sub(line.len() + LINE_COST);
            let (Some(left), Ok(text)) = (left, std::str::from_utf8(line)) else {
                self.left_out.insert(name.to_owned());
                return;
            };
            room = left;
            kept.push(text.to_owned());
        }
        if !kept.is_empty() {
            self.headers.insert(name.to_owned(), kept);
        }
    }

    /// Brings it within the bounds, wherever it comes from.
    pub fn fit(&mut self) {
        for (name, lines) in std::mem::take(&mut self.headers) {
            self.keep(&name, lines.iter().map(String::as_bytes));
        }
        self.left_out.retain(|name| HEADERS.contains(&name.as_str()));
        cut(&mut self.path, LABEL_BYTES);
        cut(&mut self.listener, LABEL_BYTES);
    }

    /// What it takes in memory beside itself, about.
    pub fn size(&self) -> usize {
        let texts = self.headers.keys().chain(self.headers.values().flatten());
        texts.chain([&self.path, &self.listener]).map(String::len).sum()
    }
}

#[cfg(test)]
impl Request {
    /// Of tests: a request without headers.
    pub(crate) fn bare() -> Self {
        Self {
            headers: BTreeMap::new(),
            left_out: BTreeSet::new(),
            path: "/v1/statement".to_owned(),
            listener: "client".to_owned(),
            remote_addr: IpAddr::from([10, 0, 0, 9]),
            hour: 9,
            weekday: 1,
            statement_bytes: 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_kept_whole_or_not_at_all() {
        let mut request = Request::bare();
        let long = "x".repeat(HEADER_BYTES);
        let lines: [(&str, &[&[u8]]); 6] = [
            ("x-trino-source", &[b"dbt", b""]),
            ("x-trino-client-tags", &[b"a", long.as_bytes()]),
            ("x-trino-catalog", &[b"\xff"]),
            ("x-trino-schema", &[]),
            ("x-trino-extra-credential", &[b"a=secret"]),
            ("authorization", &[b"secret"]),
        ];
        for (name, lines) in lines {
            request.keep(name, lines.iter().copied());
        }
        expect_test::expect![[
            r#"{"headers":{"x-trino-source":["dbt",""]},"left_out":["x-trino-catalog","x-trino-client-tags"],"path":"/v1/statement","listener":"client","remote_addr":"10.0.0.9","hour":9,"weekday":1,"statement_bytes":8}"#
        ]]
        .assert_eq(&serde_json::to_string(&request).unwrap());
    }

    #[test]
    fn the_worst_one_fits_its_column() {
        let mut request = Request::bare();
        for name in HEADERS {
            let lines = vec!["\0".to_owned(); HEADER_BYTES / (1 + LINE_COST)];
            request.headers.insert(name.to_owned(), lines);
        }
        request.headers.insert("authorization".to_owned(), vec!["secret".to_owned()]);
        for text in [&mut request.path, &mut request.listener] {
            *text = "\0".repeat(9999);
        }
        request.fit();
        assert_eq!(request.headers.len(), HEADERS.len());
        let one = ["\0".repeat(HEADER_BYTES - LINE_COST)];
        HEADERS.iter().for_each(|name| request.keep(name, one.iter().map(String::as_bytes)));
        assert!(request.left_out.is_empty());
        // A `TEXT` column of MySQL.
        assert!(serde_json::to_string(&request).unwrap().len() < 65_535);
    }
}
