//! Where compiled code asks the guard: after each run of some length, not at calls and loops alone.
//!
//! Pure. Luau asks at calls, returns and loop steps; between them code can be as long as its file, and
//! one instruction can work on half a megabyte. The compiler marks statements and most expressions (it
//! is told to measure coverage). A mark that is reached after a long run becomes a jump to the next
//! instruction, at which Luau asks too, and any other mark becomes nothing.
//!
//! Promises that no way through the code it passed on is longer than [`RUN_MAX`] between two
//! questions. What cannot be divided so, which is one expression of many operations on variables, is
//! an error with its line. As all other jumps lead forwards, one pass finds the longest way.

use thiserror::Error;

use super::{Function, Unreadable, op};

/// The length after which a mark becomes a question. Two of the heaviest instructions: what they may
/// work on is bounded with the aim of half a millisecond.
const ASK_AFTER: u32 = 2 * HEAVY;
/// The longest run that is passed on.
const RUN_MAX: u32 = ASK_AFTER + 10 * HEAVY;

/// Works on a whole text: a concatenation, a number that is read from a text, a call of the library.
const HEAVY: u32 = 128;
/// May make a table grow, or copy a part of one.
const MIDDLE: u32 = 32;
/// Looks into a table and those behind it, or compares two texts.
const LIGHT: u32 = 8;

/// Further instructions, by their numbers in `Bytecode.h`.
mod number {
    pub(super) const NOP: u8 = 0;
    pub(super) const LOADB: u8 = 3;
    pub(super) const CALL: u8 = 21;
    pub(super) const RETURN: u8 = 22;
    pub(super) const JUMP: u8 = 23;
    pub(super) const JUMPBACK: u8 = 24;
    pub(super) const FORNLOOP: u8 = 57;
    pub(super) const FORGLOOP: u8 = 58;
    pub(super) const JUMPX: u8 = 67;
    pub(super) const COVERAGE: u8 = 69;
    pub(super) const CALLFB: u8 = 87;
    /// At these Luau asks.
    pub(super) const ASKING: &[u8] = &[CALL, RETURN, JUMPBACK, FORNLOOP, FORGLOOP, JUMPX, CALLFB];
    /// What follows them is reached in another way only.
    pub(super) const LEAVING: &[u8] = &[RETURN, JUMP, JUMPBACK, JUMPX];
    /// These may go on elsewhere; how far away stands in the upper half.
    pub(super) const JUMPING: &[u8] = &[
        JUMP, JUMPBACK, 25, 26, 27, 28, 29, 30, 31, 32, 56, FORNLOOP, FORGLOOP, 59, 61, 76, 77, 78,
        79, 80, 88,
    ];
    /// Calls of the library without a question; the ordinary call stands behind them.
    pub(super) const FAST: &[u8] = &[60, 68, 73, 74, 75, 89];
}

/// Why code cannot be divided.
#[derive(Debug, Error, PartialEq, Eq)]
pub(in crate::route) enum Undivided {
    /// It is not the code that this build's compiler writes.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// Too much is done in one expression.
    #[error(
        "this expression does too much at one go, expected at most ten operations on plain \
         variables in a row (name a part of it in a `local`)"
    )]
    TooLong {
        /// Its line.
        line: u32,
    },
}

/// Makes compiled code ask often enough.
pub(in crate::route) fn divide(code: &mut [u8]) -> Result<(), Undivided> {
    for function in super::read(code)?.functions {
        let bytes = code.get_mut(function.code.clone()).ok_or(Unreadable::Broken)?;
        let (places, _) = bytes.as_chunks_mut::<4>();
        let mut words: Vec<u32> = places.iter().map(|place| u32::from_le_bytes(*place)).collect();
        divide_function(&function, &mut words)?;
        for (place, word) in places.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
    }
    Ok(())
}

fn divide_function(function: &Function, words: &mut [u32]) -> Result<(), Undivided> {
    // The longest run since the last question, before each instruction.
    let mut runs = vec![0; words.len()];
    let mut at = 0;
    while let Some(word) = words.get(at).copied() {
        let run: u32 = runs[at];
        if run > RUN_MAX {
            return Err(Undivided::TooLong { line: function.line_at(at) });
        }
        let mut kind = kind_of(word);
        if kind == number::COVERAGE {
            kind = if run >= ASK_AFTER { number::JUMPX } else { number::NOP };
            words[at] = u32::from(kind);
        }
        let asks = number::ASKING.contains(&kind);
        let after = if asks { 0 } else { run } + weight(kind);
        for next in following(words[at], at).into_iter().flatten() {
            let to = usize::try_from(next).map_err(|_| Unreadable::Broken)?;
            if to > at {
                runs.get_mut(to).into_iter().for_each(|run| *run = after.max(*run));
            } else if !asks && words.get(to).is_none_or(|word| kind_of(*word) != number::JUMPX) {
                return Err(Unreadable::Broken.into());
            }
        }
        at += length(kind);
    }
    Ok(())
}

fn kind_of(word: u32) -> u8 {
    word.to_le_bytes()[0]
}

fn length(kind: u8) -> usize {
    if op::WIDE.contains(&kind) { 2 } else { 1 }
}

