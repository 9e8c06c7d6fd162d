//! What requests and the control side share. Requests read snapshots of it.
//!
//! The data path runs on Pingora's runtime and the control side on one of its own, so that neither
//! can stall the other; [`Gateway`] is all that both see.

pub mod held;
pub mod holdings;
pub mod in_flight;
pub mod kept;
pub mod outlast;
pub mod peers;
pub mod rule_alarm;
pub mod services;
mod standings;
pub mod traffic;
pub mod wish;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ring::hmac;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tracing::info;

use crate::cluster::registry::{Fleet, Registry};
use crate::cluster::wish::{Open, Wish};
use crate::cluster::{Cluster, Reservation};
use crate::health::verdict::{Evidence, Health, Thresholds};
use crate::history::Recorder;
use crate::ids::{CoordinatorId, QueryId};
use crate::route::reload::RuleBook;
use crate::sticky::Sticky;
use crate::sticky::asking::Asking;
use crate::store::{Store, StoreError};
use crate::telemetry::metrics::Metrics;
use crate::time::{self, Instant};
use crate::upstream::exchange::Upstream;
use held::Held;
use in_flight::InFlight;
use kept::Kept;
use outlast::Outlast;
use peers::{Peer, Peers, Silent};
use rule_alarm::RuleAlarm;
use services::Services;

/// Compares secrets in a time that does not tell where the difference is.
pub fn equal_secrets(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |seen, (left, right)| seen | (left ^ right)) == 0
}

/// What requests and the control side share. Requests read snapshots of it.
pub struct Gateway {
    /// Clusters and groups.
    pub registry: Registry,
    /// The rules in force.
    pub rules: Arc<RuleBook>,
    /// Who owns which query.
    pub sticky: Sticky,
    /// Owners that are being asked for.
    pub asking: Asking,
    /// Connections of the data path.
    pub upstream: Upstream,
    /// The way of events into the store.
    pub recorder: Recorder,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// Requests that have begun and not ended.
    pub in_flight: InFlight,
    /// Tells of rules that fail, and not each time.
    pub rule_alarm: RuleAlarm,
    /// Asks services what rules want to know.
    pub services: Services,
    /// How many long statements may be read for the rules at once.
    pub readings: Arc<Semaphore>,
    /// Room for statements in memory, in bytes.
    pub statements: Arc<Semaphore>,
    /// Signs the cookie that keeps a browser at one coordinator.
    pub cookie_key: hmac::Key,
    /// Statements that may still be submitted to another cluster.
    pub kept: Kept,
    /// Queries that are held.
    pub held: Held,
    /// The supervisor, for submits that are to outlast this process; `None`: nobody keeps them.
    pub outlast: Option<Outlast>,
    /// Other gateways.
    pub peers: Peers,
    /// The version of the intents that are in force here.
    pub intents_version: Mutex<u64>,
    /// The store, for the control side, and for a page when memory does not know its owner.
    pub store: Arc<dyn Store>,
    /// The id of this gateway.
    pub name: String,
    /// The number of this process; later ones of this gateway have larger ones.
    pub process: u64,
    began: Instant,
    control: Handle,
    own_ids: AtomicU64,
}

/// The parts that [`Gateway::new`] puts together.
pub struct Parts {
    /// Clusters and groups.
    pub registry: Registry,
    /// The rules.
    pub rules: Arc<RuleBook>,
    /// Who owns which query.
    pub sticky: Sticky,
    /// The way of events into the store.
    pub recorder: Recorder,
    /// Figures.
    pub metrics: Arc<Metrics>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// The id of this gateway.
    pub name: String,
    /// What cookies are signed with.
    pub cookie_key: Vec<u8>,
    /// The supervisor, if it keeps submits.
    pub outlast: Option<Outlast>,
    /// The runtime of the control side.
    pub control: Handle,
}

/// A gateway that knows nothing of its clusters after this time is as ready as it gets.
const PROBED_BY: Duration = Duration::from_secs(5);

/// Long statements that are read for the rules at once, beside the data path: more would only take the
/// processors from it.
const READINGS: usize = 2;

/// Idle connections that the data path's own exchanges keep.
const POOL: usize = 1024;

impl Gateway {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Arc<Self> {
        let room = parts.registry.fleet().config.limits.statements;
        Arc::new(Self {
            registry: parts.registry,
            rules: parts.rules,
            sticky: parts.sticky,
            asking: Asking::default(),
            upstream: Upstream::with_pool(POOL),
            recorder: parts.recorder,
            held: Held::new(parts.metrics.clone()),
            services: Services::new(parts.metrics.clone()),
            metrics: parts.metrics,
            in_flight: InFlight::default(),
            rule_alarm: RuleAlarm::default(),
            readings: Arc::new(Semaphore::new(READINGS)),
            statements: Arc::new(Semaphore::new(room)),
            cookie_key: hmac::Key::new(hmac::HMAC_SHA256, &parts.cookie_key),
            kept: Kept::default(),
            outlast: parts.outlast,
            peers: Peers::default(),
            intents_version: Mutex::default(),
            store: parts.store,
            name: parts.name,
            process: time::unix_ms(),
            began: time::now(),
            control: parts.control,
            own_ids: AtomicU64::new(0),
        })
    }

