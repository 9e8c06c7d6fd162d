//! Reads what Luau compiled, as far as it tells what a script keeps and which globals it reads.
//!
//! Pure. Knows exactly one version of the format, the one that this build's compiler writes; the
//! layout is that of `lvmload.cpp` of Luau 0.740. Another version is an error, which the tests of
//! this file meet first when the compiler is renewed.

pub(super) mod runs;

use std::ops::Range;

use thiserror::Error;

/// The version that the compiler writes, and that of the types in it.
const VERSION: [u8; 2] = [9, 3];

/// Instructions, by their numbers in `Bytecode.h`.
mod op {
    pub(super) const GETGLOBAL: u8 = 7;
    pub(super) const SETGLOBAL: u8 = 8;
    pub(super) const SETUPVAL: u8 = 10;
    pub(super) const GETIMPORT: u8 = 12;
    pub(super) const NEWCLOSURE: u8 = 19;
    pub(super) const DUPCLOSURE: u8 = 64;
    pub(super) const CAPTURE: u8 = 70;
    /// Those that take two words.
    pub(super) const WIDE: &[u8] = &[
        GETGLOBAL, SETGLOBAL, GETIMPORT, 15, 16, 20, 27, 28, 29, 30, 31, 32, 53, 55, 58, 60, 66,
        74, 75, 77, 78, 79, 80, 83, 84, 85, 86, 87, 88, 90,
    ];
}

/// A captured variable is one of the enclosing function's own captured variables.
const CAPTURE_UPVALUE: u8 = 2;

/// Why compiled code cannot be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum Unreadable {
    #[error("the compiler wrote version {0}.{1}, expected 9.3")]
    Version(u8, u8),
    #[error("it ends too early or refers to what is not there")]
    Broken,
}

/// A compiled script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) functions: Vec<Function>,
}

/// One function of a script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Function {
    /// Where it begins.
    pub(super) line: u32,
    /// Its name, if it has one.
    pub(super) name: Option<String>,
    /// Where it, or a function inside of it, assigns to a variable that it does not own.
    pub(super) writes: Vec<Write>,
    /// The globals that it reads.
    pub(super) reads: Vec<Global>,
    /// The globals that it assigns to.
    pub(super) assigns: Vec<String>,
    inner: Vec<Inner>,
    /// Where its instructions lie, in bytes, and the line of each.
    code: Range<usize>,
    lines: Vec<u32>,
}

/// An assignment to a variable of an enclosing function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Write {
    upvalue: u8,
    pub(super) name: String,
    pub(super) line: u32,
}

/// A global that is read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Global {
    pub(super) name: String,
    pub(super) line: u32,
}

/// A function made inside of another one: which one, and what it captures.
#[derive(Debug, PartialEq, Eq)]
struct Inner {
    function: usize,
    /// For each of its captured variables: the one of the maker's that it is, if it is one.
    captured: Vec<Option<u8>>,
}

/// Reads a compiled script.
pub(super) fn read(code: &[u8]) -> Result<Script, Unreadable> {
    let mut reader = Reader { rest: code, whole: code.len() };
    let version = [reader.byte()?, reader.byte()?];
    if version != VERSION {
        return Err(Unreadable::Version(version[0], version[1]));
    }
    let count = reader.count()?;
    let strings: Vec<String> = (0..count).map(|_| reader.string()).collect::<Result<_, _>>()?;
    while reader.byte()? != 0 {
        reader.number()?;
    }
    let count = reader.count()?;
    let mut functions: Vec<Function> = Vec::new();
    for _ in 0..count {
        functions.push(function(&mut reader, &strings)?);
    }
    // A function stands behind those that it makes.
    for index in 0..functions.len() {
        let through = passed_on(&functions, index)?;
        functions[index].writes.extend(through);
    }
    Ok(Script { functions })
}

/// What the functions that this one makes write through its own captured variables.
fn passed_on(functions: &[Function], index: usize) -> Result<Vec<Write>, Unreadable> {
    let mut found = Vec::new();
    for inner in &functions[index].inner {
        if inner.function >= index {
            return Err(Unreadable::Broken);
        }
        for write in &functions[inner.function].writes {
            let outer = inner.captured.get(usize::from(write.upvalue)).copied().flatten();
            found.extend(outer.map(|upvalue| Write { upvalue, ..write.clone() }));
        }
    }
    Ok(found)
}

enum Constant {
    Text(String),
    Closure(usize),
    Other,
}

