//! The texts of a rule set, the rules with their modules and tests, and what it takes to come into force.
//!
//! Promises that what was [`tried`](Texts::tried) compiles, answers the probes and holds its own
//! tests.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::modules::{self, Module};
use super::rules::{self, RuleSet, RulesError};
use super::suite::{self, TestFile};
use crate::config::Rules;
use crate::ids::GroupName;

/// The rules, their modules and their tests, as they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Texts {
    /// The rules.
    pub script: Vec<u8>,
    /// What they require.
    pub modules: Vec<Module>,
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
    /// Reads a rules file, and the modules and tests beside it.
    pub fn read(file: &Path) -> Result<Self, RulesError> {
        let tests = suite::read(file)?;
        Ok(Self { tests, ..Self::without_tests(file)? })
    }

    /// Reads a rules file and its modules.
    pub(super) fn without_tests(file: &Path) -> Result<Self, RulesError> {
        let script = rules::read(file)?;
        Ok(Self { modules: modules::read(file, &script)?, script, tests: Vec::new() })
    }

    /// Compiles the rules, asks them the probes, and runs their tests.
    pub fn tried(&self, settings: &Rules, groups: &[GroupName]) -> Result<Tried, RulesError> {
        suite::check(&self.tests)?;
        let rules = self.compiled(settings, groups)?;
        let report = suite::run(&rules, &self.tests)?;
        if report.broken.is_empty() {
            return Ok(Tried { rules, cases: report.cases });
        }
        Err(RulesError::Tests { cases: report.cases, broken: report.broken })
    }

    /// Compiles the rules and asks them the probes.
    pub(super) fn compiled(
        &self,
        settings: &Rules,
        groups: &[GroupName],
    ) -> Result<RuleSet, RulesError> {
        RuleSet::with_modules(&self.script, &self.modules, settings, groups)
    }

    /// All files beside the rules, with their names.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let modules = self.modules.iter().map(|module| (&*module.name, &*module.script));
        modules.chain(self.tests.iter().map(|test| (&*test.name, &*test.script)))
    }

    /// The hash by which the rules are known.
    pub fn hash(&self) -> String {
        rules::hash(&self.script, &self.modules)
    }

    /// A fingerprint of all that is in them.
    pub(super) fn print(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        let files = self.files().flat_map(|(name, script)| [name.as_bytes(), script]);
        for text in std::iter::once(&*self.script).chain(files) {
            // Lengths keep the texts apart.
            digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(text);
        }
        digest.finalize().into()
    }
}
