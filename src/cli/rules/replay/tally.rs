//! Counts what recorded queries would have met under other rules. Pure.
//!
//! Keeps at most one move and two names for each query, so the limit of queries is its bound.

use std::collections::{BTreeMap, BTreeSet};

use crate::route::verdict::{Decision, RuleFailure};
use crate::store::HistoryRow;

/// What became of the queries so far.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// All of them: the sum of the next four.
    pub(super) queries: u64,
    /// Those that stay in their group.
    pub(super) unchanged: u64,
    pub(super) moved: u64,
    /// Those that the rules would refuse.
    pub(super) refused: u64,
    /// Those for which the rules fail, wherever they then go.
    pub(super) failed: u64,
    /// Those of `unchanged` for which another rule is the reason.
    pub(super) by_another_rule: u64,
    /// Those that ran in another group than the rules had named.
    pub(super) elsewhere: u64,
    /// Those of an older Warren, which kept less.
    pub(super) older: u64,
    /// Rows that tell of the end of a query alone.
    pub(super) ends_alone: u64,
    /// What rules asked for and was not recorded, and for how many queries.
    pub(super) unrecorded: BTreeMap<String, u64>,
    moves: BTreeMap<Move, Crowd>,
    failures: BTreeMap<Place, Trouble>,
}

/// From where to where, and why. Its order is that of moves of equally many queries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Move {
    pub(super) from: String,
    /// `None`: it is refused.
    pub(super) to: Option<String>,
    pub(super) old_rule: Option<String>,
    pub(super) new_rule: Option<String>,
}

/// The queries that make one move.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    pub(super) queries: u64,
    /// How many are of whom; those without a user are of nobody.
    pub(super) users: BTreeMap<String, u64>,
    pub(super) sources: BTreeMap<String, u64>,
    /// The id of the newest one.
    pub(super) example: String,
}

/// Where rules fail: the line, if it is known, and the kind.
pub(super) type Place = (Option<u32>, &'static str);

/// The queries for which rules fail at one place.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    pub(super) queries: u64,
    /// What went wrong for the newest one.
    pub(super) message: String,
    /// Its id.
    pub(super) example: String,
}

impl Tally {
    /// Counts a query that the rules of then sent to the group of its row. Newer ones come first.
    pub(super) fn add(&mut self, row: &HistoryRow, now: &Decision) {
        self.queries += 1;
        self.older += u64::from(row.request.is_none());
        if let Some(failure) = &now.error {
            self.failed += 1;
            self.fail(row, failure);
        } else if now.reject.is_some() {
            self.refused += 1;
            self.go(row, None, now.rule.clone());
        } else if now.group.as_str() != row.group {
            self.moved += 1;
            self.go(row, Some(now.group.to_string()), now.rule.clone());
        } else {
            self.unchanged += 1;
            self.by_another_rule += u64::from(now.rule != row.rule);
        }
    }

    /// Counts what rules asked of one query that was not recorded.
    pub(super) fn note_unrecorded(&mut self, asked: BTreeSet<String>) {
        for fact in asked {
            *self.unrecorded.entry(fact).or_default() += 1;
        }
    }

    fn go(&mut self, row: &HistoryRow, to: Option<String>, new_rule: Option<String>) {
        let from = row.group.clone();
        let crowd = self
            .moves
            .entry(Move { from, to, old_rule: row.rule.clone(), new_rule })
            .or_insert_with(|| Crowd { example: row.query_id.clone(), ..Crowd::default() });
        crowd.queries += 1;
        for (names, name) in
            [(&mut crowd.users, row.user.as_deref()), (&mut crowd.sources, source(row))]
        {
            if let Some(name) = name {
                *names.entry(name.to_owned()).or_default() += 1;
            }
        }
    }

    fn fail(&mut self, row: &HistoryRow, failure: &RuleFailure) {
        let place = (failure.line, failure.kind.as_str());
        let trouble = self.failures.entry(place).or_insert_with(|| Trouble {
            queries: 0,
            message: failure.message.clone(),
            example: row.query_id.clone(),
        });
        trouble.queries += 1;
    }

    /// All moves and refusals, those of most queries first.
    pub(super) fn moves(&self) -> Vec<(&Move, &Crowd)> {
        most_first(&self.moves, |crowd| crowd.queries)
    }

    /// All failures, those of most queries first.
    pub(super) fn failures(&self) -> Vec<(&Place, &Trouble)> {
        most_first(&self.failures, |trouble| trouble.queries)
    }
}

/// The entries of a map by their number, the largest first; equal ones stay in the order of their keys.
pub(super) fn most_first<K, V>(map: &BTreeMap<K, V>, number: impl Fn(&V) -> u64) -> Vec<(&K, &V)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by_key(|(_, value)| std::cmp::Reverse(number(value)));
    entries
}

/// The source that the client sent: rules may have told the coordinator another one.
fn source(row: &HistoryRow) -> Option<&str> {
    match &row.request {
        Some(request) => request.headers.get("x-trino-source")?.first().map(String::as_str),
        None => row.source.as_deref(),
    }
}
