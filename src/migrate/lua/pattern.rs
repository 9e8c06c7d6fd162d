//! Java's regular expressions as Lua patterns, as far as those go.
//!
//! Lua repeats single characters only and knows no alternatives. So alternatives become several
//! patterns, of which one must match, and a repeated group is refused.

use crate::migrate::mvel::{Unknown, unknown};

/// The most alternatives of one expression.
const PATTERNS_MAX: usize = 16;
/// The most times that `{n}` writes a character.
const TIMES_MAX: usize = 32;
/// The deepest that groups may lie in each other.
const DEPTH_MAX: usize = 8;

/// The patterns of which a text must match one to match the expression as a whole.
pub(super) fn patterns(regex: &str) -> Result<Vec<String>, Unknown> {
    let (regex, any_case) = match regex.strip_prefix("(?i)") {
        Some(rest) => (rest, true),
        None => (regex, false),
    };
    let mut reader = Reader { rest: regex, regex, any_case };
    let alternatives = reader.alternatives(0)?;
    if !reader.rest.is_empty() {
        return reader.refuse("its closing bracket");
    }
    Ok(alternatives.into_iter().map(|pattern| format!("^{pattern}$")).collect())
}

struct Reader<'a> {
    rest: &'a str,
    regex: &'a str,
    any_case: bool,
}

impl Reader<'_> {
    fn refuse<T>(&self, what: &str) -> Result<T, Unknown> {
        unknown(format!("the regular expression `{}`: {what}", self.regex))
    }

    fn takes(&mut self, sign: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(sign) else { return false };
        self.rest = rest;
        true
    }

    fn char(&mut self) -> Option<char> {
        let char = self.rest.chars().next()?;
        self.rest = &self.rest[char.len_utf8()..];
        Some(char)
    }

    fn alternatives(&mut self, depth: usize) -> Result<Vec<String>, Unknown> {
        if depth > DEPTH_MAX {
            return self.refuse("too many groups in each other");
        }
        let mut all = self.sequence(depth)?;
        while self.takes("|") {
            all.extend(self.sequence(depth)?);
            if all.len() > PATTERNS_MAX {
                return self.refuse("too many alternatives");
            }
        }
        Ok(all)
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<String>, Unknown> {
        let mut all = vec![String::new()];
        loop {
            if self.rest.is_empty() || self.rest.starts_with(['|', ')']) {
                return Ok(all);
            }
            // The whole text is matched in any case.
            if (self.rest.starts_with('^') && all == [""]) || self.rest == "$" {
                self.rest = &self.rest[1..];
                continue;
            }
            let next = if self.rest.starts_with('(') {
                self.group(depth)?
            } else {
                vec![self.repeated()?]
            };
            if all.len() * next.len() > PATTERNS_MAX {
                return self.refuse("too many alternatives");
            }
            let joined =
                all.iter().flat_map(|left| next.iter().map(move |right| left.clone() + right));
            all = joined.collect();
        }
    }

    fn group(&mut self, depth: usize) -> Result<Vec<String>, Unknown> {
        if !self.takes("(?:") {
            self.takes("(");
            if self.rest.starts_with('?') {
                return self.refuse("a group with `(?`");
            }
        }
        let inner = self.alternatives(depth + 1)?;
        if !self.takes(")") {
            return self.refuse("a group without its end");
        }
        if self.takes("?") {
            let none = std::iter::once(String::new());
            return Ok(none.chain(inner).collect());
        }
        if self.rest.starts_with(['*', '+', '{']) {
            return self.refuse("a repeated group");
        }
        Ok(inner)
    }

    /// One character, and how often.
    fn repeated(&mut self) -> Result<String, Unknown> {
        let one = self.one()?;
        let (least, most) = match self.rest.chars().next() {
            Some('*') => (0, None),
            Some('+') => (1, None),
            Some('?') => (0, Some(1)),
            Some('{') => return self.times(&one),
            _ => return Ok(one),
        };
        self.rest = &self.rest[1..];
        self.written(&one, least, most)
    }

    /// `{2}`, `{2,}` or `{2,4}`
    fn times(&mut self, one: &str) -> Result<String, Unknown> {
        let Some((times, rest)) = self.rest[1..].split_once('}') else {
            return self.refuse("a `{` without its end");
        };
        self.rest = rest;
        let (least, most) = match times.split_once(',') {
            None => (times, Some(times)),
            Some((least, "")) => (least, None),
            Some((least, most)) => (least, Some(most)),
        };
        let (Ok(least), Ok(most)) =
            (least.parse::<usize>(), most.map(str::parse::<usize>).transpose())
        else {
            return self.refuse("a count that is no number");
        };
        if least.max(most.unwrap_or(least)) > TIMES_MAX || most.is_some_and(|most| most < least) {
            return self.refuse("a count that is too large");
        }
        self.written(one, least, most)
    }

    fn written(&mut self, one: &str, least: usize, most: Option<usize>) -> Result<String, Unknown> {
        if !is_single(one) {
            return self.refuse("a repeated character beyond ASCII");
        }
        if self.takes("+") {
            return self.refuse("a possessive repetition");
        }
        // How greedy it is does not matter where the whole text must match.
        self.takes("?");
        Ok(match (least, most) {
            (1, None) => format!("{one}+"),
            (least, None) => one.repeat(least) + one + "*",
            (least, Some(most)) => one.repeat(least) + &format!("{one}?").repeat(most - least),
        })
    }

    fn one(&mut self) -> Result<String, Unknown> {
        match self.char() {
            Some('.') => Ok("[^\n]".to_owned()),
            Some('[') => self.class(),
            Some('\\') => {
                let in_class = self.escape()?;
                let is_set = in_class.len() > 2 || in_class == "^%w_";
                Ok(if is_set { format!("[{in_class}]") } else { in_class })
            }
            Some(sign @ ('*' | '+' | '?' | '{' | '^' | '$')) => {
                self.refuse(&format!("`{sign}` at this place"))
            }
            Some(char) => Ok(self.literal(char)),
            None => self.refuse("its end"),
        }
    }

    fn literal(&self, char: char) -> String {
        if self.any_case && char.is_ascii_alphabetic() {
            format!("[{}{}]", char.to_ascii_lowercase(), char.to_ascii_uppercase())
        } else {
            escaped(char)
        }
    }

    /// What stands behind a backslash, as it is written within a class.
    fn escape(&mut self) -> Result<String, Unknown> {
        Ok(match self.char() {
            Some('d') => "%d".to_owned(),
            Some('D') => "%D".to_owned(),
            Some('s') => "%s".to_owned(),
            Some('S') => "%S".to_owned(),
            Some('w') => "%w_".to_owned(),
            Some('W') => "^%w_".to_owned(),
            Some('t') => "\t".to_owned(),
            Some('n') => "\n".to_owned(),
            Some(char) if char.is_ascii_punctuation() => escaped(char),
            Some(char) => return self.refuse(&format!("the escape `\\{char}`")),
            None => return self.refuse("a backslash at its end"),
        })
    }

    /// What stands in brackets.
    fn class(&mut self) -> Result<String, Unknown> {
        let mut set = String::from("[");
        if self.takes("^") {
            set.push('^');
        }
        let empty = set.len();
        loop {
            let char = match self.char() {
                Some(']') if set.len() > empty => break,
                None | Some(']') => return self.refuse("a class without its end"),
                Some('[' | '&') => return self.refuse("a class in a class"),
                Some('\\') => {
                    let escape = self.escape()?;
                    if escape.starts_with('^') {
                        return self.refuse("`\\W` in a class");
                    }
                    set.push_str(&escape);
                    continue;
                }
                Some(char) if !char.is_ascii() => {
                    return self.refuse("a character beyond ASCII in a class");
                }
                Some(char) => char,
            };
            let ranges = self.rest.starts_with('-') && !self.rest.starts_with("-]");
            if !ranges {
                set.push_str(&self.literal_in_class(char));
                continue;
            }
            self.takes("-");
            match self.char() {
                Some(end) if end.is_ascii_alphanumeric() && char.is_ascii_alphanumeric() => {
                    set.push_str(&self.range(char, end));
                }
                _ => return self.refuse("a range of other than letters or digits"),
            }
        }
        set.push(']');
        Ok(set)
    }

    fn literal_in_class(&self, char: char) -> String {
        if self.any_case && char.is_ascii_alphabetic() {
            [char.to_ascii_lowercase(), char.to_ascii_uppercase()].iter().collect()
        } else {
            escaped(char)
        }
    }

    fn range(&self, from: char, to: char) -> String {
        if self.any_case && from.is_ascii_alphabetic() && to.is_ascii_alphabetic() {
            let (low, high) = (char::to_ascii_lowercase, char::to_ascii_uppercase);
            format!("{}-{}{}-{}", low(&from), low(&to), high(&from), high(&to))
        } else {
            format!("{from}-{to}")
        }
    }
}

