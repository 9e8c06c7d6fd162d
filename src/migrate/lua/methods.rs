//! Methods of Java's texts, lists and Optionals.

use super::group::is_of_group;
use super::known::class;
use super::{Bind, Code, Helper, Kind, Translator, no_optional, pattern, quoted};
use crate::migrate::mvel::{Expr, Unknown, unknown};

impl Translator {
    /// A method or a property of something.
    pub(super) fn call(&mut self, of: &Expr, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        if let Expr::Name(root) = of {
            match root.as_str() {
                "request" => return self.request(name, given),
                "trinoQueryProperties" => return self.query(name, given),
                "trinoRequestUser" => return self.user(name, given),
                "state" | "result" => return self.map(root, name, given),
                _ => {}
            }
        }
        if let Some(class) = class(of) {
            return self.of_class(class, name, given);
        }
        if !is_of_group(of) && !given.iter().any(is_of_group) {
            return self.method(of, name, given);
        }
        let is_whole = matches!(name, "equals" | "equalsIgnoreCase");
        let of = self.beside_group(of, is_whole)?;
        let given = given.iter().map(|item| self.beside_group(item, is_whole));
        let given = given.collect::<Result<Vec<_>, Unknown>>()?;
        self.method(&of, name, &given)
    }

    fn method(&mut self, of: &Expr, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        let of = self.expr(of)?;
        match of.kind {
            Kind::Optional => self.of_optional(&of, name, given),
            Kind::List => self.of_list(&of, name, given),
            Kind::Text | Kind::MaybeText => self.of_text(&of, name, given),
            Kind::Any => self.of_any(&of, name, given),
            Kind::Bool | Kind::Number | Kind::Nil => {
                unknown(format!("the method `{name}` of `{}`", of.text))
            }
        }
    }

    /// `a[b]`
    pub(super) fn index(&mut self, of: &Expr, key: &Expr) -> Result<Code, Unknown> {
        if let Expr::Name(map) = of
            && matches!(map.as_str(), "state" | "result")
        {
            return self.entry(map, key);
        }
        let (of, key) = (self.expr(of)?, self.expr(key)?);
        at(&of, &key)
    }

    fn of_optional(&mut self, of: &Code, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        match (name, given) {
            ("isPresent" | "present", []) => Ok(Code::compare(format!("{} ~= nil", of.text))),
            ("isEmpty" | "empty", []) => Ok(Code::compare(format!("{} == nil", of.text))),
            ("get" | "orElseThrow", []) => Ok(self.known(of)),
            ("orElse", [other]) => {
                let other = self.expr(other)?;
                let kind = match other.kind {
                    Kind::Nil => Kind::MaybeText,
                    Kind::Text | Kind::MaybeText | Kind::Any => other.kind,
                    Kind::Optional | Kind::Bool | Kind::Number | Kind::List => {
                        return unknown(format!("`orElse` with `{}`", other.text));
                    }
                };
                let text = format!("({} or {})", of.at(Bind::Or), other.at(Bind::And));
                Ok(Code::call(text, kind))
            }
            ("equals", [other]) => {
                let other = self.expr(other)?;
                if other.kind != Kind::Optional {
                    return unknown(
                        "an Optional that is compared with a value that is none, which is never \
                         equal in Java; compare with `Optional.of(…)`",
                    );
                }
                let (left, right) = (of.at(Bind::Join), other.at(Bind::Join));
                Ok(Code::compare(format!("{left} == {right}")))
            }
            _ => unknown(format!("the method `{name}` of an Optional")),
        }
    }

    fn of_list(&mut self, of: &Code, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        match (name, given) {
            ("contains", [item]) => {
                let item = self.expr(item)?;
                if item.kind == Kind::Optional {
                    return unknown("an Optional that is looked for in a list of texts");
                }
                Ok(Code::compare(format!("table.find({}, {}) ~= nil", of.text, item.text)))
            }
            ("isEmpty" | "empty", []) => Ok(Code::compare(format!("#{} == 0", of.at(Bind::Call)))),
            ("size" | "length", []) => {
                Ok(Code::new(format!("#{}", of.at(Bind::Call)), Kind::Number, Bind::Unary))
            }
            ("get", [place]) => {
                let place = self.expr(place)?;
                at(of, &place)
            }
            _ => unknown(format!("the method `{name}` of a list")),
        }
    }

