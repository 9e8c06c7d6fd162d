//! What events do to the row of a query. Pure, and the same for every store.
//!
//! A row holds the best submission and the best ending that anybody told of its query; two rows
//! are merged by taking the better of each. "Better" is a total order, so merging is commutative,
//! associative and idempotent: any order and any repetition of any gateways' events gives the
//! same row. Of submissions the earliest is best. Of endings the one that is surest is best, and
//! of equally sure ones the earliest: a gateway that lost sight of a query may call it abandoned
//! while its client reads the last page through another.

use std::collections::BTreeMap;

use crate::history::fit::fit;
use crate::history::record::{EndCause, Event, Recorded, Request};
use crate::ids::{ClusterName, CoordinatorId, QueryId};
use crate::store::HistoryRow;

/// The latest time a store keeps: both kinds of store hold it as a signed number.
pub(super) const TIME_MAX: u64 = i64::MAX.cast_unsigned();

/// Where an event comes from. Its order is the order of events that are equally good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stamp {
    /// When it happened, in milliseconds since 1970.
    pub(super) at_ms: u64,
    /// Who saw it.
    pub(super) gateway: String,
    /// Its place among what that gateway saw.
    pub(super) sequence: u64,
}

/// The half of a row that submissions write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Submitted {
    pub(super) stamp: Stamp,
    pub(super) cluster: String,
    pub(super) group: String,
    pub(super) rule: Option<String>,
    pub(super) user: Option<String>,
    pub(super) source: Option<String>,
    pub(super) tags: Option<String>,
    pub(super) statement: String,
    pub(super) held_id: Option<String>,
    /// A [`Request`] as JSON.
    pub(super) request: Option<String>,
}

/// The half of a row that endings write.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) rank: u8,
    pub(super) stamp: Stamp,
    /// The owner; it counts only while no submission is known.
    pub(super) cluster: String,
    pub(super) cause: String,
    pub(super) state: Option<String>,
    pub(super) error: Option<String>,
}

/// What a store knows of one query.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct QueryRow {
    pub(super) submitted: Option<Submitted>,
    pub(super) ended: Option<Ended>,
}

impl QueryRow {
    /// Takes the better halves of both.
    pub(super) fn merge(self, other: Self) -> Self {
        Self {
            submitted: better(self.submitted, other.submitted, |half| half.stamp.clone()),
            ended: better(self.ended, other.ended, |half| (half.rank, half.stamp.clone())),
        }
    }

    /// The cluster that owns the query; empty when nothing is known.
    pub(super) fn cluster(&self) -> &str {
        match (&self.submitted, &self.ended) {
            (Some(submitted), _) => &submitted.cluster,
            (None, Some(ended)) => &ended.cluster,
            (None, None) => "",
        }
    }

    /// The row as the history shows it.
    pub(super) fn into_history(self, query_id: String) -> HistoryRow {
        let cluster = self.cluster().to_owned();
        let submitted_ms = self.submitted.as_ref().map(|half| half.stamp.at_ms);
        let ended_ms = self.ended.as_ref().map(|half| half.stamp.at_ms);
        let held_id = self.submitted.as_ref().and_then(|half| half.held_id.clone());
        let request = self.submitted.as_ref().and_then(|half| read(half.request.as_deref()?));
        let (group, rule, user, source, tags, statement) = match self.submitted {
            Some(half) => {
                (half.group, half.rule, half.user, half.source, half.tags, half.statement)
            }
            None => Default::default(),
        };
        let (end_cause, state, error) = match self.ended {
            Some(half) => (Some(half.cause), half.state, half.error),
            None => Default::default(),
        };
        HistoryRow {
            query_id,
            held_id,
            cluster,
            group,
            rule,
            user,
            source,
            tags,
            request,
            statement,
            submitted_ms,
            ended_ms,
            end_cause,
            state,
            error,
        }
    }
}

/// What cannot be read, by another version perhaps, counts as not kept.
fn read(request: &str) -> Option<Request> {
    serde_json::from_str(request).ok()
}

fn better<T, K: Ord>(one: Option<T>, other: Option<T>, key: impl Fn(&T) -> K) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if key(&other) < key(&one) { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// How sure a cause is; smaller is surer.
fn rank(cause: EndCause) -> u8 {
    match cause {
        EndCause::LastPage | EndCause::Cancelled | EndCause::Moved => 0,
        EndCause::Listed => 1,
        EndCause::Missing | EndCause::CoordinatorGone => 2,
        EndCause::Abandoned => 3,
    }
}

/// The first and the last time at which a coordinator was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) first_ms: u64,
    pub(super) last_ms: u64,
    /// Where a gateway is reached.
    pub(super) peer: Option<String>,
}

impl Seen {
    /// The widest times of both.
    fn widen(self, other: Self) -> Self {
        Self {
            first_ms: self.first_ms.min(other.first_ms),
            last_ms: self.last_ms.max(other.last_ms),
            peer: self.peer.max(other.peer),
        }
    }
}

/// What a batch does, folded to one entry a row and in the order of the keys, so that two
/// gateways lock the same rows in the same order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Effect {
    pub(super) queries: BTreeMap<QueryId, QueryRow>,
    pub(super) coordinators: BTreeMap<(CoordinatorId, ClusterName), Seen>,
}

impl Effect {
    /// Folds a batch of one gateway.
    pub(super) fn of(gateway: &str, batch: &[Recorded]) -> Self {
        let mut effect = Self::default();
        for recorded in batch {
            effect.add(gateway, recorded);
        }
        effect
    }

