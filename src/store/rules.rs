//! What the store keeps of rule sets: their versions, which of them is active, and which was before.
//! Pure; what a text means is known to `route`.
//!
//! Promises that the same texts are one version however often they are put, and that what is active
//! is changed by somebody who knew what was active before.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::effect::TIME_MAX;
use crate::history::fit::{LABEL_BYTES, LINE_BYTES, cut};

/// How many versions are kept, beside those that are active, were before, or came into force last.
pub(super) const KEPT: u64 = 500;

/// The names of the numbers of [`ActiveRules`] in the table `versions`.
const NAMES: [&str; 3] = ["rules", "rules_active", "rules_before"];

/// A file beside the rules: one that they require, or one of tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileText {
    /// Its name: `teams.lua`, `tests/route.lua`.
    pub name: String,
    /// What stands in it.
    pub text: String,
}

/// A version that is to be kept.
#[derive(Debug, Clone)]
pub struct NewRules {
    /// The hash by which gateways name the script.
    pub hash: String,
    /// Who wrote it; `file`: it was the rules file of a gateway.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When it was put, in milliseconds since 1970.
    pub at_ms: u64,
    /// Whether it is in force at this moment.
    pub in_force: bool,
    /// The rules.
    pub script: String,
    /// The files beside them.
    pub files: Vec<FileText>,
}

impl NewRules {
    /// Its texts cut to the size of their columns. The rules themselves are never cut.
    pub(super) fn fit(mut self) -> Self {
        cut(&mut self.author, LABEL_BYTES);
        cut(&mut self.comment, LINE_BYTES);
        self.at_ms = self.at_ms.min(TIME_MAX);
        self
    }

    /// The fingerprint of all texts.
    pub(super) fn content(&self) -> String {
        let mut digest = Sha256::new();
        let names_and_texts = self.files.iter().flat_map(|file| [&file.name, &file.text]);
        for text in std::iter::once(&self.script).chain(names_and_texts) {
            // Lengths keep the texts apart.
            digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(text.as_bytes());
        }
        let mut hex = String::with_capacity(64);
        for byte in digest.finalize() {
            for digit in [byte >> 4, byte & 15] {
                hex.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        hex
    }
}

/// A version, without its texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RulesRow {
    /// Its number, from 1.
    pub number: u64,
    /// The hash by which gateways name the script.
    pub hash: String,
    /// Who wrote it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When it was put, in milliseconds since 1970.
    pub at_ms: u64,
    /// When it came into force last; `None`: it never did.
    pub used_ms: Option<u64>,
}

/// What became of a [`NewRules`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutRules {
    /// The version that has these texts.
    pub row: RulesRow,
    /// Whether it was not there before.
    pub is_new: bool,
}

/// A version with its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulesTexts {
    /// What is told of it.
    pub row: RulesRow,
    /// The rules.
    pub script: String,
    /// The files beside them.
    pub files: Vec<FileText>,
}

/// Which version all gateways run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ActiveRules {
    /// Rises by one with each activation; 0 when there was none.
    pub change: u64,
    /// The version; 0: each gateway runs its rules file.
    pub number: u64,
    /// The one before.
    pub before: u64,
}

impl ActiveRules {
    /// Reads the rows of `versions`; `None`: one is not there.
    pub(super) fn of(rows: &[(String, u64)]) -> Option<Self> {
        let value = |name| rows.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
        let [change, number, before] = NAMES.map(value);
        Some(Self { change: change?, number: number?, before: before? })
    }

    /// The rows of `versions`.
    pub(super) fn rows(self) -> [(&'static str, u64); 3] {
        let [change, number, before] = NAMES;
        [(change, self.change), (number, self.number), (before, self.before)]
    }

    /// Once `number` is active. Whoever activates what is active already keeps the way back.
    pub(super) fn then(self, number: u64) -> Self {
        let before = if number == self.number { self.before } else { self.number };
        Self { change: self.change + 1, number, before }
    }
}

/// A version that is to be active.
#[derive(Debug, Clone)]
pub struct Activation {
    /// The version; 0: the rules file of each gateway.
    pub number: u64,
    /// The one that must be active at this moment.
    pub instead_of: u64,
    /// Who wants it.
    pub actor: String,
    /// Why.
    pub comment: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Activation {
    /// Its texts cut to the size of their columns.
    pub(super) fn fit(mut self) -> Self {
        cut(&mut self.actor, LABEL_BYTES);
        cut(&mut self.comment, LINE_BYTES);
        self.at_ms = self.at_ms.min(TIME_MAX);
        self
    }

    /// Subject and detail of its note.
    pub(super) fn note(&self) -> [String; 2] {
        [name(self.number), format!("instead of {}", name(self.instead_of))]
    }
}

fn name(number: u64) -> String {
    if number == 0 { "file".to_owned() } else { format!("version {number}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(script: &str, files: &[(&str, &str)]) -> NewRules {
        let file =
            |(name, text): &(&str, &str)| FileText { name: (*name).into(), text: (*text).into() };
        NewRules {
            hash: String::new(),
            author: String::new(),
            comment: String::new(),
            at_ms: 0,
            in_force: false,
            script: script.to_owned(),
            files: files.iter().map(file).collect(),
        }
    }

    #[test]
    fn other_texts_have_another_fingerprint() {
        let all = [
            new("ab", &[]),
            new("a", &[("b", "")]),
            new("a", &[("", "b")]),
            new("a", &[("b", "c")]),
            new("a", &[("b", ""), ("c", "")]),
        ];
        let mut prints: Vec<_> = all.iter().map(NewRules::content).collect();
        assert!(prints.iter().all(|print| print.len() == 64), "{prints:?}");
        prints.sort();
        prints.dedup();
        assert_eq!(prints.len(), all.len());
        assert_eq!(new("a", &[("b", "c")]).content(), all[3].content());
    }

    #[test]
    fn the_way_back_leads_to_what_was_before() {
        let file = ActiveRules::default();
        let first = file.then(7);
        assert_eq!(first, ActiveRules { change: 1, number: 7, before: 0 });
        assert_eq!(first.then(7), ActiveRules { change: 2, number: 7, before: 0 });
        let second = first.then(8);
        assert_eq!(second, ActiveRules { change: 2, number: 8, before: 7 });
        assert_eq!(second.then(second.before), ActiveRules { change: 3, number: 7, before: 8 });
        let rows = second.rows().map(|(name, value)| (name.to_owned(), value));
        assert_eq!(ActiveRules::of(&rows), Some(second));
        assert_eq!(ActiveRules::of(&rows[1..]), None);
    }
}
