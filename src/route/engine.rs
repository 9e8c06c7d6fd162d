//! Runs a compiled rule set over the facts of a request.
//!
//! Each thread has a virtual machine of its own for the newest set that it met, so a decision takes
//! no lock. Promises that a decision always names a group that exists, and that a request is gone from
//! the machine when the call is over.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use mlua::{AnyUserData, Function, Lua, Value};

use super::answer::{answer, kind_of};
use super::facts::Facts;
use super::modules;
use super::request::{Query, Request, Seat};
use super::rules::RuleSet;
use super::sandbox::{self, Guard, Kept, Kill, Limit, Limits};
use super::services::{self, Heard, Post, Reply, Unanswered, offline};
use super::states;
use super::verdict::{Answer, Decision, FailureKind, RuleFailure};
use crate::time::thread_cpu;

/// The longest message of a failure, in bytes.
const MESSAGE_MAX: usize = 300;

thread_local! {
    static MACHINE: RefCell<Option<(u64, Machine)>> = const { RefCell::new(None) };
}

/// How far the rules came with what they know.
#[derive(Debug)]
pub enum Step {
    /// They decided.
    Decided(Box<Decision>),
    /// They go on once the facts have an answer to this.
    Asks(Post),
}

/// Chooses the group of a request, or tells what a service must be asked first. Never fails: a failure of
/// the rules is told in the decision. Does not ask by itself, and not more than a few times.
pub fn step(rules: &Arc<RuleSet>, facts: &Facts<'_>) -> Step {
    match run(rules, facts) {
        Run::Done(outcome) => Step::Decided(Box::new(rules.groups().decide(outcome))),
        Run::Asks(post) => Step::Asks(post),
    }
}

/// The same where no service is asked: each question fails. No record has what one said.
pub fn decide(rules: &Arc<RuleSet>, facts: &Facts<'_>) -> Decision {
    let reply = |post: &Post| {
        if let Some(unrecorded) = &facts.unrecorded {
            unrecorded.service();
        }
        offline(post)
    };
    rules.groups().decide(settled(facts, |facts| run(rules, facts), reply))
}

/// What came of running the rules once.
#[derive(Debug)]
pub(super) enum Run {
    Done(Result<Answer, RuleFailure>),
    Asks(Post),
}

