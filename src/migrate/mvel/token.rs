//! The words and signs of MVEL.

use crate::migrate::mvel::{Unknown, unknown};

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Text(String),
    Number(String),
    Word(String),
    Sign(&'static str),
}

impl std::fmt::Display for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(out, "{text:?}"),
            Self::Number(text) | Self::Word(text) => write!(out, "`{text}`"),
            Self::Sign(sign) => write!(out, "`{sign}`"),
        }
    }
}

/// The longest first, so that `==` is not `=` twice.
const SIGNS: [&str; 31] = [
    "&&", "||", "==", "!=", "~=", "<=", ">=", "+=", "-=", "++", "--", ".?", "->", "(", ")", "{",
    "}", "[", "]", ".", ",", ";", ":", "?", "!", "<", ">", "=", "+", "-", "*",
];
const MORE_SIGNS: [&str; 6] = ["/", "%", "&", "|", "#", "^"];

/// The most tokens of a text: a tree of them is walked by recursion.
const TOKENS_MAX: usize = 4000;

/// Cuts a text into its tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Unknown> {
    let mut rest = text.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        if tokens.len() >= TOKENS_MAX {
            return unknown(format!("a text of more than {TOKENS_MAX} words and signs"));
        }
        let length = if let Some(length) = comment(rest) {
            length
        } else if matches!(first, '"' | '\'') {
            let (text, length) = quoted(rest, first)?;
            tokens.push(Token::Text(text));
            length
        } else if first.is_ascii_digit() {
            let (number, length) = number(rest);
            tokens.push(Token::Number(number));
            length
        } else if first.is_alphabetic() || matches!(first, '_' | '$') {
            let in_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
            let length = rest.find(|c: char| !in_word(c)).unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..length].to_owned()));
            length
        } else {
            let sign = SIGNS.iter().chain(&MORE_SIGNS).find(|sign| rest.starts_with(**sign));
            let Some(&sign) = sign else { return unknown(format!("the sign `{first}`")) };
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// Whether one of these words stands in a text, other than in quotes or in a comment; or within it at
/// all, if its words cannot be read.
pub(in crate::migrate) fn names_one(text: &str, words: &[&str]) -> bool {
    match tokens(text) {
        Ok(tokens) => tokens
            .iter()
            .any(|token| matches!(token, Token::Word(word) if words.contains(&word.as_str()))),
        Err(_) => words.iter().any(|word| text.contains(word)),
    }
}

/// The length of a comment that begins here.
fn comment(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        Some(rest.find('\n').unwrap_or(rest.len()))
    } else {
        // The star of its beginning is none of its end.
        let inside = rest.strip_prefix("/*")?;
        Some(inside.find("*/").map_or(rest.len(), |end| end + 4))
    }
}

/// A text in quotes, and the length of what it is written in.
fn quoted(rest: &str, quote: char) -> Result<(String, usize), Unknown> {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((place, char)) = chars.next() {
        if char == quote {
            return Ok((text, place + char.len_utf8()));
        }
        if char != '\\' {
            text.push(char);
            continue;
        }
        let Some((_, escaped)) = chars.next() else { break };
        text.push(match escaped {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '"' | '\'' => escaped,
            'u' => {
                let digits: String = chars.by_ref().take(4).map(|(_, digit)| digit).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                code.ok_or_else(|| Unknown(format!("the escape `\\u{digits}`")))?
            }
            other => return unknown(format!("the escape `\\{other}` in a text")),
        });
    }
    unknown("a text without its closing quote")
}

/// A number without the letter of its type, and the length of what it is written in.
fn number(rest: &str) -> (String, usize) {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut length = digits(rest);
    if rest[length..].starts_with('.') && digits(&rest[length + 1..]) > 0 {
        length += 1 + digits(&rest[length + 1..]);
    }
    let number = rest[..length].to_owned();
    let typed = rest[length..].starts_with(['l', 'L', 'f', 'F', 'd', 'D']);
    (number, length + usize::from(typed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let told = match tokens(text) {
            Ok(tokens) => tokens.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(unknown) => format!("error: {unknown}"),
        };
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn words_in_quotes_name_nothing() {
        for (text, expected) in [
            ("log.info(\"statement of state\")", false),
            ("log.info(estate) // state", false),
            ("log.info(state.get(\"a\"))", true),
            ("log.info(@ state)", true),
            ("log.info(@)", false),
        ] {
            assert_eq!(names_one(text, &["result", "state"]), expected, "{text}");
        }
    }

    #[test]
    fn what_tokens_are() {
        check(r#"a.b("x") == 'y'"#, r#"`a` `.` `b` `(` "x" `)` `==` "y""#);
        check("1 2.5 3L 4.x", "`1` `2.5` `3` `4` `.` `x`");
        check("a // b\n/* c */ && !d", "`a` `&&` `!` `d`");
        check("/*/ a */ b", "`b`");
        check(r#""\"\\\u0041""#, r#""\"\\A""#);
        check("\"ä\" ~= b", "\"ä\" `~=` `b`");
        check("\"a", "error: a text without its closing quote");
        check(r#""\q""#, "error: the escape `\\q` in a text");
        check("a @ b", "error: the sign `@`");
        let long = "a ".repeat(5000);
        check(&long, "error: a text of more than 4000 words and signs");
    }
}
