//! The clusters: what the file declares of each, what operators want of it, what Warren observes
//! of it, and what it carries.
//!
//! One [`Cluster`] stands for one name at one address for as long as anything refers to it; a
//! reload that changes a weight changes it in place, and a changed address makes another one.

pub mod balancer;
pub mod choose;
pub mod live;
pub mod load;
pub mod registry;
pub mod traffic;
pub mod wish;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use crate::config::{ClusterConfig, ClusterUrl, Scheme};
use crate::health::verdict::{Health, Verdict};
use crate::ids::{ClusterName, CoordinatorId};
use crate::store::{Intent, IntentRow};
use crate::time::{self, Instant};
use live::LiveQuery;
use load::{Figures, Ledger};
use traffic::Traffic;

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    key: u64,
    name: ClusterName,
    url: ClusterUrl,
    /// Of `url`, as each request to it needs it.
    authority: String,
    settings: ArcSwap<ClusterConfig>,
    intent: AtomicU8,
    /// Who wanted that, when and why, once the store has told it.
    wanted: ArcSwapOption<IntentRow>,
    /// Whether nobody looked at it since its intent changed.
    unseen: AtomicBool,
    verdict: ArcSwap<Verdict>,
    addresses: ArcSwap<Vec<SocketAddr>>,
    forwarding: AtomicU8,
    coordinator: ArcSwapOption<CoordinatorId>,
    version: ArcSwapOption<String>,
    /// Its active workers; more than fit: not known.
    workers: AtomicU64,
    retired: AtomicBool,
    /// How many gateways share `max_running`.
    gateways: AtomicU32,
    /// Figures of every later choice. Held for a few instructions, never across an await.
    ledger: Mutex<Ledger>,
    traffic: Traffic,
    suspicion: Notify,
    born: Instant,
    /// Milliseconds from `born` to the last sign of life.
    reached: AtomicU64,
    /// Whether operators gave its coordinator up; until its next sign of life.
    given_up: AtomicBool,
}

/// How a coordinator learns the address that clients are to come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Forwarding {
    /// Not known yet: `Host` alone, which is right for every coordinator that speaks plain HTTP.
    Unknown,
    /// `http-server.process-forwarded=true`: it reads `X-Forwarded-*`.
    Honoured,
    /// It refuses or ignores `X-Forwarded-*` and builds its addresses from `Host`.
    HostOnly,
    /// It builds addresses of its own; Warren rewrites them.
    Rewritten,
}

impl Forwarding {
    const ALL: [Self; 4] = [Self::Unknown, Self::Honoured, Self::HostOnly, Self::Rewritten];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Honoured => "honoured",
            Self::HostOnly => "host_only",
            Self::Rewritten => "rewritten",
        }
    }
}

impl Cluster {
    /// A cluster of which nothing is known yet.
    pub fn new(settings: ClusterConfig, intent: Intent) -> Arc<Self> {
        static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
        let literal = settings.url.host.parse().ok();
        let addresses =
            literal.map(|ip| SocketAddr::new(ip, settings.url.port)).into_iter().collect();
        Arc::new(Self {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            name: settings.name.clone(),
            url: settings.url.clone(),
            authority: settings.url.authority(),
            settings: ArcSwap::from_pointee(settings),
            intent: AtomicU8::new(intent as u8),
            wanted: ArcSwapOption::empty(),
            unseen: AtomicBool::new(true),
            verdict: ArcSwap::from_pointee(Verdict::default()),
            addresses: ArcSwap::from_pointee(addresses),
            forwarding: AtomicU8::new(Forwarding::Unknown as u8),
            coordinator: ArcSwapOption::empty(),
            version: ArcSwapOption::empty(),
            workers: AtomicU64::new(u64::MAX),
            retired: AtomicBool::new(false),
            gateways: AtomicU32::new(1),
            ledger: Mutex::default(),
            traffic: Traffic::since(time::now()),
            suspicion: Notify::new(),
            born: time::now(),
            reached: AtomicU64::new(0),
            given_up: AtomicBool::new(false),
        })
    }

    /// A number that no other cluster of this process ever had.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Its name.
    pub fn name(&self) -> &ClusterName {
        &self.name
    }

    /// Its address.
    pub fn url(&self) -> &ClusterUrl {
        &self.url
    }

    /// What stands in `Host` of what is sent to it.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// What the file says of it.
    pub fn settings(&self) -> Arc<ClusterConfig> {
        self.settings.load_full()
    }

