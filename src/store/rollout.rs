//! What the store keeps of rollouts, and what it tells them about queries. The document of a
//! rollout is a text here; `rollout` reads and writes it.

use crate::history::fit::{LABEL_BYTES, LINE_BYTES, cut};
use crate::ids::GroupName;

/// The most ended queries that one look takes in.
pub(super) const ENDED_MAX: u32 = 10_000;

/// A rollout that is to begin.
#[derive(Debug, Clone)]
pub struct NewRollout {
    /// The group; it has one rollout at a time.
    pub group: GroupName,
    /// What it is and how far it has come.
    pub document: String,
    /// Who began it.
    pub by: Wish,
}

/// A rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRow {
    /// Its number.
    pub id: u64,
    /// Whether it is still under way.
    pub under_way: bool,
    /// Rises with each change of the document.
    pub revision: u64,
    /// What it is and how far it has come.
    pub document: String,
    /// Who wants it aborted.
    pub abort: Option<Wish>,
}

/// What somebody wants, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

impl Wish {
    /// Its texts cut to the size of their columns.
    pub(super) fn fit(mut self) -> Self {
        cut(&mut self.actor, LABEL_BYTES);
        cut(&mut self.reason, LINE_BYTES);
        self
    }
}

/// A query that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedQuery {
    /// The cluster that ran it.
    pub cluster: String,
    /// From the answer to its submit to its end.
    pub took_ms: u64,
    /// Trino's error.
    pub error: Option<String>,
}
