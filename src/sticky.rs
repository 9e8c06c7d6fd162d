//! Who owns a query. Every request about a query reaches the coordinator that has it, and no
//! request reaches one that might.
//!
//! Steps, in this order: the exact route (`hot`), the coordinator's mark in the query id
//! (`coordinators`), the store, and at last asking the clusters (`proxy::follow`). What a client
//! sends never teaches these tables; only answers of clusters do.

pub mod asking;
pub mod coordinators;
pub mod generations;
pub mod holdings;
pub mod hot;
pub mod pins;
pub mod unfinished;

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::cluster::live::LiveQuery;
use crate::cluster::{Cluster, Reservation};
use crate::history::journal::Recorder;
use crate::history::record::{EndCause, Ending, Event};
use crate::ids::{CoordinatorId, QueryId};
use crate::telemetry::metrics::Metrics;
use crate::time::{self, Instant};
use coordinators::{Coordinators, Learned, Owner};
use hot::{HotRoutes, Route};
use pins::Pins;
use unfinished::Unfinished;

/// How many marks are kept. A fleet of 20 clusters that restart each day fills it in half a year.
const MARKS: usize = 4096;

/// Everything that is known of owners.
#[derive(Debug)]
pub struct Sticky {
    hot: HotRoutes,
    coordinators: Coordinators,
    /// What lives in one coordinator and carries no query id.
    pub pins: Pins,
    /// What of that is open, and keeps a draining cluster.
    pub unfinished: Unfinished,
    recorder: Recorder,
    metrics: Arc<Metrics>,
    /// Two probes further apart than this are not of the same period.
    period: Duration,
}

/// How the coordinator of a query went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Another process answers at its address.
    Restarted,
    /// Nothing of it was reached for too long, or operators gave it up.
    Silent,
}

/// What the tables say of a query.
#[derive(Debug)]
pub enum Known {
    /// Its owner, and its life if Warren carries it.
    Owned {
        /// The owner.
        cluster: Arc<Cluster>,
        /// Its life.
        query: Option<Arc<LiveQuery>>,
    },
    /// One of these, which show the same mark.
    Among(Vec<Arc<Cluster>>),
    /// Nothing.
    Unknown,
}

impl Sticky {
    /// Empty tables.
    pub fn new(
        hot_routes: usize,
        period: Duration,
        recorder: Recorder,
        metrics: Arc<Metrics>,
    ) -> Self {
        let hot = HotRoutes::with_limit(hot_routes);
        let coordinators = Coordinators::default();
        let (pins, unfinished) = (Pins::default(), Unfinished::default());
        Self { hot, coordinators, pins, unfinished, recorder, metrics, period }
    }

    /// Looks up the owner of a query in memory.
    pub fn known(&self, id: &QueryId) -> Known {
        if let Some(Route { cluster, query }) = self.hot.lookup(id) {
            self.metrics.lookup("exact");
            return Known::Owned { cluster, query: Some(query) };
        }
        match self.coordinators.owner(id.coordinator()) {
            Some(Owner::One(cluster)) => {
                self.metrics.lookup("coordinator");
                Known::Owned { cluster, query: None }
            }
            Some(Owner::Shared(clusters)) => Known::Among(clusters),
            None => Known::Unknown,
        }
    }

    /// A cluster accepted a statement; `grace` is for its client to ask for the first page.
    pub fn submitted(
        &self,
        reservation: Reservation,
        id: QueryId,
        grace: Duration,
    ) -> Arc<LiveQuery> {
        let now = time::now();
        let cluster = reservation.cluster().clone();
        self.learn(id.coordinator(), &cluster, now);
        let query = Arc::new(LiveQuery::posted_at(id, now));
        self.hot.remember(query.id().clone(), Route { cluster, query: query.clone() });
        reservation.confirm(query.clone(), grace);
        query
    }

