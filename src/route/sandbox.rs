//! The walls around a script: which functions it has, and how much time and memory.
//!
//! Promises that a call ends: Luau asks the `Guard` at each call, return and loop step, inside the
//! matching of patterns, and where a straight run of code is long (`bytecode/runs.rs`). Functions that
//! work long without asking are removed or bounded (`lua/bounds.lua`), and what one step may take of
//! memory is bounded: each of these bounds aims at half a millisecond (`tests/attacks.rs` measures).

mod guard;

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::LazyLock;

use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::closures;

pub(super) use self::guard::{Guard, Kill, Limit, Limits};

/// The most tables and functions that a script may keep: they are walked to make them read-only.
const FREEZE_MAX: usize = 100_000;
/// The most entries of all these tables.
const ENTRIES_MAX: usize = 500_000;

/// How many callers up a line of the rules file is looked for, when a call is ended.
const STACK_LOOKED_AT: usize = 8;

/// The library of rules, in the scripts' own language, compiled: a machine is made anew after each
/// call that was ended.
static PRELUDE: LazyLock<Vec<u8>> = LazyLock::new(|| own(include_str!("../../lua/prelude.lua")));
/// Bounds for functions that work long without asking the guard, in that language too.
static BOUNDS: LazyLock<Vec<u8>> = LazyLock::new(|| own(include_str!("../../lua/bounds.lua")));

const GLOBALS: &[&str] = &[
    "_G",
    "_VERSION",
    "assert",
    "bit32",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "typeof",
    "unpack",
    "utf8",
];
const STRING: &[&str] = &[
    "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep", "reverse",
    "split", "sub", "upper",
];
const TABLE: &[&str] = &[
    "clone", "concat", "find", "freeze", "insert", "isfrozen", "maxn", "pack", "remove", "sort",
    "unpack",
];
/// Gone from `math`: a rule that throws dice cannot be explained.
const MATH_GONE: &[&str] = &["random", "randomseed"];

/// Makes a virtual machine with the library of rules and nothing else, and its guard.
pub(super) fn machine(
    groups: &[&str],
    limits: Limits,
    chunk: &str,
) -> mlua::Result<(Lua, Rc<Guard>)> {
    let libs = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::BIT | StdLib::UTF8;
    let lua = Lua::new_with(libs, LuaOptions::new())?;
    lua.set_memory_limit(limits.memory)?;
    lua.load(BOUNDS.as_slice()).set_name("=warren").set_mode(ChunkMode::Binary).exec()?;
    strip(&lua)?;
    lua.globals().set("groups", lua.create_table_from(groups.iter().map(|name| (*name, true)))?)?;
    lua.load(PRELUDE.as_slice()).set_name("=prelude").set_mode(ChunkMode::Binary).exec()?;
    lua.sandbox(true)?;
    let guard = Rc::new(Guard::new());
    let watching = Rc::clone(&guard);
    let chunk = chunk.to_owned();
    lua.set_interrupt(move |lua| match watching.tick(|| line_of(lua, &chunk)) {
        None => {
            watching.allow_step(lua);
            Ok(VmState::Continue)
        }
        Some(kill) => Err(kill.error()),
    });
    Ok((lua, guard))
}

/// Compiles a script of ours. One that cannot be compiled stays a text, which is refused when it is
/// loaded.
fn own(script: &str) -> Vec<u8> {
    Compiler::new().compile(script).unwrap_or_else(|_| script.as_bytes().to_vec())
}

/// The line of `chunk` that runs, or that called what runs.
fn line_of(lua: &Lua, chunk: &str) -> Option<u32> {
    (0..STACK_LOOKED_AT).find_map(|level| {
        lua.inspect_stack(level, |frame| {
            let ours = frame.source().short_src.is_some_and(|name| name == chunk);
            ours.then(|| u32::try_from(frame.current_line()?).ok()).flatten()
        })
        .flatten()
    })
}

fn strip(lua: &Lua) -> mlua::Result<()> {
    let globals = lua.globals();
    keep_only(&globals, GLOBALS)?;
    keep_only(&globals.get("string")?, STRING)?;
    keep_only(&globals.get("table")?, TABLE)?;
    let math: Table = globals.get("math")?;
    for name in MATH_GONE {
        math.set(*name, Value::Nil)?;
    }
    Ok(())
}

fn keep_only(table: &Table, names: &[&str]) -> mlua::Result<()> {
    let mut gone = Vec::new();
    for pair in table.pairs::<Value, Value>() {
        let (key, _) = pair?;
        if !key.as_string().is_some_and(|key| names.iter().any(|name| key == *name)) {
            gone.push(key);
        }
    }
    gone.into_iter().try_for_each(|key| table.set(key, Value::Nil))
}

/// A function that outlives the load of a script: where it begins, and its name.
#[derive(Debug)]
pub(super) struct Kept {
    /// The file.
    pub(super) chunk: String,
    pub(super) line: u32,
    pub(super) name: Option<String>,
}

/// Makes all tables read-only that a loaded script can reach: from its globals, and from what its
/// functions captured. Refuses what changes without being written to, and tells the functions that it
/// met, those of ours too.
pub(super) fn freeze(lua: &Lua) -> mlua::Result<Vec<Kept>> {
    let mut found = vec![Value::Table(lua.globals())];
    let mut seen = HashSet::new();
    let mut entries = 0;
    let mut kept = Vec::new();
    while let Some(value) = found.pop() {
        if !matches!(value, Value::Table(_) | Value::Function(_))
            || !seen.insert(value.to_pointer())
        {
            continue;
        }
        if seen.len() > FREEZE_MAX {
            return Err(too_much(&format!("{FREEZE_MAX} tables and functions")));
        }
        match value {
            Value::Table(table) => {
                for pair in table.pairs::<Value, Value>() {
                    let (key, value) = pair?;
                    entries += 1;
                    if entries > ENTRIES_MAX {
                        return Err(too_much(&format!("{ENTRIES_MAX} entries of tables")));
                    }
                    found.extend([key, value]);
                }
                found.extend(steady_metatable(&table)?.map(Value::Table));
                table.set_readonly(true);
            }
            Value::Function(function) => {
                let info = function.info();
                let captured = closures::captured(lua, &function)?;
                if info.what == "C" {
                    // Of those of the language only this one captures a text: it keeps its place in it.
                    if captured.iter().any(Value::is_string) {
                        return Err(carried("an iterator of string.gmatch"));
                    }
                    continue;
                }
                found.extend(captured);
                found.extend(function.environment().map(Value::Table));
                let line = info.line_defined.and_then(|line| u32::try_from(line).ok());
                kept.push(Kept {
                    chunk: info.short_src.unwrap_or_default(),
                    line: line.unwrap_or_default(),
                    name: info.name,
                });
            }
            _ => {}
        }
    }
    Ok(kept)
}

/// The metatable of a table. An error: it lets the collector empty the table.
fn steady_metatable(table: &Table) -> mlua::Result<Option<Table>> {
    let Some(metatable) = table.metatable() else { return Ok(None) };
    if metatable.raw_get::<Value>("__mode")?.is_nil() {
        return Ok(Some(metatable));
    }
    Err(carried("a table whose metatable has `__mode`"))
}

fn carried(what: &str) -> mlua::Error {
    let message = format!(
        "{what} would be kept from one request to the next, expected that functions make it where \
         they need it"
    );
    mlua::Error::RuntimeError(message)
}

fn too_much(what: &str) -> mlua::Error {
    mlua::Error::RuntimeError(format!("the script keeps more than {what}"))
}