fn function(reader: &mut Reader<'_>, strings: &[String]) -> Result<Function, Unreadable> {
    // Stack, parameters, captured variables, variadic, flags.
    reader.take(5)?;
    let types = reader.count()?;
    reader.take(types)?;
    let count = reader.count()?;
    let begin = reader.at();
    let code: Vec<u32> = (0..count).map(|_| reader.word()).collect::<Result<_, _>>()?;
    let range = begin..reader.at();
    let count = reader.count()?;
    let mut constants = Vec::new();
    for _ in 0..count {
        constants.push(constant(reader, strings)?);
    }
    let count = reader.count()?;
    let made: Vec<usize> = (0..count).map(|_| reader.count()).collect::<Result<_, _>>()?;
    let line = reader.number()?;
    let name = text_at(strings, reader.count()?)?;
    let lines = lines(reader, code.len())?;
    let upvalues = names_of_upvalues(reader, strings)?;
    let mut function = Function { line, name, code: range, lines, ..Function::default() };
    let body = Body { constants, made, upvalues };
    body.read(&code, &mut function)?;
    Ok(function)
}

fn constant(reader: &mut Reader<'_>, strings: &[String]) -> Result<Constant, Unreadable> {
    match reader.byte()? {
        // Nil.
        0 => {}
        // A boolean.
        1 => drop(reader.take(1)?),
        // A number.
        2 => drop(reader.take(8)?),
        3 => return Ok(Constant::Text(text_at(strings, reader.count()?)?.unwrap_or_default())),
        // An import.
        4 => drop(reader.take(4)?),
        // The keys of a table.
        5 => {
            for _ in 0..reader.count()? {
                reader.number()?;
            }
        }
        6 => return Ok(Constant::Closure(reader.count()?)),
        // A vector.
        7 => drop(reader.take(16)?),
        // The keys and values of a table.
        8 => {
            for _ in 0..reader.count()? {
                reader.number()?;
                reader.take(4)?;
            }
        }
        // A whole number of 64 bits.
        9 => {
            reader.take(1)?;
            reader.long_number()?;
        }
        _ => return Err(Unreadable::Broken),
    }
    Ok(Constant::Other)
}

/// The line of each word of code.
fn lines(reader: &mut Reader<'_>, count: usize) -> Result<Vec<u32>, Unreadable> {
    if reader.byte()? == 0 {
        return Ok(Vec::new());
    }
    let gap = u32::from(reader.byte()?);
    let mut offset = 0_u8;
    let mut offsets = Vec::new();
    for step in reader.take(count)? {
        offset = offset.wrapping_add(*step);
        offsets.push(offset);
    }
    let intervals = (count.saturating_sub(1)).checked_shr(gap).ok_or(Unreadable::Broken)? + 1;
    let mut base = 0_u32;
    let mut bases = Vec::new();
    for _ in 0..intervals {
        base = base.wrapping_add(reader.word()?);
        bases.push(base);
    }
    let line = |(at, offset): (usize, &u8)| bases[at >> gap].wrapping_add(u32::from(*offset));
    Ok(offsets.iter().enumerate().map(line).collect())
}

fn names_of_upvalues(
    reader: &mut Reader<'_>,
    strings: &[String],
) -> Result<Vec<String>, Unreadable> {
    if reader.byte()? == 0 {
        return Ok(Vec::new());
    }
    for _ in 0..reader.count()? {
        for _ in 0..3 {
            reader.number()?;
        }
        reader.byte()?;
    }
    let count = reader.count()?;
    let name = |_| Ok(text_at(strings, reader.count()?)?.unwrap_or_default());
    (0..count).map(name).collect()
}

/// Strings are counted from 1; 0 is none.
fn text_at(strings: &[String], number: usize) -> Result<Option<String>, Unreadable> {
    let Some(index) = number.checked_sub(1) else { return Ok(None) };
    strings.get(index).cloned().map(Some).ok_or(Unreadable::Broken)
}

/// What the code of a function refers to.
struct Body {
    constants: Vec<Constant>,
    made: Vec<usize>,
    upvalues: Vec<String>,
}

impl Function {
    /// The line of an instruction.
    fn line_at(&self, at: usize) -> u32 {
        self.lines.get(at).copied().unwrap_or(self.line)
    }
}

