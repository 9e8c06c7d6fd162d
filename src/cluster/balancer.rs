//! One balancer of `pingora-load-balancing` for each group: membership, health, selection.
//!
//! A `Backend` of that crate *is* its address and weight, and a new one counts as healthy. So each
//! cluster has a synthetic address that never changes and the weight 1, and carries its
//! [`Cluster`] along, which holds the real addresses, the capacity, the load, and a health that
//! starts unknown. Probes run by themselves, one task for each cluster, so that a slow cluster
//! delays nobody; the balancer's health check asks what they found.

use std::collections::BTreeSet;
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::FutureExt;
use http::Extensions;
use pingora::protocols::l4::socket::SocketAddr as BackendAddress;
use pingora::{Error, ErrorType};
use pingora_load_balancing::discovery::Static;
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::{BackendIter, BackendSelection};
use pingora_load_balancing::{Backend, Backends, LoadBalancer};
use rand::seq::SliceRandom;

use super::choose::{self, Candidate};
use super::{Cluster, Reservation};
use crate::config::LoadWeights;
use crate::health::verdict::Health;
use crate::time;

/// The balancer of one group.
pub struct Balancer {
    inner: LoadBalancer<LeastLoaded>,
    /// Makes a choice and its count one step: two choices at once would both see the same loads.
    choosing: Mutex<()>,
}

impl std::fmt::Debug for Balancer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Balancer").finish_non_exhaustive()
    }
}

impl Balancer {
    /// A balancer over `clusters`.
    pub fn over(clusters: &[Arc<Cluster>]) -> Self {
        let backends: BTreeSet<Backend> = clusters.iter().map(backend).collect();
        let mut inner = LoadBalancer::from_backends(Backends::new(Static::new(backends)));
        inner.set_health_check(Box::new(Observed));
        let updated = inner.update().now_or_never();
        debug_assert!(matches!(updated, Some(Ok(()))), "a static membership is found at once");
        let balancer = Self { inner, choosing: Mutex::default() };
        balancer.refresh_health();
        balancer
    }

    /// Takes in what probes have found since the last call.
    pub fn refresh_health(&self) {
        // Two at once could leave the older finding in force.
        let _one_at_a_time = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = self.inner.backends().run_health_check(false).now_or_never();
        debug_assert!(checked.is_some(), "the check only reads what was observed");
    }

    /// Chooses a ready cluster that `fits`, and counts the submit.
    pub fn choose(&self, fits: impl Fn(&Cluster) -> bool) -> Option<Reservation> {
        self.select(|cluster, ready| ready && fits(cluster))
    }

    /// The same of clusters that need not be ready.
    pub fn try_any(&self, fits: impl Fn(&Cluster) -> bool) -> Option<Reservation> {
        self.select(|cluster, _ready| fits(cluster))
    }

    fn select(&self, fits: impl Fn(&Cluster, bool) -> bool) -> Option<Reservation> {
        let _one_at_a_time = self.choosing.lock().unwrap_or_else(PoisonError::into_inner);
        let members = self.inner.backends().get_backend().len();
        let chosen = self.inner.select_with(b"", members, |backend, healthy| {
            cluster_of(backend).is_some_and(|cluster| fits(cluster, healthy))
        })?;
        cluster_of(&chosen).map(|cluster| Reservation::new(cluster.clone()))
    }
}

fn backend(cluster: &Arc<Cluster>) -> Backend {
    // 100::/64 is the discard prefix (RFC 6666): nothing can be there.
    let mut octets = [0; 16];
    octets[0] = 1;
    octets[8..].copy_from_slice(&cluster.key().to_be_bytes());
    let address = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(octets), 1, 0, 0));
    let mut ext = Extensions::new();
    ext.insert(cluster.clone());
    Backend { addr: BackendAddress::Inet(address), weight: 1, ext }
}

fn cluster_of(backend: &Backend) -> Option<&Arc<Cluster>> {
    backend.ext.get::<Arc<Cluster>>()
}

