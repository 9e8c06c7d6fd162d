//! YAML as a tree in which each value knows its line.
//!
//! Of YAML's types only what a Java gateway's files hold: texts, lists and mappings. A plain `null`
//! or nothing at all is [`Value::Null`]; numbers and truth values stay texts. Bounded in depth and
//! size, so that no file can make it run away.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// The deepest that lists and mappings may lie in each other.
const DEPTH_MAX: usize = 64;
/// The most values of a file, those that an alias repeats included.
const NODES_MAX: usize = 200_000;
/// So many bytes of a text that an alias repeats count like a value.
const BYTES_EACH: usize = 64;

/// Why a text is no YAML that can be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// A value and the line where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) line: usize,
    pub(super) value: Value,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Text(String),
    List(Vec<Node>),
    /// Keys, each with its line, in the order of the file.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    /// The value under a key.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|(name, _, _)| name == key).map(|(_, _, node)| node)
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The entries, if it is a mapping.
    pub(super) fn entries(&self) -> &[(String, usize, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            Value::Null | Value::Text(_) | Value::List(_) => &[],
        }
    }

    /// The items of a list; a single value is a list of itself, and nothing is none.
    pub(super) fn items(&self) -> &[Self] {
        match &self.value {
            Value::List(items) => items,
            Value::Null => &[],
            Value::Text(_) | Value::Map(_) => std::slice::from_ref(self),
        }
    }

    /// How much it takes to repeat it, in values.
    fn count(&self) -> usize {
        let of_text = |text: &str| 1 + text.len() / BYTES_EACH;
        match &self.value {
            Value::Null => 1,
            Value::Text(text) => of_text(text),
            Value::List(items) => 1 + items.iter().map(Self::count).sum::<usize>(),
            Value::Map(entries) => {
                let each = entries.iter().map(|(key, _, node)| of_text(key) + node.count());
                1 + each.sum::<usize>()
            }
        }
    }
}

/// Reads all documents of a text; empty ones are left out.
pub(super) fn parse(text: &str) -> Result<Vec<Node>, YamlError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError {
            line: error.marker().line(),
            what: format!("not YAML: {}", error.info()),
        })?;
        builder.take(event, span.start.line())?;
    }
    builder.documents.retain(|document| document.value != Value::Null);
    Ok(builder.documents)
}

/// A list or mapping that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    /// `None`: a list.
    keys: Option<Vec<(String, usize)>>,
    /// A mapping's next value is a key.
    at_key: bool,
    items: Vec<Node>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    documents: Vec<Node>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, ..) => {
                let is_null = style == ScalarStyle::Plain
                    && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if is_null { Value::Null } else { Value::Text(text.into_owned()) };
                self.place(Node { line, value }, anchor)
            }
            Event::SequenceStart(anchor, ..) => self.begin(line, anchor, None),
            Event::MappingStart(anchor, ..) => self.begin(line, anchor, Some(Vec::new())),
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => {
                let unknown =
                    || YamlError { line, what: "an alias of nothing before it".to_owned() };
                let node = self.anchors.get(&anchor).cloned().ok_or_else(unknown)?;
                self.nodes += node.count();
                self.place(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn begin(
        &mut self,
        line: usize,
        anchor: usize,
        keys: Option<Vec<(String, usize)>>,
    ) -> Result<(), YamlError> {
        if self.open.len() >= DEPTH_MAX {
            let what = format!("more than {DEPTH_MAX} lists and mappings in each other");
            return Err(YamlError { line, what });
        }
        self.open.push(Open { line, anchor, keys, at_key: true, items: Vec::new() });
        Ok(())
    }

    fn end(&mut self) -> Result<(), YamlError> {
        let Some(Open { line, anchor, keys, items, .. }) = self.open.pop() else { return Ok(()) };
        let value = match keys {
            None => Value::List(items),
            Some(keys) => Value::Map(
                keys.into_iter().zip(items).map(|((key, line), node)| (key, line, node)).collect(),
            ),
        };
        self.place(Node { line, value }, anchor)
    }

    fn place(&mut self, node: Node, anchor: usize) -> Result<(), YamlError> {
        let line = node.line;
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(YamlError { line, what: format!("more than {NODES_MAX} values") });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.documents.push(node);
            return Ok(());
        };
        match &mut open.keys {
            Some(keys) if open.at_key => {
                let key = match node.value {
                    Value::Text(key) => key,
                    Value::Null => String::new(),
                    Value::List(_) | Value::Map(_) => {
                        let what = "a key that is no text, expected `name: value`".to_owned();
                        return Err(YamlError { line, what });
                    }
                };
                if keys.iter().any(|(known, _)| *known == key) {
                    return Err(YamlError { line, what: format!("`{key}` is there twice") });
                }
                keys.push((key, line));
                open.at_key = false;
            }
            _ => {
                open.items.push(node);
                open.at_key = true;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match parse(text) {
            Err(error) => format!("error: {error}"),
            Ok(documents) => documents.iter().map(shown).collect::<Vec<_>>().join(" --- "),
        }
    }

    fn shown(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".to_owned(),
            Value::Text(text) => format!("{text:?}@{}", node.line),
            Value::List(items) => {
                format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(", "))
            }
            Value::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, _, node)| format!("{key}: {}", shown(node)));
                format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
            }
        }
    }

    #[test]
    fn values_know_their_lines() {
        for (text, expected) in [
            ("", ""),
            ("---\n---\n", ""),
            ("a: 1\nb:\n  - x\n  - 'null'\nc:\n", r#"{a: "1"@1, b: ["x"@3, "null"@4], c: null}"#),
            ("---\nname: a\n---\nname: b\n", r#"{name: "a"@2} --- {name: "b"@4}"#),
            ("a: &x [1]\nb: *x\n", r#"{a: ["1"@1], b: ["1"@1]}"#),
            ("a: 1\na: 2\n", "error: line 2: `a` is there twice"),
            ("[a]: 1\n", "error: line 1: a key that is no text, expected `name: value`"),
        ] {
            assert_eq!(told(text), expected, "{text}");
        }
        assert!(told("a: [\n").starts_with("error: line "));
        assert!(told(&"[".repeat(100)).starts_with("error: line 1: more than 64"));
    }

    #[test]
    fn aliases_do_not_grow_without_end() {
        let level = |level: usize| {
            let below = format!("*a{}, ", level - 1).repeat(10);
            format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "))
        };
        let levels: Vec<String> = (1..9).map(level).collect();
        let text = format!("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n{}", levels.concat());
        assert!(told(&text).ends_with("more than 200000 values"));
        let items = vec!["*x"; 1000].join(", ");
        let text = format!("a: &x {}\nb: [{items}]\n", "y".repeat(100_000));
        assert!(told(&text).ends_with("more than 200000 values"));
    }
}
