//! What is wrong with a settings file, in words an operator can act on.
//!
//! A problem never carries the content of a secret: whoever makes one leaves such a value out.

use std::fmt::{self, Display};
use std::path::PathBuf;

use thiserror::Error;
use toml::de::DeValue;

/// Where in the file something stands, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

impl Place {
    /// Finds the place of a byte offset in a text. Past the end: the end.
    pub(super) fn of(text: &str, offset: usize) -> Self {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The setting, such as `clusters[1].url`; empty where the file as a whole is meant.
    pub path: String,
    /// Where it stands, if it stands somewhere.
    pub place: Option<Place>,
    /// What was written, shortened. Never the content of a secret.
    pub value: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What would be right.
    pub right: Option<String>,
}

impl Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.path)?;
        if let Some(value) = &self.value {
            write!(out, " = {value}")?;
        }
        if !self.path.is_empty() {
            out.write_str(": ")?;
        }
        out.write_str(&self.what)?;
        if let Some(right) = &self.right {
            write!(out, "; {right}")?;
        }
        Ok(())
    }
}

/// All that is wrong with a file, in the order of its lines. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Sorts problems by their place; what has no place comes last.
    pub(super) fn new(file: PathBuf, mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| (problem.place.is_none(), problem.place));
        Self { file, list }
    }
}

impl Display for Problems {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{}:", self.file.display())?;
            if let Some(place) = problem.place {
                write!(out, "{}:{}:", place.line, place.column)?;
            }
            write!(out, " {problem}")?;
        }
        Ok(())
    }
}

/// Why one value was refused: what is wrong with it, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) right: String,
}

impl Wrong {
    pub(super) fn new(what: impl Into<String>, right: impl Into<String>) -> Self {
        Self { what: what.into(), right: right.into() }
    }
}

/// The one of `known` that was probably meant, if one is near enough.
pub(super) fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let near_enough = (name.chars().count() / 3).max(2);
    known
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= near_enough && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Names in backticks, separated by commas.
pub(super) fn quoted(names: impl Iterator<Item = impl Display>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A value for a message. A text with `@` may be an address with a password in it.
pub(super) fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.contains('@') => "(not shown)".to_owned(),
        DeValue::String(text) => format!("{:?}", shortened(text)),
        DeValue::Integer(integer) => shortened(integer.as_str()).to_owned(),
        DeValue::Float(float) => shortened(float.as_str()).to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(time) => time.to_string(),
        DeValue::Array(_) => "[…]".to_owned(),
        DeValue::Table(_) => "{…}".to_owned(),
    }
}

/// A key for a message: as it is if it is plain, else as TOML would quote it.
pub(super) fn plain(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(bare) {
        shortened(key).to_owned()
    } else {
        format!("{:?}", shortened(key))
    }
}

/// At most 80 characters of what somebody wrote.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(80).map_or(text, |(end, _)| &text[..end])
}
