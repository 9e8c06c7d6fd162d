//! Heads that are refused before anything else looks at them. Pure.
//!
//! Trino's own parser is lenient, and so is Pingora's in places: what two of them could read in
//! two ways is refused, and so is what would strip from a request what rules have already seen.

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};

/// Headers of which a request may have one line.
const SINGLE: [&str; 4] = ["x-trino-user", "x-trino-original-user", "authorization", "host"];

/// What `Connection` may name.
const CONNECTION_OPTIONS: [&str; 4] = ["close", "keep-alive", "te", "trailers"];

/// Tells what is wrong with the head of a request, in words for whoever wrote its client.
pub fn objection(method: &Method, version: Version, headers: &HeaderMap) -> Option<&'static str> {
    let has_length = headers.contains_key(CONTENT_LENGTH);
    let has_encoding = headers.contains_key(TRANSFER_ENCODING);
    if has_length && has_encoding {
        return Some("a request carries Content-Length or Transfer-Encoding, not both");
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Some("a request carries one Content-Length");
    }
    if has_encoding && version == Version::HTTP_10 {
        return Some("HTTP/1.0 has no Transfer-Encoding");
    }
    if headers.get_all(TRANSFER_ENCODING).iter().any(|value| value.as_bytes() != b"chunked") {
        return Some("the only Transfer-Encoding of a request is `chunked`");
    }
    if version <= Version::HTTP_11 && !headers.contains_key(HOST) {
        return Some("a request names its Host");
    }
    if SINGLE.iter().any(|name| headers.get_all(*name).iter().count() > 1) {
        return Some("Host, Authorization, X-Trino-User and X-Trino-Original-User occur once");
    }
    if matches!(*method, Method::GET | Method::HEAD) && has_body(headers) {
        return Some("a GET or HEAD has no body");
    }
    if nominates_others(headers) {
        return Some("Connection names `close`, `keep-alive` and `TE` only");
    }
    let expects = headers.get(EXPECT).map(|value| value.as_bytes().to_ascii_lowercase());
    if expects.is_some_and(|value| value != b"100-continue") {
        return Some("the only expectation is `100-continue`");
    }
    None
}

/// Tells what is wrong with a head of HTTP/1 as it came, of which the parser shows no trace: it takes
/// bare line feeds, and drops a length that stands beside an encoding.
pub fn objection_to_bytes(raw: &[u8], headers: &HeaderMap) -> Option<&'static str> {
    let mut before = b'\r';
    for byte in raw {
        if *byte == b'\n' && before != b'\r' {
            return Some("each line of a head ends with CR and LF");
        }
        before = *byte;
    }
    let lengths = || {
        raw.split(|byte| *byte == b'\n').any(|line| {
            let name = CONTENT_LENGTH.as_str().as_bytes();
            line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        })
    };
    if headers.contains_key(TRANSFER_ENCODING) && lengths() {
        return Some("a request carries Content-Length or Transfer-Encoding, not both");
    }
    None
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0")
}

/// Whether `Connection` names a header that a proxy would strip after rules have seen it.
fn nominates_others(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|line| {
        let Ok(line) = line.to_str() else { return true };
        let mut options = line.split(',').map(str::trim).filter(|option| !option.is_empty());
        // `Upgrade, HTTP2-Settings` is how a client offers h2c: the offer is dropped, not refused.
        let offers = ["upgrade", "http2-settings"];
        options.any(|option| {
            let option = option.to_ascii_lowercase();
            !CONNECTION_OPTIONS.contains(&option.as_str()) && !offers.contains(&option.as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(method: Method, version: Version, lines: &[(&'static str, &str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().expect("a value"));
        }
        objection(&method, version, &headers).is_some()
    }

    #[test]
    fn heads_that_are_refused() {
        let v11 = Version::HTTP_11;
        for lines in [
            &[("host", "a"), ("content-length", "3"), ("transfer-encoding", "chunked")][..],
            &[("host", "a"), ("content-length", "3"), ("content-length", "3")],
            &[("host", "a"), ("transfer-encoding", "gzip, chunked")],
            &[],
            &[("host", "a"), ("host", "b")],
            &[("host", "a"), ("x-trino-user", "a"), ("x-trino-user", "b")],
            &[("host", "a"), ("authorization", "a"), ("authorization", "b")],
            &[("host", "a"), ("connection", "X-Trino-User")],
            &[("host", "a"), ("connection", "keep-alive, Authorization")],
            &[("host", "a"), ("expect", "200-ok")],
        ] {
            assert!(told(Method::POST, v11, lines), "{lines:?}");
        }
        assert!(told(Method::GET, v11, &[("host", "a"), ("content-length", "3")]));
        assert!(told(
            Method::POST,
            Version::HTTP_10,
            &[("host", "a"), ("transfer-encoding", "chunked")]
        ));
    }

    #[test]
    fn heads_as_they_came() {
        let mut chunked = HeaderMap::new();
        chunked.insert(TRANSFER_ENCODING, "chunked".parse().expect("a value"));
        for (raw, headers, refused) in [
            ("Host: a\r\nA: b\r\n\r\n", &chunked, false),
            ("Host: a\nA: b\r\n\r\n", &chunked, true),
            ("\nHost: a\r\n\r\n", &chunked, false),
            ("Host: a\r\ncontent-LENGTH: 3\r\n\r\n", &chunked, true),
            ("Host: a\r\nContent-Length: 3\r\n\r\n", &HeaderMap::new(), false),
            ("", &chunked, false),
        ] {
            assert_eq!(objection_to_bytes(raw.as_bytes(), headers).is_some(), refused, "{raw:?}");
        }
    }

    #[test]
    fn heads_that_are_not() {
        for lines in [
            &[("host", "a"), ("content-length", "3")][..],
            &[("host", "a"), ("transfer-encoding", "chunked"), ("expect", "100-Continue")],
            &[("host", "a"), ("connection", "keep-alive")],
            &[("host", "a"), ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c")],
        ] {
            assert!(!told(Method::POST, Version::HTTP_11, lines), "{lines:?}");
        }
        assert!(!told(Method::GET, Version::HTTP_11, &[("host", "a"), ("content-length", "0")]));
        assert!(!told(Method::POST, Version::HTTP_2, &[]));
    }
}
