//! The snapshot of clusters and groups that each request loads once.
//!
//! A reload publishes a new [`Fleet`]; clusters that are still there keep their health, their
//! books and their intent. A cluster that the file no longer has stays, draining, while it owns
//! live queries.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::balancer::Balancer;
use super::{Cluster, Reservation};
use crate::config::{ClusterConfig, Config};
use crate::ids::{ClusterName, GroupName};
use crate::store::Intent;

/// A group with its balancer.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: GroupName,
    /// Its clusters, in the order of the file.
    pub clusters: Vec<Arc<Cluster>>,
    balancer: Balancer,
}

impl Group {
    fn new(name: GroupName, clusters: Vec<Arc<Cluster>>) -> Arc<Self> {
        let balancer = Balancer::over(&clusters);
        Arc::new(Self { name, clusters, balancer })
    }

    /// Chooses a cluster that takes new queries, and counts the submit.
    pub fn choose(&self) -> Option<Reservation> {
        self.balancer.choose(|_| true)
    }

    /// The same among those that have another key than `keys`.
    pub fn choose_other_than(&self, keys: &[u64]) -> Option<Reservation> {
        self.balancer.choose(|cluster| !keys.contains(&cluster.key()))
    }

    /// A cluster for what is not a query: the first that takes new queries.
    pub fn any_ready(&self) -> Option<&Arc<Cluster>> {
        self.clusters.iter().find(|cluster| cluster.takes_new())
    }
}

/// All clusters and groups as of one moment.
#[derive(Debug)]
pub struct Fleet {
    /// The settings that made it.
    pub config: Arc<Config>,
    /// The clusters of the file, then the retired ones that still own queries.
    pub clusters: Vec<Arc<Cluster>>,
    groups: BTreeMap<GroupName, Arc<Group>>,
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
        let fleet = assemble(config, clusters, Vec::new());
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
        self.publish(assemble(config, kept, gone));
        fresh
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
        self.publish(assemble(old.config.clone(), kept, retired));
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

fn assemble(config: Arc<Config>, clusters: Vec<Arc<Cluster>>, retired: Vec<Arc<Cluster>>) -> Fleet {
    let groups = config.groups.iter().map(|group| {
        let members = clusters.iter().filter(|c| c.settings().group == group.name);
        (group.name.clone(), Group::new(group.name.clone(), members.cloned().collect()))
    });
    let groups = groups.collect();
    let clusters = clusters.into_iter().chain(retired).collect();
    Fleet { config, clusters, groups }
}
