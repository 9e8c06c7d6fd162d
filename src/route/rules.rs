//! A compiled rule set, checked before anybody relies on it.
//!
//! Promises that a [`RuleSet`] has a `route` that ended and gave answers of the right form on the
//! probe requests, the same ones when asked twice. What a probe cannot prove is a warning.

mod lint;
mod probe;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlua::chunk::Compiler;
use sha2::{Digest, Sha256};
use thiserror::Error;

pub(super) use self::probe::again;
use super::bytecode::runs;
use super::engine::{Loaded, failure};
use super::sandbox::Limits;
use super::suite::Broken;
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

/// Why a rules file cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("rules file `{}` cannot be read", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is too large.
    #[error("rules file `{}` is larger than 1 MiB, expected a short Lua text", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// The file holds nothing.
    #[error("rules file `{}` is empty, expected `function route(request) … end`", file.display())]
    Empty {
        /// The file.
        file: PathBuf,
    },
    /// The file is no text.
    #[error("rules file `{}` is not UTF-8 in line {line}, expected a Lua text", file.display())]
    NotText {
        /// The file.
        file: PathBuf,
        /// The first line that is not UTF-8.
        line: usize,
    },
    /// The script is wrong.
    #[error("{}: {message}", At(chunk, *line))]
    Script {
        /// The name of the file, without its folder.
        chunk: String,
        /// The line, where it is known.
        line: Option<u32>,
        /// What is wrong and what would be right.
        message: String,
    },
    /// There are more tests than a version in the store may hold.
    #[error("the tests beside the rules are too many, expected at most {most}")]
    TooManyTests {
        /// What they may be.
        most: String,
    },
    /// The rules do not do what their tests say.
    #[error("{} of {cases} cases of the tests do not hold{}", broken.len(), First(broken))]
    Tests {
        /// How many cases there are.
        cases: usize,
        /// Those that do not hold.
        broken: Vec<Broken>,
    },
}

/// The first case that does not hold, for a message.
struct First<'a>(&'a [Broken]);

impl std::fmt::Display for First<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.first().map_or(Ok(()), |first| write!(out, "; {first}"))
    }
}

impl RulesError {
    /// The label of a metric.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "unreadable",
            Self::TooLarge { .. } => "too_large",
            Self::Empty { .. } => "empty",
            Self::NotText { .. } => "not_text",
            Self::Script { .. } => "script",
            Self::TooManyTests { .. } | Self::Tests { .. } => "tests",
        }
    }

    /// The line of the rules file, where it is known.
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::Script { line, .. } => *line,
            Self::NotText { line, .. } => u32::try_from(*line).ok(),
            Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::Empty { .. }
            | Self::TooManyTests { .. }
            | Self::Tests { .. } => None,
        }
    }

    /// The error with its causes, on one line.
    pub fn in_words(&self) -> String {
        let causes =
            std::iter::successors(Some(self as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    }

    /// All that is wrong, each by itself.
    pub fn findings(&self) -> Vec<String> {
        match self {
            Self::Tests { broken, .. } => broken.iter().map(ToString::to_string).collect(),
            other => vec![other.in_words()],
        }
    }
}

/// What may go wrong with a rule set that is in force.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {message}", At(chunk, *line))]
pub struct RuleWarning {
    /// The name of the file, without its folder.
    pub chunk: String,
    /// The line, where it is known.
    pub line: Option<u32>,
    /// What may go wrong.
    pub message: String,
}

struct At<'a>(&'a str, Option<u32>);

impl std::fmt::Display for At<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.0)?;
        self.1.map_or(Ok(()), |line| write!(out, ":{line}"))
    }
}

/// Which rules these are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first 12 hexadecimal digits of the file's SHA-256: equal rules have equal hashes on all
    /// gateways.
    pub hash: String,
    /// When they were loaded, in milliseconds since 1970.
    pub loaded_at_ms: u64,
}

impl std::fmt::Display for Version {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.hash)
    }
}

/// A compiled rule set. Never changes.
#[derive(Debug)]
pub struct RuleSet {
    generation: u64,
    version: Version,
    chunk: String,
    bytecode: Vec<u8>,
    groups: Groups,
    asks_header: bool,
    reads_query: bool,
    reads_digest: bool,
    http: Option<Arc<RuleHttp>>,
    limits: Limits,
    warnings: Vec<RuleWarning>,
}

impl RuleSet {
    /// Reads, compiles and tries the rules file that the settings name.
    pub fn load(settings: &Rules, groups: &[GroupName]) -> Result<Self, RulesError> {
        Self::compile(&read(&settings.file)?, settings, groups)
    }

    /// Compiles and tries a script; the settings' file only gives it its name.
    pub fn compile(
        script: &[u8],
        settings: &Rules,
        groups: &[GroupName],
    ) -> Result<Self, RulesError> {
        let script = text(script, &settings.file)?;
        let chunk = chunk_name(&settings.file);
        let bytecode = compiled(script, &chunk).map_err(|failure| refused(&chunk, failure))?;
        let mut rules = Self {
            generation: GENERATION.fetch_add(1, Ordering::Relaxed),
            version: Version { hash: hash(script), loaded_at_ms: unix_ms() },
            chunk,
            bytecode,
            groups: Groups {
                default: settings.default_group.clone(),
                known: groups.to_vec(),
                on_error: settings.on_error,
            },
            asks_header: settings.routing_group_header,
            reads_query: script.contains(QUERY),
            reads_digest: script.contains(DIGEST),
            http: settings.http.clone().map(Arc::new),
            limits: Limits::of_call(settings.cpu, settings.memory),
            warnings: Vec::new(),
        };
        let failed = |failure| refused(&rules.chunk, failure);
        let Loaded { machine, kept, .. } = probe::load(&rules).map_err(failed)?;
        machine.leaves_room().map_err(failed)?;
        lint::check(&rules.bytecode, &kept, |global| machine.knows(global)).map_err(failed)?;
        let findings = probe::run(&machine, &rules, script).map_err(failed)?;
        rules.warnings = findings
            .into_iter()
            .map(|finding| RuleWarning {
                chunk: rules.chunk.clone(),
                line: finding.line,
                message: finding.message,
            })
            .collect();
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
pub(super) fn hash(script: impl AsRef<[u8]>) -> String {
    let digest = Sha256::digest(script.as_ref());
    digest[..6].iter().fold(String::with_capacity(12), |mut hex, byte| {
        for digit in [byte >> 4, byte & 15] {
            hex.extend(char::from_digit(u32::from(digit), 16));
        }
        hex
    })
}

pub(super) fn text<'a>(script: &'a [u8], file: &Path) -> Result<&'a str, RulesError> {
    if script.len() > FILE_MAX {
        return Err(RulesError::TooLarge { file: file.to_owned() });
    }
    let text = std::str::from_utf8(script).map_err(|error| {
        let before = script[..error.valid_up_to()].iter();
        let line = before.filter(|byte| **byte == b'\n').count() + 1;
        RulesError::NotText { file: file.to_owned(), line }
    })?;
    if text.trim().is_empty() {
        return Err(RulesError::Empty { file: file.to_owned() });
    }
    Ok(text)
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

pub(super) fn chunk_name(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    name.unwrap_or_else(|| "rules".to_owned())
}

pub(super) fn refused(chunk: &str, failure: RuleFailure) -> RulesError {
    RulesError::Script { chunk: chunk.to_owned(), line: failure.line, message: failure.message }
}
