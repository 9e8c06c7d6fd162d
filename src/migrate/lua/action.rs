//! Actions of a rule: what they put, and under which conditions.

use super::known::is_group_key;
use super::{Helper, Kind, Translator, local};
use crate::migrate::mvel::{Expr, Statement, Unknown, unknown};

/// The lines of statements, `depth` steps to the right.
pub(in crate::migrate) fn block(
    translator: &mut Translator,
    statements: &[Statement],
    depth: usize,
) -> Result<Vec<String>, Unknown> {
    let known = translator.locals.len();
    let mut lines = Vec::new();
    let done = statements.iter().try_for_each(|it| translator.statement(it, depth, &mut lines));
    translator.locals.truncate(known);
    done.map(|()| lines)
}

/// A line, `depth` steps to the right.
fn line(depth: usize, text: &str) -> String {
    format!("{}{text}", "  ".repeat(depth))
}

impl Translator {
    fn statement(
        &mut self,
        statement: &Statement,
        depth: usize,
        into: &mut Vec<String>,
    ) -> Result<(), Unknown> {
        match statement {
            Statement::Do(expr) => {
                into.extend(self.act(expr)?.iter().map(|text| line(depth, text)));
            }
            Statement::Let(name, value) => {
                let (variable, value) = (local(name)?, self.keep(value)?);
                let is_new = !self.locals.contains(name);
                let word = if is_new { "local " } else { "" };
                into.push(line(depth, &format!("{word}{variable} = {value}")));
                if is_new {
                    self.locals.push(name.clone());
                }
            }
            Statement::If(branches, otherwise) => {
                for (place, (condition, then)) in branches.iter().enumerate() {
                    let word = if place == 0 { "if" } else { "elseif" };
                    let condition = self.condition(condition)?.join(" ");
                    into.push(line(depth, &format!("{word} {condition} then")));
                    into.extend(block(self, then, depth + 1)?);
                }
                if !otherwise.is_empty() {
                    into.push(line(depth, "else"));
                    into.extend(block(self, otherwise, depth + 1)?);
                }
                into.push(line(depth, "end"));
            }
            Statement::Each(name, list, then) => {
                self.remember(list);
                let list = self.expr(list)?;
                if !matches!(list.kind, Kind::List | Kind::Any) {
                    return unknown(format!("`foreach` over `{}`", list.text));
                }
                into.push(line(
                    depth,
                    &format!("for _, {} in ipairs({}) do", local(name)?, list.text),
                ));
                self.locals.push(name.clone());
                into.extend(block(self, then, depth + 1)?);
                self.locals.pop();
                into.push(line(depth, "end"));
            }
        }
        Ok(())
    }

    /// A call that changes something.
    fn act(&mut self, expr: &Expr) -> Result<Vec<String>, Unknown> {
        let Expr::Call(of, name, given) = expr else {
            return unknown("a statement that changes nothing");
        };
        if root(of) == Some("System") {
            self.notes.push(format!("prints (`{name}`): that is left out, rules cannot print"));
            return Ok(Vec::new());
        }
        if let Expr::Name(map) = &**of
            && matches!(map.as_str(), "result" | "state")
        {
            return self.change(map, name, given);
        }
        let of = self.expr(of)?;
        match (of.kind, name.as_str(), given.as_slice()) {
            (Kind::List | Kind::Any, "add", [item]) => {
                let item = self.keep(item)?;
                self.helpers.insert(Helper::Add);
                Ok(vec![format!("add({}, {item})", of.text)])
            }
            (Kind::Any, "put", [key, value]) => {
                let (key, value) = (self.expr(key)?.text, self.keep(value)?);
                Ok(vec![format!("{}[{key}] = {value}", of.text)])
            }
            (Kind::Any, "remove", [key]) => {
                let key = self.expr(key)?.text;
                Ok(vec![format!("{}[{key}] = nil", of.text)])
            }
            _ => unknown(format!("the method `{name}` of `{}`", of.text)),
        }
    }

    /// A call of `result` or `state`.
    fn change(&mut self, map: &str, name: &str, given: &[Expr]) -> Result<Vec<String>, Unknown> {
        match (name, given) {
            ("put", [key, value]) if map == "result" && is_group_key(key) => self.choose(value),
            ("put", [Expr::Text(key), _]) if map == "result" && key == "routingCluster" => unknown(
                "`routingCluster`; in Lua the answer `{ cluster = \"…\" }` pins a query to a cluster",
            ),
            ("put", [key, value]) => {
                let (entry, value) = (self.entry(map, key)?.text, self.keep(value)?);
                Ok(vec![format!("{entry} = {value}")])
            }
            ("putIfAbsent", [key, value]) if !is_group_key(key) => {
                let (entry, value) = (self.entry(map, key)?.text, self.keep(value)?);
                Ok(vec![format!("if {entry} == nil then {entry} = {value} end")])
            }
            ("remove", [key]) => Ok(vec![format!("{} = nil", self.entry(map, key)?.text)]),
            _ => unknown(format!("the method `{name}` of `{map}`")),
        }
    }

    /// Puts the group.
    fn choose(&mut self, value: &Expr) -> Result<Vec<String>, Unknown> {
        let group = self.group(value)?;
        if !matches!(group.kind, Kind::Text | Kind::MaybeText | Kind::Any) {
            return unknown(format!("`{}` as a group", group.text));
        }
        Ok(vec![format!("group = {}", group.text), format!("rule = {}", self.rule)])
    }
}

/// The name that a path begins with.
fn root(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Name(name) => Some(name),
        Expr::Field(of, _) | Expr::Call(of, _, _) => root(of),
        _ => None,
    }
}
