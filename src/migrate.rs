//! From a Java Trino Gateway to Warren: its settings, backends and rules become `warren.toml`, Lua
//! rules and their tests.
//!
//! Pure: texts come in, texts go out; `cli::migrate` reads and writes them. Promises that nothing is
//! dropped in silence: what has no counterpart is a finding with its file and line, and a rule that
//! cannot be translated stands in the script as a comment. `docs/migration.md` tells what is
//! translated, and what is meant by it.

mod backends;
mod java;
mod lua;
mod mvel;
mod names;
mod rules;
mod samples;
mod script;
mod settings;
mod yaml;

use std::fmt;

use serde::Serialize;

pub use self::backends::{Backend, BackendsError, of_json};
pub use self::yaml::YamlError;

/// A file: its name, as findings tell it, and its text.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// The name.
    pub name: &'a str,
    /// What stands in it.
    pub text: &'a str,
}

/// What is known of a Java gateway.
pub struct Sources<'a> {
    /// Its settings.
    pub config: File<'a>,
    /// Its rules, if it has some.
    pub rules: Option<File<'a>>,
    /// Its backends; they lie in its database.
    pub backends: &'a [Backend],
    /// What `${ENV:NAME}` in its settings stands for.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
}

/// What became of it.
#[derive(Debug)]
pub struct Migration {
    /// `warren.toml`
    pub settings: String,
    /// `lua/route.lua`
    pub script: String,
    /// `lua/tests/route.lua`
    pub tests: String,
    /// The groups in `settings`, the default one first.
    pub groups: Vec<String>,
    /// How many rules there are, and how many of them are translated.
    pub rules: (usize, usize),
    /// How many clusters `settings` has.
    pub clusters: usize,
    /// How many cases `tests` has.
    pub cases: usize,
    /// What could not be translated, and what differs.
    pub findings: Vec<Finding>,
}

/// Why nothing could be translated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A file is no YAML.
    #[error("read `{file}`")]
    Yaml {
        /// The file.
        file: String,
        /// Why.
        source: YamlError,
    },
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// It was not translated, and somebody must look.
    Left,
    /// It differs, or needs no counterpart.
    Note,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

impl Place {
    fn of(file: &str, line: usize) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.file, self.line)
    }
}

/// Something that whoever migrates must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub grade: Grade,
    /// Where it stands, if it stands in a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What it is.
    pub text: String,
}

impl Finding {
    fn left(place: Place, text: impl Into<String>) -> Self {
        Self { grade: Grade::Left, place: Some(place), text: text.into() }
    }

    fn note(place: Place, text: impl Into<String>) -> Self {
        Self { grade: Grade::Note, place: Some(place), text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(out, "{place}: {}", self.text),
            None => out.write_str(&self.text),
        }
    }
}

/// The rules file that the settings of a Java gateway name, if its rules count. `environment` is as
/// in [`Sources`].
pub fn rules_path(
    config: File<'_>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, MigrateError> {
    let document = document(config)?;
    // What is wrong is told when it is translated.
    Ok(java::read(&document, config.name, environment, &mut Vec::new()).rules_path)
}

/// Translates a Java gateway.
pub fn migrate(sources: &Sources<'_>) -> Result<Migration, MigrateError> {
    let mut findings = Vec::new();
    let config = sources.config;
    let java = java::read(&document(config)?, config.name, sources.environment, &mut findings);
    let (file, rules) = match sources.rules {
        None => ("", Vec::new()),
        Some(File { name, text }) => {
            let failed = |source| MigrateError::Yaml { file: name.to_owned(), source };
            (name, rules::read(text, name, &mut findings).map_err(failed)?)
        }
    };
    match (java.has_rules, sources.rules) {
        (false, Some(_)) => findings.push(Finding::left(
            Place::of(config.name, 1),
            "`routingRules.rulesEngineEnabled` is not true, or the rules come from elsewhere: the \
             Java gateway does not read this rules file; it is translated all the same",
        )),
        (true, None) => findings.push(Finding::left(
            Place::of(config.name, 1),
            "`routingRules.rulesEngineEnabled` is true, but there is no rules file; name it by \
             `--rules`",
        )),
        (true, Some(_)) | (false, None) => {}
    }
    let script = script::write(&rules, file, &java.user_field, &mut findings);
    let settings =
        settings::write(&java, sources.backends, &script.groups, config.name, &mut findings);
    let (tests, cases) = samples::write(&script.understood, rules.len());
    Ok(Migration {
        settings: settings.text,
        script: script.text,
        tests,
        groups: settings.groups,
        rules: (rules.len(), script.understood.len()),
        clusters: settings.clusters,
        cases,
        findings,
    })
}

/// The settings of a Java gateway; an empty file has none.
fn document(config: File<'_>) -> Result<yaml::Node, MigrateError> {
    let documents = yaml::parse(config.text)
        .map_err(|source| MigrateError::Yaml { file: config.name.to_owned(), source })?;
    let empty = yaml::Node { line: 1, value: yaml::Value::Null };
    Ok(documents.into_iter().next().unwrap_or(empty))
}

#[cfg(test)]
mod tests;
