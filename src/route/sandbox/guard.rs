//! Watches one call of a script at a time and ends it at its limit.
//!
//! Promises that what it refused once stays refused until the call is over, so `pcall` cannot go on,
//! and that between two of its looks a script can make no more than the step of its [`Limits`].

use std::cell::Cell;
use std::time::Duration;

use mlua::Lua;

use crate::route::services::QUESTIONS_MAX;
use crate::time::{Instant, now, thread_cpu};

/// The most steps of one call. At some 20 ns a step this is well above any honest rule.
const TICKS_MAX: u32 = 1_000_000;
/// The last stop by the clock on the wall, for a system that cannot tell the time of a thread.
const WALL_MAX: Duration = Duration::from_millis(250);
/// The top level of a rules file may take so many times the limit of a call: it builds tables.
const LOAD_FACTOR: u32 = 10;
/// What a call may take of memory between two looks: it bounds how much one function can copy. No rule
/// makes such a text.
const STEP: usize = 512 * 1024;
/// The same for the top level of a rules file, which may build a table of a hundred thousand keys.
const LOAD_STEP: usize = 8 * 1024 * 1024;

/// What one call of a script may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::route) struct Limits {
    /// Time on the processor.
    pub(in crate::route) cpu: Duration,
    /// Memory of the whole virtual machine.
    pub(in crate::route) memory: usize,
    /// Memory that is taken between two looks.
    pub(in crate::route) step: usize,
}

impl Limits {
    /// The limits of one decision.
    pub(in crate::route) fn of_call(cpu: Duration, memory: usize) -> Self {
        Self { cpu, memory, step: STEP }
    }

    /// The limits of the top level of a rules file.
    pub(in crate::route) fn of_loading(self) -> Self {
        Self { cpu: self.cpu * LOAD_FACTOR, step: LOAD_STEP, ..self }
    }
}

/// Watches one call at a time and ends it at its limit.
#[derive(Debug)]
pub(in crate::route) struct Guard {
    watch: Cell<Option<Watch>>,
    killed: Cell<Option<Kill>>,
}

/// How a call was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::route) struct Kill {
    pub(in crate::route) limit: Limit,
    /// The line of the rules file that ran then.
    pub(in crate::route) line: Option<u32>,
}

impl Kill {
    /// What the script is told.
    pub(in crate::route) fn error(self) -> mlua::Error {
        mlua::Error::RuntimeError(format!("the rules {}", self.limit))
    }
}

/// Which limit ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::route) enum Limit {
    Cpu(Duration),
    Ticks,
    Wall,
    /// It asked services too much.
    Questions,
    /// It goes no further without an answer of a service. No limit, but it ends a call as one does.
    Answer,
}

impl std::fmt::Display for Limit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu(limit) => {
                write!(out, "took more than {limit:?} of processor time (`rules.cpu`)")
            }
            Self::Ticks => write!(out, "took more than {TICKS_MAX} steps"),
            Self::Wall => write!(out, "took more than {WALL_MAX:?}"),
            Self::Questions => write!(out, "asked services more than {QUESTIONS_MAX} questions"),
            Self::Answer => out.write_str("wait for an answer"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    limits: Limits,
    ticks: u32,
    start: Instant,
    /// The thread's time when this call began, as far as it is known. It is asked for when a call has
    /// taken an eighth of its limit on the wall: calls that end before (all honest ones) are spared
    /// the system calls.
    began: Option<Duration>,
}

impl Guard {
    pub(super) fn new() -> Self {
        Self { watch: Cell::new(None), killed: Cell::new(None) }
    }

    /// Runs `call` under these limits and tells how it was ended, if it was.
    pub(in crate::route) fn watch<R>(
        &self,
        lua: &Lua,
        limits: Limits,
        call: impl FnOnce() -> R,
    ) -> (R, Option<Kill>) {
        self.killed.set(None);
        self.watch.set(Some(Watch { limits, ticks: 0, start: now(), began: None }));
        self.allow_step(lua);
        let result = call();
        // What was done since the last look counts, too; that it waited for a processor does not.
        let late = self.watch.take().and_then(|mut watch| watch.look());
        let late = late.filter(|limit| matches!(limit, Limit::Cpu(_)));
        let late = late.map(|limit| Kill { limit, line: None });
        allow(lua, limits.memory);
        (result, self.killed.take().or(late))
    }

    /// Does work of ours in the middle of a call: neither its time nor its memory is the script's.
    /// Whoever asks for it must see to it that a script cannot have it done again and again.
    pub(in crate::route) fn spare<R>(&self, lua: &Lua, work: impl FnOnce() -> R) -> R {
        let (began, cpu) = (now(), thread_cpu());
        if let Some(watch) = self.watch.get() {
            allow(lua, watch.limits.memory);
        }
        let result = work();
        if let Some(watch) = self.watch.get() {
            let spent = thread_cpu().saturating_sub(cpu);
            let start = watch.start + began.elapsed();
            let began = watch.began.map(|began| began + spent);
            self.watch.set(Some(Watch { start, began, ..watch }));
            self.allow_step(lua);
        }
        result
    }

    /// A look of our own, where a script asks for something of ours. An error: the call must end.
    pub(in crate::route) fn look(&self) -> mlua::Result<()> {
        self.tick(|| None).map_or(Ok(()), |kill| Err(kill.error()))
    }

    /// Ends the call by itself: whatever the script does next is refused. Gives what it is told.
    pub(in crate::route) fn end(&self, limit: Limit) -> mlua::Error {
        let kill = self.killed.get().unwrap_or(Kill { limit, line: None });
        self.killed.set(Some(kill));
        kill.error()
    }

    /// Lets the script take memory until the next look, unless no call runs.
    pub(super) fn allow_step(&self, lua: &Lua) {
        if let Some(Watch { limits, .. }) = self.watch.get() {
            allow(lua, lua.used_memory().saturating_add(limits.step).min(limits.memory));
        }
    }

    /// One step of the script. `Some`: it must end. `line` tells where it is.
    pub(super) fn tick(&self, line: impl FnOnce() -> Option<u32>) -> Option<Kill> {
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
    /// At every step: one step can copy half a megabyte of text, and a look costs some 30 ns.
    fn look(&mut self) -> Option<Limit> {
        let cpu_max = self.limits.cpu;
        let wall = now().duration_since(self.start);
        if wall < cpu_max / 8 {
            return None;
        }
        if wall > WALL_MAX.max(cpu_max) {
            return Some(Limit::Wall);
        }
        let cpu = thread_cpu();
        // What came before this first look is held for the script's own work, but for no more than
        // half of its limit: it may have been the work of other threads.
        let before = wall.min(cpu_max / 2);
        let began = *self.began.get_or_insert_with(|| cpu.saturating_sub(before));
        (cpu.saturating_sub(began) > cpu_max).then_some(Limit::Cpu(cpu_max))
    }
}

fn allow(lua: &Lua, bytes: usize) {
    // It fails only in a machine that is not our own.
    let _told = lua.set_memory_limit(bytes);
}
