//! What the rules change of a submit, applied to its head. Pure.

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pingora::http::RequestHeader;

use crate::route::changes::Changes;

const TAGS: &str = "X-Trino-Client-Tags";
const SESSION: &str = "X-Trino-Session";

/// What of a session property's value stays as it is, beside letters and digits.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

/// Makes of a submit's head what the rules want it to be.
pub(super) fn amend(head: &mut RequestHeader, changes: &Changes) -> pingora::Result<()> {
    for name in &changes.remove {
        head.remove_header(name);
    }
    for (name, value) in &changes.set {
        head.insert_header(name.clone(), value.clone())?;
    }
    if let Some(source) = &changes.source {
        head.insert_header("X-Trino-Source", source.clone())?;
    }
    if !changes.tags.is_empty() {
        let tags = with_tags(head.headers.get(TAGS), &changes.tags);
        head.insert_header(TAGS, tags)?;
    }
    // Of two lines with one name Trino takes the last.
    for (name, value) in &changes.session {
        let value = utf8_percent_encode(value, ENCODED);
        head.append_header(SESSION, format!("{name}={value}"))?;
    }
    Ok(())
}

/// Trino reads the first line of tags alone, so all of them stand there.
fn with_tags(line: Option<&HeaderValue>, added: &[String]) -> Vec<u8> {
    let mut tags = line.map(|line| line.as_bytes().trim_ascii().to_vec()).unwrap_or_default();
    for tag in added {
        if !tags.is_empty() {
            tags.push(b',');
        }
        tags.extend_from_slice(tag.as_bytes());
    }
    tags
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_head_is_changed_as_the_rules_want() {
        let mut head = RequestHeader::build("POST", b"/v1/statement", None).expect("a head");
        for (name, value) in [
            ("X-Trino-User", "ana"),
            ("X-Trino-Client-Tags", " etl "),
            ("X-Trino-Client-Tags", "unread"),
            ("X-Trino-Session", "a=1"),
            ("X-Trino-Language", "de"),
            ("X-Team", "old"),
            ("X-Team", "older"),
        ] {
            head.append_header(name, value).expect("a good header");
        }
        let changes = Changes {
            set: vec![(HeaderName::from_static("x-team"), HeaderValue::from_static("new"))],
            remove: vec![HeaderName::from_static("x-trino-language")],
            tags: vec!["night".to_owned(), "ü".to_owned()],
            session: vec![("hive.x".to_owned(), "1, 2=ü".to_owned())],
            source: Some(HeaderValue::from_static("airflow")),
        };
        amend(&mut head, &changes).expect("good changes");
        let mut lines: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
            .collect();
        lines.sort();
        expect![[r#"
            x-team: new
            x-trino-client-tags: etl,night,ü
            x-trino-session: a=1
            x-trino-session: hive.x=1%2C%202%3D%C3%BC
            x-trino-source: airflow
            x-trino-user: ana"#]]
        .assert_eq(&lines.join("\n"));
        let mut head = RequestHeader::build("POST", b"/v1/statement", None).expect("a head");
        amend(&mut head, &Changes { tags: vec!["a".to_owned()], ..Changes::default() })
            .expect("good changes");
        assert_eq!(head.headers.get(TAGS).expect("it is there"), "a");
    }
}