    /// Takes what a reload says of it.
    pub fn set_settings(&self, settings: ClusterConfig) {
        self.settings.store(Arc::new(settings));
    }

    /// What operators want of it. A cluster that the file no longer has is draining.
    pub fn intent(&self) -> Intent {
        if self.is_retired() {
            return Intent::Draining;
        }
        self.own_intent()
    }

    /// What operators want of its name, whether or not the file still has it.
    pub fn own_intent(&self) -> Intent {
        Intent::ALL[usize::from(self.intent.load(Ordering::Relaxed))]
    }

    /// Takes a new intent.
    pub fn set_intent(&self, intent: Intent) {
        self.unseen.store(true, Ordering::Relaxed);
        self.intent.store(intent as u8, Ordering::Relaxed);
    }

    /// Who wanted its intent, when and why; `None`: the store has not told it yet.
    pub fn wanted(&self) -> Option<Arc<IntentRow>> {
        self.wanted.load_full()
    }

    /// Takes an intent with who wants it; tells whether it is another one than before.
    pub fn set_wanted(&self, row: &IntentRow) -> bool {
        self.wanted.store(Some(Arc::new(row.clone())));
        let changed = self.own_intent() != row.intent;
        if changed {
            self.set_intent(row.intent);
        }
        changed
    }

    /// Whether nobody looked at it since its intent changed.
    pub fn is_unseen(&self) -> bool {
        self.unseen.load(Ordering::Relaxed)
    }

    /// Whether the file no longer has it.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    /// The file no longer has it, or has it again.
    pub fn set_retired(&self, retired: bool) {
        self.retired.store(retired, Ordering::Relaxed);
    }

    /// What was observed of it.
    pub fn verdict(&self) -> Arc<Verdict> {
        self.verdict.load_full()
    }

    /// Takes in an observation. Gives what was held before and what is held now.
    pub fn observe(&self, next: impl Fn(Verdict) -> Verdict) -> (Arc<Verdict>, Arc<Verdict>) {
        let before = self.verdict.rcu(|verdict| next(Verdict::clone(verdict)));
        let after = next(Verdict::clone(&before));
        self.unseen.store(false, Ordering::Relaxed);
        (before, Arc::new(after))
    }

    /// Whether its probes call it ready, whatever is wanted of it.
    pub fn is_ready(&self) -> bool {
        self.verdict.load().health() == Health::Ready
    }

    /// Whether it takes new queries now.
    pub fn takes_new(&self) -> bool {
        self.intent() == Intent::Active && self.is_ready()
    }

    /// Whether it could take over now.
    pub fn stands_by(&self) -> bool {
        self.intent() == Intent::Standby && self.is_ready()
    }

    /// Whether `max_running` leaves room for one more query that this gateway brings.
    ///
    /// All its queries count, as far as they are known; of those that this gateway brings, no more than
    /// its share. What others bring between two looks at the list of the cluster may be too many.
    pub fn has_room(&self) -> bool {
        let Some(max) = self.settings.load().max_running else { return true };
        let share = max.div_ceil(self.gateways.load(Ordering::Relaxed).max(1));
        let now = time::now();
        let mut ledger = self.ledger();
        ledger.load(now) < max && ledger.brought() < share
    }

    /// Takes how many gateways there are.
    pub fn set_gateways(&self, gateways: u32) {
        self.gateways.store(gateways, Ordering::Relaxed);
    }

    /// Where it was found; empty until its name was resolved.
    pub fn addresses(&self) -> Arc<Vec<SocketAddr>> {
        self.addresses.load_full()
    }

    /// Takes what its name resolved to.
    pub fn set_addresses(&self, addresses: Vec<SocketAddr>) {
        self.addresses.store(Arc::new(addresses));
    }

    /// How it learns the address that clients are to come back to.
    pub fn forwarding(&self) -> Forwarding {
        Forwarding::ALL[usize::from(self.forwarding.load(Ordering::Relaxed))]
    }

    /// The same for a client that came by `scheme`.
    ///
    /// A coordinator that goes by `Host` alone tells its own scheme; if the client's is another
    /// one, its addresses are rewritten.
    pub fn forwarding_for(&self, scheme: Scheme) -> Forwarding {
        match self.forwarding() {
            Forwarding::Unknown | Forwarding::HostOnly if self.url.scheme != scheme => {
                Forwarding::Rewritten
            }
            known => known,
        }
    }

