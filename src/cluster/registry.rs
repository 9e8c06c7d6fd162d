//! The snapshot of clusters and groups that each request loads once.
//!
//! A reload publishes a new [`Fleet`]; clusters that are still there keep their health, their
//! books and their intent. A cluster that the file no longer has stays, draining, while it owns
//! live queries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rand::Rng;
use tokio::sync::watch;

use super::balancer::Balancer;
use super::{Cluster, Reservation};
use crate::config::{self, ClusterConfig, Config, Mode};
use crate::health::verdict::Health;
use crate::ids::{ClusterName, GroupName};
use crate::store::Intent;
use crate::time;

/// A group with its balancer.
#[derive(Debug)]
pub struct Group {
    /// What the file says of it.
    pub settings: config::Group,
    /// Its clusters, in the order of the file.
    pub clusters: Vec<Arc<Cluster>>,
    share: Option<Share>,
    balancer: Balancer,
}

impl Group {
    pub(crate) fn new(
        settings: config::Group,
        clusters: Vec<Arc<Cluster>>,
        share: Option<Share>,
    ) -> Arc<Self> {
        let balancer = Balancer::over(&clusters);
        Arc::new(Self { settings, clusters, share, balancer })
    }

    /// Its name.
    pub fn name(&self) -> &GroupName {
        &self.settings.name
    }

    /// Chooses a cluster for a new query, one that was not `tried` before, and counts the submit.
    ///
    /// A standby stands in, if it may, only where no active cluster can take the query.
    pub fn choose(&self, tried: &[u64]) -> Option<Reservation> {
        let among = |fit: fn(&Cluster) -> bool| {
            let fits = |cluster: &Cluster| {
                fit(cluster) && !tried.contains(&cluster.key()) && cluster.has_room()
            };
            match self.settings.mode {
                Mode::ActiveActive => self.balancer.choose(fits),
                Mode::ActiveStandby => {
                    let first = self.clusters.iter().find(|cluster| fits(cluster))?.key();
                    self.balancer.choose(|cluster| cluster.key() == first && fits(cluster))
                }
            }
        };
        if let Some(share) = &self.share
            && rand::rng().random_range(0..100) < share.percent
        {
            let canary = |cluster: &Cluster| {
                let named = *cluster.name() == share.cluster;
                named && !tried.contains(&cluster.key()) && cluster.has_room()
            };
            if let Some(reservation) = self.balancer.choose(canary) {
                return Some(reservation);
            }
        }
        // One that is full has not fallen.
        let full = || {
            let takes = |c: &&Arc<Cluster>| c.takes_new() && !tried.contains(&c.key());
            self.clusters.iter().filter(takes).any(|cluster| !cluster.has_room())
        };
        let may = || self.settings.auto_failover && !full();
        let standby = || may().then(|| among(Cluster::stands_by)).flatten();
        among(Cluster::takes_new).or_else(standby)
    }

    /// Chooses where none of its active clusters can take a query, one that was ready before and answers.
    ///
    /// All at once are seldom broken: it may be what the probes ask for that fails, and a query that is
    /// tried is better than one that surely fails.
    pub(super) fn choose_unhealthy(&self, tried: &[u64]) -> Option<Reservation> {
        let active = |cluster: &Cluster| cluster.intent() == Intent::Active;
        let unhealthy = |cluster: &Cluster| cluster.verdict().health() == Health::Unhealthy;
        if self.clusters.iter().any(|cluster| active(cluster) && !unhealthy(cluster)) {
            return None;
        }
        let now = time::now();
        self.balancer.try_any(|cluster| {
            let fits = active(cluster) && !tried.contains(&cluster.key()) && cluster.has_room();
            fits && cluster.verdict().may_be_tried(now)
        })
    }

    /// Whether a new query would find a cluster now.
    pub fn can_take(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.takes_new() && cluster.has_room())
    }

    /// Whether some cluster of it has a bound of queries.
    pub fn is_bounded(&self) -> bool {
        self.clusters.iter().any(|cluster| cluster.settings().max_running.is_some())
    }

    /// A cluster for what is not a query: the first that takes new queries.
    pub fn any_ready(&self) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.takes_new())
    }
}

/// A share of a group's new queries that one cluster takes, whether or not it is active.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The group.
    pub group: GroupName,
    /// The cluster.
    pub cluster: ClusterName,
    /// Of a hundred.
    pub percent: u8,
}

/// All clusters and groups as of one moment.
#[derive(Debug)]
pub struct Fleet {
    /// The settings that made it.
    pub config: Arc<Config>,
    /// The clusters of the file, then the retired ones that still own queries.
    pub clusters: Vec<Arc<Cluster>>,
    groups: BTreeMap<GroupName, Arc<Group>>,
    shares: Vec<Share>,
}

impl Fleet {
    /// The group of that name.
    pub fn group(&self, name: &GroupName) -> Option<&Arc<Group>> {
        self.groups.get(name)
    }

    /// The group for queries that no rule names.
    pub fn default_group(&self) -> &Arc<Group> {
        &self.groups[&self.config.rules.default_group]
    }

