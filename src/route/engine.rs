//! Runs a compiled rule set over the facts of a request.
//!
//! Each thread has a virtual machine of its own for the newest set that it met, so a decision takes
//! no lock. Promises that [`decide`] always gives a group that exists, and that a request is gone
//! from the machine when the call is over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{
    AnyUserData, Function, Lua, LuaString, MetaMethod, Table, UserData, UserDataFields,
    UserDataMethods, Value,
};

use super::facts::{Facts, OwnedFacts};
use super::rules::RuleSet;
use super::sandbox::{self, Guard, Kept, Kill, Limits};
use super::verdict::{Answer, Decision, FailureKind, Given, RuleFailure};
use crate::time::thread_cpu;

/// The most fields of an answer that are looked at; more of them are unknown ones anyway.
const FIELDS_MAX: usize = 8;
/// The longest text of an answer that is looked at, in bytes; longer ones are refused anyway.
const TEXT_MAX: usize = 1024;
/// The longest message of a failure, in bytes.
const MESSAGE_MAX: usize = 300;

const FIELDS: &str =
    "source, user, client_tags, catalog, schema, method, path, remote_addr, header(), has_tag()";

thread_local! {
    static MACHINE: RefCell<Option<(u64, Machine)>> = const { RefCell::new(None) };
}

/// Chooses the group of a request. Never fails: a failure of the rules is told in the decision.
pub fn decide(rules: &Arc<RuleSet>, facts: &Facts<'_>) -> Decision {
    MACHINE.with_borrow_mut(|slot| {
        let machine = match slot.take() {
            Some((generation, machine)) if generation == rules.generation() => machine,
            _ => match Machine::new(rules) {
                Ok(machine) => machine,
                Err(failure) => return rules.groups().decide(Err(failure)),
            },
        };
        let outcome = machine.call(rules, facts);
        if !machine.is_doubtful(&outcome) {
            *slot = Some((rules.generation(), machine));
        }
        rules.groups().decide(outcome)
    })
}

/// A machine that has just run its file.
pub(super) struct Loaded {
    pub(super) machine: Machine,
    /// The functions that the script keeps.
    pub(super) kept: Vec<Kept>,
    /// What the file took of processor time; making the machine is not in it.
    pub(super) spent: Duration,
}

/// A virtual machine that has run a rule set's file once and waits for requests.
pub(super) struct Machine {
    lua: Lua,
    guard: Rc<Guard>,
    limits: Limits,
    route: Function,
    /// Asked before `route`, where the settings say so.
    by_header: Option<Function>,
    request: AnyUserData,
    seat: Rc<Seat>,
}

impl Machine {
    pub(super) fn new(rules: &RuleSet) -> Result<Self, RuleFailure> {
        Self::load(rules).map(|loaded| loaded.machine)
    }

    pub(super) fn load(rules: &RuleSet) -> Result<Loaded, RuleFailure> {
        let limits = rules.limits();
        let names: Vec<_> = rules.groups().known.iter().map(|name| name.as_str()).collect();
        let failed = |error| failure(&error, None, rules.chunk());
        let (lua, guard) = sandbox::machine(&names, limits, rules.chunk()).map_err(failed)?;
        let seat = Rc::new(Seat(RefCell::new(None)));
        let request = lua.create_userdata(Request(Rc::clone(&seat))).map_err(failed)?;

        let chunk = lua
            .load(rules.bytecode())
            .set_name(format!("={}", rules.chunk()))
            .set_mode(mlua::chunk::ChunkMode::Binary);
        let before = thread_cpu();
        let (ran, kill) = guard.watch(limits.of_loading().cpu, || chunk.exec());
        let spent = thread_cpu().saturating_sub(before);
        ran.map_err(|error| {
            let failure = failure(&error, kill, rules.chunk());
            let message = format!("at the top level of the file: {}", failure.message);
            RuleFailure { message, ..failure }
        })?;
        let kept = sandbox::freeze(&lua, rules.chunk()).map_err(failed)?;

        let route = match lua.globals().get::<Value>("route").map_err(failed)? {
            Value::Function(route) => route,
            Value::Nil => {
                let message =
                    "there is no `route`, expected `function route(request) … end`".to_owned();
                return Err(RuleFailure { kind: FailureKind::Runtime, message, line: None });
            }
            other => {
                let kind = kind_of(&other);
                let message = format!("`route` is a {kind}, expected `function route(request)`");
                return Err(RuleFailure { kind: FailureKind::Runtime, message, line: None });
            }
        };
        let by_header = rules
            .asks_header()
            .then(|| lua.globals().get("route_by_header"))
            .transpose()
            .map_err(failed)?;
        let machine = Self { lua, guard, limits, route, by_header, request, seat };
        Ok(Loaded { machine, kept, spent })
    }

