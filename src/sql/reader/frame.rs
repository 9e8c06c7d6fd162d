//! What is open at a place of a statement: one frame for each bracket, and one for the whole.

/// The last of a query's clauses, in their order: select 1, from 2, where 3, group 4, having 5,
/// window 6 (from which on a whole query may be followed by UNION and its like), order 7, offset 8,
/// limit and fetch 9.
pub(super) const LAST_RANK: u8 = 9;

/// A whole query without its ORDER BY.
pub(super) const PRIMARY_RANK: u8 = 6;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Behind a bracket in an expression: a query, or expressions.
    Open,
    /// Expressions in brackets.
    Expression,
    /// Any words, with whatever stands in brackets.
    Loose,
    /// Anything at all.
    Anything,
    /// What `TABLE(` in the arguments of a table function holds.
    TableArgument,
    /// What `TABLE(` behind FROM holds.
    TableFunction,
    /// Nothing but the closing bracket.
    Over,
    /// A query.
    Start,
    /// A name of WITH, and its query.
    WithItem,
    /// What follows the query of a name.
    WithDone,
    /// Inline functions and session properties, up to the query.
    Routine,
    /// The expressions of a clause.
    Clause,
    /// A relation.
    Relation,
    /// What follows a relation.
    AfterRelation,
    /// The moment of `FOR TIMESTAMP AS OF`.
    Period,
    /// The condition of a join.
    On,
    /// What follows a query in brackets, or `TABLE name`.
    AfterPrimary,
}

/// What closes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bracket {
    /// The end of the text.
    Text,
    /// `)`.
    Paren,
    /// `]`.
    Square,
}

/// Whether there is something for an operator to work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    /// No, and there need not be.
    None,
    /// No, and there must be.
    Wanted,
    /// Yes.
    There,
}

/// What is known of an open bracket.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "marks of a reader, each with its own sentence")]
pub(super) struct Frame {
    /// What comes next.
    pub state: State,
    /// What closes it.
    pub bracket: Bracket,
    /// The clause of a query that is read.
    pub rank: u8,
    /// Whether the expression that is read may end.
    pub operand: Operand,
    /// CASEs without their END.
    pub cases: u32,
    /// Joins without their condition.
    pub joins: u32,
    /// `<` of types.
    pub angles: u32,
    /// The names of WITH that counted before.
    pub names: usize,
    /// It is a query.
    pub is_query: bool,
    /// WITH was read; one is enough.
    pub has_with: bool,
    /// Names of this WITH count in their own queries.
    pub is_recursive: bool,
    /// All words may stand in it.
    pub is_loose: bool,
    /// Nothing of it was read.
    pub is_untouched: bool,
    /// All that was read is a query in brackets.
    pub is_lone_query: bool,
    /// A bracket behind FROM: relations, or a query after all.
    pub is_relations: bool,
    /// The relation that was read last has its alias.
    pub has_alias: bool,
    /// The statement is a MERGE.
    pub is_merge: bool,
    /// `WITH DATA` may follow.
    pub takes_data: bool,
}

impl Frame {
    /// An open bracket, of which nothing was read.
    pub(super) fn new(bracket: Bracket, names: usize) -> Self {
        Self {
            state: State::Open,
            bracket,
            rank: 0,
            operand: Operand::None,
            cases: 0,
            joins: 0,
            angles: 0,
            names,
            is_query: false,
            has_with: false,
            is_recursive: false,
            is_loose: false,
            is_untouched: true,
            is_lone_query: false,
            is_relations: false,
            has_alias: false,
            is_merge: false,
            takes_data: false,
        }
    }

    /// Whether it can be closed here.
    pub(super) fn may_end(&self) -> bool {
        match self.state {
            State::Open | State::Over | State::Anything => true,
            State::Expression | State::Loose => {
                self.operand != Operand::Wanted && (self.cases == 0 || self.is_loose)
            }
            State::Clause => self.operand == Operand::There && self.cases == 0,
            State::On => {
                self.operand == Operand::There
                    && self.cases == 0
                    && self.joins == 0
                    && !self.is_merge
            }
            State::AfterRelation => self.joins == 0 && !self.is_merge,
            State::AfterPrimary => true,
            // A function's body that ends in a query in brackets.
            State::Routine => self.is_lone_query,
            State::TableArgument
            | State::TableFunction
            | State::Start
            | State::WithItem
            | State::WithDone
            | State::Relation
            | State::Period => false,
        }
    }
}