    /// All groups by name.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    /// The cluster of that name; of several, the one that the file has.
    pub fn cluster(&self, name: &ClusterName) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.name() == name)
    }

    /// Any cluster that is ready, the default group's first: for what is not a query.
    pub fn any_ready(&self) -> Option<&Arc<Cluster>> {
        self.default_group().any_ready().or_else(|| self.groups().find_map(|g| g.any_ready()))
    }
}

/// Holds the current [`Fleet`].
#[derive(Debug)]
pub struct Registry {
    fleet: ArcSwap<Fleet>,
    writer: Mutex<()>,
    changes: watch::Sender<u64>,
}

impl Registry {
    /// The first fleet. `intent` tells what is wanted of each cluster.
    pub fn new(config: Arc<Config>, intent: impl Fn(&ClusterConfig) -> Intent) -> Self {
        let clusters: Vec<_> =
            config.clusters.iter().map(|c| Cluster::new(c.clone(), intent(c))).collect();
        let fleet = assemble(config, (clusters, Vec::new()), Vec::new());
        let writer = Mutex::default();
        Self { fleet: ArcSwap::from_pointee(fleet), writer, changes: watch::Sender::new(0) }
    }

    /// The fleet now.
    pub fn fleet(&self) -> Arc<Fleet> {
        self.fleet.load_full()
    }

    /// Puts new settings in force. Tells which clusters are new.
    ///
    /// A name keeps its intent, also at another address; one that this gateway does not know has
    /// `initial_intent` until the store has been asked.
    pub fn reload(&self, config: Arc<Config>) -> Vec<Arc<Cluster>> {
        let _one_writer = self.writing();
        let old = self.fleet();
        let intent = |settings: &ClusterConfig| {
            old.cluster(&settings.name).map_or(settings.initial_intent, |known| known.own_intent())
        };
        let mut fresh = Vec::new();
        let mut kept = Vec::new();
        for settings in &config.clusters {
            let same = |c: &&Arc<Cluster>| *c.name() == settings.name && *c.url() == settings.url;
            let cluster = if let Some(cluster) = old.clusters.iter().find(same) {
                cluster.set_settings(settings.clone());
                cluster.set_retired(false);
                cluster.clone()
            } else {
                let cluster = Cluster::new(settings.clone(), intent(settings));
                fresh.push(cluster.clone());
                cluster
            };
            kept.push(cluster);
        }
        let gone = old.clusters.iter().filter(|c| !kept.iter().any(|k| Arc::ptr_eq(k, c)));
        let gone: Vec<_> = gone.cloned().collect();
        for cluster in &gone {
            cluster.set_retired(true);
        }
        self.publish(assemble(config, (kept, gone), old.shares.clone()));
        fresh
    }

    /// Gives clusters these shares of new queries, and no others any.
    pub fn set_shares(&self, shares: Vec<Share>) {
        let _one_writer = self.writing();
        let old = self.fleet();
        if old.shares == shares {
            return;
        }
        let clusters = old.clusters.iter().cloned();
        let (retired, kept): (Vec<_>, Vec<_>) = clusters.partition(|c| c.is_retired());
        self.publish(assemble(old.config.clone(), (kept, retired), shares));
    }

    /// Forgets retired clusters that own nothing any more.
    pub fn forget_retired(&self) {
        let _one_writer = self.writing();
        let old = self.fleet();
        // Its list may tell of queries that other gateways brought; their pages may come here.
        let done = |c: &Arc<Cluster>| c.is_retired() && c.figures().is_idle();
        if !old.clusters.iter().any(done) {
            return;
        }
        let (retired, kept): (Vec<_>, Vec<_>) =
            old.clusters.iter().filter(|c| !done(c)).cloned().partition(|c| c.is_retired());
        self.publish(assemble(old.config.clone(), (kept, retired), old.shares.clone()));
    }

    /// Tells balancers, and whoever waits for a cluster, that something may have become possible.
    pub fn cluster_changed(&self) {
        for group in self.fleet().groups() {
            group.balancer.refresh_health();
        }
        self.changes.send_modify(|count| *count += 1);
    }

    /// Wakes at every change of a cluster's health or intent, and at every reload.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes reading the old fleet and publishing the new one a single step.
    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, fleet: Fleet) {
        self.fleet.store(Arc::new(fleet));
        self.cluster_changed();
    }
}

type Clusters = Vec<Arc<Cluster>>;

fn assemble(
    config: Arc<Config>,
    (clusters, retired): (Clusters, Clusters),
    shares: Vec<Share>,
) -> Fleet {
    let groups = config.groups.iter().map(|group| {
        let members = clusters.iter().filter(|c| c.settings().group == group.name);
        let share = shares.iter().find(|share| share.group == group.name);
        (group.name.clone(), Group::new(group.clone(), members.cloned().collect(), share.cloned()))
    });
    let groups = groups.collect();
    let clusters = clusters.into_iter().chain(retired).collect();
    Fleet { config, clusters, groups, shares }
}
