//! Resolves the name of a cluster in the background, so that no request ever waits for DNS.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tracing::{info, warn};

use crate::cluster::Cluster;
use crate::health::probe::jittered;

/// Between two look-ups. Kubernetes gives its records 5 s to 30 s to live.
const PERIOD: Duration = Duration::from_secs(5);

/// For one look-up.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The most addresses of one cluster.
const ADDRESSES: usize = 16;

/// Resolves for as long as the cluster exists. An address in the place of a name needs nothing, and
/// waits for ever: a task that ends is taken for one that broke.
pub async fn watch(cluster: Arc<Cluster>) {
    if cluster.url().host.parse::<std::net::IpAddr>().is_ok() {
        return std::future::pending().await;
    }
    let mut failing = false;
    loop {
        let place = (cluster.url().host.as_str(), cluster.url().port);
        match tokio::time::timeout(TIMEOUT, lookup_host(place)).await {
            Ok(Ok(found)) => {
                failing = false;
                let mut found: Vec<_> = found.take(ADDRESSES).collect();
                found.sort_unstable();
                found.dedup();
                if !found.is_empty() && found != *cluster.addresses() {
                    info!(cluster = %cluster.name(), addresses = ?found, "resolved");
                    cluster.set_addresses(found);
                    cluster.suspect();
                }
            }
            failed => {
                if !std::mem::replace(&mut failing, true) {
                    let why = match failed {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer".to_owned(),
                    };
                    warn!(cluster = %cluster.name(), host = cluster.url().host, why, "cannot be resolved");
                }
            }
        }
        tokio::time::sleep(jittered(PERIOD)).await;
    }
}
