//! What a check found, as words or as JSON. Pure.

use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::table::{Table, plain};
use crate::config::problem::Problem;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Grade {
    /// As it should be.
    Fine,
    /// Works, and probably not as meant.
    Warning,
    /// Does not work.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) grade: Grade,
    /// What kind of thing: `settings`, `rules`, `store`, `cluster`.
    pub(super) area: &'static str,
    /// Which one.
    pub(super) subject: String,
    /// The line of the settings file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// What was found.
    pub(super) text: String,
}

impl Finding {
    pub(super) fn fine(area: &'static str, subject: &str, text: String) -> Self {
        Self { grade: Grade::Fine, area, subject: subject.to_owned(), line: None, text }
    }

    pub(super) fn warning(area: &'static str, subject: &str, text: String) -> Self {
        Self { grade: Grade::Warning, area, subject: subject.to_owned(), line: None, text }
    }

    pub(super) fn problem(area: &'static str, subject: &str, text: String) -> Self {
        Self { grade: Grade::Problem, area, subject: subject.to_owned(), line: None, text }
    }

    pub(super) fn of_settings(problem: &Problem) -> Self {
        let line = problem.place.map(|place| place.line);
        let subject = line.map_or_else(String::new, |line| format!("line {line}"));
        let text = problem.to_string();
        Self { grade: Grade::Problem, area: "settings", subject, line, text }
    }
}

/// The exit code that findings deserve.
pub(super) fn exit(findings: &[Finding]) -> Exit {
    if findings.iter().any(|finding| finding.grade == Grade::Problem) {
        Exit::Problems
    } else {
        Exit::Fine
    }
}

/// All findings as a table, with a count below.
pub(super) fn report(findings: &[Finding]) -> String {
    let mut table = Table::new(["", "WHAT", "WHICH", "FOUND"]);
    for finding in findings {
        let mark = match finding.grade {
            Grade::Fine => "ok",
            Grade::Warning => "warning",
            Grade::Problem => "PROBLEM",
        };
        table.push([mark, finding.area, &finding.subject, &finding.text].map(plain));
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (problems, warnings) = (count(Grade::Problem), count(Grade::Warning));
    format!("{}\nproblems: {problems}, warnings: {warnings}\n", table.render())
}
