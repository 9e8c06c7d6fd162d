//! Which coordinator process is behind which cluster: the mark in a query id → its owner.
//!
//! Learned from probes and from answers to submits, never from what a client sends. A mark names
//! one process, so the newest probe wins: a mark that shows up behind another cluster has moved.
//! Only when two clusters show it in probes of the same period is it shared, and then it names
//! nobody by itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::cluster::Cluster;
use crate::history::record::Sighting;
use crate::ids::CoordinatorId;
use crate::time::Instant;

/// The marks that are known.
#[derive(Debug, Default)]
pub struct Coordinators {
    table: ArcSwap<HashMap<CoordinatorId, Vec<Seat>>>,
}

/// A cluster that showed a mark.
#[derive(Debug, Clone)]
struct Seat {
    cluster: Arc<Cluster>,
    first_seen: Instant,
    last_seen: Instant,
    first_ms: u64,
}

/// Whom a mark names.
#[derive(Debug, Clone)]
pub enum Owner {
    /// One cluster.
    One(Arc<Cluster>),
    /// Several clusters showed it within one period.
    Shared(Vec<Arc<Cluster>>),
}

/// What a sighting changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The mark was not known.
    New,
    /// It was known behind this cluster.
    Known,
    /// It was behind another cluster, which no longer shows it.
    Moved,
    /// Another cluster shows it too.
    Shared,
}

impl Coordinators {
    /// Whom `mark` names.
    pub fn owner(&self, mark: CoordinatorId) -> Option<Owner> {
        let table = self.table.load();
        let seats = table.get(&mark)?;
        match seats.as_slice() {
            [] => None,
            [seat] => Some(Owner::One(seat.cluster.clone())),
            // The same process under two names: either serves.
            [first, rest @ ..] if rest.iter().all(|seat| same_place(seat, first)) => {
                Some(Owner::One(first.cluster.clone()))
            }
            several => Some(Owner::Shared(several.iter().map(|s| s.cluster.clone()).collect())),
        }
    }

    /// `cluster` showed `mark` at `now`. A seat elsewhere that was not confirmed for `period` goes.
    /// Tells what that changed, and what the store is to hear of it.
    pub fn learn(
        &self,
        mark: CoordinatorId,
        cluster: &Arc<Cluster>,
        now: Instant,
        period: Duration,
    ) -> (Learned, Option<Sighting>) {
        if self.was_just_seen(mark, cluster, now, period) {
            return (Learned::Known, None);
        }
        let wall = crate::time::unix_ms();
        let mut learned = Learned::New;
        let mut sighting = None;
        self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            let seats = table.entry(mark).or_default();
            let before = seats.len();
            seats.retain(|seat| same(seat, cluster) || seat.last_seen + period > now);
            let dropped = before - seats.len();
            let several = seats.len() > 1;
            let mut first_ms = wall;
            if let Some(seat) = seats.iter_mut().find(|seat| same(seat, cluster)) {
                seat.last_seen = now;
                first_ms = seat.first_ms;
                learned = if several { Learned::Shared } else { Learned::Known };
            } else {
                learned = match (seats.is_empty(), dropped) {
                    (false, _) => Learned::Shared,
                    (true, 0) => Learned::New,
                    (true, _) => Learned::Moved,
                };
                let cluster = cluster.clone();
                seats.push(Seat { cluster, first_seen: now, last_seen: now, first_ms: wall });
            }
            sighting = Some(Sighting {
                coordinator: mark,
                cluster: cluster.name().clone(),
                peer: None,
                first_seen_ms: first_ms,
                last_seen_ms: wall,
            });
            table
        });
        (learned, sighting)
    }

    /// Whether there is nothing to learn: the common case of a submit, which must not copy a table.
    fn was_just_seen(
        &self,
        mark: CoordinatorId,
        cluster: &Arc<Cluster>,
        now: Instant,
        period: Duration,
    ) -> bool {
        match self.table.load().get(&mark).map(Vec::as_slice) {
            Some([seat]) => same(seat, cluster) && seat.last_seen + period / 4 > now,
            _ => false,
        }
    }

    /// Takes in what the store knows, for marks that no probe has shown yet.
    pub fn recall(&self, mark: CoordinatorId, cluster: &Arc<Cluster>, now: Instant) {
        self.table.rcu(|table| {
            let mut table = HashMap::clone(table);
            table.entry(mark).or_insert_with(|| {
                vec![Seat {
                    cluster: cluster.clone(),
                    first_seen: now,
                    last_seen: now,
                    first_ms: crate::time::unix_ms(),
                }]
            });
            table
        });
    }

    /// Forgets what points to clusters that are gone, and the oldest marks beyond `limit`.
    pub fn prune(&self, clusters: &[Arc<Cluster>], limit: usize) {
        let table = self.table.load();
        let gone = |seat: &Seat| !clusters.iter().any(|cluster| same(seat, cluster));
        let stale = table.values().flatten().any(gone);
        if !stale && table.len() <= limit {
            return;
        }
        self.table.rcu(|table| {
            let mut marks: Vec<_> = table
                .iter()
                .map(|(mark, seats)| {
                    let seats: Vec<_> = seats.iter().filter(|s| !gone(s)).cloned().collect();
                    (*mark, seats)
                })
                .filter(|(_, seats)| !seats.is_empty())
                .collect();
            marks.sort_by_key(|(_, seats)| {
                std::cmp::Reverse(seats.iter().map(|seat| seat.last_seen).max())
            });
            marks.truncate(limit);
            marks.into_iter().collect::<HashMap<_, _>>()
        });
    }

    /// Whether the process of `mark` has made room for that of `current` at `cluster`: it was seen
    /// there alone, and not since the other one was seen first.
    ///
    /// Two processes that answer there by turns are none of this.
    pub fn is_superseded(
        &self,
        mark: CoordinatorId,
        current: CoordinatorId,
        cluster: &Arc<Cluster>,
    ) -> bool {
        let table = self.table.load();
        let (Some(old), Some(new)) = (table.get(&mark), table.get(&current)) else { return false };
        let Some(new) = new.iter().find(|seat| same(seat, cluster)) else { return false };
        mark != current
            && !old.is_empty()
            && old.iter().all(|seat| same(seat, cluster) && seat.last_seen <= new.first_seen)
    }

    /// How many marks are known.
    pub fn len(&self) -> usize {
        self.table.load().len()
    }

    /// Whether no mark is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn same(seat: &Seat, cluster: &Arc<Cluster>) -> bool {
    Arc::ptr_eq(&seat.cluster, cluster)
}

