//! A compiled rule set, checked before anybody relies on it.
//!
//! Promises that a [`RuleSet`] has a `route` that ended and gave answers of the right form on the
//! probe requests, the same ones when asked twice. What a probe cannot prove is a warning.

mod error;
mod lint;
mod probe;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlua::chunk::Compiler;
use sha2::{Digest, Sha256};

pub use self::error::{RuleWarning, RulesError};
pub(super) use self::probe::again;
use super::bytecode::runs;
use super::engine::{Loaded, failure};
use super::modules::{self, Compiled, Module};
use super::sandbox::Limits;
use super::texts::Texts;
use super::verdict::{Decision, FailureKind, Groups, RuleFailure, no_cluster};
use crate::config::{RuleHttp, Rules};
use crate::ids::{ClusterName, GroupName};
use crate::time::unix_ms;

/// The largest rules file, in bytes.
pub const FILE_MAX: usize = 1024 * 1024;

/// The field of a request that tells of its statement.
const QUERY: &str = "query";
/// That of a statement which tells its fingerprint.
const DIGEST: &str = "digest";

/// Each set of this process gets its own number, so that a worker knows whether its machine is of
/// this set.
static GENERATION: AtomicU64 = AtomicU64::new(1);

/// Which rules these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first 12 hexadecimal digits of the SHA-256 of the rules file, or, if it has modules, of it
    /// and them: equal rules have equal hashes on all gateways.
    pub hash: String,
    /// When they were loaded, in milliseconds since 1970.
    pub loaded_at_ms: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.hash)
    }
}

/// A file of rules, and the name by which messages call it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) chunk: &'a str,
    pub(super) text: &'a str,
}

/// A compiled rule set. Never changes.
#[derive(Debug)]
pub struct RuleSet {
    generation: u64,
    version: Version,
    chunk: String,
    bytecode: Vec<u8>,
    modules: Arc<[Compiled]>,
    groups: Groups,
    asks_header: bool,
    reads_query: bool,
    reads_digest: bool,
    http: Option<Arc<RuleHttp>>,
    limits: Limits,
    warnings: Vec<RuleWarning>,
}

impl RuleSet {
    /// Reads, compiles and tries the rules file that the settings name, with its modules.
    pub fn load(settings: &Rules, groups: &[GroupName]) -> Result<Self, RulesError> {
        Texts::without_tests(&settings.file)?.compiled(settings, groups)
    }

    /// Compiles and tries a script; the settings' file only gives it its name.
    pub fn compile(
        script: &[u8],
        settings: &Rules,
        groups: &[GroupName],
    ) -> Result<Self, RulesError> {
        Self::with_modules(script, &[], settings, groups)
    }

    /// The same of a script that requires these modules.
    pub(super) fn with_modules(
        script: &[u8],
        modules: &[Module],
        settings: &Rules,
        groups: &[GroupName],
    ) -> Result<Self, RulesError> {
        let chunk = chunk_name(&settings.file);
        modules::check(modules, &chunk)?;
        let script = Source { chunk: &chunk, text: text(script, &settings.file)? };
        let sources = modules::sources(modules)?;
        let bytecode = compiled_or_refused(&script)?;
        let compiled = sources.iter().map(|source| {
            let bytecode = compiled_or_refused(source)?;
            Ok(Compiled { chunk: source.chunk.to_owned(), bytecode })
        });
        let compiled = compiled.collect::<Result<_, _>>()?;
        let sources: Vec<_> = std::iter::once(script).chain(sources).collect();
        let contains = |word| sources.iter().any(|source| source.text.contains(word));
        let mut rules = Self {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            version: Version { hash: hash(script.text, modules), loaded_at_ms: unix_ms() },
            chunk: chunk.clone(),
            bytecode,
            modules: compiled,
            groups: Groups {
                default: settings.default_group.clone(),
                known: groups.to_vec(),
                on_error: settings.on_error,
            },
            asks_header: settings.routing_group_header,
            reads_query: contains(QUERY),
            reads_digest: contains(DIGEST),
            http: settings.http.clone().map(Arc::new),
            limits: Limits::of_call(settings.cpu, settings.memory),
            warnings: Vec::new(),
        };
        let failed = |failure| refused(&rules.chunk, failure);
        let Loaded { machine, kept, .. } = probe::load(&rules).map_err(failed)?;
        machine.leaves_room().map_err(failed)?;
        let modules = rules.modules.iter().map(|module| (&*module.chunk, &*module.bytecode));
        for (chunk, code) in std::iter::once((&*rules.chunk, &*rules.bytecode)).chain(modules) {
            let kept: Vec<_> = kept.iter().filter(|kept| kept.chunk == chunk).collect();
            let found = lint::check(code, &kept, |global| machine.knows(global));
            found.map_err(|failure| refused(chunk, failure))?;
        }
        rules.warnings = probe::run(&machine, &rules, &sources).map_err(failed)?;
        Ok(rules)
    }

    /// Which rules these are.
    pub fn version(&self) -> &Version {
        &self.version
    }

    /// What may go wrong with them.
    pub fn warnings(&self) -> &[RuleWarning] {
        &self.warnings
    }

    /// The name of the file, without its folder.
    pub fn chunk(&self) -> &str {
        &self.chunk
    }