/// Tells the balancer what the probes found.
struct Observed;

#[async_trait]
impl HealthCheck for Observed {
    async fn check(&self, target: &Backend) -> pingora::Result<()> {
        match cluster_of(target).map(|cluster| cluster.verdict().health()) {
            Some(Health::Ready) => Ok(()),
            _ => Err(Error::new(ErrorType::Custom("not ready"))),
        }
    }

    /// `rise` and `fall` were counted by the probes.
    fn health_threshold(&self, _success: bool) -> usize {
        1
    }
}

/// Selection by live load, read when a choice is made.
struct LeastLoaded(Vec<Backend>);

impl BackendSelection for LeastLoaded {
    type Iter = InOrder;
    type Config = ();

    fn build(backends: &BTreeSet<Backend>) -> Self {
        Self(backends.iter().cloned().collect())
    }

    fn iter(self: &Arc<Self>, _key: &[u8]) -> InOrder {
        let now = time::now();
        let takes_new = |place: &usize| self.at(*place).is_some_and(|at| at.takes_new());
        let (taking, rest): (Vec<usize>, Vec<usize>) = (0..self.0.len()).partition(takes_new);
        let mut order = self.ranked(&taking, now);
        // A standby, or one that is to get a share: whoever chooses accepts no other one.
        order.extend(self.ranked(&rest, now));
        InOrder { backends: self.clone(), order, next: 0 }
    }
}

impl LeastLoaded {
    fn at(&self, place: usize) -> Option<&Arc<Cluster>> {
        self.0.get(place).and_then(cluster_of)
    }

    /// `places` in the order in which they should be tried: by load, or among many the less loaded of
    /// two that are drawn, then the others by chance.
    fn ranked(&self, places: &[usize], now: time::Instant) -> Vec<usize> {
        let rng = &mut rand::rng();
        let weight = |place: &usize| self.at(*place).map_or(1, |at| at.settings().weight);
        if places.len() <= choose::MANY {
            return self.by_load(places, now);
        }
        let weights: Vec<u32> = places.iter().map(weight).collect();
        let mut drawn = choose::two(&weights, rng).map(|nth| places[nth]).to_vec();
        drawn.dedup();
        let mut order = self.by_load(&drawn, now);
        let mut others: Vec<usize> = places.to_vec();
        others.retain(|place| !drawn.contains(place));
        others.shuffle(rng);
        order.append(&mut others);
        order
    }

    fn by_load(&self, places: &[usize], now: time::Instant) -> Vec<usize> {
        let mut arrivals = Vec::with_capacity(places.len());
        let mut signals = Vec::with_capacity(places.len());
        let mut weights = LoadWeights::EVEN;
        let mut candidates: Vec<Candidate> = places
            .iter()
            .filter_map(|place| self.at(*place))
            .map(|cluster| {
                let settings = cluster.settings();
                let mut ledger = cluster.ledger();
                let load = ledger.weighed(now, settings.load);
                let warmth = cluster.verdict().warmth(now);
                let load = choose::felt_load(load, settings.load.running, warmth);
                arrivals.push(ledger.arrivals());
                signals.push(ledger.signals());
                drop(ledger);
                weights = settings.load;
                Candidate { load, weight: settings.weight }
            })
            .collect();
        choose::add_signals(&mut candidates, &signals, weights);
        let unseen = choose::unseen(arrivals.into_iter()) * f64::from(weights.running);
        let order = choose::order(&candidates, unseen, &mut rand::rng());
        order.into_iter().map(|nth| places[nth]).collect()
    }
}

struct InOrder {
    backends: Arc<LeastLoaded>,
    order: Vec<usize>,
    next: usize,
}

impl BackendIter for InOrder {
    fn next(&mut self) -> Option<&Backend> {
        let place = self.order.get(self.next)?;
        self.next += 1;
        self.backends.0.get(*place)
    }
}