    /// Chooses a cluster for a query, one that was not `tried`, and counts it where a group that the wish
    /// does not name, or a cluster that is not ready, stands in.
    pub fn choose(&self, fleet: &Fleet, wish: &Wish, tried: &[u64]) -> Option<Reservation> {
        let (group, reservation) = fleet.choose(wish, tried)?;
        if !wish.names(group.name()) {
            self.metrics.fallback(wish.group.as_str(), group.name().as_str());
        }
        if !reservation.cluster().is_ready() {
            self.metrics.tried_unhealthy(wish.group.as_str());
        }
        Some(reservation)
    }

    /// The same among the groups that are `open` to the query.
    pub fn choose_open(
        &self,
        fleet: &Fleet,
        wish: &Wish,
        open: &Open,
        tried: &[u64],
    ) -> Option<Reservation> {
        match open {
            Open::All => self.choose(fleet, wish, tried),
            Open::Others(others) => fleet.choose_among(others, tried),
        }
    }

    /// Takes in a look at a cluster, and wakes whoever waits for it when its health changed.
    pub fn observe(&self, cluster: &Arc<Cluster>, evidence: Evidence, limits: &Thresholds) {
        let now = time::now();
        let (before, after) =
            cluster.observe(|verdict| verdict.observe(evidence.clone(), limits, now));
        if before.health() == after.health() {
            // Whoever has no other cluster left may try it now.
            if !before.may_be_tried(now) && after.may_be_tried(now) {
                self.registry.cluster_changed();
            }
            return;
        }
        info!(
            cluster = %cluster.name(),
            from = before.health().as_str(),
            to = after.health().as_str(),
            reason = after.reason,
            "health changed"
        );
        self.registry.cluster_changed();
    }

    /// What the store knows of the owner of a query, if it says so within `limit`.
    pub async fn stored_owner(&self, id: &QueryId, limit: Duration) -> Option<Arc<Cluster>> {
        let (store, id) = (self.store.clone(), id.clone());
        let asked = async move {
            if let Some(cluster) = store.route(&id).await? {
                return Ok(Some(cluster));
            }
            let mark = id.coordinator();
            let mut seen = store.coordinators().await?;
            seen.retain(|sighting| sighting.coordinator == mark && sighting.peer.is_none());
            let newest = seen.into_iter().max_by_key(|sighting| sighting.last_seen_ms);
            Ok(newest.map(|seen| seen.cluster))
        };
        let name = self.ask_store(asked, limit).await.ok()??;
        self.registry.fleet().cluster(&name).cloned()
    }

    /// The gateway whose process has this mark: `Ok(None)` if the store knows none, `Err` if it does not
    /// say it within `limit`.
    pub async fn peer(&self, mark: CoordinatorId, limit: Duration) -> Result<Option<Peer>, Silent> {
        if let Some(peer) = self.peers.of(mark) {
            return Ok(Some(peer));
        }
        let store = self.store.clone();
        let seen = self.ask_store(async move { store.coordinators().await }, limit).await?;
        Ok(seen.iter().find(|seen| seen.coordinator == mark).and_then(peers::peer))
    }

    /// What the store says within `limit`, asked on the control side's runtime, where its connections
    /// live.
    async fn ask_store<T: Send + 'static>(
        &self,
        asked: impl Future<Output = Result<T, StoreError>> + Send + 'static,
        limit: Duration,
    ) -> Result<T, Silent> {
        let asked = self.control.spawn(asked);
        let abort = asked.abort_handle();
        match tokio::time::timeout(limit, asked).await {
            Ok(Ok(Ok(said))) => Ok(said),
            _ => {
                abort.abort();
                self.metrics.lookup("store_failed");
                Err(Silent)
            }
        }
    }

    /// Why this gateway is not ready; `None`: it is.
    ///
    /// Ready: rules and clusters are loaded, every cluster was looked at, and no shutdown has begun.
    /// Neither the death of a cluster nor that of the store makes a gateway unready.
    pub fn not_ready_because(&self) -> Option<String> {
        if self.in_flight.is_draining() {
            return Some("this gateway is ending".to_owned());
        }
        let fleet = self.registry.fleet();
        let unknown = |cluster: &&Arc<Cluster>| cluster.verdict().health() == Health::Unknown;
        let unknown = fleet.clusters.iter().find(unknown)?;
        let early = time::now() < self.began + PROBED_BY;
        early.then(|| format!("the cluster '{}' was not looked at yet", unknown.name()))
    }

    /// An id for a query that never came to be. Its mark is one that no coordinator draws.
    pub fn next_own_id(&self) -> QueryId {
        let index = self.own_ids.fetch_add(1, Ordering::Relaxed) % 100_000;
        let text = format!("19700101_000000_{index:05}_zzzzz");
        QueryId::parse(&text).expect("it has the form of an id")
    }
}
