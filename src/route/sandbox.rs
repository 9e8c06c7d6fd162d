//! The walls around a script: which functions it has, and how much time and memory.
//!
//! Promises that a call ends: Luau asks the `Guard` at each call, return and loop step, and inside
//! the matching of patterns; once the guard has said no it says no at every later step, so `pcall`
//! cannot go on. Functions that work long without asking are removed or bounded.
//! One gap is known: code in a straight line, without a call or a loop, does not ask, so only its
//! length (the size of the file) bounds it. What a probe finds of it is refused when it is loaded.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use mlua::{Lua, LuaOptions, StdLib, Table, Value, VmState};

use super::closures;
use crate::time::{Instant, now, thread_cpu};

/// The most steps of one call. At some 20 ns a step this is well above any honest rule.
const TICKS_MAX: u32 = 1_000_000;
/// The last stop by the clock on the wall, for a system that cannot tell the time of a thread.
const WALL_MAX: Duration = Duration::from_millis(250);
/// The top level of a rules file may take so many times the limit of a call: it builds tables.
const LOAD_FACTOR: u32 = 10;
/// The most tables and functions that a script may keep: they are walked to make them read-only.
const FREEZE_MAX: usize = 100_000;

/// How many callers up a line of the rules file is looked for, when a call is ended.
const STACK_LOOKED_AT: usize = 8;

/// The library of rules, in the scripts' own language.
const PRELUDE: &str = include_str!("../../lua/prelude.lua");

/// Bounds for functions that work long without asking the guard.
const BOUNDS: &str = r#"
local rep, sort = string.rep, table.sort
function string.rep(text, count, separator)
  if (#text + #(separator or "")) * count > 65536 then
    error("string.rep would make more than 65536 bytes", 2)
  end
  return rep(text, count, separator)
end
function table.sort(list, before)
  if #list > 1000 then
    error("table.sort takes at most 1000 elements", 2)
  end
  return sort(list, before)
end
"#;

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
    "xpcall",
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

/// What one call of a script may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// Time on the processor.
    pub(super) cpu: Duration,
    /// Memory of the whole virtual machine.
    pub(super) memory: usize,
}

impl Limits {
    /// The limits of the top level of a rules file.
    pub(super) fn of_loading(self) -> Self {
        Self { cpu: self.cpu * LOAD_FACTOR, ..self }
    }
}

/// Watches one call at a time and ends it at its limit.
#[derive(Debug)]
pub(super) struct Guard {
    watch: Cell<Option<Watch>>,
    killed: Cell<Option<Kill>>,
}

/// How a call was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) limit: Limit,
    /// The line of the rules file that ran then.
    pub(super) line: Option<u32>,
}

/// Which limit ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Cpu(Duration),
    Ticks,
    Wall,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu(limit) => {
                write!(out, "took more than {limit:?} of processor time (`rules.cpu`)")
            }
            Self::Ticks => write!(out, "took more than {TICKS_MAX} steps"),
            Self::Wall => write!(out, "took more than {WALL_MAX:?}"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    cpu_max: Duration,
    ticks: u32,
    start: Instant,
    /// The thread's time when this call had taken an eighth of its limit on the wall. Calls that
    /// end before (all honest ones) are spared the system calls.
    mark: Option<Duration>,
}

impl Guard {
    fn new() -> Self {
        Self { watch: Cell::new(None), killed: Cell::new(None) }
    }

    /// Runs `call` under a limit of processor time and tells how it was ended, if it was.
    pub(super) fn watch<R>(
        &self,
        cpu_max: Duration,
        call: impl FnOnce() -> R,
    ) -> (R, Option<Kill>) {
        self.killed.set(None);
        self.watch.set(Some(Watch { cpu_max, ticks: 0, start: now(), mark: None }));
        let result = call();
        self.watch.set(None);
        (result, self.killed.take())
    }

    /// One step of the script. `Some`: it must end. `line` tells where it is.
    fn tick(&self, line: impl FnOnce() -> Option<u32>) -> Option<Kill> {
        if let Some(kill) = self.killed.get() {
            return Some(kill);
        }
        let mut watch = self.watch.get()?;
        watch.ticks += 1;
        let limit = if watch.ticks > TICKS_MAX { Some(Limit::Ticks) } else { watch.look() };
        self.watch.set(Some(watch));
        self.killed.set(limit.map(|limit| Kill { limit, line: line() }));
        self.killed.get()
    }
}

impl Watch {
    /// At every step: one step can copy megabytes of text, and a look costs some 30 ns.
    fn look(&mut self) -> Option<Limit> {
        let wall = now().duration_since(self.start);
        if wall < self.cpu_max / 8 {
            return None;
        }
        if wall > WALL_MAX.max(self.cpu_max) {
            return Some(Limit::Wall);
        }
        let cpu = thread_cpu();
        let since = *self.mark.get_or_insert(cpu);
        (cpu.saturating_sub(since) > self.cpu_max).then_some(Limit::Cpu(self.cpu_max))
    }
}

/// Makes a virtual machine with the library of rules and nothing else, and its guard.
pub(super) fn machine(
    groups: &[&str],
    limits: Limits,
    chunk: &str,
) -> mlua::Result<(Lua, Rc<Guard>)> {
    let libs = StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::BIT | StdLib::UTF8;
    let lua = Lua::new_with(libs, LuaOptions::new())?;
    lua.set_memory_limit(limits.memory)?;
    lua.load(BOUNDS).set_name("=warren").exec()?;
    strip(&lua)?;
    lua.globals().set("groups", lua.create_table_from(groups.iter().map(|name| (*name, true)))?)?;
    lua.load(PRELUDE).set_name("=prelude.lua").exec()?;
    lua.sandbox(true)?;
    let guard = Rc::new(Guard::new());
    let watching = Rc::clone(&guard);
    let chunk = chunk.to_owned();
    lua.set_interrupt(move |lua| match watching.tick(|| line_of(lua, &chunk)) {
        None => Ok(VmState::Continue),
        Some(kill) => Err(mlua::Error::RuntimeError(format!("the rules {}", kill.limit))),
    });
    Ok((lua, guard))
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
pub(super) type Kept = (u32, Option<String>);

/// Makes all tables read-only that a loaded script can reach: from its globals, and from what its
/// functions captured. Tells the functions of `chunk` that it met.
pub(super) fn freeze(lua: &Lua, chunk: &str) -> mlua::Result<Vec<Kept>> {
    let mut found = vec![Value::Table(lua.globals())];
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    while let Some(value) = found.pop() {
        if !matches!(value, Value::Table(_) | Value::Function(_))
            || !seen.insert(value.to_pointer())
        {
            continue;
        }
        if seen.len() > FREEZE_MAX {
            let message = format!("the script keeps more than {FREEZE_MAX} tables and functions");
            return Err(mlua::Error::RuntimeError(message));
        }
        match value {
            Value::Table(table) => {
                for pair in table.pairs::<Value, Value>() {
                    let (key, value) = pair?;
                    found.extend([key, value]);
                }
                found.extend(table.metatable().map(Value::Table));
                table.set_readonly(true);
            }
            Value::Function(function) => {
                let info = function.info();
                // Those of the language hold nothing of a script's.
                if info.what == "C" {
                    continue;
                }
                found.extend(closures::captured(lua, &function)?);
                found.extend(function.environment().map(Value::Table));
                if info.short_src.is_some_and(|name| name == chunk) {
                    let line = info.line_defined.and_then(|line| u32::try_from(line).ok());
                    kept.push((line.unwrap_or_default(), info.name));
                }
            }
            _ => {}
        }
    }
    Ok(kept)
}