    /// `cluster` answered for a query that was not in the tables.
    pub fn met(&self, cluster: &Arc<Cluster>, id: &QueryId) -> Arc<LiveQuery> {
        let query = Arc::new(LiveQuery::met_at(id.clone(), time::now()));
        let query = cluster.ledger().adopt(query);
        self.hot.remember(id.clone(), Route { cluster: cluster.clone(), query: query.clone() });
        query
    }

    /// A page of a query that was held for ended says that it goes on.
    pub fn goes_on(&self, cluster: &Arc<Cluster>, query: &Arc<LiveQuery>) {
        if query.is_over() {
            cluster.ledger().adopt(query.clone());
        }
    }

    /// A probe showed who is behind `cluster`.
    pub fn probed(&self, cluster: &Arc<Cluster>, mark: CoordinatorId) {
        let now = time::now();
        self.learn(mark, cluster, now);
        if cluster.coordinator() == Some(mark) {
            return;
        }
        let before = cluster.coordinator();
        cluster.set_coordinator(mark);
        if before.is_some() {
            info!(cluster = %cluster.name(), coordinator = %mark, "coordinator restarted");
            self.unfinished.restarted(cluster);
            let lost = cluster.ledger().of_others_than(mark);
            for id in lost {
                self.ended(cluster, &id, EndCause::CoordinatorGone, (None, None));
            }
        }
    }

    /// Whether the coordinator that had this query is gone for good, as far as anybody can tell;
    /// and how it went. It may come back.
    pub fn lost(&self, cluster: &Arc<Cluster>, id: &QueryId, lost_after: Duration) -> Option<Lost> {
        let mark = id.coordinator();
        match cluster.coordinator() {
            Some(current) if current == mark => {}
            Some(current) if self.coordinators.is_superseded(mark, current, cluster) => {
                return Some(Lost::Restarted);
            }
            _ => {}
        }
        cluster.is_silent(time::now(), lost_after).then_some(Lost::Silent)
    }

    /// A query was seen to end. `told` is the state and the error that Trino told.
    pub fn ended(
        &self,
        cluster: &Arc<Cluster>,
        id: &QueryId,
        cause: EndCause,
        told: (Option<String>, Option<String>),
    ) {
        if !cluster.ledger().end(id, time::now()) {
            return;
        }
        self.metrics.end(cause);
        self.recorder.record(Event::Ended(Ending {
            query_id: id.clone(),
            cluster: cluster.name().clone(),
            cause,
            state: told.0,
            error: told.1,
            at_ms: time::unix_ms(),
        }));
    }

    /// Takes in a coordinator that the store knows.
    pub fn recall(&self, mark: CoordinatorId, cluster: &Arc<Cluster>) {
        self.coordinators.recall(mark, cluster, time::now());
    }

    /// Forgets what nobody asked for, and what points to clusters that are gone.
    pub fn sweep(&self, clusters: &[Arc<Cluster>]) {
        self.hot.sweep();
        self.pins.sweep();
        self.unfinished.sweep();
        self.coordinators.prune(clusters, MARKS);
    }

    /// The exact routes, for their figures.
    pub fn hot(&self) -> &HotRoutes {
        &self.hot
    }

    /// How many coordinators are known.
    pub fn coordinators(&self) -> usize {
        self.coordinators.len()
    }

    fn learn(&self, mark: CoordinatorId, cluster: &Arc<Cluster>, now: Instant) {
        let (learned, sighting) = self.coordinators.learn(mark, cluster, now, self.period);
        match learned {
            Learned::Known => {}
            Learned::New => {
                info!(cluster = %cluster.name(), coordinator = %mark, "coordinator seen");
            }
            Learned::Moved => {
                warn!(cluster = %cluster.name(), coordinator = %mark, "coordinator moved to another cluster");
            }
            Learned::Shared => warn!(
                cluster = %cluster.name(), coordinator = %mark,
                "two clusters show the same coordinator; do their addresses lead to one?"
            ),
        }
        if let Some(sighting) = sighting {
            self.recorder.record(Event::Coordinator(sighting));
        }
    }
}
