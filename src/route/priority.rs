//! How soon a query is let through that is held, as a rule says it. Pure.

use super::verdict::{Given, kind_of};

/// The smallest.
const LEAST: u8 = 1;
/// The largest.
const MOST: u8 = 100;
/// That of a query of which the rules say nothing: there is room below it, and more above.
const DEFAULT: u8 = 10;

/// The priority of a query among those that are held in its group: 1 to 100, the larger goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The priority of this number, if it is one.
    pub fn of(number: i64) -> Option<Self> {
        let number = u8::try_from(number).ok()?;
        (LEAST..=MOST).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// What `priority` of an answer says.
    pub(super) fn read(value: &Given) -> Result<Self, String> {
        let right = format!("expected a whole number from {LEAST} to {MOST}");
        let wrong = |told: &str| format!("`priority` of the answer is {told}, {right}");
        match value {
            Given::Whole(number) => Self::of(*number).ok_or_else(|| wrong(&number.to_string())),
            other => Err(wrong(&format!("a {}", kind_of(other)))),
        }
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(value: &Given, expected: Expect) {
        let told = Priority::read(value);
        expected.assert_eq(&told.map_or_else(|error| error, |read| read.number().to_string()));
    }

    #[test]
    fn a_priority_is_a_whole_number_from_1_to_100() {
        check(&Given::Whole(1), expect!["1"]);
        check(&Given::Whole(100), expect!["100"]);
        for wrong in [0, 101, -1, 266, i64::MAX] {
            let told = Priority::read(&Given::Whole(wrong)).expect_err("no priority");
            let begin = format!("`priority` of the answer is {wrong}, expected");
            assert!(told.starts_with(&begin), "{told}");
        }
        check(
            &Given::Whole(0),
            expect!["`priority` of the answer is 0, expected a whole number from 1 to 100"],
        );
        check(
            &Given::Other("number"),
            expect!["`priority` of the answer is a number, expected a whole number from 1 to 100"],
        );
        check(
            &Given::Text("50".to_owned()),
            expect!["`priority` of the answer is a string, expected a whole number from 1 to 100"],
        );
        assert_eq!(Priority::of(10), Some(Priority::default()));
    }
}
