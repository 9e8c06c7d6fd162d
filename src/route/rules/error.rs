//! What is wrong with rules, or may go wrong with them, in words.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::route::suite::Broken;

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
    /// There is more beside the rules than a version in the store may hold.
    #[error("the {what} beside the rules are too many, expected at most {most}")]
    TooMany {
        /// `tests` or `modules`.
        what: &'static str,
        /// How many they may be.
        most: String,
    },
    /// What is beside the rules is neither a module nor a test.
    #[error(
        "`{name}` is no file beside rules, expected `NAME.lua`, with a name of 1 to 64 letters, \
         digits, `_` and `-`, or `tests/NAME.lua`"
    )]
    Stray {
        /// Its name.
        name: String,
    },
    /// It has the name of the rules file, or of another one.
    #[error(
        "`{name}` is the name of the rules themselves or of two files, expected each name once"
    )]
    Taken {
        /// The name.
        name: String,
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

impl fmt::Display for First<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
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
            Self::Stray { .. } | Self::Taken { .. } => "files",
            Self::TooMany { what, .. } => what,
            Self::Tests { .. } => "tests",
        }
    }

    /// The line of the file that is wrong, where it is known.
    pub fn line(&self) -> Option<u32> {
        match self {
            Self::Script { line, .. } => *line,
            Self::NotText { line, .. } => u32::try_from(*line).ok(),
            Self::Unreadable { .. }
            | Self::TooLarge { .. }
            | Self::Empty { .. }
            | Self::TooMany { .. }
            | Self::Stray { .. }
            | Self::Taken { .. }
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

impl fmt::Display for At<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0)?;
        self.1.map_or(Ok(()), |line| write!(out, ":{line}"))
    }
}
