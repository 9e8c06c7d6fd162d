//! Names of groups. Warren cannot have each name that a Java gateway has, so a text that is a group,
//! or stands beside one, becomes the name of that group here.

use super::known::is_group_key;
use super::{Code, GROUP_KEY, Kind, Translator, either, no_optional, quoted};
use crate::migrate::mvel::{Expr, Op, Unknown, unknown};
use crate::migrate::names;

impl Translator {
    /// A value that is put as the group.
    pub(super) fn group(&mut self, value: &Expr) -> Result<Code, Unknown> {
        match value {
            Expr::Text(text) => {
                if text.is_empty() {
                    self.has_open_group = true;
                } else {
                    self.groups.insert(text.clone());
                }
                Ok(Code::call(quoted(&here(text)), Kind::Text))
            }
            Expr::Choice(is, then, otherwise) => {
                let is = self.truth(is)?.text;
                let (then, otherwise) = (self.group(then)?, self.group(otherwise)?);
                let kind = either(then.kind, otherwise.kind);
                let text = format!("(if {is} then {} else {})", then.text, otherwise.text);
                Ok(Code::call(text, kind))
            }
            other => {
                let code = self.expr(other)?;
                self.has_open_group = true;
                self.refuse_unfit(other, is_name)?;
                Ok(code)
            }
        }
    }

    /// A value that a variable or a map keeps; what it is, is not known behind that.
    pub(super) fn keep(&mut self, value: &Expr) -> Result<String, Unknown> {
        let code = self.expr(value)?;
        no_optional(&[&code], "=")?;
        self.remember(value);
        Ok(code.text)
    }

    /// Remembers a text that would be wrong where it becomes the group.
    pub(super) fn remember(&mut self, value: &Expr) {
        if self.kept.is_none() {
            self.kept = self.unfit(value, is_name);
        }
    }

    /// A value beside the group: a text there is its name if `is_whole`, else a part of it.
    pub(super) fn beside_group(&self, expr: &Expr, is_whole: bool) -> Result<Expr, Unknown> {
        match expr {
            Expr::Text(text) if is_whole => Ok(Expr::Text(here(text))),
            Expr::List(items) => {
                let items = items.iter().map(|item| self.beside_group(item, true));
                Ok(Expr::List(items.collect::<Result<_, _>>()?))
            }
            other => {
                self.refuse_unfit(other, if is_whole { is_name } else { is_part })?;
                Ok(other.clone())
            }
        }
    }

    fn refuse_unfit(&self, expr: &Expr, fits: fn(&str) -> bool) -> Result<(), Unknown> {
        match self.unfit(expr, fits) {
            Some(text) => unknown(format!(
                "the text `{text}` in a group that is known only when the rule runs; names of \
                 groups have ASCII letters, digits, `-`, `_` and `.` here"
            )),
            None => Ok(()),
        }
    }

    /// A text that a value may be or hold, and that no name of a group can.
    fn unfit(&self, expr: &Expr, fits: fn(&str) -> bool) -> Option<String> {
        match expr {
            Expr::Text(text) => (!fits(text)).then(|| text.clone()),
            Expr::Name(name) => {
                let keeps = matches!(name.as_str(), "state" | "result");
                self.kept.clone().filter(|_| keeps || self.locals.contains(name))
            }
            Expr::Choice(_, then, otherwise) => {
                self.unfit(then, fits).or_else(|| self.unfit(otherwise, fits))
            }
            Expr::Binary(Op::Plus, left, right) => {
                self.unfit(left, fits).or_else(|| self.unfit(right, is_part))
            }
            Expr::List(items) => items.iter().find_map(|item| self.unfit(item, fits)),
            // The name of the group is right already.
            Expr::Call(_, _, given) if is_of_group(expr) => {
                given.iter().find_map(|item| self.unfit(item, is_part))
            }
            Expr::Call(of, name, given) => {
                let none: &[Expr] = &[];
                let part: fn(&str) -> bool = is_part;
                let (given, fits_given) = match name.as_str() {
                    "getOrDefault" => (given.get(1..).unwrap_or_default(), fits),
                    "replace" => (given.get(1..).unwrap_or_default(), part),
                    "concat" => (given.as_slice(), part),
                    "orElse" | "of" | "ofNullable" | "asList" | "valueOf" => {
                        (given.as_slice(), fits)
                    }
                    _ => (none, fits),
                };
                let of = self.unfit(of, fits);
                of.or_else(|| given.iter().find_map(|item| self.unfit(item, fits_given)))
            }
            Expr::Field(of, _) | Expr::Index(of, _) if !is_of_group(expr) => self.unfit(of, fits),
            _ => None,
        }
    }
}

/// Whether a value is the group that was put, or is made of it.
pub(super) fn is_of_group(expr: &Expr) -> bool {
    let (Expr::Call(of, ..) | Expr::Field(of, _) | Expr::Index(of, _)) = expr else {
        return false;
    };
    if !matches!(&**of, Expr::Name(name) if name == "result") {
        return is_of_group(of);
    }
    match expr {
        Expr::Call(_, _, given) => given.first().is_some_and(is_group_key),
        Expr::Index(_, key) => is_group_key(key),
        Expr::Field(_, name) => name == GROUP_KEY,
        _ => false,
    }
}

/// The name that a group has here; no text is no group.
fn here(text: &str) -> String {
    if text.is_empty() { String::new() } else { names::label(text) }
}

fn is_name(text: &str) -> bool {
    here(text) == text
}

/// Whether a name can hold a text, if not at its beginning.
fn is_part(text: &str) -> bool {
    text.chars().all(names::fits)
}
