//! Headers that hold lists: cut as Trino cuts them.

use super::OwnedFacts;
use crate::sql::url_decoded;

/// A name and its value.
pub(in crate::route) type Pair = (String, String);

impl OwnedFacts {
    /// The client tags: at commas, trimmed, none empty. Of several lines Trino reads the first.
    /// `None`: the header is absent, which is not the same as no tags.
    pub(in crate::route) fn client_tags(&self) -> Option<Vec<&[u8]>> {
        let line = self.first("x-trino-client-tags")?;
        let tags = line.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        Some(tags.filter(|tag| !tag.is_empty()).collect())
    }

    pub(in crate::route) fn has_tag(&self, wanted: &[u8]) -> bool {
        self.client_tags().is_some_and(|tags| tags.contains(&wanted))
    }

    /// The names and values of a header such as `X-Trino-Session`: several to a line with commas,
    /// or a line each; values are URL-encoded. What has no `=` is left out: Trino refuses it. At most
    /// the first `most` are read.
    pub(in crate::route) fn pairs(&self, name: &str, most: usize) -> Vec<Pair> {
        self.asks_header(name);
        let lines = self.headers.get_all(name).iter();
        let mut pairs = Vec::new();
        for line in lines {
            let line = String::from_utf8_lossy(line.as_bytes());
            let read = line.split(',').filter_map(|item| {
                let (name, value) = item.trim().split_once('=')?;
                Some((name.trim().to_owned(), url_decoded(value.trim()).into_owned()))
            });
            pairs.extend(read.take(most - pairs.len()));
        }
        pairs
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::*;
    use crate::route::facts::Facts;

    fn facts(name: &'static str, lines: &[&'static [u8]]) -> OwnedFacts {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        OwnedFacts::new(&Facts::plain(&headers))
    }

    #[test]
    fn empty_tags_are_not_absent_tags() {
        let tags = |lines: &[&'static [u8]]| facts("x-trino-client-tags", lines);
        assert_eq!(tags(&[]).client_tags(), None);
        for empty in [&b""[..], b" ", b",", b" , ,"] {
            assert_eq!(tags(&[empty]).client_tags(), Some(vec![]));
        }
        let seen = tags(&[b"etl, night,,", b"b c"]);
        assert_eq!(seen.client_tags(), Some(vec![&b"etl"[..], b"night"]));
        assert!(seen.has_tag(b"night") && !seen.has_tag(b"nig") && !seen.has_tag(b"b c"));
    }

    #[test]
    fn pairs_of_several_lines() {
        let seen = facts(
            "x-trino-session",
            &[b"a=1, hive.x = a%2Cb+c ,,broken", b"a=2,=3,e=", b"f=\xff%zz"],
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let expected = [
            pair("a", "1"),
            pair("hive.x", "a,b c"),
            pair("a", "2"),
            pair("", "3"),
            pair("e", ""),
            pair("f", "\u{fffd}%zz"),
        ];
        assert_eq!(seen.pairs("X-Trino-Session", 9), expected);
        assert_eq!(seen.pairs("X-Trino-Session", 3), expected[..3]);
        assert_eq!(seen.pairs("X-Trino-Role", 9), []);
    }
}