/// Runs the rules until they are done; `reply` is what comes of a question.
pub(super) fn settled(
    facts: &Facts<'_>,
    run: impl Fn(&Facts<'_>) -> Run,
    reply: impl Fn(&Post) -> Result<Reply, Unanswered>,
) -> Result<Answer, RuleFailure> {
    let mut facts = facts.clone();
    loop {
        match run(&facts) {
            Run::Done(outcome) => return outcome,
            Run::Asks(post) => {
                let reply = reply(&post);
                facts.heard.push(Arc::new(Heard { post, reply }));
            }
        }
    }
}

/// Runs the rules once, on the machine of this thread.
fn run(rules: &Arc<RuleSet>, facts: &Facts<'_>) -> Run {
    MACHINE.with_borrow_mut(|slot| {
        let machine = match slot.take() {
            Some((generation, machine)) if generation == rules.generation() => machine,
            _ => match Machine::new(rules) {
                Ok(machine) => machine,
                Err(failure) => return Run::Done(Err(failure)),
            },
        };
        let run = machine.run(rules, facts);
        let doubtful = match &run {
            Run::Done(outcome) => machine.is_doubtful(outcome),
            Run::Asks(_) => machine.is_large(),
        };
        if !doubtful {
            *slot = Some((rules.generation(), machine));
        }
        run
    })
}

/// A machine that has just run its file.
pub(super) struct Loaded {
    pub(super) machine: Machine,
    /// The functions that the machine keeps.
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
        let seat = Seat::new(&guard);
        let request = furnish(&lua, &seat, rules).map_err(failed)?;
        let (require, shelf) = modules::library(&lua, rules.modules()).map_err(failed)?;
        lua.globals().set("require", require).map_err(failed)?;

        let chunk = lua
            .load(rules.bytecode())
            .set_name(format!("={}", rules.chunk()))
            .set_mode(mlua::chunk::ChunkMode::Binary);
        let main = chunk.into_function().map_err(failed)?;
        let before = thread_cpu();
        // The code of the top level is gone once it has run.
        let (ran, kill) = guard.watch(&lua, limits.of_loading(), move || main.call::<()>(()));
        let spent = thread_cpu().saturating_sub(before);
        let ran = ran.and_then(|()| kill.map_or(Ok(()), |kill| Err(kill.error())));
        ran.map_err(|error| {
            let failure = failure(&error, kill, rules.chunk());
            let message = format!("at the top level of the file: {}", failure.message);
            RuleFailure { message, ..failure }
        })?;
        drop(shelf);
        let kept = sandbox::freeze(&lua).map_err(failed)?;
        lua.gc_collect().map_err(failed)?;

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

    /// An error: the file keeps more than a third of the memory. With the garbage of calls that becomes
    /// twice as much before it is collected, and the last third is for the call under way. To be asked
    /// before the first call.
    pub(super) fn leaves_room(&self) -> Result<(), RuleFailure> {
        let (kept, most) = (self.lua.used_memory(), self.limits.memory / 3);
        if kept <= most {
            return Ok(());
        }
        let (kept, most) = (kept / 1024, most / 1024);
        let message = format!(
            "the file keeps {kept} KiB, expected at most a third of `rules.memory` ({most} KiB)"
        );
        Err(RuleFailure { kind: FailureKind::Memory, message, line: None })
    }

    /// Calls `route` where no service is asked.
    pub(super) fn call(&self, rules: &RuleSet, facts: &Facts<'_>) -> Result<Answer, RuleFailure> {
        settled(facts, |facts| self.run(rules, facts), offline)
    }

    /// Calls `route` once, unless the settings say what becomes of a query whose question failed.
    pub(super) fn run(&self, rules: &RuleSet, facts: &Facts<'_>) -> Run {
        if let (Some(settings), Some(last)) = (rules.http(), facts.heard.last())
            && let Some(answer) = last.instead(settings.on_failure)
        {
            return Run::Done(Ok(answer));
        }
        self.seat.take(facts);
        let (answer, kill) = self.guard.watch(&self.lua, self.limits, || self.ask());
        if let Some(post) = self.seat.leave() {
            return Run::Asks(post);
        }
        Run::Done(match (answer, kill) {
            (Ok(answer), None) => Ok(answer),
            (Ok(_), Some(kill)) => {
                Err(failure(&mlua::Error::RuntimeError(String::new()), Some(kill), rules.chunk()))
            }
            (Err(error), kill) => Err(failure(&error, kill, rules.chunk())),
        })
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

    /// What the machine takes of memory once its garbage is gone.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        // Each round halves a stack that became large.
        (0..12).for_each(|_| self.lua.gc_collect().unwrap());
        self.lua.used_memory()
    }

    /// Whether the machine may be in a state that the next request should not meet.
    pub(super) fn is_doubtful(&self, outcome: &Result<Answer, RuleFailure>) -> bool {
        let killed = outcome.as_ref().is_err_and(|failure| {
            matches!(failure.kind, FailureKind::Timeout | FailureKind::Memory)
        });
        killed || self.is_large()
    }

    fn is_large(&self) -> bool {
        self.lua.used_memory() > self.limits.memory / 3 * 2
    }
}

/// Gives a script what it may ask beside the library; tells its `request`.
fn furnish(lua: &Lua, seat: &Rc<Seat>, rules: &RuleSet) -> mlua::Result<AnyUserData> {
    let globals = lua.globals();
    globals.set("default_group", rules.default_group().as_str())?;
    globals
        .set("group", states::Groups { seat: Rc::clone(seat), known: rules.groups().clone() })?;
    globals.set("cluster", states::Clusters(Rc::clone(seat)))?;
    globals.set("http", services::library(lua, seat, rules.http())?)?;
    let query = lua.create_userdata(Query(Rc::clone(seat)))?;
    lua.create_userdata(Request { seat: Rc::clone(seat), query })
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
        (Some(kill), _) => {
            let kind = match kill.limit {
                Limit::Cpu(_) | Limit::Ticks | Limit::Wall => FailureKind::Timeout,
                Limit::Questions | Limit::Answer => FailureKind::Runtime,
            };
            (kind, format!("the rules {}", kill.limit))
        }
        (None, mlua::Error::MemoryError(_)) => {
            let text =
                "the rules took more memory than they may (`rules.memory`, and 512 KiB at one go)";
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
        mlua::Error::RuntimeError(text) => match raised(text) {
            Some(kind) => format!("the script raised a {kind} as an error, expected a string"),
            None => text.clone(),
        },
        mlua::Error::SyntaxError { message, .. } => message.clone(),
        mlua::Error::BadArgument { to, name: Some(name), .. } if name == "self" => {
            let to = to.as_deref().unwrap_or("Request.header").replace("Request.", "request:");
            format!("a method was called without its request, expected `{to}(…)` with a colon")
        }
        other => other.to_string(),
    }
}

/// The type of a value that was raised as an error, where its address is all that is told.
fn raised(text: &str) -> Option<&str> {
    let (kind, address) = text.lines().next()?.split_once(": 0x")?;
    let is_address =
        (1..=16).contains(&address.len()) && address.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_kind = kind.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_address && is_kind).then_some(kind)
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
    use expect_test::expect;
    use http::HeaderMap;

    use super::*;
    use crate::route::tests::{groups, settings};
    use crate::route::verdict::Given;

    #[test]
    fn a_request_is_gone_when_its_call_is_over() {
        let script = "function route(request) return request.path and 'olap' end";
        let rules = RuleSet::compile(script.as_bytes(), &settings(), &groups()).unwrap();
        let machine = Machine::new(&rules).unwrap();
        let headers = HeaderMap::new();
        let olap = Answer::One(Given::Text("olap".to_owned()));
        assert_eq!(machine.call(&rules, &Facts::plain(&headers)), Ok(olap));
        let error = machine.route.call::<Value>(&machine.request).unwrap_err();
        expect!["line 1: a request can be read only while `route` runs for it"]
            .assert_eq(&failure(&error, None, rules.chunk()).to_string());
    }
}
