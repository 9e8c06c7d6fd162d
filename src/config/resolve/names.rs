//! Names that must be right, there once, and known.

use std::collections::HashMap;
use std::hash::Hash;

use crate::config::problem::{Wrong, nearest, quoted};
use crate::config::raw::Section;
use crate::ids::{BadName, GroupName};

/// A group that must be one of `known`.
pub(super) fn known_group(
    section: &Section<'_>,
    name: &str,
    known: &[&GroupName],
) -> Option<GroupName> {
    section.parsed(name, |text| one_of(text, known))
}

/// The group of that name, if it is one of `known`.
pub(super) fn one_of(text: &str, known: &[&GroupName]) -> Result<GroupName, Wrong> {
    let group = label(GroupName::parse(text))?;
    // Without any known group the lack of groups is the problem, noted once.
    if known.is_empty() || known.contains(&&group) {
        return Ok(group);
    }
    let right = match nearest(text, known.iter().map(|group| group.as_str())) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known groups: {}", quoted(known.iter())),
    };
    Err(Wrong::new("no such group", right))
}

/// A name, or what is a right one.
pub(super) fn label<T>(name: Result<T, BadName>) -> Result<T, Wrong> {
    let right =
        "use 1 to 64 characters of a-z, A-Z, 0-9, `-`, `_`, `.`, the first a letter or digit";
    name.map_err(|_| Wrong::new("not a name", right))
}

/// Values that must be there once, with the line of the first.
pub(super) struct Once<T>(HashMap<T, Option<usize>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Clone + Eq + Hash> Once<T> {
    /// Notes a value; `false`, and a problem, if it was there before.
    pub(super) fn is_new(&mut self, section: &Section<'_>, name: &str, value: &T) -> bool {
        let Some(first) = self.0.get(value) else {
            self.0.insert(value.clone(), section.line_of(name));
            return true;
        };
        let before = first.map_or_else(String::new, |line| format!(" on line {line}"));
        if let Some(found) = section.find(name) {
            let what = format!("already taken{before}");
            section.refuse(&found, Wrong::new(what, "each must be there once"));
        }
        false
    }
}