/// A character as a Lua pattern takes it literally.
pub(super) fn escaped(char: char) -> String {
    if char.is_ascii_punctuation() { format!("%{char}") } else { char.to_string() }
}

/// Whether a piece of a pattern is one that a repetition can stand behind.
fn is_single(one: &str) -> bool {
    one.len() == 1 || (one.starts_with('%') && one.len() == 2) || one.starts_with('[')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(regex: &str, expected: &str) {
        let told = match patterns(regex) {
            Ok(patterns) => patterns.join("  "),
            Err(unknown) => format!("error: {unknown}"),
        };
        assert_eq!(told.replace('\n', "\\n"), expected, "{regex}");
    }

    #[test]
    fn what_becomes_of_expressions() {
        check("abc", "^abc$");
        check("^a-b$", "^a%-b$");
        check(".*x.+", "^[^\\n]*x[^\\n]+$");
        check(r"zeppelin-\d{2,3}\.x", r"^zeppelin%-%d%d%d?%.x$");
        check(r"[a-z_.\d]+", r"^[a-z%_%.%d]+$");
        check(r"[^,]*?", "^[^%,]*$");
        check(r"\w+\W", "^[%w_]+[^%w_]$");
        check("a|b(c|d)e", "^a$  ^bce$  ^bde$");
        check("a(?:b)?", "^a$  ^ab$");
        check("(?i)ab[c-d]", "^[aA][bB][c-dC-D]$");
        check("ü", "^ü$");
    }

    #[test]
    fn what_lua_cannot_match() {
        check("(ab)+", "error: the regular expression `(ab)+`: a repeated group");
        check("(?=a)", "error: the regular expression `(?=a)`: a group with `(?`");
        check("a**", "error: the regular expression `a**`: `*` at this place");
        check(r"a\b", r"error: the regular expression `a\b`: the escape `\b`");
        check("a)", "error: the regular expression `a)`: its closing bracket");
        check("ü*", "error: the regular expression `ü*`: a repeated character beyond ASCII");
        check(
            "(a|b)(a|b)(a|b)(a|b)(a|b)",
            "error: the regular expression `(a|b)(a|b)(a|b)(a|b)(a|b)`: too many alternatives",
        );
    }
}
