//! MVEL, as far as rules of a Java gateway use it: a text becomes a tree.
//!
//! Reads, and judges nothing: what a name means and what can be said in Lua, `lua` knows.

mod parser;
mod token;

pub(super) use self::parser::{condition, statements};
pub(super) use self::token::names_one;

/// An expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expr {
    Text(String),
    Number(String),
    Bool(bool),
    Null,
    /// `empty`: null, "", 0, or a list of nothing.
    Empty,
    List(Vec<Self>),
    /// A variable or the name of a class.
    Name(String),
    /// `a.b`
    Field(Box<Self>, String),
    /// `a["b"]`
    Index(Box<Self>, Box<Self>),
    /// `a.b(…)`
    Call(Box<Self>, String, Vec<Self>),
    /// `new HashSet()`
    New(String, Vec<Self>),
    Not(Box<Self>),
    Minus(Box<Self>),
    Binary(Op, Box<Self>, Box<Self>),
    /// `a ? b : c`
    Choice(Box<Self>, Box<Self>, Box<Self>),
}

/// An operator between two expressions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Or,
    And,
    /// `~=`
    Matches,
    Same,
    Differs,
    Less,
    AtMost,
    More,
    AtLeast,
    Plus,
    Minus,
    Times,
    Divide,
    Rest,
    Contains,
}

/// What an action does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Do(Expr),
    /// `name = value`
    Let(String, Expr),
    /// Conditions with what is done, and what is done else.
    If(Vec<(Expr, Vec<Self>)>, Vec<Self>),
    /// `foreach (name : list) { … }`
    Each(String, Expr, Vec<Self>),
}

/// Why a text cannot be read or said in Lua: a fragment that fits after "not translated: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unknown(pub(super) String);

/// Refuses with a text.
pub(super) fn unknown<T>(what: impl Into<String>) -> Result<T, Unknown> {
    Err(Unknown(what.into()))
}