    /// Takes what a probe found out.
    pub fn set_forwarding(&self, forwarding: Forwarding) {
        self.forwarding.store(forwarding as u8, Ordering::Relaxed);
    }

    /// The coordinator process that its last probe showed.
    pub fn coordinator(&self) -> Option<CoordinatorId> {
        self.coordinator.load().as_deref().copied()
    }

    /// Takes the coordinator that a probe showed.
    pub fn set_coordinator(&self, coordinator: CoordinatorId) {
        self.coordinator.store(Some(Arc::new(coordinator)));
    }

    /// The version of Trino that it told.
    pub fn version(&self) -> Option<Arc<String>> {
        self.version.load_full()
    }

    /// Takes the version that it told.
    pub fn set_version(&self, version: String) {
        self.version.store(Some(Arc::new(version)));
    }

    /// Its active workers, where its probe counts them; `None`: not known.
    pub fn workers(&self) -> Option<u32> {
        u32::try_from(self.workers.load(Ordering::Relaxed)).ok()
    }

    /// Takes what a probe counted.
    pub fn set_workers(&self, workers: Option<u32>) {
        self.workers.store(workers.map_or(u64::MAX, u64::from), Ordering::Relaxed);
    }

    /// Its books.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How requests of clients fare there.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What it carries now.
    pub fn figures(&self) -> Figures {
        self.ledger().figures(time::now())
    }

    /// It answered something.
    pub fn reached(&self, now: Instant) {
        let since = now.saturating_duration_since(self.born).as_millis();
        self.reached.fetch_max(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.given_up.store(false, Ordering::Relaxed);
    }

    /// How long it has shown no sign of life.
    pub fn silent_for(&self, now: Instant) -> Duration {
        let reached = self.born + Duration::from_millis(self.reached.load(Ordering::Relaxed));
        now.saturating_duration_since(reached)
    }

    /// Operators say that its coordinator does not come back.
    pub fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }

    /// Whether its coordinator counts as lost: given up, or silent for `lost_after`.
    pub fn is_silent(&self, now: Instant, lost_after: Duration) -> bool {
        self.given_up.load(Ordering::Relaxed) || self.silent_for(now) >= lost_after
    }

    /// Something went wrong on the way to it: its probe looks at once.
    pub fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Waits for a suspicion.
    pub async fn suspected(&self) {
        self.suspicion.notified().await;
    }
}

/// A place that was chosen and counted, for a submit on its way.
///
/// Dropped without a query, it gives the place back.
#[derive(Debug)]
pub struct Reservation {
    cluster: Arc<Cluster>,
    open: bool,
}

impl Reservation {
    /// Counts a submit that is about to be sent to `cluster`.
    pub fn new(cluster: Arc<Cluster>) -> Self {
        cluster.ledger().reserve();
        Self { cluster, open: true }
    }

    /// The chosen cluster.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// The submit became a query, which counts for `grace` while its first page is not asked for.
    pub fn confirm(mut self, query: Arc<LiveQuery>, grace: Duration) {
        self.open = false;
        self.cluster.ledger().confirm(query, grace);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.open {
            self.cluster.ledger().release();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::{LoadWeights, Probe, Scheme, Source};
    use crate::ids::GroupName;

    pub(crate) fn settings(name: &str, port: u16) -> ClusterConfig {
        ClusterConfig {
            name: ClusterName::parse(name).expect("a good name"),
            group: GroupName::parse("bi").expect("a good name"),
            url: ClusterUrl { scheme: Scheme::Http, host: "127.0.0.1".into(), port },
            weight: 1,
            load: LoadWeights::EVEN,
            zone: None,
            initial_intent: Intent::Active,
            min_workers: 1,
            expected_workers: 0,
            workers_percent: 50,
            max_running: None,
            probe: Probe {
                user: "warren".into(),
                password: None,
                token: None,
                certificate: None,
                source: Source::Statement,
                statement: "SELECT 1".into(),
                headers: BTreeMap::new(),
                metrics: Vec::new(),
            },
            ca: None,
            server_name: None,
        }
    }

    pub(crate) fn cluster_at(name: &str, port: u16) -> Arc<Cluster> {
        Cluster::new(settings(name, port), Intent::Active)
    }

    pub(crate) fn cluster(name: &str) -> Arc<Cluster> {
        cluster_at(name, 1)
    }
}
