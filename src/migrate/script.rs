//! Writes `lua/route.lua`: each rule of a Java gateway as one `if`, in the order in which they fire.
//!
//! The last rule that puts a group wins, as there. What cannot be said in Lua stands in a comment in
//! its place, with the reason, and is told as a finding.

use std::collections::BTreeSet;

use super::lua::{Helper, Translator, USER, block};
use super::mvel::{self, Expr, Unknown};
use super::rules::{Rule, Source};
use super::{Finding, Place};

/// The longest name of a rule in an answer, in bytes.
const RULE_MAX: usize = 64;
/// How long a condition may be on one line.
const WIDTH: usize = 96;

/// The script, and what must be known to write what belongs to it.
#[derive(Debug, Default)]
pub(super) struct Script {
    pub(super) text: String,
    /// The groups that rules name, as the Java gateway calls them.
    pub(super) groups: BTreeSet<String>,
    /// What was understood of the rules, for their tests.
    pub(super) understood: Vec<Understood>,
}

/// A rule whose condition and actions were read.
#[derive(Debug)]
pub(super) struct Understood {
    pub(super) name: String,
    pub(super) condition: Expr,
    pub(super) actions: Vec<mvel::Statement>,
}

/// The name of a rule as an answer can hold it.
pub(super) fn rule_name(name: &str) -> String {
    let mut short = String::new();
    for char in name.chars() {
        let char = if char.is_control() { ' ' } else { char };
        if short.len() + char.len_utf8() > RULE_MAX {
            break;
        }
        short.push(char);
    }
    short
}

/// Writes the script of these rules. `user_field` is the field of a token that names its user.
pub(super) fn write(
    rules: &[Rule],
    file: &str,
    user_field: &str,
    findings: &mut Vec<Finding>,
) -> Script {
    let mut script = Script::default();
    let mut helpers = BTreeSet::new();
    let mut kept = None;
    let (mut body, mut uses_state, mut uses_result, mut is_open) =
        (Vec::new(), false, false, false);
    for rule in rules {
        let mut translator = Translator::new(&rule_name(&rule.name), kept.take());
        body.push(String::new());
        body.extend(heading(rule, file));
        let done = translated(&mut translator, rule, file, findings);
        kept = translator.kept.take();
        match done {
            Ok((lines, understood)) => {
                body.extend(lines);
                script.understood.push(understood);
            }
            Err((line, Unknown(why))) => {
                let what = format!("rule `{}`: not translated: {why}", rule.name);
                findings.push(Finding::left(Place::of(file, line), what));
                body.extend(commented(rule, &why));
                continue;
            }
        }
        for note in translator.notes {
            let what = format!("rule `{}`: {note}", rule.name);
            findings.push(Finding::note(Place::of(file, rule.line), what));
        }
        helpers.extend(translator.helpers);
        script.groups.extend(translator.groups);
        uses_state |= translator.uses_state;
        uses_result |= translator.uses_result;
        is_open |= translator.has_open_group;
    }
    let asks_user = helpers.contains(&Helper::User);
    let mut text = head(file, !rules.is_empty());
    for helper in helpers {
        text.push('\n');
        text.push_str(&helper.lua().replace(USER, &pattern(user_field)));
    }
    text.push_str("\nfunction route(request)\n");
    if !rules.is_empty() {
        text.push_str("  local group, rule\n");
    }
    if asks_user {
        text.push_str("  local user = user_of(request)\n");
    }
    for (name, is_used) in [("state", uses_state), ("result", uses_result)] {
        if is_used {
            text.extend(["  local ", name, " = {}\n"]);
        }
    }
    for line in body {
        text.extend([line.as_str(), "\n"]);
    }
    text.push_str(&tail(rules, is_open));
    script.text = text;
    script
}

fn head(file: &str, has_rules: bool) -> String {
    if !has_rules {
        return "\
-- To which group a query goes. The Java gateway had no rules: it took the group that the client asks
-- for by `X-Trino-Routing-Group`, which `routing_group_header` in warren.toml does, else the default one.
"
        .to_owned();
    }
    format!(
        "\
-- To which group a query goes: the rules of `{}`, as `warren migrate` translated them.
--
-- As in the Java gateway all rules that match count, in the order of their priority, and the last of
-- them decides. A method of a value that is null is an error there and here: such a query goes to the
-- default group, and `warren_rule_errors_total` counts it.
",
        one_line(file)
    )
}