    /// Of what only turns out when the rule runs.
    fn of_any(&mut self, of: &Code, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        match (name, given) {
            ("contains", [item]) => {
                let item = self.expr(item)?;
                no_optional(&[&item], name)?;
                self.helpers.insert(Helper::Holds);
                Ok(Code::call(format!("holds({}, {})", of.text, item.text), Kind::Bool))
            }
            ("size", []) => {
                Ok(Code::new(format!("#{}", of.at(Bind::Call)), Kind::Number, Bind::Unary))
            }
            ("get", [key]) => {
                let key = self.expr(key)?;
                at(of, &key)
            }
            ("containsKey", [key]) => {
                let key = self.expr(key)?;
                Ok(Code::compare(format!("{} ~= nil", at(of, &key)?.text)))
            }
            _ => self.of_text(of, name, given),
        }
    }

    fn of_text(&mut self, of: &Code, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        let text = &of.text;
        let code = match (name, given) {
            ("equals", [other]) => {
                let (left, other) = (self.known(of), self.text(other, name)?);
                let (left, other) = (left.at(Bind::Join), other.at(Bind::Join));
                Code::compare(format!("{left} == {other}"))
            }
            ("equalsIgnoreCase", [Expr::Text(other)]) => {
                let other = quoted(&other.to_lowercase());
                Code::compare(format!("string.lower({text}) == {other}"))
            }
            ("equalsIgnoreCase", [other]) => {
                let other = self.expr(other)?;
                let other = self.as_text(&other).text;
                Code::compare(format!("string.lower({text}) == string.lower({other})"))
            }
            ("contains", [part]) => {
                let part = self.text(part, name)?.text;
                Code::compare(format!("string.find({text}, {part}, 1, true) ~= nil"))
            }
            ("startsWith", [part]) => self.helped(Helper::Begins, "begins", of, part)?,
            ("endsWith", [part]) => self.helped(Helper::Ends, "ends", of, part)?,
            ("indexOf", [part]) => {
                let code = self.helped(Helper::IndexOf, "index_of", of, part)?;
                Code { kind: Kind::Number, ..code }
            }
            ("isEmpty" | "empty", []) => Code::compare(format!("#{} == 0", of.at(Bind::Call))),
            ("isBlank" | "blank", []) => {
                Code::compare(format!("string.find({text}, \"%S\") == nil"))
            }
            ("length", []) => {
                Code::new(format!("#{}", of.at(Bind::Call)), Kind::Number, Bind::Unary)
            }
            ("toLowerCase", _) => Code::call(format!("string.lower({text})"), Kind::Text),
            ("toUpperCase", _) => Code::call(format!("string.upper({text})"), Kind::Text),
            ("trim" | "strip", []) => {
                Code::call(format!("string.match({text}, \"^%s*(.-)%s*$\")"), Kind::Text)
            }
            ("toString" | "intern", []) => self.known(of),
            ("matches", [Expr::Text(regex)]) => self.all_of(text, regex)?,
            _ => return self.of_places(of, name, given),
        };
        Ok(code)
    }

    /// What takes a text apart or puts it together.
    fn of_places(&mut self, of: &Code, name: &str, given: &[Expr]) -> Result<Code, Unknown> {
        let text = &of.text;
        let code = match (name, given) {
            ("split", [Expr::Text(at)]) => split(text, at)?,
            ("substring", [Expr::Number(from)]) => {
                Code::call(format!("string.sub({text}, {})", next(from)?), Kind::Text)
            }
            ("substring", [Expr::Number(from), Expr::Number(to)]) => {
                Code::call(format!("string.sub({text}, {}, {to})", next(from)?), Kind::Text)
            }
            ("charAt", [Expr::Number(place)]) => {
                let place = next(place)?;
                Code::call(format!("string.sub({text}, {place}, {place})"), Kind::Text)
            }
            ("replace", [Expr::Text(what), Expr::Text(with)]) => {
                let what: String = what.chars().map(pattern::escaped).collect();
                let (what, with) = (quoted(&what), quoted(&with.replace('%', "%%")));
                Code::call(format!("(string.gsub({text}, {what}, {with}))"), Kind::Text)
            }
            ("concat", [more]) => {
                let (left, more) = (self.known(of), self.text(more, name)?);
                let text = format!("{} .. {}", left.at(Bind::Join), more.at(Bind::Join));
                Code::new(text, Kind::Text, Bind::Join)
            }
            _ => return unknown(format!("the method `{name}` of a text")),
        };
        Ok(code)
    }

