//! Versions of the rules of a running Warren, as operators look at them.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::diff::unified;
use crate::cli::clusters::read;
use crate::cli::exit::Exit;
use crate::cli::operators::Operators;
use crate::cli::table::{Table, plain};
use crate::cli::{Failure, Shell};

/// The name of the rules among the files of a version.
pub(super) const SCRIPT: &str = "route.lua";

/// Show which rules are in force, and the newest versions.
#[derive(Debug, Args)]
pub(super) struct List {
    /// How many.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    operators: Operators,
}

/// Show the rules of a version, or another file of it.
#[derive(Debug, Args)]
pub(super) struct Show {
    /// The version.
    number: u64,
    /// One of the files beside them, as teams.lua or tests/route.lua.
    #[arg(default_value = SCRIPT)]
    file: String,
    #[command(flatten)]
    operators: Operators,
}

/// Show what differs between two versions, with the files beside the rules.
#[derive(Debug, Args)]
pub(super) struct Diff {
    /// The older version.
    old: u64,
    /// The newer version.
    new: u64,
    #[command(flatten)]
    operators: Operators,
}

/// How the rules are, as the operators' API shows it. Other fields are left to `--json`.
#[derive(Debug, Deserialize)]
struct Rules {
    number: Option<u64>,
    hash: String,
    fallback: bool,
    warnings: Vec<String>,
    error: Option<Complaint>,
    active: Option<u64>,
    before: Option<u64>,
    versions: Vec<Row>,
    store_error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Complaint {
    text: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    number: u64,
    hash: String,
    author: String,
    comment: String,
    at_ms: u64,
    used_ms: Option<u64>,
}

/// A version with its texts.
#[derive(Debug, Deserialize)]
struct Version {
    script: String,
    files: Vec<Beside>,
}

#[derive(Debug, Deserialize)]
struct Beside {
    name: String,
    text: String,
}

/// A version by its number, in words; 0 is the rules file.
pub(super) fn name(number: u64) -> String {
    if number == 0 { "the rules file".to_owned() } else { format!("version {number}") }
}

impl List {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let path = format!("/api/v1/rules?limit={}", self.limit);
        let answer = self.operators.client(shell)?.get(&path)?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
        } else {
            write!(shell.out, "{}", in_words(&read(answer)?))?;
        }
        Ok(Exit::Fine)
    }
}

fn in_words(rules: &Rules) -> String {
    let here = name(rules.number.unwrap_or_default());
    let mut lines = vec![format!("in force  {here} ({})", rules.hash)];
    match (rules.active, &rules.store_error) {
        (Some(active), _) => lines.push(format!("active    {}", name(active))),
        (None, why) => {
            let why = why.as_deref().unwrap_or("the store does not say");
            lines.push(format!("active    not known: {why}"));
        }
    }
    if rules.fallback {
        lines.push("fallback  these stand in for rules that cannot be used".to_owned());
    }
    lines.extend(rules.error.iter().map(|error| format!("error     {}", error.text)));
    lines.extend(rules.warnings.iter().map(|warning| format!("warning   {warning}")));
    let mut text: String = lines.iter().map(|line| plain(line) + "\n").collect();
    if !rules.versions.is_empty() {
        text.push('\n');
        text.push_str(&table(rules));
    }
    text
}

fn table(rules: &Rules) -> String {
    let head = ["VERSION", "HASH", "STATE", "AUTHOR", "PUT", "IN FORCE LAST", "COMMENT"];
    let mut table = Table::new(head);
    for row in &rules.versions {
        let state = match row.number {
            number if rules.active == Some(number) => "active",
            number if rules.before == Some(number) => "before",
            _ => "",
        };
        table.push([
            row.number.to_string(),
            row.hash.clone(),
            state.to_owned(),
            row.author.clone(),
            time(row.at_ms),
            row.used_ms.map_or_else(|| "-".to_owned(), time),
            row.comment.clone(),
        ]);
    }
    table.render()
}

/// A moment, in milliseconds since 1970, for operators.
pub(super) fn time(unix_ms: u64) -> String {
    /// The last second that has four digits for its year.
    const LAST: u64 = 253_402_300_799;
    let at = UNIX_EPOCH + Duration::from_secs((unix_ms / 1000).min(LAST));
    humantime::format_rfc3339_seconds(at).to_string()
}

impl Show {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let answer = one(&self.operators, self.number, shell)?;
        if self.operators.json {
            writeln!(shell.out, "{answer:#}")?;
            return Ok(Exit::Fine);
        }
        let files = files(read(answer)?);
        let Some((_, text)) = files.iter().find(|(name, _)| *name == self.file) else {
            let known: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
            let known = known.join(", ");
            let text = format!("version {} has no file `{}`: {known}", self.number, self.file);
            return Err(Failure::Usage(text));
        };
        write!(shell.out, "{}", shown(text))?;
        Ok(Exit::Fine)
    }
}

fn one(operators: &Operators, number: u64, shell: &mut Shell<'_>) -> Result<Value, Failure> {
    Ok(operators.client(shell)?.get(&format!("/api/v1/rules/{number}"))?)
}

/// The files of a version, by name, the rules first.
fn files(version: Version) -> Vec<(String, String)> {
    let beside = version.files.into_iter().map(|file| (file.name, file.text));
    std::iter::once((SCRIPT.to_owned(), version.script)).chain(beside).collect()
}

/// A text of several lines without what could steer a terminal.
fn shown(text: &str) -> String {
    let steers = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect()
}

impl Diff {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let old = files(read(one(&self.operators, self.old, shell)?)?);
        let new = files(read(one(&self.operators, self.new, shell)?)?);
        let text = differences((self.old, &old), (self.new, &new));
        if self.operators.json {
            let told = json!({ "old": self.old, "new": self.new, "diff": text });
            writeln!(shell.out, "{told:#}")?;
        } else {
            write!(shell.out, "{}", shown(&text))?;
        }
        Ok(Exit::Fine)
    }
}

type Files<'a> = &'a [(String, String)];

fn differences((old, old_files): (u64, Files<'_>), (new, new_files): (u64, Files<'_>)) -> String {
    let known = |files: Files<'_>, name: &str| files.iter().any(|(other, _)| other == name);
    let text = |files: Files<'_>, name: &str| {
        let found = files.iter().find(|(other, _)| other == name);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    let added = new_files.iter().filter(|(name, _)| !known(old_files, name));
    let names = old_files.iter().chain(added).map(|(name, _)| name);
    let differences = names.map(|name| {
        let old_text = text(old_files, name);
        let new_text = text(new_files, name);
        unified((&format!("{old}/{name}"), &old_text), (&format!("{new}/{name}"), &new_text))
    });
    differences.collect()
}
