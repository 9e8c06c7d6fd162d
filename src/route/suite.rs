//! Tests of rules: cases in Lua files beside the rules file, asked of a compiled rule set.
//!
//! Promises that a case holds only if all that it expects is so, that it needs no cluster, and that
//! a test file can do no more than rules can.

mod case;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, LuaSerdeExt, Table, Value};

use self::case::Case;
use super::engine::{Machine, failure, settled};
use super::facts::Facts;
use super::rules::{RuleSet, RulesError, again, chunk_name, compiled, text};
use super::sandbox::{self, Limits};
use super::verdict::{FailureKind, Groups, shown};

const MIB: usize = 1024 * 1024;

/// The folder beside the rules file.
const FOLDER: &str = "tests";
/// The most files of tests.
const FILES_MAX: usize = 200;
/// The most bytes of all files together: a version in the store holds them.
pub const BYTES_MAX: usize = 2 * MIB;
/// The most cases of all files: they are asked before rules come into force.
const CASES_MAX: usize = 10_000;
/// The most bytes of what all cases say: it is copied out of the machine, whose limit does not count then.
const SAID_MAX: usize = 64 * MIB;
/// What an entry of a case's tables counts beside its texts.
const ENTRY: usize = 128;
/// How deep a case's tables are looked into. No table that lies deeper is taken.
const DEPTH_MAX: usize = 128;
/// The most time to read one file's cases.
const READ_MAX: Duration = Duration::from_secs(1);

/// A file of cases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFile {
    /// Its name, as messages say it: `tests/route.lua`.
    pub name: String,
    /// What stands in it.
    pub script: Vec<u8>,
}

/// What became of all cases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// How many there are.
    pub cases: usize,
    /// Those that do not hold.
    pub broken: Vec<Broken>,
}

/// A case that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The file.
    pub file: String,
    /// The line of the case.
    pub line: u32,
    /// The name of the case.
    pub name: String,
    /// What was expected and what came.
    pub difference: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, name, difference } = self;
        write!(out, "{file}:{line}: `{name}`: {difference}")
    }
}

/// Whether a file beside the rules, of that name, is one of tests.
pub fn holds(name: &str) -> bool {
    name.strip_prefix(FOLDER).is_some_and(|rest| rest.starts_with('/'))
}

/// Reads the files `tests/*.lua` beside a rules file, by name. No folder, no tests.
pub fn read(rules_file: &Path) -> Result<Vec<TestFile>, RulesError> {
    let folder = rules_file.parent().unwrap_or_else(|| Path::new(".")).join(FOLDER);
    let unreadable = |file: &Path, source| RulesError::Unreadable { file: file.to_owned(), source };
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&folder, error)),
    };
    let paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>();
    let mut paths = paths.map_err(|error| unreadable(&folder, error))?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "lua"));
    paths.sort();
    if paths.len() > FILES_MAX {
        return Err(too_many(format!("{FILES_MAX} files")));
    }
    let mut files = Vec::new();
    for path in paths {
        let script = super::rules::read(&path)?;
        files.push(TestFile { name: format!("{FOLDER}/{}", chunk_name(&path)), script });
        // At once: what is too much is not read to its end.
        check(&files)?;
    }
    Ok(files)
}

/// Refuses tests that could not be read beside a rules file, or are more than a version in the store may
/// hold.
pub(super) fn check(files: &[TestFile]) -> Result<(), RulesError> {
    let bytes: usize = files.iter().map(|file| file.script.len()).sum();
    if files.len() > FILES_MAX {
        return Err(too_many(format!("{FILES_MAX} files")));
    }
    if bytes > BYTES_MAX {
        return Err(too_many(format!("{} MiB together", BYTES_MAX / MIB)));
    }
    let mut taken = BTreeSet::new();
    for TestFile { name, .. } in files {
        let own = name.strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
        if !own.is_some_and(|own| own.ends_with(".lua") && !own.contains('/')) {
            return Err(RulesError::Stray { name: shown(name) });
        }
        if !taken.insert(name) {
            return Err(RulesError::Taken { name: name.clone() });
        }
    }
    Ok(())
}

fn too_many(most: String) -> RulesError {
    RulesError::TooMany { what: "tests", most }
}

/// What files of tests said so far.
#[derive(Default)]
struct Found {
    cases: Vec<Case>,
    /// Of all files, in bytes.
    said: usize,
}

impl Found {
    /// Takes in how much was said. An error: it is too much.
    fn says(&mut self, said: usize) -> mlua::Result<()> {
        self.said = said;
        if said <= SAID_MAX {
            return Ok(());
        }
        let most = SAID_MAX / MIB;
        let message = format!("all cases say more than {most} MiB, expected shorter texts");
        Err(mlua::Error::RuntimeError(message))
    }
}

