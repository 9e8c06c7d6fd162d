//! Versions of the rules, as operators put and activate them in a running Warren.

use std::path::PathBuf;

use clap::Args;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refuse;
use super::versions::{SCRIPT, name};
use crate::cli::client::ClientError;
use crate::cli::clusters::read;
use crate::cli::exit::Exit;
use crate::cli::operators::Operators;
use crate::cli::table::plain;
use crate::cli::{Failure, Shell};
use crate::route::texts::Texts;

/// Keep a rules file, with its modules and tests, as a version in the store.
///
/// It is compiled, examined and tried, and its tests are run, before it is kept. Exits with 3 if
/// something is wrong; then nothing has changed, unless it says that the version is active. The same
/// texts are the same version.
#[derive(Debug, Args)]
pub(super) struct Put {
    /// The rules file.
    file: PathBuf,
    /// Make it the active version.
    #[arg(long)]
    activate: bool,
    /// Try it in the running Warren, and keep nothing.
    #[arg(long, conflicts_with = "activate")]
    dry_run: bool,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    operators: Operators,
}

/// Make a version the active one: all gateways run it within a second.
///
/// It is tried once more, with its tests. Exits with 3 if something is wrong, also if it is active and
/// the Warren that was asked does not run it, and with 4 if another version is active than --instead-of
/// says.
#[derive(Debug, Args)]
pub(super) struct Activate {
    /// The version.
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    number: Option<u64>,
    /// Let each gateway run its rules file again.
    #[arg(long)]
    file: bool,
    /// The version that must be active at this moment; 0 is the rules file.
    #[arg(long, value_name = "NUMBER")]
    instead_of: Option<u64>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    operators: Operators,
}

/// Make active what was so before the last activation: a version, or the rules file.
#[derive(Debug, Args)]
pub(super) struct Rollback {
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    operators: Operators,
}

/// Who does it, and why.
#[derive(Debug, Args)]
struct By {
    /// Why. It is kept with the change.
    #[arg(long, value_name = "TEXT", default_value = "")]
    comment: String,
    /// Who. It is kept with the change; without it, $USER.
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

impl By {
    fn author(&self, shell: &Shell<'_>) -> Option<String> {
        let named = self.author.clone().or_else(|| (shell.environment)("USER"));
        named.filter(|name| !name.is_empty())
    }
}

/// What came of putting a version.
#[derive(Debug, Deserialize)]
struct Taken {
    number: Option<u64>,
    hash: String,
    is_new: bool,
    cases: u64,
    warnings: Vec<String>,
    activated: Option<Active>,
}

/// What is active.
#[derive(Debug, Deserialize)]
struct Active {
    active: u64,
    before: u64,
    why_not: Option<String>,
}

impl Active {
    /// Tells if the Warren that was asked does not run it.
    fn tell(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let Some(why) = &self.why_not else { return Ok(Exit::Fine) };
        let active = name(self.active);
        let text =
            format!("{active} is active, but the Warren that was asked does not run it: {why}");
        writeln!(shell.err, "warren: {}", plain(&text))?;
        Ok(Exit::Problems)
    }
}

impl Put {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let texts = match Texts::read(&self.file) {
            Ok(texts) => texts,
            Err(error) => return refuse(&error, self.operators.json, shell),
        };
        let file = |(name, script): (&str, &[u8])| {
            Ok(json!({ "name": name, "text": text_of(name, script)? }))
        };
        let files = texts.files().map(file).collect::<Result<Vec<_>, Failure>>()?;
        let body = json!({
            "script": text_of(SCRIPT, &texts.script)?,
            "files": files,
            "comment": self.by.comment,
            "author": self.by.author(shell),
            "activate": self.activate,
        });
        let path = if self.dry_run { "/api/v1/rules?dry_run=true" } else { "/api/v1/rules" };
        let Some(answer) = send(&self.operators, path, &body, shell)? else {
            return Ok(Exit::Problems);
        };
        let taken: Taken = read(answer)?;
        for warning in &taken.warnings {
            writeln!(shell.err, "warning: {}", plain(warning))?;
        }
        if !self.operators.json {
            writeln!(shell.out, "{}", plain(&outcome(&taken)))?;
        }
        match &taken.activated {
            Some(now) => now.tell(shell),
            None => Ok(Exit::Fine),
        }
    }
}

fn text_of<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Failure> {
    str::from_utf8(bytes)
        .map_err(|_| Failure::Usage(format!("{name} is not UTF-8, expected a Lua text")))
}

fn outcome(taken: &Taken) -> String {
    let Taken { hash, cases, .. } = taken;
    let Some(number) = taken.number else {
        return format!("{hash} is fine and holds its {cases} cases of tests; nothing was kept");
    };
    let known = if taken.is_new { "" } else { ", as it was before" };
    let active = taken.activated.as_ref().map_or("", |_| " It is active.");
    format!("version {number} is {hash}{known}; it holds its {cases} cases of tests.{active}")
}

impl Activate {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let which = self.number.map_or_else(|| "file".to_owned(), |number| number.to_string());
        let body = json!({
            "comment": self.by.comment,
            "author": self.by.author(shell),
            "instead_of": self.instead_of,
        });
        change(&self.operators, &format!("/api/v1/rules/{which}/activate"), &body, shell)
    }
}

impl Rollback {
    pub(super) fn run(&self, shell: &mut Shell<'_>) -> Result<Exit, Failure> {
        let body = json!({ "comment": self.by.comment, "author": self.by.author(shell) });
        change(&self.operators, "/api/v1/rules/rollback", &body, shell)
    }
}

fn change(
    operators: &Operators,
    path: &str,
    body: &Value,
    shell: &mut Shell<'_>,
) -> Result<Exit, Failure> {
    let Some(answer) = send(operators, path, body, shell)? else { return Ok(Exit::Problems) };
    let now: Active = read(answer)?;
    if !operators.json {
        let (active, before) = (name(now.active), name(now.before));
        writeln!(shell.out, "{active} is active; `warren rules rollback` leads to {before}")?;
    }
    now.tell(shell)
}

/// Sends a change, and prints its answer as JSON if that is wanted. Rules that are refused are told
/// with all that is wrong with them: `None`.
fn send(
    operators: &Operators,
    path: &str,
    body: &Value,
    shell: &mut Shell<'_>,
) -> Result<Option<Value>, Failure> {
    let (text, findings) = match operators.client(shell)?.post(path, body) {
        Ok(answer) => {
            if operators.json {
                writeln!(shell.out, "{answer:#}")?;
            }
            return Ok(Some(answer));
        }
        Err(ClientError::Refused { status, text, findings, .. })
            if status == StatusCode::UNPROCESSABLE_ENTITY =>
        {
            (text, findings)
        }
        Err(error) => return Err(error.into()),
    };
    if operators.json {
        writeln!(shell.out, "{:#}", json!({ "ok": false, "error": text, "findings": findings }))?;
        return Ok(None);
    }
    // One finding is in the text.
    for finding in findings.iter().filter(|_| findings.len() > 1) {
        writeln!(shell.out, "{}", plain(finding))?;
    }
    writeln!(shell.err, "warren: {}", plain(&text))?;
    Ok(None)
}