    /// Whether a global of this name is there once the file has run.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.lua.globals().get::<Value>(name).is_ok_and(|value| !value.is_nil())
    }

    pub(super) fn call(&self, rules: &RuleSet, facts: &Facts<'_>) -> Result<Answer, RuleFailure> {
        *self.seat.0.borrow_mut() = Some(OwnedFacts::new(facts));
        let (answer, kill) = self.guard.watch(self.limits.cpu, || self.ask());
        *self.seat.0.borrow_mut() = None;
        match (answer, kill) {
            (Ok(answer), None) => Ok(answer),
            (Ok(_), Some(kill)) => {
                Err(failure(&mlua::Error::RuntimeError(String::new()), Some(kill), rules.chunk()))
            }
            (Err(error), kill) => Err(failure(&error, kill, rules.chunk())),
        }
    }

    fn ask(&self) -> mlua::Result<Answer> {
        if let Some(by_header) = &self.by_header {
            let answer = answer(by_header.call(&self.request)?)?;
            if answer != Answer::Nil {
                return Ok(answer);
            }
        }
        answer(self.route.call(&self.request)?)
    }

    /// Whether the machine may be in a state that the next request should not meet.
    pub(super) fn is_doubtful(&self, outcome: &Result<Answer, RuleFailure>) -> bool {
        let killed = outcome.as_ref().is_err_and(|failure| {
            matches!(failure.kind, FailureKind::Timeout | FailureKind::Memory)
        });
        killed || self.lua.used_memory() > self.limits.memory / 2
    }
}

fn answer(value: Value) -> mlua::Result<Answer> {
    Ok(match value {
        Value::Nil => Answer::Nil,
        Value::Table(table) => Answer::Fields(fields(&table)?),
        other => Answer::One(given(&other)),
    })
}

fn fields(table: &Table) -> mlua::Result<Vec<(Given, Given)>> {
    let pairs = table.pairs::<Value, Value>().take(FIELDS_MAX);
    pairs.map(|pair| pair.map(|(key, value)| (given(&key), given(&value)))).collect()
}

fn given(value: &Value) -> Given {
    match value {
        Value::String(text) => {
            let bytes = text.as_bytes();
            let kept = &bytes[..bytes.len().min(TEXT_MAX)];
            Given::Text(String::from_utf8_lossy(kept).into_owned())
        }
        other => Given::Other(kind_of(other)),
    }
}

/// The type of a value, as Lua names it.
fn kind_of(value: &Value) -> &'static str {
    if value.is_integer() { "number" } else { value.type_name() }
}

/// Where the facts of the request in hand lie while its call runs.
struct Seat(RefCell<Option<OwnedFacts>>);

/// The `request` of a script: one object for all requests, empty between them.
struct Request(Rc<Seat>);

impl Request {
    fn read<R>(&self, read: impl FnOnce(&OwnedFacts) -> R) -> mlua::Result<R> {
        self.0.0.borrow().as_ref().map(read).ok_or_else(|| {
            let message = "a request can be read only while `route` runs for it";
            mlua::Error::RuntimeError(message.to_owned())
        })
    }

    fn text<'a>(
        &self,
        lua: &Lua,
        read: impl for<'f> FnOnce(&'f OwnedFacts) -> Option<&'f [u8]> + 'a,
    ) -> mlua::Result<Option<LuaString>> {
        self.read(|facts| read(facts).map(|text| lua.create_string(text)).transpose())?
    }
}

impl UserData for Request {
    fn add_fields<F: UserDataFields<Self>>(fields: &mut F) {
        fields.add_field_method_get("source", |lua, this| {
            this.text(lua, |facts| facts.first("x-trino-source"))
        });
        fields.add_field_method_get("user", |lua, this| this.text(lua, OwnedFacts::user));
        fields.add_field_method_get("catalog", |lua, this| {
            this.text(lua, |facts| facts.first("x-trino-catalog"))
        });
        fields.add_field_method_get("schema", |lua, this| {
            this.text(lua, |facts| facts.first("x-trino-schema"))
        });
        fields.add_field_method_get("method", |lua, this| {
            this.text(lua, |facts| Some(facts.method.as_str().as_bytes()))
        });
        fields.add_field_method_get("path", |lua, this| {
            this.text(lua, |facts| Some(facts.path.as_bytes()))
        });
        fields.add_field_method_get("remote_addr", |_, this| {
            this.read(|facts| facts.remote_addr.to_string())
        });
        fields.add_field_method_get("client_tags", |lua, this| {
            this.read(|facts| {
                let Some(tags) = facts.client_tags() else { return Ok(None) };
                let list = lua.create_table_with_capacity(tags.len(), 0)?;
                tags.iter().try_for_each(|tag| list.raw_push(lua.create_string(tag)?))?;
                list.set_readonly(true);
                Ok(Some(list))
            })?
        });
    }

