//! `[[groups]]`: how each shares its queries, and what becomes of those that nobody can take.

use super::names::{Once, label, one_of};
use super::{HOUR, SECOND};
use crate::config::problem::Wrong;
use crate::config::raw::Section;
use crate::config::{Group, Hold, LoadWeights, Mode};
use crate::ids::GroupName;

/// Reads `[[groups]]`.
pub(super) fn groups(root: &Section<'_>) -> Vec<Group> {
    let sections = root.sections("groups", "groups[]");
    if sections.is_empty() && root.find("groups").is_none_or(|found| found.value.is_array()) {
        root.complain("groups", "no group", "add `[[groups]]` with `name = \"…\"`");
    }
    let mut names = Once::default();
    let mut named = Vec::new();
    for section in &sections {
        let Some(name) = section.parsed("name", |text| label(GroupName::parse(text))) else {
            continue;
        };
        if names.is_new(section, "name", &name) {
            named.push((section, name));
        }
    }
    let known: Vec<&GroupName> = named.iter().map(|(_, name)| name).collect();
    named.iter().map(|(section, name)| group(section, name, &known)).collect()
}

fn group(section: &Section<'_>, name: &GroupName, known: &[&GroupName]) -> Group {
    let mode = section.parsed("mode", |text| match text {
        "active-active" => Ok(Mode::ActiveActive),
        "active-standby" => Ok(Mode::ActiveStandby),
        _ => {
            let right = "write `\"active-active\"` or `\"active-standby\"`";
            Err(Wrong::new("not a way of sharing queries", right))
        }
    });
    let fallback = section.list("fallback", |text| {
        let other = one_of(text, known)?;
        if other == *name {
            return Err(Wrong::new("the group itself", "name other groups"));
        }
        Ok(other)
    });
    let reject = section.parsed("reject", |text| {
        if text.trim().is_empty() {
            return Err(Wrong::new("an empty text", "say what clients should read"));
        }
        Ok(text.to_owned())
    });
    let weight = |name: &str, least: u64| {
        let weight = section.number(name, least..=1000).and_then(|it| u32::try_from(it).ok());
        weight.unwrap_or(1)
    };
    let hold = section.find("hold").and_then(|_| hold(&section.section("hold", "groups[].hold")));
    Group {
        name: name.clone(),
        load: LoadWeights {
            queued: weight("queued_weight", 0),
            running: weight("running_weight", 1),
            memory: weight("memory_weight", 0),
            cpu: weight("cpu_weight", 0),
        },
        mode: mode.unwrap_or(Mode::ActiveActive),
        auto_failover: section.flag("auto_failover"),
        fallback,
        reject,
        hold,
    }
}

fn hold(section: &Section<'_>) -> Option<Hold> {
    let max_wait = section.duration("max_wait", SECOND..=24 * HOUR);
    let max_bytes = section.size("max_bytes", 1 << 10..=1 << 40);
    let max_queries = section.number("max_queries", 1..=10_000);
    let per_user = section.number("per_user", 1..=10_000);
    Some(Hold {
        max_wait,
        max_queries: usize::try_from(max_queries?).ok()?,
        max_bytes: usize::try_from(max_bytes).ok()?,
        per_user: usize::try_from(per_user?).ok()?,
    })
}
