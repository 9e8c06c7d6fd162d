//! Exact routes in memory: query id → cluster.
//!
//! Two generations of a concurrent map behind one `ArcSwap`. A lookup reads the young one, then
//! the old one, and promotes what it finds there; a sweep makes young old and drops old in one
//! swap. So what was not asked for during a whole generation is forgotten, without a clock in any
//! entry. A lost entry costs little: the coordinator's mark in the id still names the owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use papaya::HashMap;

use crate::cluster::Cluster;
use crate::cluster::live::LiveQuery;
use crate::ids::QueryId;

/// Where a query lives.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its owner.
    pub cluster: Arc<Cluster>,
    /// Its life, as far as Warren saw it.
    pub query: Arc<LiveQuery>,
}

type Generation = Arc<HashMap<QueryId, Route>>;

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

/// The exact routes.
#[derive(Debug)]
pub struct HotRoutes {
    generations: ArcSwap<Generations>,
    /// The most entries of one generation.
    bound: usize,
    early_sweeps: AtomicU64,
}

impl HotRoutes {
    /// Room for `limit` routes in two generations.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            generations: ArcSwap::default(),
            bound: (limit / 2).max(1),
            early_sweeps: AtomicU64::new(0),
        }
    }

    /// The route of `id`.
    pub fn lookup(&self, id: &QueryId) -> Option<Route> {
        let generations = self.generations.load();
        if let Some(route) = generations.young.pin().get(id) {
            return Some(route.clone());
        }
        let route = generations.old.pin().get(id).cloned()?;
        self.remember(route.clone());
        Some(route)
    }

    /// Remembers a route. At the bound, the older half goes at once and the sweep is counted.
    pub fn remember(&self, route: Route) {
        let generations = self.generations.load();
        if generations.young.len() >= self.bound {
            self.early_sweeps.fetch_add(1, Ordering::Relaxed);
            self.sweep();
            self.generations.load().young.pin().insert(route.query.id().clone(), route);
        } else {
            generations.young.pin().insert(route.query.id().clone(), route);
        }
    }

    /// Makes young old and drops old.
    pub fn sweep(&self) {
        self.generations.rcu(|generations| Generations {
            young: Generation::default(),
            old: generations.young.clone(),
        });
    }

    /// How many routes are kept; one that was promoted counts twice until the next sweep.
    pub fn len(&self) -> usize {
        let generations = self.generations.load();
        generations.young.len() + generations.old.len()
    }

    /// Whether no route is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often the bound forced a sweep.
    pub fn early_sweeps(&self) -> u64 {
        self.early_sweeps.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::tests::cluster;

    fn route(index: u32) -> Route {
        let id = QueryId::parse(&format!("20260101_000000_{index:05}_abcde")).expect("a good id");
        let query = Arc::new(LiveQuery::posted_at(id, crate::time::now()));
        Route { cluster: cluster("a"), query }
    }

    #[test]
    fn a_route_that_is_asked_for_survives_every_sweep() {
        let routes = HotRoutes::with_limit(100);
        let (kept, lost) = (route(1), route(2));
        routes.remember(kept.clone());
        routes.remember(lost.clone());
        for _ in 0..3 {
            routes.sweep();
            assert!(routes.lookup(kept.query.id()).is_some());
        }
        assert!(routes.lookup(lost.query.id()).is_none());
    }

    #[test]
    fn the_bound_holds_and_is_counted() {
        let routes = HotRoutes::with_limit(100);
        for index in 0..1000 {
            routes.remember(route(index));
        }
        assert!(routes.len() <= 100, "{}", routes.len());
        assert_eq!(routes.early_sweeps(), 19);
        assert!(routes.lookup(route(999).query.id()).is_some());
    }
}
