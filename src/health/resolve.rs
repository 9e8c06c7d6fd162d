//! Resolves the name of a cluster in the background, so that no request ever waits for DNS.
//!
//! A name that moves to addresses that it never had may lead to another coordinator: it gets no new
//! query before a statement ran there.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tracing::{info, warn};

use crate::cluster::Cluster;
use crate::gateway::Gateway;
use crate::health::probe::jittered;
use crate::health::verdict::{Evidence, Thresholds};
use crate::time::{self, Instant};

/// Between two look-ups. Kubernetes gives its records 5 s to 30 s to live.
const PERIOD: Duration = Duration::from_secs(5);

/// For one look-up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most addresses of one cluster.
const ADDRESSES: usize = 16;

/// How long an address stays one that the name had. Some servers tell one of several by turns.
const REMEMBERED: Duration = Duration::from_secs(600);

/// The most that are remembered.
const KEPT: usize = 256;

/// Resolves for as long as the cluster exists. An address in the place of a name needs nothing, and
/// waits for ever: a task that ends is taken for one that broke.
pub async fn watch(gateway: Arc<Gateway>, cluster: Arc<Cluster>) {
    if cluster.url().host.parse::<IpAddr>().is_ok() {
        return std::future::pending().await;
    }
    let ask_the_system = |host: String, port: u16| async move {
        Ok(lookup_host((host, port)).await?.take(ADDRESSES).collect())
    };
    watch_by(gateway, cluster, ask_the_system).await;
}

/// The same by another way to resolve.
pub async fn watch_by<R, F>(gateway: Arc<Gateway>, cluster: Arc<Cluster>, resolve: R)
where
    R: Fn(String, u16) -> F,
    F: Future<Output = io::Result<Vec<SocketAddr>>>,
{
    let mut failing = false;
    let mut places = Places::default();
    loop {
        let url = cluster.url();
        match tokio::time::timeout(TIMEOUT, resolve(url.host.clone(), url.port)).await {
            Ok(Ok(found)) => {
                failing = false;
                take(&gateway, &cluster, &mut places, found);
            }
            failed => {
                if !std::mem::replace(&mut failing, true) {
                    let why = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer".to_owned(),
                    };
                    warn!(cluster = %cluster.name(), host = url.host, why, "cannot be resolved");
                }
            }
        }
        tokio::time::sleep(jittered(PERIOD)).await;
    }
}

/// Puts what was found in force.
fn take(gateway: &Gateway, cluster: &Arc<Cluster>, places: &mut Places, found: Vec<SocketAddr>) {
    let mut found = found;
    found.sort_unstable();
    found.dedup();
    let moved = places.moved_to(&found, time::now());
    if found.is_empty() || found == *cluster.addresses() {
        return;
    }
    info!(cluster = %cluster.name(), addresses = ?found, moved, "resolved");
    if moved {
        // Before the addresses: no query may be on its way to who has shown nothing.
        gateway.metrics.probe(cluster.name().as_str(), "name", "moved");
        let limits = Thresholds::of(&gateway.registry.fleet().config.health);
        gateway.observe(cluster, Evidence::Moved, &limits);
    }
    cluster.set_addresses(found);
    cluster.suspect();
}

/// The addresses that a name had of late.
#[derive(Debug, Default)]
struct Places(Vec<(SocketAddr, Instant)>);

impl Places {
    /// Notes what was found at `now`. Tells whether the name had others before, and none of these.
    fn moved_to(&mut self, found: &[SocketAddr], now: Instant) -> bool {
        self.0.retain(|(_, seen)| now < *seen + REMEMBERED);
        let known = |address: &SocketAddr| self.0.iter().any(|(known, _)| known == address);
        let moved = !self.0.is_empty() && !found.is_empty() && !found.iter().any(known);
        self.0.retain(|(known, _)| !found.contains(known));
        self.0.extend(found.iter().map(|address| (*address, now)));
        let surplus = self.0.len().saturating_sub(KEPT);
        self.0.drain(..surplus);
        moved
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_moves_when_none_of_its_addresses_is_known() {
        let start = time::now();
        let mut places = Places::default();
        let mut moved = |second: u64, hosts: &[u8]| {
            let addresses: Vec<_> =
                hosts.iter().map(|host| SocketAddr::from(([10, 0, 0, *host], 80))).collect();
            places.moved_to(&addresses, start + Duration::from_secs(second))
        };
        assert!(!moved(0, &[1, 2]), "the first time");
        assert!(!moved(5, &[2, 3]), "one stays");
        assert!(!moved(10, &[]), "nothing was found");
        assert!(!moved(15, &[1]), "it had that one");
        assert!(moved(20, &[4]));
        assert!(!moved(25, &[1]), "by turns");
        assert!(moved(620, &[4]), "that was long ago");
    }
}
