//! What `check` and `doctor` found, as words or as JSON. Pure.

use serde::Serialize;

use super::exit::Exit;
use super::table::{Table, plain};
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
    /// What kind of thing: `settings`, `rules`, `store`, `cluster`, `operators`, `clients`.
    pub(super) area: &'static str,
    /// Which one.
    pub(super) subject: String,
    /// The line of the settings file, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    /// What was found.
    pub(super) text: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<String>,
}

impl Finding {
    pub(super) fn fine(area: &'static str, subject: &str, text: String) -> Self {
        Self::new(Grade::Fine, area, subject, text)
    }

    pub(super) fn warning(area: &'static str, subject: &str, text: String) -> Self {
        Self::new(Grade::Warning, area, subject, text)
    }

    pub(super) fn problem(area: &'static str, subject: &str, text: String) -> Self {
        Self::new(Grade::Problem, area, subject, text)
    }

    fn new(grade: Grade, area: &'static str, subject: &str, text: String) -> Self {
        Self { grade, area, subject: subject.to_owned(), line: None, text, fix: None }
    }

    /// The same with what to do about it.
    pub(super) fn with_fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }

    pub(super) fn of_settings(problem: &Problem) -> Self {
        let line = problem.place.map(|place| place.line);
        let subject = line.map_or_else(String::new, |line| format!("line {line}"));
        let text = problem.to_string();
        Self { line, ..Self::problem("settings", &subject, text) }
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
        if let Some(fix) = &finding.fix {
            table.push(["", "", "", &format!("  fix: {fix}")].map(plain));
        }
    }
    let count = |grade| findings.iter().filter(|finding| finding.grade == grade).count();
    let (problems, warnings) = (count(Grade::Problem), count(Grade::Warning));
    format!("{}\nproblems: {problems}, warnings: {warnings}\n", table.render())
}
