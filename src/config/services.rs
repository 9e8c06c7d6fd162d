//! `[rules.http]`, resolved: which services rules may call, and what becomes of a query when such a
//! call fails.
//!
//! Promises that a [`ServiceUrl`] means the same place to everybody who reads it: what two parsers could
//! read in two ways is none. Pure.

use std::path::PathBuf;
use std::time::Duration;

use super::problem::Wrong;
use super::secret::Secret;
use super::{ClusterUrl, address};

/// The longest URL, in bytes.
const URL_MAX: usize = 2048;

/// `[rules.http]`, where it allows something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleHttp {
    /// `allow`: what may be called. Never empty.
    pub allow: Vec<ServiceUrl>,
    /// `ca`: a PEM file with the authorities to believe instead of the system's.
    pub ca: Option<PathBuf>,
    /// `authorization`: what each call carries as `Authorization`.
    pub authorization: Option<Secret>,
    /// `timeout`: for a whole call that asks for no less. A service that took half of it in vain failed.
    /// Default: 200 ms.
    pub timeout: Duration,
    /// `on_failure`: what becomes of a query whose call failed. Default: the rule decides.
    pub on_failure: OnFailure,
    /// `open_after`: after how many failures in a row a service is not called. Default: 5.
    pub open_after: u32,
    /// `open_for`: for how long, until one call tries it again. Default: 10 s.
    pub open_for: Duration,
    /// `max_in_flight`: how many calls may be on their way; more fail at once. Default: 64.
    pub max_in_flight: usize,
}

/// `[rules.http] on_failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// `http.post` gives nil and why, and the rule decides.
    Nil,
    /// It goes to the default group.
    DefaultGroup,
    /// It is refused.
    Reject,
}

/// Where a service is: an origin, a path without escapes, and perhaps a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    /// Scheme, host and port.
    pub origin: ClusterUrl,
    /// Empty, or from its first `/`.
    path: String,
    /// What follows `?`.
    query: Option<String>,
}

impl ServiceUrl {
    /// Reads a URL. An error: why it is none that can be called.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse(text).map_err(|wrong| wrong.what)
    }

    /// Whether `other` is the same place or lies beneath it, by whole segments of the path.
    pub fn covers(&self, other: &Self) -> bool {
        let rest = other.path.strip_prefix(&self.path);
        let beneath = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.origin == other.origin && beneath
    }

    /// Path and query, as a request carries them.
    pub fn target(&self) -> String {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        match &self.query {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        }
    }
}

/// Reads an entry of `allow`.
pub(super) fn allowed(text: &str) -> Result<ServiceUrl, Wrong> {
    let url = parse(text)?;
    if url.query.is_some() {
        let right = "write origin and path alone; a call may add any query";
        return Err(Wrong::new("a URL with a query", right));
    }
    let path = url.path.strip_suffix('/').unwrap_or(&url.path).to_owned();
    Ok(ServiceUrl { path, ..url })
}

fn parse(text: &str) -> Result<ServiceUrl, Wrong> {
    let right = "write it as `\"http://127.0.0.1:9000/route\"`";
    if text.len() > URL_MAX {
        return Err(Wrong::new(format!("a URL of more than {URL_MAX} bytes"), right));
    }
    let host = text.find("://").map_or(0, |at| at + 3);
    let end = text[host..].find(['/', '?', '#']).map_or(text.len(), |at| host + at);
    let (origin, rest) = text.split_at(end);
    let (scheme, host, port) = address::origin(origin, right)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if !is_path(path) {
        let what = "a URL whose path is not plain segments, without escapes, `;` and dots alone";
        return Err(Wrong::new(what, right));
    }
    if !query.unwrap_or_default().bytes().all(is_of_query) {
        let what = "a URL whose query has blanks, `\"`, `#`, `<`, `>` or other than ASCII";
        return Err(Wrong::new(what, right));
    }
    let port = port.unwrap_or_else(|| scheme.default_port());
    let origin = ClusterUrl { scheme, host, port };
    Ok(ServiceUrl { origin, path: path.to_owned(), query: query.map(str::to_owned) })
}

