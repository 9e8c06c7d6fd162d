//! Exit codes. Scripts rely on them: a code never changes its meaning.

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Fine,
    /// It could not: something cannot be reached, read or started.
    Failed,
    /// The command line is wrong, or no settings file was found.
    Usage,
    /// The settings, the rules or the clusters have problems.
    Problems,
    /// A running Warren answered, and said no.
    Refused,
}

impl Exit {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 5] =
        [Self::Fine, Self::Failed, Self::Usage, Self::Problems, Self::Refused];

    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Problems => 3,
            Self::Refused => 4,
        }
    }

    /// What it means, for help and docs.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Fine => "done",
            Self::Failed => "failed: something cannot be reached, read or started",
            Self::Usage => "the command line is wrong, or no settings file was found",
            Self::Problems => "problems in the settings, the rules or the clusters",
            Self::Refused => "a running Warren answered, and said no",
        }
    }
}

/// The codes, as `--help` shows them.
pub(super) fn help() -> String {
    let lines = Exit::ALL.map(|exit| format!("  {}  {}", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}\n", lines.join("\n"))
}
