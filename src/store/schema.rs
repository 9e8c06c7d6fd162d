//! Whether tables are those that this version of Warren reads, for whoever may not change them. Pure.

/// What is wrong with tables of the version `found` for a program whose newest is `known`.
pub(super) fn complaint(found: Option<i64>, known: Option<i64>) -> Option<String> {
    let Some(found) = found else {
        return Some("it has no tables of Warren yet; has a gateway run with it?".to_owned());
    };
    let known = known.unwrap_or_default();
    let which = if found > known {
        "a later version of Warren; use that one's `warren`"
    } else if found < known {
        "an earlier version of Warren; use that one's `warren`, or start a gateway of this one"
    } else {
        return None;
    };
    Some(format!("its tables (version {found}, here {known}) are those of {which}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_version_will_do() {
        let told = [None, Some(6), Some(7), Some(8)].map(|found| complaint(found, Some(7)));
        expect_test::expect![[r#"
            [
                Some(
                    "it has no tables of Warren yet; has a gateway run with it?",
                ),
                Some(
                    "its tables (version 6, here 7) are those of an earlier version of Warren; use that one's `warren`, or start a gateway of this one",
                ),
                None,
                Some(
                    "its tables (version 8, here 7) are those of a later version of Warren; use that one's `warren`",
                ),
            ]
        "#]]
        .assert_debug_eq(&told);
    }
}