/// Asks the rules all cases. An error: a file of tests is wrong itself.
pub fn run(rules: &RuleSet, files: &[TestFile]) -> Result<Report, RulesError> {
    let mut report = Report::default();
    let refused = |failure| super::rules::refused(rules.chunk(), failure);
    let mut machine = Machine::new(rules).map_err(refused)?;
    let mut said = 0;
    // One that is slow again and again is so by itself. So may be the others, which are asked once then.
    let mut is_slow = false;
    for file in files {
        let told = found(rules, file, said)?;
        said = told.said;
        report.cases += told.cases.len();
        if report.cases > CASES_MAX {
            return Err(too_many(format!("{CASES_MAX} cases")));
        }
        for case in told.cases {
            let mut ask = || {
                let run = |facts: &Facts<'_>| machine.run(rules, facts);
                let outcome = case.ask(|facts| settled(facts, run, |post| case.reply(post)));
                if machine.is_doubtful(&outcome) {
                    machine = Machine::new(rules)?;
                }
                outcome
            };
            let outcome = if is_slow { ask() } else { again(ask) };
            is_slow |= outcome.as_ref().is_err_and(|failure| failure.kind == FailureKind::Timeout);
            if let Some(difference) = case.expect.difference(&rules.groups().decide(outcome)) {
                let Case { line, name, .. } = case;
                report.broken.push(Broken { file: file.name.clone(), line, name, difference });
            }
        }
    }
    Ok(report)
}

/// Runs a file of tests, which says its cases; `said` is what those before it said.
fn found(rules: &RuleSet, file: &TestFile, said: usize) -> Result<Found, RulesError> {
    let refused = |failure| super::rules::refused(&file.name, failure);
    let script = text(&file.script, Path::new(&file.name))?;
    let names: Vec<_> = rules.groups().known.iter().map(|name| name.as_str()).collect();
    let limits = Limits { cpu: READ_MAX, ..rules.limits().of_loading() };
    let failed = |error| refused(failure(&error, None, &file.name));
    let (lua, guard) = sandbox::machine(&names, limits, &file.name).map_err(failed)?;
    let found = Rc::new(RefCell::new(Found { cases: Vec::new(), said }));
    lua.globals().set("default_group", rules.default_group().as_str()).map_err(failed)?;
    lua.globals()
        .set("case", teller(&lua, &found, rules.groups()).map_err(failed)?)
        .map_err(failed)?;
    let bytecode = compiled(script, &file.name).map_err(refused)?;
    let chunk = lua.load(bytecode).set_name(format!("={}", file.name));
    let run = chunk.set_mode(mlua::chunk::ChunkMode::Binary).into_function().map_err(failed)?;
    let (ran, kill) = guard.watch(&lua, limits, || run.call::<()>(()));
    ran.map_err(|error| refused(failure(&error, kill, &file.name)))?;
    Ok(found.take())
}

/// `case`: `case "its name" { … }`.
fn teller(lua: &Lua, found: &Rc<RefCell<Found>>, groups: &Groups) -> mlua::Result<mlua::Function> {
    let (found, groups) = (Rc::clone(found), Rc::new(groups.clone()));
    lua.create_function(move |lua, name: String| {
        let line = lua.inspect_stack(1, |frame| frame.current_line()).flatten();
        let line = line.and_then(|line| u32::try_from(line).ok()).unwrap_or_default();
        let (found, groups) = (Rc::clone(&found), Rc::clone(&groups));
        let said = found.borrow().said + ENTRY + name.len();
        found.borrow_mut().says(said)?;
        lua.create_function(move |lua, case: Table| {
            let bad = |error: String| mlua::Error::RuntimeError(format!("`{name}`: {error}"));
            let said = with(&case, DEPTH_MAX, found.borrow().said)?;
            found.borrow_mut().says(said)?;
            let case: case::Wire =
                lua.from_value(Value::Table(case)).map_err(|error| bad(error.to_string()))?;
            if found.borrow().cases.len() >= CASES_MAX {
                return Err(bad(format!("there are at most {CASES_MAX} cases")));
            }
            let case = Case::new(line, name.clone(), case, &groups).map_err(bad)?;
            found.borrow_mut().cases.push(case);
            Ok(())
        })
    })
}

/// Counts what a table says, and those in it, to what was said; not on when that is too much. One that
/// holds another twice is copied twice.
fn with(table: &Table, depth: usize, mut said: usize) -> mlua::Result<usize> {
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        said += ENTRY;
        for part in [key, value] {
            match part {
                Value::String(text) => said += text.as_bytes().len(),
                Value::Table(inner) if depth > 0 => said = with(&inner, depth - 1, said)?,
                _ => {}
            }
        }
        if said > SAID_MAX {
            break;
        }
    }
    Ok(said)
}
