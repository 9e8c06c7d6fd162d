//! Reads MVEL by its operators' order, a method for each level.

use super::token::{Token, tokens};
use super::{Expr, Op, Statement, Unknown, unknown};

/// The deepest that brackets and blocks may lie in each other.
const DEPTH_MAX: usize = 48;

/// Operators with how tightly they bind: from MVEL's own table of them.
const OPERATORS: [(&str, Op, u8); 18] = [
    ("||", Op::Or, 1),
    ("or", Op::Or, 1),
    ("&&", Op::And, 2),
    ("and", Op::And, 2),
    ("~=", Op::Matches, 3),
    ("==", Op::Same, 7),
    ("!=", Op::Differs, 7),
    ("<", Op::Less, 8),
    ("<=", Op::AtMost, 8),
    (">", Op::More, 8),
    (">=", Op::AtLeast, 8),
    ("+", Op::Plus, 10),
    ("-", Op::Minus, 10),
    ("*", Op::Times, 11),
    ("/", Op::Divide, 11),
    ("%", Op::Rest, 11),
    ("contains", Op::Contains, 13),
    ("CONTAINS", Op::Contains, 13),
];
/// Operators that have no counterpart here.
const STRANGE: [&str; 8] =
    ["in", "is", "instanceof", "soundslike", "strsim", "convertable_to", "isdef", "assert"];

/// Reads a condition: one expression and nothing behind it, but for a semicolon.
pub(in crate::migrate) fn condition(text: &str) -> Result<Expr, Unknown> {
    let mut parser = Parser::new(text)?;
    let expr = parser.expr()?;
    while parser.takes(";") {}
    match parser.peek() {
        None => Ok(expr),
        Some(token) => unknown(format!("{token} behind the condition")),
    }
}

/// Reads an action: any number of statements.
pub(in crate::migrate) fn statements(text: &str) -> Result<Vec<Statement>, Unknown> {
    let mut parser = Parser::new(text)?;
    let mut all = Vec::new();
    while parser.peek().is_some() {
        if !parser.takes(";") {
            all.push(parser.statement()?);
        }
    }
    Ok(all)
}

struct Parser {
    tokens: Vec<Token>,
    place: usize,
    depth: usize,
}

