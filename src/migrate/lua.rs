//! Says in Luau what a tree of MVEL means, over the request of Warren's rules.
//!
//! Promises that what is written means the same as in the Java gateway, up to what
//! `docs/migration.md` names, and that anything else is refused with a reason: nothing is guessed.
//! A method of a value that is null raises an error in Lua as it does in Java.

mod action;
mod group;
mod helpers;
mod known;
mod methods;
mod pattern;

use std::collections::BTreeSet;

pub(super) use self::action::block;
pub(super) use self::helpers::{Helper, USER};

use self::group::is_of_group;
use super::mvel::{Expr, Op, Unknown, unknown};

/// The key of the map `result` under which the Java gateway looks for the group.
const GROUP_KEY: &str = "routingGroup";

/// What is known of a value when it is translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A text, or nil.
    MaybeText,
    /// An `Optional` of a text: the text, or nil for an empty one.
    Optional,
    Bool,
    Number,
    List,
    Nil,
    /// It is seen when the rule runs.
    Any,
}

/// How tightly the outermost operator of a piece of Lua binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bind {
    Or,
    And,
    Compare,
    Join,
    Add,
    Times,
    Unary,
    /// A constant: it needs brackets before a `:` or a `[`.
    Constant,
    Call,
}

/// A piece of Lua.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Code {
    text: String,
    kind: Kind,
    bind: Bind,
}

impl Code {
    fn new(text: impl Into<String>, kind: Kind, bind: Bind) -> Self {
        Self { text: text.into(), kind, bind }
    }

    fn call(text: impl Into<String>, kind: Kind) -> Self {
        Self::new(text, kind, Bind::Call)
    }

    fn compare(text: impl Into<String>) -> Self {
        Self::new(text, Kind::Bool, Bind::Compare)
    }

    /// The text, in brackets unless it binds at least so tightly.
    fn at(&self, least: Bind) -> String {
        if self.bind >= least { self.text.clone() } else { format!("({})", self.text) }
    }
}

/// A rule that is being translated, and what its Lua needs.
#[derive(Debug, Default)]
pub(super) struct Translator {
    /// Functions that must be there.
    pub(super) helpers: BTreeSet<Helper>,
    /// Whether `state` must be there.
    pub(super) uses_state: bool,
    /// Whether `result` must be there, beside the group.
    pub(super) uses_result: bool,
    /// The groups that it names, as the Java gateway calls them.
    pub(super) groups: BTreeSet<String>,
    /// Whether a group may come from the request or be nothing.
    pub(super) has_open_group: bool,
    /// What differs from the Java gateway, or matters to whoever reads the result.
    pub(super) notes: Vec<String>,
    /// A text in a variable or in `state`, if there is one that no group can be called by.
    pub(super) kept: Option<String>,
    /// Variables of the action in hand.
    locals: Vec<String>,
    /// The name of the rule, as Lua writes it.
    rule: String,
}

impl Translator {
    /// `kept` is what the rules before it kept.
    pub(super) fn new(rule: &str, kept: Option<String>) -> Self {
        Self { rule: quoted(rule), kept, ..Self::default() }
    }

    /// A condition, cut at its outermost `and`s or `or`s so that each part gets its line.
    pub(super) fn condition(&mut self, expr: &Expr) -> Result<Vec<String>, Unknown> {
        let (op, word, bind) = match expr {
            Expr::Binary(Op::And, _, _) => (Op::And, "and ", Bind::And),
            Expr::Binary(Op::Or, _, _) => (Op::Or, "or ", Bind::Or),
            _ => return Ok(vec![self.truth(expr)?.text]),
        };
        let mut parts = Vec::new();
        flatten(expr, op, &mut parts);
        let mut lines = Vec::new();
        for part in parts {
            let text = self.truth(part)?.at(bind);
            lines.push(if lines.is_empty() { text } else { format!("{word}{text}") });
        }
        Ok(lines)
    }

    /// A truth value.
    fn truth(&mut self, expr: &Expr) -> Result<Code, Unknown> {
        let code = self.expr(expr)?;
        match code.kind {
            Kind::Bool | Kind::Any => Ok(code),
            Kind::Text
            | Kind::MaybeText
            | Kind::Optional
            | Kind::Number
            | Kind::List
            | Kind::Nil => unknown(format!("`{}` where a truth value was expected", code.text)),
        }
    }

