//! The tables of `docs/faults.md`.

use regex::Regex;

use super::bed::Told;
use super::{CLIENTS, Cell, Client, Stage, Trouble};

/// How much of a failure is shown.
const WORDS: usize = 48;

/// A table in Markdown: a row for each cell's fault and stage, a column for each client.
pub(super) fn text(title: &str, cells: &[Cell], told: &[Vec<Told>]) -> String {
    let told = &told[..cells.len()];
    let good = told.iter().flatten().filter(|told| **told == Told::Ok).count();
    let all = cells.len() * CLIENTS.len();
    let names = CLIENTS.map(|client| format!(" {} |", name(client))).concat();
    let head = format!(
        "## {title}\n\n{good} of {all} are ok.\n\n| fault | stage |{names}\n|---|---|{}\n",
        "---|".repeat(CLIENTS.len())
    );
    let rows = cells.iter().zip(told).map(|(cell, row)| {
        let seen: String = row.iter().map(|told| format!(" {} |", seen(told))).collect();
        format!("| {} | {} |{seen}\n", fault(cell.trouble), stage(cell.stage))
    });
    head + &rows.collect::<String>() + "\n"
}

fn name(client: Client) -> &'static str {
    match client {
        Client::Cli => "CLI",
        Client::Jdbc => "JDBC",
        Client::Dbapi | Client::SqlAlchemy => "Python",
        Client::Go => "Go",
        Client::Js => "JavaScript",
    }
}

fn fault(trouble: Trouble) -> String {
    match trouble {
        Trouble::Status(code) => format!("{code}"),
        Trouble::Reset => "reset before it acted".to_owned(),
        Trouble::Lost => "answer lost after it acted".to_owned(),
        Trouble::Cut => "body cut in half".to_owned(),
        Trouble::Refused => "reset, then refused for 2 s".to_owned(),
        Trouble::Frozen => "frozen for 5 s".to_owned(),
        Trouble::Hang => "never answered".to_owned(),
        Trouble::Killed => "Warren's worker killed".to_owned(),
        Trouble::Upgraded => "Warren upgraded".to_owned(),
    }
}

fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Post => "POST",
        Stage::First => "first GET",
        Stage::Executing => "executing GET",
        Stage::Delete => "DELETE",
    }
}

fn seen(told: &Told) -> String {
    match told {
        Told::Ok => "ok".to_owned(),
        Told::Unmet => "–".to_owned(),
        Told::Failed(text) => {
            let address = Regex::new(r"https?://[^ ]+").expect("a valid pattern");
            let text = address.replace_all(text, "URL").replace('|', "/");
            let words: String = text.chars().take(WORDS).collect();
            format!("**FAIL** {words}")
        }
    }
}