/// The end of `route`; `is_open`: the group may be an empty text.
fn tail(rules: &[Rule], is_open: bool) -> String {
    if rules.is_empty() {
        return "  return nil\nend\n".to_owned();
    }
    let none = if is_open { "group == nil or group == \"\"" } else { "group == nil" };
    format!(
        "\n  if {none} then\n    return nil\n  end\n  \
         return {{ group = group, rule = rule }}\nend\n"
    )
}

fn heading(rule: &Rule, file: &str) -> Vec<String> {
    let (name, file) = (one_line(&rule.name), one_line(file));
    let mut lines =
        vec![format!("  -- Rule `{name}` ({file}:{}, priority {})", rule.line, rule.priority)];
    let description = one_line(&rule.description);
    if !description.trim().is_empty() {
        lines.push(format!("  -- {}", description.trim()));
    }
    lines
}

/// A rule as it was, where it would stand.
fn commented(rule: &Rule, why: &str) -> Vec<String> {
    let mut lines = vec![format!("  -- NOT TRANSLATED: {}", one_line(why))];
    let mut quote = |title: &str, source: &Source| {
        lines.push(format!("  --   {title}:"));
        lines.extend(source.text.lines().map(|line| format!("  --     {}", one_line(line))));
    };
    quote("condition", &rule.condition);
    for action in &rule.actions {
        quote("action", action);
    }
    lines
}

/// A text in which nothing ends a comment.
fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

type Translated = (Vec<String>, Understood);

fn translated(
    translator: &mut Translator,
    rule: &Rule,
    file: &str,
    findings: &mut Vec<Finding>,
) -> Result<Translated, (usize, Unknown)> {
    let in_condition = |unknown| (rule.condition.line, unknown);
    let condition = mvel::condition(&rule.condition.text).map_err(in_condition)?;
    let parts = translator.condition(&condition).map_err(in_condition)?;
    let is_always = condition == Expr::Bool(true);
    let depth = if is_always { 1 } else { 2 };
    let (mut lines, mut actions) = (Vec::new(), Vec::new());
    for action in &rule.actions {
        let done = mvel::statements(&action.text)
            .and_then(|read| Ok((block(translator, &read, depth)?, read)));
        match done {
            Ok((more, read)) => {
                lines.extend(more);
                actions.extend(read);
            }
            // What touches neither map decides nothing.
            Err(Unknown(why)) if !touches(&action.text) => {
                let what = format!("rule `{}`: an action is left out: {why}", rule.name);
                findings.push(Finding::left(Place::of(file, action.line), what));
                let text = one_line(&action.text);
                lines.push(format!("{}-- LEFT OUT: {text}", "  ".repeat(depth)));
            }
            Err(unknown) => return Err((action.line, unknown)),
        }
    }
    if !is_always {
        lines = enclosed(&parts, lines);
    }
    let name = rule_name(&rule.name);
    Ok((lines, Understood { name, condition, actions }))
}

fn touches(action: &str) -> bool {
    mvel::names_one(action, &["result", "state"])
}

/// The `if` of a condition, on as many lines as it needs.
fn enclosed(parts: &[String], inner: Vec<String>) -> Vec<String> {
    let whole = format!("  if {} then", parts.join(" "));
    let mut lines = Vec::new();
    if whole.chars().count() <= WIDTH || parts.len() == 1 {
        lines.push(whole);
    } else {
        for (place, part) in parts.iter().enumerate() {
            lines.push(if place == 0 { format!("  if {part}") } else { format!("    {part}") });
        }
        lines.push("  then".to_owned());
    }
    lines.extend(inner);
    lines.push("  end".to_owned());
    lines
}

/// A text as a Lua pattern takes it literally, within a constant in single quotes.
fn pattern(text: &str) -> String {
    let mut pattern = String::new();
    for char in text.chars().filter(|char| !char.is_control() && !matches!(char, '\'' | '\\')) {
        if char.is_ascii_punctuation() {
            pattern.push('%');
        }
        pattern.push(char);
    }
    pattern
}
