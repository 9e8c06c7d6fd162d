//! Under which paths statements are accepted: Trino's own and configured ones.
//!
//! No path may lie beneath another: a page of one would look like a page of the other.

use super::problem::Wrong;

/// Trino's own statement path, always accepted.
pub(super) const STATEMENT: &str = "/v1/statement";

/// Adds one configured path to those accepted so far.
pub(super) fn add(accepted: &mut Vec<String>, text: &str) -> Result<(), Wrong> {
    let path = text.strip_suffix('/').unwrap_or(text);
    if !path.starts_with('/') {
        return Err(Wrong::new(
            "a statement path that is not absolute",
            "begin it with `/`, as `\"/v2/statement\"`",
        ));
    }
    if !path[1..].split('/').all(is_segment) {
        return Err(Wrong::new(
            "not the path of a URL",
            "use segments of letters, digits, `-`, `_`, `.` and `~`, as `\"/v2/statement\"`",
        ));
    }
    if let Some(other) = accepted.iter().find(|other| beneath(path, other) || beneath(other, path))
    {
        return Err(Wrong::new(
            format!("a statement path that is, holds or lies beneath `{other}`"),
            "choose paths of which none begins with another",
        ));
    }
    accepted.push(path.to_owned());
    Ok(())
}

fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte))
}

/// Whether `path` is `top` or lies beneath it, by whole segments.
fn beneath(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(paths: &[&str]) -> Result<Vec<String>, String> {
        let mut accepted = vec![STATEMENT.to_owned()];
        for path in paths {
            add(&mut accepted, path).map_err(|wrong| wrong.what)?;
        }
        Ok(accepted)
    }

    #[test]
    fn statement_paths_follow_the_rules() {
        assert_eq!(
            all(&["/ui/api/insights/ide/statement/", "/v2/statement"]).expect("good paths"),
            ["/v1/statement", "/ui/api/insights/ide/statement", "/v2/statement"]
        );
        for bad in [
            &["relative/path/"][..],
            &["/v1/statement/additional"],
            &["/api/v2", "/api/v2/statement"],
            &["/api/v2/statement", "/api/v2"],
            &["/v1/statement"],
            &["/v1"],
            &["/"],
            &["//a"],
            &["/a;b"],
            &["/a/../b"],
        ] {
            assert!(all(bad).is_err(), "{bad:?}");
        }
        assert!(all(&["/v1/statements"]).is_ok(), "segments count, not letters");
    }
}