impl Parser {
    fn new(text: &str) -> Result<Self, Unknown> {
        Ok(Self { tokens: tokens(text)?, place: 0, depth: 0 })
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.place)
    }

    fn is(&self, sign: &str) -> bool {
        self.tokens_is(self.place, sign)
    }

    fn tokens_is(&self, place: usize, sign: &str) -> bool {
        matches!(self.tokens.get(place), Some(Token::Sign(found)) if *found == sign)
    }

    fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(found)) if found == word)
    }

    fn takes(&mut self, sign: &str) -> bool {
        let is = self.is(sign);
        self.place += usize::from(is);
        is
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let is = self.is_word(word);
        self.place += usize::from(is);
        is
    }

    fn expect(&mut self, sign: &str) -> Result<(), Unknown> {
        if self.takes(sign) {
            return Ok(());
        }
        self.missing(&format!("`{sign}`"))
    }

    fn missing<T>(&self, wanted: &str) -> Result<T, Unknown> {
        match self.peek() {
            Some(token) => unknown(format!("{token}, where {wanted} was expected")),
            None => unknown(format!("the end of the text, where {wanted} was expected")),
        }
    }

    fn word(&mut self) -> Result<String, Unknown> {
        let Some(Token::Word(word)) = self.peek() else { return self.missing("a name") };
        let word = word.clone();
        self.place += 1;
        Ok(word)
    }

    /// Goes one level deeper, if there is one.
    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Unknown>,
    ) -> Result<T, Unknown> {
        if self.depth >= DEPTH_MAX {
            return unknown(format!("more than {DEPTH_MAX} brackets or blocks in each other"));
        }
        self.depth += 1;
        let done = read(self);
        self.depth -= 1;
        done
    }

    fn statement(&mut self) -> Result<Statement, Unknown> {
        self.deeper(|parser| {
            if parser.takes_word("if") {
                return parser.branches();
            }
            if parser.takes_word("foreach") {
                return parser.each();
            }
            let loops = ["for", "while", "do", "until", "def", "function", "import", "return"];
            if let Some(word) = loops.iter().find(|word| parser.is_word(word)) {
                return unknown(format!("the statement `{word}`"));
            }
            parser.simple()
        })
    }

    fn simple(&mut self) -> Result<Statement, Unknown> {
        // A type may stand before the name: `String group = …`.
        let typed = matches!(
            (self.peek(), self.tokens.get(self.place + 1)),
            (Some(Token::Word(_)), Some(Token::Word(_)))
        ) && self.tokens_is(self.place + 2, "=");
        self.place += usize::from(typed);
        if let (Some(Token::Word(name)), true) = (self.peek(), self.tokens_is(self.place + 1, "="))
        {
            let name = name.clone();
            self.place += 2;
            return Ok(Statement::Let(name, self.expr()?));
        }
        let expr = self.expr()?;
        match self.peek() {
            Some(Token::Sign(sign)) if sign.ends_with('=') || matches!(*sign, "++" | "--") => {
                unknown(format!("the assignment `{sign}`"))
            }
            Some(Token::Sign(";" | "}")) | None => Ok(Statement::Do(expr)),
            Some(Token::Word(word)) if !STRANGE.contains(&word.as_str()) => Ok(Statement::Do(expr)),
            Some(token) => unknown(format!("{token} behind a statement")),
        }
    }

    fn branches(&mut self) -> Result<Statement, Unknown> {
        let mut branches = Vec::new();
        loop {
            self.expect("(")?;
            let condition = self.expr()?;
            self.expect(")")?;
            branches.push((condition, self.block()?));
            self.takes(";");
            if !self.takes_word("else") {
                return Ok(Statement::If(branches, Vec::new()));
            }
            if !self.takes_word("if") {
                return Ok(Statement::If(branches, self.block()?));
            }
        }
    }

    fn each(&mut self) -> Result<Statement, Unknown> {
        self.expect("(")?;
        let name = self.word()?;
        if !self.takes(":") && !self.takes_word("in") {
            return self.missing("`:`");
        }
        let list = self.expr()?;
        self.expect(")")?;
        Ok(Statement::Each(name, list, self.block()?))
    }

    /// Statements in braces, or one without.
    fn block(&mut self) -> Result<Vec<Statement>, Unknown> {
        if !self.takes("{") {
            return Ok(vec![self.statement()?]);
        }
        let mut all = Vec::new();
        while !self.takes("}") {
            if self.peek().is_none() {
                return self.missing("`}`");
            }
            if !self.takes(";") {
                all.push(self.statement()?);
            }
        }
        Ok(all)
    }

    fn expr(&mut self) -> Result<Expr, Unknown> {
        self.deeper(|parser| {
            let condition = parser.binary(0)?;
            if !parser.takes("?") {
                return Ok(condition);
            }
            let then = parser.expr()?;
            parser.expect(":")?;
            let otherwise = parser.expr()?;
            Ok(Expr::Choice(Box::new(condition), Box::new(then), Box::new(otherwise)))
        })
    }

    fn operator(&self) -> Option<(Op, u8)> {
        let text = match self.peek()? {
            Token::Sign(sign) => *sign,
            Token::Word(word) => word.as_str(),
            Token::Text(_) | Token::Number(_) => return None,
        };
        OPERATORS.iter().find(|(name, _, _)| *name == text).map(|(_, op, power)| (*op, *power))
    }

    fn binary(&mut self, least: u8) -> Result<Expr, Unknown> {
        let negates = self.is("!");
        let mut left = self.unary()?;
        loop {
            if let Some(Token::Word(word)) = self.peek()
                && STRANGE.contains(&word.as_str())
            {
                return unknown(format!("the operator `{word}`"));
            }
            if let Some(Token::Sign(sign @ ("&" | "|" | "^" | "#"))) = self.peek() {
                return unknown(format!("the operator `{sign}`"));
            }
            let Some((op, power)) = self.operator().filter(|(_, power)| *power > least) else {
                return Ok(left);
            };
            // MVEL takes `!a contains b` for `(!a) contains b`, which nobody means.
            if negates && matches!(left, Expr::Not(_)) && power > 2 {
                return unknown("`!` before an operator, where brackets would say what is meant");
            }
            self.place += 1;
            let right = self.binary(power)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
    }

    fn unary(&mut self) -> Result<Expr, Unknown> {
        if self.takes("!") {
            return Ok(Expr::Not(Box::new(self.deeper(Self::unary)?)));
        }
        if self.takes("-") {
            return Ok(Expr::Minus(Box::new(self.deeper(Self::unary)?)));
        }
        let mut expr = self.primary()?;
        loop {
            if self.takes(".") {
                let name = self.word()?;
                expr = if self.takes("(") {
                    Expr::Call(Box::new(expr), name, self.list(")")?)
                } else {
                    Expr::Field(Box::new(expr), name)
                };
            } else if self.takes("[") {
                let key = self.expr()?;
                self.expect("]")?;
                expr = Expr::Index(Box::new(expr), Box::new(key));
            } else if self.is(".?") {
                return unknown("the operator `.?`");
            } else {
                return Ok(expr);
            }
        }
    }

    /// Expressions with commas between them, up to a sign that is taken too.
    fn list(&mut self, end: &str) -> Result<Vec<Expr>, Unknown> {
        let mut items = Vec::new();
        while !self.takes(end) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.expr()?);
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Expr, Unknown> {
        let Some(token) = self.peek().cloned() else { return self.missing("a value") };
        self.place += 1;
        match token {
            Token::Text(text) => Ok(Expr::Text(text)),
            Token::Number(number) => Ok(Expr::Number(number)),
            Token::Sign("(") => {
                let expr = self.expr()?;
                self.expect(")")?;
                Ok(expr)
            }
            Token::Sign("[") => Ok(Expr::List(self.list("]")?)),
            Token::Sign("{") => Ok(Expr::List(self.list("}")?)),
            Token::Word(word) => self.named(word),
            Token::Sign(_) => {
                self.place -= 1;
                self.missing("a value")
            }
        }
    }

    fn named(&mut self, word: String) -> Result<Expr, Unknown> {
        Ok(match word.as_str() {
            "true" => Expr::Bool(true),
            "false" => Expr::Bool(false),
            "null" | "nil" => Expr::Null,
            "empty" => Expr::Empty,
            "new" => {
                let mut class = self.word()?;
                while self.takes(".") {
                    class = self.word()?;
                }
                self.expect("(")?;
                Expr::New(class, self.list(")")?)
            }
            _ if self.is("(") => return unknown(format!("the function `{word}`")),
            _ => Expr::Name(word),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree as brackets.
    fn shown(expr: &Expr) -> String {
        match expr {
            Expr::Text(text) => format!("{text:?}"),
            Expr::Number(text) | Expr::Name(text) => text.clone(),
            Expr::Bool(truth) => truth.to_string(),
            Expr::Null => "null".to_owned(),
            Expr::Empty => "empty".to_owned(),
            Expr::List(items) => format!("[{}]", all(items)),
            Expr::Field(of, name) => format!("{}.{name}", shown(of)),
            Expr::Index(of, key) => format!("{}[{}]", shown(of), shown(key)),
            Expr::Call(of, name, given) => format!("{}.{name}({})", shown(of), all(given)),
            Expr::New(class, given) => format!("new {class}({})", all(given)),
            Expr::Not(of) => format!("!{}", shown(of)),
            Expr::Minus(of) => format!("-{}", shown(of)),
            Expr::Binary(op, left, right) => {
                format!("({} {op:?} {})", shown(left), shown(right))
            }
            Expr::Choice(is, then, otherwise) => {
                format!("({} ? {} : {})", shown(is), shown(then), shown(otherwise))
            }
        }
    }

    fn all(items: &[Expr]) -> String {
        items.iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    fn check(text: &str, expected: &str) {
        let told = match condition(text) {
            Ok(expr) => shown(&expr),
            Err(unknown) => format!("error: {unknown}"),
        };
        assert_eq!(told, expected, "{text}");
    }

    #[test]
    fn operators_bind_as_in_mvel() {
        check("a == 1 && b != 2 || c", "(((a Same 1) And (b Differs 2)) Or c)");
        check("a contains \"x\" == true", "((a Contains \"x\") Same true)");
        check("a + 1 * 2 > 3;", "((a Plus (1 Times 2)) More 3)");
        check("a - 1 - 2", "((a Minus 1) Minus 2)");
        check("!a.b() && !(c || d)", "(!a.b() And !(c Or d))");
        check("a ? \"b\" : c ? 1 : 2", "(a ? \"b\" : (c ? 1 : 2))");
        check("r.h(\"X\").s[1].t(a, [2, 3])", "r.h(\"X\").s[1].t(a, [2, 3])");
        check("new java.util.HashSet() == null", "(new HashSet() Same null)");
    }

    #[test]
    fn what_is_not_read() {
        check(
            "!a contains b",
            "error: `!` before an operator, where brackets would say what is meant",
        );
        check("a in b", "error: the operator `in`");
        check("a & b", "error: the operator `&`");
        check("a.?b", "error: the operator `.?`");
        check("a b", "error: `b` behind the condition");
        check("a ==", "error: the end of the text, where a value was expected");
        check("f(a)", "error: the function `f`");
        check(&"(".repeat(100), "error: more than 48 brackets or blocks in each other");
    }

    #[test]
    fn actions_are_statements() {
        let told = |text: &str| format!("{:?}", statements(text));
        let two = told("a.put(\"x\", 1); b = 2\n");
        assert!(two.starts_with("Ok([Do(") && two.contains("Let(\"b\", Number(\"2\"))"), "{two}");
        let branches = statements("if (a) { b.c() } else if (d) { e.f(); } else { g.h() }");
        let Ok([Statement::If(branches, otherwise)]) = branches.as_deref() else {
            panic!("{branches:?}");
        };
        assert_eq!((branches.len(), otherwise.len()), (2, 1));
        assert_eq!(told(""), "Ok([])");
        assert!(told("for (;;) {}").contains("the statement `for`"));
        assert!(told("if (a) { b.c()").contains("where `}` was expected"));
        assert!(told("a += 1").contains("the assignment `+=`"));
    }
}
