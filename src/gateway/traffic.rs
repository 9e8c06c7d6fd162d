//! What live traffic tells of a cluster: connects that fail, answers that do not come, 5xx, and the
//! mark of who answered. The cluster's own probe is asked to look at once.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;

use super::Gateway;
use crate::cluster::Cluster;
use crate::cluster::traffic::{Kind, Limits, Sender};
use crate::health::verdict::{Evidence, Thresholds};
use crate::ids::CoordinatorId;
use crate::time;

/// Who sent a request, as far as telling two senders apart needs it: by user, else by address.
pub fn sender(headers: &HeaderMap, address: IpAddr) -> Sender {
    let mut hasher = DefaultHasher::new();
    match headers.get("x-trino-user") {
        Some(user) => user.as_bytes().hash(&mut hasher),
        None => address.hash(&mut hasher),
    }
    Sender::of_hash(hasher.finish())
}

impl Gateway {
    /// A client's request could not connect to `cluster`.
    pub fn cannot_connect(&self, cluster: &Arc<Cluster>, why: &str) {
        self.metrics.probe(cluster.name().as_str(), "traffic", "failed");
        self.take_in(cluster, Evidence::CannotConnect(why.to_owned()));
        cluster.suspect();
    }

    /// A request of a client was answered by `cluster` itself.
    pub fn went_well(&self, cluster: &Arc<Cluster>, kind: Kind, sender: Sender) {
        cluster.traffic().good(kind, sender, time::now());
    }

    /// A request of a client had no answer from `cluster`, or 5xx.
    pub fn went_wrong(&self, cluster: &Arc<Cluster>, kind: Kind, sender: Sender) {
        let health = &self.registry.fleet().config.health;
        let limits = Limits { percent: health.eject_percent, requests: health.eject_requests };
        let traffic = cluster.traffic();
        let told = traffic.bad(kind, sender, time::now(), limits);
        if let Some(why) = told.filter(|_| cluster.is_ready()) {
            traffic.clear();
            self.metrics.probe(cluster.name().as_str(), "traffic", "ejected");
            self.take_in(cluster, Evidence::TrafficFailed(why));
        }
        cluster.suspect();
    }

    /// `mark` answered a submit that was sent to `cluster`.
    pub fn answered_by(&self, cluster: &Arc<Cluster>, mark: CoordinatorId) {
        if cluster.verdict().answers_as() != Some(mark) {
            self.take_in(cluster, Evidence::Answered(mark));
            cluster.suspect();
        }
    }

    fn take_in(&self, cluster: &Arc<Cluster>, evidence: Evidence) {
        let limits = Thresholds::of(&self.registry.fleet().config.health);
        self.observe(cluster, evidence, &limits);
    }
}