    fn expr(&mut self, expr: &Expr) -> Result<Code, Unknown> {
        match expr {
            Expr::Text(text) => Ok(Code::new(quoted(text), Kind::Text, Bind::Constant)),
            Expr::Number(number) => Ok(Code::new(number, Kind::Number, Bind::Constant)),
            Expr::Bool(truth) => Ok(Code::new(truth.to_string(), Kind::Bool, Bind::Constant)),
            Expr::Null => Ok(Code::new("nil", Kind::Nil, Bind::Constant)),
            Expr::Empty => unknown("`empty` other than behind `==` or `!=`"),
            Expr::List(items) => self.list(items),
            Expr::Name(name) => self.name(name),
            Expr::Field(of, name) => self.call(of, name, &[]),
            Expr::Call(of, name, given) => self.call(of, name, given),
            Expr::Index(of, key) => self.index(of, key),
            Expr::New(class, given) => new(class, given),
            Expr::Not(of) => {
                let of = self.truth(of)?.at(Bind::Unary);
                Ok(Code::new(format!("not {of}"), Kind::Bool, Bind::Unary))
            }
            Expr::Minus(of) => {
                let of = self.number(of)?.at(Bind::Constant);
                Ok(Code::new(format!("-{of}"), Kind::Number, Bind::Unary))
            }
            Expr::Binary(op, left, right) => self.binary(*op, left, right),
            Expr::Choice(is, then, otherwise) => {
                let is = self.truth(is)?.text;
                let (then, otherwise) = (self.expr(then)?, self.expr(otherwise)?);
                let kind = either(then.kind, otherwise.kind);
                let text = format!("(if {is} then {} else {})", then.text, otherwise.text);
                Ok(Code::call(text, kind))
            }
        }
    }

    fn list(&mut self, items: &[Expr]) -> Result<Code, Unknown> {
        let items = items.iter().map(|item| {
            let code = self.expr(item)?;
            no_optional(&[&code], "[]")?;
            Ok(code.text)
        });
        let items = items.collect::<Result<Vec<_>, Unknown>>()?.join(", ");
        let text = if items.is_empty() { "{}".to_owned() } else { format!("{{ {items} }}") };
        Ok(Code::new(text, Kind::List, Bind::Constant))
    }

    fn name(&self, name: &str) -> Result<Code, Unknown> {
        if self.locals.iter().any(|local| local == name) {
            return Ok(Code::call(local(name)?, Kind::Any));
        }
        unknown(format!("the variable `{name}`"))
    }

    fn binary(&mut self, op: Op, left: &Expr, right: &Expr) -> Result<Code, Unknown> {
        let is_joint = matches!(op, Op::And | Op::Or);
        if is_joint || !(is_of_group(left) || is_of_group(right)) {
            return self.operation(op, left, right);
        }
        let is_whole = matches!(op, Op::Same | Op::Differs);
        let left = self.beside_group(left, is_whole)?;
        let right = self.beside_group(right, is_whole)?;
        self.operation(op, &left, &right)
    }

    fn operation(&mut self, op: Op, left: &Expr, right: &Expr) -> Result<Code, Unknown> {
        match op {
            Op::And | Op::Or => {
                let (word, bind) =
                    if op == Op::And { ("and", Bind::And) } else { ("or", Bind::Or) };
                let (left, right) = (self.truth(left)?.at(bind), self.truth(right)?.at(bind));
                Ok(Code::new(format!("{left} {word} {right}"), Kind::Bool, bind))
            }
            Op::Same => self.same(left, right, "=="),
            Op::Differs => self.same(left, right, "~="),
            Op::Contains => {
                let (left, right) = (self.expr(left)?, self.expr(right)?);
                no_optional(&[&left, &right], "contains")?;
                self.helpers.insert(Helper::Has);
                Ok(Code::call(format!("has({}, {})", left.text, right.text), Kind::Bool))
            }
            Op::Matches => self.matches(left, right),
            Op::Less => self.ordered(left, right, "<"),
            Op::AtMost => self.ordered(left, right, "<="),
            Op::More => self.ordered(left, right, ">"),
            Op::AtLeast => self.ordered(left, right, ">="),
            Op::Plus => self.plus(left, right),
            Op::Minus => self.sum(left, right, "-", Bind::Add),
            Op::Times => self.sum(left, right, "*", Bind::Times),
            Op::Rest => self.sum(left, right, "%", Bind::Times),
            Op::Divide => unknown("the operator `/`, which cuts whole numbers in Java"),
        }
    }

    /// `==` or `~=`.
    fn same(&mut self, left: &Expr, right: &Expr, sign: &str) -> Result<Code, Unknown> {
        if let (other, Expr::Empty) | (Expr::Empty, other) = (left, right) {
            let other = self.expr(other)?.text;
            self.helpers.insert(Helper::IsEmpty);
            let not = if sign == "==" { "" } else { "not " };
            return Ok(Code::new(format!("{not}is_empty({other})"), Kind::Bool, Bind::Unary));
        }
        let (mut left, mut right) = (self.expr(left)?, self.expr(right)?);
        match (left.kind, right.kind) {
            (Kind::Optional, Kind::Optional) => {}
            (Kind::Optional, _) | (_, Kind::Optional) => {
                return unknown(
                    "an Optional beside a value that is none, which are never equal in Java; \
                     compare with `Optional.of(…)`",
                );
            }
            (Kind::Bool, Kind::Text | Kind::MaybeText)
            | (Kind::Text | Kind::MaybeText, Kind::Bool) => {
                return unknown("a text beside a truth value; compare with \"true\"");
            }
            (Kind::Number, Kind::Number) => {}
            (Kind::Number, _) => right = self.as_number(&right)?,
            (_, Kind::Number) => left = self.as_number(&left)?,
            _ => {}
        }
        let (left, right) = (left.at(Bind::Join), right.at(Bind::Join));
        Ok(Code::compare(format!("{left} {sign} {right}")))
    }

