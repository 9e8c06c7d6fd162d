//! The rules file of a Java gateway: one rule a document, in the order in which they fire.

use super::yaml::{self, Node, Value, YamlError};
use super::{Finding, Place};

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) priority: i64,
    /// Where its document begins.
    pub(super) line: usize,
    pub(super) condition: Source,
    pub(super) actions: Vec<Source>,
}

/// A text of MVEL and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) line: usize,
    pub(super) text: String,
}

/// Keys of a rule that are read.
const KEYS: [&str; 5] = ["name", "description", "priority", "condition", "actions"];

/// Reads the rules, by priority; those of one priority keep their order. What is no rule is told.
pub(super) fn read(
    text: &str,
    file: &str,
    findings: &mut Vec<Finding>,
) -> Result<Vec<Rule>, YamlError> {
    let documents = yaml::parse(text)?;
    let mut rules = Vec::new();
    for (place, document) in documents.iter().flat_map(rules_of).enumerate() {
        match rule(document, place + 1) {
            Ok(rule) => {
                tell_unknown(document, &rule.name, file, findings);
                rules.push(rule);
            }
            Err((line, what)) => {
                findings.push(Finding::left(Place::of(file, line), what));
            }
        }
    }
    rules.sort_by_key(|rule| rule.priority);
    Ok(rules)
}

/// A document is a rule, or a list of them.
fn rules_of(document: &Node) -> &[Node] {
    document.items()
}

fn rule(node: &Node, number: usize) -> Result<Rule, (usize, String)> {
    let name = match node.get("name").and_then(Node::text) {
        Some(name) if !name.trim().is_empty() => name.trim().to_owned(),
        _ => format!("rule-{number}"),
    };
    let line = node.line;
    if node.get("compositeRuleType").is_some() || node.get("composingRules").is_some() {
        let what = format!(
            "rule `{name}`: a composite rule, which Java gateways of today do not read either"
        );
        return Err((line, what));
    }
    let missing = |what: &str| (line, format!("rule `{name}`: no `{what}`, so it is no rule"));
    let condition = node.get("condition").and_then(source).ok_or_else(|| missing("condition"))?;
    let actions = node.get("actions").ok_or_else(|| missing("actions"))?.items();
    let actions = actions.iter().filter_map(source).filter(|it| !it.text.trim().is_empty());
    let priority = match node.get("priority").map(|node| (node, node.text())) {
        None | Some((Node { value: Value::Null, .. }, _)) => 0,
        Some((node, text)) => text.and_then(|text| text.trim().parse().ok()).ok_or_else(|| {
            (node.line, format!("rule `{name}`: its priority is no whole number"))
        })?,
    };
    Ok(Rule {
        description: node.get("description").and_then(Node::text).unwrap_or_default().to_owned(),
        priority,
        line,
        condition,
        actions: actions.collect(),
        name,
    })
}

fn source(node: &Node) -> Option<Source> {
    Some(Source { line: node.line, text: node.text()?.to_owned() })
}

fn tell_unknown(node: &Node, name: &str, file: &str, findings: &mut Vec<Finding>) {
    for (key, line, value) in node.entries() {
        if KEYS.contains(&key.as_str()) || value.value == Value::Null {
            continue;
        }
        let what = match key.as_str() {
            "strictRouting" if value.text() == Some("false") => continue,
            "strictRouting" => format!(
                "rule `{name}`: `strictRouting` is left out; a group without `fallback` is strict \
                 in Warren"
            ),
            _ => format!("rule `{name}`: `{key}` is left out, no rule has such a key"),
        };
        findings.push(Finding::left(Place::of(file, *line), what));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        let mut findings = Vec::new();
        let rules = read(text, "rules.yml", &mut findings).unwrap();
        let rules = rules.iter().map(|rule| {
            let Rule { name, priority, line, condition, actions, .. } = rule;
            format!("{name} {priority} @{line} {:?} {}", condition.text, actions.len())
        });
        let findings = findings.iter().map(ToString::to_string);
        rules.chain(findings).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn rules_fire_by_priority_and_then_by_place() {
        let text = "\
---
name: late
priority: 10
condition: 'true'
actions:
  - a.b()
---
name: first
condition: c
actions: ['', 'a.b()', 'c.d()']
---
name: early
priority: -1
condition: |
  d
  && e
actions: []
---
name: second
priority: 0
condition: c
actions: a.b()
";
        expect_test::expect![[r#"
            early -1 @12 "d\n&& e\n" 0
            first 0 @8 "c" 2
            second 0 @19 "c" 1
            late 10 @2 "true" 1"#]]
        .assert_eq(&told(text));
    }

    #[test]
    fn what_is_no_rule_is_told() {
        let text = "\
- name: a
  actions: []
- condition: x
- {name: c, condition: x, actions: [], priority: high}
- {name: d, compositeRuleType: ActivationRuleGroup, composingRules: []}
- {name: e, condition: x, actions: [], strictRouting: true, colour: red}
";
        expect_test::expect![[r#"
            e 0 @6 "x" 0
            rules.yml:1: rule `a`: no `condition`, so it is no rule
            rules.yml:3: rule `rule-2`: no `actions`, so it is no rule
            rules.yml:4: rule `c`: its priority is no whole number
            rules.yml:5: rule `d`: a composite rule, which Java gateways of today do not read either
            rules.yml:6: rule `e`: `strictRouting` is left out; a group without `fallback` is strict in Warren
            rules.yml:6: rule `e`: `colour` is left out, no rule has such a key"#]]
        .assert_eq(&told(text));
    }
}