    fn add_methods<M: UserDataMethods<Self>>(methods: &mut M) {
        methods.add_method("header", |lua, this, name: LuaString| {
            let Ok(name) = name.to_str() else { return Ok(None) };
            this.read(|facts| facts.header(&name).map(|text| lua.create_string(text)).transpose())?
        });
        methods.add_method("has_tag", |_, this, tag: LuaString| {
            this.read(|facts| facts.has_tag(&tag.as_bytes()))
        });
        methods.add_meta_method(MetaMethod::Index, |_, _, key: Value| {
            let key = match given(&key) {
                Given::Text(key) => key.chars().take(40).collect(),
                Given::Other(kind) => kind.to_owned(),
            };
            let message = format!("request has no `{key}`, known: {FIELDS}");
            Err::<(), _>(mlua::Error::RuntimeError(message))
        });
    }
}

/// Tells an error of the machine in the words of a rule's author.
pub(super) fn failure(error: &mlua::Error, kill: Option<Kill>, chunk: &str) -> RuleFailure {
    let mut root = error;
    let mut traces = Vec::new();
    while let mlua::Error::CallbackError { cause, traceback } = root {
        traces.push(traceback.as_str());
        root = cause;
    }
    let (kind, text) = match (kill, root) {
        (Some(kill), _) => (FailureKind::Timeout, format!("the rules {}", kill.limit)),
        (None, mlua::Error::MemoryError(_)) => {
            let text = "the rules took more memory than they may (`rules.memory`)";
            (FailureKind::Memory, text.to_owned())
        }
        (None, _) => (FailureKind::Runtime, words(root)),
    };
    let (own_line, message) = match root {
        // The compiler does not know the name of the chunk.
        mlua::Error::SyntaxError { .. } => numbered(&text),
        _ => placed(&text, chunk),
    };
    if let mlua::Error::RuntimeError(text) = root {
        traces.push(text);
    }
    let line = kill.and_then(|kill| kill.line).or(own_line).or_else(|| {
        traces.iter().flat_map(|trace| trace.lines()).find_map(|line| placed(line.trim(), chunk).0)
    });
    let message = placed(message, "warren").1;
    RuleFailure { kind, message: one_line(message), line }
}

fn words(error: &mlua::Error) -> String {
    match error {
        mlua::Error::RuntimeError(text) if text.starts_with("table: 0x") => {
            "the script raised a table as an error, expected a string".to_owned()
        }
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::BadArgument { to, name: Some(name), .. } if name == "self" => {
            let to = to.as_deref().unwrap_or("Request.header").replace("Request.", "request:");
            format!("a method was called without its request, expected `{to}(…)` with a colon")
        }
        other => other.to_string(),
    }
}

/// Takes `chunk:LINE:` (or `chunk:LINE `, as in a trace) from the front of a message.
fn placed<'a>(text: &'a str, chunk: &str) -> (Option<u32>, &'a str) {
    let after = text.strip_prefix(chunk).and_then(|rest| rest.strip_prefix(':'));
    after.map_or((None, text), numbered)
}

/// Takes `LINE:` from the front of a message.
fn numbered(text: &str) -> (Option<u32>, &str) {
    let text = text.trim_start_matches(':');
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    (text[..digits].parse().ok(), text[digits..].trim_start_matches(':').trim_start())
}

fn one_line(text: &str) -> String {
    let mut line = String::new();
    for char in text.lines().next().unwrap_or_default().chars() {
        if line.len() + char.len_utf8() > MESSAGE_MAX {
            break;
        }
        line.push(if char.is_control() { ' ' } else { char });
    }
    line
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use expect_test::expect;
    use http::{HeaderMap, Method};

    use super::*;
    use crate::route::tests::{groups, settings};

    #[test]
    fn a_request_is_gone_when_its_call_is_over() {
        let script = "function route(request) return request.path and 'olap' end";
        let rules = RuleSet::compile(script.as_bytes(), &settings(), &groups()).unwrap();
        let machine = Machine::new(&rules).unwrap();
        let facts = Facts {
            headers: &HeaderMap::new(),
            method: &Method::POST,
            path: "/",
            user: None,
            remote_addr: Ipv4Addr::LOCALHOST.into(),
        };
        let olap = Answer::One(Given::Text("olap".to_owned()));
        assert_eq!(machine.call(&rules, &facts), Ok(olap));
        let error = machine.route.call::<Value>(&machine.request).unwrap_err();
        expect!["line 1: a request can be read only while `route` runs for it"]
            .assert_eq(&failure(&error, None, rules.chunk()).to_string());
    }
}
