//! What is wrong with a script whatever it is asked: variables that outlive a request, and globals
//! that do not exist.

use crate::route::bytecode::{self, Script};
use crate::route::sandbox::Kept;
use crate::route::verdict::{FailureKind, RuleFailure};

/// Refuses a script that keeps a variable which one of its functions assigns to, or that reads a
/// global which is neither `known` nor assigned anywhere. `kept` are its functions that outlive the
/// load.
pub(super) fn check(
    code: &[u8],
    kept: &[&Kept],
    known: impl Fn(&str) -> bool,
) -> Result<(), RuleFailure> {
    let script = bytecode::read(code).map_err(|error| RuleFailure {
        kind: FailureKind::Runtime,
        message: format!("the compiled rules cannot be examined: {error}"),
        line: None,
    })?;
    match carried(&script, kept).or_else(|| unknown(&script, known)) {
        Some((line, message)) => {
            Err(RuleFailure { kind: FailureKind::Runtime, message, line: Some(line) })
        }
        None => Ok(()),
    }
}

/// A function that outlives the load captured its variables then, so they outlive it too.
fn carried(script: &Script, kept: &[&Kept]) -> Option<(u32, String)> {
    let outlives = |line, name: &Option<String>| {
        kept.iter().any(|kept| kept.line == line && kept.name == *name)
    };
    let keeping = script.functions.iter().filter(|each| outlives(each.line, &each.name));
    let write = keeping.flat_map(|each| &each.writes).min_by_key(|write| write.line)?;
    let message = format!(
        "`{}` would be kept from one request to the next, expected that no function assigns to a \
         variable outside of itself",
        write.name
    );
    Some((write.line, message))
}

fn unknown(script: &Script, known: impl Fn(&str) -> bool) -> Option<(u32, String)> {
    let assigned = |name: &String| script.functions.iter().any(|each| each.assigns.contains(name));
    let reads = script.functions.iter().flat_map(|each| &each.reads);
    let strange = reads.filter(|read| !known(&read.name) && !assigned(&read.name));
    let first = strange.min_by_key(|read| read.line)?;
    let message = format!(
        "there is no global `{}`, expected one that the file defines or that rules have",
        first.name
    );
    Some((first.line, message))
}