impl Body {
    fn read(&self, code: &[u32], into: &mut Function) -> Result<(), Unreadable> {
        let mut at = 0;
        while let Some(word) = code.get(at) {
            let [number, a, b, _] = word.to_le_bytes();
            let wide = op::WIDE.contains(&number);
            let line = into.line_at(at);
            let second = || code.get(at + 1).copied().ok_or(Unreadable::Broken);
            match number {
                op::SETUPVAL => {
                    let name = self.upvalues.get(usize::from(b)).cloned().unwrap_or_default();
                    into.writes.push(Write { upvalue: b, name, line });
                }
                op::GETGLOBAL => {
                    into.reads.push(Global { name: self.text(second()?)?, line });
                }
                // The first of at most three names lies in the middle ten of the upper bits.
                op::GETIMPORT => {
                    let name = self.text((second()? >> 20) & 1023)?;
                    into.reads.push(Global { name, line });
                }
                op::SETGLOBAL => into.assigns.push(self.text(second()?)?),
                op::NEWCLOSURE => {
                    let made = self.made.get((word >> 16) as usize);
                    let function = *made.ok_or(Unreadable::Broken)?;
                    into.inner.push(Inner { function, captured: Vec::new() });
                }
                op::DUPCLOSURE => match self.constants.get((word >> 16) as usize) {
                    Some(Constant::Closure(function)) => {
                        into.inner.push(Inner { function: *function, captured: Vec::new() });
                    }
                    _ => return Err(Unreadable::Broken),
                },
                op::CAPTURE => {
                    let inner = into.inner.last_mut().ok_or(Unreadable::Broken)?;
                    inner.captured.push((a == CAPTURE_UPVALUE).then_some(b));
                }
                _ => {}
            }
            at += if wide { 2 } else { 1 };
        }
        Ok(())
    }

    fn text(&self, index: u32) -> Result<String, Unreadable> {
        match self.constants.get(index as usize) {
            Some(Constant::Text(text)) => Ok(text.clone()),
            _ => Err(Unreadable::Broken),
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    /// How much was read.
    fn at(&self) -> usize {
        self.whole - self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Unreadable::Broken)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u32, Unreadable> {
        let bytes = self.take(4)?.try_into().map_err(|_| Unreadable::Broken)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Seven bits a byte, the lowest first.
    fn long_number(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Ok(number);
            }
        }
        Err(Unreadable::Broken)
    }

    fn number(&mut self) -> Result<u32, Unreadable> {
        u32::try_from(self.long_number()?).map_err(|_| Unreadable::Broken)
    }

    fn count(&mut self) -> Result<usize, Unreadable> {
        Ok(self.number()? as usize)
    }

    fn string(&mut self) -> Result<String, Unreadable> {
        let length = self.count()?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::route::rules::compiler;

    const SCRIPT: &str = "local last, other = nil, 1
        limit = 3
        local function outer(new)
          local mine = 0
          local function inner()
            mine += 1
            last = new
          end
          inner()
          other = mine
        end
        function route(request)
          outer(request)
          return string.lower(last or tostring(limit)), strange
        end";

    #[test]
    fn what_functions_write_and_read_is_found() {
        let script = read(&compiler().compile(SCRIPT).unwrap()).unwrap();
        let told: Vec<String> = script
            .functions
            .iter()
            .map(|function| {
                let writes = function
                    .writes
                    .iter()
                    .map(|write| format!("writes {} in line {}", write.name, write.line));
                let reads = function
                    .reads
                    .iter()
                    .map(|read| format!("reads {} in line {}", read.name, read.line));
                let assigns = function.assigns.iter().map(|name| format!("makes {name}"));
                let told: Vec<String> = writes.chain(reads).chain(assigns).collect();
                format!("{:?} {}: {}", function.name, function.line, told.join(", "))
            })
            .collect();
        expect![[r#"
            Some("inner") 5: writes mine in line 6, writes last in line 7
            Some("outer") 3: writes other in line 10, writes last in line 7
            Some("route") 12: reads string in line 14, reads limit in line 14, reads tostring in line 14, reads strange in line 14
            None 1: makes limit, makes route"#]].assert_eq(&told.join("\n"));
    }

    #[test]
    fn other_versions_are_refused() {
        let mut code = compiler().compile(SCRIPT).unwrap();
        code[0] += 1;
        expect!["the compiler wrote version 10.3, expected 9.3"]
            .assert_eq(&read(&code).unwrap_err().to_string());
        assert_eq!(read(&[]), Err(Unreadable::Broken));
    }

    proptest! {
        #[test]
        fn no_damage_breaks_the_reader(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut code = compiler().compile(SCRIPT).unwrap();
            let index = at.index(code.len());
            code[index] = byte;
            code.truncate(cut.index(code.len()) + 1);
            drop(read(&code));
        }
    }
}
