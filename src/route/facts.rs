//! What a rule may see of a request.
//!
//! Promises that a header which is present but empty is present, and that the bytes of a header
//! reach a rule as they came, UTF-8 or not. Does not judge what it reads.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, Method};

/// What is known of a request when its group is chosen. Borrowed from the request.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// All header lines.
    pub headers: &'a HeaderMap,
    /// The method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
    /// Who was authenticated. `None`: nobody, then `X-Trino-User` is believed.
    pub user: Option<&'a str>,
    /// Where the client is, after trusted proxies.
    pub remote_addr: IpAddr,
}

/// The same, kept by a virtual machine for the length of one call.
///
/// A copy, because a script's object cannot hold a borrow: names and values of headers are shared,
/// so it costs two allocations.
#[derive(Debug)]
pub(super) struct OwnedFacts {
    headers: HeaderMap,
    pub(super) method: Method,
    pub(super) path: String,
    user: Option<String>,
    pub(super) remote_addr: IpAddr,
}

impl OwnedFacts {
    pub(super) fn new(facts: &Facts<'_>) -> Self {
        Self {
            headers: facts.headers.clone(),
            method: facts.method.clone(),
            path: facts.path.to_owned(),
            user: facts.user.map(str::to_owned),
            remote_addr: facts.remote_addr,
        }
    }

    /// A header by its name in any case; several lines are one list, joined by commas.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let mut lines = self.headers.get_all(name).iter();
        let first = lines.next()?.as_bytes();
        let Some(second) = lines.next() else { return Some(Cow::Borrowed(first)) };
        let mut joined = first.to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b',');
            joined.extend_from_slice(line.as_bytes());
        }
        Some(Cow::Owned(joined))
    }

    /// The first line of a header: what Trino takes where it expects one value.
    pub(super) fn first(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(|value| value.as_bytes())
    }

    pub(super) fn user(&self) -> Option<&[u8]> {
        self.user.as_deref().map(str::as_bytes).or_else(|| self.first("x-trino-user"))
    }

    /// The client tags, as Trino cuts them: at commas, trimmed, none empty.
    /// `None`: the header is absent, which is not the same as no tags.
    pub(super) fn client_tags(&self) -> Option<Vec<&[u8]>> {
        let mut lines = self.headers.get_all("x-trino-client-tags").iter().peekable();
        lines.peek()?;
        let tags = lines
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|tag| !tag.is_empty());
        Some(tags.collect())
    }

    pub(super) fn has_tag(&self, wanted: &[u8]) -> bool {
        self.client_tags().is_some_and(|tags| tags.contains(&wanted))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::{HeaderName, HeaderValue};

    use super::*;

    fn facts(lines: &[(&str, &[u8])]) -> OwnedFacts {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        OwnedFacts::new(&Facts {
            headers: &headers,
            method: &Method::POST,
            path: "/v1/statement",
            user: None,
            remote_addr: Ipv4Addr::LOCALHOST.into(),
        })
    }

    #[test]
    fn headers_are_found_in_any_case_and_joined() {
        let seen = facts(&[("X-Trino-Source", b"a"), ("x-trino-source", b"b"), ("x-empty", b"")]);
        assert_eq!(seen.header("X-TRINO-SOURCE").as_deref(), Some(&b"a,b"[..]));
        assert_eq!(seen.first("X-Trino-Source"), Some(&b"a"[..]));
        assert_eq!(seen.header("X-Empty").as_deref(), Some(&b""[..]));
        assert_eq!(seen.header("X-Absent"), None);
        assert_eq!(seen.header("no header name\n"), None);
        assert_eq!(facts(&[("x-a", b"\xff\x80")]).header("X-A").as_deref(), Some(&b"\xff\x80"[..]));
    }

    #[test]
    fn empty_tags_are_not_absent_tags() {
        assert_eq!(facts(&[]).client_tags(), None);
        for empty in [&b""[..], b" ", b",", b" , ,"] {
            assert_eq!(facts(&[("X-Trino-Client-Tags", empty)]).client_tags(), Some(vec![]));
        }
        let seen =
            facts(&[("X-Trino-Client-Tags", b"etl, night,,"), ("X-Trino-Client-Tags", b"b c")]);
        assert_eq!(seen.client_tags(), Some(vec![&b"etl"[..], b"night", b"b c"]));
        assert!(seen.has_tag(b"night") && seen.has_tag(b"b c") && !seen.has_tag(b"b"));
    }

    #[test]
    fn an_authenticated_user_goes_before_the_header() {
        let mut seen = facts(&[("X-Trino-User", b"claimed")]);
        assert_eq!(seen.user(), Some(&b"claimed"[..]));
        seen.user = Some("proven".to_owned());
        assert_eq!(seen.user(), Some(&b"proven"[..]));
    }
}
