//! Names of a Java gateway, which may be anything, as names of Warren.

/// The longest name.
const NAME_MAX: usize = 64;

/// The name that stands for this one: itself, if Warren can have it. Equal names stay equal.
pub(super) fn label(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|char| if fits(char) { char } else { '-' })
        .skip_while(|char| !char.is_ascii_alphanumeric())
        .take(NAME_MAX)
        .collect();
    if name.is_empty() { "unnamed".to_owned() } else { name }
}

/// Whether a name may have this character, if not as its first.
pub(super) fn fits(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-_.".contains(char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupName;

    #[test]
    fn a_label_is_a_name() {
        for (text, expected) in [
            ("bi", "bi"),
            ("my cluster/1", "my-cluster-1"),
            ("-_x", "x"),
            ("ü", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(label(text), expected, "{text}");
            assert!(GroupName::parse(&label(text)).is_ok(), "{text}");
        }
        assert_eq!(label(&"x".repeat(100)).len(), 64);
    }
}