/// Where an instruction at this place can lead to.
fn following(word: u32, at: usize) -> [Option<i64>; 2] {
    let [kind, _, _, skip] = word.to_le_bytes();
    let here = i64::try_from(at).unwrap_or(i64::MAX);
    let upper = |bits: u32| i64::from(word.cast_signed() >> bits);
    let next = if number::LEAVING.contains(&kind) { None } else { Some(length(kind)) };
    let next = next.and_then(|length| Some(here + i64::try_from(length).ok()?));
    let elsewhere = if number::JUMPING.contains(&kind) {
        Some(here + 1 + upper(16))
    } else if kind == number::JUMPX {
        Some(here + 1 + upper(8))
    } else if number::FAST.contains(&kind) {
        Some(here + 2 + i64::from(skip))
    } else if kind == number::LOADB {
        Some(here + 1 + i64::from(skip))
    } else {
        None
    };
    [next, elsewhere]
}

/// How much an instruction may have to do, before Luau asks again.
fn weight(kind: u8) -> u32 {
    match kind {
        // Calculations with texts that are numbers, concatenation, the bounds of a `for`, what is called.
        33..=44 | 49 | 51 | 56 | 71 | 72 | 81 | 82 | number::CALL | number::CALLFB => HEAVY,
        // Writing into tables, making them, the values of `...`, fast calls, steps of `for … in`.
        8 | 14 | 16 | 18 | 53..=55 | 63 | 84 | number::FORGLOOP => MIDDLE,
        fast if number::FAST.contains(&fast) => MIDDLE,
        // Reading from tables, lengths, comparisons, functions that are made.
        7 | 12 | 13 | 15 | 17 | 19 | 20 | 27..=32 | 52 | 64 | 83 | 85 | 86 | 90 => LIGHT,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;
    use crate::route::bytecode::read;
    use crate::route::rules::compiler;

    /// How many marks of a script become questions, or the line that is too long.
    fn questions(script: &str) -> Result<usize, Undivided> {
        let mut code = compiler().compile(script).unwrap();
        let functions = read(&code).unwrap().functions;
        let words = |code: &[u8]| -> Vec<u32> {
            let words = functions.iter().flat_map(|function| {
                let (words, _) = code[function.code.clone()].as_chunks::<4>();
                words.iter().map(|word| u32::from_le_bytes(*word))
            });
            words.collect()
        };
        let before = words(&code);
        divide(&mut code)?;
        let after = words(&code);
        assert_eq!(before.len(), after.len());
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        let changed: Vec<_> = changed.collect();
        // Nothing but marks is touched. A second word may look like one; it is not.
        assert!(changed.iter().all(|(before, _)| **before == u32::from(number::COVERAGE)));
        let question = u32::from(number::JUMPX);
        Ok(changed.into_iter().filter(|(_, after)| **after == question).count())
    }

    #[test]
    fn honest_rules_are_asked_no_more_than_before() {
        let script = "function route(request)
            local source, tags = request.source, request.client_tags
            if source == 'Apache Superset' and not tags then
              return { group = 'bi', rule = 'superset', reason = 'dashboards' }
            end
            if matches(source, '^zeppelin%-.+') then
              return { group = 'olap', rule = 'zeppelin' }
            end
            if request.hour >= 22 or request.hour < 6 then return 'olap' end
            return nil
          end";
        assert_eq!(questions(script), Ok(0));
    }

    #[test]
    fn a_long_run_is_asked_on_its_way() {
        let lines = "x = x .. x\n".repeat(100);
        let count = questions(&format!("local x = 'a'\n{lines}")).unwrap();
        assert!((45..=100).contains(&count), "{count}");
        let branches = "if x == 1 then y = y + 1 else y = y - 1 end\n".repeat(100);
        let count = questions(&format!("local x, y = ...\n{branches}")).unwrap();
        assert!((45..=200).contains(&count), "{count}");
        // Also after a way around all calls.
        let skipped = "if x then f() end y = y * y\n".repeat(50);
        let count = questions(&format!("local x, y, f = ...\n{skipped}")).unwrap();
        assert!((20..=100).contains(&count), "{count}");
    }

    #[test]
    fn one_expression_that_is_too_long_is_an_error_with_its_line() {
        let sum = |count: usize| format!("local x = ...\n\nlocal y = x{}", " + x".repeat(count));
        assert_eq!(questions(&sum(9)), Ok(0));
        assert_eq!(questions(&sum(100)), Err(Undivided::TooLong { line: 3 }));
        // Its parts can be told apart.
        let parts = "y = y + x + x + x + x\n".repeat(20);
        assert!(questions(&format!("local x, y = ...\n{parts}")).is_ok());
    }

    #[test]
    fn jumps_over_much_code_are_followed() {
        let lines = "if x then x = x + 1 else x = f(x) end\n".repeat(8_000);
        let script = format!("local x, f = ...\nwhile x do\n{lines}end\nreturn x");
        assert!(questions(&script).unwrap() > 1_000);
    }

    #[test]
    fn large_tables_are_no_long_run() {
        let entries: String = (0..5_000)
            .map(|index| format!("['source-{index}'] = {{ group = 'olap' }},\n"))
            .collect();
        assert!(questions(&format!("local T = {{\n{entries}}}")).is_ok());
    }

    proptest! {
        #[test]
        fn no_damage_breaks_the_division(
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let script = "local x = 1 while x do x = x .. x if x then f(x) end end";
            let mut code = compiler().compile(script).unwrap();
            let index = at.index(code.len());
            code[index] = byte;
            drop(divide(&mut code));
        }
    }
}