    /// Where a query goes that no rule names.
    pub fn default_group(&self) -> &GroupName {
        &self.groups.default
    }

    /// The same decision, in the group of the cluster that it names, which `group_of` tells. An error,
    /// which is a failure of these rules: there is no such cluster, but these.
    pub fn placed(
        &self,
        decision: Decision,
        group_of: impl FnOnce(&ClusterName) -> Result<GroupName, Vec<ClusterName>>,
    ) -> Decision {
        let Some(name) = &decision.cluster else { return decision };
        match group_of(name) {
            Ok(group) => Decision { group, ..decision },
            Err(known) => self.groups.failed(no_cluster(name.as_str(), &known)),
        }
    }

    /// Whether they seem to ask what a statement is. A hint: whoever has not read it before they ask
    /// reads it when they do.
    pub fn reads_query(&self) -> bool {
        self.reads_query
    }

    /// Whether they seem to ask for its fingerprint, which takes as long again: a hint, too.
    pub fn reads_digest(&self) -> bool {
        self.reads_digest
    }

    /// Which services they may call; `None`: none.
    pub fn http(&self) -> Option<&Arc<RuleHttp>> {
        self.http.as_ref()
    }

    /// Its number among those of this process.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn bytecode(&self) -> &[u8] {
        &self.bytecode
    }

    pub(super) fn modules(&self) -> &Arc<[Compiled]> {
        &self.modules
    }

    pub(super) fn groups(&self) -> &Groups {
        &self.groups
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn asks_header(&self) -> bool {
        self.asks_header
    }
}

/// Reads at most [`FILE_MAX`] bytes of a rules file.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, RulesError> {
    let unreadable = |source| RulesError::Unreadable { file: file.to_owned(), source };
    let mut script = Vec::new();
    let most = u64::try_from(FILE_MAX).unwrap_or(u64::MAX);
    let opened = File::open(file).map_err(unreadable)?;
    opened.take(most + 1).read_to_end(&mut script).map_err(unreadable)?;
    if script.len() > FILE_MAX {
        return Err(RulesError::TooLarge { file: file.to_owned() });
    }
    Ok(script)
}

/// The hash of a [`Version`].
pub(super) fn hash(script: impl AsRef<[u8]>, modules: &[Module]) -> String {
    let mut digest = Sha256::new();
    if modules.is_empty() {
        digest.update(script);
    } else {
        let modules = modules.iter().flat_map(|it| [it.name.as_bytes(), &*it.script]);
        for text in std::iter::once(script.as_ref()).chain(modules) {
            // Lengths keep the texts apart.
            digest.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            digest.update(text);
        }
    }
    digest.finalize()[..6].iter().fold(String::with_capacity(12), |mut hex, byte| {
        for digit in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(digit), 16));
        }
        hex
    })
}

/// What stands in a file, if it is a text that says something.
pub(super) fn text<'a>(script: &'a [u8], file: &Path) -> Result<&'a str, RulesError> {
    let text = utf8(script, file)?;
    if text.trim().is_empty() {
        return Err(RulesError::Empty { file: file.to_owned() });
    }
    Ok(text)
}

pub(super) fn utf8<'a>(script: &'a [u8], file: &Path) -> Result<&'a str, RulesError> {
    if script.len() > FILE_MAX {
        return Err(RulesError::TooLarge { file: file.to_owned() });
    }
    std::str::from_utf8(script).map_err(|error| {
        let before = script[..error.valid_up_to()].iter();
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        RulesError::NotText { file: file.to_owned(), line }
    })
}

/// Functions of the language that `lua/bounds.lua` replaces or that make long texts. The compiler must
/// not put its own quick forms of them in their place: these ask nobody.
const SLOW: [&str; 4] = ["string.sub", "table.unpack", "tonumber", "unpack"];

/// Level 1 keeps the lines of all calls; the levels above inline functions. The names of variables
/// are kept for what is told of them, and marks of coverage for the places where code asks the guard.
pub(super) fn compiler() -> Compiler {
    let compiler = Compiler::new().set_optimization_level(1).set_debug_level(2);
    compiler.set_coverage_level(2).set_disabled_builtins(SLOW)
}

/// Compiles a script. What comes out asks the guard often enough to be ended in time.
pub(super) fn compiled(script: &str, chunk: &str) -> Result<Vec<u8>, RuleFailure> {
    let mut code = compiler().compile(script).map_err(|error| failure(&error, None, chunk))?;
    runs::divide(&mut code).map_err(|error| {
        let (line, message) = match error {
            runs::Undivided::TooLong { line } => (Some(line), error.to_string()),
            runs::Undivided::Unreadable(_) => {
                (None, format!("the compiled rules cannot be examined: {error}"))
            }
        };
        RuleFailure { kind: FailureKind::Runtime, message, line }
    })?;
    Ok(code)
}

fn compiled_or_refused(source: &Source<'_>) -> Result<Vec<u8>, RulesError> {
    compiled(source.text, source.chunk).map_err(|failure| refused(source.chunk, failure))
}

pub(super) fn chunk_name(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "rules".to_owned())
}

pub(super) fn refused(chunk: &str, failure: RuleFailure) -> RulesError {
    RulesError::Script { chunk: chunk.to_owned(), line: failure.line, message: failure.message }
}