    /// A value of which Java would not call a method if it were null.
    fn known(&mut self, of: &Code) -> Code {
        if of.kind == Kind::Text {
            return of.clone();
        }
        self.helpers.insert(Helper::Known);
        let kind = if of.kind == Kind::Any { Kind::Any } else { Kind::Text };
        Code::call(format!("known({})", of.text), kind)
    }

    /// What is given to a method of a text.
    fn text(&mut self, expr: &Expr, method: &str) -> Result<Code, Unknown> {
        let code = self.expr(expr)?;
        match code.kind {
            Kind::Text | Kind::MaybeText | Kind::Any => Ok(code),
            Kind::Optional | Kind::Bool | Kind::Number | Kind::List | Kind::Nil => {
                unknown(format!("`{method}` of a text with `{}`", code.text))
            }
        }
    }

    fn helped(
        &mut self,
        helper: Helper,
        function: &str,
        of: &Code,
        part: &Expr,
    ) -> Result<Code, Unknown> {
        let part = self.text(part, function)?.text;
        self.helpers.insert(helper);
        Ok(Code::call(format!("{function}({}, {part})", of.text), Kind::Bool))
    }

    /// `a ~= "regular expression"`: of the whole text.
    pub(super) fn matches(&mut self, left: &Expr, right: &Expr) -> Result<Code, Unknown> {
        let Expr::Text(regex) = right else {
            return unknown("a regular expression that is no constant");
        };
        let left = self.expr(left)?;
        no_optional(&[&left], "~=")?;
        let patterns = pattern::patterns(regex)?;
        let text = left.text;
        let each = patterns.iter().map(|pattern| format!("matches({text}, {})", quoted(pattern)));
        let each: Vec<_> = each.collect();
        let bind = if each.len() == 1 { Bind::Call } else { Bind::Or };
        Ok(Code::new(each.join(" or "), Kind::Bool, bind))
    }

    /// `a.matches("regular expression")`
    fn all_of(&mut self, text: &str, regex: &str) -> Result<Code, Unknown> {
        let patterns = pattern::patterns(regex)?;
        if let [pattern] = patterns.as_slice() {
            return Ok(Code::compare(format!("string.find({text}, {}) ~= nil", quoted(pattern))));
        }
        self.helpers.insert(Helper::MatchesOne);
        let patterns: Vec<_> = patterns.iter().map(|pattern| quoted(pattern)).collect();
        Ok(Code::call(format!("matches_one({text}, {})", patterns.join(", ")), Kind::Bool))
    }
}

/// What lies under a key; a list is counted from 0 in Java.
fn at(of: &Code, key: &Code) -> Result<Code, Unknown> {
    let text = of.at(Bind::Call);
    match key.kind {
        Kind::Number if key.bind == Bind::Constant => {
            Ok(Code::call(format!("{text}[{}]", next(&key.text)?), Kind::Any))
        }
        Kind::Text if of.kind == Kind::Any => {
            Ok(Code::call(format!("{text}[{}]", key.text), Kind::Any))
        }
        _ => unknown(format!("the item `{}` of `{}`", key.text, of.text)),
    }
}

/// The place behind a constant one: Lua counts from 1.
fn next(place: &str) -> Result<u32, Unknown> {
    let next = place.parse::<u32>().ok().and_then(|place| place.checked_add(1));
    next.ok_or_else(|| Unknown(format!("the place `{place}`")))
}

/// `a.split(",")`: at a text that is no regular expression.
fn split(text: &str, regex: &str) -> Result<Code, Unknown> {
    let plain = |char: char| char.is_ascii_alphanumeric() || " ,;:=/_-@#&%~\t".contains(char);
    let at = match regex.strip_prefix('\\') {
        Some(rest) if matches!(rest, "." | "|" | "+" | "*" | "?" | "$" | "^") => rest,
        _ if !regex.is_empty() && regex.chars().all(plain) => regex,
        _ => return unknown(format!("`split` at the regular expression `{regex}`")),
    };
    Ok(Code::call(format!("string.split({text}, {})", quoted(at)), Kind::List))
}