/// Escapes are refused because servers differ in when they undo them (`%2e%2e`), `;` because some cut
/// a segment there (`..;`).
fn is_path(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return path.is_empty() };
    rest.is_empty() || rest.strip_suffix('/').unwrap_or(rest).split('/').all(is_segment)
}

/// What a request line carries as it is.
fn is_of_query(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"#<>".contains(&byte)
}

fn is_segment(segment: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,=:@".contains(&byte);
    !matches!(segment, "" | "." | "..") && segment.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_entry_covers() {
        for (entry, url, covered) in [
            ("http://a:9000/route", "http://a:9000/route", true),
            ("http://a:9000/route", "http://a:9000/route/", true),
            ("http://a:9000/route", "http://a:9000/route/v1", true),
            ("http://a:9000/route", "http://a:9000/route?x=/../y", true),
            ("http://a:9000/route/", "http://a:9000/route", true),
            ("http://a:9000/route", "HTTP://A:9000/route", true),
            ("http://a/route", "http://a:80/route", true),
            ("https://a:443/route", "https://a/route", true),
            ("http://[::1]:9000", "http://[::1]:9000/any", true),
            ("http://a", "http://a", true),
            ("http://a/", "http://a/any/path", true),
            ("http://a:9000/route", "http://a:9000/routeX", false),
            ("http://a:9000/route", "http://a:9000/route.x", false),
            ("http://a:9000/route", "http://a:9000/Route", false),
            ("http://a:9000/route", "http://a:9000/", false),
            ("http://a:9000/route", "http://a:9000", false),
            ("http://a:9000/route", "http://a:9000?/route", false),
            ("http://a:9000/route", "http://a:9001/route", false),
            ("http://a:9000/route", "http://a/route", false),
            ("http://a/route", "https://a/route", false),
            ("http://a/route", "http://a:443/route", false),
            ("http://a", "http://a.evil.example", false),
            ("http://a", "http://a./", false),
            ("http://127.0.0.1", "http://localhost", false),
        ] {
            let entry = allowed(entry).expect("a good entry");
            let called = ServiceUrl::parse(url).expect("a good URL");
            assert_eq!(entry.covers(&called), covered, "{url}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_url() {
        for text in [
            "",
            "/route",
            "a:9000/route",
            "file:///etc/passwd",
            "http:///route",
            "http://a@evil.example/route",
            "http://a:9000@evil.example/route",
            "http://evil.example\\@a/route",
            "http://evil.example#@a/route",
            "http://a/route/../admin",
            "http://a/./route",
            "http://a/route/..",
            "http://a/route/..;/admin",
            "http://a/route;x/admin",
            "http://a/route/%2e%2e/admin",
            "http://a/route%2f..%2fadmin",
            "http://a/route\\..\\admin",
            "http://a//route",
            "http://a/route//",
            "http://a/route#x",
            "http://a/route?x#y",
            "http://a/ro ute",
            "http://a/route?x y",
            "http://a/route?x=<y>",
            "http://a/route?x=\"y\"",
            "http://a/route?x\r\nHost: b",
            "http://a/r\u{f6}ute",
            "http://a:0/route",
            "http://a:x/route",
            " http://a/route",
        ] {
            assert!(ServiceUrl::parse(text).is_err(), "{text}");
        }
        let long = format!("http://a/{}", "x".repeat(URL_MAX));
        assert!(ServiceUrl::parse(&long).is_err());
        assert!(allowed("http://a/route?x").is_err(), "an entry has no query");
    }

    #[test]
    fn what_a_request_carries() {
        for (url, target) in [
            ("http://a", "/"),
            ("http://a?x=%20", "/?x=%20"),
            ("http://a/route/", "/route/"),
            ("http://a/v1/route:decide?x", "/v1/route:decide?x"),
        ] {
            assert_eq!(ServiceUrl::parse(url).expect("a good URL").target(), target);
        }
    }
}