    fn ordered(&mut self, left: &Expr, right: &Expr, sign: &str) -> Result<Code, Unknown> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        if left.kind != Kind::Number && right.kind != Kind::Number {
            return unknown(format!("`{sign}` between `{}` and `{}`", left.text, right.text));
        }
        let (left, right) = (self.as_number(&left)?, self.as_number(&right)?);
        let (left, right) = (left.at(Bind::Join), right.at(Bind::Join));
        Ok(Code::compare(format!("{left} {sign} {right}")))
    }

    fn sum(&mut self, left: &Expr, right: &Expr, sign: &str, bind: Bind) -> Result<Code, Unknown> {
        let (left, right) = (self.number(left)?.at(bind), self.number(right)?.at(Bind::Unary));
        Ok(Code::new(format!("{left} {sign} {right}"), Kind::Number, bind))
    }

    fn plus(&mut self, left: &Expr, right: &Expr) -> Result<Code, Unknown> {
        let (left, right) = (self.expr(left)?, self.expr(right)?);
        if (left.kind, right.kind) == (Kind::Number, Kind::Number) {
            let text = format!("{} + {}", left.at(Bind::Add), right.at(Bind::Times));
            return Ok(Code::new(text, Kind::Number, Bind::Add));
        }
        no_optional(&[&left, &right], "+")?;
        let is_text = |kind| matches!(kind, Kind::Text | Kind::MaybeText);
        if !is_text(left.kind) && !is_text(right.kind) {
            return unknown("`+` of values that are neither texts nor numbers");
        }
        let (left, right) = (self.as_text(&left), self.as_text(&right));
        let text = format!("{} .. {}", left.at(Bind::Join), right.at(Bind::Join));
        Ok(Code::new(text, Kind::Text, Bind::Join))
    }

    /// A value as Java writes it where a text is expected.
    fn as_text(&mut self, code: &Code) -> Code {
        if code.kind == Kind::Text {
            return code.clone();
        }
        self.helpers.insert(Helper::Word);
        Code::call(format!("word({})", code.text), Kind::Text)
    }

    /// A value as a number; what is none is like no number at all.
    fn as_number(&mut self, code: &Code) -> Result<Code, Unknown> {
        match code.kind {
            Kind::Number => Ok(code.clone()),
            Kind::Text | Kind::MaybeText | Kind::Any => {
                self.helpers.insert(Helper::Number);
                Ok(Code::call(format!("number({})", code.text), Kind::Number))
            }
            Kind::Optional | Kind::Bool | Kind::List | Kind::Nil => {
                unknown(format!("`{}` where a number was expected", code.text))
            }
        }
    }

    fn number(&mut self, expr: &Expr) -> Result<Code, Unknown> {
        let code = self.expr(expr)?;
        self.as_number(&code)
    }
}

/// The operands of nested operators of one sort, in order.
fn flatten<'a>(expr: &'a Expr, op: Op, into: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Binary(own, left, right) if *own == op => {
            flatten(left, op, into);
            flatten(right, op, into);
        }
        other => into.push(other),
    }
}

/// What a value is that is one of two.
fn either(one: Kind, other: Kind) -> Kind {
    match (one, other) {
        _ if one == other => one,
        (Kind::Text | Kind::MaybeText | Kind::Nil, Kind::Text | Kind::MaybeText | Kind::Nil) => {
            Kind::MaybeText
        }
        _ => Kind::Any,
    }
}

fn no_optional(codes: &[&Code], what: &str) -> Result<(), Unknown> {
    match codes.iter().find(|code| code.kind == Kind::Optional) {
        Some(code) => unknown(format!("`{what}` of the Optional `{}`", code.text)),
        None => Ok(()),
    }
}

fn new(class: &str, given: &[Expr]) -> Result<Code, Unknown> {
    const LISTS: [&str; 6] =
        ["HashSet", "LinkedHashSet", "TreeSet", "ArrayList", "LinkedList", "Vector"];
    if given.is_empty() && LISTS.contains(&class) {
        return Ok(Code::new("{}", Kind::List, Bind::Constant));
    }
    if given.is_empty() && matches!(class, "HashMap" | "LinkedHashMap" | "TreeMap") {
        return Ok(Code::new("{}", Kind::Any, Bind::Constant));
    }
    unknown(format!("`new {class}`"))
}

/// A variable of an action: with a name that nothing else here has. Java's may have letters that
/// Lua's cannot have.
fn local(name: &str) -> Result<String, Unknown> {
    if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(format!("my_{name}"));
    }
    unknown(format!("the variable `{name}`, a name that Lua cannot have"))
}

/// A text as Lua writes it.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_control() => {
                quoted.push_str(&control.escape_unicode().to_string());
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
