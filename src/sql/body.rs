//! The statement in the body of a request: its characters, and the JSON that some clients wrap it in.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

/// A statement in JSON, with its prepared statements. Trino does not speak it; some that came from
/// Trino do, and the Java gateway reads it if told to (`clientsUseV2Format`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The statement.
    pub query: String,
    /// Names and texts, for [`Prepared::Named`](super::Prepared::Named).
    pub prepared: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    query: String,
    prepared_statements: BTreeMap<String, String>,
}

impl Envelope {
    /// What a body holds, if it is such a one.
    pub fn of(body: &str) -> Option<Self> {
        let wire: Wire = serde_json::from_str(body).ok()?;
        Some(Self { query: wire.query, prepared: wire.prepared_statements.into_iter().collect() })
    }
}

/// The characters of a body, and whether some bytes were none: each of those is a `U+FFFD`, which
/// no name and no word has.
pub fn decoded(body: &[u8]) -> (Cow<'_, str>, bool) {
    let text = String::from_utf8_lossy(body);
    let is_lossy = matches!(text, Cow::Owned(_));
    (text, is_lossy)
}

/// Whether a body of this `Content-Type` is read as UTF-8: one that names another charset is left
/// alone, as the Java gateway leaves it.
pub fn is_utf8(content_type: Option<&str>) -> bool {
    let charset = content_type.and_then(|value| {
        value.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
        })
    });
    charset.is_none_or(|charset| {
        ["utf-8", "utf8", "us-ascii"].iter().any(|known| charset.eq_ignore_ascii_case(known))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charsets() {
        for (content_type, expected) in [
            (None, true),
            (Some("text/plain"), true),
            (Some("text/plain; charset=UTF-8"), true),
            (Some("text/plain;charset=\"utf-8\""), true),
            (Some("application/json; charset=ISO-8859-1"), false),
        ] {
            assert_eq!(is_utf8(content_type), expected, "{content_type:?}");
        }
    }

    #[test]
    fn envelopes_and_others() {
        let body = r#"{"preparedStatements": {"a": "SELECT 1"}, "query": "EXECUTE a"}"#;
        let envelope = Envelope::of(body).unwrap();
        assert_eq!(envelope.query, "EXECUTE a");
        assert_eq!(envelope.prepared, [("a".to_owned(), "SELECT 1".to_owned())]);
        for other in ["SELECT 1", "{}", r#"{"query": "SELECT 1"}"#, ""] {
            assert_eq!(Envelope::of(other), None, "{other}");
        }
    }
}
