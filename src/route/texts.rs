//! The texts of a rule set, the rules and their tests, and what it takes to come into force.
//!
//! Promises that what was [`tried`](Texts::tried) compiles, answers the probes and holds its own
//! tests.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::rules::{self, RuleSet, RulesError};
use super::suite::{self, TestFile};
use crate::config::Rules;
use crate::ids::GroupName;

/// The rules and their tests, as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Texts {
    /// The rules.
    pub script: Vec<u8>,
    /// Their tests.
    pub tests: Vec<TestFile>,
}

/// Texts that may come into force.
#[derive(Debug)]
pub struct Tried {
    /// The compiled set.
    pub rules: RuleSet,
    /// How many cases of tests it holds.
    pub cases: usize,
}

impl Texts {
    /// Reads a rules file, and the tests beside it.
    pub fn read(file: &Path) -> Result<Self, RulesError> {
        Ok(Self { script: rules::read(file)?, tests: suite::read(file)? })
    }

    /// Compiles the rules, asks them the probes, and runs their tests.
    pub fn tried(&self, settings: &Rules, groups: &[GroupName]) -> Result<Tried, RulesError> {
        suite::check(&self.tests)?;
        let rules = RuleSet::compile(&self.script, settings, groups)?;
        let report = suite::run(&rules, &self.tests)?;
        if report.broken.is_empty() {
            return Ok(Tried { rules, cases: report.cases });
        }
        Err(RulesError::Tests { cases: report.cases, broken: report.broken })
    }

    /// The hash by which the rules are known.
    pub fn hash(&self) -> String {
        rules::hash(&self.script)
    }

    /// A fingerprint of all that is in them.
    pub(super) fn print(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let tests =
            self.tests.iter().flat_map(|test| [test.name.as_bytes(), test.script.as_slice()]);
        for text in std::iter::once(&*self.script).chain(tests) {
            // Lengths keep the texts apart.
            digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(text);
        }
        digest.finalize().into()
    }
}