fn same_place(one: &Seat, other: &Seat) -> bool {
    let addresses = one.cluster.addresses();
    !addresses.is_empty() && addresses == other.cluster.addresses()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::{cluster, cluster_at};

    const PERIOD: Duration = Duration::from_secs(30);

    fn mark() -> CoordinatorId {
        CoordinatorId::parse("abcde").expect("a good mark")
    }

    fn named(owner: Option<Owner>) -> Vec<String> {
        match owner {
            None => Vec::new(),
            Some(Owner::One(cluster)) => vec![cluster.name().to_string()],
            Some(Owner::Shared(all)) => all.iter().map(|c| format!("?{}", c.name())).collect(),
        }
    }

    #[test]
    fn the_newest_probe_wins() {
        let (table, start) = (Coordinators::default(), crate::time::now());
        let (a, b) = (cluster_at("a", 1), cluster_at("b", 2));
        assert_eq!(table.learn(mark(), &a, start, PERIOD).0, Learned::New);
        assert_eq!(table.learn(mark(), &a, start + PERIOD / 2, PERIOD).0, Learned::Known);
        assert_eq!(named(table.owner(mark())), ["a"]);
        let later = start + PERIOD * 3;
        assert_eq!(table.learn(mark(), &b, later, PERIOD).0, Learned::Moved);
        assert_eq!(named(table.owner(mark())), ["b"]);
    }

    #[test]
    fn a_mark_that_two_clusters_show_at_once_names_nobody_alone() {
        let (table, start) = (Coordinators::default(), crate::time::now());
        table.learn(mark(), &cluster_at("a", 1), start, PERIOD);
        assert_eq!(table.learn(mark(), &cluster_at("b", 2), start, PERIOD).0, Learned::Shared);
        assert_eq!(named(table.owner(mark())), ["?a", "?b"]);
    }

    #[test]
    fn two_names_for_one_address_serve_alike() {
        let (table, start) = (Coordinators::default(), crate::time::now());
        table.learn(mark(), &cluster_at("a", 1), start, PERIOD);
        table.learn(mark(), &cluster_at("b", 1), start, PERIOD);
        assert_eq!(named(table.owner(mark())), ["a"]);
    }

    #[test]
    fn a_process_that_made_room_for_another_one_is_told() {
        let (table, start) = (Coordinators::default(), crate::time::now());
        let new = CoordinatorId::parse("fghij").expect("a good mark");
        let (a, b) = (cluster_at("a", 1), cluster_at("b", 2));
        table.learn(mark(), &a, start, PERIOD);
        assert!(!table.is_superseded(mark(), new, &a), "nobody else was seen");
        table.learn(new, &a, start + PERIOD, PERIOD);
        assert!(table.is_superseded(mark(), new, &a));
        assert!(!table.is_superseded(new, mark(), &a) && !table.is_superseded(mark(), mark(), &a));
        assert!(!table.is_superseded(mark(), new, &b), "it was not there");
        table.learn(mark(), &a, start + PERIOD * 2, PERIOD);
        assert!(!table.is_superseded(mark(), new, &a), "they answer by turns");
    }

    #[test]
    fn the_table_is_bounded_and_forgets_clusters_that_are_gone() {
        let (table, start) = (Coordinators::default(), crate::time::now());
        let (a, b) = (cluster("a"), cluster("b"));
        for (age, text) in (0u64..).zip(["aaaaa", "bbbbb", "ccccc"]) {
            let mark = CoordinatorId::parse(text).expect("a good mark");
            table.learn(mark, &a, start + Duration::from_secs(age), PERIOD);
        }
        table.learn(mark(), &b, start, PERIOD);
        table.prune(&[a], 2);
        assert_eq!(table.len(), 2);
        assert!(table.owner(mark()).is_none());
        assert!(table.owner(CoordinatorId::parse("aaaaa").expect("a good mark")).is_none());
    }
}