    fn add(&mut self, gateway: &str, recorded: &Recorded) {
        let mut event = recorded.event.clone();
        fit(&mut event);
        let stamp = |at_ms: u64| Stamp {
            at_ms: at_ms.min(TIME_MAX),
            gateway: gateway.to_owned(),
            sequence: recorded.sequence.min(TIME_MAX),
        };
        match event {
            Event::Submitted(submission) => {
                let half = Submitted {
                    stamp: stamp(submission.at_ms),
                    cluster: submission.cluster.as_str().to_owned(),
                    group: submission.group.as_str().to_owned(),
                    rule: submission.rule,
                    user: submission.user,
                    source: submission.source,
                    tags: submission.tags,
                    statement: submission.statement,
                    held_id: submission.held_id.map(|id| id.as_str().to_owned()),
                    request: submission.request.and_then(|it| serde_json::to_string(&it).ok()),
                };
                self.merge(submission.query_id, QueryRow { submitted: Some(half), ended: None });
            }
            Event::Ended(ending) => {
                let half = Ended {
                    rank: rank(ending.cause),
                    stamp: stamp(ending.at_ms),
                    cluster: ending.cluster.as_str().to_owned(),
                    cause: ending.cause.as_str().to_owned(),
                    state: ending.state,
                    error: ending.error,
                };
                self.merge(ending.query_id, QueryRow { submitted: None, ended: Some(half) });
            }
            Event::Coordinator(sighting) => {
                let seen = Seen {
                    first_ms: sighting.first_seen_ms.min(TIME_MAX),
                    last_ms: sighting.last_seen_ms.min(TIME_MAX),
                    peer: sighting.peer,
                };
                let key = (sighting.coordinator, sighting.cluster);
                let known = self.coordinators.entry(key).or_insert_with(|| seen.clone());
                *known = known.clone().widen(seen);
            }
        }
    }

    fn merge(&mut self, id: QueryId, row: QueryRow) {
        let known = self.queries.entry(id).or_default();
        *known = std::mem::take(known).merge(row);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::history::record::{Ending, Submission};
    use crate::ids::GroupName;
    use crate::store::columns::{fields_of, row_of};

    fn event() -> impl Strategy<Value = Event> {
        let id = (0..2u8).prop_map(|index| {
            QueryId::parse(&format!("20200416_160256_0000{index}_6b4yt")).unwrap()
        });
        let cluster = (0..2u8).prop_map(|name| ClusterName::parse(&format!("c{name}")).unwrap());
        let text = proptest::option::of("[ab]");
        (id, cluster, text, 0..4u64, 0..=EndCause::ALL.len()).prop_map(
            |(query_id, cluster, text, at_ms, kind)| match EndCause::ALL.get(kind) {
                Some(&cause) => Event::Ended(Ending {
                    query_id,
                    cluster,
                    cause,
                    state: text,
                    error: None,
                    at_ms,
                }),
                None => Event::Submitted(Submission {
                    query_id,
                    held_id: None,
                    cluster,
                    group: GroupName::parse("bi").unwrap(),
                    rule: text.clone(),
                    user: text,
                    source: None,
                    tags: None,
                    request: None,
                    statement: String::new(),
                    at_ms,
                }),
            },
        )
    }

    /// Applies events of several gateways one by one, as a store does.
    fn rows(events: &[(u64, Event)], order: &[usize]) -> BTreeMap<QueryId, QueryRow> {
        let mut rows: BTreeMap<QueryId, QueryRow> = BTreeMap::new();
        for &at in order {
            let (gateway, event) = events[at].clone();
            let recorded = Recorded { sequence: at as u64, event };
            for (id, row) in Effect::of(&gateway.to_string(), &[recorded]).queries {
                let stored = rows.remove(&id).unwrap_or_default().merge(row);
                // Through the columns, as in a store.
                let (text, stored) = row_of(fields_of(id.as_str(), &stored));
                rows.insert(QueryId::parse(&text).unwrap(), stored);
            }
        }
        rows
    }

    fn shown(rows: BTreeMap<QueryId, QueryRow>) -> Vec<HistoryRow> {
        rows.into_iter().map(|(id, row)| row.into_history(id.to_string())).collect()
    }

    proptest! {
        #[test]
        fn any_order_and_repetition_gives_the_same_rows(
            (events, order) in proptest::collection::vec((0..2u64, event()), 1..9)
                .prop_flat_map(|events| {
                    let twice: Vec<usize> = (0..events.len()).chain(0..events.len()).collect();
                    (Just(events), Just(twice).prop_shuffle())
                })
        ) {
            let plain: Vec<usize> = (0..events.len()).collect();
            prop_assert_eq!(shown(rows(&events, &order)), shown(rows(&events, &plain)));
        }
    }

    #[test]
    fn a_surer_end_wins_and_of_equally_sure_ones_the_earlier() {
        let ended = |cause, at_ms| {
            Event::Ended(Ending {
                query_id: QueryId::parse("20200416_160256_00001_6b4yt").unwrap(),
                cluster: ClusterName::parse("c").unwrap(),
                cause,
                state: None,
                error: None,
                at_ms,
            })
        };
        let events = [
            (1, ended(EndCause::Abandoned, 1)),
            (2, ended(EndCause::LastPage, 9)),
            (1, ended(EndCause::LastPage, 7)),
            (2, ended(EndCause::Missing, 2)),
        ];
        let row = shown(rows(&events, &[0, 1, 2, 3])).remove(0);
        assert_eq!((row.end_cause.as_deref(), row.ended_ms), (Some("last_page"), Some(7)));
        assert_eq!((row.cluster.as_str(), row.submitted_ms), ("c", None));
    }
}
