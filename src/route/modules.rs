//! Modules: files beside the rules that the rules `require`.
//!
//! Promises that a module is run only while rules are loaded, once, and that only what was read with the
//! rules is run: a module has a name, not a path.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};

use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, Value};
use regex::bytes::Regex;

use super::answer::kind_of;
use super::rules::{self, FILE_MAX, RulesError, Source, chunk_name};
use super::verdict::shown;

/// The most modules of one rule set.
const COUNT_MAX: usize = 100;
/// The longest name, in bytes.
const NAME_MAX: usize = 64;
/// How its file ends; `require` is told the name without it.
const ENDING: &str = ".lua";

/// The most modules that a message names.
const TOLD: usize = 10;
/// By this name versions call the rules themselves.
const RULES: &str = "route.lua";

/// What `require` is told, where that is a text: the others cannot be read before the rules run.
static REQUIRED: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"\brequire\s*\(?\s*["']([A-Za-z0-9_-]+)["']"#).expect("a constant pattern")
});

/// A module, as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Module {
    /// The name of its file: `teams.lua`.
    pub name: String,
    /// What stands in it.
    pub script: Vec<u8>,
}

/// Reads the modules that rules require, and those that these require, by name.
pub(super) fn read(rules_file: &Path, script: &[u8]) -> Result<Vec<Module>, RulesError> {
    let mut seen = BTreeSet::from([chunk_name(rules_file)]);
    let mut named = required(script);
    let mut modules = Vec::new();
    while let Some(name) = named.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        match rules::read(&rules_file.with_file_name(&name)) {
            Ok(script) => {
                named.extend(required(&script));
                modules.push(Module { name, script });
                // At once: what is too much is not read to its end.
                check(&modules, &chunk_name(rules_file))?;
            }
            // A comment may name it. If it is required, that is told when the rules are loaded.
            Err(RulesError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    modules.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(modules)
}

/// The names of the files that a script seems to require.
fn required(script: &[u8]) -> Vec<String> {
    let found = REQUIRED.captures_iter(script);
    let names = found.filter_map(|found| str::from_utf8(found.get(1)?.as_bytes()).ok());
    names.filter(|name| is_name(name)).map(|name| format!("{name}{ENDING}")).collect()
}

/// Refuses modules that could not be read beside a rules file of this name: operators may send any.
pub(super) fn check(modules: &[Module], rules_file: &str) -> Result<(), RulesError> {
    let too_many = |most| RulesError::TooMany { what: "modules", most };
    if modules.len() > COUNT_MAX {
        return Err(too_many(format!("{COUNT_MAX} files")));
    }
    if modules.iter().map(|module| module.script.len()).sum::<usize>() > FILE_MAX {
        return Err(too_many("1 MiB together".to_owned()));
    }
    let mut taken = BTreeSet::from([RULES, rules_file]);
    for Module { name, .. } in modules {
        if !name.strip_suffix(ENDING).is_some_and(is_name) {
            return Err(RulesError::Stray { name: shown(name) });
        }
        if !taken.insert(name) {
            return Err(RulesError::Taken { name: name.clone() });
        }
    }
    Ok(())
}

fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits)
}

/// Their texts, with the names by which messages call them.
pub(super) fn sources(modules: &[Module]) -> Result<Vec<Source<'_>>, RulesError> {
    let read = modules.iter().map(|Module { name, script }| {
        let text = rules::utf8(script, Path::new(name))?;
        Ok(Source { chunk: name, text })
    });
    read.collect()
}

/// A compiled module.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The name of its file.
    pub(super) chunk: String,
    pub(super) bytecode: Vec<u8>,
}

/// What `require` knows while rules are loaded; dropped, it gives nothing any more.
pub(super) struct Shelf(Rc<RefCell<Option<Vec<Place>>>>);

/// What became of a module.
enum Place {
    Unread(Function),
    Running,
    Read(Value),
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.0.replace(None);
    }
}

/// `require` of a script, to be made before any script runs: code that is loaded looks up the globals that
/// it reads once, and would keep those that a script made until then.
pub(super) fn library(lua: &Lua, modules: &Arc<[Compiled]>) -> mlua::Result<(Function, Shelf)> {
    let load = |module: &Compiled| {
        let chunk = lua.load(module.bytecode.as_slice()).set_name(format!("={}", module.chunk));
        Ok(Place::Unread(chunk.set_mode(ChunkMode::Binary).into_function()?))
    };
    let places = modules.iter().map(load).collect::<mlua::Result<_>>()?;
    let shelf = Rc::new(RefCell::new(Some(places)));
    let (modules, places) = (Arc::clone(modules), Rc::clone(&shelf));
    let require = lua.create_function(move |_, name: Value| {
        let Value::String(name) = &name else {
            let kind = kind_of(&name);
            return Err(raised(format!("`require` got a {kind}, expected the name of a module")));
        };
        take(&modules, &places, &name.as_bytes())
    })?;
    Ok((require, Shelf(shelf)))
}

fn take(
    modules: &[Compiled],
    places: &RefCell<Option<Vec<Place>>>,
    name: &[u8],
) -> mlua::Result<Value> {
    let swap = |index: usize, place| {
        places.borrow_mut().as_mut().map(|places| mem::replace(&mut places[index], place))
    };
    if places.borrow().is_none() {
        return Err(raised("`require` works at the top level only, while rules are loaded".into()));
    }
    let is_named =
        |module: &Compiled| module.chunk.strip_suffix(ENDING).map(str::as_bytes) == Some(name);
    let found = modules.iter().enumerate().find(|(_, module)| is_named(module));
    let (index, module) = found.ok_or_else(|| unknown(name, modules))?;
    let value = match swap(index, Place::Running) {
        Some(Place::Read(value)) => value,
        Some(Place::Unread(module)) => match module.call(()) {
            Ok(Value::Nil) => Value::Boolean(true),
            Ok(value) => value,
            Err(error) => {
                swap(index, Place::Unread(module));
                return Err(error);
            }
        },
        Some(Place::Running) | None => {
            let file = &module.chunk;
            return Err(raised(format!("`{file}` requires itself, or what it requires does")));
        }
    };
    swap(index, Place::Read(value.clone()));
    Ok(value)
}

fn unknown(name: &[u8], modules: &[Compiled]) -> mlua::Error {
    let name = shown(&String::from_utf8_lossy(&name[..name.len().min(2 * NAME_MAX)]));
    let names = modules.iter().filter_map(|module| module.chunk.strip_suffix(ENDING));
    let mut known: Vec<_> = names.take(TOLD).map(|name| format!("`{name}`")).collect();
    if modules.len() > TOLD {
        known.push("more".to_owned());
    }
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    raised(format!(
        "there is no module `{name}`, expected the name, as a text in the call, of a file `NAME.lua` \
         beside the rules; known: {known}"
    ))
}

fn raised(message: String) -> mlua::Error {
    mlua::Error::RuntimeError(message)
}
