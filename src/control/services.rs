//! Looks up the names of services that rules may ask, so that no request ever waits for DNS.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::net::lookup_host;
use tokio::time::timeout;
use tracing::warn;

use crate::config::{ClusterUrl, Config};
use crate::gateway::Gateway;
use crate::gateway::services::Addresses;

/// Between two look-ups. Kubernetes gives its records 5 s to 30 s to live.
const PERIOD: Duration = Duration::from_secs(5);

/// For one look-up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most addresses of one service.
const ADDRESSES: usize = 16;

/// Looks names up for as long as the gateway lives. A name that cannot be found keeps its addresses.
pub(super) async fn keep(gateway: Arc<Gateway>) {
    let mut changes = gateway.registry.changes();
    let mut known = Addresses::new();
    let mut failing = HashSet::new();
    loop {
        let names = names(&gateway.registry.fleet().config);
        let found = join_all(names.iter().map(look_up)).await;
        known.retain(|service, _| names.contains(service));
        for (service, found) in names.into_iter().zip(found) {
            match found {
                Ok(addresses) => {
                    failing.remove(&service);
                    known.insert(service, addresses);
                }
                Err(why) if failing.insert(service.clone()) => {
                    warn!(%service, why, "cannot be resolved");
                }
                Err(_) => {}
            }
        }
        gateway.services.set_addresses(known.clone());
        // New settings may have new names.
        let _changed = timeout(PERIOD, changes.changed()).await;
    }
}

/// The services of the settings whose host is a name, each once.
fn names(config: &Config) -> Vec<ClusterUrl> {
    let mut names = Vec::new();
    for url in config.rules.http.iter().flat_map(|http| &http.allow) {
        if url.origin.host.parse::<IpAddr>().is_err() && !names.contains(&url.origin) {
            names.push(url.origin.clone());
        }
    }
    names
}

async fn look_up(service: &ClusterUrl) -> Result<Vec<SocketAddr>, String> {
    match timeout(TIMEOUT, lookup_host((service.host.as_str(), service.port))).await {
        Ok(Ok(found)) => Ok(found.take(ADDRESSES).collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
