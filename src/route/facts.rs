//! What a rule may see of a request.
//!
//! Promises that a header which is present but empty is present, and that the bytes of a header
//! reach a rule as they came, UTF-8 or not. Does not judge what it reads.

mod listed;
mod statement;
mod unrecorded;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method};

pub(super) use self::listed::Pair;
use self::statement::Reading;
pub use self::statement::{Statement, analysed, analysed_ahead, is_long};
pub use self::unrecorded::Unrecorded;
use super::services::Heard;
use super::standing::{AllIdle, Standings};
use crate::time::LocalTime;

/// What is known of a request when its group is chosen. Borrowed from the request.
#[derive(Debug, Clone)]
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
    /// The name of the port that it came to.
    pub listener: &'a str,
    /// The statement.
    pub statement: Statement,
    /// How groups and clusters stand.
    pub standings: Arc<dyn Standings>,
    /// The time here. `None`: the clock is asked when a rule asks.
    pub local_time: Option<LocalTime>,
    /// What is not known of it. `None`: it is at hand.
    pub unrecorded: Option<Arc<Unrecorded>>,
    /// What services said so far to questions of the rules about this request.
    pub heard: Vec<Arc<Heard>>,
}

static POST: Method = Method::POST;

impl<'a> Facts<'a> {
    /// A submit of an empty statement from this machine, while all clusters are ready and idle.
    pub fn plain(headers: &'a HeaderMap) -> Self {
        Self {
            headers,
            method: &POST,
            path: "/v1/statement",
            user: None,
            remote_addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: "client",
            statement: Statement::default(),
            standings: Arc::new(AllIdle),
            local_time: None,
            unrecorded: None,
            heard: Vec::new(),
        }
    }
}

/// The same, kept by a virtual machine for the length of one call.
///
/// A copy, because a script's object cannot hold a borrow: names and values of headers, and the
/// statement, are shared.
#[derive(Debug)]
pub(super) struct OwnedFacts {
    headers: HeaderMap,
    pub(super) method: Method,
    path: String,
    user: Option<String>,
    remote_addr: IpAddr,
    listener: String,
    pub(super) standings: Arc<dyn Standings>,
    local_time: Option<LocalTime>,
    unrecorded: Option<Arc<Unrecorded>>,
    pub(super) reading: Reading,
}

impl OwnedFacts {
    pub(super) fn new(facts: &Facts<'_>) -> Self {
        Self {
            headers: facts.headers.clone(),
            method: facts.method.clone(),
            path: facts.path.to_owned(),
            user: facts.user.map(str::to_owned),
            remote_addr: facts.remote_addr,
            listener: facts.listener.to_owned(),
            standings: facts.standings.clone(),
            local_time: facts.local_time,
            unrecorded: facts.unrecorded.clone(),
            reading: Reading::new(facts.statement.clone()),
        }
    }

    /// What is known of the statement; it is read at the first time.
    pub(super) fn analysis(&self) -> &crate::sql::Analysis<'static> {
        let known = self.reading.analysis(&self.headers);
        if let Some(unrecorded) = &self.unrecorded {
            unrecorded.statement(known, self.reading.is_cut());
        }
        known
    }

    /// Where the client is. `None`, here and in what follows: nobody recorded it.
    pub(super) fn remote_addr(&self) -> Option<IpAddr> {
        self.knows("the address of the client").then_some(self.remote_addr)
    }

    /// The name of the port.
    pub(super) fn listener(&self) -> Option<&str> {
        self.knows("the listener").then_some(self.listener.as_str())
    }

    /// The path, without the query.
    pub(super) fn path(&self) -> Option<&str> {
        self.knows("the path").then_some(self.path.as_str())
    }

    fn knows(&self, what: &str) -> bool {
        self.unrecorded.as_ref().is_none_or(|unrecorded| unrecorded.place(what))
    }

    fn asks_header(&self, name: &str) {
        if let Some(unrecorded) = &self.unrecorded {
            unrecorded.header(name);
        }
    }

    /// The hour and the day where this gateway is; of a record that does not tell them, by the time
    /// zone of this machine.
    pub(super) fn local_time(&self) -> LocalTime {
        self.knows("the time zone of the gateway");
        self.local_time.unwrap_or_else(crate::time::local)
    }

    /// A header by its name in any case; several lines are one list, joined by commas.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.asks_header(name);
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
        self.asks_header(name);
        self.headers.get(name).map(|value| value.as_bytes())
    }

    pub(super) fn user(&self) -> Option<&[u8]> {
        self.user.as_deref().map(str::as_bytes).or_else(|| self.first("x-trino-user"))
    }

    /// Who says that the user is who it is.
    pub(super) fn user_source(&self) -> Option<&'static str> {
        match self.user {
            Some(_) => Some("authenticated"),
            None => self.first("x-trino-user").map(|_| "header"),
        }
    }
}

#[cfg(test)]
mod tests {
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
        OwnedFacts::new(&Facts::plain(&headers))
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
    fn an_authenticated_user_goes_before_the_header() {
        let mut seen = facts(&[("X-Trino-User", b"claimed")]);
        assert_eq!((seen.user(), seen.user_source()), (Some(&b"claimed"[..]), Some("header")));
        seen.user = Some("proven".to_owned());
        assert_eq!(
            (seen.user(), seen.user_source()),
            (Some(&b"proven"[..]), Some("authenticated"))
        );
        assert_eq!(facts(&[]).user_source(), None);
    }
}
