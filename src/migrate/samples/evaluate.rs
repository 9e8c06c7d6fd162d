//! What rules decide about a request: MVEL, evaluated. Says nothing where it is not sure.

use std::collections::{BTreeMap, BTreeSet};

use super::wishes::Request;
use crate::migrate::mvel::{Expr, Op, Statement};
use crate::migrate::names;
use crate::migrate::script::Understood;

/// What came of all rules.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) group: Option<String>,
    /// The rule that put it.
    pub(super) rule: Option<String>,
    /// All rules that fired.
    pub(super) fired: BTreeSet<String>,
}

/// A value of MVEL, as far as it is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Worth {
    Null,
    Text(String),
    Bool(bool),
    Set(BTreeSet<String>),
}

/// What rules remember while they run.
type State = BTreeMap<String, Worth>;

/// Lets all rules run. `Err`: the name of the first of which it is not sure what it does. It may even
/// fail, and then no rule behind it counts.
pub(super) fn decide<'a>(rules: &'a [Understood], request: &Request) -> Result<Outcome, &'a str> {
    let mut outcome = Outcome::default();
    let mut run = Run { request, state: State::new() };
    for rule in rules {
        run.fire(rule, &mut outcome).ok_or(rule.name.as_str())?;
    }
    Ok(outcome)
}

