//! What answers amount to: clocks, marks, and where an address leads. Pure.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use crate::ids::{CoordinatorId, QueryId};

/// The most that the clocks of two machines may differ, in seconds.
pub(super) const CLOCK_MAX: i64 = 5;

/// When something was asked and answered, in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) from: u64,
    pub(super) to: u64,
}

impl Asked {
    /// By how many seconds a clock is ahead that showed `second` meanwhile. A time that fits between
    /// question and answer is no difference.
    pub(super) fn ahead(self, second: u64) -> i64 {
        let from = i64::try_from(self.from / 1000).unwrap_or(i64::MAX);
        let to = i64::try_from(self.to / 1000).unwrap_or(i64::MAX);
        let shown = i64::try_from(second).unwrap_or(i64::MAX);
        if shown < from { shown - from } else { (shown - to).max(0) }
    }
}

/// The second in which a query was submitted, by the clock of its coordinator.
pub(super) fn second_of_id(id: &QueryId) -> Option<u64> {
    let text = id.as_str();
    let part = |from: usize, to: usize| text.get(from..to);
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(9, 11)?, part(11, 13)?, part(13, 15)?);
    unix(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

/// The second in a `Date` header, as `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn second_of_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let words: Vec<&str> = rest.split(' ').collect();
    let [day, month, year, clock, "GMT"] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? + 1;
    unix(&format!("{year}-{month:02}-{day}T{clock}Z"))
}

fn unix(rfc3339: &str) -> Option<u64> {
    let time = humantime::parse_rfc3339(rfc3339).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// Origin and rest of an address: `http://a:1` and `/v1/x?y`.
pub(super) fn split(address: &str) -> Option<(&str, &str)> {
    let authority = address.find("://")? + 3;
    let path = authority + address.get(authority..)?.find('/')?;
    Some(address.split_at(path))
}

/// Whether an answer leads back to where it was asked for; `Err`: what is wrong, and the fix.
pub(super) fn leads_back(next: &str, wanted: &str) -> Result<(), (String, &'static str)> {
    let Some((origin, _)) = split(next) else {
        return Err((format!("its nextUri is no address: {next}"), "see who answers there"));
    };
    if plain(origin) == plain(wanted) {
        return Ok(());
    }
    let scheme = |address: &str| address.split("://").next().unwrap_or_default().to_owned();
    if scheme(origin) == scheme(wanted) {
        let text = format!("clients that come to {wanted} are sent on to {origin}");
        return Err((text, "set `listen.public_url` to the address that clients know"));
    }
    let text =
        format!("http and https are mixed: clients that come to {wanted} are sent on to {origin}");
    let fix = "set `listen.public_url` to the address that clients know; or let the proxy before Warren send \
               X-Forwarded-Proto, and name the proxy in `listen.trusted_proxies`";
    Err((text, fix))
}

/// An origin without the port that its scheme means, in lower case.
fn plain(origin: &str) -> String {
    let origin = origin.trim_end_matches('/').to_ascii_lowercase();
    let port = if origin.starts_with("https:") { ":443" } else { ":80" };
    origin.strip_suffix(port).map(str::to_owned).unwrap_or(origin)
}

/// The different marks of some queries, as a text.
pub(super) fn marks(ids: &[QueryId]) -> BTreeSet<CoordinatorId> {
    ids.iter().map(QueryId::coordinator).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_that_ids_and_headers_show() {
        let id = QueryId::parse("20200416_160256_03078_6b4yt").expect("an id");
        assert_eq!(second_of_id(&id), Some(1_587_052_976));
        assert_eq!(second_of_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        for text in ["", "Sun, 06 Nov 1994 08:49:37", "Sun, 06 Nox 1994 08:49:37 GMT", "x, y"] {
            assert_eq!(second_of_date(text), None, "{text}");
        }
    }

    #[test]
    fn a_slow_answer_is_no_wrong_clock() {
        let asked = Asked { from: 100_900, to: 107_100 };
        for (shown, ahead) in [(100, 0), (104, 0), (107, 0), (108, 1), (120, 13), (93, -7)] {
            assert_eq!(asked.ahead(shown), ahead, "{shown}");
        }
    }

    #[test]
    fn an_answer_leads_back_or_not() {
        for (next, wanted, right) in [
            ("http://a:8080/v1/x", "http://a:8080", true),
            ("https://A/v1/x", "https://a:443/", true),
            ("http://a:80/v1/x", "http://a", true),
            ("http://a/v1/x", "https://a", false),
            ("http://b:8080/v1/x", "http://a:8080", false),
            ("/v1/x", "http://a", false),
        ] {
            assert_eq!(leads_back(next, wanted).is_ok(), right, "{next} {wanted}");
        }
        let (text, _) = leads_back("http://a/v1/x", "https://a").expect_err("mixed");
        assert!(text.contains("mixed"), "{text}");
    }

    #[test]
    fn addresses_are_split() {
        assert_eq!(split("http://a:1/v1/x?y=1"), Some(("http://a:1", "/v1/x?y=1")));
        for text in ["", "/v1/x", "http://a"] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