/// The name of the header that an expression asks for, in small letters.
pub(super) fn header_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Call(of, method, given) if method == "getHeader" && **of == name("request") => {
            match given.as_slice() {
                [Expr::Text(header)] if is_token(header) => Some(header.to_ascii_lowercase()),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What an expression asks of the statement: `catalogs` of `trinoQueryProperties.getCatalogs()`.
pub(super) fn query_of(expr: &Expr) -> Option<&'static str> {
    const ASKED: [(&str, &str); 7] = [
        ("tablesContains", "tablesContains"),
        ("getTables", "tables"),
        ("getCatalogs", "catalogs"),
        ("getSchemas", "schemas"),
        ("getCatalogSchemas", "catalogSchemas"),
        ("getQueryType", "queryType"),
        ("getResourceGroupQueryType", "resourceGroupQueryType"),
    ];
    let (Expr::Call(of, method, _) | Expr::Field(of, method)) = expr else { return None };
    let is = |getter: &str, short: &str| method == getter || method == short;
    let found = ASKED.iter().find(|(getter, short)| is(getter, short)).map(|(_, short)| *short);
    found.filter(|_| **of == name("trinoQueryProperties"))
}

fn name(name: &str) -> Expr {
    Expr::Name(name.to_owned())
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

struct Run<'a> {
    request: &'a Request,
    state: State,
}

impl Run<'_> {
    fn fire(&mut self, rule: &Understood, outcome: &mut Outcome) -> Option<()> {
        if self.truth(&rule.condition)? {
            outcome.fired.insert(rule.name.clone());
            self.act(&rule.actions, rule, outcome)?;
        }
        Some(())
    }

    fn truth(&self, expr: &Expr) -> Option<bool> {
        match self.value(expr)? {
            Worth::Bool(truth) => Some(truth),
            Worth::Null | Worth::Text(_) | Worth::Set(_) => None,
        }
    }

    fn value(&self, expr: &Expr) -> Option<Worth> {
        if let Some(header) = header_of(expr) {
            return Some(self.header(&header));
        }
        if let Some(asked) = query_of(expr) {
            return self.query(asked, expr);
        }
        match expr {
            Expr::Text(text) => Some(Worth::Text(text.clone())),
            Expr::Bool(truth) => Some(Worth::Bool(*truth)),
            Expr::Null => Some(Worth::Null),
            Expr::Not(of) => Some(Worth::Bool(!self.truth(of)?)),
            Expr::New(class, _) if class == "HashSet" => Some(Worth::Set(BTreeSet::new())),
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::Choice(is, then, otherwise) => {
                self.value(if self.truth(is)? { then } else { otherwise })
            }
            Expr::Call(of, method, given) => self.call(of, method, given),
            _ => None,
        }
    }

    fn header(&self, name: &str) -> Worth {
        self.request.headers.get(name).map_or(Worth::Null, |value| Worth::Text(value.clone()))
    }

    /// What the statement is: none, or a SELECT from one table.
    fn query(&self, asked: &str, expr: &Expr) -> Option<Worth> {
        let table = self.request.table.as_deref();
        let parts: Vec<&str> = table.unwrap_or_default().split('.').collect();
        let set = |text: Option<String>| Some(Worth::Set(text.into_iter().collect()));
        let text = |text: &str| Some(Worth::Text(table.map_or("", |_| text).to_owned()));
        match (asked, expr, parts.as_slice()) {
            ("tablesContains", Expr::Call(_, _, given), _) => {
                let [Expr::Text(wanted)] = given.as_slice() else { return None };
                Some(Worth::Bool(table == Some(wanted.to_lowercase().as_str())))
            }
            ("queryType", _, _) => text("Query"),
            ("resourceGroupQueryType", _, _) => text("SELECT"),
            ("tables", _, _) => set(table.map(str::to_owned)),
            ("catalogs", _, [catalog, _, _]) => set(Some((*catalog).to_owned())),
            ("schemas", _, [_, schema, _]) => set(Some((*schema).to_owned())),
            ("catalogSchemas", _, [catalog, schema, _]) => set(Some(format!("{catalog}.{schema}"))),
            ("catalogs" | "schemas" | "catalogSchemas", _, _) => set(None),
            _ => None,
        }
    }

    fn binary(&self, op: Op, left: &Expr, right: &Expr) -> Option<Worth> {
        let truth = match op {
            Op::And => self.truth(left)? && self.truth(right)?,
            Op::Or => self.truth(left)? || self.truth(right)?,
            Op::Same => self.value(left)? == self.value(right)?,
            Op::Differs => self.value(left)? != self.value(right)?,
            Op::Contains => match (self.value(left)?, self.value(right)?) {
                (Worth::Null, _) => false,
                (Worth::Text(text), Worth::Text(part)) => text.contains(&part),
                _ => return None,
            },
            Op::Matches
            | Op::Less
            | Op::AtMost
            | Op::More
            | Op::AtLeast
            | Op::Plus
            | Op::Minus
            | Op::Times
            | Op::Divide
            | Op::Rest => return None,
        };
        Some(Worth::Bool(truth))
    }

    fn call(&self, of: &Expr, method: &str, given: &[Expr]) -> Option<Worth> {
        if *of == name("trinoRequestUser") {
            let ("userExistsAndEquals", [user]) = (method, given) else { return None };
            return Some(Worth::Bool(self.header("x-trino-user") == self.value(user)?));
        }
        if *of == name("state") {
            let ("get", [Expr::Text(key)]) = (method, given) else { return None };
            return Some(self.state.get(key).cloned().unwrap_or(Worth::Null));
        }
        let given = given.iter().map(|it| self.value(it)).collect::<Option<Vec<_>>>()?;
        match (self.value(of)?, method, given.as_slice()) {
            (Worth::Text(text), method, [Worth::Text(other)]) => {
                let (low, other_low) = (text.to_ascii_lowercase(), other.to_ascii_lowercase());
                Some(Worth::Bool(match method {
                    "equals" => text == *other,
                    "equalsIgnoreCase" => low == other_low,
                    "contains" => text.contains(other.as_str()),
                    "startsWith" => text.starts_with(other.as_str()),
                    "endsWith" => text.ends_with(other.as_str()),
                    _ => return None,
                }))
            }
            (Worth::Text(text), "isEmpty", []) => Some(Worth::Bool(text.is_empty())),
            (Worth::Text(text), "toLowerCase", []) if text.is_ascii() => {
                Some(Worth::Text(text.to_ascii_lowercase()))
            }
            (Worth::Set(set), "isEmpty", []) => Some(Worth::Bool(set.is_empty())),
            (Worth::Set(set), "contains", [Worth::Text(item)]) => {
                Some(Worth::Bool(set.contains(item)))
            }
            _ => None,
        }
    }

    fn act(
        &mut self,
        statements: &[Statement],
        rule: &Understood,
        outcome: &mut Outcome,
    ) -> Option<()> {
        for statement in statements {
            match statement {
                Statement::Do(Expr::Call(of, method, given)) => {
                    self.change(of, method, given, (rule, &mut *outcome))?;
                }
                Statement::If(branches, otherwise) => {
                    let chosen = self.chosen(branches)?.unwrap_or(otherwise);
                    self.act(chosen, rule, outcome)?;
                }
                Statement::Do(_) | Statement::Let(..) | Statement::Each(..) => return None,
            }
        }
        Some(())
    }

    /// The first branch whose condition holds, if one does.
    fn chosen<'b>(
        &self,
        branches: &'b [(Expr, Vec<Statement>)],
    ) -> Option<Option<&'b Vec<Statement>>> {
        for (condition, then) in branches {
            if self.truth(condition)? {
                return Some(Some(then));
            }
        }
        Some(None)
    }

    fn change(
        &mut self,
        of: &Expr,
        method: &str,
        given: &[Expr],
        (rule, outcome): (&Understood, &mut Outcome),
    ) -> Option<()> {
        match (of, method, given) {
            (Expr::Name(map), "put", [key, value]) if map == "result" => {
                let is_group = match key {
                    Expr::Text(text) => text == "routingGroup",
                    Expr::Field(_, name) => name == "RESULTS_ROUTING_GROUP_KEY",
                    _ => return None,
                };
                // The names of open groups are not known.
                let Expr::Text(group) = value else { return None };
                if is_group && !group.is_empty() {
                    outcome.group = Some(names::label(group));
                    outcome.rule = Some(rule.name.clone());
                    Some(())
                } else {
                    None
                }
            }
            (Expr::Name(map), "put", [Expr::Text(key), value]) if map == "state" => {
                let value = self.value(value)?;
                self.state.insert(key.clone(), value);
                Some(())
            }
            (Expr::Call(of, method, key), "add", [item])
                if method == "get" && **of == name("state") =>
            {
                let Worth::Text(item) = self.value(item)? else { return None };
                let [Expr::Text(key)] = key.as_slice() else { return None };
                let Worth::Set(set) = self.state.get_mut(key)? else { return None };
                set.insert(item);
                Some(())
            }
            _ => None,
        }
    }
}
